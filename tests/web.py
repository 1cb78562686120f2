"""What the tests of the web page share: an application, a client that is let in, a server, a browser."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import TINY_TAXONOMY
from phototag.gallery import Gallery
from phototag.library.scan import ScanProblems, look
from starlette.applications import Starlette
from starlette.testclient import TestClient

from phototag.decision import gather, pack
from phototag.records import Rank, Scores, Tag
from phototag.settings import cache_folder
from phototag.store import Store, StoredTag
from phototag.web.app import create_app
from phototag.web.context import Context
from phototag.web.passwords import Password
from phototag.web.security import Security
from phototag.web.thumbnails import Thumbnails

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
PORT = 8765
ADDRESS = f"http://127.0.0.1:{PORT}"
# What a browser says of a request that a page of the server itself makes.
FROM_OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


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


def stranger(app: Starlette, **options: Any) -> TestClient:
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
    found = [(look(os.fspath(file), ScanProblems()), file.read_bytes()) for file in files]
    tagged = [
        StoredTag(photo, hashlib.sha256(data).digest(), 96, 64, scores, tag)
        for photo, data in found
        if photo is not None
    ]
    with Store.open(database) as store, store.writing("tag"):
        model = store.register_model(
            hash="1" * 64, name="tiny", backbone="test_efficientnet", taxonomy=TINY_TAXONOMY, metrics={}
        )
        store.save_batch(model_id=model, tagged=tagged)
        known = [store.find(file) for file in files]
    return [photo.id for photo in known if photo is not None]


class ServerProcess:
    """`phototag serve` in a process of its own. `link` lets in, `address` ends with a slash."""

    def __init__(self, database: Path, *args: str, port: int = 0, env: dict[str, str] | None = None) -> None:
        words = [sys.executable, "-m", "phototag", "serve", "--db", os.fspath(database), "--no-open"]
        self.process = subprocess.Popen(
            [*words, "--port", str(port), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().decode().strip()
        if not self.link:
            raise AssertionError(f"no link; stderr: {self.end(signal.SIGKILL)}")
        self.address = self.link.partition("?")[0]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2].rstrip("/"))

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Send a signal and wait; returns what it said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        return said.decode(errors="replace")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.end(signal.SIGKILL)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)


@contextmanager
def chromium(*args: str) -> Iterator[Browser]:
    """Debian's Chromium, without a window. Skips the test where it, or Playwright, is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", *args])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a module, which import this fixture; see `chromium`."""
    with chromium() as opened:
        yield opened
