"""The gallery and the page of a photo in a browser: keys, a phone's width, no scripts, hostile names, corrections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from phototag.records import Rank, Tag
from phototag.store import ReviewFilter, Store
from tests.support.gallery_photos import HOSTILE, as_shown, fill
from tests.support.server import ServerProcess
from tests.support.stored_photos import register, stored
from tests.support.web import save_photos

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page


class Tab:
    """A page of a browser that was let in, and the mistakes that it noted."""

    def __init__(self, opened: Browser, server: ServerProcess, **options: Any) -> None:
        self.context = opened.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.address = server.address
        self.mistakes: list[str] = []
        self.page.on("pageerror", lambda error: self.mistakes.append(str(error)))
        self.page.on("dialog", self._note_dialog)
        self.page.on("console", lambda line: self._note(line.type, line.text))
        self.page.goto(server.link, wait_until="domcontentloaded")

    def _note_dialog(self, dialog: Dialog) -> None:
        self.mistakes.append(dialog.message)
        dialog.dismiss()

    def _note(self, kind: str, text: str) -> None:
        # Photos of tests have no files, and so no thumbnails.
        if kind == "error" and "404" not in text:
            self.mistakes.append(text)

    def go(self, path: str) -> None:
        self.page.goto(self.address + path.removeprefix("/"), wait_until="domcontentloaded")

    def until(self, script: str) -> None:
        """Wait until the script, evaluated from outside as the page's policy forbids, says something true."""
        from playwright.sync_api import Error

        for _ in range(1200):
            # The page may just be left for another.
            with suppress(Error):
                if self.page.evaluate(script):
                    return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {script}; mistakes: {self.mistakes}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def place(self) -> int:
        """The place of the photo that has the focus, from 1; 0 for none."""
        return int(self.page.evaluate("document.activeElement.closest('li')?.getAttribute('aria-posinset') ?? 0"))

    def close(self) -> None:
        assert self.mistakes == []
        self.context.close()


