"""The gallery and the page of a photo over HTTP: what they show, count, link to and refuse."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from phototag.catalog.filters import GalleryFilter
from phototag.catalog.views import Reading
from phototag.decision import Candidate
from phototag.errors import StoreError
from phototag.records import Rank, Reason, Source
from phototag.store import Store
from phototag.web import respond
from phototag.web.app import warm_up
from phototag.web.gallery import BLOCK_PHOTOS, View
from phototag.web.photo_words import explain
from tests.support.gallery_photos import HOSTILE, as_shown, fill
from tests.support.web import application, context_in, logged_in, not_logged_in


@contextmanager
def shown(store: Store) -> Iterator[TestClient]:
    with application(store) as app:
        yield logged_in(app)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of a library that no test changes: 300 photos and three broken ones."""
    with Store.open("sqlite://") as store:
        fill(store, 300)
        with shown(store) as opened:
            yield opened


def ids(text: str) -> list[int]:
    """The photos of a page or of a part of one, in order."""
    return [int(number) for number in re.findall(r'class="tile"[^>]* data-id="(\d+)"', text)]


def count(text: str) -> int:
    """How many photos a page says there are."""
    found = re.search(r'id="count"[^>]*>([\d,]+) photos?<', text)
    assert found, text[:500]
    return int(found[1].replace(",", ""))


def facets(text: str) -> list[tuple[str, str, int]]:
    """The choices of a page: key, address, count."""
    links = re.findall(r'<a href="([^"]*)" data-swap data-key="([^"]*)"(.*?)</a>', text, re.DOTALL)
    counted = [
        (key, html.unescape(href), re.search(r"([\d,]+) photos?", re.sub("<[^>]*>", "", "<a" + rest)))
        for href, key, rest in links
    ]
    return [(key, href, int(number[1].replace(",", ""))) for key, href, number in counted if number]


# ---- the page over HTTP


