"""Check the database, and the room on the disks that it and the cache lie on."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag import settings
from phototag.doctor.check import BROKEN, Check, State, gib, state_of
from phototag.errors import PhotoTagError
from phototag.text import first_line

if TYPE_CHECKING:
    from phototag.database import Location

_LITTLE_DISK_BYTES, _NO_DISK_BYTES = 1 << 30, 100 << 20


def check_database(location: str | Path | None) -> Check:
    """Check whether the database can be opened and written, is sound, and has this version's schema."""
    from phototag.database import database_exists, parse_location

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
    from phototag.database import HEAD, opened_database, require_current, translated_errors

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
        # phototag's errors end with the way out.
        text, _, remedy = first_line(error).removeprefix(f"{place.shown}: ").rpartition("; ")
        text, remedy = f"{shown}: {_without_names(text or remedy, place)}", remedy if text else ""
        return Check("database", State.FAILED, text, remedy or "see: phototag db check", values)
    text = f"{shown}: schema {have}, sound"
    holder = _holder(place)
    values["in_use_by"] = holder
    if place.path is not None and not (os.access(place.path, os.W_OK) and os.access(place.path.parent, os.W_OK)):
        remedy = "change the permissions of the file and its folder, unless it is only to be read"
        return Check("database", State.WARNING, f"{text}, but cannot be written to", remedy, values)
    return Check("database", State.OK, f"{text}, in use by '{holder}'" if holder else text, values=values)


def _without_names(text: str, place: Location) -> str:
    """Return what a server's driver said without the user and the host: a report may be published."""
    named = () if place.url is None else (place.url.username, place.url.password, place.url.host)
    for name in filter(None, named):
        text = text.replace(str(name), "...")
    return text


def _kind_of(place: Location) -> str:
    return "in memory" if place.url is None else place.url.get_backend_name()


def _holder(place: Location) -> str | None:
    from phototag.database import Role, holder_of

    holders = (holder_of(place, role) for role in (Role.WRITE, Role.TAG))
    return next((f"phototag {holder.command}, process {holder.pid}" for holder in holders if holder is not None), None)


def check_disk(location: str | Path | None) -> Check:
    """Check how much room there is for the cache and the database."""
    from phototag.database import parse_location

    folders = {"cache": settings.cache_folder()}
    with suppress(PhotoTagError):  # the database has its own check
        path = parse_location(location).path
        if path is not None:
            folders["database"] = path.parent
    free = {name: shutil.disk_usage(_nearest_folder(folder)).free for name, folder in folders.items()}
    values = {f"{name}_free_bytes": number for name, number in free.items()}
    text = ", ".join(f"{gib(number)} free for the {name}" for name, number in free.items())
    state = state_of(min(free.values()), little=_LITTLE_DISK_BYTES, none=_NO_DISK_BYTES)
    remedy = None if state is State.OK else "make room, or set PHOTOTAG_HOME to a folder on another disk"
    return Check("disk", state, text, remedy, values)


def _nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(candidate for candidate in (folder, *folder.parents) if candidate.is_dir())
