"""What a photo's tag means, in plain words that claim no more than the scores do."""

from __future__ import annotations

from dataclasses import dataclass

from phototag.catalog import PhotoDetail
from phototag.choices import ReviewOrigin
from phototag.records import PhotoState, Rank, Source
from phototag.store import Verdict
from phototag.text import percent

VERDICTS = {
    Verdict.RIGHT: "the tag was right",
    Verdict.SUPERCLASS_WRONG: "the superclass was wrong",
    Verdict.SUBCLASS_WRONG: "the subclass was wrong",
    Verdict.NONE: "it shows nothing that has a label",
    Verdict.LABEL: "the tag said less, or nothing",
}
ORIGINS = {
    ReviewOrigin.REVIEW: "review",
    ReviewOrigin.IMPORT: "imported label",
    ReviewOrigin.NAMED: "name of a group",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """The tag in words: `lead` in one sentence, `more` where it needs another, `trouble` with the file itself."""

    lead: str
    more: str
    trouble: str


def explain(photo: PhotoDetail, unfit: str | None = None) -> Explained:
    """What is said of the photo, by whom, and how sure that is; `unfit` is why its file cannot be judged now."""
    lead, more = _tag(photo)
    return Explained(lead, more, _trouble(photo, unfit))


def _tag(photo: PhotoDetail) -> tuple[str, str]:
    item = photo.item
    if item.rank is None:
        return "This photo has no tag yet.", ""
    if item.source is Source.HUMAN:
        if item.rank is Rank.NONE:
            return "A person said that it shows nothing that has a label.", ""
        if item.rank is Rank.SUPERCLASS:
            return "Named by a person, who could not say more, or no known subclass fits.", ""
        return "Named by a person.", ""
    superclass, subclass = _share(photo.superclass_score), _share(photo.subclass_score)
    guess = next(
        (each for prediction in photo.predictions for each in prediction.candidates if prediction.current), None
    )
    if item.rank is Rank.SUBCLASS:
        return f"The model gives this subclass {subclass}, and the superclass {superclass}.", _strange(item.novelty)
    if item.rank is Rank.SUPERCLASS:
        best = "" if guess is None else f" Its best guess is {guess.subclass}, with {_share(guess.score)}."
        return (
            f"The model gives this superclass {superclass}, but no subclass enough to name it.{best}",
            _strange(item.novelty),
        )
    best = (
        ""
        if guess is None
        else f" Its best guess is {guess.superclass} / {guess.subclass}, with {_share(guess.score)}."
    )
    return f"The model names nothing here.{best}", _strange(item.novelty)


def _strange(novelty: float | None) -> str:
    if novelty is None or novelty < 0.5:
        return ""
    return f"It looks unlike what the model was taught: {_share(novelty)} that its subclass is none of those."


def _share(score: float | None) -> str:
    if score is None:
        return "an unknown score"
    # Nothing that a model says is certain.
    if score > 0.995:
        return "more than 99\u00a0%"
    return "less than 1\u00a0%" if score < 0.005 else percent(score, 0).replace(" ", "\u00a0")


def _trouble(photo: PhotoDetail, unfit: str | None) -> str:
    match photo.item.state:
        case PhotoState.MISSING:
            return "The file is no longer where it was. Its tag is kept for when it comes back."
        case PhotoState.UNREADABLE:
            return f"The file could not be read: {photo.error or 'no reason was noted'}."
        case PhotoState.OK:
            return "" if unfit is None else f"The file {unfit}."
