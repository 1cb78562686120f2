"""Values of a JSON body, each of the type that is wanted of it. All raise UsageError where it is another."""

from __future__ import annotations

from typing import Any

from phototag.errors import UsageError
from phototag.text import nfc

_LONGEST = 200
_MOST = 10_000
_LARGEST = 2**63 - 1
_SHORTEST_VERSION = 8


def number(body: dict[str, Any], key: str) -> int:
    """Return a whole number that is not negative."""
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise UsageError(f"{key}: a whole number is wanted")
    return value


def numbers(body: dict[str, Any], key: str) -> list[int]:
    """Return a list of whole numbers; none where there is no such key."""
    value = body.get(key, [])
    if not isinstance(value, list) or len(value) > _MOST:
        raise UsageError(f"{key}: a list of whole numbers is wanted")
    return [number({key: each}, key) for each in value]


def text(body: dict[str, Any], key: str) -> str:
    """Return a text that is not too long."""
    value = body.get(key)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise UsageError(f"{key}: a text of at most {_LONGEST} characters is wanted")
    return value


def name(body: dict[str, Any], key: str) -> str | None:
    """Return a name, composed as all are (NFC); None for null."""
    return None if body.get(key) is None else nfc(text(body, key))


def identity(body: dict[str, Any], key: str) -> str:
    """Return what a page calls itself or an answer: letters, digits and hyphens."""
    value = text(body, key)
    if not 8 <= len(value) <= 80 or not value.isascii() or not value.replace("-", "").isalnum():
        raise UsageError(f"{key}: 8 to 80 letters, digits and hyphens are wanted")
    return value


def version(body: dict[str, Any]) -> str:
    """Return how the hash of the content begins that a page showed."""
    value = text(body, "version")
    if len(value) < _SHORTEST_VERSION or not set(value) <= set("0123456789abcdef"):
        raise UsageError(f"version: {_SHORTEST_VERSION} digits of the content's hash are wanted")
    return value


def flag(body: dict[str, Any], key: str) -> bool:
    """Return whether something is wanted; not where there is no such key."""
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"{key}: true or false is wanted")
    return value
