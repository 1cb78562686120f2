"""Whether this computer, this installation and this library are fit to work with: one check after the other.

No check raises, whatever is broken.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag import settings
from phototag.doctor import installation
from phototag.doctor.check import BROKEN, Check, State, first_line, gib
from phototag.doctor.installation import INSTALL_TORCH
from phototag.errors import PhotoTagError

if TYPE_CHECKING:
    from phototag.choices import Precision
    from phototag.model import Model
    from phototag.runtime import Target
    from phototag.store import Location

_FEW_WATCHES = 65_536
_LITTLE_DISK_BYTES, _NO_DISK_BYTES = 1 << 30, 100 << 20
_LITTLE_MEMORY_BYTES, _NO_MEMORY_BYTES = 1 << 30, 256 << 20
_MEASURING_SECONDS = 2.5

_Look = Callable[[], Check | list[Check]]


def examine(location: str | Path | None = None, *, quick: bool = False) -> Iterator[Check]:
    """Look at everything, in order; each check is given as soon as it is done. `quick` measures no speed.

    `location` is the database, None for the default one. The user's home folder is written as ~ everywhere.
    """
    torch_works = True
    looks: list[tuple[str, _Look]] = [("database", partial(_database, location)), ("disk", partial(_disk, location))]
    for name, look in [*_LOOKS, *looks]:
        for check in _looked(name, look):
            torch_works = torch_works and not (check.name == "torch" and check.state is State.FAILED)
            yield check
    if not quick:
        yield from _looked("decoding speed", _decoding)
        yield from _networks(torch_works=torch_works)


def _looked(name: str, look: _Look) -> list[Check]:
    try:
        found = look()
    except BROKEN as error:
        remedy = "what the line says; if that is no help, report it with the output of: phototag doctor --json"
        found = Check(name, State.FAILED, first_line(str(error)) or type(error).__name__, remedy)
    return [_without_home(check) for check in ([found] if isinstance(found, Check) else found)]


def _without_home(check: Check) -> Check:
    """The check with ~ for the home folder, which most often holds the user's name."""
    try:
        home = Path.home()
    except RuntimeError:
        return check
    folders = sorted({str(home), str(home.resolve())} - {home.anchor}, key=len, reverse=True)
    if not folders:
        return check
    anywhere = re.compile(rf"(?:{'|'.join(map(re.escape, folders))})(?![\w.-])")
    return replace(
        check,
        text=anywhere.sub("~", check.text),
        remedy=check.remedy and anywhere.sub("~", check.remedy),
        values={key: anywhere.sub("~", it) if isinstance(it, str) else it for key, it in check.values.items()},
    )


# -- what phototag works with


def _model() -> Check:
    from phototag.model import open_model

    remedy = "choose another model: phototag model use NAME (phototag model list names them)"
    try:
        model = open_model()
        digest = model.hash
        if model.path is not None:
            model.tensors()  # reads all of the file
    except BROKEN as error:
        return Check("model", State.FAILED, first_line(str(error)), remedy)
    taxonomy = model.header.taxonomy
    values = {
        "name": model.name,
        "backbone": model.header.backbone,
        "superclasses": len(taxonomy.superclasses),
        "subclasses": len(taxonomy.subclasses),
        "hash": digest,
    }
    classes = f"{len(taxonomy.superclasses)} superclasses, {len(taxonomy.subclasses)} subclasses"
    return Check("model", State.OK, f"{model.name}: {model.header.backbone}, {classes}, {digest[:12]}", values=values)


def _decoder() -> Check:
    import io

    from PIL import Image

    from phototag.imaging import Decoder, Preprocessing

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "BMP")
    started = time.perf_counter()
    with Decoder(Preprocessing(size=32)) as decoder:
        try:
            decoder(file.getvalue(), Path("picture"))
        except PhotoTagError as error:
            remedy = "free memory, and see that this user may start more processes (ulimit -u)"
            return Check("decoder", State.FAILED, str(error).partition(": ")[2], remedy)
        seconds = time.perf_counter() - started
    text = f"helper processes start in {seconds:.1f} s"
    return Check("decoder", State.OK, text, values={"start_seconds": round(seconds, 3)})


def _database(location: str | Path | None) -> Check:
    from phototag.store import database_exists, parse_location

    place = parse_location(location)
    shown = str(place.path) if place.path is not None else _kind_of(place)
    if place.path is not None and not database_exists(place):
        folder = _nearest_folder(place.path.parent)
        values = {"path": shown, "exists": False}
        if not os.access(folder, os.W_OK):
            remedy = "name a database elsewhere with --db, or another home with PHOTOTAG_HOME"
            return Check("database", State.FAILED, f"{shown}: {folder} cannot be written to", remedy, values)
        return Check("database", State.OK, f"{shown}: none yet; phototag tag makes it", values=values)
    return _opened_database(place, shown)


def _opened_database(place: Location, shown: str) -> Check:
    from phototag.store import HEAD, opened_database, require_current, translated_errors

    values: dict[str, Any] = {"path": shown, "exists": True, "needs_schema": HEAD}
    try:
        with opened_database(place) as (engine, have), translated_errors(place), engine.connect() as connection:
            values["schema"] = have
            if place.path is not None:
                found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(1)")]
                if found != ["ok"]:
                    remedy = "go back to a backup; phototag db check says more"
                    return Check("database", State.FAILED, f"{shown}: damaged: {found[0]}", remedy, values)
            require_current(have, place)
    except BROKEN as error:
        # Without what a URL says of users and hosts; and phototag's errors end with the way out.
        text, _, remedy = first_line(str(error)).replace(place.shown, shown).rpartition("; ")
        return Check("database", State.FAILED, text or remedy, remedy if text else "see: phototag db check", values)
    text = f"{shown}: schema {have}, sound"
    holder = _holder(place)
    values["in_use_by"] = holder
    if place.path is not None and not (os.access(place.path, os.W_OK) and os.access(place.path.parent, os.W_OK)):
        remedy = "change the permissions of the file and its folder, unless it is only to be read"
        return Check("database", State.WARNING, f"{text}, but cannot be written to", remedy, values)
    return Check("database", State.OK, f"{text}, in use by '{holder}'" if holder else text, values=values)


