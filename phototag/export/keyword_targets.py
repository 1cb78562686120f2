"""Which files the keywords of photos belong into, and what is known of these files."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phototag.export.keyword_file import JPEG_FORM, SIDECAR_FORM, Form, digest
from phototag.export.keyword_report import KeywordReport
from phototag.export.keyword_rule import KeywordRule, UnfitNameError
from phototag.files import open_regular, sweep
from phototag.metadata import (
    Siblings,
    XmpError,
    embedded_packets,
    fresh_packet,
    new_sidecar,
    read_seen,
    sidecar_from,
    sidecars_of,
)
from phototag.paths import S3Path, path_of
from phototag.store import ExportKind, FileKeywords, KeywordCandidate, KeywordExport, Store

_FOLDERS = 64
_LISTING_SHARE = 50.0  # listing takes at most 2 % of the time
_JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}
_UNTOLD = FileKeywords()
_IN_STORAGE = "lies in object storage, where nothing is written; its tags: phototag query --format csv"


@dataclass(frozen=True, slots=True)
class KeywordTask:
    """A file to write into: `names` are the levels of the photo's tag; None takes out what phototag wrote."""

    export: KeywordExport
    names: tuple[str, ...] | None = None
    photo: KeywordCandidate | None = None

    @property
    def path(self) -> Path:
        return self.export.path

    @property
    def form(self) -> Form:
        return JPEG_FORM if self.export.kind is ExportKind.EMBEDDED else SIDECAR_FORM


@dataclass(frozen=True, slots=True)
class _Listing:
    """The files of a folder, when they were listed and how long that took."""

    siblings: Siblings
    at: float
    seconds: float


