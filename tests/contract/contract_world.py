"""A tiny library that phototag itself makes: every command is run once on it, and what it prints and writes is kept.

Only the command line is used, no module behind it, so that the package can be rearranged without touching this file;
but for one that would measure speeds, which are dropped here, for eight seconds.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from unittest.mock import patch

# Before torch is imported: its threads otherwise spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from click.testing import CliRunner, Result
from contract_shapes import as_text, shape
from PIL import Image

from phototag.cli.main import cli
from phototag.comparison import comparison

COLOURS = {
    ("warm", "red"): (200, 40, 40),
    ("warm", "yellow"): (230, 220, 50),
    ("warm", "brown"): (110, 60, 20),
    ("cold", "blue"): (30, 50, 200),
    ("cold", "green"): (40, 170, 60),
    ("cold", "cyan"): (60, 210, 220),
}
GREY = (125, 125, 125)
# More of one class than the models learned from, so that the audit has a drift to tell of.
PHOTOS = {"red": 30}
BACKBONES = ("test_efficientnet", "test_vit")
# Keys of JSON that are data.
NAMES = {
    **{subclass: "<subclass>" for _, subclass in COLOURS},
    **{superclass: "<superclass>" for superclass, _ in COLOURS},
    **{f"{superclass}/{subclass}": "<superclass/subclass>" for superclass, subclass in COLOURS},
    "light/grey": "<superclass/subclass>",
    "light": "<superclass>",
    "grey": "<subclass>",
    **dict.fromkeys(BACKBONES, "<backbone>"),
    **dict.fromkeys(("tiny-heads", "tiny-full", "tiny-tuned", "tiny-extended"), "<model>"),
}
# Checks of the doctor that every computer has; what the others find depends on what is installed and plugged in.
CHECKS_EVERYWHERE = ("phototag", "python", "system", "memory", "torch", "model", "database", "disk")


@contextmanager
def clean_environment(home: Path) -> Iterator[None]:
    """Keep phototag's folders under `home`, and its settings out of the environment, for a while."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("PHOTOTAG_")]:
        del os.environ[name]
    os.environ.update(PHOTOTAG_HOME=str(home), OMP_NUM_THREADS="1", COLUMNS="100")
    # Tiny pictures look alike, and how much says which runtime there is.
    os.environ.update(PHOTOTAG_TRAIN_GROUPS="none", PHOTOTAG_COMPARE_GROUPS="none")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class World:
    """A folder with pictures, models and a database, and the contracts that were seen while they were made.

    `files` is what was seen: texts by the path that they have below expected/. `codes` are exit codes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.photos = root / "photos"
        self.data = root / "data"
        self.home = root / "home"
        self.files: dict[str, str] = {}
        self.codes: dict[str, int] = {}

    def run(self, *words: str | Path, code: int = 0, input: str | None = None) -> Result:  # noqa: A002
        """Run `phototag` in this process; it has to end with `code`."""
        result = CliRunner().invoke(cli, [os.fspath(word) for word in words], prog_name="phototag", input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code != code:
            raise AssertionError(f"phototag {' '.join(map(str, words))}: exit code {result.exit_code}: {result.stderr}")
        return result

    def keep_json(self, name: str, *words: str | Path, code: int = 0) -> Any:
        """Run a command that prints JSON, keep its keys under that name, and return what it printed."""
        value = json.loads(self.run(*words, code=code).stdout)
        self.keep_shape(name, value)
        return value

    def keep_shape(self, name: str, value: Any) -> None:
        """Keep the keys of a value."""
        self.files[f"json/{_slug(name)}.json"] = as_text(shape(value, NAMES))

    def keep_lines(self, name: str, *words: str | Path, code: int = 0) -> None:
        """Run a command that prints one JSON object a line, and keep its keys."""
        lines = self.run(*words, code=code).stdout_bytes.splitlines()
        self.keep_shape(f"{name} (one a line)", [json.loads(line) for line in lines])

    def keep_header(self, name: str, content: bytes) -> None:
        """Keep the header of a CSV, with what ends the line."""
        first = content.splitlines(keepends=True)[0].decode()
        assert len({len(row) for row in csv.reader(io.StringIO(content.decode(), newline=""))}) == 1
        self.files[f"csv/{_slug(name)}.txt"] = repr(first) + "\n"


def _slug(name: str) -> str:
    """Return a name that every file system takes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# ---- the library


