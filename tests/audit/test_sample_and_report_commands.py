"""`phototag audit sample` and `phototag audit report`, from drawing to gates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from phototag.audit.audit_report import ESTIMATED
from phototag.evaluation.gates import GATES
from phototag.records import Photo, Rank, Tag
from phototag.store import Review, Store, StoredTag
from phototag.tagging.tagger import Tagger
from phototag.taxonomy import Taxonomy
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture

TAXONOMY = Taxonomy.from_pairs([("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("reptile", "gecko")])
PHOTOS = 800
Label = tuple[str | None, str | None]
Run = Callable[..., Result]


class Library:
    """Photos in the default database, and the truth of each by path."""

    def __init__(self, *, count: int = PHOTOS, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.truth: dict[Path, Label] = {}
        rows = []
        for index in range(count):
            name = TAXONOMY.subclasses[int(random.choice(4, p=[0.4, 0.3, 0.2, 0.1]))]
            score = float(random.beta(9, 1))
            true = name if random.random() < score else TAXONOMY.subclasses[int(random.integers(4))]
            path = Path(f"/lib/{index % 3}/{index}.jpg")
            novel = index % 25 == 0
            self.truth[path] = (None, None) if novel else (TAXONOMY.parent(true), true)
            rank = Rank.SUBCLASS if score > 0.5 else Rank.SUPERCLASS
            tag = Tag(TAXONOMY.parent(name), name if rank is Rank.SUBCLASS else None, rank, score, score, 1 - score)
            rows.append(self._stored(path, tag))
        with Store.open() as store, store.writing("test"):
            model = store.models.register(hash="a" * 64, name="m", backbone="b", taxonomy=TAXONOMY, metrics={})
            store.tags.save_batch(model_id=model, tagged=rows)

    @staticmethod
    def _stored(path: Path, tag: Tag, content: str = "") -> StoredTag:
        digest = hashlib.sha256(f"{path}{content}".encode()).digest()
        return StoredTag(Photo(path, 1, 1, 1, 1), digest, 4, 3, b"", tag)

    def review(self, name: str, *, limit: int | None = None, skip: Iterable[int] = ()) -> None:
        """Say the truth of photos of a sample that wait for it."""
        left_out = set(skip)
        with Store.open() as store, store.writing("test"):
            sample = store.samples.find(name)
            assert sample is not None
            said = []
            for item in store.samples.items(sample.id, pending_only=True)[:limit]:
                if item.position in left_out:
                    store.samples.skip(sample.id, item.position)
                    continue
                superclass, subclass = self.truth[item.path]
                said.append(
                    Review(photo_id=item.photo_id, superclass=superclass, subclass=subclass, sample_id=sample.id)
                )
            store.reviews.save_all(said)

    def true_share(self) -> float:
        """How many subclass tags are right, before anybody corrected one."""
        with Store.open() as store:
            from phototag.audit.sampling import read_frame

            frame = read_frame(store)
        given = [
            (tag.superclass, tag.subclass) == self.truth[Path(path.decode())]
            for tag, path in zip(frame.tags, frame.paths, strict=True)
            if tag.subclass is not None
        ]
        return sum(given) / len(given)


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def sample(run_phototag: RunCommand) -> Run:
    def run(*words: str) -> Result:
        return run_phototag("audit", "sample", *words)

    return run


@pytest.fixture
def report(run_phototag: RunCommand) -> Run:
    def run(*words: str) -> Result:
        return run_phototag("audit", "report", *words)

    return run


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 1), result.stderr
    value: dict[str, Any] = json.loads(result.stdout)
    return value


class TestSample:
    def test_a_sample_is_drawn_named_and_listed(self, library: Library, sample: Run) -> None:
        result = sample("--size", "60", "--seed", "1")
        assert result.exit_code == 0, result.stderr
        assert result.stdout.startswith("sample-1: 60 of 800 photos, simple, seed 1")
        assert "phototag audit review sample-1" in result.stderr
        assert sample("night", "--by", "score", "--allocation", "neyman").exit_code == 0
        library.review("sample-1", limit=20, skip=[2])
        listed = json.loads(sample("--list", "--format", "json").stdout)
        assert [(one["name"], one["design"], one["size"]) for one in listed] == [
            ("sample-1", "simple", 60), ("night", "stratified", 200),
        ]  # fmt: skip
        assert (listed[0]["reviewed"], listed[0]["skipped"], listed[0]["pending"]) == (19, 1, 40)
        assert "stratified by score" in sample("--list").stdout

    def test_the_same_seed_draws_the_same(self, library: Library, sample: Run) -> None:
        one = figures(sample("--size", "40", "--seed", "5", "--by", "superclass", "--format", "json"))
        two = figures(sample("--size", "40", "--seed", "5", "--by", "superclass", "--format", "json"))
        assert [item["path"] for item in one["items"]] == [item["path"] for item in two["items"]]
        assert two["name"] == "sample-2"
        for stratum in one["strata"]:
            shares = {item["inclusion_probability"] for item in one["items"] if item["stratum"] == stratum["name"]}
            assert shares == {stratum["drawn"] / stratum["population"]}

    def test_more_goes_on_with_the_same_sample(self, library: Library, sample: Run) -> None:
        first = figures(sample("a", "--size", "40", "--format", "json"))
        library.review("a")
        grown = figures(sample("a", "--more", "20", "--format", "json"))
        assert grown["size"] == 60
        assert [item["path"] for item in grown["items"]][:40] == [item["path"] for item in first["items"]]
        assert {item["inclusion_probability"] for item in grown["items"]} == {60 / 800}

    def test_doubtful_photos(self, library: Library, sample: Run) -> None:
        result = sample("--focus", "lowest", "--size", "10", "--format", "json")
        assert not figures(result)["for_estimation"]
        assert "enter no estimate" in result.stderr
        result = sample("--focus", "confusable")
        assert result.exit_code == 2
        assert "phototag tag --force" in result.stderr

    def test_close_calls_are_found_by_the_stored_scores(
        self, quick_model: Path, make_picture: MakePicture, tmp_path: Path, sample: Run
    ) -> None:
        for index in range(12):
            make_picture(tmp_path / f"{index}.png", seed=index)
        with Store.open() as store:
            Tagger(quick_model).tag([tmp_path], store)
        found = figures(sample("--focus", "confusable", "--size", "5", "--format", "json"))
        assert len(found["items"]) == 5
        assert found["population"] == 12

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--more", "5"], "needs the NAME"),
            (["a", "--more", "5", "--size", "9"], "leave out --size"),
            (["--focus", "lowest", "--by", "score"], "leave out --by and --seed"),
            (["--list", "--size", "5"], "--list goes with no other option"),
            (["--allocation", "equal"], "needs --by"),
            (["--size", "8", "--by", "superclass", "--under", "/nowhere"], "no readable photo under /nowhere"),
            (["a", "--more", "5"], "there is no sample 'a'"),
        ],
    )
    def test_what_makes_no_sense_exits_with_2(self, library: Library, sample: Run, words: list[str], said: str) -> None:
        result = sample(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr

    def test_a_name_that_is_taken(self, library: Library, sample: Run) -> None:
        assert sample("a", "--size", "5").exit_code == 0
        result = sample("a", "--size", "5")
        assert result.exit_code == 2
        assert "there is a sample 'a' already" in result.stderr

    def test_one_that_was_drawn_by_mistake_is_removed(self, library: Library, sample: Run) -> None:
        sample("big", "--size", "40")
        sample("other", "--size", "10")
        library.review("big", limit=3)
        result = sample("big", "--remove")
        assert result.exit_code == 0, result.stderr
        assert "3 reviews stay as corrections" in result.stderr
        assert "export labels" in result.stderr
        assert [one["name"] for one in json.loads(sample("--list", "--format", "json").stdout)] == ["other"]
        with Store.open() as store:
            assert [review.sample_id for review in store.reviews.find_all()] == [None] * 3
            assert len(store.samples.contents_for_estimation()) == 10
        again = sample("big", "--remove")
        assert again.exit_code == 2
        assert "there is no sample 'big'" in again.stderr
        assert json.loads(sample("other", "--remove", "--format", "json").stdout) == {
            "name": "other",
            "size": 10,
            "reviews_kept": 0,
        }

    def test_without_a_database(self, sample: Run, report: Run) -> None:
        assert sample().exit_code == 2
        assert report().exit_code == 2

    def test_what_is_estimated_can_be_a_gate(self) -> None:
        assert set(ESTIMATED) <= set(GATES)


class TestReport:
    def test_the_interval_holds_the_truth(self, library: Library, sample: Run, report: Run) -> None:
        true = library.true_share()
        sample("--size", "200", "--seed", "2")
        library.review("sample-1")
        found = figures(report("--format", "json"))
        estimate = found["subclass_precision_given"]
        assert estimate["low"] <= true <= estimate["high"]
        assert (found["reviewed"], found["population"]["photos"]) == (200, 800)
        assert found["samples"] == ["sample-1"]

    def test_reviewing_everything_gives_the_truth_itself(self, library: Library, sample: Run, report: Run) -> None:
        true = library.true_share()
        sample("--size", "800", "--by", "score")
        library.review("sample-1")
        estimate = figures(report("--format", "json"))["subclass_precision_given"]
        assert (estimate["value"], estimate["low"], estimate["high"]) == pytest.approx((true, true, true))

    def test_a_table_says_it_in_a_sentence(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "100", "--seed", "2")
        library.review("sample-1", limit=80, skip=[3])
        result = report()
        assert result.exit_code == 0
        assert result.stdout.startswith("Subclass tags are right")
        assert max(map(len, result.stdout.splitlines())) <= 100
        text = " ".join(result.stdout.split())
        for words in (
            "95 % interval",
            "reptile",
            "1 photo was skipped",
            "The bounds say how far",
            "20 sampled photos wait for a review",
            "Drift",
        ):
            assert words in text

    def test_focus_samples_and_other_reviews_never_count(self, library: Library, sample: Run, report: Run) -> None:
        sample("lows", "--focus", "lowest", "--size", "50")
        library.review("lows")
        result = report()
        assert result.exit_code == 2
        assert "no sample has been reviewed" in result.stderr
        assert "phototag audit sample" in result.stderr
        result = report("--sample", "lows")
        assert result.exit_code == 2
        assert "not sampled at random" in result.stderr
        sample("fair", "--size", "100", "--seed", "2")
        library.review("fair")
        before = figures(report("--format", "json"))
        with Store.open() as store, store.writing("test"):
            drawn = {item.photo_id for item in store.samples.items(2)}
            others = [photo for photo in range(1, 200) if photo not in drawn]
            store.reviews.save_all([Review(photo_id=photo, superclass=None) for photo in others])
        after = figures(report("--format", "json"))
        assert before["subclass_precision_given"] == after["subclass_precision_given"]
        assert after["samples"] == ["fair"]

    def test_photos_that_changed_are_left_out(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "60", "--seed", "2")
        library.review("sample-1")
        with Store.open() as store, store.writing("test"):
            model = store.models.find_all()[0].id
            item = store.samples.items(1)[0]
            store.tags.save_batch(model_id=model, tagged=[Library._stored(item.path, item.tag, content="edited")])
        found = figures(report("--format", "json"))
        assert (found["reviewed"], found["changed"]) == (59, 1)
        assert any("1 sampled photo has changed since" in note for note in found["notes"])

    def test_samples_of_the_same_photos_are_taken_together(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "100", "--seed", "2")
        sample("--size", "100", "--seed", "3", "--by", "score")
        sample("--size", "50", "--under", "/lib/1")
        for name in ("sample-1", "sample-2"):
            library.review(name)
        together = figures(report("--format", "json"))
        alone = figures(report("--sample", "sample-1", "--format", "json"))
        assert together["samples"] == ["sample-2", "sample-1"]
        assert together["reviewed"] == 200
        widths = [
            one["subclass_precision_given"]["high"] - one["subclass_precision_given"]["low"]
            for one in (together, alone)
        ]
        assert widths[0] < widths[1]
        library.review("sample-3")
        newest = figures(report("--format", "json"))
        assert newest["samples"] == ["sample-3"]
        assert any("sample-1 is left out: it was sampled from other photos" in note for note in newest["notes"])

    def test_predictions_make_it_narrower_and_are_told(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "200", "--seed", "2")
        library.review("sample-1")
        plain, sharp = (figures(report("--format", "json", *words)) for words in ((), ("--ppi",)))
        widths = [
            one["subclass_precision_given"]["high"] - one["subclass_precision_given"]["low"] for one in (plain, sharp)
        ]
        assert widths[1] < widths[0]
        assert sharp["predictions"]
        assert any("prediction-powered" in note for note in sharp["notes"])
        assert not plain["predictions"]

    @pytest.mark.parametrize(
        ("by", "names"),
        [
            ("superclass", ["bird", "dog", "reptile"]),
            ("subclass", ["bird/hawk", "bird/rooster", "dog/beagle", "reptile/gecko"]),
            ("stratum", ["bird", "dog", "reptile"]),
            ("folder", ["0", "1", "2"]),
        ],
    )
    def test_rows(self, library: Library, sample: Run, report: Run, by: str, names: list[str]) -> None:
        sample("--size", "100", "--seed", "2", "--by", "superclass")
        library.review("sample-1")
        found = figures(report("--by", by, "--format", "json"))
        assert [row["name"] for row in found["rows"]] == names
        assert f"By {by}" in report("--by", by).stdout
        if by != "folder":
            assert sum(row["population"] for row in found["rows"]) <= 800

    def test_a_folder_alone(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "200", "--seed", "2")
        library.review("sample-1")
        found = figures(report("--under", "/lib/1", "--ppi", "--format", "json"))
        assert 40 < found["reviewed"] < 100
        assert found["population"] is None
        assert any("not used" in note for note in found["notes"])

    def test_a_plan_says_how_many_more_and_when_it_is_reached(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "100", "--seed", "2", "--by", "superclass")
        library.review("sample-1")
        found = figures(report("--plan", "--half-width", "0.03", "--format", "json"))["plan"]
        assert not found["reached"]
        assert sum(part["more"] for part in found["allocation"]) == found["more"] > 0
        assert {part["name"] for part in found["parts"]} == {"bird", "dog", "reptile"}
        text = " ".join(report("--plan").stdout.split())
        assert f"phototag audit sample sample-1 --more {found['more']}" in text
        for _ in range(6):
            if found["reached"]:
                break
            sample("sample-1", "--more", str(max(found["more"], 1)))
            library.review("sample-1")
            found = figures(report("--plan", "--half-width", "0.03", "--format", "json"))["plan"]
        assert found["reached"]
        assert "known as well as wanted" in report("--plan").stdout

    def test_a_page_with_the_figures_beside_it(
        self, library: Library, sample: Run, report: Run, tmp_path: Path
    ) -> None:
        sample("--size", "100", "--seed", "2", "--by", "score")
        library.review("sample-1", skip=[1])
        page = tmp_path / "out" / "audit.html"
        result = report("--report", str(page), "--plan", "--by", "subclass")
        assert result.exit_code == 0, result.stderr
        html = page.read_text(encoding="utf-8")
        assert "How right the tags are" in html
        assert "reptile/gecko" in html
        assert "<script src" not in html
        assert json.loads(page.with_suffix(".json").read_text())["reviewed"] == 99
        assert report("--report", str(tmp_path / "x.pdf")).exit_code == 2

    @pytest.mark.parametrize(("gate", "code"), [("subclass_precision_given=0.5", 0), ("hierarchical_f1=99%", 1)])
    def test_gates(self, library: Library, sample: Run, report: Run, gate: str, code: int) -> None:
        sample("--size", "150", "--seed", "2")
        library.review("sample-1")
        result = report("--fail-under", gate)
        assert result.exit_code == code
        assert ("Gate missed: hierarchical_f1 is" in result.stderr) is bool(code)

    def test_a_gate_looks_at_the_lower_end(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "150", "--seed", "2")
        library.review("sample-1")
        estimate = figures(report("--format", "json"))["subclass_precision_given"]
        between = (estimate["low"] + estimate["value"]) / 2
        result = report("--fail-under", f"subclass_precision_given={between}")
        assert result.exit_code == 1
        assert "may be as low as" in result.stderr
        assert "More reviews may show that it is met" in result.stderr

    @pytest.mark.parametrize(
        ("gate", "said"),
        [("subclass_coverage=0.5", "is not estimated from samples"), ("subclass_acuracy=0.5", "did you mean")],
    )
    def test_gates_that_cannot_be(self, report: Run, gate: str, said: str) -> None:
        result = report("--fail-under", gate)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr

    def test_a_sample_that_nobody_reviewed(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "20")
        result = report()
        assert result.exit_code == 2
        assert "phototag audit review sample-1" in result.stderr
        result = report("--sample", "sample-1")
        assert result.exit_code == 2
        assert "has been reviewed yet" in result.stderr

    def test_undone_reviews_do_not_count(self, library: Library, sample: Run, report: Run) -> None:
        sample("--size", "30", "--seed", "2")
        library.review("sample-1")
        with Store.open() as store, store.writing("test"):
            store.reviews.undo(1)
        found = figures(report("--format", "json"))
        assert (found["reviewed"], found["pending"]) == (29, 1)

    def test_a_sample_that_another_program_saved(self, library: Library, report: Run) -> None:
        from phototag.audit.sampling import read_frame
        from phototag.store import Design, NewSample, SampledPhoto, Stratum

        with Store.open() as store, store.writing("test"):
            frame = read_frame(store).part(range(40))
            items = [
                SampledPhoto(
                    photo_id=int(frame.ids[row]),
                    stratum="all",
                    inclusion_probability=0.05,
                    content_hash=frame.contents[row],
                    tag=frame.tags[row],
                    model_id=int(frame.models[row]),
                )
                for row in range(40)
            ]
            store.samples.save(
                NewSample(
                    name="theirs",
                    design=Design.SIMPLE,
                    seed=0,
                    for_estimation=True,
                    items=items,
                    strata=[Stratum("all", 800, 40)],
                )
            )
        library.review("theirs")
        found = figures(report("--plan", "--ppi", "--format", "json"))
        assert (found["reviewed"], found["population"]) == (40, None)
        assert found["subclass_precision_given"]["value"] is not None
