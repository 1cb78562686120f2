"""The facets of the gallery in the order of the page."""

from __future__ import annotations

from importlib import import_module

from phototag.catalog.facets.facet import Facet

# A facet is a module of this package whose `FACET` is one, and its name in this list.
_MODULES = (
    "by_text",
    "by_class",
    "by_score",
    "by_rank",
    "by_reason",
    "by_source",
    "by_taken",
    "by_camera",
    "by_keyword",
    "by_burst",
    "by_date",
    "by_folder",
    "by_state",
)


_LOADED: list[Facet] = [import_module(f"{__package__}.{module}").FACET for module in _MODULES]
FACETS = {facet.name: facet for facet in _LOADED}
"""All facets by name."""
