"""What the gallery shows: a library's photos filtered, sorted, counted and compared. No web server in here."""

from __future__ import annotations

from phototag.candidates import Candidate
from phototag.gallery.facets import (
    ClassCount,
    Count,
    Facets,
    FolderCount,
    MonthCount,
    ScoreBand,
    SuperclassCount,
    YearCount,
)
from phototag.gallery.filters import GalleryFilter, GallerySort
from phototag.gallery.gallery import Gallery
from phototag.gallery.records import (
    Around,
    GalleryItem,
    GalleryPage,
    PhotoDetail,
    Prediction,
    SampleMembership,
    SimilarPhoto,
)

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