class KeywordTasks:
    """Finds what is to be done for photos.

    Args:
        store: The database.
        rule: Which tags become keywords.
        report: Counts the photos of which nothing can or need be done.
        embed: Write into JPEG files themselves.
        dry_run: Change nothing, not even the ledger.
    """

    def __init__(self, store: Store, rule: KeywordRule, report: KeywordReport, *, embed: bool, dry_run: bool) -> None:
        self._ledger = store.keyword_exports
        self._rule, self._report = rule, report
        self._embed, self._dry_run = embed, dry_run
        self._folders: OrderedDict[Path, _Listing] = OrderedDict()
        self._swept: set[Path] = set()

    def of(self, photos: Sequence[KeywordCandidate]) -> list[KeywordTask]:
        """Return what is to be done for photos; those of which nothing can be done are counted in the report."""
        of_photo: dict[int, list[KeywordExport]] = defaultdict(list)
        for export in self._ledger.of_photos([photo.id for photo in photos]):
            of_photo[export.photo_id or 0].append(export)
        wanted: list[tuple[KeywordCandidate, tuple[str, ...], dict[Path, ExportKind]]] = []
        for photo in photos:
            place = path_of(photo.path_bytes)
            if isinstance(place, S3Path):
                self._report.refuse(place, _IN_STORAGE)
                continue
            try:
                names = self._rule.names(photo)
                # Where they were embedded once, that is where they stay: a new sidecar would repeat the old ones.
                embed = self._embed or any(
                    each.kind is ExportKind.EMBEDDED and each.state.items for each in of_photo[photo.id]
                )
                targets = self._targets(photo, embed=embed) if names or of_photo[photo.id] else {}
            except (UnfitNameError, OSError) as error:
                self._report.refuse(photo.path, reason_of(error))
                continue
            if not names and not of_photo[photo.id]:
                self._report.without += 1
                continue
            wanted.append((photo, names, targets))
        entries = self._ledger.at([os.fsencode(path) for *_, targets in wanted for path in targets])
        self._forget_strangers(entries, of_photo)
        tasks: dict[Path, KeywordTask] = {}
        for photo, names, targets in wanted:
            earlier = {export.path: export for export in of_photo[photo.id]}
            for path, export in self._others(photo.path, earlier, targets, entries).items():
                tasks.setdefault(path, KeywordTask(export, names, photo))
            for path, kind in targets.items():
                entry = entries.get(os.fsencode(path)) or KeywordExport(
                    path_bytes=os.fsencode(path), photo_id=photo.id, kind=kind, state=_UNTOLD
                )
                tasks.setdefault(path, KeywordTask(replace(entry, photo_id=photo.id), names, photo))
        return self._with_copied(list(tasks.values()))

    def to_undo(self, exports: Sequence[KeywordExport]) -> list[KeywordTask]:
        """Return what is to be taken out; files that others made under a known name are counted in the report."""
        tasks = []
        photos = self._ledger.photo_paths(exports)
        for export in exports:
            photo = photos.get(export.photo_id or 0)
            is_there = os.path.lexists(export.path)
            if not is_there or not _is_the_same(export, photo):
                followed = self._followed(export, photo)
                if followed is None and is_there:
                    self._report.refuse(export.path, "changed since, and its photo is not beside it any more")
                    continue
                export = followed or export
            tasks.append(KeywordTask(export))
        return tasks

    def _forget_strangers(self, entries: dict[bytes, KeywordExport], of_photo: dict[int, list[KeywordExport]]) -> None:
        """Drop what is known of a file that is another one now: its photo went elsewhere, and its path is used again.

        What the other photo took along is noted at its new place, before the entry here is written over.
        """
        photos = self._ledger.photo_paths(entries.values())
        for path, export in list(entries.items()):
            photo = photos.get(export.photo_id or 0)
            if _is_the_same(export, photo):
                continue
            del entries[path]
            followed = self._followed(export, photo)
            if followed is not None:
                entries[followed.path_bytes] = followed
                earlier = of_photo.get(export.photo_id or 0, [])
                earlier[:] = [followed if each.id == export.id else each for each in earlier]

    def _followed(self, export: KeywordExport, photo: Path | None) -> KeywordExport | None:
        """Return the entry of a file at the place where it went with its photo; None if it is not there."""
        place = None if photo is None else export.place_with(photo)
        if place is None or place == export.path or not os.path.lexists(place):
            return None
        return None if self._ledger.at([os.fsencode(place)]) else self._at(export, place)

    def _targets(self, photo: KeywordCandidate, *, embed: bool) -> dict[Path, ExportKind]:
        """Return the files that a photo's keywords belong into."""
        path = photo.path
        siblings = self._siblings(path.parent)
        found: dict[Path, ExportKind] = {}
        if embed and path.suffix.lower() in _JPEG_SUFFIXES:
            found[path] = ExportKind.EMBEDDED
        sidecars = sidecars_of(path, siblings=siblings)
        if not sidecars and not found:
            sidecars = (new_sidecar(path, siblings=siblings),)
        return found | dict.fromkeys(sidecars, ExportKind.SIDECAR)

    def _siblings(self, folder: Path) -> Siblings:
        listing = self._folders.get(folder)
        if listing is None:
            if not self._dry_run:
                self.sweep(folder)
            began = time.monotonic()
            siblings = Siblings.of(folder)
            listing = self._folders[folder] = _Listing(siblings, began, time.monotonic() - began)
            if len(self._folders) > _FOLDERS:
                self._folders.popitem(last=False)
        return listing.siblings

    def look_again(self) -> None:
        """Forget which files there were a while ago; a folder of many thousand is not listed again all the time."""
        now = time.monotonic()
        for folder, listing in list(self._folders.items()):
            if now - listing.at > _LISTING_SHARE * listing.seconds:
                del self._folders[folder]

    def sweep(self, folder: Path) -> None:
        """Remove what killed runs left; a link that they made keeps a sidecar from being replaced."""
        if folder not in self._swept:
            self._swept.add(folder)
            sweep(folder)

    def _others(
        self,
        photo: Path,
        earlier: dict[Path, KeywordExport],
        targets: dict[Path, ExportKind],
        entries: dict[bytes, KeywordExport],
    ) -> dict[Path, KeywordExport]:
        """Return the other files that a photo's keywords are in; what went with the photo gets its new path."""
        others = {}
        for path, export in earlier.items():
            if path in targets:
                continue
            is_there = os.path.lexists(path)
            if not is_there or not _is_the_same(export, photo):
                sidecars = [each for each, kind in targets.items() if kind is ExportKind.SIDECAR]
                places = [photo] if export.kind is ExportKind.EMBEDDED else sidecars
                if is_there:  # another file by now; ours may have gone with the photo, but only under its own name
                    places = [each for each in places if each == export.place_with(photo)]
                place = next((each for each in places if os.fsencode(each) not in entries), None)
                if place is not None and os.path.lexists(place):
                    moved = self._at(export, place)
                    entries[moved.path_bytes] = moved
                    if place not in targets:
                        others[place] = moved
                    continue
            others[path] = export
        return others

    def _with_copied(self, tasks: list[KeywordTask]) -> list[KeywordTask]:
        """Return the tasks, with what is known of files that came here from elsewhere, by what they hold."""
        untold: dict[bytes, list[int]] = defaultdict(list)
        for index, task in enumerate(tasks):
            if task.export.id is None and task.export.kind is ExportKind.SIDECAR and os.path.lexists(task.path):
                try:
                    seen = read_seen(task.path)
                except (OSError, XmpError):  # said when it is planned
                    continue
                if seen is not None:
                    untold[digest(seen.data) or b""].append(index)
        for export in self._ledger.with_content(untold):
            here = untold[export.state.hash_after or b""]
            # Sidecars of one class hold the same: the name tells which is which, as far as it matters.
            if not here or not export.state.items:
                continue
            chosen = next((each for each in here if tasks[each].path.name == export.path.name), here[0])
            here.remove(chosen)
            task = tasks[chosen]
            known = replace(export, id=None) if os.path.lexists(export.path) else self._at(export, task.path)
            known = replace(known, path_bytes=task.export.path_bytes, photo_id=task.export.photo_id)
            tasks[chosen] = replace(task, export=known)
        return tasks

    def _at(self, export: KeywordExport, path: Path) -> KeywordExport:
        if not self._dry_run and export.id is not None:
            self._ledger.move({export.id: os.fsencode(path)})
        return replace(export, path_bytes=os.fsencode(path))


def _is_the_same(export: KeywordExport, photo: Path | None) -> bool:
    """Return whether a file is the one that was written into, by its photo beside it or by its content.

    Another photo may have got the name of one that was moved: its sidecar is not ours, whatever it holds.
    """
    if photo is not None and export.lies_with(photo):
        return True
    try:
        seen = read_seen(export.path)
    except (OSError, XmpError):
        return False
    return seen is not None and digest(seen.data) == export.state.hash_after


def seed_of(task: KeywordTask) -> bytes:
    """Return what a new sidecar begins with: what its photo says of itself."""
    if task.photo is None:
        return fresh_packet()
    photo = task.photo.path
    try:
        with open_regular(photo) as file:
            packets = embedded_packets(file)
    except XmpError as error:
        raise XmpError(f"cannot be made, since the photo {error}") from None
    if packets:
        try:
            return sidecar_from(packets)
        except XmpError as error:
            raise XmpError(f"cannot be made, since the photo {error}") from None
    of_stem = task.path.stem.casefold() == photo.stem.casefold()
    return fresh_packet(photo.suffix.lstrip(".") if of_stem else None)


def reason_of(error: Exception) -> str:
    """Return in words why a file is left alone."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)
