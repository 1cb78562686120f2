"""Why a stored tag goes no deeper follows from what is stored of it, for whatever thresholds it was given with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phototag.decision import Evidence, Thresholds, decide, gather, pack
from phototag.errors import UsageError
from phototag.records import Rank, Reason, Scores, Source, Tag
from phototag.store import Query, Store
from tests.support.stored_photos import SOME_BIRD, STRANGE, TAXONOMY, stored

OWN = Thresholds(0.6, 0.5, 0.7, 0.6)
OTHERS = (Thresholds(0.3, 0.2, 0.7, 0.6), Thresholds(0.8, 0.75, 0.7, 0.6))


def register(store: Store, used: Thresholds | None, name: str = "m") -> int:
    least = None if used is None else {"superclass": used.superclass, "subclass": used.subclass}
    return store.models.register(
        hash=name.ljust(64, "0"), name=name, backbone="b", taxonomy=TAXONOMY, metrics={}, least_scores=least
    )


def evidence(photos: int = 400, *, novelty: bool = True) -> Evidence:
    chance = np.random.default_rng(5)
    scores = Scores(*(chance.normal(scale=2, size=(photos, width)).astype(np.float32) for width in (2, 3)))
    found = gather(scores, TAXONOMY)
    if not novelty:
        return found
    probabilities = np.sort(chance.random((photos, 2)).astype(np.float32), axis=1)
    return replace(found, novelty=probabilities, embedding=np.zeros((photos, 2), np.float16))


def save(store: Store, model_id: int, found: Evidence, used: Thresholds) -> dict[str, Reason | None]:
    """Tag photos by the evidence, and return the reason that the decision gave for each."""
    given, packed = decide(found, TAXONOMY, used), pack(found)
    names = [f"/p/{row}.jpg" for row in range(len(given))]
    photos = [replace(stored(name, tag), scores=scores) for name, tag, scores in zip(names, given, packed, strict=True)]
    store.tags.save_batch(model_id=model_id, tagged=photos)
    return {name: tag.reason for name, tag in zip(names, given, strict=True)}


def reasons(store: Store, query: Query | None = None) -> dict[str, Reason | None]:
    return {str(row.path): row.reason for row in store.query(query or Query())}


@pytest.mark.parametrize("novelty", [True, False])
def test_stored_tag_has_the_reason_of_its_decision(novelty: bool) -> None:
    with Store.open("sqlite://") as store, store.writing("tag"):
        given = save(store, register(store, OWN), evidence(novelty=novelty), OWN)
        assert reasons(store) == given
        assert len(set(given.values())) == (5 if novelty else 3)


@pytest.mark.parametrize("other", OTHERS)
def test_tags_given_again_with_other_thresholds_have_the_reasons_of_then(other: Thresholds) -> None:
    found = evidence()
    with Store.open("sqlite://") as store, store.writing("tag"):
        model_id = register(store, OWN)
        given = save(store, model_id, found, OWN)
        assert register(store, other) == model_id
        half = replace(found, **{name: getattr(found, name)[:200] for name in Evidence.__slots__})
        given |= save(store, model_id, half, other)
        assert reasons(store) == given
        register(store, OWN)
        assert reasons(store) == given, "the model's own thresholds are those of what comes later"


def test_wanted_reasons_are_found_and_counted() -> None:
    with Store.open("sqlite://") as store, store.writing("tag"):
        given = save(store, register(store, OWN), evidence(), OWN)
        wanted = (Reason.NOVEL_SUBCLASS, Reason.LOW_SUPERCLASS_SCORE)
        query = Query(reason=wanted)
        assert reasons(store, query) == {name: reason for name, reason in given.items() if reason in wanted}
        assert store.count(query) == len(reasons(store, query)) > 0
        assert reasons(store, Query(reason="subclass", limit=3)).keys() < given.keys()  # type: ignore[arg-type]


def test_reason_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="low_subclass_score"):
        Query(reason="tired")  # type: ignore[arg-type]


def test_people_give_no_reason_and_an_unknown_threshold_tells_none() -> None:
    only_scores = Tag("bird", None, Rank.SUPERCLASS, 0.7, 0.3, 1 - 0.3)
    with Store.open("sqlite://") as store, store.writing("tag"):
        old = register(store, None)
        store.tags.save_batch(
            model_id=old,
            tagged=[
                stored("/human.jpg"),
                stored("/rooster.jpg"),
                stored("/bird.jpg", SOME_BIRD),
                stored("/strange.jpg", STRANGE),
                stored("/plain.jpg", only_scores),
            ],
        )
        store.tags.set_human(Path("/human.jpg"), superclass="bird")
        expected = {"/human.jpg": None, "/rooster.jpg": Reason.SUBCLASS, "/bird.jpg": None, "/strange.jpg": None}
        assert reasons(store) == expected | {"/plain.jpg": Reason.LOW_SUBCLASS_SCORE}
        assert reasons(store, Query(source=Source.HUMAN)) == {"/human.jpg": None}
        assert register(store, OWN) == old, "used again, the model tells of what it tagged before"
        assert reasons(store)["/bird.jpg"] is Reason.LOW_SUBCLASS_SCORE
        assert reasons(store)["/strange.jpg"] is Reason.LOW_SUPERCLASS_SCORE
        assert reasons(store)["/human.jpg"] is None
