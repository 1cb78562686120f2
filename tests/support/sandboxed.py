"""Decoders in worker processes, workers that do what a test says, and pictures for them."""

from __future__ import annotations

import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from phototag.errors import DecodeError
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.sandbox.decoder import Decoder, WholeDecoder
from tests.support.pictures import encoded, scene

SMALL = Preprocessing(size=32, crop=1.0)
PHOTO = Path("photo")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
RISKY = ("WEBP", "TIFF", "GIF", "BMP", "AVIF")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits are POSIX matters")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, or needs a limit on address space")


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


def pids(decoder: Decoder | WholeDecoder) -> list[int]:
    return [worker._process.pid for worker in decoder._all]


def failure(decoder: Decoder, data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoder(data, PHOTO)
    assert caught.value.path == PHOTO
    return caught.value


def ends(pid: int, *, within_seconds: float = 50) -> bool:
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