LOADED = "!document.querySelector('[data-waiting]')"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of 1500 photos, five of them missing, and three broken ones; no test changes them."""
    folder = tmp_path_factory.mktemp("server")
    with Store.open(folder / "photos.db") as store:
        fill(store, 1500)
    with ServerProcess(folder / "photos.db", env={"PHOTOTAG_HOME": str(folder / "home")}) as running:
        yield running


@pytest.fixture
def tab(browser: Browser, server: ServerProcess) -> Iterator[Tab]:
    opened = Tab(browser, server)
    yield opened
    opened.close()


def test_scrolling_passes_every_photo_once_and_keeps_the_page_small(tab: Tab) -> None:
    tab.go("/?sort=path")
    # Lazy pictures that are not displayed are not loaded: two thousand requests of them would take a minute.
    tab.page.evaluate(
        "const style = new CSSStyleSheet(); style.replaceSync('.tile img { display: none }');"
        "document.adoptedStyleSheets = [style]"
    )
    seen: dict[int, str] = {}
    while True:
        tab.until(LOADED)
        tiles = tab.page.evaluate(
            "[...document.querySelectorAll('#grid li')].map(e => [+e.getAttribute('aria-posinset'),"
            " e.firstElementChild.dataset.id, e.getBoundingClientRect().top])"
        )
        for place, number, _ in tiles:
            assert seen.setdefault(place, number) == number
        assert [place for place, *_ in tiles] == sorted({place for place, *_ in tiles})
        assert tab.page.evaluate("document.querySelectorAll('*').length") < 2500
        if tab.page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 1"):
            break
        tab.page.evaluate("scrollBy(0, innerHeight * 2)")
        tab.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert sorted(seen) == list(range(1, 1499))
    assert len(set(seen.values())) == 1498


def test_keyboard_reaches_every_photo_and_comes_back_to_it(tab: Tab) -> None:
    tab.go("/?sort=path")
    style = "getComputedStyle(document.getElementById('grid'))"
    columns = tab.page.evaluate(f"{style}.gridTemplateColumns.split(' ').length")
    tab.press("ArrowRight")
    assert tab.place == 1
    tab.press("ArrowRight", "ArrowDown")
    assert tab.place == 2 + columns
    tab.press("ArrowUp", "ArrowLeft", "ArrowLeft", "ArrowUp")
    assert tab.place == 1
    tab.press("End")
    tab.until(LOADED)
    assert tab.place == 1498
    tab.press("Home", "PageDown", "PageUp")
    assert tab.place == 1
    tab.press("End", "ArrowLeft", "ArrowUp")
    tab.until(LOADED)
    place, number = tab.place, tab.page.evaluate("document.activeElement.dataset.id")
    assert place == 1497 - columns
    tab.press("Enter")
    tab.page.wait_for_selector("#picture")
    assert f"/photos/{number}" in tab.page.url
    assert tab.page.inner_text(".where") == f"{place:,} of 1,498 chosen"
    tab.press("ArrowRight")
    tab.until(f"document.querySelector('.where')?.innerText.startsWith('{place + 1:,} of')")
    # One step back leads to the gallery, however many photos were looked at.
    tab.page.go_back()
    tab.until(f"document.activeElement.dataset.id == '{number}'")
    tab.page.go_forward()
    tab.page.wait_for_selector("#picture")
    tab.press("Escape")
    tab.until(f"document.activeElement.closest('li')?.getAttribute('aria-posinset') == '{place + 1}'")


def test_facets_change_the_page_in_place_and_back_undoes_them(tab: Tab) -> None:
    tab.go("/")
    tab.page.evaluate("window.same = true")
    tab.page.focus("[data-key='superclass-bird']")
    tab.press("Enter")
    tab.until("location.search === '?superclass=bird' && document.querySelector('.chip')")
    birds = tab.page.inner_text("#count")
    assert tab.page.evaluate("document.activeElement.dataset.key") == "superclass-bird"
    tab.page.click("[data-key='subclass-bird/hawk']")
    tab.until("location.search.includes('subclass=hawk')")
    assert tab.page.inner_text("#count") != birds
    tab.page.select_option("#sort", "path")
    tab.until("location.search.includes('sort=path')")
    tab.page.go_back()
    tab.page.go_back()
    tab.until("location.search === '?superclass=bird' && !document.querySelector('[data-key=chip-Subclass]')")
    assert tab.page.inner_text("#count") == birds
    assert tab.page.input_value("#sort") == "-date"
    tab.page.go_back()
    tab.until("location.search === '' && !document.querySelector('.chip')")
    assert tab.page.evaluate("window.same")


def test_search_narrows_while_typing_and_leaves_one_step_back(tab: Tab) -> None:
    tab.go("/?superclass=dog")
    tab.press("/")
    tab.page.keyboard.type("boats beagle", delay=30)
    tab.until("new URLSearchParams(location.search).get('text') === 'boats beagle'")
    tab.until("document.querySelector('[data-key=chip-Search]')")
    assert tab.page.evaluate("document.activeElement.id") == "text"
    assert all("beagle" in text for text in tab.page.locator(".tile .label").all_inner_texts())
    tab.press("Escape")
    assert tab.place == 1
    tab.page.go_back()
    tab.until("location.search === '?superclass=dog' && !document.querySelector('[data-key=chip-Search]')")
    assert tab.page.input_value("#text") == ""


def test_score_form_and_help_work_with_the_keyboard(tab: Tab) -> None:
    tab.go("/")
    tab.page.fill("[name=min_percent]", "50")
    tab.press("Enter")
    tab.until("location.search === '?min_score=0.5' && document.querySelector('.chip')")
    tab.page.evaluate("document.activeElement.blur()")
    tab.press("?")
    assert tab.page.is_visible("#keys")
    tab.press("Escape")
    assert not tab.page.is_visible("#keys")


def test_everything_that_can_be_used_has_a_name(tab: Tab) -> None:
    for path in ("/?superclass=bird", "/photos/1"):
        tab.go(path)
        tab.until(LOADED)
        nameless = tab.page.evaluate(
            "[...document.querySelectorAll('a, button, input:not([type=hidden]), select, summary, [role=listbox]')]"
            ".filter(e => !(e.innerText?.trim() || e.textContent.trim() || e.ariaLabel || e.labels?.length))"
            ".map(e => e.outerHTML.slice(0, 120))"
        )
        assert nameless == []
        assert tab.page.evaluate("document.querySelectorAll('h1').length") == 1


def test_phone_folds_the_filters_and_scrolls_only_down(browser: Browser, server: ServerProcess) -> None:
    phone = Tab(browser, server, viewport={"width": 360, "height": 740}, has_touch=True)
    for path in ("/", "/?superclass=bird&text=lake&min_score=0.3", "/photos/1", "/?text=nothing-at-all"):
        phone.go(path)
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    phone.go("/")
    assert not phone.page.is_visible("[data-key='superclass-bird']")
    phone.page.click("#facets > summary")
    phone.page.click("[data-key='superclass-bird']")
    phone.until("location.search === '?superclass=bird' && document.querySelector('.chip')")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    phone.page.click("#fold")
    assert not phone.page.is_visible("[data-key='superclass-bird']")
    phone.page.wait_for_selector(".tile >> nth=0")
    phone.close()


@pytest.mark.slow
def test_gallery_works_without_scripts(browser: Browser, server: ServerProcess) -> None:
    plain = Tab(browser, server, java_script_enabled=False)
    plain.go("/")
    plain.page.click("[data-key='superclass-bird']")
    assert plain.page.url.endswith("/?superclass=bird")
    plain.page.fill("#text", "lake")
    plain.page.click("#search button")
    assert parse_qs(urlsplit(plain.page.url).query)["text"] == ["lake"]
    assert parse_qs(urlsplit(plain.page.url).query)["superclass"] == ["bird"]
    plain.page.click("[rel=next]")
    plain.page.click(".tile >> nth=0")
    assert plain.page.locator("#picture").count() == 1
    plain.page.click("[rel=next]")
    plain.page.click("#similar-note a")
    plain.close()


def test_hostile_names_run_nothing_in_a_browser(browser: Browser, hostile: Path, tmp_path: Path) -> None:
    with ServerProcess(hostile, env={"PHOTOTAG_HOME": str(tmp_path / "home")}) as running:
        visitor = Tab(browser, running)
        visitor.go("/?sort=path")
        assert visitor.page.locator(".tile").count() == len(HOSTILE)
        # Every name stands on one line, as it is, and nothing in it became an element.
        names = visitor.page.locator(".tile bdi").all_text_contents()
        assert set(names) >= {as_shown(name) for name in HOSTILE}
        for _ in HOSTILE:
            visitor.press("ArrowRight")
        visitor.page.click(".tile >> nth=0")
        for _ in range(len(HOSTILE) - 1):
            visitor.page.wait_for_selector("#similar-list")
            assert visitor.page.locator("main script, main img[onerror], main b").count() == 0
            visitor.page.click("#next")
        visitor.close()


# ---- corrections


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A database of four pictures, for tests that change it."""
    files = []
    for number in range(4):
        path = tmp_path / "pictures" / f"IMG_{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((64, 96, 3), 50 * number, np.uint8)).save(path)
        files.append(path)
    save_photos(tmp_path / "photos.db", files)
    return tmp_path / "photos.db"


