"""A watcher over a folder in which everything changes all the time: does it keep up, and does its memory grow?

Run by hand: python tests/program/soak.py --minutes 30. Prints the memory of the watcher every minute. In the end the
driver stops, the watcher comes to rest, and its database is compared with a fresh scan; the memory is compared with
that after the first minutes. Exit code 1 if anything differs, or the memory grew by more than 5 %.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from phototag.records import PhotoState
from phototag.store import Query, Store, check_database
from phototag.tagging import watcher_status

KINDS = ("jpg", "jpg", "jpg", "png", "webp", "tif", "gif", "bmp")
MOST_PHOTOS = 400
WARM_SECONDS = 300.0
ALLOWED_GROWTH = 0.05
PATIENCE_SECONDS = 300.0


class Driver(threading.Thread):
    """Creates, overwrites, renames, moves, copies, breaks and deletes pictures and folders, about `rate` a second."""

    def __init__(self, root: Path, *, seed: int, rate: float) -> None:
        super().__init__(name="driver")
        self.done: Counter[str] = Counter()
        self._root, self._rate = root, rate
        self._random, self._pixels = random.Random(seed), np.random.default_rng(seed)
        self._number = 0
        self._over = threading.Event()

    def stop(self) -> None:
        """End after the present deed."""
        self._over.set()
        self.join()

    def run(self) -> None:
        deeds = {
            self.create: 10,
            self.overwrite: 5,
            self.rename: 4,
            self.move: 4,
            self.copy: 4,
            self.delete: 8,
            self.damage: 1,
            self.write_slowly: 1,
            self.save_beside: 2,
            self.make_folder: 2,
            self.rename_folder: 1,
            self.move_folder_out_and_in: 1,
            self.delete_folder: 1,
        }
        while not self._over.wait(self._random.expovariate(self._rate)):
            (deed,) = self._random.choices(list(deeds), list(deeds.values()))
            try:
                deed()
            except FileNotFoundError:
                continue  # nothing there to do it to
            self.done[deed.__name__] += 1

    # -- with photos

    def create(self) -> None:
        """A new photo; rather a deletion if there are many."""
        if len(self._photos()) >= MOST_PHOTOS:
            self.delete()
        else:
            self._draw(self._new_name(self._folder()))

    def overwrite(self) -> None:
        self._draw(self._photo())

    def rename(self) -> None:
        photo = self._photo()
        photo.rename(photo.with_stem(f"renamed{self._next()}"))

    def move(self) -> None:
        photo = self._photo()
        photo.rename(self._folder() / f"moved{self._next()}{photo.suffix}")

    def copy(self) -> None:
        photo = self._photo()
        shutil.copy(photo, self._folder() / f"copy{self._next()}{photo.suffix}")

    def delete(self) -> None:
        self._photo().unlink()

    def damage(self) -> None:
        photo = self._photo()
        with photo.open("r+b") as file:
            file.truncate(photo.stat().st_size // 2)

    def write_slowly(self) -> None:
        content = self._photo().read_bytes()
        length = len(content) // 10 + 1
        with self._new_name(self._folder()).open("wb") as file:
            for start in range(0, len(content), length):
                file.write(content[start : start + length])
                file.flush()
                self._over.wait(0.3)

    def save_beside(self) -> None:
        """As rsync does: under a hidden name, and then in one step."""
        photo = self._photo()
        half = photo.with_name(f".{photo.name}.part")
        self._draw(half, kind=photo.suffix[1:])
        half.replace(photo)

    # -- with folders

    def make_folder(self) -> None:
        folder = self._folder()
        if len(folder.relative_to(self._root).parts) < 4:
            (folder / f"folder{self._next()}" / "deep").mkdir(parents=True)

    def rename_folder(self) -> None:
        folder = self._inner_folder()
        folder.rename(folder.with_name(f"renamed{self._next()}"))

    def move_folder_out_and_in(self) -> None:
        folder = self._inner_folder()
        outside = self._root.with_name("outside")
        folder.rename(outside)
        self._over.wait(self._random.random())
        outside.rename(self._root / f"back{self._next()}")

    def delete_folder(self) -> None:
        shutil.rmtree(self._inner_folder())

    # -- choices

    def _photos(self) -> list[Path]:
        return [path for path in self._root.rglob("*.*") if path.is_file() and not path.name.startswith(".")]

    def _photo(self) -> Path:
        return self._one_of(self._photos())

    def _folder(self) -> Path:
        return self._one_of([self._root, *(path for path in self._root.rglob("*") if path.is_dir())])

    def _inner_folder(self) -> Path:
        return self._one_of([path for path in self._root.rglob("*") if path.is_dir()])

    def _one_of(self, paths: list[Path]) -> Path:
        if not paths:
            raise FileNotFoundError
        return self._random.choice(paths)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _new_name(self, folder: Path) -> Path:
        return folder / f"photo{self._next()}.{self._random.choice(KINDS)}"

    def _draw(self, path: Path, *, kind: str | None = None) -> None:
        # Few enough seeds that contents come back under other names.
        blots = np.random.default_rng(self._random.randrange(5000)).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        formats = {"jpg": "JPEG", "tif": "TIFF"}
        suffix = kind or path.suffix[1:]
        Image.fromarray(blots).resize((400, 300)).save(path, format=formats.get(suffix, suffix.upper()))


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process and its workers, in MiB: the proportional set size, and what of it is no file's.

    The first depends on who else runs the same libraries at the moment; a leak shows in the second.
    """

    pss: float
    anonymous: float


