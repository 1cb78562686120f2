"""Heads on frozen features: the whole of `--tune heads`, and where training by gradient starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from phototag.dataset import Features, data_digest, dealt_folds, find_label_errors, remembered
from phototag.evaluation import Validation
from phototag.model import Examples, Floats
from phototag.taxonomy import Taxonomy
from phototag.training.calibration import Temperatures
from phototag.training.finalize import Evaluated, Outcome
from phototag.training.heads.fit import Fitted, Recipe
from phototag.training.heads.novelty_rule import Rule
from phototag.training.heads.part import Part
from phototag.training.session import Session, readable_parts

if TYPE_CHECKING:
    import torch

    from phototag.model import DualHead


log = logging.getLogger(__name__)

FOLDS = 5
# Of how many views of each picture heads learn, and of how many views in all: with many pictures the next picture is
# worth more than a view. docs/experiments.md#views
_MOST_VIEWS = 3
_SHOWN = 15_000
# With more groups, for the pictures that there are, series flatter no figure.
_IN_SERIES = 0.9


@dataclass(frozen=True)
class SplitFeatures:
    """Features of the readable training and validation pictures, and the same with their labels."""

    training: Features
    validation: Features
    parts: tuple[Part, Part]

    @classmethod
    def of(cls, session: Session, backbone: torch.nn.Module | None = None) -> Self:
        """Compute those of a session's pictures by its starting weights, or by another `backbone`."""
        pictures = session.pictures
        everything = (*pictures.training, *pictures.validation)
        both = session.features(everything, backbone)
        training, validation = readable_parts(both, pictures.training, kept_apart=pictures.kept_apart)
        count = max(0, min(_MOST_VIEWS, _SHOWN // len(everything)))
        shown = session.features(everything, backbone, views=count) if count else None
        parts = []
        for part in (training, validation):
            views = None if shown is None else _views_of(shown, part, count)
            parts.append(Part.of(part.values, part.pictures, pictures.taxonomy, views=views))
        return cls(training, validation, (parts[0], parts[1]))

    @property
    def are_apart(self) -> bool:
        """Whether no group has pictures in both."""
        return not {each.group for each in self.training.pictures} & {each.group for each in self.validation.pictures}

    def outcome(
        self,
        session: Session,
        network: DualHead,
        *,
        evaluated: Sequence[Evaluated],
        final: Fitted,
        rule: Rule,
        details: Mapping[str, Any],
        interrupted: bool = False,
    ) -> Outcome:
        """Return what a training comes to: a network with `final` heads, and `evaluated` pictures."""
        from phototag.model import to_numpy

        network.set_heads(final.superclass, final.subclass)
        network.set_embedding(final.embedding)
        training, validation = (part.known() for part in self.parts)
        hashes = (*self.training.hashes, *self.validation.hashes)
        return Outcome(
            tensors=to_numpy(network),
            evaluated=evaluated,
            space=final.embedding.space,
            rule=rule,
            examples=Examples.of(
                (training.features, training.subclasses),
                (validation.features, validation.subclasses),
                classes=len(session.pictures.taxonomy.subclasses),
                seed=session.config.seed,
                pretraining=session.pretraining,
            ),
            digest=data_digest((*self.training.pictures, *self.validation.pictures), hashes),
            details={**details, "contents": remembered(hashes)},
            interrupted=interrupted,
        )


def _views_of(shown: Features, part: Features, count: int) -> Floats:
    """Return the features of views [N, count, D] of the pictures of a part, which are among those shown."""
    places = {position: place for place, position in enumerate(shown.positions)}
    rows = shown.values[[places[position] for position in part.positions]]
    return rows.reshape(len(rows), count, -1)


@dataclass(frozen=True)
class Start:
    """How heads are to be fitted on frozen features, and how novelty shows there."""

    features: SplitFeatures
    recipe: Recipe
    rule: Rule


def evaluated_by(fitted: Fitted, part: Part) -> Evaluated:
    """Return a part with its scores by heads that were fitted without it."""
    return Evaluated(part.labels, part.groups, fitted.scores(part.features), fitted.embedding.space)


def choose_start(session: Session) -> Start:
    """Compute the frozen features of a session, and choose how heads are fitted on them."""
    features, taxonomy = SplitFeatures.of(session), session.pictures.taxonomy
    training, validation = features.parts
    if session.config.pretrained:  # random features tell no label from another
        _warn_of_labels((training + validation if session.pictures.kept_apart else training).known())
    recipe = Recipe.choose(
        training,
        validation,
        taxonomy,
        config=session.config.heads,
        blocks=session.blocks,
        pretraining=session.pretraining,
    )
    return Start(features, recipe, recipe.rule(training + validation, taxonomy))


def _warn_of_labels(part: Part) -> None:
    errors = find_label_errors(part.features, part.subclasses)
    if errors.many:
        log.warning(
            "about %s of %s pictures may have a wrong label; phototag dataset check DATA lists them",
            f"{len(errors.wrong):,}",
            f"{len(part):,}",
        )


def fit_heads_only(session: Session) -> Outcome:
    """Fit heads on frozen features.

    Where validation was split off the training data, the heads of the model are fitted on all pictures: a fifth more
    groups a class is worth more than a file that equals what was evaluated. What they are worth is told by folds: heads
    fitted on the other folds' groups score each picture, so that all pictures are evaluated, none by heads that had
    learned from its group.
    """
    start = choose_start(session)
    taxonomy, recipe = session.pictures.taxonomy, start.recipe
    training, validation = start.features.parts
    details = recipe.to_json()
    if session.pictures.kept_apart:
        everything = training + validation
        final = recipe.fit(everything, taxonomy)
        # Where each class is one group, series stand on both sides, and folds would hold nothing out.
        evaluated = _folds(recipe, everything, taxonomy) if start.features.are_apart else []
        details["training_pictures"] = len(everything)
        if evaluated and len(np.unique(everything.groups)) < _IN_SERIES * len(everything):
            details["by_pictures"] = list(recipe.accuracies_by_pictures(everything, taxonomy))
    else:
        final = recipe.fit(training, taxonomy)
        evaluated = []
    return start.features.outcome(
        session,
        network_with(session, None),
        evaluated=evaluated or [evaluated_by(recipe.fit(training, taxonomy), validation)],
        final=final,
        rule=start.rule,
        details={**details, "refitted_on_all": session.pictures.kept_apart, "folds": len(evaluated)},
    )


def ease_of_draw(start: Start, taxonomy: Taxonomy) -> dict[str, list[float]] | None:
    """Return what heads on frozen features get right of the validation pictures, and of all pictures in folds.

    Their difference tells how much easier the pictures are that a network by gradient is evaluated on: it is a control
    variate for the network's accuracy (Owen, "Monte Carlo theory, methods and examples", section 8.9). None where
    series stand on both sides.
    """
    training, validation = start.features.parts
    if not start.features.are_apart or not len(validation):
        return None
    alone = evaluated_by(start.recipe.fit(training, taxonomy), validation)
    folds = _folds(start.recipe, training + validation, taxonomy)
    return {"heads": _accuracies([alone], taxonomy), "heads_in_folds": _accuracies(folds, taxonomy)}


def _accuracies(evaluated: Sequence[Evaluated], taxonomy: Taxonomy) -> list[float]:
    joined = Validation.joined([part.validation(taxonomy, Temperatures()) for part in evaluated])
    return [level.accuracy or 0.0 for level in joined.levels]


def _folds(recipe: Recipe, part: Part, taxonomy: Taxonomy) -> list[Evaluated]:
    """Return folds of a part, evaluated by heads fitted on the rest; pictures of a class in one group are in none."""
    folds = dealt_folds(part.subclasses, part.groups, folds=FOLDS, seed=recipe.seed)
    rest = [(part.rows(folds != fold), part.rows(folds == fold)) for fold in range(FOLDS)]
    return [evaluated_by(recipe.fit(other, taxonomy), held) for other, held in rest if len(held)]


def network_with(session: Session, fitted: Fitted | None) -> DualHead:
    """Return the session's backbone with fitted heads; with None they are random."""
    from phototag.model import DualHead

    taxonomy = session.pictures.taxonomy
    network = DualHead(
        session.backbone,
        superclasses=len(taxonomy.superclasses),
        subclasses=len(taxonomy.subclasses),
        stages=session.stages,
    )
    if fitted is not None:
        network.set_heads(fitted.superclass, fitted.subclass)
    return network
