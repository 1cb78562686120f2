"""From photos to saved tags: order, each content scored once, bounded memory, and what is left when a run ends."""

from __future__ import annotations

import hashlib
import pickle
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phototag.choices import Device, Precision, RuntimeName
from phototag.errors import DecodeError, StoreError
from phototag.model.registry import open_model
from phototag.records import NO_FACTS, Failure, FailureKind, Photo, Rank, Tag
from phototag.runtime.engine import Done, Outputs, Pending, Pictures
from phototag.runtime.runtime import Runtime, Target
from phototag.runtime.threads import bounded_map
from phototag.store import Capture, Query, ScoredContent, Store, StoredTag
from phototag.tagging import pipeline
from phototag.tagging.dedup import BloomFilter, Decided, Recent
from phototag.tagging.pipeline import Batch, process
from phototag.tagging.tagger import Tagger
from phototag.tagging.writer import BatchWriter
from tests.support.pictures import MakePicture

TAG = Tag("bird", "hawk", Rank.SUBCLASS, 0.9, 0.8, 0.1)
START = b"GIF89a"
Decoder = Callable[[bytes, Path], tuple[NDArray[np.uint8], int, int]]


class Arithmetic:
    """An engine whose scores are a simple function of the pixels, and that writes down what it was given."""

    name, device, precision = "arithmetic", "cpu", Precision.F32

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.batches: list[int] = []

    def start(self, pictures: Pictures) -> Pending:
        self.batches.append(len(pictures))
        pixels = np.stack([picture.reshape(-1)[:8] for picture in pictures]).astype(np.float32) / 64
        outputs: Outputs = (pixels[:, :3], pixels[:, 3:])
        return Done(outputs)


@pytest.fixture
def runtime(tiny_model: Path) -> Callable[[int], Runtime]:
    """A real runtime around that engine."""
    model = open_model(tiny_model)
    target = Target(Device.CPU, RuntimeName.TORCH)
    return lambda batch_size: Runtime(model, target=target, engine=Arithmetic(batch_size))


def engine_of(runtime: Runtime) -> Arithmetic:
    assert isinstance(runtime.engine, Arithmetic)
    return runtime.engine


def decode(data: bytes, path: Path) -> tuple[NDArray[np.uint8], int, int]:
    """Pixels that depend on the content; one that begins with "bad" is no picture."""
    content = data.removeprefix(START)
    if content.startswith(b"bad"):
        raise DecodeError(path, FailureKind.CORRUPT, "bad")
    pixels = np.frombuffer(hashlib.sha256(content).digest()[:12], dtype=np.uint8).reshape(2, 2, 3)
    return pixels, len(content), 7


def file_of(content: bytes) -> bytes:
    """The bytes of a file that begins as a picture does; others are not even decoded."""
    return START + content if content else b""


@pytest.fixture
def photos_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[bytes]], list[Photo]]:
    """Files with these contents, in this order."""

    def make(contents: list[bytes]) -> list[Photo]:
        folder = tmp_path_factory.mktemp("photos")
        photos = []
        for number, content in enumerate(contents):
            path = folder / f"{number:05}.jpg"
            path.write_bytes(file_of(content))
            photos.append(Photo(path, len(content), 1, 2, number))
        return photos

    return make


def items_of(batches: list[Batch]) -> list[StoredTag | Failure]:
    return [item for batch in batches for item in batch.items]


def wait_for_decode_threads() -> None:
    """A run that was cut does not wait for its decode threads, but they end."""
    give_up = time.monotonic() + 120
    while any(thread.name.startswith("decode_") for thread in threading.enumerate()):
        assert time.monotonic() < give_up
        time.sleep(0.01)


