"""The command as a whole: help, exit codes, bad data, models and the database, all without a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from phototag import __version__
from phototag.cli.main import cli
from phototag.database import HEAD
from phototag.store import Store
from tests.support.commands import RunCommand, RunProcess
from tests.support.pictures import MakePicture

# The contract: other tools call exactly this.
CONTRACT = {
    "train": "--backbone --weights --no-pretrained --output --epochs --img-size --batch-size --lr --tune --val "
    "--val-fraction --balance --device --amp --no-amp --workers --seed --resume --overwrite",
    "evaluate": "--model --format",
    "tag": "--model --db --batch-size --device --runtime --force --dry-run --format",
    "query": "--superclass --subclass --novel --min-score --under --source --state --model --since --limit --sort "
    "--count --format --print0 --db",
    "audit truth": "--fail-under --format --db",
    "model list": "",
    "model show": "",
    "model use": "",
    "model remove": "",
    "db info": "--db",
    "db upgrade": "--db",
    "db backup": "--db",
    "db check": "--db",
    "serve": "--db --host --port --password-file --open --cache-size",
}


def refused(result: Result, *words: str) -> None:
    """Wrong use: exit code 2, nothing on stdout, one short message with these words."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr) < 3000


class TestHelp:
    @pytest.mark.parametrize("command", CONTRACT)
    def test_every_command_of_the_contract_has_its_options(self, run_phototag: RunCommand, command: str) -> None:
        result = run_phototag(*command.split(), "--help")
        assert result.exit_code == 0
        offered = set(re.findall(r"--[a-z0-9-]+", result.stdout))
        assert set(CONTRACT[command].split()) <= offered

    def test_every_command_says_in_a_sentence_what_it_does(self, run_phototag: RunCommand) -> None:
        text = run_phototag("--help").stdout
        for name, command in cli.commands.items():
            assert re.search(rf"^  {name} +[A-Z].*\.$", text, re.MULTILINE), f"{name} in:\n{text}"
            assert command.help

    def test_short_and_long_help_and_version(self, run_phototag: RunCommand) -> None:
        assert run_phototag("-h").stdout == run_phototag("--help").stdout
        assert run_phototag("--version").stdout.strip().endswith(__version__)

    def test_it_runs_as_a_module_and_as_a_command(self, phototag_process: RunProcess) -> None:
        done = phototag_process("--version")
        script = Path(sys.executable).with_name("phototag")
        other = subprocess.run([script, "--version"], capture_output=True, check=True)
        assert done.stdout == other.stdout != b""

    def test_no_command_at_all_shows_the_help(self, run_phototag: RunCommand) -> None:
        result = run_phototag()
        assert result.exit_code == 2
        assert "phototag tag" in result.output

    @pytest.mark.parametrize("words", ["frobnicate", "tag --frobnicate x", "db frobnicate", "model"])
    def test_what_does_not_exist_is_named(self, run_phototag: RunCommand, words: str) -> None:
        result = run_phototag(*words.split())
        assert result.exit_code == 2
        assert words == "model" or "frobnicate" in result.stderr

    @pytest.mark.parametrize("words", ["tag", "watch --once", "train", "evaluate", "audit truth", "query --under"])
    def test_an_empty_path_is_not_the_working_folder(self, run_phototag: RunCommand, words: str) -> None:
        result = run_phototag(*words.split(), "")
        assert result.exit_code == 2
        assert "it is empty; write . for the working folder" in result.stderr


@pytest.fixture
def csv_of(tmp_path: Path, make_picture: MakePicture) -> Callable[..., Path]:
    """A function that writes a CSV of labels, and a picture for each file it names but `missing`."""

    def write(*rows: str, header: str = "filepath,superclass,subclass", missing: str = "") -> Path:
        for seed, row in enumerate(rows):
            name = row.split(",")[0]
            if name and name != missing:
                make_picture(tmp_path / name, seed=seed)
        path = tmp_path / "labels.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


GOOD = ["a.jpg,bird,hawk", "b.jpg,bird,hawk", "c.jpg,dog,beagle", "d.jpg,dog,beagle"]


