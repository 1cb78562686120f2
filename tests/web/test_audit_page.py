"""What reviewed photos say of scores and confusions, and the audit page that shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from phototag.audit.accuracy import LEVELS, Accuracy
from phototag.audit.audit_report import make_report
from phototag.audit.confusion import NONE, confusion
from phototag.audit.reviewed import ReviewedPhoto, ReviewedSample
from phototag.audit.score_curves import score_curves
from phototag.records import Rank, Tag
from phototag.store import Review, Store
from phototag.web import audit as audit_web
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture
from tests.support.samples import Sampled
from tests.support.server import ServerProcess
from tests.support.web import application, logged_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Labels = tuple[str | None, str | None]
CLASSES: list[Labels] = [("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("dog", None), (None, None)]


def judged(tag: Labels, truth: Labels | None, *, score: float = 0.9, stratum: str = "all") -> ReviewedPhoto:
    superclass, subclass = tag
    rank = Rank.NONE if superclass is None else Rank.SUPERCLASS if subclass is None else Rank.SUBCLASS
    return ReviewedPhoto(b"/p", stratum, Tag(superclass, subclass, rank, score, score, 0.1), truth)


def drawn(*photos: ReviewedPhoto, strata: dict[str, int] | None = None) -> ReviewedSample:
    sizes = strata or {"all": 10 * len(photos)}
    return ReviewedSample("s", tuple(sizes.items()), photos, ())


def some(count: int, *, seed: int = 1, strata: dict[str, int] | None = None) -> ReviewedSample:
    """Photos with random scores, right as often as their scores say; in turns from the strata."""
    rng = np.random.default_rng(seed)
    names = list(strata or {"all": 0})
    photos = []
    for place in range(count):
        score = float(rng.uniform(0.3, 1))
        tag = CLASSES[rng.integers(3)]
        truth = tag if rng.random() < score else CLASSES[rng.integers(len(CLASSES))]
        photos.append(judged(tag, truth, score=score, stratum=names[place % len(names)]))
    return drawn(*photos, strata=strata)


class TestCurves:
    @pytest.mark.parametrize("strata", [None, {"low": 100, "high": 2000}])
    @pytest.mark.parametrize("level", LEVELS)
    def test_both_end_where_the_estimate_is(self, strata: dict[str, int] | None, level: str) -> None:
        accuracy = Accuracy([some(150, strata=strata)])
        whole = accuracy.metrics()[f"{level}_precision_given"]
        curves = score_curves(accuracy, level)
        last = curves.risk[-1]
        assert last.coverage == pytest.approx(1)
        assert whole.value is not None
        assert last.risk.value == pytest.approx(1 - whole.value)
        assert last.risk.low == pytest.approx(1 - (whole.high or 0))
        tags = accuracy.tags(level)
        assert sum(point.right.reviewed for point in curves.reliability) == len(tags.scores) == whole.reviewed

    def test_strata_count_by_their_photos(self) -> None:
        # In the large stratum all are right, in the small one none: nearly all photos of the library are right.
        photos = [judged(CLASSES[0], CLASSES[0], stratum="large") for _ in range(20)]
        photos += [judged(CLASSES[0], CLASSES[1], stratum="small") for _ in range(20)]
        accuracy = Accuracy([drawn(*photos, strata={"large": 9900, "small": 100})])
        (point,) = score_curves(accuracy, "subclass").reliability
        assert point.right.value == pytest.approx(0.99)
        shares = {(cell.truth, cell.tag): cell.share for cell in confusion(accuracy, "subclass").cells}
        assert shares["bird/rooster", "bird/hawk"] == pytest.approx(0.01)
        assert sum(shares.values()) == pytest.approx(1)

    def test_scores_that_are_calibrated_lie_on_the_diagonal(self) -> None:
        rng = np.random.default_rng(5)
        scores = rng.uniform(0.5, 1, 4000)
        photos = [
            judged(CLASSES[0], CLASSES[0] if rng.random() < score else CLASSES[1], score=float(score))
            for score in scores
        ]
        curves = score_curves(Accuracy([drawn(*photos)]), "subclass")
        assert len(curves.reliability) == 10
        for point in curves.reliability:
            assert point.right.value == pytest.approx(point.score, abs=0.06)
        risks = [point.risk.value or 0 for point in curves.risk]
        assert risks[0] < risks[-1]
        assert [point.coverage for point in curves.risk] == sorted(point.coverage for point in curves.risk)

    def test_equal_scores_are_kept_together(self) -> None:
        photos = [judged(CLASSES[0], CLASSES[place % 2]) for place in range(100)]
        curves = score_curves(Accuracy([drawn(*photos)]), "subclass")
        assert len(curves.reliability) == len(curves.risk) == 1
        assert curves.risk[0].risk.value == pytest.approx(0.5)

    def test_few_photos_give_none(self) -> None:
        accuracy = Accuracy([some(5)])
        assert score_curves(accuracy, "subclass").risk == ()

    def test_intervals_hold_the_truth_about_as_often_as_they_say(self) -> None:
        # Of 1,000 photos that are drawn again and again, the right share of the better half is known.
        rng = np.random.default_rng(2)
        scores = rng.uniform(0.4, 1, 1000)
        right = rng.random(1000) < scores
        held = []
        for _ in range(200):
            chosen = rng.choice(1000, 120, replace=False)
            photos = [
                judged(CLASSES[0], CLASSES[0] if right[row] else CLASSES[1], score=float(scores[row])) for row in chosen
            ]
            curves = score_curves(Accuracy([drawn(*photos, strata={"all": 1000})]), "subclass")
            point = min(curves.risk, key=lambda one: abs(one.coverage - 0.5))
            truth = 1 - right[scores >= point.score].mean()
            held.append((point.risk.low or 0) <= truth <= (point.risk.high or 1))
        assert 0.9 <= np.mean(held) <= 1


class TestConfusion:
    def test_counts_names_and_order(self) -> None:
        pairs = [(0, 0), (0, 0), (0, 1), (1, 0), (1, 0), (2, 4), (3, 2)]
        photos = [judged(CLASSES[tag], CLASSES[truth]) for truth, tag in pairs]
        accuracy = Accuracy([drawn(*photos)])
        found = confusion(accuracy, "superclass")
        names = found.names(9)
        assert names == ["bird", "dog", NONE]
        assert found.matrix(names) == [[5, 0, 0], [0, 1, 1], [0, 0, 0]]
        wrong = [(cell.truth, cell.tag, cell.count, cell.of) for cell in confusion(accuracy, "subclass").wrong]
        assert wrong[0] == ("bird/rooster", "bird/hawk", 2, 2)
        assert ("bird/hawk", "bird/rooster", 1, 3) in wrong
        assert (NONE, "dog/beagle", 1, 1) in wrong
        assert found.names(1) == ["dog"], "what is confused most"


def review(library: Sampled, said: dict[int, Labels]) -> None:
    with Store.open(library.database) as store, store.writing("test"):
        for item in store.samples.items(library.sample_id):
            if item.position in said:
                superclass, subclass = said[item.position]
                store.reviews.save(
                    Review(
                        photo_id=item.photo_id, superclass=superclass, subclass=subclass, sample_id=library.sample_id
                    )
                )


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture) -> Sampled:
    """Twenty photos: two hawks predicted as something else, one that is nothing, four that wait."""
    made = Sampled(tmp_path / "photos", make_picture, 20)
    said = {position: tag for position, tag in made.tags().items() if position <= 16}
    review(made, said | {2: ("bird", "hawk"), 3: ("bird", "hawk"), 4: (None, None)})
    return made


class TestReport:
    def test_the_file_and_its_figures_hold_them(
        self, library: Sampled, run_phototag: RunCommand, tmp_path: Path
    ) -> None:
        page = tmp_path / "report.html"
        result = run_phototag("audit", "report", "--db", library.database, "--report", page, "--format", "json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["curves"]["subclass"]["reviewed"] == 16
        assert found["curves"]["subclass"]["risk_coverage"][-1]["coverage"] == 1
        cells = {(cell["truth"], cell["tag"]): cell["count"] for cell in found["confusions"]["superclass"]}
        assert cells["bird", "dog"] == 1
        assert cells["", "dog"] == 1
        text = page.read_text()
        assert "What is confused with what" in text
        assert "Risk and coverage, subclass" in text
        assert "Only 16 reviewed photos" in text
        assert "/audit/cell" not in text, "a file has no pages behind it"


class TestPage:
    @pytest.fixture
    def client(self, library: Sampled) -> Iterator[TestClient]:
        with application(library.database) as app:
            yield logged_in(app)

    def test_it_shows_estimates_and_leads_to_the_photos(self, client: TestClient) -> None:
        page = client.get("/audit")
        assert page.status_code == 200
        for words in ("81.2 %", "95 % interval", "Reliability, subclass", "Risk and coverage, superclass", "Drift"):
            assert words in page.text
        assert "/audit/cell?level=superclass&amp;truth=bird&amp;tag=dog" in page.text
        assert "style=" not in page.text
        assert "<style" not in page.text

    def test_a_cell_lists_its_photos_and_no_others(self, client: TestClient, library: Sampled) -> None:
        page = client.get("/audit/cell", params={"level": "subclass", "truth": "bird/hawk", "tag": "dog/beagle"})
        assert page.text.count('<li><a href="/photos/') == 1
        assert f'href="/photos/{library.items()[2].photo_id}"' in page.text
        none = client.get("/audit/cell", params={"level": "superclass", "truth": "", "tag": "dog", "sample": "first"})
        assert none.text.count('<li><a href="/photos/') == 1
        assert "no label tagged as" in none.text.replace("<bdi>", "").replace("</bdi>", "")
        empty = client.get("/audit/cell", params={"level": "subclass", "truth": "<b>", "tag": "x"})
        assert empty.status_code == 200
        assert "<b>" not in empty.text

    def test_all_samples_and_rows_can_be_chosen(self, client: TestClient) -> None:
        for by in ("superclass", "subclass", "stratum", "folder"):
            assert client.get("/audit", params={"by": by, "sample": "first"}).status_code == 200
        assert client.get("/audit", params={"by": "colour"}).status_code == 400
        assert client.get("/audit", params={"sample": "nope"}).status_code == 404
        assert client.get("/audit/cell", params={"level": "colour"}).status_code == 400
        assert client.get("/audit/cell", params={"level": "subclass", "sample": "nope"}).status_code == 404

    def test_it_is_made_anew_only_when_something_changed(
        self, client: TestClient, library: Sampled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Any] = []

        def counted(*args: Any, **options: Any) -> Any:
            made.append(options)
            return make_report(*args, **options)

        monkeypatch.setattr(audit_web, "make_report", counted)
        first = client.get("/audit").text
        assert client.get("/audit").text == first
        assert len(made) == 1
        review(library, {17: ("dog", None)})
        assert "17 of" in client.get("/audit").text or client.get("/audit").text != first
        assert len(made) == 2
        with Store.open(library.database) as store, store.writing("test"):
            store.samples.skip(library.sample_id, 18)
        client.get("/audit")
        assert len(made) == 3

    def test_more_reviews_are_a_click_away(self, client: TestClient, library: Sampled) -> None:
        page = client.get("/audit").text
        assert f'href="/review/{library.sample_id}"' in page, "some still wait"
        form = client.get("/review", params={"size": "57", "by": "superclass"}).text
        assert 'value="57"' in form
        assert '<option value="superclass" selected>' in form
        assert "<script>alert" not in client.get("/review", params={"size": '"><script>alert(1)'}).text

    def test_a_sensible_number_is_offered_however_many_are_wanted(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = audit_web._made

        def wanting(*args: Any) -> tuple[Any, Any, int]:
            page, newest, _ = made(*args)
            return page, newest, 1033

        monkeypatch.setattr(audit_web, "_made", wanting)
        page = client.get("/audit").text
        assert 'href="/review?size=200#draw">Sample 200 more photos here' in page
        assert "1,033 are needed until intervals reach 3 points up and down" in page

    def test_before_the_first_review_it_says_what_to_do(self, tmp_path: Path, make_picture: MakePicture) -> None:
        library = Sampled(tmp_path / "new", make_picture)
        with application(library.database) as app:
            page = logged_in(app).get("/audit")
        assert page.status_code == 200
        assert f'href="/review/{library.sample_id}"' in page.text

    def test_without_a_sample_it_leads_to_drawing_one(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "empty.db"):
            pass
        with application(tmp_path / "empty.db") as app:
            page = logged_in(app).get("/audit")
        assert page.status_code == 200
        assert "Sample photos" in page.text

    def test_hostile_class_names_are_inert(self, client: TestClient, library: Sampled) -> None:
        review(library, {17: ("<img src=x onerror=alert(1)>", '"><script>'), 18: ("a&amp;b'\"", None)})
        for path in ("/audit", "/audit?by=subclass"):
            text = client.get(path).text
            assert "<img src=x" not in text
            assert '"><script>' not in text


class TestBrowser:
    @pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (360, "dark")])
    def test_a_number_leads_to_its_photos(
        self,
        browser: Browser,
        library: Sampled,
        width: int,
        scheme: Any,
    ) -> None:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_default_timeout(120_000)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        with ServerProcess(library.database) as server:
            page.goto(server.link)
            page.goto(f"{server.address}audit")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("svg[role=img] desc").count() >= 4, "charts say what they show"
            page.click("#parts th button >> nth=0")
            assert page.get_attribute("#parts thead th", "aria-sort") == "ascending"
            page.click("#confusion table.matrix a[href*='truth=bird&tag=dog']")
            page.wait_for_selector(".cell-photos li")
            assert page.locator(".cell-photos li").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.click(".cell-photos a")
            page.wait_for_selector("h1")
            assert "/photos/" in page.url
        assert problems == []
        context.close()
