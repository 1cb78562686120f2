"""The face of a package: its public names, each imported when it is used.

Torch, SQLAlchemy and numpy are slow to import, and most commands need few of them. So importing a package imports none
of its modules; asking it for a name imports the module that defines the name (PEP 562).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_face(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package.

    `homes` gives for each of its modules the public names defined there, separated by blanks. No name may be that of a
    module: importing the module would hide it.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)

    return get, lambda: sorted(home_of)
