"""phototag keeps a photo library tagged with two-level labels, and says how accurate the tags are.

Public names are loaded when they are first used, so `import phototag` is instant and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from phototag._version import __version__

if TYPE_CHECKING:
    from phototag.evaluation.evaluation import evaluate as evaluate
    from phototag.store import Query as Query
    from phototag.store import Store as Store
    from phototag.tagging.tagger import Tagger as Tagger
    from phototag.taxonomy import Taxonomy as Taxonomy
    from phototag.training.training import TrainingConfig as TrainingConfig
    from phototag.training.training import train as train

_HOME_OF = {
    "Query": "phototag.store",
    "Store": "phototag.store",
    "Tagger": "phototag.tagging.tagger",
    "Taxonomy": "phototag.taxonomy",
    "TrainingConfig": "phototag.training.training",
    "evaluate": "phototag.evaluation.evaluation",
    "train": "phototag.training.training",
}

__all__ = ["Query", "Store", "Tagger", "Taxonomy", "TrainingConfig", "__version__", "evaluate", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