def make_world(root: Path) -> World:
    """Make the library below `root`, an empty folder, and collect every contract that needs one."""
    world = World(root)
    _draw_pictures(world)
    steps: tuple[Callable[[World], None], ...] = (
        *(_train, _tag, _query, _review, _judge, _decide_again, _group, _look_after, _compare),
        *(_model_files, _database, _written_files, _exit_codes, _serve),
    )
    with clean_environment(world.home), _inside(root):
        for step in steps:
            step(world)
    world.files["exit_codes.json"] = as_text(world.codes)
    return world


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _draw(path: Path, colour: tuple[int, int, int], *, seed: int, noise: float = 30) -> None:
    random = np.random.default_rng(seed)
    pixels = np.array(colour) + random.normal(0, noise, (40, 40, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def _draw_pictures(world: World) -> None:
    import timm
    import torch

    for number, ((superclass, subclass), colour) in enumerate(COLOURS.items()):
        for index in range(8):
            _draw(world.data / superclass / subclass / f"{index}.png", colour, seed=100 * number + index)
        for index in range(PHOTOS.get(subclass, 8)):
            _draw(world.photos / f"{subclass}{index}.png", colour, seed=1000 + 100 * number + index)
    for index in range(8):
        # Almost the same, so that they make a group.
        _draw(world.photos / f"grey{index}.png", GREY, seed=9000 + index, noise=4)
        _draw(world.root / "more" / "light" / "grey" / f"{index}.png", GREY, seed=9100 + index, noise=4)
    (world.photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (world.root / "empty").mkdir()
    torch.manual_seed(7)
    torch.save(timm.create_model(BACKBONES[0], pretrained=False).state_dict(), world.root / "weights.pt")
    truths = [(f"{subclass}{index}.png", superclass, subclass) for superclass, subclass in COLOURS for index in (0, 1)]
    rows = [("filepath", "superclass", "subclass"), *truths, ("grey0.png", "", "")]
    (world.photos / "truth.csv").write_text("".join(f"{','.join(row)}\n" for row in rows))
    (world.photos / "wrong.csv").write_text("filepath,superclass,subclass\nred0.png,cold,blue\n")


_QUICK = ("--img-size", "32", "--epochs", "1", "--device", "cpu", "--workers", "0")
_ON_TORCH = ("--device", "cpu", "--runtime", "torch")


def _train(world: World) -> None:
    common = (world.data, "--backbone", BACKBONES[0], "--weights", "weights.pt", "--batch-size", "8", *_QUICK)
    world.run("train", *common, "--tune", "full", "--output", "tiny-full")
    world.run("train", *common, "--tune", "heads", "--output", "tiny-heads", "--keep-known", "0.8")
    world.run("model", "tune", "tiny-heads", "--target-precision", "0.6", "--output", "tiny-tuned")
    world.run(
        "train", "more", "--extend", "tiny-heads", "--output", "tiny-extended", "--device", "cpu", "--workers", "0"
    )
    world.run("model", "use", "tiny-heads")


def _tag(world: World) -> None:
    words = ("tag", "photos", *_ON_TORCH, "--jobs", "1")
    world.keep_json("tag --dry-run", *words, "--dry-run", "--format", "json", code=1)
    world.keep_json("tag", *words, "--format", "json", code=1)
    world.keep_lines("tag", *words, "--format", "ndjson", code=1)
    world.keep_header("tag", world.run(*words, "--format", "csv", code=1).stdout_bytes)
    words = ("watch", "photos", "--once", *_ON_TORCH, "--jobs", "1")
    world.keep_json("watch", *words, "--format", "json")
    world.keep_lines("watch", *words, "--force", "--format", "ndjson", code=1)
    world.keep_header("watch", world.run(*words, "--force", "--format", "csv", code=1).stdout_bytes)
    world.keep_json("status", "status", "--format", "json")


def _query(world: World) -> None:
    rows = world.keep_json("query", "query", "--format", "json")
    world.keep_lines("query", "query", "--format", "ndjson")
    world.keep_header("query", world.run("query", "--format", "csv").stdout_bytes)
    paths = [os.fsencode(row["path"]) for row in rows]
    assert world.run("query", "--format", "paths").stdout_bytes == b"".join(path + b"\n" for path in paths)
    assert world.run("query", "--print0").stdout_bytes == b"".join(path + b"\0" for path in paths)
    assert world.run("query", "--count").stdout == f"{len(paths)}\n"


def _review(world: World) -> None:
    world.keep_json("audit truth", "audit", "truth", "photos/truth.csv", "--import", "--format", "json")
    drawn = ("audit", "sample", "first", "--size", "40", "--by", "superclass", "--seed", "1")
    made = world.keep_json("audit sample", *drawn, "--format", "json")
    assert made["size"] == 40
    # Right, of no class, skipped; some are left.
    world.run("audit", "review", "first", "--no-view", input="y\n" * 30 + "n\nn\nk\nq\n")
    world.keep_json("audit sample --focus", "audit", "sample", "doubtful", "--focus", "lowest", "--format", "json")
    world.keep_json("audit sample --more", "audit", "sample", "first", "--more", "1", "--format", "json")
    world.keep_json("audit sample --list", "audit", "sample", "--list", "--format", "json")
    world.keep_json("audit sample --remove", "audit", "sample", "doubtful", "--remove", "--format", "json")
    world.keep_json("audit report", "audit", "report", "--format", "json")
    world.keep_json("audit report --by folder", "audit", "report", "--by", "folder", "--format", "json")
    more = ("audit", "report", "--ppi", "--plan", "--by", "subclass", "--report", "audit.html", "--format", "json")
    printed = world.keep_json("audit report --ppi --plan", *more)
    assert json.loads(Path("audit.json").read_text()) == printed
    world.keep_header("export labels", world.run("export", "labels", "--include-samples").stdout_bytes)
    world.run("export", "labels", "--output", "labels.csv")
    assert Path("labels.csv").read_bytes().startswith(b"filepath,superclass,subclass,taken_at,")


def _judge(world: World) -> None:
    words = ("evaluate", "photos/truth.csv", "--model", "tiny-full", *_ON_TORCH, "--report", "evaluation.html")
    printed = world.keep_json("evaluate", *words, "--format", "json")
    assert json.loads(Path("evaluation.json").read_text()) == printed
    world.keep_json("model list", "model", "list", "--format", "json")
    for name in ("tiny-heads", "tiny-full", "builtin"):
        world.keep_json(f"model show {name}", "model", "show", name, "--format", "json")
    scored = ("--score", "all", "--format", "json")
    world.keep_json("model diff", "model", "diff", "tiny-heads", "tiny-extended", *scored)


def _decide_again(world: World) -> None:
    words = ("retag", "--subclass-threshold", "1", "--format", "json")
    world.keep_json("retag --dry-run", *words, "--dry-run")


def _group(world: World) -> None:
    found = world.keep_json("novel", "novel", "--min-size", "2", "--format", "json")
    assert found["groups"], "the grey photos make no group"
    world.run("novel", "name", "1", "light/grey", "--except", "1", "--labels", "novel.csv", "--tag")
    world.keep_header("novel name --labels", Path("novel.csv").read_bytes())
    world.keep_json("novel show", "novel", "show", "1", "--format", "json")


def _look_after(world: World) -> None:
    world.keep_json("db info", "db", "info", "--format", "json")
    told = json.loads(world.run("doctor", "--quick", "--json", code=0).stdout)
    values = {one["name"]: shape(one.pop("values"), NAMES) for one in told["checks"]}
    told["checks"] = [{**one, "remedy": None} for one in told["checks"]]
    described = shape(told, NAMES)
    described["values of a check"] = {name: values[name] for name in CHECKS_EVERYWHERE}
    world.files["json/doctor-quick.json"] = as_text(described)


def _compare(world: World) -> None:
    backbones = ("--backbone", BACKBONES[0], "--backbone", BACKBONES[1], "--no-pretrained")
    more = ("--tune", "heads", "--seeds", "1", "--output", "comparison", "--report", "comparison.html")
    with patch.object(comparison, "costs", partial(comparison.costs, seconds=0.05)):
        printed = world.keep_json("compare", "compare", world.data, *backbones, *more, *_QUICK, "--format", "json")
    assert json.loads(Path("comparison.json").read_text()) == printed
    for name in ("training", "test"):
        world.keep_header(f"compare --output, {name}.csv", Path(f"comparison/{name}.csv").read_bytes())
    (run,) = Path("comparison").glob(f"{BACKBONES[0]}-seed0-*.json")
    world.keep_shape("compare --output, one training", json.loads(run.read_text()))


# ---- files


def _model_files(world: World) -> None:
    for name in ("tiny-heads", "tiny-full", "tiny-tuned", "tiny-extended"):
        content = (world.home / "data" / "models" / f"{name}.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        tensors = json.loads(content[8 : 8 + length])
        metadata = tensors.pop("__metadata__")
        header = {key: shape(json.loads(text), NAMES) for key, text in metadata.items()}
        # What lies below "backbone." has timm's names.
        listed = {
            "backbone.*" if key.startswith("backbone.") else key: f"{told['dtype']}, {len(told['shape'])} axes"
            for key, told in tensors.items()
            if not key.startswith("backbone.") or (key.endswith(".weight") and len(told["shape"]) == 4)
        }
        world.files[f"model_files/{name}.json"] = as_text({"metadata": header, "tensors": listed})


def _database(world: World) -> None:
    world.files["database/new.sql"] = _schema(world.home / "data" / "phototag.db")
    for path in sorted((Path(__file__).parents[1] / "data" / "schema").glob("*.db")):
        copy = Path(shutil.copy(path, world.root / path.name))
        world.run("db", "upgrade", "--db", copy)
        world.files[f"database/upgraded_from_{path.stem}.sql"] = _schema(copy)


def _in_order(sql: str) -> str:
    """Return a statement with a part on each line; the constraints of a table, whose order nobody sets, sorted."""
    head, bracket, rest = sql.partition("(")
    body, tail = rest.rsplit(")", 1)
    parts, depth = [""], 0
    for mark in body:
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "," and not depth:
            parts.append("")
        else:
            parts[-1] += mark
    lines = [part.strip() for part in parts]
    rules = sorted(line for line in lines if line.startswith("CONSTRAINT "))
    return f"{head}{bracket} " + ",\n  ".join([line for line in lines if line not in rules] + rules) + f" ){tail}"


def _schema(path: Path) -> str:
    """Return the SQL of all tables, indexes and triggers, one part of a definition a line."""
    query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(query).fetchall()
        versions = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
        settings = [f"{name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]}" for name in _PRAGMAS]
    parts = [f"-- schema {', '.join(versions)}; {', '.join(settings)}"]
    for _, name, sql in found:
        if not name.startswith("sqlite_"):
            parts.append(_in_order(re.sub(r"[ \t\n]+", " ", sql).strip()) + ";")
    return "\n\n".join(parts) + "\n"


_PRAGMAS = ("application_id", "user_version", "encoding", "page_size", "auto_vacuum")


def _written_files(world: World) -> None:
    """Keep which files lie in the data folder, and the keys of those that are JSON."""
    data = world.home / "data"
    found = sorted(path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    # The write-ahead log comes and goes.
    world.files["data_folder.txt"] = "".join(f"{path}\n" for path in found if not path.endswith(("-wal", "-shm")))
    for path in data.glob("*.json"):
        world.keep_shape(f"data folder, {path.name}", json.loads(path.read_text()))


# ---- exit codes


def _exit_codes(world: World) -> None:
    from contract_exits import situations

    world.run("db", "backup", "contradicting.db")
    with closing(sqlite3.connect("contradicting.db")) as connection, connection:
        connection.execute("UPDATE tags SET subclass = 'nosuch' WHERE rank = 'subclass'")
    for name, words, answers in situations():
        result = CliRunner().invoke(cli, list(words), prog_name="phototag", input=answers)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        world.codes[f"{name}: phototag {' '.join(words)}"] = result.exit_code
    done = subprocess.run([sys.executable, "-m", "phototag", "db", "check"], capture_output=True, check=False)
    world.codes["in a process of its own: python -m phototag db check"] = done.returncode


# ---- the page


class _Page:
    """The page of a running server, as a browser that was let in asks for it."""

    def __init__(self, world: World, link: str) -> None:
        self.world = world
        self.address = link.partition("/?")[0]
        self.seen: dict[str, str] = {}
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        self.opener = urllib.request.build_opener(jar, urllib.request.ProxyHandler({}))
        self.ask("GET", "/" + link.rpartition("/")[2], name="/?token=<token>")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, name: str | None = None) -> Any:
        """Ask for something, keep what kind of answer comes, and return it if it is JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, data=data, method=method, headers=headers)
        try:
            answer = self.opener.open(request, timeout=120)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content, kind = answer.read(), answer.headers.get("Content-Type", "")
        name = name or re.sub(r"\d+", "<n>", path)
        self.seen[f"{method} {name}"] = f"{answer.status} {kind}"
        if "json" not in kind:
            return None
        value = json.loads(content)
        shown = re.sub(r"[?/]+", " ", name).strip()
        self.world.keep_shape(f"page, {method} {shown}", value)
        return value


def _serve(world: World) -> None:
    for path in world.photos.glob("*[13579].png"):
        # The page passes by photos that are gone.
        path.unlink()
    words = [sys.executable, "-m", "phototag", "serve", "--no-open", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            link = process.stdout.readline().decode().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+", link), link
            page = _Page(world, link)
            _look_around(page)
            _review_in_page(page)
        finally:
            process.terminate()
        process.communicate(timeout=120)
    world.codes["ended by SIGTERM: phototag serve"] = process.returncode
    world.files["page.json"] = as_text(page.seen)


def _look_around(page: _Page) -> None:
    for path in ("/photos/1", "/photos/1/similar", "/photos/1/thumbnail", "/photos/1/picture", "/photos/more"):
        page.ask("GET", path)
    for path in ("/?superclass=warm", "/review", "/review/1", "/audit", "/audit/cell?level=subclass&truth=red&tag=red"):
        page.ask("GET", path)
    page.ask("GET", "/login")
    page.ask("GET", "/api/nothing", name="/api/<unknown>")
    page.ask("GET", "/photos/99999", name="/photos/<unknown>")
    page.ask("GET", "/api/names")
    page.ask("GET", "/api/names?typed=re")


def _review_in_page(page: _Page) -> None:
    made = page.ask("POST", "/api/samples", {"size": 6})
    page.ask("POST", f"/api/samples/{made['sample_id']}/remove", {}, name="/api/samples/<n>/remove")
    # Which photos that one has differs each time; the one from the terminal was drawn with a seed.
    sample = "/api/samples/1"
    page.ask("GET", f"{sample}/progress")
    found = page.ask(
        "POST", f"{sample}/next", {"tab": "contract-tab", "have": [], "passed": [], "want": 20, "any": False}
    )
    page.ask("POST", f"{sample}/hold", {"tab": "contract-tab", "have": [found["photos"][0]["position"]]})
    first, second = found["photos"][:2]
    answer = {
        "kind": "review",
        "superclass": "warm",
        "subclass": "red",
        "token": "first-answer",
        "newest": first["newest"],
    }
    where = {key: first[key] for key in ("position", "photo_id", "version")}
    said = page.ask("POST", f"{sample}/answers", {**where, **answer})
    conflict = {**where, **answer, "superclass": "cold", "subclass": "blue", "token": "second-answer"}
    page.ask("POST", f"{sample}/answers", conflict, name="/api/samples/<n>/answers, reviewed meanwhile")
    where = {key: second[key] for key in ("position", "photo_id", "version")}
    skip = {**where, "kind": "skip", "newest": second["newest"]}
    page.ask("POST", f"{sample}/answers", skip, name="/api/samples/<n>/answers, skipped")
    page.ask("GET", f"{sample}/last?before=2100-01-01T00:00:00%2B00:00", name="/api/samples/<n>/last?before=<time>")
    back = {"tab": "contract-tab", "position": first["position"], "review_id": said["review_id"]}
    page.ask("POST", f"{sample}/undo", back)
    photo = {"superclass": "warm", "subclass": "red", "token": "third-answer", "version": first["version"]}
    saved = page.ask("POST", f"/api/photos/{first['photo_id']}/review", photo)
    page.ask("POST", f"/api/reviews/{saved['review_id']}/undo")
    page.ask("POST", f"/api/photos/{first['photo_id']}/review", {}, name="/api/photos/<n>/review, nothing said")
    page.ask("POST", "/logout")
