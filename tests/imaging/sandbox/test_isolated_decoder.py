"""Decoding in worker processes: same pixels, and no picture, however hostile, takes this process down."""

from __future__ import annotations

import io
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.cost import HEAVY_BYTES, cost_of
from phototag.imaging.decode import decode_bytes, decode_whole
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.sandbox import decoder as decoder_module
from phototag.imaging.sandbox import pool as worker_pool
from phototag.imaging.sandbox import process as worker_process
from phototag.imaging.sandbox.decoder import Decoder, WholeDecoder
from phototag.records import FailureKind
from tests.support.commands import run_python
from tests.support.project import ROOT

SMALL = Preprocessing(size=32, crop=1.0)
PHOTO = Path("photo")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
RISKY = ("WEBP", "TIFF", "GIF", "BMP", "AVIF")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits are POSIX matters")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, or needs a limit on address space")


def scene(size: tuple[int, int] = (120, 80), seed: int = 0) -> Image.Image:
    blots = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(width: int, height: int, *, colour: int = 0, hollow: bool = False) -> bytes:
    """A PNG of zeros, small as a file whatever its size in pixels. A hollow one has no pixels behind its header."""
    packer = zlib.compressobj(1)
    row = b"" if hollow else bytes(1 + width * {0: 1, 2: 3, 6: 4}[colour])
    content = b"".join(packer.compress(row) for _ in range(0 if hollow else height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    )


BMP = encoded(scene(), "BMP")


def worker_that(*body: str, name: str = "decode_bytes") -> list[str]:
    """A worker whose `decode_bytes(data, preprocessing, path, *, max_megapixels)` is that code; `real` is the usual."""
    lines = ["import os, signal, sys, time", "from pathlib import Path", "from phototag.imaging.sandbox import worker"]
    lines += [
        "real = worker.decode_bytes",
        "def decode(data, preprocessing=None, path=None, *, max_megapixels=0, **_):",
    ]
    lines += [f"    {line}" for line in body]
    return [sys.executable, "-c", "\n".join([*lines, f"worker.{name} = decode", "worker.main()"])]


REALLY = "return real(data, preprocessing, path, max_megapixels=max_megapixels)"

MakeDecoder = Callable[..., Decoder]


@pytest.fixture
def decoder() -> Iterator[MakeDecoder]:
    """A function that makes a decoder, closed in the end."""
    made: list[Decoder] = []

    def make(command: Sequence[str] | None = None, **options: Any) -> Decoder:
        made.append(Decoder(SMALL, command=command, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Decoder]:
    """A decoder as it comes, with workers that other tests may have started."""
    with Decoder(SMALL) as one:
        yield one


@pytest.fixture(scope="module")
def whole() -> Iterator[WholeDecoder]:
    with WholeDecoder(64) as one:
        yield one


def pids(decoder: Decoder | WholeDecoder) -> list[int]:
    return [worker._process.pid for worker in decoder._all]


def failure(decoder: Decoder, data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoder(data, PHOTO)
    assert caught.value.path == PHOTO
    return caught.value


def ends(pid: int, *, within_seconds: float = 20) -> bool:
    """Whether a process that is not ours ends in time. A zombie, which only waits to be reaped, has ended."""
    give_up = time.monotonic() + within_seconds
    while time.monotonic() < give_up:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


class TestSamePicture:
    @pytest.mark.parametrize("form", FORMATS)
    def test_pixels_and_size_are_those_of_decode_bytes(self, plain: Decoder, form: str) -> None:
        data = encoded(scene((130, 70)), form)
        pixels, width, height = plain(data, PHOTO)
        expected, *size = decode_bytes(data, SMALL, PHOTO)
        assert np.array_equal(pixels, expected)
        assert pixels.dtype == np.uint8
        assert [width, height] == size == [130, 70]

    def test_a_turned_picture_comes_back_upright(self, plain: Decoder) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encoded(scene((130, 70)), "WEBP", exif=exif.tobytes())
        pixels, width, height = plain(data, PHOTO)
        assert (width, height) == (70, 130)
        assert np.array_equal(pixels, decode_bytes(data, SMALL, PHOTO)[0])

    @pytest.mark.parametrize(
        "data", [b"II*\0 no picture", BMP[:2000], encoded(scene(), "TIFF")[:-30], b"nothing known"]
    )
    def test_a_broken_picture_fails_as_in_this_process(self, plain: Decoder, data: bytes) -> None:
        with pytest.raises(DecodeError) as expected:
            decode_bytes(data, SMALL, PHOTO)
        found = failure(plain, data)
        assert (found.kind, found.reason) == (expected.value.kind, expected.value.reason)

    def test_a_worker_goes_on_after_a_broken_picture(self, decoder: MakeDecoder) -> None:
        one = decoder()
        one(BMP, PHOTO)
        before = pids(one)
        failure(one, BMP[:500])
        one(BMP, PHOTO)
        assert pids(one) == before

    def test_threads_decode_side_by_side(self, decoder: MakeDecoder) -> None:
        pictures = [encoded(scene(seed=seed), form) for seed in range(10) for form in RISKY]
        one = decoder()
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda data: one(data, PHOTO)[0], pictures))
        for data, pixels in zip(pictures, found, strict=True):
            assert np.array_equal(pixels, decode_bytes(data, SMALL, PHOTO)[0])
        assert len(pids(one)) <= 3


class TestWholePictures:
    """As training and contact sheets take them."""

    @pytest.mark.parametrize("form", FORMATS)
    def test_they_are_those_of_decode_whole(self, whole: WholeDecoder, form: str) -> None:
        data = encoded(scene((130, 110)), form)
        found, expected = whole(data, PHOTO), decode_whole(data, short_side=64, path=PHOTO)
        assert (
            (found.mode, found.size) == ("RGB", expected.size) == ("RGB", (130, 110) if form != "JPEG" else found.size)
        )
        assert np.array_equal(np.asarray(found), np.asarray(expected))

    def test_giants_are_reduced_before_they_leave_the_worker(self, whole: WholeDecoder) -> None:
        found = whole(encoded(scene((1000, 700)), "BMP"), PHOTO)
        assert found.size == (100, 70)

    def test_a_broken_one_fails_with_the_same_reason(self, whole: WholeDecoder) -> None:
        with pytest.raises(DecodeError) as expected:
            decode_whole(BMP[:2000], short_side=64, path=PHOTO)
        with pytest.raises(DecodeError) as found:
            whole(BMP[:2000], PHOTO)
        assert found.value.reason == expected.value.reason

    def test_what_a_worker_says_is_checked(self) -> None:
        body = "os.write(3, b'p' + (14).to_bytes(4, 'little') + bytes([9, 0, 0, 0] * 2) + bytes(6)); time.sleep(60)"
        with (
            WholeDecoder(64, command=worker_that(body, name="decode_whole")) as one,
            pytest.raises(DecodeError) as found,
        ):
            one(BMP, PHOTO)
        assert found.value.reason == "the decoder's answer made no sense"


class TestWhereItIsDecoded:
    @pytest.mark.parametrize("form", ["JPEG", "PNG"])
    def test_everyday_pictures_start_no_process(self, decoder: MakeDecoder, form: str) -> None:
        one = decoder()
        one(encoded(scene(), form), PHOTO)
        assert not pids(one)

    def test_a_progressive_photo_starts_no_process(self, decoder: MakeDecoder) -> None:
        one = decoder()
        one(encoded(scene((1200, 800)), "JPEG", progressive=True), PHOTO)
        assert not pids(one)

    @pytest.mark.parametrize("form", RISKY)
    def test_other_formats_go_to_a_worker_whatever_the_name(self, decoder: MakeDecoder, form: str) -> None:
        one = decoder()
        one(encoded(scene(), form), Path("photo.jpg"))
        assert len(pids(one)) == 1

    def test_a_jpeg_of_thousands_of_scans_goes_to_a_worker(self) -> None:
        data = encoded(scene(), "JPEG", progressive=True)
        start = data.index(b"\xff\xda")
        bomb = data[:start] + 5000 * data[start : start + 40] + b"\xff\xd9"
        cost = cost_of(bomb, SMALL)
        assert cost is not None
        assert not cost.everyday

    @pytest.mark.parametrize(("width", "height", "colour", "heavy"), [(8000, 8000, 2, False), (9000, 9000, 2, True)])
    def test_a_png_is_heavy_by_its_header(self, width: int, height: int, colour: int, heavy: bool) -> None:
        cost = cost_of(png(width, height, colour=colour, hollow=True), SMALL)
        assert cost is not None
        assert (cost.heavy, cost.everyday) == (heavy, not heavy)

    def test_transparency_weighs(self) -> None:
        opaque, transparent = cost_of(png(5000, 5, colour=2), SMALL), cost_of(png(5000, 5, colour=6), SMALL)
        assert opaque is not None and transparent is not None
        assert transparent.memory_bytes > 3 * opaque.memory_bytes

    @pytest.mark.parametrize(("progressive", "heavy"), [(False, False), (True, True)])
    def test_a_jpeg_giant_is_heavy_only_when_progressive(self, progressive: bool, heavy: bool) -> None:
        data = encoded(scene((160, 120)), "JPEG", progressive=progressive)
        giant = data.replace(struct.pack(">HH", 120, 160), struct.pack(">HH", 12000, 16000))
        cost = cost_of(giant, SMALL)
        assert cost is not None
        assert cost.heavy is heavy

    @pytest.mark.parametrize("form", ["JPEG", "PNG"])
    def test_any_damaged_header_is_survived(self, form: str) -> None:
        data = encoded(scene(), form)
        chance = random.Random(1)
        for _ in range(2000):
            broken = bytearray(data[: chance.randrange(len(data))])
            for _ in range(min(3, len(broken))):
                broken[chance.randrange(min(len(broken), 200))] = chance.randrange(256)
            cost_of(bytes(broken), SMALL)

    def test_endless_padding_is_given_up(self) -> None:
        assert cost_of(b"\xff\xd8" + b"\xff" * 20_000_000, SMALL) is None


@posix_only
class TestCrash:
    @pytest.mark.parametrize(
        ("body", "cause"),
        [
            ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11, SIGSEGV"),
            ("os.abort()", "signal 6, SIGABRT"),
            ("os._exit(3)", "exit code 3"),
            ("raise AttributeError('a bug')", "exit code 1"),
        ],
    )
    def test_a_crash_fails_that_picture_and_says_how(self, decoder: MakeDecoder, body: str, cause: str) -> None:
        found = failure(decoder(worker_that(body)), BMP)
        assert found.kind == FailureKind.DECODER
        assert found.reason == f"the decoder crashed ({cause})"

    def test_the_pictures_around_a_crash_are_decoded(self, decoder: MakeDecoder) -> None:
        webp = encoded(scene(), "WEBP")
        one = decoder(worker_that("if data[:2] == b'BM': os.kill(os.getpid(), signal.SIGSEGV)", REALLY))
        for _ in range(2):
            one(webp, PHOTO)
            assert failure(one, BMP).kind == FailureKind.DECODER
        one(webp, PHOTO)

    def test_a_worker_killed_between_pictures_blames_none(self, decoder: MakeDecoder) -> None:
        one = decoder()
        one(BMP, PHOTO)
        (pid,) = pids(one)
        os.kill(pid, signal.SIGKILL)
        assert ends(pid)
        assert one(BMP, PHOTO)[1:] == (120, 80)
        assert pids(one) != [pid]

    @pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGALRM", "SIGXCPU", "SIGHUP"])
    def test_a_worker_that_is_killed_again_and_again_blames_none(self, decoder: MakeDecoder, name: str) -> None:
        found = failure(decoder(worker_that(f"os.kill(os.getpid(), signal.{name})")), BMP)
        assert found.kind == FailureKind.BUSY  # the kind that is always tried again
        assert name in found.reason
        assert "tried again" in found.reason

    def test_one_that_is_killed_for_memory_is_followed_by_one_alone(self, decoder: MakeDecoder, tmp_path: Path) -> None:
        mark = tmp_path / "killed"
        kill = "    mark.touch(); os.kill(os.getpid(), signal.SIGKILL)"
        one = decoder(worker_that(f"mark = Path({str(mark)!r})", "if not mark.exists():", kill, REALLY))
        with ThreadPoolExecutor(1) as pool:
            with one._one_heavy:
                waiting = pool.submit(one, BMP, PHOTO)
                while not mark.exists():
                    time.sleep(0.02)
                time.sleep(1)
                assert not waiting.done()
            assert waiting.result()[1:] == (120, 80)

    def test_a_crash_that_does_not_come_again_blames_none(self, decoder: MakeDecoder, tmp_path: Path) -> None:
        mark = tmp_path / "crashed"
        one = decoder(
            worker_that(f"mark = Path({str(mark)!r})", "if not mark.exists():", "    mark.touch(); os.abort()", REALLY)
        )
        assert one(BMP, PHOTO)[1:] == (120, 80)
        assert mark.exists()

    @pytest.mark.parametrize(
        "body",
        [
            "os.write(3, b'?' * 99); time.sleep(60)",  # no reply at all
            "os.write(3, b'p' + (2**31).to_bytes(4, 'little')); time.sleep(60)",  # too long
            "os.write(3, b'p' + (11).to_bytes(4, 'little') + bytes(11)); time.sleep(60)",  # too short for pixels
            "os.write(3, b'p' + (3080).to_bytes(4, 'little') + bytes(3080)); time.sleep(60)",  # 0 x 0
            "os.write(3, b'p' + (3080).to_bytes(4, 'little') + b'\\xff' * 3080); time.sleep(60)",  # too large
            "os.write(3, b'f' + (6).to_bytes(4, 'little') + b'gone\\nx'); time.sleep(60)",  # not for it to say
            "os.write(3, b'h' + bytes(4) + b'h' + bytes(4)); time.sleep(60)",  # heavy twice
        ],
    )
    def test_nonsense_from_a_worker_fails_that_picture(self, decoder: MakeDecoder, body: str) -> None:
        # The replies go through descriptor 3, the first free one in a process that was given three.
        found = failure(decoder(worker_that(body)), BMP)
        assert found.kind == FailureKind.DECODER
        assert found.reason == "the decoder's answer made no sense"

    def test_a_reason_cannot_steer_the_terminal(self, decoder: MakeDecoder) -> None:
        text = (
            "from phototag.errors import DecodeError; raise DecodeError(path, 'corrupt', 'x\\x1b[2J\\n' + 99999 * 'y')"
        )
        reason = failure(decoder(worker_that(text)), BMP).reason
        assert reason.startswith("x?[2J?yy")
        assert len(reason) <= 1000

    def test_what_libraries_print_reaches_nobody(self, decoder: MakeDecoder, capfd: pytest.CaptureFixture[str]) -> None:
        one = decoder(worker_that("os.write(1, b'noise'); os.write(2, b'noise')", "print('noise')", REALLY))
        assert one(BMP, PHOTO)[1:] == (120, 80)
        assert capfd.readouterr() == ("", "")


class TestLimits:
    def test_a_decoder_that_hangs_is_ended(self, decoder: MakeDecoder) -> None:
        one = decoder(worker_that("if data[:2] == b'BM': time.sleep(300)", REALLY), time_limit_seconds=0.5)
        started = time.monotonic()
        found = failure(one, BMP)
        assert found.kind == FailureKind.DECODER
        assert found.reason == "the decoder took longer than 0.5 s"
        assert time.monotonic() - started < 30
        assert not pids(one)

    @pytest.mark.parametrize("body", ["while True: pass", "os.nice(19)", "signal.pause()"])
    def test_computing_and_waiting_both_count(self, decoder: MakeDecoder, body: str) -> None:
        found = failure(decoder(worker_that(body, "while True: pass"), time_limit_seconds=0.5), BMP)
        assert (found.kind, found.reason) == (FailureKind.DECODER, "the decoder took longer than 0.5 s")

    @linux_only
    def test_time_in_which_a_worker_is_stopped_does_not_count(self, decoder: MakeDecoder, tmp_path: Path) -> None:
        mark = tmp_path / "stopped"
        stop = f"Path({str(mark)!r}).write_text(str(os.getpid())); os.kill(os.getpid(), signal.SIGSTOP)"
        one = decoder(worker_that(stop, REALLY), time_limit_seconds=0.5)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(one, BMP, PHOTO)
            while not mark.exists() or not mark.read_text():
                time.sleep(0.02)
            time.sleep(1.5)
            os.kill(int(mark.read_text()), signal.SIGCONT)
            assert waiting.result()[1:] == (120, 80)

    @linux_only
    def test_time_in_which_all_is_stopped_does_not_count(self) -> None:
        """As by Ctrl-Z, or with a machine that is paused."""
        script = (
            f"from {__name__} import BMP, PHOTO, REALLY, SMALL, Decoder, worker_that\n"
            "slow = worker_that('os.write(2, b\".\"); end = time.process_time() + 0.7',"
            " 'while time.process_time() < end: pass', REALLY)\n"
            "one = Decoder(SMALL, command=slow, time_limit_seconds=1.5)\n"
            "print('begun', flush=True)\n"
            "print(one(BMP, PHOTO)[1:])\n"
            "one.close()"
        )
        process = run_python(script, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        for _ in range(3):
            time.sleep(0.3)
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(2.5)
            os.killpg(process.pid, signal.SIGCONT)
        out, error = process.communicate(timeout=60)
        assert out == "(120, 80)\n", error

    def test_a_computer_that_gives_a_worker_no_time_is_to_blame(
        self, decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_process, "_activity", lambda _: (0.0, False))
        found = failure(decoder(worker_that("time.sleep(300)"), time_limit_seconds=0.2), BMP)
        assert found.kind == FailureKind.BUSY
        assert "too busy" in found.reason

    def test_a_picture_for_which_this_process_has_no_memory_goes_to_a_worker(
        self, decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise DecodeError(PHOTO, FailureKind.CORRUPT, "the picture is damaged: MemoryError") from MemoryError()

        monkeypatch.setattr(decoder_module, "decode_bytes", fail)
        assert decoder()(encoded(scene(), "JPEG"), PHOTO)[1:] == (120, 80)

    @linux_only
    def test_a_decoder_that_eats_memory_is_ended(self, decoder: MakeDecoder) -> None:
        one = decoder(
            worker_that("hoard = []", "while True: hoard.append(b'x' * 10_000_000)"), memory_limit_bytes=512 << 20
        )
        found = failure(one, BMP)
        assert found.kind == FailureKind.DECODER
        assert found.reason == "the decoder needed more than 0.5 GiB of memory"

    @linux_only
    @pytest.mark.parametrize("form", ["BMP", "TIFF", "GIF"])
    def test_a_picture_over_the_memory_limit_fails_and_the_next_goes_well(
        self, decoder: MakeDecoder, form: str
    ) -> None:
        one = decoder(memory_limit_bytes=300 << 20)
        large = encoded(Image.new("RGB", (8000, 7000)), form)
        assert failure(one, large).kind == FailureKind.DECODER
        assert one(BMP, PHOTO)[1:] == (120, 80)

    @linux_only
    def test_a_file_over_the_memory_limit_fails(self, decoder: MakeDecoder) -> None:
        found = failure(decoder(memory_limit_bytes=300 << 20), b"BM" + bytes(400 << 20))
        assert found.reason == "the decoder needed more than 0.3 GiB of memory"

    def test_a_worker_is_replaced_after_many_pictures(
        self, decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_pool, "_MOST_PICTURES", 3)
        one = decoder()
        seen = []
        for _ in range(5):
            one(BMP, PHOTO)
            seen.append(pids(one))
        assert seen[0] == seen[1]
        assert not seen[2]
        assert seen[3] == seen[4] != seen[0]

    @pytest.mark.parametrize("limit", [None, 1])
    def test_larger_pictures_than_allowed_are_refused(self, decoder: MakeDecoder, limit: int | None) -> None:
        one = decoder(**({} if limit is None else {"max_megapixels": limit}))
        size = (20_000, 20_000) if limit is None else (1100, 1000)
        found = failure(one, png(*size, hollow=True))
        assert found.kind == FailureKind.TOO_LARGE
        assert f"limit of {limit or 300} megapixels" in found.reason

    def test_heavy_pictures_are_decoded_one_at_a_time(self, decoder: MakeDecoder, tmp_path: Path) -> None:
        # A heavy one leaves a mark while it is decoded, and tells when it finds that of another; others pass by.
        mark, met = tmp_path / "busy", tmp_path / "met"
        one = decoder(
            worker_that(
                f"mark = Path({str(mark)!r})",
                "if data[:2] == b'BM': return real(data, preprocessing, path, max_megapixels=max_megapixels)",
                f"if mark.exists(): Path({str(met)!r}).touch()",
                "mark.touch(); time.sleep(0.1); mark.unlink(missing_ok=True)",
                "return real(Path(os.environ['SMALL_PICTURE']).read_bytes(), preprocessing, path, max_megapixels=1)",
            )
        )
        heavy = png(10_000, 9_000, colour=2, hollow=True)
        small = tmp_path / "small.bmp"
        small.write_bytes(BMP)
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(4) as pool:
            patch.setenv("SMALL_PICTURE", str(small))
            sizes = list(pool.map(lambda data: one(data, PHOTO)[1:], [heavy, heavy, BMP, heavy, heavy, BMP]))
        assert sizes == [(120, 80)] * 6
        assert not met.exists()

    def test_waiting_for_another_heavy_one_does_not_count_as_decoding(self, decoder: MakeDecoder) -> None:
        one = decoder(time_limit_seconds=1.5)
        with ThreadPoolExecutor(1) as pool:
            with one._one_heavy:
                waiting = pool.submit(failure_or_size, one, png(9000, 8000, hollow=True, colour=2))
                time.sleep(2.2)
            assert waiting.result().kind in {FailureKind.TRUNCATED, FailureKind.CORRUPT}


def failure_or_size(decoder: Decoder, data: bytes) -> Any:
    try:
        return decoder(data, PHOTO)[1:]
    except DecodeError as error:
        return error


class TestHostile:
    @pytest.mark.parametrize(
        "data",
        [
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 17000, -17000, 1, 24, 0, 0, 0, 0, 0, 0),
            b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
            b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
            b"RIFF\x20\0\0\0WEBPVP8X" + struct.pack("<II", 10, 0x10) + b"\xff\xff\xff\xff\xff\xff",
        ],
    )
    def test_headers_that_claim_huge_sizes_fail_at_once(self, plain: Decoder, data: bytes) -> None:
        started = time.monotonic()
        failure(plain, data)
        assert time.monotonic() - started < 30

    @pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (17000, 17000), (1, 200_000_000), (200_000_000, 1)])
    def test_tiff_headers_that_claim_huge_sizes_fail(self, plain: Decoder, size: tuple[int, int]) -> None:
        entries = [(256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1)]
        entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, size[1]), (279, 4, 1, 2**31)]
        ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
        failure(plain, b"II*\0" + struct.pack("<I", 8) + ifd)

    def test_a_picture_one_pixel_wide_and_200_million_high_is_survived(self, plain: Decoder) -> None:
        one = plain
        for size in ((1, 200_000_000), (200_000_000, 1)):
            assert failure(one, png(*size, hollow=True)).kind in {FailureKind.CORRUPT, FailureKind.TRUNCATED}

    @pytest.mark.slow
    def test_a_decompression_bomb_below_the_limit_is_decoded(self, plain: Decoder) -> None:
        bomb = png(15_000, 15_000)
        assert len(bomb) < 1_100_000
        pixels, width, height = plain(bomb, PHOTO)
        assert (width, height) == (15_000, 15_000)
        assert not pixels.any()

    def test_random_bytes_behind_every_magic_fail_or_decode(self, plain: Decoder) -> None:
        one, chance = plain, random.Random(2)
        for form in RISKY:
            data = encoded(scene((64, 64)), form)
            for _ in range(40):
                broken = bytearray(data)
                for _ in range(8):
                    broken[chance.randrange(len(broken))] = chance.randrange(256)
                failure_or_size(one, bytes(broken))

    @linux_only
    @pytest.mark.slow
    def test_memory_of_this_process_stays_flat(self) -> None:
        script = (
            "import resource, sys; sys.path.insert(0, sys.argv[1])\n"
            "from concurrent.futures import ThreadPoolExecutor\n"
            "from pathlib import Path\n"
            f"from {__name__} import png, PHOTO, SMALL, Decoder\n"
            "data = png(10_000, 8_000, colour=2)\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before = peak()\n"
            "with Decoder(SMALL) as decoder, ThreadPoolExecutor(3) as pool:\n"
            "    found = [picture[1:] for picture in pool.map(lambda _: decoder(data, PHOTO), range(6))]\n"
            "assert found == [(10_000, 8_000)] * 6\n"
            "print((peak() - before) // 1024)"
        )
        words = [sys.executable, "-c", script, str(ROOT)]
        done = subprocess.run(words, capture_output=True, check=True, text=True, timeout=300)
        assert int(done.stdout) < 60  # MiB; one such picture takes 305


