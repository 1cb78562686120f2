"""Narrow by the source of the tag: who gave it."""

from __future__ import annotations

from phototag.catalog.facets.facet import CodedFacet
from phototag.records import Source

FACET = CodedFacet("source", "Named by", {Source.MODEL: "A model", Source.HUMAN: "A person"})
