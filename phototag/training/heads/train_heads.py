"""Heads on frozen features: the whole of `--tune heads`, and where training by gradient starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phototag.dataset import Content, data_digest
from phototag.model import Examples
from phototag.taxonomy import Taxonomy
from phototag.training.finalize import Outcome
from phototag.training.heads.features import Features
from phototag.training.heads.fit import Fitted, Recipe
from phototag.training.heads.novelty_rule import Rule
from phototag.training.heads.part import Part
from phototag.training.session import Session, readable_parts

if TYPE_CHECKING:
    from phototag.model import DualHead


@dataclass(frozen=True)
class Start:
    """Heads fitted on frozen features: what could be read of both parts, and how the heads were fitted."""

    training: Features
    validation: Features
    parts: tuple[Part, Part]
    recipe: Recipe
    fitted: Fitted
    rule: Rule


def fit_start(session: Session) -> Start:
    """Fit heads on the frozen features of a session."""
    pictures, taxonomy, config = session.pictures, session.pictures.taxonomy, session.config
    training, validation = readable_parts(session.features((*pictures.training, *pictures.validation)), pictures)
    parts = parts_of(training, validation, taxonomy)
    recipe = Recipe.choose(
        *parts,
        taxonomy,
        config=config.heads,
        blocks=session.blocks,
        pretraining=session.pretraining,
    )
    rule = recipe.rule(parts[0] + parts[1], taxonomy)
    return Start(training, validation, parts, recipe, recipe.fit(parts[0], taxonomy), rule)


def parts_of(training: Features, validation: Features, taxonomy: Taxonomy) -> tuple[Part, Part]:
    """Features and labels of both parts."""
    return (
        Part.of(training.values, training.pictures, taxonomy),
        Part.of(validation.values, validation.pictures, taxonomy),
    )


def fit_heads_only(session: Session) -> Outcome:
    """Heads on frozen features.

    Judged on the validation pictures, then, where those were split off the training data, fitted once more on all of
    it: a fifth more pictures a class is worth more than a file that equals what was judged. The embedding stays that of
    the training part: how far pictures lie from it that it was not fitted on is known, and novelty hangs on that.
    """
    from phototag.model import to_numpy

    start = fit_start(session)
    taxonomy = session.pictures.taxonomy
    final = start.fitted
    if session.pictures.kept_apart:
        final = start.recipe.fit(start.parts[0] + start.parts[1], taxonomy, embedding=start.fitted.embedding)
    return Outcome(
        tensors=to_numpy(network_with(session, final, embedding=True)),
        labels=start.parts[1].labels,
        scores=start.fitted.scores(start.validation.values),
        space=start.fitted.embedding.space,
        rule=start.rule,
        examples=examples_of(start.parts, session),
        digest=digest_of(start.training, start.validation),
        details={**start.recipe.to_json(), "refitted_on_all": session.pictures.kept_apart},
    )


def network_with(session: Session, fitted: Fitted | None, *, embedding: bool = False) -> DualHead:
    """The session's backbone with fitted heads, and with the embedding if wanted; with None heads are random."""
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
        if embedding:
            network.set_embedding(fitted.embedding)
    return network


def examples_of(parts: tuple[Part, Part], session: Session) -> Examples:
    """The examples that the model file is to keep."""
    training, validation = (part.known() for part in parts)
    return Examples.of(
        (training.features, training.subclasses),
        (validation.features, validation.subclasses),
        classes=len(session.pictures.taxonomy.subclasses),
        seed=session.config.seed,
        pretraining=session.pretraining,
    )


def digest_of(training: Content, validation: Content) -> str:
    """SHA-256 over the labels and contents of both parts, in hex."""
    return data_digest((*training.pictures, *validation.pictures), (*training.hashes, *validation.hashes))
