"""`phototag audit review`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from phototag.cli.keys import Keys, open_keys
from phototag.cli.messages import clear_lines
from phototag.cli.options import db_option
from phototag.cli.tag import terminated_as_interrupted
from phototag.cli.viewer import Viewer
from phototag.errors import LockedError, UsageError
from phototag.records import Rank
from phototag.review import Cancelled, Chosen, Key, Names, TypeAhead
from phototag.taxonomy import label_text
from phototag.text import printable, shorten

if TYPE_CHECKING:
    from phototag.review import Meanwhile, ReviewSession, ShownPhoto
    from phototag.store import Sample, SavedReview

Say = Callable[[str], None]
Labels = tuple[str | None, str | None]

_KEYS = "y right  c other subclass  s other superclass  u superclass only  n no label  k skip  b back  ? help  q quit"
_HELP = """\
  y  right: the photo shows what the tag says, and no more can be said of it
  c  another subclass of the same superclass
  s  another superclass, then its subclass
  u  superclass only: that is right, the subclass is none that the model knows
  n  no label: the photo shows none of the known classes
  k  skip: it cannot be told
  b  back: take the last answer back, as often as you like
  q  quit; go on later where you stopped
In a list: type a part of the name, or its number; arrows select, Enter takes, Escape goes back."""


@click.command()
@click.argument("name", required=False, metavar="[SAMPLE]")
@click.option(
    "--viewer",
    metavar="COMMAND",
    help="Program that shows each photo; it is ended before the next. [default: the platform's]",
)
@click.option("--no-view", is_flag=True, help="Show no photo.")
@db_option
def review(name: str | None, viewer: str | None, no_view: bool, db: str | None) -> None:
    """Review the photos of a sample here in the terminal: say of each whether its tag is right.

    Without SAMPLE, the newest with photos that wait. One key answers for a photo: y right, c and s choose another
    class, u says superclass only and n no label; ? shows all. Each answer is stored at once, so stop at any time and
    go on later. Without a terminal, answers are read as lines of stdin: a key each, and after c and s the name.
    """
    if viewer is not None and no_view:
        raise click.UsageError("--viewer and --no-view exclude each other")
    from phototag.review import ReviewSession, choose_sample
    from phototag.store import Store

    shows = None if no_view else Viewer(viewer, _say)
    with Store.open(db, create=False) as store:
        sample = choose_sample(store, name)
        if sample is None:
            _say("No photo of any sample waits for a review. What they say: phototag audit report")
            return
        session = ReviewSession(store, sample)
        try:
            with terminated_as_interrupted(), open_keys() as keys:
                Reviewing(session, keys, shows, _say).run()
        except KeyboardInterrupt:
            _say("\nStopped.")
        finally:
            if shows is not None:
                shows.close()
            _summarise(session, store.samples.find(sample.name) or sample)


def _say(text: str) -> None:
    click.echo(text, err=True)


class Reviewing:
    """The conversation: shows photos, reads keys, and hands answers to the session."""

    def __init__(self, session: ReviewSession, keys: Keys, viewer: Viewer | None, say: Say) -> None:
        self._session = session
        self._keys = keys
        self._viewer = viewer
        self._say = say

    def run(self) -> None:
        """Go through the photos until none waits or the reviewer leaves.

        Raises:
            UsageError: an answer that cannot be corrected makes no sense.
            StoreError: the database cannot be read or written.
        """
        from phototag.review import PassedPhoto

        while True:
            shown = self._session.next_photo()
            if isinstance(shown, PassedPhoto):
                self._say(f"{_heading(shown.item.position, self._session)}  {_inert(shown.item.path)}")
                self._say(f"  Passed by: it {shown.reason}.")
            elif shown is None:
                if not self._goes_back_at_end():
                    return
            else:
                self._show(shown)
                if not self._judge(shown):
                    return

    def _goes_back_at_end(self) -> bool:
        """Return whether the reviewer takes the last answer back now that no photo waits."""
        if not self._session.can_undo:
            return False
        self._say("No more photos wait: b back, any other key to end")
        while self._session.can_undo and self._keys.key() == "b":
            try:
                return self._undo()
            except (LockedError, UsageError) as error:
                if self._keys.strict:
                    raise
                self._say(f"  Not stored: {_inert(str(error))}")
        return False

    def _show(self, shown: ShownPhoto) -> None:
        item, tag = shown.item, shown.item.tag
        self._say(f"\n{_heading(item.position, self._session)}  {_inert(item.path)}")
        scores = f"superclass {tag.superclass_score:.2f}, subclass {tag.subclass_score:.2f}, novelty {tag.novelty:.2f}"
        self._say(f"  tagged   {_named(tag.superclass, tag.subclass)}   ({scores})")
        if shown.candidates:
            others = (f"{_named(each.superclass, each.subclass)} {each.score:.2f}" for each in shown.candidates)
            self._say(f"  or       {', '.join(others)}")
        if self._viewer is not None:
            self._viewer.open(item.path)
        self._say(f"  {_KEYS}")

    # ---- one photo

    def _judge(self, shown: ShownPhoto) -> bool:
        """Read keys until one settles the photo; whether to go on."""
        while True:
            key = self._keys.key()
            if key in ("q", Key.END):
                return False
            try:
                if self._obey(key, shown):
                    return True
            except (LockedError, UsageError) as error:
                if self._keys.strict:
                    raise
                self._say(f"  Not stored: {_inert(str(error))}")
                if not isinstance(error, LockedError):
                    # What changed may have to be passed by now.
                    self._session.look_again(shown)
                    return True

    def _obey(self, key: str, shown: ShownPhoto) -> bool:
        """Do what a key says; whether the photo is settled."""
        tag = shown.item.tag
        if key == "y":
            return self._save(shown, (tag.superclass, tag.subclass))
        if key == "n":
            return self._save(shown, (None, None))
        if key == "u" and tag.rank is not Rank.NONE:
            return self._save(shown, (tag.superclass, None))
        if key in ("c", "s"):
            labels = self._subclass_of(shown) if key == "c" else self._both(shown)
            if labels is not None:
                return self._save(shown, labels)
            self._say(f"  {_KEYS}")
            return False
        if key == "k":
            return self._skip(shown)
        if key == "b":
            return self._undo()
        if key == "?":
            self._say(_HELP)
            return False
        self._complain(key, shown)
        return False

    def _complain(self, key: str, shown: ShownPhoto) -> None:
        if isinstance(key, Key):
            return
        reason = f"{_inert(key)!r} is no answer; ? shows what is"
        if key == "u":
            reason = "the tag has no label: s chooses a superclass, n says that none fits"
        if self._keys.strict:
            raise UsageError(f"photo {shown.item.position} of the sample: {reason}")
        self._say(f"  {reason[0].upper()}{reason[1:]}")

    def _save(self, shown: ShownPhoto, labels: Labels) -> bool:
        from phototag.review import Meanwhile

        result = self._session.save(shown, *labels)
        if isinstance(result, Meanwhile) and not result.agrees and self._takes_own(result, labels):
            result = self._session.save(shown, *labels, replace=True)
        if isinstance(result, Meanwhile):
            self._say(f"  Another person said {_said(result.review)} meanwhile; it stays so.")
        else:
            self._say(f"  Stored: {_said(result)}")
        return True

    def _takes_own(self, other: Meanwhile, labels: Labels) -> bool:
        self._say(
            f"  Another person said {_said(other.review)} meanwhile, and you say {_named(*labels)}: "
            "m takes yours, any other key leaves theirs"
        )
        return self._keys.key() == "m"

    def _skip(self, shown: ShownPhoto) -> bool:
        other = self._session.skip(shown)
        if other is None:
            self._say("  Skipped.")
        else:
            self._say(f"  Another person said {_said(other.review)} meanwhile; it stays so.")
        return True

    def _undo(self) -> bool:
        step = self._session.undo()
        if step is None:
            self._say("  There is nothing to take back.")
            return False
        self._say(f"  Taken back: photo {step.position}.")
        return True

    # ---- choosing names

    def _subclass_of(self, shown: ShownPhoto) -> Labels | None:
        """Ask for another subclass under the tag's superclass; of all where the tag names none."""
        superclass, names = shown.item.tag.superclass, self._session.names
        if superclass is not None:
            return self._choose_subclass(shown, superclass, optional=False)
        first = [f"{each.superclass}/{each.subclass}" for each in shown.candidates]
        chosen = self._choose(TypeAhead("superclass/subclass", [*first, *names.qualified]))
        if chosen is None or chosen.name is None:
            return None
        parent, _, child = chosen.name.partition("/")
        return self._confirmed(shown, parent.strip(), child.strip() or None, new=chosen.new)

    def _both(self, shown: ShownPhoto) -> Labels | None:
        """Ask for another superclass, and its subclass if it has a name."""
        wrong = shown.item.tag.superclass
        first = [each.superclass for each in shown.candidates]
        listed = [name for name in [*first, *self._session.names.superclasses] if name != wrong]
        chosen = self._choose(TypeAhead("superclass", listed))
        if chosen is None or chosen.name is None:
            return None
        superclass: str | None = chosen.name
        if chosen.new:
            confirmed = self._confirmed(shown, chosen.name, None, new=True)
            superclass = None if confirmed is None else confirmed[0]
        return None if superclass is None else self._choose_subclass(shown, superclass, optional=True)

    def _choose_subclass(self, shown: ShownPhoto, superclass: str, *, optional: bool) -> Labels | None:
        names: Names = self._session.names
        first = [each.subclass for each in shown.candidates if each.superclass == superclass]
        listed = [name for name in [*first, *names.subclasses(superclass)] if name != shown.item.tag.subclass]
        prompt = f"subclass of {superclass}" + (" (Enter alone: none of these)" if optional else "")
        chosen = self._choose(TypeAhead(prompt, listed, optional=optional))
        if chosen is None:
            return None
        return self._confirmed(shown, superclass, chosen.name, new=chosen.new)

    def _confirmed(self, shown: ShownPhoto, superclass: str, subclass: str | None, *, new: bool) -> Labels | None:
        """Return the labels as they are known, if they are valid; a new name only once the reviewer confirms it."""
        try:
            labels = self._session.settle(shown, superclass, subclass)
        except UsageError as error:
            if self._keys.strict:
                raise
            self._say(f"  {_inert(str(error))}")
            return None
        # What was typed in another spelling is no new name.
        if new and labels == (superclass, subclass):
            self._say(f"  {_named(*labels)} is a new name: y takes it, any other key goes back")
            if self._keys.key() != "y":
                return None
        return labels

    def _choose(self, choice: TypeAhead) -> Chosen | None:
        """Ask for a name from a list; None if the reviewer goes back."""
        if not self._keys.live:
            return self._choose_by_line(choice)
        drawn = 0
        while True:
            lines = draw(choice, shutil.get_terminal_size().columns - 1)
            if drawn:
                clear_lines(drawn)
            self._say("\n".join(lines))
            drawn = len(lines)
            result = choice.feed(self._keys.key())
            if isinstance(result, Cancelled):
                return None
            if result is not None:
                return result

    def _choose_by_line(self, choice: TypeAhead) -> Chosen | None:
        self._say("\n".join(draw(choice, 100)))
        try:
            line = self._keys.line()
        except EOFError:
            return None
        chosen = choice.feed_line(line)
        if chosen is None:
            words = f"{_inert(line)!r} does not say which {_inert(choice.prompt)} is meant"
            if self._keys.strict:
                raise UsageError(words)
            self._say(f"  {words}")
        return chosen