def said(database: Path) -> list[tuple[int, str | None, str | None]]:
    """The reviews that count, oldest first."""
    with Store.open(database) as store:
        reviews = store.reviews.find_all(ReviewFilter())
        return [(each.photo_id, each.superclass, each.subclass) for each in sorted(reviews, key=lambda each: each.id)]


def test_photo_is_corrected_with_single_keys(browser: Browser, own: Path, tmp_path: Path) -> None:
    with ServerProcess(own, env={"PHOTOTAG_HOME": str(tmp_path / "home")}) as running:
        tab = Tab(browser, running)
        tab.go("/photos/1?sort=path")
        tab.press("y")
        tab.until("document.querySelector('[data-do=undo]')")
        assert "Named by a person" in tab.page.inner_text("#panel")
        assert "Saved" in tab.page.inner_text("#said")
        assert said(own) == [(1, "bird", "rooster")]
        tab.press("b")
        tab.until("!document.querySelector('[data-do=undo]')")
        assert said(own) == []
        tab.press("c")
        tab.page.keyboard.type("beag")
        tab.until("[...document.querySelectorAll('#names li')].some(e => e.innerText.includes('beagle'))")
        tab.press("Enter")
        tab.until("document.querySelector('#tag-title').innerText.includes('beagle')")
        assert said(own) == [(1, "dog", "beagle")]
        tab.press("c")
        tab.page.keyboard.type("bird/owl")
        tab.until("document.querySelector('#names li')?.innerText.includes('new name')")
        tab.press("Enter")
        # A new name is asked back, and can be left.
        tab.until("!document.querySelector('#asked').hidden")
        assert "is a new name" in tab.page.inner_text("#asked")
        tab.press("Escape")
        tab.until("document.querySelector('#asked').hidden")
        assert len(said(own)) == 1
        tab.press("Enter")
        tab.until("!document.querySelector('#asked').hidden")
        tab.press("y")
        tab.until("document.querySelector('#tag-title').innerText.includes('owl')")
        tab.press("u")
        tab.until("!document.querySelector('#tag-title').innerText.includes('owl')")
        tab.press("n")
        tab.until("document.querySelector('#tag-title').innerText.includes('No label')")
        assert said(own)[-1] == (1, None, None)
        tab.press("b")
        tab.until("document.querySelector('#tag-title').innerText.includes('bird superclass only')")
        assert said(own)[-1] == (1, "bird", None)
        # Whoever goes on at once has saved all the same.
        tab.press("1", "ArrowRight")
        tab.until("document.querySelector('#photo').dataset.id === '2'")
        assert len(said(own)) == 1
        assert said(own)[0][2] is not None
        tab.close()


