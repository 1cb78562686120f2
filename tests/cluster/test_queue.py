"""Tagging by workers on a queue in PostgreSQL: the rows of one machine, whatever dies in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from phototag.cluster.order import Order, saved_from_json, saved_to_json
from phototag.cluster.queue_executor import QueueExecutor
from phototag.cluster.queue_worker import QueueWorker
from phototag.cluster.worker_setup import WorkerSetup
from phototag.errors import ModelError, RuntimeUnavailableError, StoreError, UsageError
from phototag.model import open_model
from phototag.paths import PhotoPath
from phototag.records import Failure, FailureKind, Photo, Reason
from phototag.store import LeaseLostError, Store, TakenChunk, database_info
from phototag.tagging import Batch, Saved, Tagger, TagReport
from tests.cluster.light_workers import ACCIDENT, POISON, first_time
from tests.cluster.test_ray import rows
from tests.support.light_tagger import light_tagger
from tests.support.pictures import MakePicture

ORDER = Order("run", "0.1", "tiny", None, "hash", 1, "f32", 300, reuse=True)


class Died(BaseException):
    """Ends a worker as SIGKILL does: it says nothing to the queue."""


class LightWorker(QueueWorker):
    """A worker without a network, that a photo can kill; its lease runs out then, for which nobody has to wait."""

    def _work(self, taken: TakenChunk) -> None:
        try:
            super()._work(taken)
        except Died:
            with self._writing():
                assert self._store.chunks.extend(taken, seconds=0)
            raise

    def _tagger_for(self, order: Order) -> Tagger:
        tagger = light_tagger(Path(order.model_path or ""))
        decode = tagger.decode

        def dying(data: bytes, path: PhotoPath) -> Any:
            if path.stem == POISON or (path.stem == ACCIDENT and first_time(Path(f"{path}.seen"))):
                raise Died
            return decode(data, path)

        tagger.decode = dying
        return tagger


class LightQueue(QueueExecutor):
    photos_in_chunk = 4


def work(url: str, over: threading.Event, worker_class: type[QueueWorker]) -> None:
    """Be a worker that is started again whenever it dies."""
    while not over.is_set():
        with Store.open(url) as store, worker_class(store, WorkerSetup, stop=over.is_set, say=print) as worker:
            try:
                worker.run()
            except Died:
                continue


@contextmanager
def workers(url: str, number: int = 2, worker_class: type[QueueWorker] = LightWorker) -> Iterator[None]:
    over = threading.Event()
    threads = [threading.Thread(target=work, args=(url, over, worker_class)) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_workers_that_die_lose_nothing_and_the_photo_that_kills_them_is_given_up(
    postgres_url: str, light_model: Path, tmp_path: Path, make_picture: MakePicture
) -> None:
    folder = tmp_path / "photos"
    for name in (*map(str, range(10)), ACCIDENT):
        make_picture(folder / f"{name}.jpg")
    with Store.open(tmp_path / "plain.db") as store:
        light_tagger(light_model).tag([folder], store)
    make_picture(folder / f"{POISON}.jpg")
    tagger = light_tagger(light_model)
    with Store.open(postgres_url) as store, workers(postgres_url):
        executor = LightQueue(WorkerSetup(tagger.model), store, print)
        report = tagger.tag([folder], store, executor=executor)
        (folder / "0.jpg").rename(folder / "moved.jpg")
        (folder / "1.jpg").unlink()
        second = tagger.tag([folder], store, executor=executor)
        assert store.chunks.unfinished() == 0
    assert (report.tagged, report.failed, report.photos) == (11, 1, 12)
    assert [failure.photo.path.stem for failure in report.failures] == [POISON]
    assert (second.tagged, second.unchanged, second.given_up, second.missing) == (0, 10, 1, 1)
    found, plain = rows(postgres_url), rows(tmp_path / "plain.db")
    assert found.pop(f"{POISON}.jpg")[1].startswith("the process that read it died")
    assert found.pop("moved.jpg") == plain.pop("0.jpg")
    assert found.pop("1.jpg")[0] == "missing"
    plain.pop("1.jpg")
    assert found == plain


class WithoutPhotos(LightWorker):
    def _process(self, order: Order) -> Batch:
        kinds = cycle((FailureKind.GONE, FailureKind.PERMISSION))
        return Batch(tuple(Failure(photo, kind, "none") for photo, kind in zip(order.photos, kinds, strict=False)), 0)


def test_a_worker_without_the_photos_ends_the_run_and_loses_none(
    postgres_url: str, light_model: Path, tmp_path: Path, make_picture: MakePicture
) -> None:
    for name in range(5):
        make_picture(tmp_path / "photos" / f"{name}.jpg")
    tagger = light_tagger(light_model)
    with Store.open(postgres_url) as store, workers(postgres_url, 1, WithoutPhotos):
        executor = LightQueue(WorkerSetup(tagger.model), store, print)
        with pytest.raises(RuntimeUnavailableError, match=r"jpg: can be read here, but not by a worker on .*"):
            tagger.tag([tmp_path / "photos"], store, executor=executor)
        assert store.chunks.unfinished() == 0
    last = database_info(postgres_url).last_run
    assert last is not None
    assert last.finished_at is not None
    assert "can be read here" in (last.error or "")


def test_a_worker_that_lacks_the_model_gives_back_what_it_took(postgres_url: str) -> None:
    order = replace(ORDER, model_path="/nowhere/tiny.safetensors", photos=(Photo(Path("/photos/1.jpg"), 1, 2, 3, 4),))
    with Store.open(postgres_url) as store, store.writing("test"):
        for payload, error in ((order.to_json(), ModelError), (b"{}", RuntimeUnavailableError)):
            store.chunks.clear()
            store.chunks.put("run", [payload])
            with (
                QueueWorker(store, WorkerSetup, stop=lambda: False, say=print) as worker,
                pytest.raises(error),
            ):
                worker.run()
            again = store.chunks.take("other", seconds=60)
            assert again is not None
            assert again.deaths == 0


def test_a_worker_waits_for_a_server_that_went_away(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phototag.cluster.queue_worker._IDLE_SECONDS", 0.01)
    said: list[str] = []
    with Store.open(postgres_url) as store:
        answers = iter([0, StoreError("the server is away"), 0])

        def unfinished() -> int:
            answer = next(answers, None)
            if answer is None:
                over.set()
            if isinstance(answer, StoreError):
                raise answer
            return 0

        over = threading.Event()
        monkeypatch.setattr(store.chunks, "unfinished", unfinished)
        with QueueWorker(store, WorkerSetup, stop=over.is_set, say=said.append) as worker:
            worker.run()
        assert said == ["the server is away; tried again in 0 s"]
        answers = iter([StoreError("the server was never there")])
        over.clear()
        with (
            QueueWorker(store, WorkerSetup, stop=over.is_set, say=said.append) as worker,
            pytest.raises(StoreError, match="never there"),
        ):
            worker.run()


class TestLeases:
    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[Store]:
        with Store.open(postgres_url) as store, store.writing("test"):
            store.chunks.put("run", [b"first", b"second"])
            yield store

    def test_a_chunk_is_taken_once_until_its_lease_runs_out(self, store: Store) -> None:
        first = store.chunks.take("one", seconds=0.2)
        second = store.chunks.take("two", seconds=60)
        assert first is not None
        assert second is not None
        assert (first.payload, first.deaths, second.payload) == (b"first", 0, b"second")
        assert store.chunks.take("three", seconds=60) is None
        time.sleep(0.25)
        again = store.chunks.take("three", seconds=60)
        assert again is not None
        assert (again.id, again.deaths) == (first.id, 1)
        assert not store.chunks.extend(first, seconds=60)
        assert store.chunks.extend(again, seconds=60)

    def test_a_worker_that_comes_late_saves_nothing(self, store: Store, light_model: Path) -> None:
        late = store.chunks.take("one", seconds=0)
        assert late is not None
        assert store.chunks.take("two", seconds=60) is not None
        failure = Failure(Photo(Path("/photos/1.jpg"), 1, 2, 3, 4), FailureKind.EMPTY, "the file is empty")
        with pytest.raises(LeaseLostError):
            store.tags.save_batch(
                model_id=1, tagged=[], failures=[failure], also=store.chunks.completing(late, b"result")
            )
        assert store.photos.find(failure.photo.path) is None

    def test_what_is_given_back_waits_again_and_counts_no_death(self, store: Store) -> None:
        taken = store.chunks.take("one", seconds=60)
        assert taken is not None
        store.chunks.give_back(taken)
        again = store.chunks.take("two", seconds=60)
        assert again is not None
        assert (again.id, again.deaths) == (taken.id, 0)


def test_orders_and_answers_are_read_as_they_were_written() -> None:
    photo = Photo(Path("/photos/a\udcff\n.jpg"), 1, 2, 3, 2**64 - 1)
    order = Order(**{**{name: getattr(ORDER, name) for name in ORDER.__slots__}, "photos": (photo,)})
    assert Order.from_json(order.to_json()) == order
    report = TagReport(photos=3, tagged=2, inferred=1, failed=1, failures=[Failure(photo, FailureKind.EMPTY, "empty")])
    report.reasons[Reason.SUBCLASS] = 2
    report.failure_kinds["empty"] = 1
    report.unsupported[FailureKind.NEEDS_RAW] = 1
    saved = Saved(report, frozenset({4, 7}))
    assert saved_from_json(saved_to_json(saved, [photo], "there")) == (saved, [photo], "there")
    with pytest.raises(RuntimeUnavailableError, match="another version"):
        Order.from_json(b'{"run": 1}')


def test_a_file_is_no_queue(tmp_path: Path, light_model: Path) -> None:
    with Store.open(tmp_path / "photos.db") as store:
        with pytest.raises(UsageError, match="postgresql://"):
            QueueExecutor(WorkerSetup(open_model(light_model)), store, print)
        with pytest.raises(UsageError, match="postgresql://"):
            QueueWorker(store, WorkerSetup, stop=lambda: True, say=print)
