"""What a person says of one photo, in a sample or not: which classes can be said, storing them, and taking that back.

Every answer is durable before the call returns, and the right to write is held for that moment only.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from phototag.choices import ReviewOrigin
from phototag.errors import StoreError, UsageError
from phototag.files import NotAFileError
from phototag.object_storage import open_photo, size_and_time
from phototag.paths import PhotoPath
from phototag.records import PhotoState, Source
from phototag.review.names import Names
from phototag.store import KnownPhoto, Query, Review, ReviewFilter, SavedReview, Store
from phototag.taxonomy import Taxonomy, check_name

Class: TypeAlias = tuple[str | None, str | None]
"""A superclass and a subclass; None where it names none."""

# The right to write keeps other processes away while an answer is compared and stored; this the threads of this one.
ONE_AT_A_TIME = threading.RLock()


def why_not(known: KnownPhoto | None, path: PhotoPath, content: bytes, state: PhotoState | None = None) -> str | None:
    """Return why the file of a photo cannot be reviewed, None if it can: it must still have this content.

    What is `known` of the photo spares reading a file that did not change.
    """
    try:
        now = size_and_time(path)
        if known is not None and (known.size_bytes, known.modified_ns) == now:
            return None
        with open_photo(path) as file:
            same = hashlib.file_digest(file, "sha256").digest() == content
    except NotAFileError:
        return "is no file any more"
    except FileNotFoundError:
        return "is missing" if state is PhotoState.MISSING else "is missing; if it was moved, run: phototag tag"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return None if same else "changed since it was tagged; run: phototag tag"


def review_alike(
    store: Store, photo_id: int, others: Sequence[int], *, token: str, command: str, wait_seconds: float
) -> tuple[list[int], int]:
    """Store durably that other photos show what a person said of one: of a burst that was seen as a whole.

    Photos that a person named already keep that, and those whose files are gone or changed are left out. An answer that
    comes again with its `token` is not stored again.

    Returns:
        The ids of the photos that are reviewed now, and how many were left out.

    Raises:
        UsageError: no person has said what the photo shows.
        LockedError: another process writes for longer than this waits.
        StoreError: the database cannot be written.
    """
    with ONE_AT_A_TIME, store.answering(command, wait_seconds=wait_seconds):
        said = next(iter(store.reviews.find_all(ReviewFilter(photo_id=photo_id))), None)
        if said is None:
            raise UsageError("the photo has no review yet; say first what it shows")
        reviews = []
        for other in others:
            known = store.photos.find(other)
            if known is None or known.content_hash is None:
                continue
            if known.tag_source is not Source.HUMAN and not why_not(known, known.path, known.content_hash, known.state):
                reviews.append(
                    Review(
                        photo_id=other,
                        superclass=said.superclass,
                        subclass=said.subclass,
                        content_hash=known.content_hash,
                        token=f"{token}-{other}",
                    )
                )
        store.reviews.save_all(reviews)
    return [review.photo_id for review in reviews], len(others) - len(reviews)


def review_photo(
    store: Store,
    photo_id: int,
    superclass: str | None,
    subclass: str | None,
    *,
    version: str,
    token: str | None,
    command: str,
    wait_seconds: float,
) -> SavedReview:
    """Store durably what a photo shows, outside of any sample; `version` begins the hash of the content that was seen.

    An answer that comes again with its `token` is not stored again.

    Raises:
        UsageError: the photo is not known, is gone or changed since it was shown, or `settle_class` refuses the labels.
        LockedError: another process writes for longer than this waits.
        StoreError: the database cannot be written.
    """
    seen = store.photos.find(photo_id)
    # A file that went away since does not matter to an answer that was stored.
    if seen is not None and seen.content_hash is not None and (token is None or find_by_token(store, token) is None):
        reason = why_not(seen, seen.path, seen.content_hash, seen.state)
        if reason is not None:
            raise UsageError(f"the photo {reason}")
    superclass, subclass = settle_class(store, superclass, subclass)
    with ONE_AT_A_TIME, store.answering(command, wait_seconds=wait_seconds):
        known = store.photos.find(photo_id)
        if known is None:
            raise UsageError(f"photo {photo_id}: not in the database")
        if known.content_hash is None or not version or not known.content_hash.hex().startswith(version):
            raise UsageError("the photo changed since it was shown; look at it again")
        review_id = store.reviews.save(
            Review(
                photo_id=photo_id,
                superclass=superclass,
                subclass=subclass,
                content_hash=known.content_hash,
                token=token,
            )
        )
    return find_saved(store, review_id)


def undo_review(store: Store, review_id: int, *, command: str, wait_seconds: float) -> SavedReview:
    """Take a review back, and give it back as it was; one that was taken back already stays so.

    Raises:
        UsageError: there is none, a newer one took its place, or the photo was tagged by a human in another way since.
        LockedError: another process writes for longer than this waits.
        StoreError: the database cannot be written.
    """
    with ONE_AT_A_TIME, store.answering(command, wait_seconds=wait_seconds):
        review = store.reviews.find(review_id)
        if review is None:
            raise UsageError(f"review {review_id}: there is none")
        if review.undone_at is None:
            store.reviews.undo(review_id)
        return review


def find_saved(store: Store, review_id: int) -> SavedReview:
    """Find a review that was just saved.

    Raises:
        StoreError: the database cannot be read, or the review is not there.
    """
    saved = store.reviews.find(review_id)
    if saved is None:
        raise StoreError(f"{store.location}: a review that was just saved is not there")
    return saved


def find_by_token(store: Store, token: str) -> SavedReview | None:
    """Find the review that was given this token, undone or not.

    Raises:
        StoreError: the database cannot be read.
    """
    return next(store.reviews.find_all(ReviewFilter(token=token, current=False, valid=False)), None)


def settle_class(store: Store, superclass: str | None, subclass: str | None, *, shown: Class = (None, None)) -> Class:
    """Return the class of an answer as it is known: the one rule for what a person may say, wherever they say it.

    What the tag that was `shown` says, what any model knows and what is stored of any photo can be said, even where one
    subclass lies under two superclasses; what is new only if training would take it beside the others.

    Raises:
        UsageError: it is new, and cannot be a name or lies under another superclass.
        StoreError: the database cannot be read.
    """
    if superclass is None or (superclass, subclass) == shown:
        return superclass, subclass
    names = known_names(store, (model.taxonomy for model in store.models.find_all()), tuple(ReviewOrigin))
    if not names.know(superclass, subclass):
        check_name(superclass, "superclass")
        if subclass is not None:
            check_name(subclass, "subclass")
        stored = store.query(Query(superclass=superclass, subclass=subclass, limit=1))
        if next(iter(stored), None) is not None:
            return superclass, subclass
    return names.settle(superclass, subclass)


def known_names(
    store: Store,
    taxonomies: Iterable[Taxonomy],
    origins: Sequence[ReviewOrigin] = (ReviewOrigin.REVIEW, ReviewOrigin.NAMED),
) -> Names:
    """Return the names of these taxonomies, and those that people gave in reviews of these origins.

    Raises:
        StoreError: the database cannot be read.
    """
    names = Names()
    for taxonomy in taxonomies:
        for subclass in taxonomy.subclasses:
            names.add(taxonomy.parent(subclass), subclass)
    for superclass, given in store.reviews.given_labels(origins):
        names.add(superclass, given)
    return names