def test_busy_database_is_waited_for_with_words_and_no_label_can_be_right(
    browser: Browser,
    own: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "pictures" / "strange.jpg"
    Image.new("RGB", (64, 48), "teal").save(path)
    (number,) = save_photos(own, [path], Tag(None, None, Rank.NONE, 0.2, 0.1, 0.9))
    with ServerProcess(own, env={"PHOTOTAG_HOME": str(tmp_path / "home")}) as running:
        tab = Tab(browser, running)
        tab.go(f"/photos/{number}")
        with Store.open(own) as store, store.writing("tag"):
            tab.press("y")
            tab.until("document.querySelector('#said').innerText.includes('Saving')")
        tab.until("document.querySelector('#said').innerText.includes('Saved')")
        assert said(own) == [(number, None, None)]
        tab.close()


def test_correction_that_cannot_be_saved_is_said_and_can_be_tried_again(
    browser: Browser,
    own: Path,
    tmp_path: Path,
) -> None:
    home = {"PHOTOTAG_HOME": str(tmp_path / "home")}
    with ServerProcess(own, env=home) as running:
        tab = Tab(browser, running)
        tab.go("/photos/2")
        tab.page.wait_for_selector("#similar-list")
        running.kill()
        tab.press("y")
        tab.until("!document.querySelector('#trouble').hidden")
        assert "Not saved" in tab.page.inner_text("#trouble")
        assert said(own) == []
        tab.context.close()


def test_photos_that_appear_meanwhile_show_up(
    browser: Browser,
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path / "photos.db") as store:
        fill(store, 600)
    with ServerProcess(tmp_path / "photos.db", env={"PHOTOTAG_HOME": str(tmp_path / "home")}) as running:
        tab = Tab(browser, running)
        tab.go("/?sort=-path")
        assert tab.page.inner_text("#count") == "598 photos"
        with Store.open(tmp_path / "photos.db") as store, store.writing("tag"):
            more = [stored(f"/new/{number}.jpg") for number in range(50)]
            store.tags.save_batch(model_id=register(store), tagged=more)
        # The page looks again when somebody comes back to it, and now and then.
        for _ in range(600):
            tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            tab.page.wait_for_timeout(100)
            if tab.page.inner_text("#count") == "648 photos":
                break
        assert tab.page.inner_text("#count") == "648 photos"
        tab.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        tab.until(f"{LOADED} && document.querySelector('#grid li:last-child').getAttribute('aria-posinset') === '648'")
        tab.close()