@linux_only
class TestLifetime:
    def test_closing_ends_every_worker_and_leaves_no_zombie(self) -> None:
        one = Decoder(SMALL)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: one(BMP, PHOTO), range(12)))
        children = pids(one)
        started = time.monotonic()
        one.close()
        assert time.monotonic() - started < 10
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        one.close()

    def test_a_closed_decoder_refuses(self) -> None:
        with Decoder(SMALL) as one:
            one(BMP, PHOTO)
        with pytest.raises(RuntimeError, match="closed"):
            one(BMP, PHOTO)

    def test_closing_does_not_wait_for_a_decoder_that_hangs(self, tmp_path: Path) -> None:
        mark = tmp_path / "begun"
        one = Decoder(SMALL, command=worker_that(f"Path({str(mark)!r}).touch(); time.sleep(300)"))
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(one, BMP, PHOTO)
            while not mark.exists():
                time.sleep(0.02)
            one.close()
            with pytest.raises(RuntimeError, match="closed"):
                hanging.result(timeout=30)

    @pytest.mark.parametrize(
        "body",
        [REALLY, pytest.param("Path(sys.argv[1]).touch(); time.sleep(300)", marks=pytest.mark.slow, id="it hangs")],
    )
    def test_workers_end_with_a_killed_parent(self, tmp_path: Path, body: str) -> None:
        # Idle or busy: one that hangs has its own alarm, ten seconds after the time limit.
        mark = tmp_path / "begun"
        script = (
            "import sys, time; sys.path.insert(0, sys.argv[1])\n"
            f"from {__name__} import BMP, PHOTO, SMALL, Decoder, worker_that, pids\n"
            "import threading\n"
            f"one = Decoder(SMALL, command=[*worker_that({body!r}), {str(mark)!r}], time_limit_seconds=1.5)\n"
            "threading.Thread(target=one, args=(BMP, PHOTO), daemon=True).start()\n"
            "while not pids(one): time.sleep(0.02)\n"
            "print(*pids(one), flush=True)\n"
            "time.sleep(300)"
        )
        words = [sys.executable, "-c", script, str(ROOT)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            give_up = time.monotonic() + 1
            while not mark.exists() and time.monotonic() < give_up:
                time.sleep(0.02)
            parent.kill()
        assert ends(pid, within_seconds=40)

    def test_ctrl_c_in_the_terminal_does_not_reach_the_decoding(self, decoder: MakeDecoder) -> None:
        one = decoder(worker_that("os.kill(os.getpid(), signal.SIGINT)", REALLY))
        assert one(BMP, PHOTO)[1:] == (120, 80)

    def test_workers_load_nothing_heavy_and_leave_no_core(self, decoder: MakeDecoder) -> None:
        heavy = "{'torch', 'openvino', 'timm', 'numba', 'sqlalchemy'} & set(sys.modules)"
        cores = "__import__('resource').getrlimit(4) != (0, 0)"
        one = decoder(worker_that(f"if {heavy} or {cores}: os.abort()", REALLY))
        assert one(BMP, PHOTO)[1:] == (120, 80)


class TestNoWorker:
    @pytest.fixture(autouse=True)
    def _no_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_pool, "_WAITS_SECONDS", (0.0, 0.01))

    @pytest.mark.parametrize(
        ("command", "problem"),
        [(["/nowhere/python"], "No such file"), ([sys.executable, "-c", "raise SystemExit(7)"], "exit code 7")],
    )
    def test_failing_to_start_is_not_the_pictures_fault(
        self, decoder: MakeDecoder, command: list[str], problem: str
    ) -> None:
        one = decoder(command)
        found = failure(one, BMP)
        assert found.kind == FailureKind.BUSY  # the kind that is always tried again
        assert "no worker process" in found.reason
        assert problem in found.reason
        assert not pids(one)

    def test_everyday_pictures_need_none(self, decoder: MakeDecoder) -> None:
        assert decoder(["/nowhere/python"])(encoded(scene(), "JPEG"), PHOTO)[1:] == (120, 80)

    def test_a_module_named_like_ours_in_the_working_folder_is_not_taken(
        self, decoder: MakeDecoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "PIL.py").write_text("raise SystemExit(9)")
        (tmp_path / "json.py").write_text("raise SystemExit(9)")
        monkeypatch.chdir(tmp_path)
        assert decoder()(BMP, PHOTO)[1:] == (120, 80)


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with Decoder(SMALL) as one:
        one(BMP, PHOTO)
    assert threading.active_count() == before


def test_a_256_mib_picture_is_where_heavy_begins() -> None:
    assert HEAVY_BYTES == 256 * 2**20