@pytest.fixture(params=["train", "evaluate", "audit truth"])
def read(request: pytest.FixtureRequest, run_phototag: RunCommand, tiny_model: Path) -> Callable[[Path], Result]:
    """Each command that reads labelled pictures."""
    options: dict[str, list[Any]] = {"evaluate": ["--model", tiny_model], "train": [], "audit truth": []}
    with Store.open():
        pass

    def run(data: Path) -> Result:
        return run_phototag(*request.param.split(), data, *options[request.param])

    return run


Read = Callable[[Path], Result]
WriteCsv = Callable[..., Path]


class TestLabelledData:
    """Every command that reads labels refuses the same things, naming file and line."""

    def test_a_missing_folder(self, read: Read, tmp_path: Path) -> None:
        refused(read(tmp_path / "nowhere"), f"{tmp_path / 'nowhere'}: no such folder or CSV file")

    def test_an_empty_folder(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        refused(read(tmp_path / "empty"), "no pictures found", "superclass/subclass")

    def test_pictures_at_the_wrong_depth(self, read: Read, tmp_path: Path, make_picture: MakePicture) -> None:
        make_picture(tmp_path / "data" / "bird" / "a.jpg")
        refused(read(tmp_path / "data"), "no pictures found", "superclass/subclass")

    def test_a_csv_without_the_columns(self, read: Read, csv_of: WriteCsv) -> None:
        refused(read(csv_of("a.jpg,bird", header="file,label")), "labels.csv, line 1: no column filepath, superclass")

    def test_an_empty_csv(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").touch()
        refused(read(tmp_path / "labels.csv"), "labels.csv, line 1: no column")

    def test_a_csv_with_a_header_only(self, read: Read, csv_of: WriteCsv) -> None:
        refused(read(csv_of()), "labels.csv: no pictures found")

    def test_a_missing_file_with_its_line(self, read: Read, csv_of: WriteCsv, tmp_path: Path) -> None:
        labels = csv_of(*GOOD, "e.jpg,dog,beagle", missing="e.jpg")
        refused(read(labels), f"labels.csv, line 6: no such file: {tmp_path / 'e.jpg'}")

    def test_many_missing_files_are_listed_up_to_a_bound(self, read: Read, tmp_path: Path) -> None:
        labels = tmp_path / "labels.csv"
        rows = [f"{number}.jpg,bird,hawk" for number in range(500)]
        labels.write_text("\n".join(["filepath,superclass,subclass", *rows]))
        refused(read(labels), "line 2:", "and 490 more")

    def test_a_subclass_under_two_superclasses(self, read: Read, csv_of: WriteCsv) -> None:
        labels = csv_of(*GOOD, "e.jpg,bird,beagle", "f.jpg,bird,beagle")
        refused(read(labels), "'beagle' lies under two superclasses", "'dog'", "line 4", "'bird'", "line 6")

    def test_a_label_that_cannot_be_a_name(self, read: Read, csv_of: WriteCsv) -> None:
        refused(read(csv_of(*GOOD, "e.jpg,a/b,c")), "line 6", "slash")

    def test_surplus_fields(self, read: Read, csv_of: WriteCsv) -> None:
        refused(read(csv_of(*GOOD, "e.jpg,dog,beagle,brown")), "line 6: more fields than the header has")

    def test_a_binary_file(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").write_bytes(os.urandom(3000))
        refused(read(tmp_path / "labels.csv"), "labels.csv")


class TestTraining:
    @pytest.fixture
    def train(self, run_phototag: RunCommand) -> Callable[..., Result]:
        def run(data: Path, *words: str) -> Result:
            quick = ("--backbone", "test_efficientnet", "--no-pretrained", "--img-size", "32", "--epochs", "1")
            return run_phototag("train", data, *quick, *words)

        return run

    def test_one_picture_of_each_class(self, train: Callable[..., Result], csv_of: WriteCsv) -> None:
        refused(train(csv_of(*GOOD[::2])), "leaves none to check with")

    def test_a_class_with_one_picture_is_learned_and_named(
        self, train: Callable[..., Result], csv_of: WriteCsv, caplog: pytest.LogCaptureFixture
    ) -> None:
        result = train(csv_of(*GOOD, "e.jpg,dog,boxer"))
        assert result.exit_code == 0, result.stderr
        assert "one series or picture each of dog/boxer" in caplog.text

    def test_only_one_class(self, train: Callable[..., Result], csv_of: WriteCsv) -> None:
        refused(train(csv_of(*GOOD[:2])), "only one class, bird/hawk")

    def test_an_empty_label(self, train: Callable[..., Result], csv_of: WriteCsv) -> None:
        refused(train(csv_of(*GOOD, "e.jpg,dog,")), "line 6: e.jpg has no subclass")

    def test_an_unknown_label_in_the_validation_data(
        self, train: Callable[..., Result], csv_of: WriteCsv, tmp_path: Path
    ) -> None:
        data = csv_of(*GOOD)
        val = tmp_path / "val.csv"
        val.write_text("filepath,superclass,subclass\na.jpg,bird,hawk\nb.jpg,bird,owl\n")
        refused(train(data, "--val", str(val)), "val.csv, line 3: the model knows no subclass 'owl'")

    def test_more_than_5_percent_unreadable(
        self, train: Callable[..., Result], tmp_path: Path, make_picture: MakePicture
    ) -> None:
        for start, label in ((0, "bird/hawk"), (100, "dog/beagle")):
            for number in range(9):
                make_picture(tmp_path / "data" / label / f"{number}.jpg", seed=start + number, size=(40, 40))
            for number in range(3):
                (tmp_path / "data" / label / f"bad{number}.jpg").write_bytes(b"x")
        refused(train(tmp_path / "data"), "cannot be read, more than 5 %", "bad", ".jpg")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--backbone efficientnet_lite9", "did you mean"),
            ("--epochs 0", "--epochs"),
            ("--lr -1", "--lr"),
            ("--val-fraction 1", "--val-fraction"),
            ("--val x --val-fraction 0.2", "exclude each other"),
            ("--from-keywords x", "either DATA or --from-keywords"),
            ("--map x", "goes with --from-keywords"),
            ("--tune most", "'heads'"),
            ("--output what?", "what?"),
            ("--weights nowhere.pth --backbone test_resnet", "nowhere.pth"),
            ("--device mps", "mps"),
        ],
    )
    def test_options_that_make_no_sense(
        self, run_phototag: RunCommand, csv_of: WriteCsv, words: str, said: str
    ) -> None:
        refused(run_phototag("train", csv_of(*GOOD), *words.split()), said)


class TestEvaluation:
    @pytest.fixture
    def data(self, tmp_path: Path, make_picture: MakePicture) -> Path:
        for start, label in ((0, "bird/hawk"), (100, "dog/beagle")):
            for number in range(11):
                make_picture(tmp_path / "data" / label / f"{number}.jpg", seed=start + number)
        return tmp_path / "data"

    def test_it_reports_all_metrics(self, run_phototag: RunCommand, data: Path, quick_model: Path) -> None:
        result = run_phototag("evaluate", data, "--model", quick_model, "--format", "json")
        assert result.exit_code == 0
        found = json.loads(result.stdout)
        assert found["photos"] == 22
        assert 0 <= found["superclass_accuracy"] <= 1
        assert found["superclass_confusion"]["labels"]
        table = run_phototag("evaluate", data, "--model", quick_model)
        assert table.exit_code == 0
        assert "22 photos" in table.stdout

    def test_one_unreadable_picture_in_23_is_left_out(
        self, run_phototag: RunCommand, data: Path, quick_model: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (data / "bird" / "hawk" / "bad.jpg").write_bytes(b"x")
        result = run_phototag("evaluate", data, "--model", quick_model, "--format", "json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["photos"] == 22
        assert "bad.jpg" in caplog.text

    def test_more_than_5_percent_unreadable_stop_it(
        self, run_phototag: RunCommand, data: Path, quick_model: Path
    ) -> None:
        for number in range(2):
            (data / "bird" / "hawk" / f"bad{number}.jpg").write_bytes(b"x")
        refused(
            run_phototag("evaluate", data, "--model", quick_model), "2 of 24 pictures cannot be read, more than 5 %"
        )

    def test_labels_that_the_model_does_not_know_are_listed(
        self, run_phototag: RunCommand, csv_of: WriteCsv, quick_model: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = [*GOOD, "e.jpg,bird,owl", "f.jpg,cat,tabby"]
        result = run_phototag("evaluate", csv_of(*rows), "--model", quick_model, "--format", "json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert (found["unknown_labels"], found["novel_photos"]) == (["cat", "owl", "tabby"], 2)
        assert "cat, owl, tabby" in caplog.text

    def test_a_label_that_the_model_spells_otherwise_is_refused(
        self, run_phototag: RunCommand, csv_of: WriteCsv, quick_model: Path
    ) -> None:
        result = run_phototag("evaluate", csv_of("a.jpg,Dog,beagle"), "--model", quick_model)
        refused(result, "line 2: superclass 'Dog' is spelt 'dog' in the model")


class TestModels:
    @pytest.fixture
    def installed(self, home: Path, tiny_model: Path, other_model: Path) -> Path:
        """The models folder with two models in it."""
        folder = home / "data" / "models"
        folder.mkdir(parents=True)
        shutil.copy(tiny_model, folder / "zoo.safetensors")
        shutil.copy(other_model, folder / "farm.safetensors")
        return folder

    @staticmethod
    def listed(run_phototag: RunCommand) -> dict[str, dict[str, Any]]:
        result = run_phototag("model", "list", "--format", "json")
        assert result.exit_code == 0
        return {row["name"]: row for row in json.loads(result.stdout)}

    @staticmethod
    def active(run_phototag: RunCommand) -> list[str]:
        return [name for name, row in TestModels.listed(run_phototag).items() if row["active"]]

    def test_at_first_there_is_the_built_in_one(self, run_phototag: RunCommand) -> None:
        rows = self.listed(run_phototag)
        assert list(rows) == ["builtin"]
        assert (rows["builtin"]["active"], rows["builtin"]["subclasses"], rows["builtin"]["path"]) == (True, 1000, None)
        assert run_phototag("model", "list").stdout.startswith("* builtin")

    def test_all_are_listed_with_what_they_know(self, run_phototag: RunCommand, installed: Path) -> None:
        rows = self.listed(run_phototag)
        assert list(rows) == ["builtin", "farm", "zoo"]
        assert (rows["zoo"]["superclasses"], rows["zoo"]["subclasses"]) == (3, 5)
        assert rows["zoo"]["path"] == str(installed / "zoo.safetensors")
        assert "subclass 90.0 % on validation" in run_phototag("model", "list").stdout

    def test_one_is_chosen_and_used_from_then_on(
        self, run_phototag: RunCommand, installed: Path, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        assert run_phototag("model", "use", "zoo").exit_code == 0
        assert self.active(run_phototag) == ["zoo"]
        make_picture(tmp_path / "photos" / "a.jpg")
        assert "model zoo" in run_phototag("tag", tmp_path / "photos", "--runtime", "torch").stderr
        run_phototag("model", "use", "builtin")
        assert self.active(run_phototag) == ["builtin"]

    def test_a_file_anywhere_can_be_chosen(self, run_phototag: RunCommand, tiny_model: Path) -> None:
        assert run_phototag("model", "use", tiny_model).exit_code == 0
        assert self.active(run_phototag) == ["tiny"]
        assert "tiny" in run_phototag("model", "show").stdout

    def test_show_tells_what_it_is(self, run_phototag: RunCommand, installed: Path) -> None:
        text = run_phototag("model", "show", "zoo").stdout
        for words in ("test_efficientnet", "32 px", "superclass 0.4,", "90.0 %", "bird", "2: hawk, rooster"):
            assert words in text
        value = json.loads(run_phototag("model", "show", "zoo", "--format", "json").stdout)
        assert value["taxonomy"]["subclasses"] == ["hawk", "rooster", "beagle", "boxer", "gecko"]
        assert len(value["hash"]) == 64
        assert run_phototag("model", "show").stdout.split()[:2] == ["model", "builtin"]

    def test_one_is_removed_after_a_question(self, run_phototag: RunCommand, installed: Path) -> None:
        result = run_phototag("model", "remove", "zoo", input="n\n")
        assert result.exit_code == 1
        assert (installed / "zoo.safetensors").exists()
        assert run_phototag("model", "remove", "zoo", input="y\n").exit_code == 0
        assert not (installed / "zoo.safetensors").exists()
        assert run_phototag("model", "remove", "farm", "--yes").exit_code == 0
        assert list(self.listed(run_phototag)) == ["builtin"]

    def test_the_built_in_one_is_active_again_when_the_active_one_is_removed(
        self, run_phototag: RunCommand, installed: Path
    ) -> None:
        run_phototag("model", "use", "zoo")
        run_phototag("model", "remove", "zoo", "--yes")
        assert self.active(run_phototag) == ["builtin"]

    @pytest.mark.parametrize("command", ["show", "use", "remove"])
    def test_an_unknown_one_is_named(self, run_phototag: RunCommand, installed: Path, command: str) -> None:
        refused(run_phototag("model", command, "nonesuch"), "nonesuch", "no such model")

    def test_the_built_in_one_and_files_elsewhere_are_not_removed(
        self, run_phototag: RunCommand, tiny_model: Path, tmp_path: Path
    ) -> None:
        refused(run_phototag("model", "remove", "builtin"), "built-in")
        mine = shutil.copy(tiny_model, tmp_path / "mine.safetensors")
        refused(run_phototag("model", "remove", mine), "not in the models folder")
        assert Path(mine).exists()

    def test_a_damaged_one_is_listed_as_such_and_can_be_removed(
        self, run_phototag: RunCommand, installed: Path
    ) -> None:
        file = installed / "zoo.safetensors"
        file.write_bytes(file.read_bytes()[:-1000])
        result = run_phototag("model", "list")
        assert result.exit_code == 0
        assert "farm" in result.stdout and "zoo" not in result.stdout
        assert "zoo.safetensors: the file is cut short" in result.stderr
        refused(run_phototag("model", "show", "zoo"), "cut short")
        refused(run_phototag("model", "use", "zoo"), "cut short")
        assert run_phototag("model", "remove", "zoo", "--yes").exit_code == 0
        assert not file.exists()

    def test_an_active_one_that_is_gone_is_said_and_another_can_be_chosen(
        self, run_phototag: RunCommand, installed: Path, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        run_phototag("model", "use", "zoo")
        (installed / "zoo.safetensors").unlink()
        make_picture(tmp_path / "a.jpg")
        refused(run_phototag("tag", tmp_path / "a.jpg"), "zoo.safetensors: no such model", "phototag model list")
        result = run_phototag("model", "list")
        assert result.exit_code == 0
        assert "farm" in result.stdout and "builtin" in result.stdout
        assert "zoo" in result.stderr and "phototag model use" in result.stderr
        assert run_phototag("model", "use", "farm").exit_code == 0


class TestDatabase:
    @pytest.fixture
    def filled(self, run_phototag: RunCommand, quick_model: Path, tmp_path: Path, make_picture: MakePicture) -> Path:
        for number in range(4):
            make_picture(tmp_path / "photos" / f"{number}.jpg")
        (tmp_path / "photos" / "bad.jpg").write_bytes(b"x")
        assert run_phototag("tag", tmp_path / "photos", "--model", quick_model).exit_code == 1
        return tmp_path / "photos"

    def test_info_says_what_it_holds(self, run_phototag: RunCommand, filled: Path, home: Path) -> None:
        text = run_phototag("db", "info").stdout
        for words in (str(home / "data" / "phototag.db"), HEAD, "4 ok", "1 unreadable", "4 model", "tiny", "tag, "):
            assert words in text
        value = json.loads(run_phototag("db", "info", "--format", "json").stdout)
        assert value["photos"] == {"ok": 4, "unreadable": 1}
        assert value["predictions"] == 4
        assert [model["name"] for model in value["models"]] == ["tiny"]

    def test_check_finds_a_sound_one_sound(self, run_phototag: RunCommand, filled: Path) -> None:
        result = run_phototag("db", "check")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "5 photos, 4 tags" in result.stderr and "sound" in result.stderr

    def test_check_finds_a_tag_that_makes_no_sense(self, run_phototag: RunCommand, filled: Path, home: Path) -> None:
        with closing(sqlite3.connect(home / "data" / "phototag.db")) as connection, connection:
            connection.execute("UPDATE tags SET superclass = 'dog', subclass = 'hawk', rank = 'subclass'")
        result = run_phototag("db", "check")
        assert result.exit_code == 1
        assert "'dog/hawk', which model 'tiny' does not know" in result.stdout
        assert "1 problems" in result.stderr

    def test_check_finds_a_damaged_file_damaged(self, run_phototag: RunCommand, filled: Path, home: Path) -> None:
        file = home / "data" / "phototag.db"
        content = bytearray(file.read_bytes())
        content[4096 : len(content) // 2] = os.urandom(len(content) // 2 - 4096)
        file.write_bytes(content)
        result = run_phototag("db", "check")
        assert result.exit_code in (1, 2)
        assert result.output

    def test_a_backup_holds_everything_and_is_not_overwritten_by_chance(
        self, run_phototag: RunCommand, filled: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "copy.db"
        assert run_phototag("db", "backup", target).stdout == f"{target}\n"
        assert run_phototag("query", "--db", target, "--count").stdout == "5\n"
        refused(run_phototag("db", "backup", target), "exists already", "--overwrite")
        assert run_phototag("db", "backup", target, "--overwrite").exit_code == 0
        refused(run_phototag("db", "backup", tmp_path / "none" / "copy.db"), "does not exist")

    def test_a_backup_without_a_name_lies_beside_it(self, run_phototag: RunCommand, filled: Path, home: Path) -> None:
        made = Path(run_phototag("db", "backup").stdout.strip())
        assert made.parent == home / "data"
        assert made.exists()

    def test_upgrade_of_a_current_one_does_nothing(self, run_phototag: RunCommand, filled: Path, home: Path) -> None:
        before = sorted((home / "data").iterdir())
        result = run_phototag("db", "upgrade")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "up to date" in result.stderr
        assert sorted((home / "data").iterdir()) == before

    def test_one_of_a_newer_phototag_is_refused_everywhere_and_left_alone(
        self, run_phototag: RunCommand, filled: Path, home: Path, quick_model: Path
    ) -> None:
        with closing(sqlite3.connect(home / "data" / "phototag.db")) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        for words in (["query"], ["db", "info"], ["db", "upgrade"], ["tag", str(filled), "--model", str(quick_model)]):
            refused(run_phototag(*words), "newer phototag", "9999")

    @pytest.mark.parametrize("command", ["query", "db info", "db upgrade", "db backup", "db check", "audit truth ."])
    def test_without_one_nothing_is_made(
        self, run_phototag: RunCommand, command: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        refused(run_phototag(*command.split()), "no database yet", "phototag tag")
        refused(run_phototag(*command.split(), "--db", "no/such.db"), "does not exist")
        (tmp_path / "text.db").write_text("dear diary")
        refused(run_phototag(*command.split(), "--db", "text.db"), "text.db", "not a database")
        refused(run_phototag(*command.split(), "--db", "."), "is a folder")
        refused(run_phototag(*command.split(), "--db", "postgres://"), "")
        assert {path.name for path in tmp_path.iterdir()} <= {"text.db", "text.db.lock"}
        assert (tmp_path / "text.db").read_text() == "dear diary"
        assert not home.joinpath("data").exists() or not list(home.joinpath("data").glob("*.db"))

    def test_a_password_is_never_shown(self, run_phototag: RunCommand) -> None:
        for url in (
            "postgresql+nodriver://me:secret@host/x",
            "postgresql://me:secret@localhost:1/x",
            "bad://me:secret@",
        ):
            result = run_phototag("query", "--db", url)
            assert result.exit_code == 2
            assert "secret" not in result.output