def test_first_page_shows_the_first_block_and_how_many_photos_there_are(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert count(page.text) == 298
    assert len(ids(page.text)) == BLOCK_PHOTOS
    assert 'data-total="298"' in page.text


def test_stranger_sees_neither_gallery_nor_photo() -> None:
    with Store.open("sqlite://") as store, application(store) as app:
        fill(store, 5)
        for path in ("/", "/photos/more", "/photos/1", "/photos/1/similar"):
            answer = not_logged_in(app).get(path)
            assert answer.status_code == 401
            assert "IMG_" not in answer.text


@pytest.mark.parametrize("address", ["/", "/?superclass=bird&sort=path", "/?text=lake&min_score=0.3", "/?rank=none"])
def test_every_facet_leads_to_as_many_photos_as_it_says(client: TestClient, address: str) -> None:
    page = client.get(address)
    found = facets(page.text)
    assert len(found) > 10
    chosen = re.findall(r'data-key="([^"]*)"[^>]*aria-current', page.text)
    for key, href, number in found:
        # The link of a chosen one takes it back; its number is that of the photos it shows now.
        if key not in chosen:
            assert count(client.get(href).text) == number, (key, href)


def test_chosen_facet_and_its_chip_take_themselves_back(client: TestClient) -> None:
    page = client.get("/?superclass=bird&subclass=hawk&sort=path").text
    chips = dict(re.findall(r'class="chip" href="([^"]*)" data-swap data-key="chip-(\w+)"', page))
    assert {kind: parse_qs(urlsplit(html.unescape(href)).query) for href, kind in chips.items()} == {
        "Superclass": {"sort": ["path"]},
        "Subclass": {"superclass": ["bird"], "sort": ["path"]},
    }
    links = {key: html.unescape(href) for href, key in re.findall(r'href="([^"]*)" data-swap data-key="([^"]*)"', page)}
    assert links["superclass-bird"] == "/?sort=path"
    assert links["subclass-bird/hawk"] == "/?superclass=bird&sort=path"


def test_pages_without_scripts_show_every_photo_once(client: TestClient) -> None:
    address, seen = "/?sort=-score", []
    while address:
        page = client.get(address).text
        seen += ids(page)
        following = re.search(r'href="([^"]*)" rel="next"', page)
        address = html.unescape(following[1]) if following else ""
    assert len(seen) == len(set(seen)) == 298


def test_blocks_continue_the_page(client: TestClient) -> None:
    whole = [ids(client.get("/photos/more", params={"start": start, "sort": "path"}).text) for start in (0, 120, 240)]
    assert [len(block) for block in whole] == [120, 120, 58]
    assert len({number for block in whole for number in block}) == 298
    assert ids(client.get("/photos/more", params={"start": 5000}).text) == []
    assert "<html" not in client.get("/photos/more").text


def test_place_behind_the_last_photo_shows_the_first_ones(client: TestClient) -> None:
    assert ids(client.get("/?start=100000").text) == ids(client.get("/").text)


def test_percentages_of_the_form_become_scores(client: TestClient) -> None:
    assert ids(client.get("/?min_percent=30&max_percent=72.5").text) == ids(
        client.get("/?min_score=0.3&max_score=0.725").text
    )
    assert "30 to 72.5 %" in client.get("/?min_percent=30&max_percent=72.5").text


NONSENSE = """\
sort=size start=-1 start=1e3 start=² start=999999999999999999999999 rank=species min_score=2 min_score=nan
min_percent=many min_percent=101 since=yesterday folder=/etc subclass=hawk since=2024-02-01&until=2023-01-01"""


@pytest.mark.parametrize("query", NONSENSE.split())
def test_address_that_makes_no_sense_is_refused_in_words(client: TestClient, query: str) -> None:
    for path in ("/", "/photos/more"):
        answer = client.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert "Traceback" not in answer.text


def test_empty_library_says_how_to_fill_it() -> None:
    with Store.open("sqlite://") as store, shown(store) as client:
        page = client.get("/").text
        assert "phototag tag" in page
        assert count(page) == 0


def test_search_without_result_offers_the_way_back(client: TestClient) -> None:
    page = client.get("/?text=walrus&sort=path").text
    assert count(page) == 0
    assert "No photo fits" in page
    assert '<a class="button" href="/?sort=path"' in page


# ---- the page of a photo over HTTP


def test_photo_stands_between_its_neighbours_of_the_same_result(client: TestClient) -> None:
    query = "?superclass=bird&sort=path"
    order = ids(client.get(f"/{query}").text)
    page = client.get(f"/photos/{order[4]}{query}").text
    links = dict(re.findall(r'rel="(prev|next)" href="([^"]*)"', page))
    assert {rel: html.unescape(href) for rel, href in links.items()} == {
        "prev": f"/photos/{order[3]}{query}",
        "next": f"/photos/{order[5]}{query}",
    }
    assert f'href="/{html.escape(query)}#p5"' in page
    assert " chosen" in page


def test_photo_outside_the_result_has_no_neighbours(client: TestClient) -> None:
    bird = ids(client.get("/?superclass=bird").text)[0]
    page = client.get(f"/photos/{bird}?superclass=dog").text
    assert "outside the chosen photos" in page
    assert 'rel="next"' not in page


def test_photo_far_down_leads_back_to_its_own_block(client: TestClient) -> None:
    order = ids(client.get("/?start=120").text)
    assert 'id="back" href="/?start=120#p125"' in client.get(f"/photos/{order[4]}").text


@pytest.mark.parametrize("number", ["999999", "0", "9" * 18, "9" * 40, "-1", "1e3", "²", "..%2f1"])
def test_photo_that_is_not_there_is_not_found(client: TestClient, number: str) -> None:
    for path in (f"/photos/{number}", f"/photos/{number}/similar"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "Traceback" not in answer.text


def test_unreadable_photo_says_why(client: TestClient) -> None:
    broken = ids(client.get("/?state=unreadable").text)[0]
    assert "could not be read" in client.get(f"/photos/{broken}").text


def test_scores_are_counted_of_models_alone(client: TestClient) -> None:
    every = client.get("/").text
    models = count(client.get("/?source=model").text)
    assert sum(number for key, _, number in facets(every) if key.startswith("score-")) == models
    assert count(client.get("/?source=human&min_score=0").text.replace("No photo fits", "")) == 0
    least = [client.app.state.context.gallery.photo(number).item for number in ids(client.get("/?sort=score").text)]  # type: ignore[attr-defined]
    scores = [item.score for item in least if item.score is not None]
    assert scores == sorted(scores)
    assert all(item.source is not Source.HUMAN for item in least[: len(scores)])


def test_words_about_a_tag_claim_no_certainty(client: TestClient) -> None:
    gallery = client.app.state.context.gallery  # type: ignore[attr-defined]
    seen = set()
    for item in gallery.page(GalleryFilter(), limit=1000).items[::3]:
        photo = gallery.photo(item.id)
        said = explain(photo)
        seen.add((item.rank, item.source))
        assert said.lead
        assert "100" not in said.lead
        if item.rank is None:
            assert "no tag" in said.lead
    assert len(seen) >= 5
    certain = replace(item, rank=Rank.SUBCLASS, source=Source.MODEL)
    sure = replace(photo, item=certain, superclass_score=1.0, subclass_score=0.999)
    assert "more than 99" in explain(sure).lead


ROOSTER, HEN, BEAGLE = (
    Candidate(superclass=first, subclass=second, score=score)
    for first, second, score in (("bird", "rooster", 0.46), ("bird", "hen", 0.41), ("dog", "beagle", 0.05))
)


@pytest.mark.parametrize(
    ("reason", "superclass_score", "candidates", "words"),
    [
        (
            Reason.LOW_SUBCLASS_SCORE,
            0.95,
            (ROOSTER, HEN, BEAGLE),
            "bird is sure; rooster 46 %, hen 41 %: too close to call.",
        ),
        (Reason.LOW_SUBCLASS_SCORE, 0.5, (ROOSTER, BEAGLE), "bird 50 %; rooster 46 %: too little to name one."),
        (Reason.LOW_SUBCLASS_SCORE, 0.5, (), "bird 50 %; its subclasses: too little to name one."),
        (
            Reason.NOVEL_SUBCLASS,
            0.95,
            (ROOSTER, BEAGLE),
            "bird is sure, but it looks like no known subclass of bird; nearest: rooster 46 %.",
        ),
        (
            Reason.LOW_SUPERCLASS_SCORE,
            0.5,
            (ROOSTER, BEAGLE),
            "The best superclass has 50 %, which is too little to name it; "
            "nearest: bird / rooster 46 %, dog / beagle 5 %.",
        ),
        (
            Reason.NOVEL_SUPERCLASS,
            0.95,
            (ROOSTER,),
            "It looks like no superclass that the model knows; nearest: bird / rooster 46 %.",
        ),
        (Reason.NOVEL_SUPERCLASS, 0.95, (), "It looks like no superclass that the model knows."),
    ],
)
def test_photo_says_why_its_tag_goes_no_deeper(
    client: TestClient, reason: Reason, superclass_score: float, candidates: tuple[Candidate, ...], words: str
) -> None:
    gallery = client.app.state.context.gallery  # type: ignore[attr-defined]
    photo = gallery.photo(gallery.page(GalleryFilter(source=Source.MODEL), limit=1).items[0].id)
    superclass = None if reason.rank is Rank.NONE else "bird"
    item = replace(photo.item, rank=reason.rank, reason=reason, superclass=superclass, subclass=None)
    prediction = replace(photo.predictions[0], candidates=candidates, current=True, damaged=False)
    said = explain(replace(photo, item=item, superclass_score=superclass_score, predictions=(prediction,)))
    assert said.lead.replace("\u00a0", " ") == words


def test_reasons_are_a_facet(client: TestClient) -> None:
    page = client.get("/?rank=subclass").text
    assert "Sure of the subclass" in page
    numbers = {key: number for key, _, number in facets(page) if key.startswith("reason-")}
    assert numbers["reason-subclass"] == count(client.get("/?rank=subclass&source=model").text)
    assert count(client.get("/?rank=subclass&reason=subclass").text) == numbers["reason-subclass"]


def test_address_of_a_view_comes_back() -> None:
    from starlette.datastructures import QueryParams

    for query in ("", "?text=%3Cb%3E+a&superclass=bird&min_score=0.25&sort=-novelty", "?since=2024-01-01&sort=path"):
        assert View.of(QueryParams(query.removeprefix("?"))).query == query


# ---- names of files


def test_hostile_names_are_shown_and_inert(hostile: Path) -> None:
    with application(hostile) as app:
        client = logged_in(app)
        pages = [client.get(path).text for path in ("/", "/photos/more", "/?text=script")]
        photos = ids(pages[0])
        assert len(photos) == len(HOSTILE)
        pages += [client.get(f"/photos/{number}").text for number in photos]
        pages += [client.get(f"/photos/{number}/similar").text for number in photos]
        whole = "\n".join(pages)
        for bad in ("<script>alert", "<img src=x", "<b>\n", "\u202e", "' onmouseover", '" onmouseover', "\udcff"):
            # A path to copy is in an attribute, escaped, and not shown.
            assert bad not in re.sub(r'data-text="[^"]*"', "", whole), bad
        # Quotes are escaped as Jinja does it.
        shown_names = html.unescape(whole)
        for name in HOSTILE:
            assert as_shown(name) in shown_names


def test_first_reader_finds_everything_warm(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with application(hostile) as app:
        respond._environment().cache.clear()  # type: ignore[union-attr]
        warm_up(app)
        assert {name for _, name in respond._environment().cache} >= {"gallery.html"}  # type: ignore[union-attr]

        def broken(*_: object, **__: object) -> None:
            raise StoreError("the disk failed")

        monkeypatch.setattr(context_in(app).gallery, "page", broken)
        warm_up(app)  # whoever opens the page is told
        assert logged_in(app).get("/").status_code == 500


@pytest.mark.parametrize(
    ("stale", "problem", "words", "counts"),
    [
        (False, None, "Still reading the library: 40 of 1,000 photos so far", "{}+"),
        (False, "the disk failed", "cannot be read to its end: the disk failed", "{}+"),
        (True, None, "being read: 40 of 1,000 photos so far", "~{}"),
        (True, "the disk failed", "cannot be read now: the disk failed", "~{}"),
    ],
)
def test_counts_do_not_look_final_while_the_library_is_read(
    monkeypatch: pytest.MonkeyPatch, stale: bool, problem: str | None, words: str, counts: str
) -> None:
    with Store.open("sqlite://") as store, ExitStack() as stack:
        fill(store, 40)
        app = stack.enter_context(application(store))
        gallery, client = context_in(app).gallery, logged_in(app)
        every = client.get("/")
        monkeypatch.setattr(gallery, "_reading", Reading(photos=40, total=1000, stale=stale))
        monkeypatch.setattr(gallery, "_failure", StoreError(problem) if problem else None)
        page = client.get("/").text
        assert words in page
        assert f"{count(every.text)} photos so far<" in page
        (by_model,) = re.findall(r'data-key="source-model".*?class="count">(\d+)<', every.text, re.DOTALL)
        assert f'class="count">{counts.format(by_model)}<' in page
        assert 'data-so-far="1"' in client.get("/photos/more").text
        assert f"of {count(every.text)} so far" in " ".join(client.get("/photos/5").text.split())
        assert "photos so far fits" in client.get("/?text=nowhere").text
        monkeypatch.undo()
        for address in ("/", "/photos/more", "/photos/5"):
            assert not re.search("so.far", client.get(address).text)