def memory(pid: int) -> Memory:
    """What a process and its workers take at this moment."""
    sizes: Counter[str] = Counter()
    for number in [pid, *children(pid)]:
        try:
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a worker that has just ended
        for line in lines[1:]:
            name, value, *_ = line.split()
            sizes[name] += int(value)
    return Memory(sizes["Pss:"] / 1024, sizes["Anonymous:"] / 1024)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(number) for path in Path(f"/proc/{pid}/task").glob("*/children") for number in path.read_text().split()]


def essence(db: Path | str) -> dict[Path, tuple[Any, ...]]:
    """The rows of the photos that are there."""
    with Store.open(db, create=False) as store:
        return {
            photo.path: (
                *(photo.superclass, photo.subclass, photo.rank, photo.state),
                *(None if score is None else round(score, 5) for score in (photo.superclass_score, photo.novelty)),
            )
            for photo in store.query(Query())
            if photo.state is not PhotoState.MISSING
        }


def wait_until_idle(db: Path) -> None:
    """Wait until nothing was done for some seconds: longer than the last retry of a broken photo takes."""
    end, before, since = time.monotonic() + PATIENCE_SECONDS, None, time.monotonic()
    while time.monotonic() < end:
        note = watcher_status(db)["watcher"]
        now = (note["totals"], note["queue"])
        if now != before or note["queue"]:
            before, since = now, time.monotonic()
        elif time.monotonic() > since + 10:
            return
        time.sleep(1)


def tag(db: Path, root: Path, model: str | None) -> None:
    """Tag a folder once."""
    words = [sys.executable, "-m", "phototag", "tag", str(root), "--db", str(db)]
    subprocess.run([*words, *(["--model", model] if model is not None else [])], check=False, stderr=subprocess.DEVNULL)


def watch(db: Path, root: Path, model: str | None, log: Path) -> subprocess.Popen[bytes]:
    """Start the watcher, with its model converted before: that takes torch, which then stays in memory."""
    picture = db.parent / "aside" / "one.jpg"
    picture.parent.mkdir()
    Image.new("RGB", (400, 300)).save(picture)
    tag(db.parent / "aside.db", picture.parent, model)
    words = [sys.executable, "-m", "phototag", "watch", str(root), "--db", str(db), "--settle", "0.5"]
    words += ["--model", model] if model is not None else []
    with log.open("wb") as err:
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=err)


def drive(root: Path, watcher: subprocess.Popen[bytes], *, minutes: float, seed: int, rate: float) -> list[Memory]:
    """Change the folder for so long; the watcher's memory each minute."""
    driver = Driver(root, seed=seed, rate=rate)
    driver.start()
    begun = time.monotonic()
    sizes: list[Memory] = []
    try:
        while time.monotonic() < begun + 60 * minutes and watcher.poll() is None:
            time.sleep(60)
            sizes.append(memory(watcher.pid))
            handles = sum(1 for _ in Path(f"/proc/{watcher.pid}/fd").iterdir())
            threads = sum(1 for _ in Path(f"/proc/{watcher.pid}/task").iterdir())
            print(
                f"{(time.monotonic() - begun) / 60:5.1f} min  {sizes[-1].pss:6.1f} MiB, own {sizes[-1].anonymous:6.1f}"
                f"  {handles} files  {threads} threads  {driver.done.total():,} deeds",
                flush=True,
            )
    finally:
        driver.stop()
    print(f"deeds: {dict(driver.done)}")
    return sizes


def verdict(db: Path, fresh: Path, root: Path, model: str | None, sizes: list[Memory]) -> int:
    """Compare with a fresh scan, and the memory at the end with that after the first minutes."""
    tag(fresh, root, model)
    found, expected = essence(db), essence(fresh)
    for path in sorted(found.keys() | expected.keys()):
        if found.get(path) != expected.get(path):
            print(f"differs: {path}: {found.get(path)} instead of {expected.get(path)}")
    problems = check_database(db).problems
    warm = [size.anonymous for size in sizes][min(int(WARM_SECONDS / 60), len(sizes) - 1) :]
    growth = max(warm[-3:]) / max(warm[:3]) - 1
    print(f"{len(expected)} photos, database problems: {list(problems)}, memory {growth:+.1%} since it was warm")
    return int(found != expected or bool(problems) or growth > ALLOWED_GROWTH)


def main() -> int:
    """Soak, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=4, help="changes a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", help="model to tag with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phototag-soak-") as name:
        folder = Path(name)
        root, db, log = folder / "photos", folder / "photos.db", folder / "said"
        root.mkdir()
        os.environ["PHOTOTAG_HOME"] = str(folder / "home")
        watcher = watch(db, root, options.model, log)
        try:
            while not log.read_bytes().startswith(b"Watching"):
                time.sleep(0.1)
            sizes = drive(root, watcher, minutes=options.minutes, seed=options.seed, rate=options.rate)
            wait_until_idle(db)
            sizes.append(memory(watcher.pid))
            code = verdict(db, folder / "fresh.db", root, options.model, sizes)
            watcher.send_signal(signal.SIGTERM)
            print(f"the watcher ended with {watcher.wait()}; the last it said:")
        finally:
            watcher.kill()
            watcher.wait()
        lines = log.read_text(errors="replace").splitlines()
        print("\n".join([f"{len(lines):,} lines", *lines[-5:]]))
    return code


if __name__ == "__main__":
    sys.exit(main())
