"""Names of classes to choose from by typing a part of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from phototag.errors import UsageError
from phototag.taxonomy import check_name, spelling_key
from phototag.text import nfc


class Key(StrEnum):
    """Keys that write no character. Any other key is the character that it writes."""

    UP = "<up>"
    DOWN = "<down>"
    ENTER = "<enter>"
    ESCAPE = "<escape>"
    BACKSPACE = "<backspace>"
    CLEAR = "<clear>"
    END = "<end of input>"
    OTHER = "<other>"


class Names:
    """Superclasses and the subclasses under each, as far as models and people named them."""

    def __init__(self) -> None:
        self._under: dict[str, set[str]] = {}

    def add(self, superclass: str, subclass: str | None) -> None:
        """Note a superclass, and a subclass under it."""
        children = self._under.setdefault(nfc(superclass), set())
        if subclass is not None:
            children.add(nfc(subclass))

    @property
    def superclasses(self) -> list[str]:
        """Return all superclasses by name."""
        return sorted(self._under)

    def subclasses(self, superclass: str) -> list[str]:
        """Return the subclasses under a superclass by name."""
        return sorted(self._under.get(superclass, ()))

    @property
    def qualified(self) -> list[str]:
        """Return all subclasses in full, as in "bird/rooster"."""
        return [
            f"{superclass}/{subclass}" for superclass in self.superclasses for subclass in self.subclasses(superclass)
        ]

    def know(self, superclass: str, subclass: str | None) -> bool:
        """Return whether the class is among them."""
        children = self._under.get(superclass)
        return children is not None and (subclass is None or subclass in children)

    def settle(self, superclass: str, subclass: str | None) -> tuple[str, str | None]:
        """Return the class as it is known, however it was spelled; a new one only if training would take it.

        Raises:
            UsageError: it is new and cannot be a name, or its subclass lies under another superclass.
        """
        if self.know(superclass, subclass):
            return superclass, subclass
        superclass = _as_known(superclass, self._under)
        if subclass is not None:
            subclass = _as_known(subclass, self._under.get(superclass, ()))
        if not self.know(superclass, subclass):
            check_name(superclass, "superclass")
            self._check_parent(superclass, subclass)
        return superclass, subclass

    def _check_parent(self, superclass: str, subclass: str | None) -> None:
        if subclass is None:
            return
        check_name(subclass, "subclass")
        for other, children in self._under.items():
            if other != superclass and spelling_key(subclass) in map(spelling_key, children):
                raise UsageError(f"{subclass!r} lies under {other!r}; choose that superclass, or another name")


def _as_known(name: str, known: Iterable[str]) -> str:
    """Return the known name that is spelled alike, else the name with composed letters."""
    return next((each for each in known if spelling_key(each) == spelling_key(name)), nfc(name))


def narrow(names: Iterable[str], typed: str) -> list[str]:
    """Return the names that hold what was typed: that name, then those that begin so, whose last part does, the rest.

    Capitals do not matter, nor do underscores for blanks; names that fit as well keep their order.
    """
    wanted = spelling_key(typed.strip())
    ranked = []
    for place, name in enumerate(names):
        folded = spelling_key(name)
        if wanted in folded:
            last = folded.rpartition("/")[2]
            fit = 0 if folded == wanted else 1 if folded.startswith(wanted) else 2 if last.startswith(wanted) else 3
            ranked.append((fit, place, name))
    return [name for _, _, name in sorted(ranked)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A name that was chosen; `new` if it stood in no list, None where none of the names was wanted."""

    name: str | None
    new: bool = False


class Cancelled:
    """The choice was given up."""


class TypeAhead:
    """A list that typing narrows. Nothing is chosen before something was typed or an arrow was used.

    `prompt` says what is chosen. `optional`: Enter alone chooses none of the names.
    """

    VISIBLE = 9

    def __init__(self, prompt: str, names: Sequence[str], *, optional: bool = False) -> None:
        self.prompt = prompt
        self.optional = optional
        self.typed = ""
        self.selected: int | None = None
        self._names = list(dict.fromkeys(names))

    @property
    def options(self) -> list[Chosen]:
        """Return what can be chosen now, best first; what was typed comes last, unless it is a name already."""
        fitting = [Chosen(name) for name in narrow(self._names, self.typed)]
        typed = self.typed.strip()
        if typed and all(each.name is None or spelling_key(each.name) != spelling_key(typed) for each in fitting):
            fitting.append(Chosen(typed, new=True))
        return fitting

    @property
    def first_visible(self) -> int:
        """Return where the visible part of the options begins, so that the selected one is in it."""
        return max(0, (self.selected or 0) - self.VISIBLE + 1)

    def feed(self, key: str) -> Chosen | Cancelled | None:
        """Take a key; what came of it, None while the choice goes on."""
        if key in (Key.ESCAPE, Key.END):
            return Cancelled()
        if key == Key.ENTER:
            return self._enter()
        if key in (Key.UP, Key.DOWN):
            self._move(1 if key == Key.DOWN else -1)
        elif key == Key.BACKSPACE:
            self._type(self.typed[:-1])
        elif key == Key.CLEAR:
            self._type("")
        elif len(key) == 1 and key.isprintable():
            visible = self.options[self.first_visible :][: self.VISIBLE]
            # A digit that a name goes on with is typed, any other is the number of a line.
            if key in "123456789" and not narrow(self._names, self.typed + key) and int(key) <= len(visible):
                return visible[int(key) - 1]
            self._type(self.typed + key)
        return None

    def feed_line(self, line: str) -> Chosen | None:
        """Take a whole line, for where single keys cannot be read; None if it does not say which name is meant.

        A name in full, a number of the list, or a part that only one name holds; a name that nothing holds is new.
        """
        typed = line.strip()
        if not typed:
            return Chosen(None) if self.optional else None
        if typed.isascii() and typed.isdigit() and not narrow(self._names, typed):
            return Chosen(self._names[int(typed) - 1]) if 0 < int(typed[:6]) <= len(self._names) else None
        fitting = narrow(self._names, typed)
        if not fitting:
            return Chosen(typed, new=True)
        if len(fitting) == 1 or spelling_key(fitting[0]) == spelling_key(typed):
            return Chosen(fitting[0])
        return None

    def _enter(self) -> Chosen | None:
        options = self.options
        if self.selected is not None and self.selected < len(options):
            return options[self.selected]
        return Chosen(None) if self.optional and not self.typed.strip() else None

    def _move(self, by: int) -> None:
        count = len(self.options)
        if count and self.selected is None:
            self.selected = 0 if by > 0 else count - 1
        elif count and self.selected is not None:
            self.selected = (self.selected + by) % count

    def _type(self, text: str) -> None:
        self.typed = text
        self.selected = 0 if text.strip() else None