# ---- words


def draw(choice: TypeAhead, width: int) -> list[str]:
    """Return the lines that show a choice, each at most `width` columns: what was typed, then the names that fit."""
    options, start = choice.options, choice.first_visible
    lines = [f"  {choice.prompt}: {choice.typed}_"]
    for number, option in enumerate(options[start:][: choice.VISIBLE], start=1):
        mark = ">" if choice.selected == start + number - 1 else " "
        lines.append(f"  {mark} {number} {'new: ' if option.new else ''}{option.name}")
    left = len(options) - start - choice.VISIBLE
    if left > 0:
        lines.append(f"      … {left:,} more")
    return [shorten(printable(line), max(width, 20)) for line in lines]


def _heading(position: int, session: ReviewSession) -> str:
    return f"{position:,} of {session.sample.size:,}"


def _inert(text: object) -> str:
    return printable(str(text))


def _named(superclass: str | None, subclass: str | None) -> str:
    return _inert(label_text(superclass, subclass))


def _said(review: SavedReview) -> str:
    return _named(review.superclass, review.subclass)


def _summarise(session: ReviewSession, sample: Sample) -> None:
    steps = session.own_steps
    reviewed = [step for step in steps if step.review_id is not None]
    right = sum(step.right for step in reviewed)
    parts = [f"{len(reviewed):,} reviewed ({right:,} right, {len(reviewed) - right:,} not)"]
    parts += [f"{len(steps) - len(reviewed):,} skipped"] if len(steps) > len(reviewed) else []
    parts += [f"{session.undone:,} taken back"] if session.undone else []
    parts += [f"{session.passed:,} passed by"] if session.passed else []
    _say(f"\nSample {_inert(sample.name)}: {', '.join(parts)}. {sample.pending:,} of {sample.size:,} still wait.")
    name = shlex.quote(sample.name)
    if sample.pending > session.passed:
        _say(f"Go on: phototag audit review {name}")
    if not sample.for_estimation:
        _say("Learn from it: phototag export labels")
    elif sample.reviewed:
        _say(f"What it says: phototag audit report --sample {name}")
