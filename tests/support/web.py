"""What the tests of the web page share: an application, a client that is let in, a server, a browser."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from phototag.catalog.catalog import Gallery
from phototag.decision import gather, pack
from phototag.imaging.thumbnails.cached import Thumbnails
from phototag.library.scanner import ScanProblems, look
from phototag.records import Rank, Scores, Tag
from phototag.settings import cache_folder
from phototag.store import Store, StoredTag
from phototag.web.app import create_app
from phototag.web.context import Context
from phototag.web.passwords import Password
from phototag.web.security import Security
from tests.support.models import TINY_TAXONOMY

PORT = 8765
ADDRESS = f"http://127.0.0.1:{PORT}"
# What a browser says of a request that a page of the server itself makes.
FROM_OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
FROM_ELSEWHERE = ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"})


@contextmanager
def application(
    database: Path | str | Store,
    *,
    password: str | None = None,
    hosts: tuple[str, ...] = (),
    cache_bytes: int = 1 << 26,
    **security: Any,
) -> Iterator[Starlette]:
    """The application over a database, which is opened for it unless it is a Store already."""
    store = database if isinstance(database, Store) else Store.open(database, create=False)
    try:
        gallery = Gallery(store)
        thumbnails = Thumbnails(cache_folder() / "thumbnails", limit_bytes=cache_bytes)
        guard = Security(port=PORT, hosts=hosts, password=Password(password) if password else None, **security)
        try:
            yield create_app(Context(store, gallery, thumbnails, guard))
        finally:
            thumbnails.close()
            gallery.close()
    finally:
        if store is not database:
            store.close()


def context_in(app: Starlette) -> Context:
    """The context of an application."""
    context: Context = app.state.context
    return context


def not_logged_in(app: Starlette, **options: Any) -> TestClient:
    """A client that was not let in, and sends what a program sends that is no browser."""
    return TestClient(app, ADDRESS, raise_server_exceptions=False, follow_redirects=False, **options)


def logged_in(app: Starlette, **options: Any) -> TestClient:
    """A client that was let in, and sends what a browser sends for pages of the server itself.

    Mistakes of phototag are raised in the test; redirects are not followed.
    """
    client = TestClient(app, ADDRESS, follow_redirects=False, headers=FROM_OWN_PAGE, **options)
    answer = client.get("/", params={"token": context_in(app).security.token})
    assert answer.status_code == 303
    return client


def save_photos(database: Path, files: Sequence[Path], tag: Tag | None = None) -> list[int]:
    """Tag these files, whatever is in them, as a model of the tests' tiny taxonomy would; returns their ids."""
    tag = tag if tag is not None else Tag("bird", "rooster", Rank.SUBCLASS, 0.9, 0.8, 0.1)
    logits = np.zeros((1, 3), np.float32), np.zeros((1, 5), np.float32)
    (scores,) = pack(gather(Scores(*logits), TINY_TAXONOMY))
    found = [(look(bytes(file), ScanProblems()), file.read_bytes()) for file in files]
    tagged = [
        StoredTag(photo.photo(), hashlib.sha256(data).digest(), 96, 64, scores, tag)
        for photo, data in found
        if photo is not None
    ]
    with Store.open(database) as store, store.writing("tag"):
        model = store.models.register(
            hash="1" * 64, name="tiny", backbone="test_efficientnet", taxonomy=TINY_TAXONOMY, metrics={}
        )
        store.tags.save_batch(model_id=model, tagged=tagged)
        known = [store.photos.find(file) for file in files]
    return [photo.id for photo in known if photo is not None]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def routes(app: Starlette) -> list[tuple[str, str]]:
    """Every method and path of the application, with an example for each part of a path."""
    found = []
    for route in app.routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{[a-z_]+(:[a-z]+)?\}", "1", route.path)
        found += [(method, path) for method in sorted(route.methods or ())]
    assert ("GET", "/photos/1/thumbnail") in found
    assert ("POST", "/login") in found
    return found
