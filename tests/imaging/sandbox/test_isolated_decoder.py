"""Decoding in worker processes: same pixels, and no picture, however hostile, takes this process down."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.cost import cost_of
from phototag.imaging.decode import decode_bytes, decode_whole
from phototag.imaging.sandbox import pool as worker_pool
from phototag.imaging.sandbox.decoder import Decoder, WholeDecoder
from phototag.records import FailureKind
from tests.support.project import ROOT
from tests.support.sandboxed import (
    BMP,
    FORMATS,
    PHOTO,
    REALLY,
    RISKY,
    SMALL,
    MakeDecoder,
    encoded,
    ends,
    failure,
    linux_only,
    pids,
    png,
    posix_only,
    scene,
    worker_that,
)


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

    @pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise MemoryError"])
    def test_one_that_ends_for_lack_of_memory_is_followed_by_one_alone(
        self, decoder: MakeDecoder, tmp_path: Path, end: str
    ) -> None:
        mark = tmp_path / "ended"
        one = decoder(
            worker_that(f"mark = Path({str(mark)!r})", "if not mark.exists():", f"    mark.touch(); {end}", REALLY)
        )
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
                hanging.result(timeout=120)

    @pytest.mark.parametrize(
        "body",
        [REALLY, pytest.param("Path(sys.argv[1]).touch(); time.sleep(300)", marks=pytest.mark.slow, id="it hangs")],
    )
    def test_workers_end_with_a_killed_parent(self, tmp_path: Path, body: str) -> None:
        # Idle or busy: one that hangs has its own alarm, here soon after the time limit.
        mark = tmp_path / "begun"
        *python, code = worker_that(body)
        command = [
            *python,
            f"from phototag.imaging.sandbox import worker\nworker.PATIENCE = 1\nworker._SPARE_SECONDS = 0.5\n{code}",
        ]
        script = (
            "import sys, time; sys.path.insert(0, sys.argv[1])\n"
            f"from tests.support.sandboxed import BMP, PHOTO, SMALL, Decoder, pids\n"
            "import threading\n"
            f"one = Decoder(SMALL, command=[*{command!r}, {str(mark)!r}], time_limit_seconds=1.5)\n"
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
