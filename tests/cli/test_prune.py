"""`phototag db prune`: what goes, and what stays and why."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from phototag.store import Design, NewSample, Review, SampledPhoto, Store, Stratum
from tests.support.commands import RunCommand
from tests.support.stored_photos import ROOSTER, register, stored

NAMES = ("there", "gone", "recent", "reviewed", "undone", "sampled", "back")


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    """The default database: all but the first photo are missing, but one for a month only."""
    (tmp_path / "back.jpg").touch()
    with Store.open() as store, store.writing("test"):
        tagged = [stored(str(tmp_path / f"{name}.jpg")) for name in NAMES]
        store.tags.save_batch(model_id=register(store), tagged=tagged)
        rows = {row.path.stem: row for row in store.photos.at([item.photo.path for item in tagged])}
        for name in ("reviewed", "undone"):  # the second one is taken back
            review = store.reviews.save(Review(photo_id=rows[name].id, superclass="dog"))
        store.reviews.undo(review)
        content = rows["sampled"].content_hash
        assert content is not None
        item = SampledPhoto(
            photo_id=rows["sampled"].id,
            stratum="all",
            content_hash=content,
            tag=ROOSTER,
            model_id=1,
            inclusion_probability=1.0,
        )
        design = {"design": Design.SIMPLE, "seed": 1, "for_estimation": True}
        store.samples.save(NewSample(name="s", items=[item], strata=[Stratum("all", 1, 1)], **design))
        store.photos.mark_missing([row.id for name, row in rows.items() if name != "there"])
        with closing(sqlite3.connect(str(store.location.path))) as connection:
            moment = "datetime('now', '-' || CASE WHEN path_text LIKE '%recent%' THEN 20 ELSE 40 END || ' days')"
            connection.execute(f"UPDATE photos SET missing_since = {moment} WHERE state = 'missing'")
            connection.commit()
    return tmp_path


def names() -> set[str]:
    with Store.open() as store:
        return {row.path.stem for row in store.photos.under([Path("/")])}


def test_what_was_missing_for_long_goes_and_all_else_stays(run_phototag: RunCommand, gone: Path) -> None:
    dry = run_phototag("db", "prune", "--dry-run")
    assert dry.exit_code == 0 and "2 photos would be removed" in dry.stderr and names() == set(NAMES)
    refused = run_phototag("db", "prune", input="n\n")
    assert refused.exit_code != 0 and names() == set(NAMES)
    done = run_phototag("db", "prune", "--yes")
    assert "Removed 2 photos" in done.stderr
    assert names() == set(NAMES) - {"gone", "undone"}
    for word in ("1 of the missing photos stay: reviewed", "samples for audits", "there again"):
        assert word in done.stderr
    (backup,) = Path(done.stderr.split("kept in ")[1].strip().removesuffix(".")).parent.glob("*.bak.db")
    with Store.open(backup) as store:
        assert len(list(store.photos.under([Path("/")]))) == len(NAMES)
    assert "Nothing to remove." in run_phototag("db", "prune", "--yes").stderr


def test_reviews_go_only_where_that_is_asked_for(run_phototag: RunCommand, gone: Path) -> None:
    assert run_phototag("db", "prune", "--yes", "--reviews", "--missing-for", "2w").exit_code == 0
    assert names() == {"there", "sampled", "back"}


def test_a_disk_that_is_away_is_left_alone(
    run_phototag: RunCommand, gone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phototag.tagging.prune.unmounted_points", lambda store: [gone])
    done = run_phototag("db", "prune", "--yes", "--reviews", "--missing-for", "0d")
    assert "on disks that are not mounted" in done.stderr and names() == set(NAMES)


@pytest.mark.parametrize("words", ["30", "d", "-1d", "1y", ""])
def test_a_length_of_time_that_is_none_is_refused(run_phototag: RunCommand, gone: Path, words: str) -> None:
    result = run_phototag("db", "prune", "--missing-for", words)
    assert result.exit_code == 2 and "30d" in result.stderr
