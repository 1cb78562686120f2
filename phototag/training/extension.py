"""Teach a trained model more classes in seconds: its backbone stays, its heads are fitted again.

The old classes are learned again from the examples in the model file, so their pictures are not needed, and the new
ones from their features. The backbone stays as it is, so what it knew of the old classes is not lost; their accuracy
can only suffer where new classes are like them, and that is measured on pictures that nothing learned from. While the
new pictures are few the embedding stays too, with the new classes added to it, so that fewer old pictures turn novel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phototag.choices import Balance
from phototag.dataset import (
    DataSource,
    Features,
    LabelledData,
    LabelledPicture,
    check_complete,
    data_digest,
    default_look,
    features_of,
    refuse_other_spelling,
    remembered,
)
from phototag.decision import NoveltyModel
from phototag.errors import DataError, ModelError
from phototag.evaluation import Validation
from phototag.model import EXAMPLES, Embedding, Examples, Model, ModelHeader, read_tensors
from phototag.records import Scores
from phototag.runtime import Target
from phototag.taxonomy import Taxonomy
from phototag.text import nfc
from phototag.training.config import DataConfig
from phototag.training.finalize import Finished, Outcome, known_to
from phototag.training.heads import Fitted, Part, Recipe, Rule, evaluated_by, unevenness
from phototag.training.session import class_pictures, load_once, readable_parts, split_by_groups

if TYPE_CHECKING:
    from phototag.model import DualHead

_USUAL_PENALTIES = (1e-3, 1e-3)
_UNEVEN = 4.0
# The parent's axes keep old pictures where they are, but tell too little of many new classes: they stay while they were
# chosen on so many times as many pictures as came later. docs/experiments.md#axes-that-stay
_PICTURES_OF_AXES = 6
_BEYOND_AXES = "pictures_beyond_axes"


@dataclass(frozen=True)
class Accuracies:
    """Shares of right superclasses and subclasses among some pictures; None where there are none."""

    superclass: float | None
    subclass: float | None
    pictures: int

    @classmethod
    def of(cls, scores: Scores, part: Part, taxonomy: Taxonomy) -> Accuracies:
        """Return those of the decoded pairs."""
        decoded = Validation.of(part.labels, scores, taxonomy)
        return cls(decoded.superclass.accuracy, decoded.subclass.accuracy, len(decoded))


@dataclass(frozen=True)
class Extension:
    """A model with more classes, before it is written: its header still lacks thresholds, metrics and record.

    `before` and `after` are the accuracies on the same examples of the old classes, `new` those on the new pictures;
    `added` are the subclasses that the parent did not know, in full, and `doubt` why the data looks like something else
    than labelled pictures. `known_before` [M] says which of the old examples, which come first among the validation
    pictures, the parent did not call novel; `turned_novel` is how many of these the new model calls so, None until its
    thresholds are chosen.
    """

    taxonomy: Taxonomy
    outcome: Outcome
    before: Accuracies
    after: Accuracies
    new: Accuracies
    added: tuple[str, ...]
    doubt: str
    known_before: NDArray[np.bool_]
    turned_novel: int | None = None

    def finished(self, finished: Finished) -> Extension:
        """Return it with what the finished model says of the old examples."""
        still_known = finished.known[: len(self.known_before)]
        return replace(self, turned_novel=int((self.known_before & ~still_known).sum()))

    def header(self, parent: Model) -> ModelHeader:
        """Return the parent's header with the new classes, and what the training record says of them."""
        record = {
            "tune": "extend",
            "weights": parent.header.record.get("weights"),
            "extension": {
                "added": list(self.added),
                "old_before": asdict(self.before),
                "old_after": asdict(self.after),
                "new": asdict(self.new),
            },
            "lineage": _lineage(parent, self.added),
        }
        return replace(parent.header, taxonomy=self.taxonomy, superclass_head=True, record=record)


