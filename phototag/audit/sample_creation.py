"""Take samples from a database, keep them in it, and extend them later."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from phototag.audit import sampling
from phototag.audit.group_sampling import KEY, MOST, NotedGroups, group_parts, parts_for
from phototag.audit.sampling import Counts, Frame, Scope
from phototag.choices import CLUSTERS, Allocation, Focus, StrataBy
from phototag.errors import UsageError
from phototag.records import Tag
from phototag.store import Design, NewSample, ReviewFilter, Sample, SampledPhoto, SavedReview, ShownTag, Store, Stratum
from phototag.text import nfc

WHOLE = "all"
"""The only stratum of a simple sample."""

_CHANGED_AT_MOST = 0.01
_SEED_BITS = 31


def create_sample(
    store: Store,
    *,
    size: int,
    name: str | None = None,
    scope: Scope | None = None,
    by: StrataBy | None = None,
    allocation: Allocation = Allocation.PROPORTIONAL,
    seed: int | None = None,
    exact: bool = False,
) -> Sample:
    """Sample photos at random and keep them for estimation.

    Args:
        store: To sample from, and to keep the sample in.
        size: Photos to sample; all, if there are fewer. In groups about so many, as parts of groups stay whole.
        exact: Refuse if there are fewer.
        name: The sample's; None takes the next of sample-1, sample-2.
        scope: What to sample from; None is everything.
        by: The strata, or groups or events; None draws a simple sample.
        allocation: How many photos each stratum gives.
        seed: The same seed draws the same photos from the same library; None takes a new one.

    Raises:
        UsageError: there is nothing to sample from, `size` is too small, or too large if it is `exact`, or the name is
            taken.
        StoreError: the database cannot be read or written.
    """
    scope = scope or Scope()
    frame = _frame(store, scope)
    if exact and size > len(frame):
        photos = "1 photo" if len(frame) == 1 else f"{len(frame):,} photos"
        raise UsageError(f"{photos} can be sampled, not {size:,}: those that can be read and that a model tagged")
    seed = secrets.randbits(_SEED_BITS) if seed is None else seed
    root = sampling.shared_folder(frame.paths)
    size = min(size, len(frame))
    if by in CLUSTERS:
        return _create_in_groups(store, frame, by, size=size, name=name, scope=scope, seed=seed)
    names = [WHOLE] * len(frame) if by is None else sampling.merge_small(sampling.stratum_names(frame, by), size)
    strata, rows = np.unique(np.array(names), return_inverse=True)
    population = np.bincount(rows, minlength=len(strata)).astype(np.int64)
    errors = np.bincount(rows, weights=1 - frame.right_scores(), minlength=len(strata)) / population
    numbers = sampling.allocate(sampling.allocation_weights(population, errors, allocation), population, size)
    chosen = sampling.sampled_rows(rows.astype(np.intp), numbers, sampling.permanent_random_numbers(frame.ids, seed))
    shares = dict(zip(strata.tolist(), (numbers / population).tolist(), strict=True))
    parameters = {
        "scope": scope.to_json(),
        "model": _model_name(store, frame),
        "allocation": allocation.value if by is not None else None,
        "root": root.hex(),
        "errors": dict(zip(strata.tolist(), [round(error, 6) for error in errors.tolist()], strict=True)),
        "cells": sampling.cells(frame, names),
    }
    sample = NewSample(
        name=name or next_name(store),
        design=Design.SIMPLE if by is None else Design.STRATIFIED,
        seed=seed,
        for_estimation=True,
        items=_items(frame, chosen, names, shares),
        strata=[
            Stratum(stratum, count, number)
            for stratum, count, number in zip(strata.tolist(), population.tolist(), numbers.tolist(), strict=True)
        ],
        strata_by=None if by is None else by.value,
        model_id=_only_model(frame),
        parameters=parameters,
    )
    return _saved(store, sample)


def _create_in_groups(
    store: Store, frame: Frame, by: StrataBy, *, size: int, name: str | None, scope: Scope, seed: int
) -> Sample:
    parts = group_parts(store, frame, by)
    number = parts_for(size, parts=parts.count, population=len(frame))
    chosen = parts.sampled(number, seed)
    names = [WHOLE] * len(frame)
    sample = NewSample(
        name=name or next_name(store),
        design=Design.SIMPLE,
        seed=seed,
        for_estimation=True,
        items=_items(frame, chosen, names, {WHOLE: number / parts.count}),
        strata=[Stratum(WHOLE, len(frame), len(chosen))],
        strata_by=by.value,
        model_id=_only_model(frame),
        parameters={
            "scope": scope.to_json(),
            "model": _model_name(store, frame),
            "cells": sampling.cells(frame, names),
            KEY: parts.noted(chosen),
        },
    )
    return _saved(store, sample)


def focus_sample(
    store: Store, focus: Focus, *, size: int, name: str | None = None, scope: Scope | None = None
) -> Sample:
    """Choose the most doubtful photos and keep them as a sample that is not fit for estimation.

    Raises:
        UsageError: there is nothing to choose from, or the name is taken.
        StoreError: the database cannot be read or written.
    """
    scope = scope or Scope()
    frame = _frame(store, scope)
    doubt = (
        frame.right_scores() if focus is Focus.LOWEST else sampling.subclass_margins(store, frame, under=scope.under)
    )
    if not np.isfinite(doubt).any():
        raise UsageError("no scores of second-best subclasses are stored for these photos; run: phototag tag --force")
    order = np.argsort(doubt, kind="stable")[:size]
    chosen = [int(row) for row in order if np.isfinite(doubt[row])]
    sample = NewSample(
        name=name or next_name(store),
        design=Design.FOCUS,
        seed=0,
        for_estimation=False,
        items=_items(frame, chosen, [WHOLE] * len(frame), None),
        strata=[Stratum(WHOLE, len(frame), len(chosen))],
        model_id=_only_model(frame),
        parameters={"scope": scope.to_json(), "focus": focus.value},
    )
    return _saved(store, sample)


def extend_sample(store: Store, name: str, *, more: int) -> Sample:
    """Add photos of the same design to a sample for estimation; reviews made so far still count.

    Photos whose tag is as it was can be added, and those whose tag a review has corrected since. The few that were
    tagged again or are gone count like photos that were sampled and not reviewed; when they are more than 1 %, a new
    sample has to be taken.

    Raises:
        UsageError: there is no such sample, it was not sampled at random, it holds all photos already, or too much of
            the library has changed since.
        StoreError: the database cannot be read or written.
    """
    sample = find_sample(store, name)
    if not sample.for_estimation:
        raise UsageError(f"sample {name!r} was chosen, not sampled at random; take a new one with another name")
    known = {item.photo_id for item in store.samples.items(sample.id)}
    frame = _unchanged(store, sample, known)
    noted = NotedGroups.read(sample)
    if noted is not None:
        return _extend_in_groups(store, sample, noted, frame, known, more=more)
    names = _names_again(frame, sample)
    rest = [row for row, photo in enumerate(frame.ids.tolist()) if photo not in known]
    total = _totals(sample, Counter(names[row] for row in rest), more)
    strata = [each.name for each in sample.strata]
    position = {stratum: place for place, stratum in enumerate(strata)}
    rest = [row for row in rest if names[row] in position]
    part = frame.part(rest)
    places = np.array([position[names[row]] for row in rest], dtype=np.intp)
    further = total - np.array([each.drawn for each in sample.strata], dtype=np.int64)
    chosen = sampling.sampled_rows(places, further, sampling.permanent_random_numbers(part.ids, sample.seed))
    counted = [
        Stratum(each.name, each.population, number) for each, number in zip(sample.strata, total.tolist(), strict=True)
    ]
    shares = {each.name: each.drawn / each.population for each in counted}
    items = _items(part, chosen, [names[row] for row in rest], shares)
    with store.writing("audit sample"):
        store.samples.extend(sample.id, items=items, strata=counted)
    return find_sample(store, name)


def _extend_in_groups(
    store: Store, sample: Sample, noted: NotedGroups, frame: Frame, known: set[int], *, more: int
) -> Sample:
    _check_unchanged(sample, Counter({WHOLE: sum(photo not in known for photo in frame.ids.tolist())}))
    parts = group_parts(store, frame, StrataBy(sample.strata_by or StrataBy.GROUP))
    further = parts_for(more, parts=noted.parts, population=sample.population)
    chosen = parts.sampled(further, sample.seed, known=known)
    if not chosen:
        raise UsageError(f"sample {sample.name!r} holds all photos that it could be sampled from")
    new = parts.of(chosen)
    sampled = len({part for _, part in noted.of.values()}) + len({part for _, part in new.values()})
    of_all = {**sample.parameters[KEY]["of"], **new}
    with store.writing("audit sample"):
        store.samples.extend(
            sample.id,
            items=_items(frame, chosen, [WHOLE] * len(frame), {WHOLE: min(1.0, sampled / noted.parts)}),
            strata=[Stratum(WHOLE, sample.population, sample.size + len(chosen))],
            parameters={**sample.parameters, KEY: {**sample.parameters[KEY], "of": of_all}},
        )
    return find_sample(store, sample.name)


def _check_unchanged(sample: Sample, here: Counter[str]) -> None:
    """Refuse to go on with a sample if too many photos are gone; `here` counts those left that were not sampled."""
    lost = sum(max(0, each.population - each.drawn - here[each.name]) for each in sample.strata)
    if lost > _CHANGED_AT_MOST * sample.population:
        raise UsageError(
            f"sample {sample.name!r}: {lost:,} of the {sample.population:,} photos that it was sampled from were "
            "tagged again or are gone; take a new one: phototag audit sample"
        )


def _totals(sample: Sample, here: Counter[str], more: int) -> Counts:
    """Return how many photos of each stratum are sampled with `more` of them; `here` counts those that can still be."""
    _check_unchanged(sample, here)
    drawn = np.array([each.drawn for each in sample.strata], dtype=np.int64)
    population = np.array([each.population for each in sample.strata], dtype=np.int64)
    available = np.array([min(each.population - each.drawn, here[each.name]) for each in sample.strata], dtype=np.int64)
    if not available.sum():
        raise UsageError(f"sample {sample.name!r} holds all photos that it could be sampled from")
    allocation = Allocation(sample.parameters.get("allocation") or Allocation.PROPORTIONAL)
    known = dict(sample.parameters.get("errors") or {})
    errors = np.array([float(known.get(each.name, 0.1)) for each in sample.strata])
    weights = sampling.allocation_weights(population, errors, allocation)
    return sampling.allocate(weights, drawn + available, int(drawn.sum()) + more, least=drawn)


def find_sample(store: Store, name: str) -> Sample:
    """Find the sample of that name.

    Raises:
        UsageError: there is none.
    """
    sample = store.samples.find(name)
    if sample is None:
        known = ", ".join(each.name for each in store.samples.find_all()) or "none"
        raise UsageError(f"there is no sample {name!r}; there are: {known} (see: phototag audit sample --list)")
    return sample


def design_text(sample: Sample) -> str:
    """Return in words how photos were sampled: "simple", "stratified by score"."""
    if sample.strata_by in CLUSTERS:
        return f"by {sample.strata_by}, at most {MOST} photos of one at a time"
    return sample.design.value + (f" by {sample.strata_by}" if sample.strata_by else "")


def next_name(store: Store) -> str:
    """Return the first of sample-1, sample-2 and so on that is free."""
    taken = {sample.name for sample in store.samples.find_all()}
    number = 1
    while f"sample-{number}" in taken:
        number += 1
    return f"sample-{number}"


def _frame(store: Store, scope: Scope) -> Frame:
    frame = sampling.read_frame(store, scope)
    if not len(frame):
        for name, nearest in store.unknown_classes(scope.query()).items():
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            raise UsageError(f"no class in {store.location} is called {name}{hint}")
        where = f" under {scope.under}" if scope.under is not None else ""
        raise UsageError(f"no readable photo{where} has such a tag of a model in {store.location}; run: phototag tag")
    return frame


def _unchanged(store: Store, sample: Sample, known: set[int]) -> Frame:
    """Return the photos with the tag that they had when the sample was taken, those not sampled included."""
    scope = Scope.from_json(sample.parameters.get("scope"))
    frame = sampling.read_frame(store, scope)
    times = frame.tagged_at
    kept = frame.part([row for row in range(len(frame)) if times[row] <= sample.created_at])
    return kept.joined(_reviewed_since(store, sample, scope, {*kept.ids.tolist(), *known}))


def _reviewed_since(store: Store, sample: Sample, scope: Scope, known: set[int]) -> Frame:
    """Return photos whose tag a human replaced since the sample was taken, with the tag that the review was shown."""
    models = {model.id for model in store.models.find_all() if scope.model is None or scope.model == model.name}
    found: dict[int, tuple[SavedReview, ShownTag]] = {}
    for review in store.reviews.find_all(ReviewFilter(under=scope.under, current=False)):
        shown = review.shown
        # The first review after the sampling saw the tag of then; later ones saw a human's.
        if shown is None or review.reviewed_at <= sample.created_at or review.photo_id in {*known, *found}:
            continue
        if shown.model_id in models and scope.superclass in (None, shown.superclass):
            found[review.photo_id] = (review, shown)
    rows = [found[photo] for photo in sorted(found)]
    return Frame(
        np.array([review.photo_id for review, _ in rows], dtype=np.int64),
        np.array([shown.model_id for _, shown in rows], dtype=np.int64),
        [
            # A review does not keep the novelty; sampling does not need it.
            Tag(
                shown.superclass,
                shown.subclass,
                shown.rank,
                shown.superclass_score,
                shown.subclass_score,
                1 - shown.subclass_score,
            )
            for _, shown in rows
        ],
        [review.content_hash for review, _ in rows],
        [review.path_bytes for review, _ in rows],
        [sample.created_at for _ in rows],
    )


def _names_again(frame: Frame, sample: Sample) -> list[str]:
    """Return the strata that photos had when the sample was taken."""
    if sample.strata_by is None:
        return [WHOLE] * len(frame)
    by = StrataBy(sample.strata_by)
    if by is StrataBy.FOLDER:
        names = sampling.folder_names(frame.paths, bytes.fromhex(str(sample.parameters.get("root", ""))))
    else:
        names = sampling.stratum_names(frame, by)
    known = {stratum.name: stratum.name for stratum in sample.strata}
    if by is not StrataBy.FOLDER:  # earlier versions stored names of classes as they came
        known |= {nfc(name): name for name in known}
    return [known.get(name, sampling.OTHERS) for name in names]


def _items(
    frame: Frame, rows: Sequence[int], names: Sequence[str], shares: dict[str, Any] | None
) -> list[SampledPhoto]:
    return [
        SampledPhoto(
            photo_id=int(frame.ids[row]),
            stratum=names[row],
            inclusion_probability=None if shares is None else float(shares[names[row]]),
            content_hash=frame.contents[row],
            tag=frame.tags[row],
            model_id=int(frame.models[row]),
        )
        for row in rows
    ]


def _only_model(frame: Frame) -> int | None:
    models = np.unique(frame.models).tolist()
    return int(models[0]) if len(models) == 1 else None


def _model_name(store: Store, frame: Frame) -> str | None:
    only = _only_model(frame)
    return next((model.name for model in store.models.find_all() if model.id == only), None)


def _saved(store: Store, sample: NewSample) -> Sample:
    with store.writing("audit sample"):
        store.samples.save(sample)
    return find_sample(store, sample.name)
