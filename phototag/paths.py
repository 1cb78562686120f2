"""Where a photo lies: a path of this computer, or the address of an object in S3 storage."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import total_ordering
from pathlib import Path, PurePosixPath
from typing import TypeAlias

SCHEME = "s3://"


@total_ordering
class S3Path:
    """The address of an object, `s3://bucket/key`, or of all objects below it, with what photos need of a path.

    Its text is never folded: `a//b`, `a/../b` and `a/` are other keys than `a/b`, `b` and `a`. It is no path of the
    operating system, and nothing that opens files takes it.

    Args:
        text: The address.

    Raises:
        ValueError: it names no bucket, or holds what is not UTF-8, as all keys are.

    >>> photo = phototag.S3Path("s3://museum/2019//owl.JPG")
    >>> photo.bucket, photo.key, photo.name, photo.suffix
    ('museum', '2019//owl.JPG', 'owl.JPG', '.JPG')
    >>> photo.parent
    S3Path('s3://museum/2019/')
    >>> photo.is_relative_to(phototag.S3Path("s3://museum/2019"))
    True
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text.startswith(SCHEME) or text[len(SCHEME) :].startswith("/") or text == SCHEME:
            raise ValueError(f"{text}: names no bucket; write s3://bucket/prefix")
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError(f"{text!r}: is not UTF-8, which all keys of objects are") from None
        self._text = text

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return self._text[len(SCHEME) :].partition("/")[0]

    @property
    def key(self) -> str:
        """The key of the object, or what keys begin with; empty for the bucket itself."""
        return self._text[len(SCHEME) :].partition("/")[2]

    @property
    def name(self) -> str:
        """What follows the last slash of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> S3Path:
        """The address before the last slash; the bucket's is its own."""
        return S3Path(self._text.rpartition("/")[0]) if "/" in self._text[len(SCHEME) :] else self

    @property
    def parents(self) -> tuple[S3Path, ...]:
        """All addresses above this one, the bucket's last."""
        above = []
        path = self
        while (parent := path.parent) is not path:
            above.append(parent)
            path = parent
        return tuple(above)

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket's address, and what lies between the slashes of the key."""
        bucket, *names = self._text[len(SCHEME) :].split("/")
        return (SCHEME + bucket, *names)

    def with_name(self, name: str) -> S3Path:
        """Return the address beside this one with another name."""
        return S3Path(f"{self.parent}/{name}")

    def is_absolute(self) -> bool:
        """Return True: an address needs no working folder."""
        return True

    def is_relative_to(self, other: PhotoPath) -> bool:
        """Return whether this is that address, or lies below it."""
        return isinstance(other, S3Path) and (self == other or self._text.startswith(f"{other._text}/"))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"

    def __bytes__(self) -> bytes:
        return self._text.encode("utf-8")

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, S3Path) else NotImplemented

    def __lt__(self, other: object) -> bool:
        if isinstance(other, Path):
            return False  # objects come after files, as their bytes do
        return bytes(self) < bytes(other) if isinstance(other, S3Path) else NotImplemented

    def __reduce__(self) -> tuple[type[S3Path], tuple[str]]:
        return (type(self), (self._text,))


PhotoPath: TypeAlias = Path | S3Path
"""Where a photo lies. `bytes` of it are what the database keeps; `str` is for people and machine formats."""


def path_of(stored: bytes) -> PhotoPath:
    """Return the path whose bytes these are."""
    text = os.fsdecode(stored)
    # No path of a file begins so: the store keeps absolute ones.
    return S3Path(stored.decode()) if text.startswith(SCHEME) else Path(text)


def absolute(given: str | PhotoPath) -> PhotoPath:
    """Return what a person typed as an absolute path, ".." folded, or as an address without one slash at its end.

    Raises:
        ValueError: it begins like an address, and is none.
    """
    if isinstance(given, S3Path):
        return given
    if is_address(given):
        return S3Path(str(S3Path(str(given))).removesuffix("/"))
    return Path(os.path.abspath(given))  # noqa: PTH100  # keeps symlinks


def is_address(given: str | PhotoPath) -> bool:
    """Return whether this is the address of objects, or its text."""
    return isinstance(given, S3Path) or (isinstance(given, str) and given.startswith(SCHEME))


def shared_folder(folders: Collection[bytes]) -> bytes:
    """Return the longest folder that all these are or lie below; empty if nothing is shared, as by files and objects.

    Raises:
        ValueError: there are none.
    """
    addresses = sum(folder.startswith(SCHEME.encode()) for folder in folders)
    if not addresses:
        return os.path.commonpath(list(folders))
    if addresses < len(folders):
        return b""
    split = [folder.split(b"/") for folder in folders]
    first, last = min(split), max(split)
    pairs = enumerate(zip(first, last, strict=False))
    same = next((number for number, (one, other) in pairs if one != other), min(len(first), len(last)))
    # What two buckets share, "s3:" and nothing, is no folder.
    return b"/".join(first[:same]) if same >= len(SCHEME.split("/")) else b""


def is_below(path: PhotoPath, folder: PhotoPath) -> bool:
    """Return whether a path is that folder's, or lies below it."""
    if isinstance(path, S3Path):
        return path.is_relative_to(folder)
    return isinstance(folder, Path) and path.is_relative_to(folder)