def extend(parent: Model, data: DataSource, config: DataConfig, target: Target) -> Extension:
    """Fit heads for the classes of a model together with those of labelled pictures.

    Args:
        parent: The model; a trained one.
        data: Pictures of new classes, and more of known ones if wanted: a folder superclass/subclass/*, a
            CSV, or a library with keywords.
        config: How the pictures are split and read.
        target: What computes their features.

    Raises:
        ModelError: the model keeps no examples of its classes.
        DataError: the data is not usable, or contradicts the model's taxonomy.
    """
    from phototag.model import build, feature_blocks

    header = parent.header
    known_novelty = parent.novelty
    if parent.path is None or known_novelty is None:
        raise ModelError(
            f"{parent.name}: keeps no examples of its classes, so it cannot be extended; train a model of your own "
            "first: phototag train DATA"
        )
    labelled = load_once(data, config.groups, config.without)
    taxonomy = _extended_taxonomy(header.taxonomy, labelled)
    network = build(header, parent.tensors())
    blocks = feature_blocks(network.backbone, header.stages)
    old_examples = Examples.from_tensors(
        read_tensors(parent.path, under=EXAMPLES),
        classes=len(header.taxonomy.subclasses),
        width=sum(blocks),
    )
    if known_novelty.space.pretraining is not None and old_examples.pretraining is None:
        raise ModelError(f"{parent.name}: the classifier of the pretraining is missing; train it again with all data")
    training, validation = split_by_groups(labelled, config, default_look(target, config.workers))
    features = features_of(
        (*training, *validation),
        network.backbone,
        header.stages,
        header.preprocessing,
        target=target,
        workers=config.workers,
    )
    recipe = replace(_recipe(header, blocks, config.seed), pretraining=old_examples.pretraining)
    fit = _Fit(
        parent,
        known_novelty,
        network,
        old_examples,
        readable_parts(features, training),
        taxonomy,
        recipe,
        labelled.doubt,
    )
    return fit.run()


def _extended_taxonomy(known: Taxonomy, labelled: LabelledData) -> Taxonomy:
    check_complete(labelled)
    refuse_other_spelling(labelled, known)
    pairs = {(known.superclasses[parent], name) for name, parent in zip(known.subclasses, known.parents, strict=True)}
    for picture in labelled.pictures:
        superclass, subclass = picture.superclass or "", picture.subclass or ""
        if subclass in known.subclass_index and known.parent(subclass) != superclass:
            raise DataError(
                f"{picture.origin}: {superclass}/{subclass} is {known.parent(subclass)}/{subclass} in the model; "
                "rename one of them"
            )
        pairs.add((superclass, subclass))
    return Taxonomy.from_pairs(pairs)


def _recipe(header: ModelHeader, blocks: tuple[int, ...], seed: int) -> Recipe:
    """Return how the parent's heads were fitted."""
    from phototag.training.heads import HeadChoice

    record = header.record
    try:
        first, second = (float(value) for value in record.get("penalties", _USUAL_PENALTIES))
        strategy = Balance(record.get("balance", Balance.NONE))
    except (TypeError, ValueError) as error:
        raise ModelError(f"the model's training record is damaged: {error}") from error
    return Recipe(HeadChoice(strategy, (first, second), []), blocks, seed)


