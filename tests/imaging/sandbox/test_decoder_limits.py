"""Time, memory and size that a picture may take in a worker, and pictures made to take more."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.cost import HEAVY_BYTES
from phototag.imaging.sandbox import decoder as decoder_module
from phototag.imaging.sandbox import pool as worker_pool
from phototag.imaging.sandbox import process as worker_process
from phototag.imaging.sandbox.decoder import Decoder
from phototag.records import FailureKind
from tests.support.commands import run_python
from tests.support.project import ROOT
from tests.support.sandboxed import (
    BMP,
    PHOTO,
    REALLY,
    RISKY,
    MakeDecoder,
    encoded,
    failure,
    linux_only,
    pids,
    png,
    scene,
    worker_that,
)


class TestLimits:
    def test_a_decoder_that_hangs_is_ended(self, decoder: MakeDecoder) -> None:
        one = decoder(worker_that("if data[:2] == b'BM': time.sleep(300)", REALLY), time_limit_seconds=0.5)
        started = time.monotonic()
        found = failure(one, BMP)
        assert found.kind == FailureKind.DECODER
        assert found.reason == "the decoder took longer than 0.5 s"
        assert time.monotonic() - started < 30
        assert not pids(one)

    @pytest.mark.parametrize("body", ["while True: pass", "signal.pause()"])
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
            "from tests.support.sandboxed import BMP, PHOTO, REALLY, SMALL, Decoder, worker_that\n"
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
        for _ in range(2):
            time.sleep(0.3)
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(2.0)
            os.killpg(process.pid, signal.SIGCONT)
        out, error = process.communicate(timeout=120)
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
            "from tests.support.sandboxed import png, PHOTO, SMALL, Decoder\n"
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


def test_a_256_mib_picture_is_where_heavy_begins() -> None:
    assert HEAVY_BYTES == 256 * 2**20
