"""A facet is one class in one file: one that a test adds is counted, filtered by and shown."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.catalog.catalog import Gallery
from phototag.catalog.facets.facet import CodedFacet
from phototag.catalog.facets.facet_list import FACETS
from phototag.catalog.filters import GalleryFilter
from phototag.catalog.snapshot import Snapshot
from phototag.errors import UsageError
from phototag.store import Store
from tests.support.catalog_photos import fill
from tests.support.web import application, logged_in


class ByParity(CodedFacet):
    """Photos by whether their contents' hashes are odd: nothing that the gallery knows of."""

    def codes(self, snapshot: Snapshot) -> NDArray[np.int8]:
        version = snapshot.columns.version
        return np.where(version < 0, -1, version % 2).astype(np.int8)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"even": "Even hashes", "odd": "Odd hashes"}
    monkeypatch.setitem(FACETS, "parity", ByParity("parity", "Parity of the hash", labels))


def test_added_facet_counts_what_it_selects(gallery: Gallery) -> None:
    for wanted in (GalleryFilter(), GalleryFilter(superclass="bird"), GalleryFilter(parity="odd")):
        even, odd = gallery.facets(wanted).groups["parity"].choices
        assert (even.label, odd.label) == ("Even hashes", "Odd hashes")
        assert gallery.page(wanted.but(parity="even")).total == even.count
        assert gallery.page(wanted.but(parity="odd")).total == odd.count
    for item in gallery.page(GalleryFilter(parity="odd"), limit=1000).items:
        assert int(item.version, 16) % 2


def test_added_facet_comes_back_from_an_address_and_refuses_nonsense() -> None:
    wanted = GalleryFilter(parity="odd", text="lake")
    assert GalleryFilter.from_params(wanted.to_params()) == wanted
    with pytest.raises(UsageError, match="parity"):
        GalleryFilter.from_params({"parity": "square"})


def test_added_facet_stands_in_the_page_and_narrows_it() -> None:
    with Store.open("sqlite://") as store:
        with store.writing("tag"):
            fill(store)
        with application(store) as app:
            client = logged_in(app)
            page = client.get("/?superclass=bird").text
            assert "Parity of the hash" in page
            found = re.search(r'href="([^"]*)" data-swap data-key="parity-odd".*?([\d,]+)<', page, re.DOTALL)
            assert found
            assert found[1] == "/?superclass=bird&amp;parity=odd"
            narrowed = client.get("/?superclass=bird&parity=odd").text
            assert f'id="count" class="count" role="status">{found[2]} photo' in narrowed
            assert 'data-key="chip-Parity of the hash"' in narrowed
            assert client.get("/?parity=square").status_code == 400
