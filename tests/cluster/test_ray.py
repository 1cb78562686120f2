"""Tagging on Ray: the rows of one machine, whatever dies in between."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from phototag.choices import Precision
from phototag.cluster.ray_executor import RayExecutor
from phototag.cluster.ray_session import RaySession
from phototag.cluster.worker_setup import WorkerSetup, model_here
from phototag.errors import ModelError, RuntimeUnavailableError, UsageError
from phototag.model import Model, file_hash, open_model
from phototag.store import Store
from phototag.tagging.tagger import Tagger
from tests.cluster.light_workers import ACCIDENT, POISON, LightExecutor
from tests.support.commands import RunCommand
from tests.support.light_tagger import light_tagger
from tests.support.pictures import MakePicture
from tests.support.tagged_photos import photos_by_name


def rows(db: str | Path) -> dict[str, tuple[Any, ...]]:
    """All that is said of photos, but for when, and the last digits of scores."""
    return {
        name: (
            *(row.state, row.error, row.superclass, row.subclass, row.rank, row.reason, row.taken_at),
            *(
                round(score, 3)
                for score in (row.superclass_score, row.subclass_score, row.novelty)
                if score is not None
            ),
        )
        for name, row in photos_by_name(db).items()
    }


@pytest.mark.slow
class TestOnRay:
    def test_the_tags_are_those_of_one_machine(
        self, ray_session: RaySession, tiny_model: Path, quick_model: Path, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        for number in range(12):
            make_picture(tmp_path / "photos" / f"{number}.jpg")
        (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
        (tmp_path / "photos" / os.fsdecode(b"odd\xff.png")).write_bytes((tmp_path / "photos" / "1.jpg").read_bytes())
        tagger = Tagger(tiny_model, precision=Precision.F32)
        with Store.open(tmp_path / "plain.db") as store:
            plain = tagger.tag([tmp_path / "photos"], store)
        with (
            Store.open(tmp_path / "ray.db") as store,
            RayExecutor(WorkerSetup(tagger.model), ray_session) as executor,
        ):
            report = tagger.tag([tmp_path / "photos"], store, executor=executor)
            again = tagger.tag([tmp_path / "photos"], store, executor=executor, force=True, dry_run=True)
        assert (
            (report.tagged, report.failed, report.photos) == (plain.tagged, plain.failed, plain.photos) == (13, 1, 14)
        )
        assert again.inferred == 12  # one content has two names
        assert rows(tmp_path / "ray.db") == rows(tmp_path / "plain.db")

    def test_a_photo_that_kills_workers_is_given_up_and_an_accident_costs_nothing(
        self, ray_session: RaySession, light_model: Path, tmp_path: Path, make_picture: MakePicture
    ) -> None:
        folder = tmp_path / "photos"
        for name in (*map(str, range(10)), ACCIDENT):
            make_picture(folder / f"{name}.jpg")
        with Store.open(tmp_path / "plain.db") as store:
            light_tagger(light_model).tag([folder], store)
        make_picture(folder / f"{POISON}.jpg")
        tagger = light_tagger(light_model)
        with (
            Store.open(tmp_path / "ray.db") as store,
            LightExecutor(WorkerSetup(tagger.model), ray_session) as executor,
        ):
            report = tagger.tag([folder], store, executor=executor)
            assert (report.tagged, report.failed) == (11, 1)
            # Copies are decided from the scores that the driver looks up, and what killed is left alone.
            shutil.copy(folder / "1.jpg", folder / "copy.jpg")
            second = tagger.tag([folder], store, executor=executor)
        assert (second.tagged, second.inferred, second.given_up) == (1, 0, 1)
        found = rows(tmp_path / "ray.db")
        assert found.pop("copy.jpg") == found["1.jpg"]
        state, error, *_ = found.pop(f"{POISON}.jpg")
        assert (state, str(error).partition(",")[0]) == ("unreadable", "the process that read it died")
        assert found == rows(tmp_path / "plain.db")


def test_without_ray_the_message_names_the_extra(
    run_phototag: RunCommand, tiny_model: Path, tmp_path: Path, make_picture: MakePicture, monkeypatch: Any
) -> None:
    make_picture(tmp_path / "photos" / "1.jpg")
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run_phototag("tag", tmp_path / "photos", "--model", tiny_model, "--cluster", "ray")
    assert done.exit_code == 2
    assert "pip install 'phototag[ray]'" in done.stderr


def test_a_cluster_is_not_joined_without_a_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeUnavailableError, match="RAY_AUTH_TOKEN"):
        _ = RaySession("192.0.2.1:6379").ray


def test_int8_which_each_machine_would_make_for_itself_is_refused(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="int8"):
        WorkerSetup(open_model(tiny_model), precision=Precision.INT8).fixed()


def of(model: Model) -> tuple[str, Path | None, str]:
    return model.name, model.path, model.hash


class TestModelOnAnotherMachine:
    def test_it_is_fetched_once_and_known_by_its_hash(self, tiny_model: Path, home: Path, tmp_path: Path) -> None:
        file = shutil.copy(tiny_model, tmp_path / "model.safetensors")
        model = open_model(file)
        assert model_here(*of(model)).path == file == model.path
        assert model.hash == file_hash(tiny_model)
        file.unlink()
        with pytest.raises(ModelError, match="not on this machine"):
            model_here(*of(model))
        here = model_here(*of(model), tiny_model.read_bytes)
        assert here.path is not None
        assert here.path.is_relative_to(home)
        assert model_here(*of(model)).path == here.path

    def test_another_file_in_its_place_is_not_taken(self, tiny_model: Path, other_model: Path, tmp_path: Path) -> None:
        file = shutil.copy(tiny_model, tmp_path / "model.safetensors")
        model = open_model(file)
        _ = model.hash
        shutil.copy(other_model, file)
        with pytest.raises(ModelError, match="another model lies there"):
            model_here(*of(model))
        with pytest.raises(ModelError, match="replaced"):
            model_here(*of(model), other_model.read_bytes)
