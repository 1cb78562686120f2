"""The database of photos and their tags. Importing this imports no alembic, torch or numpy."""

from __future__ import annotations

from phototag.store.batch import ScoredContent, StoredTag
from phototag.store.health import CheckReport, Info, ModelInfo, RunInfo, backup, check, info, pending, watcher_status
from phototag.store.photos import KnownPhoto
from phototag.store.query import Query, SortKey
from phototag.store.schema import HEAD, UpgradeReport, upgrade
from phototag.store.scored import ScoredTag
from phototag.store.store import Store

__all__ = [
    "HEAD",
    "CheckReport",
    "Info",
    "KnownPhoto",
    "ModelInfo",
    "Query",
    "RunInfo",
    "ScoredContent",
    "ScoredTag",
    "SortKey",
    "Store",
    "StoredTag",
    "UpgradeReport",
    "backup",
    "check",
    "info",
    "pending",
    "upgrade",
    "watcher_status",
]
