"""What the gallery shows: a library's photos filtered, sorted, counted and compared. No web server in here."""

from __future__ import annotations

from phototag.catalog.catalog import Gallery
from phototag.catalog.facets import (
    ClassCount,
    Count,
    Facets,
    FolderCount,
    MonthCount,
    ScoreBand,
    SuperclassCount,
    YearCount,
)
from phototag.catalog.filters import GalleryFilter, GallerySort
from phototag.catalog.views import (
    Around,
    GalleryItem,
    GalleryPage,
    PhotoDetail,
    Prediction,
    SampleMembership,
    SimilarPhoto,
)
from phototag.decision.rule import Candidate

__all__ = [
    "Around",
    "Candidate",
    "ClassCount",
    "Count",
    "Facets",
    "FolderCount",
    "Gallery",
    "GalleryFilter",
    "GalleryItem",
    "GalleryPage",
    "GallerySort",
    "MonthCount",
    "PhotoDetail",
    "Prediction",
    "SampleMembership",
    "ScoreBand",
    "SimilarPhoto",
    "SuperclassCount",
    "YearCount",
]
