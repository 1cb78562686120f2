"""Labelled pictures in a library with keywords: the last two levels of a keyword are superclass and subclass."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from phototag.dataset.keyword_classes import KeywordMap, Levels, class_of, levels_of, visible
from phototag.errors import TaxonomyError
from phototag.library import LeftOut, Partners, ScanProblems, resolve_roots, scan
from phototag.metadata import KeywordReader, WrittenKeywords, joined_keywords
from phototag.progress import waiting
from phototag.taxonomy import Label, check_name, label_text, spelling_key
from phototag.text import nfc, shorten

log = logging.getLogger(__name__)

FEWEST_PHOTOS = 3
"""A class of fewer photos is not learned from keywords: one is kept apart, and the others tell little of it."""

_DEEPEST = 64
_SEVERAL = "photos whose keywords name several classes"
_MOST_LISTED = 10
_MOST_SHOWN = 60


@dataclass(frozen=True)
class KeywordedLibrary:
    """A library whose photos, or sidecars, hold keywords; labelled data that is read where it lies.

    Args:
        root: A folder, or one photo.
        mapping: The CSV in which a person says which keyword is which class.
        written: What phototag wrote itself, which says nothing.
    """

    root: Path
    mapping: Path | None = None
    written: WrittenKeywords = field(default_factory=WrittenKeywords)

    def pictures(self) -> tuple[list[tuple[Path, Label, str]], LeftOut]:
        """Return the photos with their classes and the keywords that name these; tell what is not taken and why.

        Raises:
            DataError: the mapping file is not usable.
            UsageError: there is no such folder or photo.
        """
        mapping = KeywordMap() if self.mapping is None else KeywordMap.read(self.mapping)
        problems = ScanProblems()
        with waiting("reading keywords"):
            photos = read_keywords([self.root], problems, self.written)
        for line in problems.lines[:_MOST_LISTED]:
            log.warning("%s", line)
        classes = _Classes(photos.values(), mapping)
        found: list[tuple[Path, Label, str]] = []
        several: Counter[str] = Counter()
        for path, keywords in photos.items():
            named = class_of(keywords, mapping, classes.match)
            if named.several:
                several[" with ".join(sorted(label_text(*label) for label in named.several[:3]))] += 1
            elif named.label is not None and named.label[1] is not None:
                found.append((path, named.label, ", ".join(keywords)))
            elif named.label is not None:
                classes.left_out["superclass only"][label_text(*named.label)] += 1
        found = list(_learnable(found, classes.left_out))
        classes.left_out[_SEVERAL] = several
        _tell(self.root, len(photos), len(found), classes)
        return found, problems.left_out


def read_keywords(
    roots: Sequence[Path], problems: ScanProblems, written: WrittenKeywords
) -> dict[Path, tuple[str, ...]]:
    """Return every photo at or below `roots` with its keywords; what cannot be read is noted in `problems`.

    A raw photo and the picture beside it are one photo: the picture, with the keywords of both.

    Raises:
        UsageError: a root is no folder and no photo.
    """
    reader, partners = KeywordReader(written), Partners()
    found: dict[Path, tuple[str, ...]] = {}
    for photo in scan(resolve_roots(roots), problems):
        file = cast("Path", photo.path)  # the roots are
        path = cast("Path", partners.lead_of(file) or file)
        try:
            keywords = reader.read(file)
        except OSError as error:
            problems.add(bytes(file), error)
        else:
            found[path] = joined_keywords((*found[path], *keywords)) if path in found else keywords
    problems.lines += reader.problems
    return found


class _Classes:
    """The classes that the keywords of a library are: the last two levels of each that has levels.

    `left_out` counts photos by reason and keyword, `outermost` the keywords by their first level.
    """

    def __init__(self, photos: Iterable[Sequence[str]], mapping: KeywordMap) -> None:
        self.left_out: dict[str, Counter[str]] = defaultdict(Counter)
        self._photos: Counter[Levels] = Counter()
        self._below: Counter[Levels] = Counter()
        self.outermost: Counter[str] = Counter()
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        outermost: dict[str, str] = {}
        for keywords in photos:
            for keyword in keywords:
                levels = levels_of(keyword)
                if mapping.find(keyword) is not None:
                    continue
                self._photos[levels] += 1
                self._below.update(_above(levels))
                if len(levels) > 1:
                    self.outermost[outermost.setdefault(levels[0], keyword.split("|")[0])] += 1
                for name in map(visible, keyword.split("|")[-2:]):
                    spellings[spelling_key(name)][nfc(name)] += 1
        # Written in several ways it is one class, as a person says in the mapping, or as most photos have it.
        self._names = {key: min(names, key=lambda name: (-names[name], name)) for key, names in spellings.items()}
        self._names |= {spelling_key(name): name for label in mapping.labels for name in label if name is not None}

    def match(self, keyword: str) -> Label | None:
        """Return the class that a keyword is, None if it is none; the reason is noted."""
        levels = levels_of(keyword)
        reason = self._why_not(levels)
        if reason:
            self.left_out[reason][keyword] += 1
            return None
        superclass, subclass = (self._names[level] for level in levels[-2:])
        try:
            return check_name(superclass, "superclass"), check_name(subclass, "subclass")
        except TaxonomyError:
            self.left_out["keywords that cannot be names of classes"][keyword] += 1
            return None

    def _why_not(self, levels: Levels) -> str:
        if len(levels) < 2:
            return "keywords without levels"
        if self._below[levels] >= self._photos[levels]:
            return "keywords above others, which name no subclass"
        if any(self._photos[above] > self._below[above] for above in _above(levels)):
            return "keywords below a class"
        return ""


def _above(levels: Levels) -> Iterator[Levels]:
    """Yield the keywords of two levels and more that a keyword lies below, to the depth that people use."""
    return (levels[:depth] for depth in range(2, min(len(levels), _DEEPEST)))


def _learnable(
    found: Sequence[tuple[Path, Label, str]], left_out: dict[str, Counter[str]]
) -> Iterator[tuple[Path, Label, str]]:
    """Yield the photos of classes that can be learned."""
    parents: dict[str, set[str | None]] = defaultdict(set)
    for _, (superclass, subclass), _ in found:
        parents[spelling_key(subclass or "")].add(superclass)
    photos = Counter(label for _, label, _ in found)
    for each in found:
        name = label_text(*each[1])
        if len(parents[spelling_key(each[1][1] or "")]) > 1:
            left_out["subclasses under several superclasses"][name] += 1
        elif photos[each[1]] < FEWEST_PHOTOS:
            left_out[f"classes of fewer than {FEWEST_PHOTOS} photos"][name] += 1
        else:
            yield each


def _tell(root: Path, photos: int, used: int, classes: _Classes) -> None:
    log.info("%s: the keywords of %s of %s photos name a class that is learned", root, f"{used:,}", f"{photos:,}")
    for reason, counts in classes.left_out.items():
        if counts:
            log.info("%s: left out, %s: %s", root, reason, _most(counts))
    if classes.left_out[_SEVERAL]:
        log.info(
            "%s: keywords lie below %s; to ignore those below NAME: --map FILE.csv with the lines "
            "'keyword,superclass,subclass' and 'NAME,,'",
            root,
            _most(classes.outermost),
        )


def _most(counts: Counter[str]) -> str:
    listed = [f"{shorten(name, _MOST_SHOWN)} ({count:,})" for name, count in counts.most_common(_MOST_LISTED)]
    return ", ".join(listed) + (f" and {len(counts) - _MOST_LISTED:,} more" if len(counts) > _MOST_LISTED else "")