def _kind_of(place: Location) -> str:
    return "in memory" if place.url is None else place.url.get_backend_name()


def _holder(place: Location) -> str | None:
    from phototag.store import Role, holder_of

    holders = (holder_of(place, role) for role in (Role.WRITE, Role.TAG))
    return next((f"phototag {holder.command}, process {holder.pid}" for holder in holders if holder is not None), None)


# -- what the computer has


def _inotify() -> Check:
    from phototag.library import inotify_limits

    limits = inotify_limits()
    if limits is None:
        return Check("inotify", State.OK, "not on this system; phototag watch has other ways")
    text = f"{limits.max_user_watches:,} folders can be watched"
    values = {"max_user_watches": limits.max_user_watches, "max_user_instances": limits.max_user_instances}
    if limits.max_user_watches < _FEW_WATCHES:
        remedy = (
            "echo fs.inotify.max_user_watches=524288 | sudo tee /etc/sysctl.d/60-phototag.conf && sudo sysctl --system"
        )
        return Check("inotify", State.WARNING, f"only {text}; with more, changes are found late", remedy, values)
    return Check("inotify", State.OK, text, values=values)


def _disk(location: str | Path | None) -> Check:
    from phototag.store import parse_location

    folders = {"cache": settings.cache_folder()}
    with suppress(PhotoTagError):  # the database has a check of its own
        path = parse_location(location).path
        if path is not None:
            folders["database"] = path.parent
    free = {name: shutil.disk_usage(_nearest_folder(folder)).free for name, folder in folders.items()}
    values = {f"{name}_free_bytes": number for name, number in free.items()}
    text = ", ".join(f"{gib(number)} free for the {name}" for name, number in free.items())
    state = _judged(min(free.values()), little=_LITTLE_DISK_BYTES, none=_NO_DISK_BYTES)
    remedy = None if state is State.OK else "make room, or set PHOTOTAG_HOME to a folder on another disk"
    return Check("disk", state, text, remedy, values)


def _memory() -> Check:
    free = _free_memory_bytes()
    if free is None:
        return Check("memory", State.OK, "this system does not say how much is free")
    state = _judged(free, little=_LITTLE_MEMORY_BYTES, none=_NO_MEMORY_BYTES)
    remedy = None if state is State.OK else "end other programs, or use a smaller --batch-size and fewer --workers"
    return Check("memory", state, f"{gib(free)} free", remedy, {"free_bytes": free})


def _judged(number: int, *, little: int, none: int) -> State:
    return State.FAILED if number < none else State.WARNING if number < little else State.OK


def _free_memory_bytes() -> int | None:
    """What programs can still get; in a container, of what it may have."""
    free = None
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    try:
        most, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return free  # no container, or one without a limit
    return min(free, most - used) if free is not None else most - used


def _nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(candidate for candidate in (folder, *folder.parents) if candidate.is_dir())


# -- how fast it is


def _decoding() -> Check:
    from phototag.model import open_model
    from phototag.runtime import decoding_speed

    speed, threads = decoding_speed(open_model().header.preprocessing, seconds=_MEASURING_SECONDS)
    text = f"{speed:.0f} photos a second (JPEG of 12 megapixels, {threads} threads)"
    return Check("decoding speed", State.OK, text, values={"photos_per_second": round(speed, 1), "threads": threads})


def _networks(*, torch_works: bool) -> Iterator[Check]:
    """The active model's speed in each precision that this computer offers for it."""
    name = "network speed"
    if not torch_works:
        yield Check(name, State.WARNING, "not measured, since torch does not load", INSTALL_TORCH)
        return
    try:
        from phototag.choices import Precision
        from phototag.model import open_model
        from phototag.runtime import choose_target, faster_precision

        model, target = open_model(), choose_target()
        faster = faster_precision(target)
    except BROKEN as error:
        yield _without_home(Check(name, State.FAILED, first_line(str(error)), "see the lines above"))
        return
    for precision in (Precision.F32, *([faster] if faster is not None else [])):
        yield from _looked(f"{name} {precision}", partial(_network, model, target, precision))


def _network(model: Model, target: Target, precision: Precision) -> Check:
    from phototag.runtime import Runtime, network_speed

    started = time.perf_counter()
    runtime = Runtime(model, target=target, precision=precision)
    loading = time.perf_counter() - started
    speed = network_speed(runtime, seconds=_MEASURING_SECONDS)
    text = f"{speed:.0f} photos a second ({model.name}, {target.runtime} on {target.device}), loaded in {loading:.1f} s"
    values = {
        "photos_per_second": round(speed, 1),
        "load_seconds": round(loading, 2),
        "device": str(target.device),
        "runtime": str(target.runtime),
        "precision": str(precision),
        "model": model.name,
    }
    return Check(f"network speed {precision}", State.OK, text, values=values)


_LOOKS: tuple[tuple[str, _Look], ...] = (
    ("phototag", installation.check_phototag),
    ("python", installation.check_python),
    ("system", installation.check_system),
    ("memory", _memory),
    ("torch", installation.check_torch),
    ("openvino", installation.check_openvino),
    ("numba", installation.check_numba),
    ("nncf", installation.check_nncf),
    ("decoder", _decoder),
    ("model", _model),
    ("inotify", _inotify),
)
