"""JPEG decoding as a GPU does it, here on whatever device there is: the same pictures, and a fallback for each file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from phototag.choices import DecodeOn
from phototag.errors import DecodeError, UsageError
from phototag.imaging.colour import coded_colours
from phototag.imaging.decode import decode_bytes
from phototag.imaging.preprocessing import Preprocessing
from phototag.runtime.nvjpeg import GpuJpegDecoder
from phototag.tagging.tagger import Tagger

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
PREPROCESSING = Preprocessing(size=64, crop=0.875)
NAMELESS = Path("nameless.jpg")


class Fallback:
    """Decodes on the CPU, and counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: bytes, path: Path) -> tuple[NDArray[np.uint8], int, int]:
        self.calls += 1
        return decode_bytes(data, PREPROCESSING, path)


def jpeg(size: tuple[int, int] = (320, 200), mode: str = "RGB", form: str = "JPEG", **save: Any) -> bytes:
    blots = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    picture.save(file, form, **save)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif, quality=95)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_those_of_the_cpu_and_upright(device: str, orientation: int) -> None:
    fallback = Fallback()
    decode = GpuJpegDecoder(PREPROCESSING, fallback, device=device, max_pixels=10**9)
    pixels, width, height = decode(turned(orientation), NAMELESS)
    expected, *size = decode_bytes(turned(orientation), PREPROCESSING, NAMELESS)
    assert fallback.calls == 0
    assert [width, height] == size
    assert pixels.dtype == np.uint8 and pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("device", DEVICES)
def test_colour_profiles_are_followed(device: str) -> None:
    fallback = Fallback()
    decode = GpuJpegDecoder(PREPROCESSING, fallback, device=device, max_pixels=10**9)
    data = jpeg(quality=95, **coded_colours(12, 13))
    pixels, *_ = decode(data, NAMELESS)
    expected = decode_bytes(data, PREPROCESSING, NAMELESS)[0]
    plain = decode_bytes(jpeg(quality=95), PREPROCESSING, NAMELESS)[0]
    assert fallback.calls == 0
    assert np.abs(pixels.astype(int) - expected).mean() < 2 < np.abs(plain.astype(int) - expected).mean()


@pytest.mark.parametrize("device", DEVICES)
def test_a_photo_cut_and_closed_again_is_refused(device: str) -> None:
    decode = GpuJpegDecoder(PREPROCESSING, Fallback(), device=device, max_pixels=10**9)
    whole = jpeg(quality=95)
    with pytest.raises(DecodeError, match="cut short"):
        decode(whole[: len(whole) // 2] + b"\xff\xd9", NAMELESS)


@pytest.mark.parametrize("device", DEVICES)
def test_grey_pictures_have_three_equal_channels(device: str) -> None:
    fallback = Fallback()
    pixels, *_ = GpuJpegDecoder(PREPROCESSING, fallback, device=device, max_pixels=10**9)(jpeg(mode="L"), NAMELESS)
    assert fallback.calls == 0
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "data",
    [jpeg(form="PNG"), jpeg(mode="CMYK"), jpeg() + b"more", jpeg(form="WEBP"), jpeg((700, 700))],
    ids=["png", "cmyk", "something after the end", "webp", "too large"],
)
def test_what_is_no_plain_jpeg_goes_to_the_cpu(device: str, data: bytes) -> None:
    fallback = Fallback()
    decode = GpuJpegDecoder(PREPROCESSING, fallback, device=device, max_pixels=400_000)
    pixels, *_ = decode(data, NAMELESS)
    assert fallback.calls == 1
    assert (pixels == decode_bytes(data, PREPROCESSING, NAMELESS)[0]).all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_file_that_the_device_cannot_decode_goes_to_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("unsupported chroma subsampling")

    monkeypatch.setattr("torchvision.io.decode_jpeg", refuse)
    fallback = Fallback()
    GpuJpegDecoder(PREPROCESSING, fallback, device=device, max_pixels=10**9)(jpeg(), NAMELESS)
    assert fallback.calls == 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("data", [jpeg()[:-40], b"", b"\xff\xd8\xff\xd9", b"\xff\xd8" + b"x" * 50 + b"\xff\xd9"])
def test_a_broken_file_is_told_as_on_the_cpu(device: str, data: bytes) -> None:
    decode = GpuJpegDecoder(PREPROCESSING, Fallback(), device=device, max_pixels=10**9)
    with pytest.raises(DecodeError):
        decode(data, NAMELESS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has a CUDA device")
def test_decoding_on_a_gpu_needs_one(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="--decode-on gpu needs a CUDA device"):
        Tagger(tiny_model, decode_on=DecodeOn.GPU)
