"""What the keywords of photos and sidecars say of their classes, as labels that can be stored as reviews."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phototag.choices import ReviewOrigin
from phototag.dataset import IGNORED, KeywordMap, Levels, class_of, levels_of, read_keywords
from phototag.library import ScanProblems
from phototag.object_storage import size_and_time
from phototag.paths import PhotoPath
from phototag.progress import waiting
from phototag.review.names import Names
from phototag.review.photo_reviews import known_names
from phototag.store import KnownPhoto, Store
from phototag.tagging import written_keywords
from phototag.taxonomy import Label, spelling_key


@dataclass
class KeywordImport:
    """What photos' keywords say.

    Args:
        labels: The class of each photo whose keywords name one, by its path.
        photos: How many photos were looked at, and `keyworded` how many of them have keywords.
        named: The photos of each keyword that names a class, by keyword and class.
        unknown: The photos of each keyword that names none.
        several: The photos whose keywords name several classes, and these.
        changed: Photos that changed since `phototag tag` read them.
        problems: What could not be read, a line each.
    """

    labels: dict[PhotoPath, Label] = field(default_factory=dict)
    photos: int = 0
    keyworded: int = 0
    named: Counter[tuple[str, Label]] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    several: list[tuple[Path, tuple[Label, ...]]] = field(default_factory=list)
    changed: list[PhotoPath] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_keyword_labels(store: Store, roots: Sequence[Path], mapping: KeywordMap) -> KeywordImport:
    """Read the keywords of all photos at or below `roots`, and find the classes that they name.

    Classes are known from the models in the database and from what people said; `mapping` is a person's word, and
    comes before. What phototag wrote itself says nothing.

    Args:
        store: The database.
        roots: Folders and photos.
        mapping: Which keyword is which class.

    Raises:
        DataError: a class of the mapping contradicts those that are known.
        UsageError: a root is no folder and no photo.
        StoreError: the database cannot be read.
    """
    names = known_names(store, (model.taxonomy for model in store.models.find_all()), tuple(ReviewOrigin))
    known, mapping = KnownClasses(names), mapping.settled(names.settle)
    found, problems = KeywordImport(), ScanProblems()
    # People write a keyword in several ways; one of them stands for all.
    spellings: dict[Levels, str] = {}
    with waiting("reading keywords"):
        photos = read_keywords(roots, problems, written_keywords(store))
    for path, keywords in photos.items():
        found.photos += 1
        found.keyworded += bool(keywords)
        said = class_of(keywords, mapping, known.match)
        unknown = set(said.unknown)
        for keyword in keywords:
            spelt = spellings.setdefault(levels_of(keyword), keyword)
            label = None if keyword in unknown else mapping.find(keyword) or known.match(keyword)
            if label is None:
                found.unknown[spelt] += 1
            elif label != IGNORED:
                found.named[spelt, label] += 1
        if said.several:
            found.several.append((path, said.several))
        elif said.label is not None:
            found.labels[path] = said.label
    found.problems = problems.lines
    for photo in store.photos.at(list(found.labels)):
        if photo.content_hash is not None and not _is_untouched(photo):
            found.changed.append(photo.path)
            del found.labels[photo.path]
    return found


def _is_untouched(photo: KnownPhoto) -> bool:
    try:
        return size_and_time(photo.path) == (photo.size_bytes, photo.modified_ns)
    except OSError:
        return False


class KnownClasses:
    """Classes that keywords can name.

    Args:
        names: The superclasses, and the subclasses under each.
    """

    def __init__(self, names: Names) -> None:
        self._classes: dict[Levels, Label] = {}
        self._of_subclass: dict[str, list[Label]] = defaultdict(list)
        for superclass in names.superclasses:
            top = spelling_key(superclass)
            self._classes.setdefault((top,), (superclass, None))
            for subclass in names.subclasses(superclass):
                if self._classes.setdefault((top, spelling_key(subclass)), label := (superclass, subclass)) == label:
                    self._of_subclass[spelling_key(subclass)].append(label)

    def match(self, keyword: str) -> Label | None:
        """Return the class that a keyword names, None if it names none that is known, or several.

        With levels the last two are superclass and subclass, whatever stands above them, or the last one is a
        superclass. Without, it is a superclass, or a subclass whose name no other class has.
        """
        levels = levels_of(keyword)
        if len(levels) == 1 and "/" in levels[0]:
            levels = levels_of(keyword.replace("/", "|"))
        if len(levels) != 1:
            return self._classes.get(levels[-2:]) or self._classes.get(levels[-1:])
        superclass, subclasses = self._classes.get(levels), self._of_subclass[levels[0]]
        if superclass is None:
            return subclasses[0] if len(subclasses) == 1 else None
        return superclass if all(label[0] == superclass[0] for label in subclasses) else None
