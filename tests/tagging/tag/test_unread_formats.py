"""Photos of formats whose extra is not installed: noted, said, no failure, and tagged once it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phototag.errors import DecodeError
from phototag.imaging import formats
from phototag.imaging.reading import read_bytes
from phototag.records import FailureKind, PhotoState
from tests.support.commands import RunCommand
from tests.support.pictures import MakePicture, encoded, scene
from tests.support.raw_files import dng

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
ADVICE = "1 HEIC and 2 RAW files left out; pip install 'phototag[heic,raw]'"


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(formats, "_is_there", lambda module: module not in ("pillow_heif", "rawpy"))
    return monkeypatch


@pytest.fixture
def mixed(library: Path) -> Path:
    photo = scene((400, 300))
    (library / "a.HEIC").write_bytes(HEIC)
    (library / "b.dng").write_bytes(dng(photo, preview=encoded(photo, "JPEG")))
    (library / "c.cr2").write_bytes(b"")
    return library


def rows(run_phototag: RunCommand, *words: str) -> dict[str, dict[str, str]]:
    out = run_phototag("query", "--format", "json", *words).stdout
    return {Path(row["path"]).name: row for row in json.loads(out)}


def test_they_are_noted_and_said_every_time_and_no_failure(
    run_phototag: RunCommand, mixed: Path, quick_model: Path, without_extras: pytest.MonkeyPatch
) -> None:
    for command in (("tag",), ("tag",), ("tag", "--force"), ("tag", "--dry-run"), ("watch", "--once")):
        result = run_phototag(*command, mixed, "--model", quick_model)
        assert result.exit_code == 0, result.stderr
        assert result.stderr.count(ADVICE) == 1 and "failed" not in result.stderr, result.stderr
    found = rows(run_phototag, "--state", "unsupported")
    assert set(found) == {"a.HEIC", "b.dng", "c.cr2"}
    assert found["a.HEIC"]["state"] == PhotoState.UNSUPPORTED
    assert "pip install 'phototag[heic]'" in found["a.HEIC"]["error"]
    assert json.loads(run_phototag("status", "--format", "json").stdout)["photos"]["unsupported"] == 3


def test_the_next_run_after_the_installation_tags_them(
    run_phototag: RunCommand, mixed: Path, quick_model: Path, without_extras: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rawpy")
    (mixed / "c.cr2").unlink()
    run_phototag("tag", mixed, "--model", quick_model)
    without_extras.setattr(formats, "_is_there", lambda module: True)
    result = run_phototag("tag", mixed, "--model", quick_model)
    assert "1 tagged, 8 unchanged" in result.stderr and "left out" not in result.stderr
    assert result.exit_code == 1  # the HEIC file is none
    assert rows(run_phototag, "--state", "ok").keys() >= {"b.dng"}
    assert rows(run_phototag, "--state", "unreadable").keys() == {"a.HEIC"}


def test_missing_ones_that_come_back_are_what_they_were(
    run_phototag: RunCommand, mixed: Path, quick_model: Path, without_extras: pytest.MonkeyPatch
) -> None:
    run_phototag("tag", mixed, "--model", quick_model)
    (mixed / "a.HEIC").rename(mixed.parent / "away")
    run_phototag("tag", mixed, "--model", quick_model)
    assert rows(run_phototag, "--state", "missing").keys() == {"a.HEIC"}
    (mixed.parent / "away").rename(mixed / "a.HEIC")
    run_phototag("tag", mixed, "--model", quick_model)
    assert "a.HEIC" in rows(run_phototag, "--state", "unsupported")


def test_content_counts_more_than_the_name(
    run_phototag: RunCommand,
    library: Path,
    make_picture: MakePicture,
    quick_model: Path,
    without_extras: pytest.MonkeyPatch,
) -> None:
    make_picture(library / "x.jpg").rename(library / "x.heic")
    (library / "y.jpg").write_bytes(dng(scene((400, 300))))
    result = run_phototag("tag", library, "--model", quick_model)
    assert "9 tagged" in result.stderr and "1 RAW file left out; pip install 'phototag[raw]'" in result.stderr
    with pytest.raises(DecodeError) as caught:
        (library / "z.nef").write_bytes(b"")
        read_bytes(library / "z.nef")
    assert caught.value.kind == FailureKind.NEEDS_RAW
