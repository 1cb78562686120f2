"""Pictures of known pixels, and what has to be seen of them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.decode import decode_bytes, decode_whole, picture_size
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.thumbnails.render import render_thumbnail

WIDTH, HEIGHT = 90, 60
NAMELESS = Path("picture")
WHOLE = Preprocessing(size=60, crop=1.0)


def gradient(channels: int) -> np.ndarray:
    """Known brightness from 0 to 1, [H, W, C]: another direction in every channel."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    return np.stack([x, y, 1 - (x + y) / 2, (x + 1 - y) / 2][:channels], axis=-1)


def shown(data: bytes) -> np.ndarray:
    image = decode_whole(data, short_side=HEIGHT, path=NAMELESS)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def as_seen(colours: np.ndarray) -> np.ndarray:
    """What brightness from 0 to 1 looks like as RGB of 8 bits."""
    return np.round(np.broadcast_to(colours, (*colours.shape[:2], 3)) * 255).astype(int)


def assert_shows(data: bytes, colours: np.ndarray, *, within: float = 2) -> None:
    """The whole picture, the square for a network and the thumbnail all have these colours."""
    expected = as_seen(colours)
    assert picture_size(data, NAMELESS) == (WIDTH, HEIGHT)
    assert np.abs(shown(data) - expected).max() <= within
    square = decode_bytes(data, WHOLE, NAMELESS)[0].astype(int)
    assert np.abs(square - expected[:, 15:75])[2:-2, 2:-2].max() <= within + 2
    small = Image.open(io.BytesIO(render_thumbnail(data, (2048, 2048), NAMELESS)))
    assert np.abs(np.asarray(small).astype(int) - expected).mean() <= within + 4


def refusal(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_bytes(data, WHOLE, NAMELESS)
    with pytest.raises(DecodeError):
        decode_whole(data, short_side=HEIGHT, path=NAMELESS)
    return caught.value


def stored_as(colours: np.ndarray, kind: str, bits: int | None = None) -> np.ndarray:
    """Brightness from 0 to 1 in the samples of a type, over all that it can hold."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return colours.astype(dtype)
    top = 2**bits - 1 if bits else np.iinfo(dtype).max
    return np.round(colours * float(top)).astype(np.float64).clip(0, top).astype(dtype)


INTEGERS = [("u1", None), ("u2", None), ("u4", None), ("i1", None), ("i2", None), ("i4", None)]
PACKED = [("u1", 2), ("u1", 4), ("u1", 6), ("u2", 10), ("u2", 12), ("u2", 14), ("u4", 24)]
FLOATS = [("f2", None), ("f4", None), ("f8", None)]


def tolerance(kind: str, bits: int | None) -> float:
    return {2: 43, 4: 9, 6: 4}.get(bits or 8, 2)


def png_file(samples: np.ndarray, colour: int, bits: int, *more: tuple[bytes, bytes], palette: bytes = b"") -> bytes:
    """A PNG of samples [H, W, S], with further chunks before the pixels."""
    height, width, _ = samples.shape
    flat = samples.reshape(height, -1).astype(np.uint32)
    single = ((flat[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    rows = np.packbits(single.reshape(height, -1), axis=1)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"PLTE", palette)] if palette else []), *more, (b"IDAT", content), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
