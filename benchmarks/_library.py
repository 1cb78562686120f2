"""Made-up libraries: rows as phototag would have written them, and the photos' files, empty, where they are wanted."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table

from phototag.database import captures, keywords, photos, predictions, tags
from phototag.decision import decide, gather, pack
from phototag.model import Model
from phototag.records import Scores
from phototag.store import Store
from phototag.tagging.registration import register
from phototag.text import clock_text

PHOTOS_A_FOLDER = 300
YEARS = 5
ROWS_AT_ONCE = 5000
SAVED_AT_ONCE = 50_000
CACHE_KIB = 256 << 10
UNKNOWN_CLASSES = 40
WORDS = ("harbour", "Zürich", "birthday", "trip to the lake", "DSC", "IMG", "garden", "snow")
CAMERAS = (("NIKON Z 6", "2001"), ("Canon EOS R5", "77"), ("Canon EOS R5", "78"), ("FUJIFILM X-T4", None))
KEYWORDS = ("holiday", "family", "bird|hawk", "best", "print")
NEWEST = datetime(2026, 6, 30, tzinfo=UTC)

Row = dict[str, Any]


def make_library(
    database: Path,
    count: int,
    model: Model,
    *,
    root: Path,
    files: bool = False,
    one_folder: bool = False,
    seed: int = 7,
) -> None:
    """Write a library of `count` photos under `root`: every class of a trained model, rank, source and state.

    With `files` there is an empty one for each photo, none is missing, and the stored stat is theirs: a pass of the
    model finds all of them unchanged.
    """
    maker = _Maker(model, root, count=count, files=files, one_folder=one_folder, seed=seed)
    with Store.open(database) as store, store.writing("benchmark"):
        model_id = register(store, model)
        for begin in range(1, count + 1, SAVED_AT_ONCE):
            end = min(begin + SAVED_AT_ONCE, count + 1)
            with store._database.write() as connection:
                # Hashes of contents fall anywhere into their indexes.
                connection.exec_driver_sql(f"PRAGMA cache_size=-{CACHE_KIB}")
                for first in range(begin, end, ROWS_AT_ONCE):
                    rows = maker.rows(range(first, min(first + ROWS_AT_ONCE, end)), model_id)
                    for table, values in rows.items():
                        if values:
                            _insert(connection, table, values)
            print(f"\r{end - 1:,} photos written", end="", file=sys.stderr)
    print(file=sys.stderr)


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all have the same columns, in half the time of `connection.execute`."""
    columns = []
    for name in rows[0]:
        process = table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        values = [row[name] for row in rows]
        columns.append(values if process is None else list(map(process, values)))
    places = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(rows[0])}) VALUES ({places})"  # names of columns
    connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))


