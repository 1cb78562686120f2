"""One photo in full: what models and people said of it, and the photos that look like it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.catalog.catalog import Gallery
from phototag.catalog.folders import folder_key
from phototag.catalog.similar import Similar
from phototag.catalog.views import PhotoDetail
from phototag.decision import Evidence, best_subclasses, gather, join, pack
from phototag.records import FailureKind, PhotoState, Rank, Scores, Source
from phototag.store import Design, NewSample, Review, SampledPhoto, Store, StoredTag, Stratum
from phototag.taxonomy import Taxonomy
from tests.support.stored_photos import BEAGLE, ROOSTER, TAXONOMY, digest, failure, register, stored

WIDTH = 6
POINTS = np.random.default_rng(4).normal(size=(40, WIDTH)).astype(np.float16)

Floats = NDArray[np.float32]


def evidence(points: NDArray[np.float16], *, seed: int = 0) -> Evidence:
    random = np.random.default_rng(seed)
    superclass = random.normal(size=(len(points), len(TAXONOMY.superclasses))).astype(np.float32)
    subclass = random.normal(size=(len(points), len(TAXONOMY.subclasses))).astype(np.float32)
    novelty = np.full((len(points), 2), 0.5, dtype=np.float32)
    return replace(gather(Scores(superclass, subclass), TAXONOMY), novelty=novelty, embedding=points)


def embedded(points: NDArray[np.float16], *, first: int = 1) -> list[StoredTag]:
    """Photos /p/1.jpg and so on, with these embeddings."""
    blobs = pack(evidence(points))
    return [replace(stored(f"/p/{first + row}.jpg"), scores=blob) for row, blob in enumerate(blobs)]


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    location = "sqlite://" if request.param == "memory" else tmp_path / "photos.db"
    with Store.open(location) as opened, opened.writing("tag"):
        opened.tags.save_batch(model_id=register(opened), tagged=embedded(POINTS))
        yield opened


def detail(store: Store, photo_id: int) -> PhotoDetail:
    with Gallery(store) as gallery:
        found = gallery.photo(photo_id)
    assert found is not None
    return found


# ---- what models said


def test_photo_has_the_facts_of_its_file_and_its_tag(store: Store) -> None:
    found = detail(store, 3)
    assert (found.path_text, found.folder, found.known.id) == ("/p/3.jpg", folder_key(b"/p"), 3)
    item = found.item
    assert (item.name, item.superclass, item.subclass, item.rank) == ("3.jpg", "bird", "rooster", Rank.SUBCLASS)
    assert (item.score, item.novelty, item.source, item.state) == (0.8, 0.1, Source.MODEL, PhotoState.OK)
    assert (item.version, item.width, item.height) == (digest("/p/3.jpg").hex()[:8], 40, 30)
    assert (found.superclass_score, found.subclass_score, found.model, found.error) == (0.9, 0.8, "sample", None)
    assert found.tagged_at == found.first_seen_at == found.last_seen_at
    assert (found.reviews, found.samples) == ((), ())
    (prediction,) = found.predictions
    assert (prediction.models, prediction.current, prediction.damaged) == (("sample",), True, False)
    assert [f"{each.superclass}/{each.subclass}" for each in prediction.candidates] != []
    scores = [each.score for each in prediction.candidates]
    assert scores == sorted(scores, reverse=True)


def test_unreadable_photo_says_why_and_has_no_tag(store: Store) -> None:
    store.tags.save_batch(model_id=1, tagged=[], failures=[failure("/p/broken.jpg")])
    found = detail(store, len(POINTS) + 1)
    assert (found.error, found.known.error_kind) == ("bad marker", FailureKind.CORRUPT)
    item = found.item
    assert (item.state, item.version, item.rank, item.score) == (PhotoState.UNREADABLE, "", None, None)
    assert (found.superclass_score, found.tagged_at, found.model, found.predictions) == (None, None, None, ())


def test_scores_that_cannot_be_read_leave_the_rest_of_the_page(store: Store) -> None:
    store.tags.save_batch(model_id=1, tagged=[stored("/p/odd.jpg", BEAGLE)])
    (prediction,) = detail(store, len(POINTS) + 1).predictions
    assert (prediction.damaged, prediction.candidates) == (True, ())


def test_predictions_of_all_models_stand_there_newest_first_also_those_of_what_the_file_was(store: Store) -> None:
    changed = replace(embedded(POINTS[:1])[0], content_hash=digest("something else"))
    store.tags.save_batch(model_id=register(store, "second"), tagged=[changed])
    found = detail(store, 1)
    assert [(each.models, each.current) for each in found.predictions] == [(("second",), True), (("sample",), False)]


def test_models_of_the_same_weights_are_named_together(store: Store) -> None:
    for name in ("one", "two"):
        model_id = store.models.register(
            hash=hashlib.sha256(name.encode()).hexdigest(),
            name=name,
            backbone="x",
            taxonomy=TAXONOMY,
            metrics={},
            weights_hash="w",
        )
    store.tags.save_batch(model_id=model_id, tagged=embedded(POINTS[:1]))
    assert [each.models for each in detail(store, 1).predictions] == [("one", "two"), ("sample",)]


def test_copy_that_was_tagged_from_the_scores_of_another_name_shows_these(store: Store) -> None:
    store.tags.save_batch(model_id=1, tagged=[replace(stored("/p/copy.jpg"), content_hash=digest("/p/1.jpg"))])
    with store._database.write() as connection:
        connection.exec_driver_sql(f"DELETE FROM predictions WHERE photo_id = {len(POINTS) + 1}")
    assert detail(store, len(POINTS) + 1).predictions[0].candidates == detail(store, 1).predictions[0].candidates


def test_best_subclasses_are_those_of_the_joint_distribution() -> None:
    taxonomy = Taxonomy.from_pairs((f"s{number // 3}", f"c{number}") for number in range(12))
    random = np.random.default_rng(2)
    for _ in range(50):
        logits = Scores(random.normal(0, 3, (1, 4)).astype(np.float32), random.normal(0, 3, (1, 12)).astype(np.float32))
        given = gather(logits, taxonomy)
        # All subclasses by the formula; rounded, since the stored figures have 32 bits.
        under = np.exp(logits.subclass[0].astype(np.float64))
        parents = np.array(taxonomy.parents)
        sums = np.bincount(parents, weights=under)
        joint = join(given).superclass[0, parents] * under / sums[parents]
        stored_ones = set(given.top[0].tolist()) | set(given.best[0].tolist())
        best = [number for number in np.argsort(-joint).tolist() if number in stored_ones][:5]
        found = best_subclasses(given, taxonomy)
        assert [each.subclass for each in found] == [taxonomy.subclasses[number] for number in best]
        assert [each.score for each in found] == pytest.approx(joint[best].tolist(), rel=1e-5)
        assert found[0].subclass == taxonomy.subclasses[int(joint.argmax())], "the best of all is always among them"


# ---- what people said


def test_reviews_stand_there_newest_first_also_those_that_were_undone(store: Store) -> None:
    first = store.reviews.save(Review(photo_id=1, superclass="bird", subclass="hawk"))
    second = store.reviews.save(Review(photo_id=1, superclass=None))
    store.reviews.undo(second)
    store.reviews.save(Review(photo_id=2, superclass="dog"))
    found = detail(store, 1)
    assert [(each.id, each.undone_at is None) for each in found.reviews] == [(second, False), (first, True)]
    assert (found.item.source, found.item.subclass, found.model) == (Source.HUMAN, "hawk", None)


def test_samples_with_a_photo_are_named_with_its_place(store: Store) -> None:
    items = [
        SampledPhoto(
            photo_id=number,
            stratum="all",
            inclusion_probability=0.5,
            content_hash=digest(f"/p/{number}.jpg"),
            tag=ROOSTER,
            model_id=1,
        )
        for number in (4, 2, 9)
    ]
    sample = NewSample(
        name="spring",
        design=Design.SIMPLE,
        seed=1,
        for_estimation=True,
        items=items,
        strata=[Stratum("all", 40, 3)],
    )
    sample_id = store.samples.save(sample)
    (membership,) = detail(store, 2).samples
    assert (membership.sample_id, membership.name, membership.position) == (sample_id, "spring", 2)
    assert detail(store, 3).samples == ()


# ---- photos that look alike


def nearest(points: NDArray[np.float16], row: int, among: Sequence[int]) -> list[int]:
    """Ids of these rows by distance to one of them, written down plainly."""
    wide = points.astype(np.float64)
    return [other + 1 for other in sorted(among, key=lambda other: np.linalg.norm(wide[other] - wide[row]))]


def test_some_photos_are_compared_until_all_embeddings_were_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phototag.catalog.similar._MANY_CHANGED", 5)
    monkeypatch.setattr("phototag.catalog.similar._PATIENCE_SECONDS", 0.0)
    may_go_on, read = threading.Event(), Similar._read
    monkeypatch.setattr(Similar, "_read", lambda *args: (may_go_on.wait(60), read(*args))[1])
    with Gallery(store) as gallery:
        first = gallery.similar(1, limit=3)
        assert first.among is not None
        assert len(first) <= first.among < len(POINTS)
        may_go_on.set()
        (similar,) = gallery._similar.values()
        similar._thread.join(60)
        then = gallery.similar(1, limit=3)
        assert then.among is None
        assert [each.item.id for each in then] == nearest(POINTS, 0, range(1, 40))[:3]


def test_similar_photos_are_those_with_the_nearest_embeddings(store: Store) -> None:
    with Gallery(store) as gallery:
        for row in (0, 17, 39):
            found = gallery.similar(row + 1, limit=7)
            others = [other for other in range(len(POINTS)) if other != row]
            assert [each.item.id for each in found] == nearest(POINTS, row, others)[:7]
            first = POINTS[found[0].item.id - 1].astype(np.float64) - POINTS[row]
            assert found[0].distance == pytest.approx(np.linalg.norm(first), rel=1e-4)
        assert len(gallery.similar(1, limit=1000)) == len(POINTS) - 1


def test_missing_and_changed_photos_are_not_similar_to_any(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        gallery.similar(1)  # reads all embeddings before anything changes
        closest = nearest(POINTS, 0, range(1, len(POINTS)))
        store.photos.mark_missing(closest[:2])
        changed = replace(stored(f"/p/{closest[2]}.jpg"), content_hash=digest("something else"))
        store.tags.save_batch(model_id=1, tagged=[changed])
        gallery.refresh(closest[:3])
        assert [each.item.id for each in gallery.similar(1, limit=4)] == closest[3:7]


def test_photos_that_come_later_are_found_and_a_copy_is_nearest(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        gallery.similar(1)
        store.tags.save_batch(model_id=1, tagged=embedded(POINTS[:3], first=100))
        new = [len(POINTS) + 1 + row for row in range(3)]
        gallery.refresh(new)
        found = gallery.similar(1, limit=2)
        assert (found[0].item.id, found[0].distance) == (new[0], 0.0)
        assert [each.item.id for each in gallery.similar(new[1], limit=1)] == [2]


def test_embeddings_of_models_are_not_mixed(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        gallery.similar(1)
        other = POINTS[::-1].copy()[:, :4]
        second = register(store, "second")
        store.tags.save_batch(model_id=second, tagged=embedded(other[:20]))
        gallery.refresh(range(1, 21))
        found = gallery.similar(1, limit=100)
        assert [each.item.id for each in found] == nearest(other, 0, range(1, 20))
        # Tagged by the first one only, it is compared with all that the first one scored.
        assert {each.item.id for each in gallery.similar(30, limit=100)} == set(range(1, 41)) - {30}


def test_photo_that_a_human_tagged_is_compared_by_the_newest_model(store: Store) -> None:
    store.reviews.save(Review(photo_id=1, superclass="dog"))
    with Gallery(store) as gallery:
        assert [each.item.id for each in gallery.similar(1, limit=3)] == nearest(POINTS, 0, range(1, 40))[:3]


def test_photo_that_got_another_tag_is_similar_once(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        (closest,) = gallery.similar(1, limit=1)
        store.reviews.save(Review(photo_id=closest.item.id, superclass="dog"))
        gallery.refresh([closest.item.id])
        found = gallery.similar(1, limit=100)
        assert [each.item.id for each in found] == nearest(POINTS, 0, range(1, len(POINTS)))
        assert found[0].item.superclass == "dog"


def test_models_without_embeddings_and_damaged_scores_give_no_similar_photos(store: Store) -> None:
    plain = pack(replace(evidence(POINTS[:2]), embedding=np.zeros((2, 0), np.float16)))
    tagged = [replace(stored(f"/p/plain{row}.jpg"), scores=blob) for row, blob in enumerate(plain)]
    store.tags.save_batch(model_id=1, tagged=[*tagged, stored("/p/damaged.jpg")], failures=[failure("/p/broken.jpg")])
    with Gallery(store) as gallery:
        for photo_id in range(len(POINTS) + 1, len(POINTS) + 5):
            assert gallery.similar(photo_id) == ()
        assert gallery.similar(10**6) == ()
        assert len(gallery.similar(1, limit=100)) == len(POINTS) - 1, "and spoil nothing for the others"
