"""Bring pixels of any mode and colour space to opaque 8-bit sRGB: what networks learned from and screens show."""

from __future__ import annotations

import io
import struct
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from phototag.imaging.formats import UnsupportedPictureError

# The colour space that a profile has to be of, by the mode of the pixels.
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_GREYS = frozenset({"1", "L", "LA", "La"})
# A profile that moves no colour by more than this, of 255, is sRGB under another name.
_UNSEEN = 3
_SRGB_GAMMA = 1 / 2.2
# Floating-point values count from 0 to 1. Where this share of them is above, they count to there instead.
_ABOVE = 0.995
_INTEGER_TOPS = (255, 65_535)
_MOST_LOOKED_AT = 1 << 20
# Red, green and blue of wider spaces than sRGB as XYZ under D50, by their numbers in ITU-T H.273: BT.2020, Display P3.
_PRIMARIES = {
    9: ((0.6734, 0.2790, -0.0019), (0.1656, 0.6753, 0.0300), (0.1251, 0.0456, 0.7969)),
    12: ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)),
}
_WHITE = (0.9642, 1.0, 0.8249)
_LINEAR = 8
# PQ and HLG.
HIGH_DYNAMIC_RANGE = _PQ, _HLG = 16, 18
# How bright white paper is in them (ITU-R BT.2408-7), and the peak of the screen that HLG is for (BT.2100-2), in nits.
_WHITE_NITS, _HLG_PEAK_NITS = 203.0, 1000.0
# From BT.2020 to BT.709 in linear light (ITU-R BT.2407-0), and the same from Display P3.
_TO_BT709 = {
    9: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    12: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}
# The curve of sRGB (IEC 61966-2-1) as an ICC profile says it.
_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def opaque(image: Image.Image) -> Image.Image:
    """Return the image in 8 bits, of mode L, RGB, CMYK or LAB: transparency on white, more bits scaled, not clipped."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I") or mode == "F":
        return _scaled(image)
    if image.has_transparency_data:
        grey = mode in _GREYS or "grey" in image.info
        layered = image.convert("LA" if grey else "RGBA")
        alpha = layered.getchannel("A")
        if image.format == "BMP" and alpha.getextrema() == (0, 0):
            return layered.convert("RGB")  # the fourth byte means nothing to most programs that write one
        base = "L" if grey else "RGB"
        canvas = Image.new(base, image.size, "white")
        canvas.paste(layered.convert(base), mask=alpha)
        return canvas
    extent = image.info.get("extent")
    if extent not in (None, (0, 0, *image.size)):
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image.crop(extent).convert("RGB"), extent)
        return canvas
    if mode in ("L", "CMYK", "LAB"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def in_srgb(image: Image.Image, info: dict[str | tuple[int, int], object]) -> Image.Image:
    """Return an image of the modes that `opaque` gives as sRGB, by what the `info` of the picture says of its colours.

    A profile that is damaged, or of another colour space than the pixels, is passed over.
    """
    profile, gamma = info.get("icc_profile"), info.get("gamma")
    if isinstance(profile, bytes):
        transform = _to_srgb(profile, image.mode)
        if transform is not None:
            return transform.apply(image)
    elif (
        isinstance(gamma, float) and 0.1 < gamma < 10 and abs(gamma - _SRGB_GAMMA) > 0.05 and image.mode in ("L", "RGB")
    ):
        curve = [round(255 * (value / 255) ** (_SRGB_GAMMA / gamma)) for value in range(256)]
        image = image.point(curve * len(image.getbands()))
    return image if image.mode == "RGB" else image.convert("RGB")


def changes_colours(image: Image.Image, info: dict[str | tuple[int, int], object]) -> bool:
    """Return whether `in_srgb` has a profile to follow, which costs more than all else."""
    profile = info.get("icc_profile")
    return isinstance(profile, bytes) and _to_srgb(profile, image.mode) is not None


def coded_colours(primaries: int, transfer: int) -> dict[str, object]:
    """Return what code points of ITU-T H.273 say of a picture's colours, as `in_srgb` takes it.

    Raises:
        UnsupportedPictureError: they mean brightness beyond that of a screen.
    """
    if transfer in HIGH_DYNAMIC_RANGE:
        raise UnsupportedPictureError("a picture of high dynamic range (PQ or HLG)")
    if primaries in _PRIMARIES and transfer != _LINEAR:
        return {"icc_profile": _profile(primaries)}
    return {"gamma": 1.0} if transfer == _LINEAR else {}


def from_high_dynamic_range(samples: NDArray[np.uint16], primaries: int, transfer: int) -> NDArray[np.uint8]:
    """Return samples in PQ or HLG [H, W, 3] in sRGB: paper white becomes white, and what is brighter is cut off.

    The curves are those of ITU-R BT.2100-2, tables 4 and 5.
    """
    light = _pq_light() if transfer == _PQ else _hlg_light()
    matrix = np.array(_TO_BT709.get(primaries, np.eye(3)), np.float32).T
    small = np.empty(samples.shape, np.uint8)
    rows = max(1, _MOST_LOOKED_AT // max(1, samples.shape[1]))
    for start in range(0, samples.shape[0], rows):
        linear = light[samples[start : start + rows] >> 4]
        if transfer == _HLG:
            # What the sensor saw becomes what the screen shows, by the brightness of the pixel.
            brightness = linear @ np.array((0.2627, 0.6780, 0.0593), np.float32)
            linear = linear * (_HLG_PEAK_NITS / _WHITE_NITS * brightness**0.2)[:, :, None]
        mapped = np.clip(linear @ matrix, 0.0, 1.0)
        curved = np.where(mapped <= 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055)
        small[start : start + rows] = curved * 255 + 0.5
    return small


@cache
def _pq_light() -> NDArray[np.float32]:
    """Return the light that each of 4096 values of PQ stands for, white paper being 1."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.linspace(0, 1, 4096) ** (1 / m2)
    nits = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return (nits / _WHITE_NITS).astype(np.float32)


