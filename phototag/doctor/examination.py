"""Examine this computer, this installation and this library: one check after the other.

No check raises, whatever is broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from phototag.doctor import computer, installation, model_checks, storage
from phototag.doctor.check import BROKEN, Check, State
from phototag.text import first_line

_Look = Callable[[], Check | list[Check]]

CHECKS: tuple[tuple[str, _Look], ...] = (
    ("phototag", installation.check_phototag),
    ("python", installation.check_python),
    ("system", installation.check_system),
    ("memory", computer.check_memory),
    ("torch", installation.check_torch),
    ("openvino", installation.check_openvino),
    ("numba", installation.check_numba),
    ("nncf", installation.check_nncf),
    ("weights", installation.check_weights),
    ("formats", installation.check_formats),
    ("decoder", model_checks.check_decoder),
    ("model", model_checks.check_model),
    ("inotify", computer.check_inotify),
)
"""What is looked at, in order, before the database and the disk, which depend on where the database is."""


def examine(location: str | Path | None = None, *, quick: bool = False) -> Iterator[Check]:
    """Look at everything, in order; each check is given as soon as it is done. `quick` measures no speed.

    `location` is the database, None for the default one. The user's home folder is written as ~ everywhere.
    """
    torch_works = True
    located: list[tuple[str, _Look]] = [
        ("database", partial(storage.check_database, location)),
        ("disk", partial(storage.check_disk, location)),
    ]
    for name, look in [*CHECKS, *located]:
        for check in _looked(name, look):
            torch_works = torch_works and not (check.name == "torch" and check.state is State.FAILED)
            yield check
    if not quick:
        yield from _looked("decoding speed", model_checks.measure_decoding)
        yield from _networks(torch_works=torch_works)


def _networks(*, torch_works: bool) -> Iterator[Check]:
    name = "network speed"
    if not torch_works:
        yield Check(name, State.WARNING, "not measured, since torch does not load", "see the line on torch")
        return
    try:
        for precision_name, measure in model_checks.network_measurements():
            yield from _looked(precision_name, measure)
    except BROKEN as error:
        yield _without_home(Check(name, State.FAILED, first_line(error), "see the lines above"))


def _looked(name: str, look: _Look) -> list[Check]:
    try:
        found = look()
    except BROKEN as error:
        remedy = "what the line says; if that is no help, report it with the output of: phototag doctor --json"
        found = Check(name, State.FAILED, first_line(error), remedy)
    return [_without_home(check) for check in ([found] if isinstance(found, Check) else found)]


def _without_home(check: Check) -> Check:
    """Return the check with ~ for the home folder, which most often holds the user's name."""
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
