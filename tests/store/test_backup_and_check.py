"""Backups, the check and the counts of a database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from phototag.database import HEAD
from phototag.errors import StoreError
from phototag.records import PhotoState, Rank, Source
from phototag.store import Query, Store, backup_database, check_database, database_info, pending_photos
from tests.support.stored_photos import TAXONOMY, stored


def test_backup_of_a_database_in_use_is_whole(database: Path, tmp_path: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened.tags.save_batch(model_id=1, tagged=[stored("/p/d.jpg")])
        made = backup_database(database)
        opened.tags.save_batch(model_id=1, tagged=[stored("/p/e.jpg")])
    assert made.name.startswith(f"photos.db.{HEAD}.")
    assert made.name.endswith("Z.bak.db")
    with Store.open(made) as copy:
        assert copy.count(Query()) == 4
    assert not check_database(made).problems
    assert not list(tmp_path.glob("*.part*"))


def test_backup_replaces_nothing_unasked(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        backup_database(database, target)
    assert target.read_text() == "precious"
    assert backup_database(database, target, overwrite=True) == target
    assert check_database(target).photos == 3
    with pytest.raises(StoreError, match="the database itself"):
        backup_database(database, database, overwrite=True)
    with pytest.raises(StoreError, match="does not exist"):
        backup_database(database, tmp_path / "nowhere" / "copy.db")
    folder = tmp_path / "backups"
    folder.mkdir()
    assert backup_database(database, folder).parent == folder


def test_check_names_what_is_wrong(database: Path) -> None:
    report = check_database(database)
    assert (report.problems, report.photos, report.tags, report.pending) == ((), 3, 2, 0)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE tags SET superclass = 'dog' WHERE subclass = 'rooster'")
        connection.execute("DELETE FROM tags WHERE subclass = 'beagle'")
        connection.execute("UPDATE predictions SET model_id = 77 WHERE photo_id = 1")
        connection.commit()
    report = check_database(database)
    assert report.pending == 1
    assert len(report.problems) == 2
    assert "predictions points to a row of models that is not there" in report.problems[0]
    assert "'dog/rooster'" in report.problems[1]


def test_photos_that_wait_for_the_model_that_tagged_last_are_listed(database: Path) -> None:
    assert list(pending_photos(database)) == []
    with Store.open(database) as opened, opened.writing("tag"):
        other = opened.models.register(hash="ff" * 32, name="new", backbone="b", taxonomy=TAXONOMY, metrics={})
        opened.runs.begin("tag", model_id=other, device="cpu", runtime="torch")
        opened.tags.set_human(Path("/p/a.jpg"), superclass="bird")
    with Store.open(database) as opened:
        ok = [photo.path for photo in opened.query(Query(state=PhotoState.OK))]
    assert list(pending_photos(database)) == [path for path in ok if path.name != "a.jpg"] != []
    assert check_database(database).pending == len(ok) - 1


def test_info_counts(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened.tags.set_human(Path("/p/a.jpg"), superclass="bird")
        run_id = opened.runs.begin("tag", model_id=1, device="cpu", runtime="openvino")
        opened.runs.finish(run_id, {"tagged": 2}, "stopped by the user")
    found = database_info(database)
    assert found.location == str(database)
    assert found.photos == {PhotoState.OK: 2, PhotoState.UNREADABLE: 1}
    assert found.tags_by_rank == {Rank.SUBCLASS: 1, Rank.SUPERCLASS: 1}
    assert found.tags_by_source == {Source.HUMAN: 1, Source.MODEL: 1}
    assert (found.predictions, found.journal_mode, found.size_bytes) == (2, "wal", database.stat().st_size)
    assert [model.name for model in found.models] == ["sample"]
    assert found.last_run is not None
    assert (found.last_run.counts, found.last_run.error) == ({"tagged": 2}, "stopped by the user")
    assert found.last_run.finished_at is not None
