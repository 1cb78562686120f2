"""What becomes of one file when keywords are written into it or taken out. Here it is planned, nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from phototag.metadata import (
    HIERARCHICAL,
    KEYWORD_PROPERTIES,
    SUBJECT,
    Edit,
    KeywordProperty,
    XmpError,
    add_keywords,
    comparable,
    edit_jpeg,
    jpeg_packet,
    keywords_in,
    pack_splices,
    remove_keywords,
    replace_jpeg_packet,
    revert,
    unpack_splices,
)
from phototag.store import FileKeywords

Keywords = Mapping[str, Sequence[str]]
# Photos of one class without metadata of their own get the same sidecar.
_SMALL_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Form:
    """How keywords lie in a kind of file. All three raise XmpError where it cannot be done without loss."""

    keywords: Callable[[bytes], dict[str, list[str]]]
    add: Callable[[bytes, Keywords], Edit]
    remove: Callable[[bytes, Keywords, Iterable[str]], bytes]


def _add_to_sidecar(data: bytes, wanted: Keywords) -> Edit:
    if len(data) > _SMALL_BYTES:
        return add_keywords(data, wanted)
    return _add_to_small(data, tuple((label, tuple(keywords)) for label, keywords in wanted.items()))


@lru_cache(512)
def _add_to_small(data: bytes, wanted: tuple[tuple[str, tuple[str, ...]], ...]) -> Edit:
    return add_keywords(data, dict(wanted))


@lru_cache(512)
def _in_small(data: bytes) -> dict[str, list[str]]:
    return keywords_in(data)


def _remove_from_jpeg(data: bytes, keywords: Keywords, created: Iterable[str]) -> bytes:
    packet = jpeg_packet(data)
    if packet is None:
        return data
    less = remove_keywords(packet, keywords, created=created)
    return data if less == packet else replace_jpeg_packet(data, less)


SIDECAR_FORM = Form(
    lambda data: keywords_in(data) if len(data) > _SMALL_BYTES else _in_small(data),
    _add_to_sidecar,
    lambda data, keywords, created: remove_keywords(data, keywords, created=created),
)
JPEG_FORM = Form(
    lambda data: {} if (packet := jpeg_packet(data)) is None else keywords_in(packet),
    lambda data, wanted: edit_jpeg(data, lambda packet: add_keywords(packet, wanted)),
    _remove_from_jpeg,
)


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What a file shall hold (None: there shall be none), and what is known of it then."""

    data: bytes | None
    after: FileKeywords


def digest(data: bytes | None) -> bytes | None:
    """Return the SHA-256 of a file's bytes; None where there is no file."""
    return None if data is None else sha256(data).digest()


def plan_export(
    current: bytes | None,
    known: FileKeywords,
    names: tuple[str, ...],
    form: Form,
    *,
    seed: Callable[[], bytes],
    answered_at: datetime | None = None,
    again: bool = False,
) -> FilePlan:
    """Plan to have a tag's keywords in a file, and no others that are ours.

    Args:
        current: What the file holds; None where there is none.
        known: What phototag wrote into it.
        names: The levels of the tag, superclass first; none takes our keywords out.
        form: How keywords lie in it.
        seed: Returns what a new file begins with.
        answered_at: When a person gave the photo this tag: what was taken out before is written again then.
        again: Write again what was taken out, in any case.

    Raises:
        XmpError: it cannot be done without loss; the text is the reason.
    """
    is_ours = bool(known.items) and current is not None and digest(current) == known.hash_after
    withdrawn, at = known.withdrawn, known.withdrawn_at
    if known.items and not is_ours:
        withdrawn = _joined(withdrawn, _taken_out(current, known, form))
        at = at or datetime.now(UTC)
    if withdrawn and (again or (answered_at is not None and at is not None and answered_at > at)):
        withdrawn = {}
    if not withdrawn:
        at = None
    if is_ours and known.names == names and withdrawn == known.withdrawn:
        return FilePlan(current, known)
    base = _without_ours(current, known, form, is_ours=is_ours)
    nothing = _nothing(digest(base), withdrawn, at)
    if not names:
        return FilePlan(base, nothing)
    start = seed() if base is None else base
    edit = form.add(start, _wanted(form.keywords(start), names, withdrawn))
    if not edit.added:
        return FilePlan(base, nothing)
    if known.items and not is_ours and current is not None and _same(form, edit.data, current):
        # Ours are all there, wherever another program put them: nothing to write, and nothing new to remember.
        return FilePlan(current, replace(known, names=names, withdrawn=withdrawn, withdrawn_at=at))
    after = replace(
        nothing,
        hash_before=digest(base),
        hash_after=digest(edit.data),
        edits=b"" if base is None else pack_splices(edit.splices),
        names=names,
        items=edit.added,
        created=edit.created,
    )
    return FilePlan(edit.data, after)


