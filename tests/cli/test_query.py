"""`phototag query`: the filters, the order, the limits, and formats that other programs read back without loss."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phototag.choices import OutputFormat
from phototag.cli.formats import photo_table
from phototag.cli.query import TABLE_LIMIT
from phototag.errors import UsageError
from phototag.export.rows import ROW_COLUMNS, as_row
from phototag.records import Failure, FailureKind, NovelTier, Photo, PhotoState, Rank, Source, Tag, TaggedPhoto
from phototag.store import Query, Store, StoredTag
from phototag.taxonomy import Taxonomy
from phototag.text import display_width
from tests.support.commands import RunCommand, RunProcess

TAXONOMY = Taxonomy.from_pairs([("bird", "rooster"), ("bird", "hawk"), ("dog", "beagle")])
CONTRACT = (
    "path, superclass, subclass, rank, superclass_score, subclass_score, novelty, source, model, tagged_at, "
    "state, error, reason, taken_at, camera, latitude, longitude"
)
FOREST = Path("/photos/forest")


def photo(path: str | bytes | Path) -> Photo:
    return Photo(Path(os.fsdecode(path)), 10, 1, 2, 3)


def stored(path: str | bytes | Path, tag: Tag) -> StoredTag:
    digest = hashlib.sha256(os.fsencode(path)).digest()
    return StoredTag(photo(path), digest, width=40, height=30, scores=b"scores", tag=tag)


def fill(store: Store, model: str, tagged: Sequence[StoredTag], failures: Sequence[Failure] = ()) -> None:
    """Save photos as tagged by the model of that name; the caller holds the lock."""
    number = store.models.register(
        hash=hashlib.sha256(model.encode()).hexdigest(), name=model, backbone="b", taxonomy=TAXONOMY, metrics={}
    )
    store.tags.save_batch(model_id=number, tagged=tagged, failures=failures)


@pytest.fixture
def zoo() -> None:
    """The default database with nine photos of every kind."""
    with Store.open() as store, store.writing("test"):
        fill(
            store,
            "first",
            [
                stored(FOREST / "rooster.jpg", Tag("bird", "rooster", Rank.SUBCLASS, 0.9, 0.8, 0.2)),
                stored(FOREST / "hawk.jpg", Tag("bird", "hawk", Rank.SUBCLASS, 0.7, 0.6, 0.4)),
                stored(FOREST / "deep" / "bird.jpg", Tag("bird", None, Rank.SUPERCLASS, 0.8, 0.2, 0.8)),
                stored("/photos/forest-2/strange.jpg", Tag(None, None, Rank.NONE, 0.3, 0.1, 0.9)),
                stored("/photos/gone.jpg", Tag("dog", "beagle", Rank.SUBCLASS, 0.95, 0.9, 0.1)),
            ],
            [Failure(photo("/photos/cut.jpg"), FailureKind.TRUNCATED, "the picture is cut short")],
        )
        fill(
            store,
            "second",
            [
                stored("/photos/100%_dog.jpg", Tag("dog", "beagle", Rank.SUBCLASS, 0.6, 0.55, 0.45)),
                stored("/photos/dog.jpg", Tag("dog", "beagle", Rank.SUBCLASS, 0.99, 0.98, 0.02)),
                stored("/photos/human.jpg", Tag("dog", None, Rank.SUPERCLASS, 0.5, 0.2, 0.8)),
            ],
        )
        store.tags.set_human(Path("/photos/human.jpg"), superclass="bird", subclass="rooster")
        gone = store.photos.find(Path("/photos/gone.jpg"))
        assert gone is not None
        store.photos.mark_missing([gone.id])


EVERY = {"rooster", "hawk", "bird", "strange", "gone", "cut", "100%_dog", "dog", "human"}
ALL = EVERY - {"gone"}
"""What is shown unless missing photos are asked for."""


@pytest.mark.usefixtures("zoo")
class TestFilters:
    @pytest.mark.parametrize(
        ("words", "wanted"),
        [
            ("", ALL),
            ("--superclass bird", {"rooster", "hawk", "bird", "human"}),
            ("--superclass cat", set()),
            ("--superclass bird --superclass dog", ALL - {"strange", "cut"}),
            ("--subclass hawk --subclass dog/beagle", {"hawk", "100%_dog", "dog"}),
            ("--superclass BIRD", set()),
            ("--subclass rooster", {"rooster", "human"}),
            ("--subclass bird/rooster", {"rooster", "human"}),
            ("--subclass dog/rooster", set()),
            ("--superclass dog --subclass beagle", {"100%_dog", "dog"}),
            ("--superclass bird --subclass beagle", set()),
            ("--novel", {"bird", "strange"}),
            ("--novel --superclass bird", {"bird"}),
            ("--novel any", {"bird", "strange"}),
            ("--novel superclass", {"strange"}),
            ("--novel=superclass", {"strange"}),
            ("--novel subclass", {"bird"}),
            ("--novel subclass --superclass dog", set()),
            ("--sort=-novelty --novel", {"bird", "strange"}),
            ("--reason subclass", {"rooster", "hawk", "100%_dog", "dog"}),
            ("--reason low_subclass_score", {"bird"}),
            ("--reason low_subclass_score --reason low_superclass_score", {"bird", "strange"}),
            ("--reason novel_superclass", set()),
            ("--reason low_superclass_score --superclass bird", set()),
            ("--min-score 0.8", {"rooster", "bird", "dog", "human"}),
            ("--min-score 0", ALL - {"cut"}),
            ("--min-score 1", {"human"}),
            ("--under /photos/forest", {"rooster", "hawk", "bird"}),
            ("--under /photos/forest/", {"rooster", "hawk", "bird"}),
            ("--under /photos/forest/deep/../deep", {"bird"}),
            ("--under /photos/dog.jpg", {"dog"}),
            ("--under /photos/100%_dog.jpg", {"100%_dog"}),
            ("--under /photos/%", set()),
            ("--under /photos/fores_", set()),
            ("--under /", ALL),
            ("--source human", {"human"}),
            ("--source model", ALL - {"human", "cut"}),
            ("--state ok", ALL - {"cut"}),
            ("--state unreadable", {"cut"}),
            ("--state missing", {"gone"}),
            ("--state missing --state unreadable", {"gone", "cut"}),
            ("--state all", EVERY),
            ("--state all --superclass dog", {"gone", "100%_dog", "dog"}),
            ("--model second", {"100%_dog", "dog"}),
            ("--model first --superclass dog", set()),
            ("--model nonesuch", set()),
            ("--since 2001-01-01", ALL - {"cut"}),
            ("--since 2999-12-31", set()),
        ],
    )
    def test_a_filter_finds_exactly_its_photos(self, run_phototag: RunCommand, words: str, wanted: set[str]) -> None:
        result = run_phototag("query", *words.split(), "--format", "json")
        assert result.exit_code == 0
        assert {Path(row["path"]).stem for row in json.loads(result.stdout)} == wanted
        count = run_phototag("query", *words.split(), "--count")
        assert count.stdout == f"{len(wanted)}\n"

    def test_a_name_that_nothing_has_gets_the_nearest_on_stderr(self, run_phototag: RunCommand) -> None:
        result = run_phototag("query", "--superclass", "Bird", "--subclass", "bird/roster", "--count")
        assert (result.exit_code, result.stdout) == (0, "0\n")
        assert "No class here is called Bird; did you mean bird?" in result.stderr
        assert "bird/roster; did you mean bird/rooster?" in result.stderr

    def test_a_variable_separates_names_by_commas(
        self, run_phototag: RunCommand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PHOTOTAG_QUERY_SUPERCLASS", "bird,american egret")
        result = run_phototag("query", "--count")
        assert result.stdout == "4\n"
        assert "american egret" in result.stderr

    def test_counts_come_as_a_table_and_for_machines(self, run_phototag: RunCommand) -> None:
        def counted(*words: str) -> str:
            result = run_phototag("query", *words)
            assert result.exit_code == 0, result.stderr
            return str(result.stdout)

        words = " ".join(counted("--count-by", "superclass").split())
        assert words == "superclass photos bird 4 dog 2 no label 1 not tagged 1"
        assert "bird superclass only 1" in " ".join(counted("--count-by", "subclass").split())
        rows = json.loads(counted("--count-by", "subclass", "--superclass", "bird", "--format", "json"))
        assert rows == [
            {"superclass": "bird", "subclass": "rooster", "photos": 2},
            {"superclass": "bird", "subclass": None, "photos": 1},
            {"superclass": "bird", "subclass": "hawk", "photos": 1},
        ]
        assert (
            counted("--count-by", "state", "--state", "all", "--format", "csv")
            == "state,photos\nok,7\nmissing,1\nunreadable,1\n"
        )
        assert (
            counted("--count-by", "source", "--limit", "1", "--format", "ndjson")
            == '{"source": "model", "photos": 6}\n'
        )
        assert counted("--count-by", "rank", "--superclass", "cat") == ""
        assert run_phototag("query", "--count-by", "rank", "--print0").exit_code == 2

    def test_under_takes_relative_paths(
        self, run_phototag: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        with Store.open() as store, store.writing("test"):
            fill(store, "first", [stored(tmp_path / "a" / "x.jpg", Tag("dog", "beagle", Rank.SUBCLASS, 1, 1, 0))])
        monkeypatch.chdir(tmp_path / "a" / "b")
        for path in ("..", "../x.jpg", "./../../a", "../b/.."):
            assert run_phototag("query", "--under", path, "--count").stdout == "1\n", path
        assert run_phototag("query", "--under", ".", "--count").stdout == "0\n"

    @pytest.mark.parametrize(("value", "number"), [("true", 2), ("false", 8), ("'superclass'", 1), ("'any'", 2)])
    def test_the_configuration_file_may_switch_novel_on_and_off(
        self, run_phototag: RunCommand, home: Path, monkeypatch: pytest.MonkeyPatch, value: str, number: int
    ) -> None:
        config = home / "config.toml"
        config.write_text(f"[query]\nnovel = {value}\n", encoding="utf-8")
        monkeypatch.setenv("PHOTOTAG_CONFIG", str(config))
        assert run_phototag("query", "--count").stdout == f"{number}\n"

    def test_an_unknown_tier_of_novelty_is_refused(self, run_phototag: RunCommand) -> None:
        result = run_phototag("query", "--novel", "species")
        assert result.exit_code == 2
        assert "superclass" in result.stderr
        with pytest.raises(UsageError, match="novel must be"):
            Query(novel="species")  # type: ignore[arg-type]
        assert Query(novel="subclass").novel is NovelTier.SUBCLASS  # type: ignore[arg-type]

    def test_a_model_is_found_by_the_start_of_its_hash(self, run_phototag: RunCommand) -> None:
        digits = hashlib.sha256(b"second").hexdigest()
        assert run_phototag("query", "--model", digits[:12], "--count").stdout == "2\n"
        assert run_phototag("query", "--model", digits[:4], "--count").stdout == "0\n"

    def test_since_is_local_time_and_includes_the_moment(self, run_phototag: RunCommand) -> None:
        rows = json.loads(run_phototag("query", "--format", "json", "--state", "ok").stdout)
        latest = max(datetime.fromisoformat(row["tagged_at"]) for row in rows)
        assert latest.tzinfo is not None
        assert abs(datetime.now(UTC) - latest) < timedelta(minutes=5)
        local = latest.astimezone().replace(tzinfo=None, microsecond=0)
        before, after = local.isoformat(" "), (local + timedelta(seconds=1)).isoformat()
        assert int(run_phototag("query", "--since", before, "--count").stdout) > 0
        assert run_phototag("query", "--since", after, "--count").stdout == "0\n"
        tomorrow = (local + timedelta(days=1)).date().isoformat()
        assert run_phototag("query", "--since", tomorrow, "--count").stdout == "0\n"


@pytest.mark.usefixtures("zoo")
class TestOrderAndLimit:
    def names(self, run_phototag: RunCommand, *words: str) -> list[str]:
        return [Path(row["path"]).stem for row in json.loads(run_phototag("query", *words, "--format", "json").stdout)]

    def test_paths_are_in_the_order_of_their_bytes(self, run_phototag: RunCommand) -> None:
        rows = json.loads(run_phototag("query", "--format", "json").stdout)
        paths = [os.fsencode(row["path"]) for row in rows]
        assert paths == sorted(paths)
        assert self.names(run_phototag, "--sort", "-path") == self.names(run_phototag)[::-1]

    @pytest.mark.parametrize("key", ["superclass_score", "subclass_score", "novelty", "tagged"])
    @pytest.mark.parametrize("sign", ["", "-"])
    def test_a_key_sorts_both_ways_and_what_lacks_it_comes_last(
        self, run_phototag: RunCommand, key: str, sign: str
    ) -> None:
        rows = json.loads(run_phototag("query", "--sort", sign + key, "--format", "json").stdout)
        values = [row["tagged_at" if key == "tagged" else key] for row in rows]
        known = [value for value in values if value is not None]
        assert values == [*sorted(known, reverse=bool(sign)), *[None] * (len(values) - len(known))]
        assert len(known) == (6 if key == "novelty" else 7)

    def test_the_largest_come_first_with_a_minus(self, run_phototag: RunCommand) -> None:
        assert self.names(run_phototag, "--sort", "-subclass_score", "--limit", "2") == ["human", "dog"]

    @pytest.mark.parametrize("sign", ["", "-"])
    def test_what_a_person_tagged_has_no_novelty(self, run_phototag: RunCommand, sign: str) -> None:
        with Store.open() as store, store.writing("test"):
            store.tags.set_human(Path("/photos/dog.jpg"), superclass=None)
        rows = json.loads(run_phototag("query", "--sort", f"{sign}novelty", "--format", "json").stdout)
        assert [Path(row["path"]).stem for row in rows[-3:]] == ["cut", "dog", "human"]
        assert all(row["novelty"] is None for row in rows[-3:])
        assert self.names(run_phototag, "--novel", "--sort=-novelty", "--limit", "2") == ["strange", "bird"]
        assert self.names(run_phototag, "--novel", "--sort=-novelty") == ["strange", "bird", "dog"]
        assert self.names(run_phototag, "--sort=-novelty", "--limit", "7")[-2:] == ["cut", "dog"]

    def test_limit_cuts_every_format(self, run_phototag: RunCommand) -> None:
        assert len(self.names(run_phototag, "--limit", "2")) == 2
        assert run_phototag("query", "--limit", "2", "--format", "paths").stdout.count("\n") == 2
        assert run_phototag("query", "--limit", "2", "--format", "csv").stdout.count("\n") == 3
        table_ = run_phototag("query", "--limit", "2")
        assert len(table_.stdout.splitlines()) == 3
        assert "--limit shows more" in table_.stderr
        assert self.names(run_phototag, "--limit", "0") == []
        assert run_phototag("query", "--limit", "2", "--count").stdout == "8\n", "a count counts all"


class TestManyPhotos:
    @pytest.fixture(autouse=True)
    def many(self) -> None:
        tag = Tag("dog", "beagle", Rank.SUBCLASS, 0.9, 0.8, 0.2)
        with Store.open() as store, store.writing("test"):
            fill(store, "first", [stored(f"/many/{number:04}.jpg", tag) for number in range(TABLE_LIMIT + 10)])

    def test_a_table_shows_fifty_and_says_so(self, run_phototag: RunCommand) -> None:
        result = run_phototag("query")
        assert result.stdout.count(".jpg") == TABLE_LIMIT == 50
        assert "first 50" in result.stderr
        assert run_phototag("query", "--limit", "55").stdout.count(".jpg") == 55

    @pytest.mark.parametrize("form", ["json", "ndjson", "csv", "paths"])
    def test_other_formats_have_no_limit(self, run_phototag: RunCommand, form: str) -> None:
        result = run_phototag("query", "--format", form)
        assert result.stdout.count(".jpg") == TABLE_LIMIT + 10
        assert result.stderr == ""


@pytest.mark.usefixtures("zoo")
class TestMachineFormats:
    def test_the_columns_are_those_of_the_contract(self, run_phototag: RunCommand) -> None:
        wanted = CONTRACT.split(", ")
        assert list(ROW_COLUMNS) == wanted
        assert [list(row) for row in json.loads(run_phototag("query", "--format", "json").stdout)] == [wanted] * len(
            ALL
        )
        assert next(csv.reader(io.StringIO(run_phototag("query", "--format", "csv").stdout))) == wanted

    def test_json_has_numbers_nulls_and_times_with_a_zone(self, run_phototag: RunCommand) -> None:
        every = json.loads(run_phototag("query", "--state", "all", "--format", "json").stdout)
        rows = {Path(row["path"]).stem: row for row in every}
        when = datetime.fromisoformat(rows["rooster"].pop("tagged_at"))
        assert when.utcoffset() == timedelta(0)
        assert rows["rooster"] == {
            "path": "/photos/forest/rooster.jpg",
            "superclass": "bird",
            "subclass": "rooster",
            "rank": "subclass",
            "superclass_score": 0.9,
            "subclass_score": 0.8,
            "novelty": 0.2,
            "source": "model",
            "model": "first",
            "state": "ok",
            "error": None,
            "reason": "subclass",
            "taken_at": None,
            "camera": None,
            "latitude": None,
            "longitude": None,
        }
        assert (rows["bird"]["rank"], rows["bird"]["superclass"], rows["bird"]["subclass"]) == (
            "superclass",
            "bird",
            None,
        )
        assert (rows["strange"]["rank"], rows["strange"]["superclass"]) == ("none", None)
        assert (rows["human"]["source"], rows["human"]["model"]) == ("human", None)
        assert (rows["gone"]["state"], rows["gone"]["superclass"]) == ("missing", "dog")
        cut = rows["cut"]
        assert (cut["state"], cut["error"]) == ("unreadable", "the picture is cut short")
        assert all(cut[name] is None for name in ("superclass", "rank", "novelty", "source", "model", "tagged_at"))

    def test_all_formats_say_the_same(self, run_phototag: RunCommand) -> None:
        whole = json.loads(run_phototag("query", "--format", "json").stdout)
        lines = [json.loads(line) for line in run_phototag("query", "--format", "ndjson").stdout.splitlines()]
        assert lines == whole
        read = csv.DictReader(io.StringIO(run_phototag("query", "--format", "csv").stdout, newline=""))
        assert list(read) == [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in whole
        ]

    def test_nothing_found_is_valid_in_every_format(self, run_phototag: RunCommand) -> None:
        nothing = ("query", "--superclass", "cat", "--format")
        assert json.loads(run_phototag(*nothing, "json").stdout) == []
        assert run_phototag(*nothing, "ndjson").stdout == ""
        assert run_phototag(*nothing, "csv").stdout_bytes == CONTRACT.replace(", ", ",").encode() + b"\r\n"
        assert run_phototag(*nothing, "paths").stdout == ""
        empty = run_phototag(*nothing, "table")
        assert (empty.stdout, empty.exit_code) == ("", 0)
        assert "No such photos" in empty.stderr


ODD_NAMES = [
    b"caf\xe9 latin1.jpg",
    b"\xff\xfe\x80.jpg",
    b"half \xed\xa0\x80 surrogate.jpg",
    b"new\nline.jpg",
    b"carriage\rreturn.jpg",
    b"crlf\r\n.jpg",
    b"com,ma;semi.jpg",
    b"quo\"te's.jpg",
    b'"quoted".jpg',
    b"tab\tbed.jpg",
    b"back\\slash\\n.jpg",
    b"-dash.jpg",
    b"=formula().jpg",
    b" blank ends .jpg",
    b"bell\x07escape\x1b[31m.jpg",
    b"\xef\xbb\xbfmark.jpg",
    "emoji 🦎👩‍🔬.jpg".encode(),
    "עברית \u202ertl\u202c.jpg".encode(),
    "日本語 e\u0301 é.jpg".encode(),
    "line\u2028separator\x85.jpg".encode(),
    b"null,NaN,None",
]


class TestOddNames:
    @pytest.fixture(autouse=True)
    def odd(self) -> None:
        tag = Tag("dog", "beagle", Rank.SUBCLASS, 0.9, 0.8, 0.2)
        with Store.open() as store, store.writing("test"):
            fill(store, "first", [stored(b"/odd/" + name, tag) for name in ODD_NAMES])

    @pytest.fixture
    def wanted(self) -> list[bytes]:
        return sorted(b"/odd/" + name for name in ODD_NAMES)

    def test_json_gives_the_very_bytes_back(self, run_phototag: RunCommand, wanted: list[bytes]) -> None:
        output = run_phototag("query", "--format", "json").stdout_bytes
        assert output.isascii()
        assert [os.fsencode(row["path"]) for row in json.loads(output)] == wanted

    def test_each_ndjson_line_is_a_photo(self, run_phototag: RunCommand, wanted: list[bytes]) -> None:
        lines = run_phototag("query", "--format", "ndjson").stdout_bytes.split(b"\n")
        assert lines.pop() == b""
        assert [os.fsencode(json.loads(line)["path"]) for line in lines] == wanted

    def test_csv_gives_the_very_bytes_back(self, run_phototag: RunCommand, wanted: list[bytes]) -> None:
        output = run_phototag("query", "--format", "csv").stdout_bytes
        rows = list(csv.DictReader(io.StringIO(output.decode("utf-8", "surrogateescape"), newline=""), strict=True))
        assert [os.fsencode(row["path"]) for row in rows] == wanted
        assert {row["subclass"] for row in rows} == {"beagle"}

    def test_print0_separates_paths_by_nul(self, run_phototag: RunCommand, wanted: list[bytes]) -> None:
        assert run_phototag("query", "--print0").stdout_bytes.split(b"\0") == [*wanted, b""]
        assert run_phototag("query", "--print0", "--format", "paths").stdout_bytes.split(b"\0") == [*wanted, b""]

    def test_xargs_gets_one_argument_for_each_photo(self, run_phototag: RunCommand) -> None:
        code = "import sys; print(len(sys.argv) - 1)"
        output = run_phototag("query", "--print0").stdout_bytes
        done = subprocess.run(
            ["xargs", "-0", sys.executable, "-c", code], input=output, capture_output=True, check=True
        )
        assert int(done.stdout) == len(ODD_NAMES)

    def test_paths_are_lines_of_raw_bytes(self, run_phototag: RunCommand, wanted: list[bytes]) -> None:
        assert run_phototag("query", "--format", "paths").stdout_bytes == b"".join(path + b"\n" for path in wanted)

    def test_a_table_lets_no_name_move_the_cursor(self, run_phototag: RunCommand) -> None:
        output = run_phototag("query").stdout_bytes.decode()
        assert len(output.splitlines()) == len(ODD_NAMES) + 1 or "\u2028" in output
        for mark in ("\x1b", "\x07", "\r", "\t", "\u202e"):
            assert mark not in output

    @pytest.mark.parametrize("form", list(OutputFormat))
    def test_a_real_process_in_a_plain_locale_writes_them_too(
        self, phototag_process: RunProcess, form: OutputFormat
    ) -> None:
        done = phototag_process(
            "query", "--format", form, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b"jpg") == len(ODD_NAMES) - 1


class TestTable:
    def row(self, path: str, **values: object) -> TaggedPhoto:
        fields: dict[str, object] = {
            "path": Path(path),
            "superclass": "bird",
            "subclass": "rooster",
            "rank": Rank.SUBCLASS,
            "superclass_score": 0.987,
            "subclass_score": 0.804,
            "novelty": 0.196,
            "source": Source.MODEL,
            "model": "first",
            "tagged_at": datetime.now(UTC),
            "state": PhotoState.OK,
            "error": None,
        }
        return TaggedPhoto(**{**fields, **values})  # type: ignore[arg-type]

    def test_it_reads_well(self) -> None:
        text = photo_table(
            [self.row("/p/a/one.jpg"), self.row("/p/b/two.jpg", subclass=None, rank=Rank.SUPERCLASS)], width=100
        )
        head, one, two = text.splitlines()
        assert head.split() == ["in", "/p", "superclass", "subclass", "novelty", "by"]
        assert one.split() == ["a/one.jpg", "bird", "99", "%", "rooster", "80", "%", "20", "%", "model"]
        assert two.split() == ["b/two.jpg", "bird", "99", "%", "superclass", "only", "20", "%", "model"]

    def test_long_paths_are_shortened_to_the_terminal(self) -> None:
        rows = [self.row(f"/p/{'very-long-folder-name/' * 8}{number}/photo-{number}.jpg") for number in range(3)]
        rows += [self.row(f"/p/{'漢字' * 40}.jpg")]
        for width in (80, 100, 160):
            lines = photo_table(rows, width=width).splitlines()
            assert max(map(display_width, lines)) <= width
            assert "photo-1.jpg" in lines[2]

    def test_columns_line_up(self) -> None:
        rows = [self.row("/p/a.jpg"), self.row("/p/漢字.jpg"), self.row("/p/e\u0301.jpg"), self.row("/p/b.jpg")]
        starts = {display_width(line[: line.index("bird")]) for line in photo_table(rows, width=100).splitlines()[1:]}
        assert len(starts) == 1

    def test_a_photo_that_cannot_be_read_says_so(self) -> None:
        nothing = dict.fromkeys(("superclass", "subclass", "rank", "superclass_score", "subclass_score", "novelty"))
        text = photo_table([self.row("/p/a.jpg", **nothing, source=None, state=PhotoState.UNREADABLE)], width=100)
        assert "(unreadable)" in text

    def test_a_row_holds_plain_values_only(self) -> None:
        assert json.loads(json.dumps(as_row(self.row("/p/a.jpg"))))["superclass_score"] == 0.987


class TestWrongUse:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--sort size", "'size' is not one of path, tagged"),
            ("--state lost", "'unreadable'"),
            ("--source cat", "'human'"),
            ("--min-score 1.5", "1.5"),
            ("--min-score high", "high"),
            ("--limit -1", "-1"),
            ("--since yesterday", "yesterday"),
            ("--format yaml", "'ndjson'"),
            ("--frobnicate", "--frobnicate"),
            ("stray", "stray"),
        ],
    )
    @pytest.mark.usefixtures("zoo")
    def test_it_is_named_and_nothing_is_printed(self, run_phototag: RunCommand, words: str, said: str) -> None:
        result = run_phototag("query", *words.split())
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr

    def test_no_database_yet_says_what_to_do(self, run_phototag: RunCommand, home: Path) -> None:
        result = run_phototag("query")
        assert result.exit_code == 2
        assert "no database yet" in result.stderr
        assert "phototag tag" in result.stderr
        assert not (home / "data").exists(), "a question makes no database"


class TestPipes:
    @pytest.mark.parametrize("form", ["ndjson", "csv", "paths", "json"])
    def test_a_reader_that_stops_early_is_no_error(self, form: str) -> None:
        tag = Tag("dog", "beagle", Rank.SUBCLASS, 0.9, 0.8, 0.2)
        with Store.open() as store, store.writing("test"):
            fill(store, "first", [stored(f"/many/{'x' * 150}/{number:05}.jpg", tag) for number in range(3000)])
        process = subprocess.Popen(
            [sys.executable, "-m", "phototag", "query", "--format", form],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        assert process.wait(30) == 0
        assert said == b""


@pytest.mark.usefixtures("zoo")
class TestNumbersAndDatesAtTheirEdges:
    def test_times_are_read_as_they_are_printed(self, run_phototag: RunCommand) -> None:
        rows = json.loads(run_phototag("query", "--format", "json").stdout)
        last = max(row["tagged_at"] for row in rows if row["tagged_at"])
        for text in (last, last.replace("+00:00", "Z")):
            assert int(run_phototag("query", "--since", text, "--count").stdout) >= 1

    @pytest.mark.parametrize("day", ["0001-01-01", "0001-01-01T00:00:00Z"])
    def test_the_first_day_finds_all_that_is_tagged(self, run_phototag: RunCommand, day: str) -> None:
        everything = [row for row in json.loads(run_phototag("query", "--format", "json").stdout) if row["tagged_at"]]
        assert int(run_phototag("query", "--since", day, "--count").stdout) == len(everything)

    @pytest.mark.parametrize("day", ["9999-12-31", "9999-12-31T23:59:59.999999-14:00"])
    def test_the_last_day_finds_nothing(self, run_phototag: RunCommand, day: str) -> None:
        assert run_phototag("query", "--since", day, "--count").stdout.strip() == "0"

    @pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "", "10000-01-01"])
    def test_what_is_no_date_is_said_to_be_none(self, run_phototag: RunCommand, day: str) -> None:
        result = run_phototag("query", "--since", day)
        assert result.exit_code == 2
        assert "is no date like 2026-05-31" in result.stderr

    def test_a_limit_beyond_all_numbers_is_none(self, run_phototag: RunCommand) -> None:
        rows = run_phototag("query", "--limit", "9" * 30, "--format", "ndjson").stdout.splitlines()
        assert len(rows) == int(run_phototag("query", "--count").stdout)

    @pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
    def test_what_is_no_number_is_refused(self, run_phototag: RunCommand, number: str) -> None:
        assert run_phototag("query", "--min-score", number).exit_code == 2
        assert run_phototag("watch", ".", "--rescan", number).exit_code == 2
