"""What a photo's tag means, in plain words that claim no more than the scores do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from phototag.catalog import PhotoDetail
from phototag.choices import ReviewOrigin
from phototag.decision import Candidate
from phototag.records import PhotoState, Rank, Reason, Source
from phototag.store import Capture, Verdict
from phototag.taxonomy import as_written
from phototag.text import clock_text, percent

VERDICTS = {
    Verdict.RIGHT: "the tag was right",
    Verdict.SUPERCLASS_WRONG: "the superclass was wrong",
    Verdict.SUBCLASS_WRONG: "the subclass was wrong",
    Verdict.NONE: "no label fits",
    Verdict.LABEL: "the tag said less, or nothing",
}
ORIGINS = {
    ReviewOrigin.REVIEW: "review",
    ReviewOrigin.IMPORT: "imported label",
    ReviewOrigin.NAMED: "name of a group",
}

_GUESSES = 2
_SURE = 0.9


@dataclass(frozen=True, slots=True)
class Explained:
    """The tag in words: `lead` in one sentence, `more` where it needs another, `trouble` with the file itself."""

    lead: str
    more: str
    trouble: str


def explain(photo: PhotoDetail, unfit: str | None = None) -> Explained:
    """Say what the tag is, who gave it, and how sure that is; `unfit` is why its file cannot be reviewed now."""
    lead, more = _tag(photo)
    return Explained(lead, more, _trouble(photo, unfit))


def _tag(photo: PhotoDetail) -> tuple[str, str]:
    item = photo.item
    if item.rank is None:
        return "This photo has no tag yet.", ""
    if item.source is Source.HUMAN:
        if item.rank is Rank.NONE:
            return "A person said that it shows none of the known classes.", ""
        if item.rank is Rank.SUPERCLASS:
            return "Named by a person, superclass only: who could not say more, or no known subclass fits.", ""
        return "Named by a person.", ""
    return _why(photo), _strange(item.novelty)


def _why(photo: PhotoDetail) -> str:
    """Say how sure the model is, and what stopped it where it did not name a subclass."""
    item = photo.item
    superclass, subclass = _share(photo.superclass_score), _share(photo.subclass_score)
    if item.rank is Rank.SUBCLASS:
        return f"The model gives this subclass {subclass}, and the superclass {superclass}."
    guesses = [each for each in best_candidates(photo) if item.superclass in (None, each.superclass)][:_GUESSES]
    known = None if item.superclass is None else as_written(item.superclass)
    # Where the superclass is said already, the subclass will do.
    names = [as_written(each.subclass if known else f"{each.superclass} / {each.subclass}") for each in guesses]
    shares = ", ".join(f"{name} {_share(each.score)}" for name, each in zip(names, guesses, strict=True))
    nearest = f"; nearest: {shares}" if shares else ""
    sure = f"{known} is sure" if (photo.superclass_score or 0.0) > _SURE else f"{known} {superclass}"
    match item.reason:
        case Reason.LOW_SUBCLASS_SCORE:
            return f"{sure}; {shares or 'its subclasses'}: {_too_little(guesses)}."
        case Reason.NOVEL_SUBCLASS:
            return f"{sure}, but it looks like no known subclass of {known}{nearest}."
        case Reason.LOW_SUPERCLASS_SCORE:
            return f"The best superclass has {superclass}, which is too little to name it{nearest}."
        case Reason.NOVEL_SUPERCLASS:
            return f"It looks like no superclass that the model knows{nearest}."
    # Tagged with thresholds that the database does not know.
    best = f" Its best guess is {names[0]}, with {_share(guesses[0].score)}." if guesses else ""
    if known is None:
        return f"The model names nothing here.{best}"
    return f"The model gives this superclass {superclass}, but no subclass enough to name it.{best}"


def best_candidates(photo: PhotoDetail) -> Sequence[Candidate]:
    """Return the best subclasses by the newest scores of what the file holds now, best first."""
    return next((each.candidates for each in photo.predictions if each.current and each.candidates), ())


def capture_words(capture: Capture) -> list[tuple[str, str, str]]:
    """Return what a file says of itself: a heading, words, and where the gallery shows all photos like it."""
    facts = capture.facts
    found: list[tuple[str, str, str]] = []
    if facts.moment is not None and facts.taken_at is not None:
        day = facts.taken_at.date().isoformat()
        found.append(("Taken", clock_text(facts.moment).replace("T", " "), f"/?{urlencode({'taken': day})}"))
    if facts.camera is not None:
        found.append(("Camera", facts.camera, f"/?{urlencode({'camera': facts.camera})}"))
    if facts.lens is not None:
        found.append(("Lens", facts.lens, ""))
    if facts.latitude is not None and facts.longitude is not None:
        found.append(("Place", f"{facts.latitude:.5f}, {facts.longitude:.5f}", ""))
    if facts.rating is not None:
        found.append(("Rating", "rejected" if facts.rating < 0 else f"{facts.rating} of 5", ""))
    for keyword in capture.keywords:
        found.append(("Keyword", keyword, f"/?{urlencode({'keyword': keyword})}"))
    return found


def _too_little(guesses: Sequence[Candidate]) -> str:
    close = len(guesses) > 1 and guesses[1].score > guesses[0].score / 2
    return "too close to call" if close else "too little to name one"


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
        case PhotoState.UNSUPPORTED:
            return f"The file was left out: {photo.error or 'nothing here reads its format'}."
        case PhotoState.OK:
            return "" if unfit is None else f"The file {unfit}."