def plan_undo(current: bytes | None, known: FileKeywords, form: Form) -> FilePlan:
    """Plan to take out what phototag wrote into a file: to the byte if nobody wrote since, else our keywords alone.

    Raises:
        XmpError: it cannot be done without loss; the text is the reason.
    """
    is_ours = current is not None and digest(current) == known.hash_after
    base = _without_ours(current, known, form, is_ours=is_ours)
    return FilePlan(base, _nothing(digest(base), known.withdrawn, known.withdrawn_at))


def _nothing(hash_after: bytes | None, withdrawn: Keywords, at: datetime | None) -> FileKeywords:
    return FileKeywords(hash_after=hash_after, withdrawn=withdrawn, withdrawn_at=at)


def _without_ours(current: bytes | None, known: FileKeywords, form: Form, *, is_ours: bool) -> bytes | None:
    """Return a file without what phototag wrote; None where phototag made it and nobody else wrote into it."""
    if current is None or not known.items:
        return current
    if is_ours and known.hash_before is None:
        return None
    if is_ours:
        try:
            base = revert(current, unpack_splices(known.edits))
        except XmpError:  # the record is damaged
            base = b""
        if digest(base) == known.hash_before:
            return base
    return form.remove(current, known.items, known.created)


def _of_tag(keyword_property: KeywordProperty, names: tuple[str, ...]) -> list[str]:
    """Return what a property says of a tag."""
    separator = keyword_property.separator
    return list(names) if separator is None else [separator.join(names)]


def _wanted(have: Keywords, names: tuple[str, ...], withdrawn: Keywords) -> dict[str, list[str]]:
    """Return the keywords that a file shall hold, by property.

    Flat and hierarchical ones always, other properties where they are in use. darktable and digiKam look at the first
    property that is there: what is flat goes into a new hierarchical list as well, or they would not see it any more.
    """
    wanted: dict[str, list[str]] = {}
    for each in KEYWORD_PROPERTIES:
        if each in (SUBJECT, HIERARCHICAL) or have.get(each.label):
            gone = {comparable(keyword) for keyword in withdrawn.get(each.label, ())}
            ours = [
                keyword
                for keyword in _of_tag(each, names)
                if comparable(keyword) not in gone and not _is_said(each, keyword, have.get(each.label, ()))
            ]
            if ours:
                wanted[each.label] = ours
    if HIERARCHICAL.label in wanted and not have.get(HIERARCHICAL.label):
        flat = [keyword for keyword in have.get(SUBJECT.label, ()) if "|" not in keyword]
        wanted[HIERARCHICAL.label] = [*flat, *wanted[HIERARCHICAL.label]]
    return wanted


def _is_said(keyword_property: KeywordProperty, keyword: str, there: Iterable[str]) -> bool:
    """Return whether a person's keyword has our levels and further ones: "Animals|bird|rooster" says "bird|rooster"."""
    separator = keyword_property.separator
    if separator is None:
        return False
    levels = comparable(f"{separator}{keyword}{separator}")
    return any(levels in comparable(f"{separator}{other}{separator}") for other in there)


def _taken_out(current: bytes | None, known: FileKeywords, form: Form) -> dict[str, list[str]]:
    """Return the keywords of the tag that were written and are not there any more, by property."""
    have = {} if current is None else form.keywords(current)
    gone: dict[str, list[str]] = {}
    for each in KEYWORD_PROPERTIES:
        there = {comparable(keyword) for keyword in have.get(each.label, ())}
        written = {comparable(keyword) for keyword in known.items.get(each.label, ())}
        lost = [
            keyword
            for keyword in _of_tag(each, known.names)
            if comparable(keyword) in written - there and not _is_said(each, keyword, have.get(each.label, ()))
        ]
        if lost:
            gone[each.label] = lost
    return gone


def _joined(first: Keywords, second: Keywords) -> dict[str, Sequence[str]]:
    return {
        label: tuple(dict.fromkeys([*first.get(label, ()), *second.get(label, ())])) for label in {**first, **second}
    }


def _same(form: Form, data: bytes, other: bytes) -> bool:
    def contents(data: bytes) -> dict[str, list[str]]:
        return {label: sorted(items) for label, items in form.keywords(data).items() if items}

    return contents(data) == contents(other)
