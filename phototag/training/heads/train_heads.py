"""Heads on frozen features: the whole of `--tune heads`, and where training by gradient starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from phototag.dataset import Features, data_digest, remembered
from phototag.model import Examples
from phototag.training.finalize import Outcome
from phototag.training.heads.fit import Fitted, Recipe
from phototag.training.heads.novelty_rule import Rule
from phototag.training.heads.part import Part
from phototag.training.session import Session, readable_parts

if TYPE_CHECKING:
    import torch

    from phototag.model import DualHead


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
        both = session.features((*pictures.training, *pictures.validation), backbone)
        training, validation = readable_parts(both, pictures.training, kept_apart=pictures.kept_apart)
        parts = [Part.of(part.values, part.pictures, pictures.taxonomy) for part in (training, validation)]
        return cls(training, validation, (parts[0], parts[1]))

    def outcome(
        self,
        session: Session,
        network: DualHead,
        *,
        evaluated: Fitted,
        final: Fitted,
        rule: Rule,
        details: Mapping[str, Any],
        interrupted: bool = False,
    ) -> Outcome:
        """Return what a training comes to: a network with `final` heads, and scores of `evaluated` ones.

        The latter were fitted without the validation pictures.
        """
        from phototag.model import to_numpy

        network.set_heads(final.superclass, final.subclass)
        network.set_embedding(final.embedding)
        training, validation = (part.known() for part in self.parts)
        hashes = (*self.training.hashes, *self.validation.hashes)
        return Outcome(
            tensors=to_numpy(network),
            labels=self.parts[1].labels,
            scores=evaluated.scores(self.validation.values),
            space=evaluated.embedding.space,
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


@dataclass(frozen=True)
class Start:
    """Heads fitted on frozen features, and how."""

    features: SplitFeatures
    recipe: Recipe
    fitted: Fitted
    rule: Rule


def fit_start(session: Session) -> Start:
    """Fit heads on the frozen features of a session."""
    features, taxonomy = SplitFeatures.of(session), session.pictures.taxonomy
    training, validation = features.parts
    recipe = Recipe.choose(
        training,
        validation,
        taxonomy,
        config=session.config.heads,
        blocks=session.blocks,
        pretraining=session.pretraining,
    )
    rule = recipe.rule(training + validation, taxonomy)
    return Start(features, recipe, recipe.fit(training, taxonomy), rule)


def fit_heads_only(session: Session) -> Outcome:
    """Fit heads on frozen features.

    Evaluated on the validation pictures, then, where those were split off the training data, fitted again on all of it:
    a fifth more pictures a class is worth more than a file that equals what was evaluated. The embedding stays that of
    the training part: how far pictures lie from it that it was not fitted on is known, and novelty hangs on that.
    """
    start, refit = fit_start(session), session.pictures.kept_apart
    evaluated = final = start.fitted
    if refit:
        training, validation = start.features.parts
        final = start.recipe.fit(training + validation, session.pictures.taxonomy, embedding=evaluated.embedding)
    return start.features.outcome(
        session,
        network_with(session, None),
        evaluated=evaluated,
        final=final,
        rule=start.rule,
        details={**start.recipe.to_json(), "refitted_on_all": refit},
    )


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
