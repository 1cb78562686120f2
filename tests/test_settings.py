"""Where a setting comes from: flag, then environment, then configuration file, then default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phototag import settings
from phototag.cli.main import _defaults_of, cli
from phototag.errors import UsageError
from phototag.store import Store
from phototag.tagging.tagger import Tagger
from tests.support.commands import RunCommand, RunProcess


@pytest.fixture
def config(home: Path) -> Path:
    """The place of the configuration file, its folder made."""
    path = home / "config" / "config.toml"
    path.parent.mkdir()
    return path


class TestFolders:
    def test_everything_lies_below_the_home_that_is_set(self, home: Path) -> None:
        assert settings.data_folder() == home / "data"
        assert settings.models_folder() == home / "data" / "models"
        assert settings.default_database() == home / "data" / "phototag.db"
        assert settings.cache_folder() == home / "cache"
        assert settings.config_file() == home / "config" / "config.toml"

    def test_a_home_may_be_relative_or_begin_with_a_tilde(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PHOTOTAG_HOME", "here")
        assert settings.data_folder() == tmp_path / "here" / "data"
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("PHOTOTAG_HOME", "~/there")
        assert settings.data_folder() == tmp_path / "there" / "data"

    def test_without_one_the_platforms_folders_are_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("PHOTOTAG_HOME")
        for name, folder in (("XDG_DATA_HOME", "data"), ("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config")):
            monkeypatch.setenv(name, str(tmp_path / folder))
        monkeypatch.setenv("HOME", str(tmp_path))
        folders = (settings.data_folder(), settings.cache_folder(), settings.config_file().parent)
        assert folders[0] != folders[1], "a cache is cleared without a thought, data are not"
        for folder in folders:
            assert folder.is_absolute()
            assert folder.is_relative_to(tmp_path)
            assert "phototag" in folder.parts
        assert not any(folder.exists() for folder in folders), "asking makes no folder"


class TestPrecedence:
    """Seen by the batch size that reaches the tagger, and by what `query` prints of an empty database."""

    @pytest.fixture(autouse=True)
    def database(self) -> None:
        with Store.open():
            pass

    @pytest.fixture
    def batch_size(self, run_phototag: RunCommand, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
        """The batch size that reaches the tagger."""

        def see(*words: str) -> int:
            seen: list[int] = []

            class StopError(UsageError):
                pass

            def look(self: Tagger, *_: object, batch_size: int, **__: object) -> None:
                seen.append(batch_size)
                raise StopError("seen")

            monkeypatch.setattr(Tagger, "__init__", look)
            assert run_phototag("tag", ".", *words).exit_code == 2
            return seen[0]

        return see

    def test_flag_beats_environment_beats_table_beats_top_level_beats_default(
        self, batch_size: Callable[..., int], config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert batch_size() is None, "suited to the device"
        config.write_text("batch-size = 5\n")
        assert batch_size() == 5
        config.write_text("batch-size = 5\n[tag]\nbatch-size = 6\n[evaluate]\nbatch-size = 9\n")
        assert batch_size() == 6
        monkeypatch.setenv("PHOTOTAG_BATCH_SIZE", "7")
        assert batch_size() == 7
        assert batch_size("--batch-size", "8") == 8

    def test_keys_may_be_written_with_underscores(self, batch_size: Callable[..., int], config: Path) -> None:
        config.write_text("batch_size = 5\n")
        assert batch_size() == 5

    def test_keys_are_the_names_of_the_flags(self, run_phototag: RunCommand, config: Path) -> None:
        config.write_text('[query]\nformat = "json"\n')
        assert run_phototag("query").stdout == "[]\n"
        assert run_phototag("query", "--format", "csv").stdout.startswith("path,")
        config.write_text('[query]\ncount = true\nsuperclass = "bird"\nmin-score = 0.5\nsince = 2026-05-31\n')
        assert run_phototag("query").stdout == "0\n"

    @pytest.mark.parametrize("where", ["config", "environment", "flag"])
    def test_the_database_can_be_set_everywhere(
        self, run_phototag: RunCommand, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
    ) -> None:
        """`db` is also the name of a command group, `model` too."""
        words: list[str] = []
        config.write_text(f'db = "{tmp_path}/config.db"\nmodel = "nonesuch"\n')
        if where in ("environment", "flag"):
            monkeypatch.setenv("PHOTOTAG_DB", f"{tmp_path}/environment.db")
        if where == "flag":
            words = ["--db", f"{tmp_path}/flag.db"]
        for command in (["query", "--count"], ["db", "info"], ["db", "check"]):
            result = run_phototag(*command, *words)
            assert result.exit_code == 2
            assert f"no database yet at {tmp_path}/{where}.db" in result.stderr

    def test_the_model_can_be_set_in_the_file_and_the_environment(
        self, run_phototag: RunCommand, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        config.write_text('model = "from-file"\n')
        assert "from-file" in run_phototag("tag", tmp_path).stderr
        monkeypatch.setenv("PHOTOTAG_MODEL", "from-environment")
        assert "from-environment" in run_phototag("tag", tmp_path).stderr

    def test_a_table_holds_for_all_below_a_group_and_a_table_in_it_for_one(
        self, run_phototag: RunCommand, config: Path, tmp_path: Path
    ) -> None:
        config.write_text(f'[db]\ndb = "{tmp_path}/all.db"\n[db.info]\ndb = "{tmp_path}/info.db"\n')
        assert f"{tmp_path}/all.db" in run_phototag("db", "check").stderr
        assert f"{tmp_path}/info.db" in run_phototag("db", "info").stderr

    def test_the_file_may_lie_elsewhere(
        self, run_phototag: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "mine.toml").write_text('[query]\nformat = "json"\n')
        monkeypatch.setenv("PHOTOTAG_CONFIG", str(tmp_path / "mine.toml"))
        assert run_phototag("query").stdout == "[]\n"

    def test_gates_can_be_listed(self, run_phototag: RunCommand, config: Path, tmp_path: Path) -> None:
        config.write_text('[audit.truth]\nfail-under = ["superclass_accuracy=0.9", "no_metric=1"]\n')
        assert "no_metric" in run_phototag("audit", "truth", tmp_path).stderr
        config.write_text('[audit.truth]\nfail-under = "no_metric=1"\n')
        assert "'no_metric'" in run_phototag("audit", "truth", tmp_path).stderr


class TestBadFiles:
    def test_no_file_is_no_error(self, run_phototag: RunCommand) -> None:
        assert settings.load_config() == {}
        assert run_phototag("model", "list").exit_code == 0

    @pytest.mark.parametrize("text", ["batch-size = ", "[tag\n", "a = 1\na = 2\n", "\x00", "just words"])
    def test_a_broken_file_is_named_with_the_line(self, run_phototag: RunCommand, config: Path, text: str) -> None:
        config.write_text(text)
        result = run_phototag("query")
        assert result.exit_code == 2
        assert f"{config}: not valid TOML" in result.stderr
        assert "line 1" in result.stderr or "end of document" in result.stderr or "line 2" in result.stderr

    def test_a_file_that_is_not_utf8_is_named(self, run_phototag: RunCommand, config: Path) -> None:
        config.write_bytes(b'model = "caf\xe9"\n')
        result = run_phototag("query")
        assert result.exit_code == 2
        assert str(config) in result.stderr

    def test_a_folder_in_its_place_is_named(self, run_phototag: RunCommand, config: Path) -> None:
        config.mkdir()
        result = run_phototag("query")
        assert result.exit_code == 2
        assert f"{config}: cannot be read" in result.stderr

    def test_a_named_file_that_is_not_there_is_an_error(
        self, run_phototag: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PHOTOTAG_CONFIG", str(tmp_path / "none.toml"))
        result = run_phototag("query")
        assert result.exit_code == 2
        assert "none.toml: no such file; PHOTOTAG_CONFIG names it" in result.stderr

    def test_help_is_given_whatever_the_file_holds(self, run_phototag: RunCommand, config: Path) -> None:
        config.write_text("[tag\n")
        assert run_phototag("--help").exit_code == 0

    @pytest.mark.parametrize(
        "line",
        [
            "limit = 'many'",
            "limit = -1",
            "limit = [1]",
            "limit = true",
            "limit = 1.5",
            "format = 'yaml'",
            "count = 'perhaps'",
        ],
    )
    def test_a_value_that_makes_no_sense_is_named_by_its_flag(
        self, run_phototag: RunCommand, config: Path, line: str
    ) -> None:
        with Store.open():
            pass
        config.write_text(f"[query]\n{line}\n")
        result = run_phototag("query")
        assert result.exit_code == 2
        assert f"--{line.split()[0]}" in result.stderr

    @pytest.mark.parametrize(
        "text", ["tag = 5", "[query.format]\nx = 1", "[[query]]\nlimit = 1", "query = ['x']", "nonsense = 1"]
    )
    def test_keys_that_mean_nothing_here_break_nothing(self, run_phototag: RunCommand, config: Path, text: str) -> None:
        with Store.open():
            pass
        config.write_text(text + "\n")
        assert run_phototag("query", "--format", "json").stdout == "[]\n"


def test_an_environment_variable_that_makes_no_sense_is_named(
    run_phototag: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHOTOTAG_BATCH_SIZE", "lots")
    result = run_phototag("tag", tmp_path)
    assert result.exit_code == 2
    assert "lots" in result.stderr


def test_a_home_that_is_no_folder_has_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHOTOTAG_CONFIG", raising=False)
    (tmp_path / "home").touch()
    monkeypatch.setenv("PHOTOTAG_HOME", str(tmp_path / "home"))
    assert settings.load_config() == {}


def test_misspelt_key_in_the_configuration_file_is_named(config: Path, phototag_process: RunProcess) -> None:
    config.write_text("batch-sise = 16\n[tag]\nforse = true\nbatch-size = 16\n[tga]\nforce = true\n")
    words = phototag_process("model", "list").stderr.decode()
    assert all(f"nothing is called {key};" in words for key in ("batch-sise", "tag.forse", "tga"))
    assert "tag.batch-size" not in words


def test_variable_of_one_command_comes_before_that_of_all(
    run_phototag: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHOTOTAG_MODEL", "of-all")
    assert "of-all" in run_phototag("tag", tmp_path).stderr
    monkeypatch.setenv("PHOTOTAG_TAG_MODEL", "of-tag")
    assert "of-tag" in run_phototag("tag", tmp_path).stderr
    assert "of-all" in run_phototag("evaluate", tmp_path).stderr


def test_model_for_all_commands_is_no_filter_of_queries() -> None:
    defaults = _defaults_of(cli, {"model": "other", "query": {"limit": 3}})
    assert defaults["tag"]["model_name"] == "other"
    assert defaults["query"] == {"limit": "3"}
    assert _defaults_of(cli, {"query": {"model": "m"}})["query"] == {"model_name": "m"}


class TestPathsThatLeadNowhere:
    @pytest.mark.parametrize("variable", ["PHOTOTAG_HOME", "PHOTOTAG_CONFIG"])
    def test_an_unknown_user_is_told(self, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        monkeypatch.setenv(variable, "~no_such_user_x/p")
        with pytest.raises(UsageError, match="no such user"):
            settings.config_file()

    def test_an_unknown_user_in_the_name_of_a_database_is_told(self, run_phototag: RunCommand) -> None:
        result = run_phototag("query", "--db", "~no_such_user_x/p.db")
        assert (result.exit_code, "no such user" in result.stderr) == (2, True)

    def test_without_any_home_nothing_is_made_in_the_working_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PHOTOTAG_HOME")
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user without an entry
        with pytest.raises(UsageError, match="set HOME, or PHOTOTAG_HOME"):
            settings.data_folder()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_configuration_file_may_say_its_encoding(config: Path, encoding: str) -> None:
    config.write_bytes('db = "é.db"\r\n'.encode(encoding))
    assert settings.load_config() == {"db": "é.db"}