class _Maker:
    """Makes the rows of a library some at a time, in the order of paths, as a pass would have met them."""

    def __init__(self, model: Model, root: Path, *, count: int, files: bool, one_folder: bool, seed: int) -> None:
        self._header, self._root, self._files = model.header, root, files
        novelty = model.novelty
        if novelty is None:
            raise ValueError("a trained model is wanted, whose scores hold embeddings")
        self._space = novelty.space
        self._chance = np.random.default_rng(seed)
        means = self._chance.normal(size=(UNKNOWN_CLASSES, self._space.means.shape[1]))
        self._unknown = means * np.sqrt(np.maximum(self._space.spread - 1, 0.5))
        folders = 1 if one_folder else -(-count // PHOTOS_A_FOLDER)
        self._in_folder = -(-count // folders)
        self._days = YEARS * 365 / folders
        self._made: set[str] = set()

    def rows(self, ids: range, model_id: int) -> dict[Any, list[Row]]:
        classes, packed, given = self._scores(len(ids))
        taxonomy = self._header.taxonomy
        found: dict[Any, list[Row]] = {photos: [], predictions: [], tags: [], captures: [], keywords: []}
        dice = self._chance.random(len(ids)).tolist()
        for row, photo_id in enumerate(ids):
            photo, capture = self._photo(photo_id)
            now = photo["first_seen_at"]
            found[captures].append(capture)
            if dice[row] < 0.01:
                photo |= {"state": "unreadable", "error_kind": "corrupt", "error": "bad marker", "content_hash": None}
                found[photos].append(photo | {"attempts": 3})
                continue
            gone = dice[row] < 0.03 and not self._files
            found[photos].append(photo | ({"state": "missing", "missing_since": now} if gone else {}))
            found[predictions].append(
                {
                    "photo_id": photo_id,
                    "model_id": model_id,
                    "content_hash": photo["content_hash"],
                    "scores": packed[row],
                    "predicted_at": now,
                }
            )
            tag = given[row]
            values: Row = {
                "photo_id": photo_id,
                "superclass": tag.superclass,
                "subclass": tag.subclass,
                "rank": tag.rank.value,
                "superclass_score": tag.superclass_score,
                "subclass_score": tag.subclass_score,
                "novelty": tag.novelty,
                "source": "model",
                "model_id": model_id,
                "tagged_at": now,
            }
            if dice[row] > 0.98:
                name = taxonomy.subclasses[classes[row]]
                values |= {"superclass": taxonomy.parent(name), "subclass": name, "rank": "subclass", "source": "human"}
                values |= {"superclass_score": 1.0, "subclass_score": 1.0, "novelty": 0.0, "model_id": None}
            if dice[row] > 0.9:
                found[keywords] += [{"photo_id": photo_id, "keyword": KEYWORDS[photo_id % len(KEYWORDS)]}]
            found[tags].append(values)
        return found

    def _scores(self, count: int) -> tuple[Any, Sequence[bytes], Sequence[Any]]:
        taxonomy, chance = self._header.taxonomy, self._chance
        classes = chance.integers(len(taxonomy.subclasses), size=count)
        strength = chance.gamma(3.0, 2.5, size=(count, 1))
        subclass = chance.normal(size=(count, len(taxonomy.subclasses)))
        subclass[np.arange(count), classes] += strength[:, 0]
        superclass = chance.normal(size=(count, len(taxonomy.superclasses)))
        superclass[np.arange(count), np.asarray(taxonomy.parents)[classes]] += strength[:, 0] + 1
        evidence = gather(Scores(superclass.astype(np.float32), subclass.astype(np.float32)), taxonomy)
        means = self._space.means
        embedding = means[classes] + chance.normal(size=(count, means.shape[1]))
        # Four in a hundred are of some classes that the model does not know, as novel photos are.
        unknown = np.flatnonzero(chance.random(count) < 0.04)
        embedding[unknown] = chance.normal(scale=1.4, size=(len(unknown), means.shape[1]))
        embedding[unknown] += self._unknown[chance.integers(UNKNOWN_CLASSES, size=len(unknown))]
        novelty = np.sort(chance.beta(0.6, 3.0, size=(count, 2)), axis=1).astype(np.float32)
        novelty[unknown] = 0.999
        evidence = replace(evidence, novelty=novelty, embedding=embedding.astype(np.float16))
        return classes, pack(evidence), decide(evidence, taxonomy, self._header.thresholds)

    def _photo(self, photo_id: int) -> tuple[Row, Row]:
        folder, place = divmod(photo_id - 1, self._in_folder)
        word = WORDS[folder % len(WORDS)]
        # A series of three within six seconds, then a pause.
        within = place // 3 * 240 + place % 3 * 2
        taken = NEWEST - timedelta(days=YEARS * 365) + timedelta(days=folder * self._days, seconds=within)
        path = f"{self._root}/{folder // 100:05}/{folder:05} {word}/{word[:3].upper()}_{photo_id:08}.jpg"
        encoded = os.fsencode(path)
        modified_ns = int(taken.timestamp()) * 10**9
        status = self._file(path, modified_ns) if self._files else None
        camera, serial = CAMERAS[folder % len(CAMERAS)]
        photo = {
            "id": photo_id,
            "path_bytes": encoded,
            "path_text": path,
            "size_bytes": 3_000_000 if status is None else status.st_size,
            "modified_ns": modified_ns,
            "changed_ns": 0 if status is None else status.st_ctime_ns,
            "inode": photo_id if status is None else status.st_ino,
            "content_hash": hashlib.sha256(encoded).digest(),
            "width": 4000,
            "height": 3000,
            "state": "ok",
            "error_kind": None,
            "error": None,
            "attempts": 0,
            "first_seen_at": taken,
            "last_seen_at": NEWEST,
            "missing_since": None,
        }
        capture = {
            "photo_id": photo_id,
            "modified_ns": modified_ns,
            "taken_at": clock_text(taken.replace(tzinfo=None)) if photo_id % 20 else None,
            "camera": camera if photo_id % 20 else None,
            "camera_serial": serial if photo_id % 20 else None,
        }
        return photo, capture

    def _file(self, path: str, modified_ns: int) -> os.stat_result:
        folder = path.rpartition("/")[0]
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            self._made.add(folder)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        os.utime(path, ns=(modified_ns, modified_ns))
        return os.stat(path)  # noqa: PTH116
