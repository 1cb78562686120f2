"""The database of photos and their tags. Importing this imports no alembic, torch or numpy."""

from __future__ import annotations

from phototag.store.batch import ScoredContent, StoredTag
from phototag.store.contents import Content
from phototag.store.health import CheckReport, Info, ModelInfo, RunInfo, backup, check, info, pending, watcher_status
from phototag.store.photos import KnownPhoto
from phototag.store.query import Query, SortKey
from phototag.store.review_records import Review, ReviewFilter, ReviewOrigin, SavedReview, ShownTag, Verdict
from phototag.store.sample_records import Design, DrawnPhoto, NewSample, Sample, SampleItem, SampleProgress, Stratum
from phototag.store.schema import HEAD, UpgradeReport, upgrade
from phototag.store.scored import ScoredTag
from phototag.store.store import Store

__all__ = [
    "HEAD",
    "CheckReport",
    "Content",
    "Design",
    "DrawnPhoto",
    "Info",
    "KnownPhoto",
    "ModelInfo",
    "NewSample",
    "Query",
    "Review",
    "ReviewFilter",
    "ReviewOrigin",
    "RunInfo",
    "Sample",
    "SampleItem",
    "SampleProgress",
    "SavedReview",
    "ScoredContent",
    "ScoredTag",
    "ShownTag",
    "SortKey",
    "Store",
    "StoredTag",
    "Stratum",
    "UpgradeReport",
    "Verdict",
    "backup",
    "check",
    "info",
    "pending",
    "upgrade",
    "watcher_status",
]
