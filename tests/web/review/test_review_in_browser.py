"""Review mode in a browser that reviews, is killed, and loses nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from phototag.store import Review, ReviewFilter, Store
from phototag.taxonomy import Taxonomy
from tests.support.pictures import MakePicture
from tests.support.samples import Sampled
from tests.support.server import ServerProcess
from tests.support.web import application, context_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1100, "height": 700})
    opened.set_default_timeout(120_000)
    yield opened
    opened.close()


@contextmanager
def serving(library: Sampled) -> Iterator[str]:
    """A server in this process; the link that lets in."""
    with application(library.database) as app:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/?token={context_in(app).security.token}"
            finally:
                server.should_exit = True
                thread.join(30)


class Reviewer:
    """Somebody at a page of the sample, who waits for each photo."""

    def __init__(self, context: BrowserContext, link: str, library: Sampled) -> None:
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.pictures: set[str] = set()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfinished", lambda request: self._note(request.url))
        self.page.goto(link)
        self.page.goto(f"{link.partition('?')[0]}review/{library.sample_id}")

    def sees(self, position: int) -> None:
        self.page.wait_for_selector(f"body[data-position='{position}']", state="attached")

    def _note(self, address: str) -> None:
        if "/picture" in address:
            self.pictures.add(address)

    def holds(self, pictures: int) -> None:
        """Wait until so many have come: these can be judged when there is no server any more."""
        for _ in range(6000):
            if len(self.pictures) >= pictures:
                return
            self.page.wait_for_timeout(20)  # events come in meanwhile
        raise AssertionError(f"only {self.pictures} came")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def is_saved(self) -> None:
        self.page.wait_for_selector("#saving[data-state=saved]")

    def ends(self) -> None:
        self.page.wait_for_selector("#ended:not([hidden])")
        self.is_saved()
        assert self.errors == []


@pytest.fixture
def twelve(tmp_path: Path, make_picture: MakePicture) -> Sampled:
    return Sampled(tmp_path / "twelve", make_picture, 12)


def labels_of(library: Sampled, keys: str) -> dict[int, tuple[str | None, str | None]]:
    """What these keys, one for each photo from the first, say of them."""
    said = {}
    for (position, tag), key in zip(sorted(library.tags().items()), keys, strict=False):
        if key != "k":
            said[position] = {"y": tag, "u": (tag[0], None), "n": (None, None)}[key]
    return said


class TestBrowser:
    def test_a_class_of_another_model_is_said_and_a_refused_answer_leaves_its_photo_waiting(
        self, context: BrowserContext, twelve: Sampled
    ) -> None:
        other = Taxonomy.from_pairs([("amphibian", "gecko"), ("amphibian", "common_newt")])
        with Store.open(twelve.database) as store, store.writing("test"):
            store.models.register(hash="b" * 64, name="o", backbone="b", taxonomy=other, metrics={})
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(1)
            reviewer.keys("s", *"amphibian", "Enter", "y", *"gecko", "Enter", "y")
            reviewer.sees(2)
            reviewer.keys("s", *"amphibian", "Enter", *"Common newt", "Enter", "y")
            reviewer.sees(3)
            reviewer.is_saved()
            refusal = {"status": 400, "json": {"error": "not that"}}
            reviewer.page.route("**/answers", lambda route: route.fulfill(**refusal), times=1)
            reviewer.keys("n")
            reviewer.page.wait_for_selector("text=Photo 3 is not stored: not that")
            reviewer.keys(*"yyyyyyyyyy")  # the nine others, and that one when it comes again
            reviewer.ends()
            said = twelve.said()
        assert said[1] == ("amphibian", "gecko")
        assert said[2] == ("amphibian", "common_newt")
        assert said[3] == twelve.tags()[3]
        assert len(said) == 12

    def test_each_key_is_recorded_once_and_taken_back_exactly(self, context: BrowserContext, twelve: Sampled) -> None:
        before, keys = twelve.rows(), "yunkyynukyyn"
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.keys(*keys)  # as fast as they go: they wait for their photos
            reviewer.ends()
            assert twelve.said() == labels_of(twelve, keys)
            assert twelve.skipped() == [4, 9]
            reviewer.keys(*"bbbbbbbbbbbb")
            reviewer.sees(1)
            reviewer.is_saved()
            assert (twelve.said(), twelve.skipped(), twelve.rows()) == ({}, [], before)
            with Store.open(twelve.database) as store:
                assert len(list(store.reviews.find_all(ReviewFilter(current=False)))) == 10, "none was stored twice"

    def test_other_classes_are_typed_as_in_the_terminal(self, context: BrowserContext, twelve: Sampled) -> None:
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(1)
            reviewer.keys("c", *"roo", "Enter", "s", *"dog", "Enter", *"bea", "Enter")
            reviewer.sees(3)
            reviewer.keys("s", *"fish", "Enter", "y", *"eel", "Enter", "y")
            reviewer.sees(4)
            reviewer.keys("s", *"rept", "Enter", "Enter", "c", "Escape", "1")
            reviewer.sees(6)
            reviewer.is_saved()
            said = twelve.said()
            assert reviewer.errors == []
        assert said[1] == ("bird", "rooster")
        assert said[2] == ("dog", "beagle")
        assert said[3] == ("fish", "eel")
        assert said[4] == ("reptile", None)
        assert said[5] != ("reptile", "gecko"), "the first candidate, not the tag"
        assert len(said) == 5

    def test_a_list_that_the_browser_closes_by_itself_is_given_up(
        self, context: BrowserContext, twelve: Sampled
    ) -> None:
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(1)
            reviewer.keys("c")
            reviewer.page.wait_for_selector("#chooser[open]")
            reviewer.page.evaluate("document.getElementById('chooser').close()")
            reviewer.keys("y")
            reviewer.sees(2)
            reviewer.is_saved()
            assert twelve.said() == labels_of(twelve, "y")

    def test_a_key_that_is_held_down_answers_once(self, context: BrowserContext, twelve: Sampled) -> None:
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(1)
            for _ in range(5):
                reviewer.page.keyboard.down("y")  # the second and later ones are repeats
            reviewer.page.keyboard.up("y")
            reviewer.sees(2)
            reviewer.is_saved()
            assert list(twelve.said()) == [1]

    def test_after_a_reload_it_goes_on_and_back(self, context: BrowserContext, twelve: Sampled) -> None:
        with serving(twelve) as link:
            other = Reviewer(context, link, twelve)
            other.keys("y", "n", "k")
            other.sees(4)
            other.is_saved()
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(9)  # the other tab has the first ones open
            reviewer.keys("y")
            reviewer.sees(10)
            reviewer.is_saved()
            reviewer.page.reload()
            reviewer.sees(10)
            reviewer.keys("b")
            reviewer.sees(9)
            reviewer.is_saved()
            assert (list(twelve.said()), twelve.skipped()) == ([1, 2], [3]), "those of the other tab stay"

    def test_earlier_sessions_can_be_taken_back(self, context: BrowserContext, twelve: Sampled) -> None:
        with serving(twelve) as link:
            first = Reviewer(context, link, twelve)
            first.keys("y", "k")
            first.sees(3)
            first.is_saved()
            first.page.close()
            second = Reviewer(context, link, twelve)
            second.sees(3)
            second.keys("b")
            second.sees(2)
            second.keys("b")
            second.sees(1)
            assert (twelve.said(), twelve.skipped()) == ({}, [])

    def test_two_tabs_at_once_lose_nothing(self, context: BrowserContext, twelve: Sampled) -> None:
        with serving(twelve) as link:
            one = Reviewer(context, link, twelve)
            one.page.wait_for_selector("#stage img")  # it has the first eight; two who ask at once share them evenly
            two = Reviewer(context, link, twelve)
            two.page.wait_for_selector("#stage img")
            for _ in range(4):
                one.keys("y")
                two.keys("n")
            two.page.wait_for_selector("#ended:not([hidden])")
            assert "open in another tab" in two.page.inner_text("#ended")
            one.sees(5)
            one.is_saved()
            one.page.goto("about:blank")
            for _ in range(4):
                two.page.wait_for_selector("#desk:not([hidden]) #stage:not([aria-busy]) img")
                two.keys("n")
            two.ends()
            assert len(twelve.said()) == 12
            assert list(twelve.said().values()).count((None, None)) == 8, twelve.said()

    def test_somebody_faster_is_asked_about(self, context: BrowserContext, twelve: Sampled) -> None:
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(1)
            items = twelve.items()
            with Store.open(twelve.database) as store, store.writing("test", wait_seconds=10):
                for item in items[:2]:
                    store.reviews.save(Review(photo_id=item.photo_id, superclass="cat", sample_id=twelve.sample_id))
            reviewer.keys("y")
            reviewer.page.wait_for_selector("#conflict[open]")
            assert "someone else said cat" in reviewer.page.inner_text("#conflict")
            reviewer.keys("m")
            reviewer.page.wait_for_selector("#conflict", state="hidden")
            reviewer.sees(2)
            reviewer.keys("n")
            reviewer.page.wait_for_selector("#conflict[open]")
            reviewer.keys("t")
            reviewer.sees(3)
            reviewer.is_saved()
            assert twelve.said() == {1: ("bird", "hawk"), 2: ("cat", None)}

    def test_back_after_taking_ones_own_answer_asks_no_second_time(
        self, context: BrowserContext, twelve: Sampled
    ) -> None:
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(1)
            with Store.open(twelve.database) as store, store.writing("test", wait_seconds=10):
                first = twelve.items()[0]
                store.reviews.save(Review(photo_id=first.photo_id, superclass="cat", sample_id=twelve.sample_id))
            reviewer.keys("y")
            reviewer.page.wait_for_selector("#conflict[open]")
            reviewer.keys("m")
            reviewer.page.wait_for_selector("#conflict", state="hidden")
            reviewer.sees(2)
            reviewer.is_saved()
            reviewer.keys("b")
            reviewer.sees(1)
            reviewer.keys("n")
            reviewer.sees(2)
            reviewer.is_saved()
            assert not reviewer.page.query_selector("#conflict[open]")
            assert twelve.said() == {1: (None, None)}
            assert reviewer.page.inner_text("#others kbd >> nth=0") == "1"
            assert reviewer.errors == []

    def test_a_sample_is_removed_with_a_button(self, context: BrowserContext, twelve: Sampled) -> None:
        with serving(twelve) as link:
            page = context.new_page()
            page.goto(link)
            page.goto(f"{link.partition('?')[0]}review")
            page.on("dialog", lambda dialog: dialog.accept())
            page.click("[data-remove]")
            page.wait_for_selector("text=There is no sample yet")

    @pytest.mark.slow
    def test_killed_in_the_middle_no_answer_is_lost(self, context: BrowserContext, twelve: Sampled) -> None:
        keys = "yunynuyunyun"
        with ServerProcess(twelve.database) as server:
            port = server.port
            reviewer = Reviewer(context, server.link, twelve)
            reviewer.keys(*keys[:4])
            reviewer.sees(5)
            server.kill()
        # Photos that are here already can go on being judged; keys wait for those that are not.
        reviewer.keys(*keys[4:7])
        reviewer.page.wait_for_selector("#saving[data-state=trouble]")
        assert "phototag serve" in reviewer.page.inner_text("#trouble")
        judged = int(reviewer.page.get_attribute("body", "data-position") or "") - 1
        waiting = int(reviewer.page.inner_text("#saving").split()[0])
        assert len(twelve.said()) >= judged - waiting
        with ServerProcess(twelve.database, port=port) as server:
            # The new server does not know the browser until the new link is opened.
            reviewer.page.wait_for_selector("#trouble:has-text('open the link')")
            other = context.new_page()
            other.goto(server.link)
            reviewer.page.click("#retry")
            reviewer.sees(8)
            reviewer.is_saved()
            assert twelve.said() == labels_of(twelve, keys[:7])
            reviewer.keys(*keys[7:])
            reviewer.ends()
            assert twelve.said() == labels_of(twelve, keys)

    @pytest.mark.slow
    def test_answers_of_a_closed_page_arrive_from_the_next(self, context: BrowserContext, twelve: Sampled) -> None:
        with ServerProcess(twelve.database) as server:
            port = server.port
            first = Reviewer(context, server.link, twelve)
            first.sees(1)
            first.holds(2)
            server.kill()
        first.keys("y", "n")
        first.page.wait_for_selector("#saving[data-state=trouble]")
        first.page.close()
        with ServerProcess(twelve.database, port=port) as server:
            second = Reviewer(context, server.link, twelve)
            second.sees(3)
            second.is_saved()
            assert twelve.said() == labels_of(twelve, "yn")

    @pytest.mark.slow
    def test_answers_for_another_library_at_the_same_address_wait(
        self, context: BrowserContext, twelve: Sampled, library: Sampled
    ) -> None:
        with ServerProcess(twelve.database) as server:
            port = server.port
            first = Reviewer(context, server.link, twelve)
            first.sees(1)
            first.holds(2)
            server.kill()
        first.keys("y", "n")
        first.page.wait_for_selector("#saving[data-state=trouble]")
        first.page.close()
        with ServerProcess(library.database, port=port) as server:
            other = Reviewer(context, server.link, library)
            other.keys("n")
            other.sees(2)
            other.is_saved()
            other.page.close()
        assert library.said() == {1: (None, None)}
        with ServerProcess(twelve.database, port=port) as server:
            second = Reviewer(context, server.link, twelve)
            second.sees(3)
            second.is_saved()
        assert twelve.said() == labels_of(twelve, "yn")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_a_phone_shows_all_of_it_without_scrolling_sideways(
        self,
        browser: Browser,
        twelve: Sampled,
        scheme: Any,
    ) -> None:
        context = browser.new_context(viewport={"width": 360, "height": 640}, color_scheme=scheme, has_touch=True)
        context.set_default_timeout(120_000)
        with serving(twelve) as link:
            reviewer = Reviewer(context, link, twelve)
            reviewer.sees(1)
            buttons = reviewer.page.locator(".answers button")
            assert buttons.count() == 7
            for place in range(7):
                box = buttons.nth(place).bounding_box()
                assert box is not None
                assert box["height"] >= 32
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= 360
                assert box["y"] + box["height"] <= 640
            buttons.first.tap()
            reviewer.sees(2)
            reviewer.is_saved()
            assert reviewer.page.evaluate("document.documentElement.scrollWidth") <= 360
        context.close()


@pytest.mark.slow
def test_sixty_photos_lose_nothing(browser: Browser, tmp_path: Path, make_picture: MakePicture) -> None:
    """With answers taken back in between, two tabs, and a server that is killed in the middle."""
    library = Sampled(tmp_path / "many", make_picture, 60)
    context = browser.new_context(viewport={"width": 1100, "height": 700})
    context.set_default_timeout(120_000)
    keys = "yunk" * 15
    with ServerProcess(library.database) as server:
        port = server.port
        reviewer = Reviewer(context, server.link, library)
        for position, key in enumerate(keys[:30], start=1):
            reviewer.sees(position)
            reviewer.keys(key)
            if position % 10 == 0:
                reviewer.keys("b")
                reviewer.sees(position)
                reviewer.keys(key)
        server.kill()
    acknowledged = 30 - int(reviewer.page.inner_text("#saving").split()[0].replace("all", "0"))
    assert len(library.said()) + len(library.skipped()) >= acknowledged
    with ServerProcess(library.database, port=port) as server:
        context.new_page().goto(server.link)
        # Not by the mouse: where all was saved before the kill, or by itself meanwhile, the button is not shown.
        reviewer.page.evaluate("document.getElementById('retry').click()")
        for position, key in enumerate(keys[30:], start=31):
            reviewer.sees(position)
            reviewer.keys(key)
        reviewer.ends()
        assert library.said() == labels_of(library, keys)
        assert library.skipped() == [position for position, key in enumerate(keys, start=1) if key == "k"]
        with Store.open(library.database) as store:
            everything = list(store.reviews.find_all(ReviewFilter(current=False, valid=False)))
        taken_back = sum(key != "k" for key in keys[9:30:10])
        assert len(everything) == 45 + taken_back
        assert sum(review.undone_at is not None for review in everything) == taken_back
    context.close()