class TestProcess:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        contents=st.lists(st.sampled_from([b"a", b"bb", b"ccc", b"d", b"e", b"bad 1", b"bad 2", b""]), max_size=40),
        batch_size=st.integers(1, 5),
        workers=st.integers(1, 3),
        asked=st.booleans(),
    )
    def test_every_photo_comes_once_in_order_and_every_content_is_scored_once(
        self,
        runtime: Callable[[int], Runtime],
        photos_of: Callable[[list[bytes]], list[Photo]],
        contents: list[bytes],
        batch_size: int,
        workers: int,
        asked: bool,
    ) -> None:
        photos, run = photos_of(contents), runtime(batch_size)
        known = (lambda _: {}) if asked else None
        batches = list(process(photos, run, decode, workers=workers, known=known))
        items = items_of(batches)
        assert [item.photo for item in items] == photos
        scores: dict[bytes, set[bytes]] = {}
        tags: dict[bytes, set[Tag]] = {}
        for item, content in zip(items, contents, strict=True):
            if content.startswith(b"bad") or not content:
                assert isinstance(item, Failure)
            else:
                assert isinstance(item, StoredTag)
                assert (item.content_hash, item.width) == (hashlib.sha256(file_of(content)).digest(), len(content))
                scores.setdefault(content, set()).add(item.scores)
                tags.setdefault(content, set()).add(item.tag)
        assert all(len(found) == 1 for found in [*scores.values(), *tags.values()])
        assert len(set.union(set(), *scores.values())) == len(scores), "different contents have different scores"
        assert sum(batch.inferred for batch in batches) == sum(engine_of(run).batches) == len(scores)
        assert all(0 < size <= batch_size for size in engine_of(run).batches)

    def test_thousands_of_copies_are_scored_once_and_saved_on_the_way(
        self, runtime: Callable[[int], Runtime], photos_of: Callable[[list[bytes]], list[Photo]]
    ) -> None:
        run = runtime(4)
        batches = list(process(photos_of([b"same"] * 3000), run, decode, workers=2))
        assert engine_of(run).batches == [1]
        assert len(items_of(batches)) == 3000
        assert max(len(batch.items) for batch in batches) <= 4

    def test_thousands_of_failures_are_saved_on_the_way_and_need_no_network(
        self, runtime: Callable[[int], Runtime], photos_of: Callable[[list[bytes]], list[Photo]]
    ) -> None:
        run = runtime(4)
        batches = list(process(photos_of([b"bad"] * 1000), run, decode, workers=2))
        assert engine_of(run).batches == []
        assert sum(len(batch.failures) for batch in batches) == 1000
        assert max(len(batch.items) for batch in batches) <= 260

    def test_a_content_met_again_much_later_is_scored_again(
        self,
        runtime: Callable[[int], Runtime],
        photos_of: Callable[[list[bytes]], list[Photo]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With no database to ask, as in a dry run; memory stays bounded."""
        monkeypatch.setattr(pipeline, "_LEAST_REMEMBERED", 1)
        run = runtime(1)
        contents = [b"first", *(str(number).encode() for number in range(40)), b"first"]
        items = items_of(list(process(photos_of(contents), run, decode, workers=1)))
        assert sum(engine_of(run).batches) == 42
        assert isinstance(items[0], StoredTag) and isinstance(items[-1], StoredTag)
        assert items[0].scores == items[-1].scores

    def test_a_known_content_is_neither_decoded_nor_scored(
        self, runtime: Callable[[int], Runtime], photos_of: Callable[[list[bytes]], list[Photo]]
    ) -> None:
        contents = [b"a", b"bb", b"a", b"ccc", b"bad", b"bb"]
        first = items_of(list(process(photos_of(contents), runtime(2), decode)))
        scored = {item.content_hash: item for item in first if isinstance(item, StoredTag)}

        asked: list[set[bytes]] = []

        def known(digests: Collection[bytes]) -> dict[bytes, ScoredContent]:
            asked.append(set(digests))
            found = [scored[digest] for digest in digests if digest in scored]
            return {item.content_hash: ScoredContent(item.scores, item.width, item.height) for item in found}

        del scored[hashlib.sha256(file_of(b"ccc")).digest()]
        decoded: list[bytes] = []

        def note(data: bytes, path: Path) -> tuple[NDArray[np.uint8], int, int]:
            decoded.append(data)
            return decode(data, path)

        run = runtime(2)
        batches = list(process(photos_of(contents), run, note, known=known))
        assert asked == [{hashlib.sha256(file_of(content)).digest() for content in contents}], "all at once"
        assert sorted(decoded) == [file_of(b"bad"), file_of(b"ccc")]
        assert engine_of(run).batches == [1]
        again = items_of(batches)
        for before, after in zip(first, again, strict=True):
            if isinstance(before, StoredTag):
                assert isinstance(after, StoredTag)
                assert (before.scores, before.tag, before.width) == (after.scores, after.tag, after.width)

    def test_nothing_in_gives_nothing_out(self, runtime: Callable[[int], Runtime]) -> None:
        assert list(process([], runtime(2), decode)) == []

    def test_a_slow_consumer_stops_the_reading(
        self, runtime: Callable[[int], Runtime], photos_of: Callable[[list[bytes]], list[Photo]]
    ) -> None:
        photos = photos_of([str(number).encode() for number in range(500)])
        taken: list[Photo] = []

        def source() -> Iterator[Photo]:
            for photo in photos:
                taken.append(photo)
                yield photo

        with closing(process(source(), runtime(4), decode, workers=2)) as batches:
            given_out = 0
            for batch in batches:
                given_out += len(batch.items)
                assert len(taken) - given_out <= 2 * (2 + 4) + 2 * 4

    def test_what_was_not_begun_is_dropped_when_a_run_ends_early(
        self, runtime: Callable[[int], Runtime], photos_of: Callable[[list[bytes]], list[Photo]]
    ) -> None:
        photos = photos_of([str(number).encode() for number in range(400)])
        ending, decoded = threading.Event(), []

        def slow(data: bytes, path: Path) -> tuple[NDArray[np.uint8], int, int]:
            decoded.append(data)
            if len(decoded) > 140:  # more than is needed for the first batch
                ending.wait(30)
                time.sleep(0.05)
            return decode(data, path)

        batches = process(photos, runtime(64), slow, workers=1)
        next(batches)
        ending.set()
        batches.close()
        wait_for_decode_threads()
        assert len(decoded) < 200, "the reader is 130 photos ahead"

    def test_an_error_that_is_no_picture_fault_comes_out(
        self, runtime: Callable[[int], Runtime], photos_of: Callable[[list[bytes]], list[Photo]]
    ) -> None:
        def broken(data: bytes, path: Path) -> tuple[NDArray[np.uint8], int, int]:
            raise RuntimeError("the decoder is closed")

        with pytest.raises(RuntimeError, match="the decoder is closed"):
            list(process(photos_of([b"a"] * 50), runtime(4), broken))
        wait_for_decode_threads()

    def test_an_error_of_the_network_comes_out(
        self,
        runtime: Callable[[int], Runtime],
        photos_of: Callable[[list[bytes]], list[Photo]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run = runtime(4)
        monkeypatch.setattr(engine_of(run), "start", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(process(photos_of([b"a"] * 50), run, decode))

    def test_a_batch_size_that_shrinks_on_the_way_is_kept_to(
        self, runtime: Callable[[int], Runtime], photos_of: Callable[[list[bytes]], list[Photo]]
    ) -> None:
        """As a GPU's does when its memory runs out."""
        run = runtime(8)
        with closing(process(photos_of([str(n).encode() for n in range(40)]), run, decode)) as batches:
            next(batches)
            engine_of(run).batch_size = 3
            list(batches)
        assert engine_of(run).batches[:2] == [8, 8]
        assert set(engine_of(run).batches[2:-1]) == {3}


class TestBoundedMap:
    def test_results_come_in_order_whatever_takes_longer(self) -> None:
        def wait(number: int) -> int:
            time.sleep(0.002 * (number % 3))
            return number

        with ThreadPoolExecutor(4) as pool:
            assert list(bounded_map(pool, wait, range(60), limit=8)) == list(range(60))

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_no_more_than_the_limit_is_begun(self, limit: int) -> None:
        begun: list[int] = []

        def items() -> Iterator[int]:
            for number in range(30):
                begun.append(number)
                yield number

        with ThreadPoolExecutor(2) as pool:
            for done, number in enumerate(bounded_map(pool, lambda item: item, items(), limit=limit)):
                assert number == done
                assert len(begun) - done <= limit

    def test_an_error_comes_out_at_its_place(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            results = bounded_map(pool, lambda item: 10 // item, [5, 2, 0, 1], limit=3)
            assert [next(results), next(results)] == [2, 5]
            with pytest.raises(ZeroDivisionError):
                next(results)


def batch(number: int) -> Batch:
    photo = Photo(Path(f"/p/{number}.jpg"), 1, 2, 3, number)
    return Batch((StoredTag(photo, bytes(32), 1, 1, b"", TAG),), number)


class TestBatchWriter:
    def test_batches_are_saved_in_order_and_come_back_once(self) -> None:
        saved: list[int] = []
        back: list[int] = []
        writer = BatchWriter(lambda each: saved.append(each.inferred), [lambda each: back.append(each.inferred)])
        for number in range(50):
            writer.put(batch(number))
        writer.close()
        assert saved == back == list(range(50))

    def test_what_a_sink_raises_ends_the_run_and_the_batches_after_it_are_passed_on_at_the_end(self) -> None:
        passed: list[int] = []

        def sink(each: Batch) -> None:
            passed.append(each.inferred)
            if each.inferred == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), BatchWriter(lambda _: None, [sink]) as writer:
            for number in range(5):
                writer.put(batch(number))
        assert passed[:2] == [0, 1]
        assert passed == list(range(len(passed)))

    def test_the_error_of_a_save_comes_out_and_nothing_is_saved_after_it(self) -> None:
        saved: list[int] = []

        def save(each: Batch) -> None:
            if each.inferred == 3:
                raise StoreError("disk is full")
            saved.append(each.inferred)

        writer = BatchWriter(save)
        errors = 0
        for number in range(20):
            try:
                writer.put(batch(number))
            except StoreError as error:
                assert str(error) == "disk is full"
                errors += 1
        writer.close()
        assert errors == 1
        assert saved == [0, 1, 2]

    def test_an_error_of_the_last_save_comes_out_of_close(self) -> None:
        def save(_: Batch) -> None:
            raise StoreError("disk is full")

        writer = BatchWriter(save)
        writer.put(batch(0))
        with pytest.raises(StoreError, match="disk is full"):
            writer.close()
        writer.close()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
    def test_an_error_of_any_kind_comes_out(self, error: type[BaseException]) -> None:
        def save(_: Batch) -> None:
            raise error

        writer = BatchWriter(save)
        with pytest.raises(error):
            for number in range(10):
                writer.put(batch(number))
            writer.close()
        writer.close()

    def test_closing_again_and_again_does_not_hang(self) -> None:
        passed: list[Batch] = []
        writer = BatchWriter(lambda _: None, [passed.append])
        writer.put(batch(0))
        for _ in range(6):
            writer.close()
        assert len(passed) == 1

    def test_few_batches_wait_while_saving_is_slow(self) -> None:
        go_on, begun = threading.Event(), []

        def save(each: Batch) -> None:
            begun.append(each.inferred)
            go_on.wait(30)

        writer, handed_over = BatchWriter(save), []

        def hand_over() -> None:
            for number in range(10):
                writer.put(batch(number))
                handed_over.append(number)

        producer = threading.Thread(target=hand_over, daemon=True)
        producer.start()
        give_up = time.monotonic() + 120
        while len(handed_over) < 3 and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(0.1)
        assert (begun, handed_over) == ([0], [0, 1, 2]), "one is being saved and two wait"
        go_on.set()
        producer.join(30)
        writer.close()
        assert begun == list(range(10))

    def test_what_was_handed_over_is_saved_although_the_run_was_cut(self) -> None:
        saved: list[int] = []

        def save(each: Batch) -> None:
            time.sleep(0.01)
            saved.append(each.inferred)

        writer = BatchWriter(save)

        def run() -> None:
            try:
                for number in range(5):
                    writer.put(batch(number))
                raise KeyboardInterrupt
            finally:
                writer.close()

        with pytest.raises(KeyboardInterrupt):
            run()
        assert saved == list(range(5))


class TestRunsThatEndEarly:
    """The whole way, with the tiny model."""

    @pytest.fixture
    def library(self, tmp_path: Path, make_picture: MakePicture) -> Path:
        for number in range(24):
            make_picture(tmp_path / "library" / f"{number:02}.jpg")
        return tmp_path / "library"

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with Store.open(tmp_path / "photos.db") as opened:
            yield opened

    def test_ctrl_c_keeps_what_was_told(self, quick_model: Path, library: Path, store: Store) -> None:
        told: list[str] = []

        def stop_soon(each: Batch) -> None:
            told.extend(item.photo.path.name for item in each.items)
            if len(told) == 6:
                raise KeyboardInterrupt

        (library / "gone.jpg").touch()
        with Tagger(quick_model, batch_size=2, workers=1) as tagger:
            report = tagger.tag([library], store, sinks=[stop_soon])
            assert report.interrupted and not report.complete
            stored = {photo.path.name for photo in store.query(Query())}
            assert set(told) <= stored
            assert 6 <= len(stored) < 24
            assert not [thread for thread in threading.enumerate() if thread.name == "saver"]
            rest = tagger.tag([library], store)
        assert not rest.interrupted
        assert rest.unchanged == len(stored)

    def test_a_stopped_run_finishes_what_is_in_hand_and_marks_nothing_missing(
        self, quick_model: Path, library: Path, store: Store
    ) -> None:
        with Tagger(quick_model, batch_size=2, workers=1) as tagger:
            for number in range(5):
                (library / f"{number:02}.jpg").rename(library / f"a{number:02}.jpg")
            tagger.tag([library], store)
            for number in range(5):
                (library / f"a{number:02}.jpg").unlink()
            asked = 0

            def stop() -> bool:
                nonlocal asked
                asked += 1
                return asked > 11  # once before the first photo of a chunk

            report = tagger.tag([library], store, stop=stop, force=True)
            assert report.interrupted and report.missing == 0
            assert report.tagged == 10, "those before the word came are finished"
            assert store.count(Query(state="missing")) == 0  # type: ignore[arg-type]
            assert tagger.tag([library], store).missing == 5

    def test_a_run_stopped_before_it_began_does_nothing(self, quick_model: Path, library: Path, store: Store) -> None:
        with Tagger(quick_model) as tagger:
            report = tagger.tag([library], store, stop=lambda: True)
        assert report.interrupted
        assert report.photos == store.count(Query()) == 0

    def test_an_error_while_saving_ends_the_run(
        self, quick_model: Path, library: Path, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save, saved = store.tags.save_batch, []

        def fill_up(**batch: object) -> None:
            if len(saved) == 3:
                raise StoreError("disk is full")
            save(**batch)  # type: ignore[arg-type]
            saved.append(batch)

        monkeypatch.setattr(store.tags, "save_batch", fill_up)
        with Tagger(quick_model, batch_size=2) as tagger, pytest.raises(StoreError, match="disk is full"):
            tagger.tag([library], store)
        assert store.count(Query()) == 6


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


class TestBloomFilter:
    def test_what_was_added_is_never_denied_and_hardly_anything_else_affirmed(self) -> None:
        seen = BloomFilter()
        for number in range(50_000):
            seen.add(digest(number))
        assert all(digest(number) in seen for number in range(50_000))
        # (1 - exp(-4 * 50e3 / 2**23))**4 is about 3e-7
        assert sum(digest(-1 - number) in seen for number in range(20_000)) <= 5

    @given(st.lists(st.binary(min_size=32, max_size=32), max_size=30), st.binary(min_size=32, max_size=32))
    def test_any_content_is_found_again(self, contents: list[bytes], other: bytes) -> None:
        seen = BloomFilter()
        assert other not in seen
        for content in contents:
            seen.add(content)
        assert all(content in seen for content in contents)

    def test_threads_lose_nothing(self) -> None:
        seen = BloomFilter()
        # All in the same few bytes.
        contents = [bytes([n % 256, n % 3, 0, 0]) * 8 for n in range(2000)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(seen.add, contents))
        assert all(content in seen for content in contents)


class TestRecent:
    DECIDED = Decided(b"scores", TAG)

    def test_a_content_is_new_once(self) -> None:
        recent = Recent(10)
        assert recent.begin(b"a")
        assert not recent.begin(b"a")
        assert recent.get(b"a") is None
        recent.finish(b"a", self.DECIDED)
        assert recent.get(b"a") is self.DECIDED
        assert not recent.begin(b"a")
        assert recent.get(b"b") is None

    def test_the_longest_unmet_is_forgotten_first(self) -> None:
        recent = Recent(2)
        recent.begin(b"a")
        recent.begin(b"b")
        recent.begin(b"a")
        recent.begin(b"c")
        assert not recent.begin(b"a")
        assert recent.begin(b"b")

    def test_what_was_forgotten_is_not_finished(self) -> None:
        recent = Recent(1)
        recent.begin(b"a")
        recent.begin(b"b")
        recent.finish(b"a", self.DECIDED)
        assert recent.get(b"a") is None


def test_batches_and_what_ends_a_photo_come_from_another_process_as_they_were() -> None:
    photo = Photo(Path("/photos/a\udcff.jpg"), 1, 2, 3, 4)
    failure = Failure(photo, FailureKind.TRUNCATED, "the file ends too early", b"hash")
    batch = Batch((StoredTag(photo, b"hash", 3, 2, b"scores", TAG, Capture(5, NO_FACTS)), failure), 1)
    assert pickle.loads(pickle.dumps(batch)) == batch
    error = pickle.loads(pickle.dumps(DecodeError(photo.path, failure.kind, failure.reason)))
    assert (str(error), error.path, error.kind) == (f"{photo.path}: {failure.reason}", photo.path, failure.kind)