@cache
def _hlg_light() -> NDArray[np.float32]:
    """Return the light before the camera that each of 4096 values of HLG stands for, from 0 to 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.linspace(0, 1, 4096)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)


def _profile(primaries: int) -> bytes:
    """Return an ICC profile (version 4) of those primaries with the curve of sRGB."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*_WHITE)}
    for letter, xyz in zip((b"r", b"g", b"b"), _PRIMARIES[primaries], strict=True):
        tags[letter + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*xyz)
        tags[letter + b"TRC"] = b"para\0\0\0\0\0\3\0\0" + fixed(*_CURVE)
    table, body = struct.pack(">I", len(tags)), b""
    for name, part in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(part))
        body += part
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"lcms", 0x04200000, b"mntr", b"RGB ", b"XYZ ")
    return (head + bytes(12) + b"acsp" + bytes(28) + fixed(*_WHITE)).ljust(128, b"\0") + table + body


@lru_cache(maxsize=16)  # a camera writes the same profile into every photo
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile's colours to sRGB, None where there is none, or no need for one."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES.get(mode):
            return None
        # Without its cache a transform may be used by several threads.
        flags = ImageCms.Flags.NOCACHE
        transform = ImageCms.ImageCmsTransform(source, _srgb(), mode, "RGB", flags=flags)
        if mode == "CMYK":
            return transform
        probe = _probe().convert(mode)
        moved = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if np.abs(moved).max() > _UNSEEN else None


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _probe() -> Image.Image:
    """Return an image of colours all over the cube."""
    values = np.linspace(0, 255, 8).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(values, values, values), axis=-1).reshape(8, 64, 3))


def _scaled(image: Image.Image) -> Image.Image:
    """Return an image of more than 8 bits in mode L."""
    values = np.asarray(image)
    small = scaled_samples(values)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        small[values == transparent] = 255
    return Image.fromarray(small)


def scaled_samples(values: NDArray[Any], *, bits: int | None = None) -> NDArray[np.uint8]:
    """Return samples of any type as uint8, from black to white.

    Args:
        values: Signed or unsigned integers, or floating-point numbers, of which those below 0 are black.
        bits: How many bits unsigned integers have; None is as many as their type.
    """
    if values.dtype == np.uint8 and bits in (None, 8):
        return values
    if values.dtype.kind == "f":
        some = values.reshape(-1)[:: max(1, values.size // _MOST_LOOKED_AT)]
        some = some[np.isfinite(some)]
        top = max(1.0, float(np.quantile(some, _ABOVE))) if some.size else 1.0
    else:
        most = int(values.max(initial=0))
        full = int(np.iinfo(values.dtype).max) if bits is None or values.dtype.kind == "i" else 2**bits - 1
        # Many programs store what has 8 or 16 bits in 32.
        shorter = (end for end in _INTEGER_TOPS if most <= end and full > _INTEGER_TOPS[-1])
        top = float(next(shorter, full))
    small = np.empty(values.shape, np.uint8)
    rows = max(1, _MOST_LOOKED_AT * values.shape[0] // max(1, values.size))
    # A giant needs no second copy in floating point.
    for start in range(0, values.shape[0], rows):
        part = np.nan_to_num(values[start : start + rows].astype(np.float64), posinf=top, neginf=0.0)
        small[start : start + rows] = np.clip(part * (255.0 / top) + 0.5, 0, 255)
    return small
