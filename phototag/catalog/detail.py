"""Read everything that is known of one photo."""

from __future__ import annotations

import math
from collections.abc import Mapping

from phototag.catalog.folders import folder_key, folder_of, shown
from phototag.catalog.growing import read
from phototag.catalog.items import item_at
from phototag.catalog.views import PhotoDetail, Prediction, SampleMembership
from phototag.decision import MOST, best_subclasses, unpack
from phototag.errors import StoreError
from phototag.store import ModelInfo, ReviewFilter, Store, StoredPrediction


def read_detail(store: Store, photo_id: int) -> PhotoDetail | None:
    """Return everything known of a photo, None if there is no such photo.

    Raises:
        StoreError: the database cannot be read.
    """
    if not 0 <= photo_id < 2**63:
        return None  # no database has room for such an id
    known, facts = store.photos.find(photo_id), store.catalog.facts(photo_id)
    columns = read(store.catalog.photos([photo_id]))
    if known is None or facts is None or not len(columns):
        return None
    models = {model.id: model for model in store.models.find_all()}
    sharing: dict[int, list[str]] = {}
    for model_id, owner in store.models.score_owners().items():
        sharing.setdefault(owner, []).append(models[model_id].name)
    every = ReviewFilter(photo_id=photo_id, current=False, valid=False)
    superclass_score, subclass_score = float(columns.superclass_score[0]), float(columns.subclass_score[0])
    tagged = not math.isnan(superclass_score)
    return PhotoDetail(
        item=item_at(columns, 0),
        known=known,
        path_text=shown(known.path_bytes),
        folder=folder_key(folder_of(known.path_bytes)),
        superclass_score=superclass_score if tagged else None,
        subclass_score=subclass_score if tagged else None,
        model=facts.model,
        tagged_at=facts.tagged_at,
        first_seen_at=facts.first_seen_at,
        last_seen_at=facts.last_seen_at,
        error=facts.error,
        predictions=tuple(
            _prediction(stored, known.content_hash, models, tuple(sharing.get(stored.model_id, ())))
            for stored in store.scores.of_photo(photo_id)
        ),
        reviews=tuple(reversed(list(store.reviews.find_all(every)))),
        samples=tuple(
            SampleMembership(sample_id=number, name=name, position=position)
            for number, name, position in store.samples.of_photo(photo_id)
        ),
        capture=store.captures.of_photo(photo_id),
    )


def _prediction(
    stored: StoredPrediction, content: bytes | None, models: Mapping[int, ModelInfo], names: tuple[str, ...]
) -> Prediction:
    taxonomy = models[stored.model_id].taxonomy
    try:
        candidates = best_subclasses(unpack([stored.scores], taxonomy), taxonomy, most=MOST + 1)
        damaged = False
    except StoreError:
        # One damaged row takes nothing away from the rest of the page.
        candidates, damaged = (), True
    return Prediction(
        model_id=stored.model_id,
        models=names,
        predicted_at=stored.predicted_at,
        candidates=candidates,
        current=stored.content_hash == content,
        damaged=damaged,
    )
