"""Leave out files and folders by patterns as of a shell."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence

from phototag.errors import UsageError
from phototag.paths import PhotoPath, is_below
from phototag.text import nfc


class Exclusion:
    """Patterns that say whether a path below a root is left out.

    A pattern without a slash speaks of the name of a file or folder at any depth (`thumbs`, `*_small.jpg`); one with a
    slash of the path below the root (`2019/raw`, `./raw`, `**/cache/*.png`), or of the whole path if it begins with
    one. `*` and `?` stop at slashes, `**` does not. What lies in an excluded folder is left out with it.

    Raises:
        UsageError: a pattern is empty.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.patterns = tuple(patterns)
        names: list[str] = []
        below: list[str] = []
        whole: list[str] = []
        for pattern in patterns:
            text = nfc(re.sub("/+", "/", pattern).rstrip("/"))
            if not text.strip(" ./"):
                raise UsageError(f"--exclude {pattern!r}: an empty pattern leaves out nothing; write a name or a path")
            kind = whole if text.startswith("/") else below if "/" in text else names
            kind.append(fnmatch.translate(text) if kind is names else _regex(text.removeprefix("./")))
        self._names, self._below, self._whole = _any(names), _any(below), _any(whole)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def leaves_out(self, path: str, root: str) -> bool:
        """Return whether the file or folder itself is left out, apart from the folders that it lies in."""
        if not self.patterns:
            return False
        if not path.isascii():  # a keyboard writes é in another form than a Mac's disk
            path, root = nfc(path), nfc(root)
        if self._names is not None and self._names.match(os.path.basename(path)):  # noqa: PTH119  # once a file
            return True
        if self._below is not None and self._below.match(path[len(root) :].lstrip("/")):
            return True
        return self._whole is not None and self._whole.match(path) is not None

    def covers(self, path: PhotoPath, root: PhotoPath) -> bool:
        """Return whether the path or a folder between the root and it is left out. The root itself never is."""
        if not self.patterns or path == root or not is_below(path, root):
            return False
        # As text: with a Path for each folder a million known photos would take minutes.
        text, base = str(path), str(root)
        start = len(base.rstrip("/")) + 1
        ends = (*(index for index, mark in enumerate(text[start:], start) if mark == "/"), len(text))
        return any(self.leaves_out(text[:end], base) for end in ends)


def _any(patterns: list[str]) -> re.Pattern[str] | None:
    # File names that are not UTF-8 hold lone surrogates, which re takes like any other character.
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.DOTALL) if patterns else None


def _regex(pattern: str) -> str:
    """Return a pattern with slashes as a regular expression of a whole path."""
    parts = []
    for part in re.split(r"((?<![^/])\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\])", pattern):
        if part == "**/":
            parts.append("(?:.*/)?")
        elif part == "**":
            parts.append(".*")
        elif part == "*":
            parts.append("[^/]*")
        elif part == "?":
            parts.append("[^/]")
        elif part.startswith("["):
            # As in names, but for the slash; the end that `translate` adds is cut off.
            parts.append("(?!/)" + fnmatch.translate(part)[:-2])
        else:
            parts.append(re.escape(part))
    return "".join(parts) + r"\Z"