@dataclass(frozen=True)
class _Fit:
    parent: Model
    novelty: NoveltyModel
    network: DualHead
    old: Examples
    new: tuple[Features, Features]
    taxonomy: Taxonomy
    recipe: Recipe
    doubt: str

    def run(self) -> Extension:
        taxonomy, known = self.taxonomy, self.parent.header.taxonomy
        old = self._old_parts(known, np.arange(len(known.subclasses)))
        # Where the old classes stand in the new order.
        moved = np.array([taxonomy.subclass_index[name] for name in known.subclasses], dtype=np.intp)
        new = [Part.of(features.values, features.pictures, taxonomy) for features in self.new]
        training, validation = (part + more for part, more in zip(self._old_parts(taxonomy, moved), new, strict=True))
        recipe = self._recipe_for(training + validation)
        embedding, beyond_axes = None, self._beyond_axes(len(new[0].subclasses))
        if _PICTURES_OF_AXES * beyond_axes <= len(training.subclasses) - beyond_axes:
            learned = np.unique(new[0].subclasses)
            embedding = recipe.extend(self._embedding(), training, taxonomy, moved=moved, learned=learned)
        evaluated = recipe.fit(training, taxonomy, embedding=embedding)
        final = recipe.fit(training + validation, taxonomy, embedding=evaluated.embedding)
        is_old = np.arange(len(validation.subclasses)) < len(old[1].subclasses)
        before, known_before = self._before(old, known), self._known_before(old[1], known)
        self.network.resize(len(taxonomy.superclasses), len(taxonomy.subclasses))
        self.network.set_heads(final.superclass, final.subclass)
        self.network.set_embedding(final.embedding)
        return Extension(
            taxonomy=taxonomy,
            outcome=self._outcome((training, validation), evaluated, final, 0 if embedding is None else beyond_axes),
            before=before,
            after=self._accuracies(evaluated, validation, is_old),
            new=self._accuracies(evaluated, validation, ~is_old),
            known_before=known_before,
            added=tuple(
                taxonomy.qualified(index)
                for index, name in enumerate(taxonomy.subclasses)
                if name not in known.subclass_index
            ),
            doubt=self.doubt,
        )

    def _recipe_for(self, everything: Part) -> Recipe:
        """Return the parent's recipe; where the new classes have few pictures, logits are adjusted for that.

        docs/experiments.md#few-pictures-of-new-classes
        """
        choice = self.recipe.choice
        if choice.strategy is not Balance.NONE or unevenness(everything.subclasses) < _UNEVEN:
            return self.recipe
        return replace(self.recipe, choice=replace(choice, strategy=Balance.LOGITS))

    def _old_parts(self, taxonomy: Taxonomy, moved: NDArray[np.intp]) -> list[Part]:
        return [
            Part.of_subclasses(self.old.features[rows], moved[self.old.labels[rows]], taxonomy)
            for rows in self.old.parts()
        ]

    def _accuracies(self, fitted: Fitted, part: Part, rows: NDArray[np.bool_]) -> Accuracies:
        chosen = part.rows(rows)
        return Accuracies.of(fitted.scores(chosen.features), chosen, self.taxonomy)

    def _before(self, old: list[Part], known: Taxonomy) -> Accuracies:
        """Return those of the old classes alone, by heads fitted alike: the stored ones may have seen all examples."""
        training, validation = old
        fitted = self.recipe.fit(training, known, embedding=self._embedding())
        return Accuracies.of(fitted.scores(validation.features), validation, known)

    def _embedding(self) -> Embedding:
        """Return the parent's."""
        return self.network.fitted_embedding(self.novelty.space)

    def _beyond_axes(self, more: int) -> int:
        """Return how many training pictures came after the axes of the parent's embedding were chosen, with `more`."""
        earlier = self.parent.header.record.get(_BEYOND_AXES)
        # The file is untrusted.
        return more + (max(0, earlier) if isinstance(earlier, int) else 0)

    def _known_before(self, part: Part, known: Taxonomy) -> NDArray[np.bool_]:
        """Return which pictures the parent, as it is, does not call novel."""
        scores = Fitted(*self.network.heads(), self._embedding()).scores(part.features)
        validation = Validation.of(part.labels, scores, known, novelty=self.novelty)
        return known_to(validation, self.parent.header.thresholds)

    def _outcome(self, parts: tuple[Part, Part], evaluated: Fitted, final: Fitted, beyond_axes: int) -> Outcome:
        from phototag.model import to_numpy

        training, validation = parts
        everything = [feature for part in self.new for feature in part.pictures]
        hashes = [value for part in self.new for value in part.hashes]
        return Outcome(
            tensors=to_numpy(self.network),
            evaluated=[evaluated_by(evaluated, validation)],
            space=evaluated.embedding.space,
            # There are too few examples to learn another one from, and it holds for other classes too.
            rule=Rule(self.novelty.weights, self.novelty.biases, {}),
            examples=Examples.of(
                (training.features, training.subclasses),
                (validation.features, validation.subclasses),
                classes=len(self.taxonomy.subclasses),
                seed=self.recipe.seed,
                pretraining=self.old.pretraining,
            ),
            digest=data_digest(everything, hashes),
            details={
                **self.recipe.to_json(),
                "refitted_on_all": True,
                _BEYOND_AXES: beyond_axes,
                "training_pictures": len(training.subclasses),
                "class_pictures": self._class_pictures(everything),
                "contents": remembered(hashes, earlier=self.parent.header.record.get("contents")),
            },
        )

    def _class_pictures(self, new: Sequence[LabelledPicture]) -> dict[str, int]:
        known = self.parent.header.record.get("class_pictures")
        # The file is untrusted.
        pairs = known.items() if isinstance(known, dict) else ()
        counts = Counter({nfc(str(name)): count for name, count in pairs if isinstance(count, int)})
        return dict(sorted((counts + Counter(class_pictures(new))).items()))


def _lineage(parent: Model, added: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the models that one extended from `parent` descends from, the oldest first."""
    earlier = parent.header.record.get("lineage")
    own = {
        "name": parent.name,
        "hash": parent.hash,
        "created_at": parent.header.created_at,
        "subclasses": len(parent.header.taxonomy.subclasses),
        "then_added": list(added),
    }
    return [*(earlier if isinstance(earlier, list) else []), own]
