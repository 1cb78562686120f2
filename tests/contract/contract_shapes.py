"""What is left of JSON when its values are dropped: keys and types, in a form that reads well in a diff."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Tables whose keys are data: counts by what happened to a photo.
COUNTERS = frozenset({"kinds", "transitions"})
# Whether a photo near a threshold has a label depends on the last digits of its scores, and those on the processor.
LABELS = frozenset({"superclass", "subclass"})


def shape(value: Any, names: Mapping[str, str]) -> Any:
    """Return the keys of a JSON value with types instead of values.

    Elements of a list are merged into one: a key with "?" at its end stands in some of them only, and "number or null"
    says that both occur. Integers and floats are both "number", since 1.0 may be printed either way.

    Args:
        value: What `json.loads` gave.
        names: Keys that are data, such as names of classes, and what to call them: {"red": "<subclass>"}.
    """
    if isinstance(value, dict):
        return _shape_of_table(value, names)
    if isinstance(value, list):
        merged = [shape(item, names) for item in value]
        return [_merge_all(merged)] if merged else []
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "string"


def _shape_of_table(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for key, value in table.items():
        inner: Any
        is_counter = key in COUNTERS and isinstance(value, dict) and all(isinstance(one, int) for one in value.values())
        if is_counter:
            inner = {"<name>": "number"} if value else {}
        elif key in LABELS and isinstance(value, str | None):
            inner = "null or string"
        else:
            inner = shape(value, names)
        found.setdefault(names.get(key, key), []).append(inner)
    return {key: _merge_all(shapes) for key, shapes in found.items()}


def _merge_all(shapes: list[Any]) -> Any:
    merged = shapes[0]
    for other in shapes[1:]:
        merged = _merge(merged, other)
    return merged


def _merge(first: Any, second: Any) -> Any:
    if first == second:
        return first
    if isinstance(first, dict) and isinstance(second, dict):
        ours = {key.removesuffix("?"): key for key in first}
        theirs = {key.removesuffix("?"): key for key in second}
        merged = {}
        for name in ours.keys() | theirs.keys():
            if name in ours and name in theirs:
                always = ours[name] == theirs[name] == name
                merged[name if always else f"{name}?"] = _merge(first[ours[name]], second[theirs[name]])
            else:
                merged[f"{name}?"] = first[ours[name]] if name in ours else second[theirs[name]]
        return merged
    if isinstance(first, list) and isinstance(second, list):
        both = [*first, *second]
        return [_merge_all(both)] if both else []
    parts = {part for each in (first, second) for part in _parts(each)}
    return " or ".join(sorted(parts))


def _parts(value: Any) -> list[str]:
    return value.split(" or ") if isinstance(value, str) else [json.dumps(value, sort_keys=True)]


def as_text(value: Any) -> str:
    """Return a value as sorted, indented JSON that ends with a line break."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
