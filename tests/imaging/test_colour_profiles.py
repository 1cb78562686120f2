"""Colour profiles of every kind are followed, or the true reason says why not."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from phototag.imaging.decode import decode_bytes
from phototag.records import FailureKind
from tests.support.known_pixels import (
    HEIGHT,
    NAMELESS,
    WHOLE,
    WIDTH,
    as_seen,
    assert_shows,
    gradient,
    png_file,
    refusal,
    shown,
    stored_as,
)
from tests.support.pictures import encoded
from tests.support.tiff_files import page_of, tiff_file


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (version 2) of a screen or of greys."""
    white = b"".join(struct.pack(">i", round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        **tags,
    }
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + white
    table, body = struct.pack(">I", len(tags)), b""
    for name, part in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    return (head + bytes(12) + b"acsp" + bytes(28) + white).ljust(128, b"\0") + table + body


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def colour(*xyz: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in xyz)


WIDE = profile(
    b"RGB ",
    {
        b"rXYZ": colour(0.7977, 0.2880, 0),
        b"gXYZ": colour(0.1352, 0.7119, 0),
        b"bXYZ": colour(0.0314, 0.0001, 0.8252),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(1.8)),
    },
)
LINEAR_GREY = profile(b"GRAY", {b"kTRC": curve(1.0)})
SAFE = {
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 98, "subsampling": 0},
    "AVIF": {"quality": 98},
}


SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))


def to_xyz(chromaticities: tuple[tuple[float, float], ...]) -> np.ndarray:
    """The matrix from linear red, green and blue to XYZ, white being D65."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in chromaticities]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return np.asarray(columns * np.linalg.solve(columns, white))


class TestProfiles:
    """The same colours look the same, whichever space they are stored in."""

    SEEN = 0.3 + 0.4 * gradient(3)

    @pytest.mark.parametrize("form", SAFE)
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_a_wide_gamut(self, form: str, mode: str) -> None:
        image = Image.fromarray(as_seen(self.SEEN).astype(np.uint8))
        wide = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
        stored = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), wide)
        assert stored is not None
        assert np.abs(np.asarray(stored).astype(int) - as_seen(self.SEEN)).mean() > 10
        try:
            data = encoded(stored.convert(mode), form, icc_profile=WIDE, **SAFE[form])
        except OSError:
            pytest.skip(f"Pillow writes no {form} of mode {mode}")
        assert_shows(data, self.SEEN, within=12 if form in ("JPEG", "AVIF") else 4)

    @pytest.mark.parametrize("mode", ["L", "LA"])
    @pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
    def test_greys(self, form: str, mode: str) -> None:
        seen = 0.3 + 0.4 * gradient(1)
        light = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
        image = Image.fromarray(np.round(light[:, :, 0] * 255).astype(np.uint8)).convert(mode)
        if form == "JPEG" and mode == "LA":
            pytest.skip(f"Pillow writes no {form} of mode {mode}")
        assert_shows(encoded(image, form, icc_profile=LINEAR_GREY, **SAFE[form]), seen, within=6)

    def test_a_bitmap(self) -> None:
        image = Image.fromarray(as_seen(self.SEEN).astype(np.uint8))
        stored = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
        )
        pixels = np.asarray(stored)[:, :, ::-1]
        body = b"".join(row.tobytes() + bytes(-3 * WIDTH % 4) for row in pixels)
        head = struct.pack("<IiiHHIIiiII", 124, WIDTH, -HEIGHT, 1, 24, 0, 0, 0, 0, 0, 0).ljust(56, b"\0") + b"DEBM"
        head = head.ljust(112, b"\0") + struct.pack("<III", 124 + len(body), len(WIDE), 0)
        assert_shows(b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 124) + head + body + WIDE, self.SEEN, within=4)

    @pytest.mark.parametrize("form", ["JPEG", "TIFF"])
    def test_inks(self, form: str) -> None:
        """A printer of its own, whose cyan is a green and whose black a brown."""
        seen = {(0, 0, 0, 0): (100, 0, 0), (255, 0, 0, 0): (60, -50, 40), (0, 0, 0, 255): (30, 20, 30)}
        nodes = bytearray(b"\0\x80\x80" * 16)
        for inks, (light, a, b) in seen.items():
            at = 3 * int("".join(str(ink // 255) for ink in inks), 2)
            nodes[at : at + 3] = bytes([light * 255 // 100, a + 128, b + 128])
        straight = bytes(range(256))
        matrix = b"".join(struct.pack(">i", 65536 if n % 4 == 0 else 0) for n in range(9))
        table = b"mft1\0\0\0\0\4\3\2\0" + matrix + straight * 4 + bytes(nodes) + straight * 3
        printer = bytearray(profile(b"CMYK", {b"A2B0": table}))
        printer[12:16], printer[20:24] = b"prtr", b"Lab "
        for inks, lab in seen.items():
            image = Image.new("CMYK", (WIDTH, HEIGHT), inks)
            data = encoded(image, form, icc_profile=bytes(printer), **SAFE[form])
            pixel = Image.frombytes("LAB", (1, 1), struct.pack("Bbb", lab[0] * 255 // 100, *lab[1:])).convert("RGB")
            expected = np.array(pixel.getpixel((0, 0)))
            assert np.abs(shown(data)[30, 40] - expected).max() <= 8
            assert np.abs(decode_bytes(data, WHOLE, NAMELESS)[0][30, 30] - expected).max() <= 8

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_greys_of_more_bits(self, bits: int, count: int) -> None:
        seen = 0.3 + 0.4 * gradient(1)
        light = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
        samples = np.concatenate((light, np.ones_like(light)), axis=2)[:, :, :count]
        stored = np.round(samples * (2**bits - 1)).astype(np.uint32)
        packed = b"grey\0\0" + zlib.compress(LINEAR_GREY)
        assert_shows(png_file(stored, {1: 0, 2: 4}[count], bits, (b"iCCP", packed)), seen, within=6)

    @pytest.mark.parametrize("kind", ["u2", "f4"])
    def test_samples_of_more_bits(self, kind: str) -> None:
        image = Image.fromarray(as_seen(self.SEEN).astype(np.uint8))
        wide = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
        stored = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), wide)
        tags, parts = page_of(stored_as(np.asarray(stored) / 255, kind), 2)
        assert_shows(tiff_file(({**tags, 34675: (7, list(WIDE))}, parts)), self.SEEN, within=4)

    @pytest.mark.parametrize("primaries", [1, 2, 9, 12])
    def test_code_points(self, primaries: int) -> None:
        """Display P3 and BT.2020 by their definitions: from XYZ under D65, and with the curve of sRGB."""
        spaces = {
            1: SRGB,
            2: SRGB,
            9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
            12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
        }
        seen = self.SEEN
        light = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
        light = (light @ (np.linalg.inv(to_xyz(spaces[primaries])) @ to_xyz(SRGB)).T).clip(0, 1)
        stored = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        samples = np.round(stored * 255).astype(np.uint32)
        assert_shows(png_file(samples, 2, 8, (b"cICP", bytes([primaries, 13, 0, 1]))), self.SEEN, within=5)
        image = Image.fromarray(samples.astype(np.uint8))
        data = bytearray(encoded(image, "AVIF", quality=100, subsampling="4:4:4"))
        at = data.index(b"colrnclx") + 8
        struct.pack_into(">HH", data, at, primaries, 13)
        assert_shows(bytes(data), self.SEEN, within=12)

    @pytest.mark.parametrize("transfer", [16, 18])
    def test_high_dynamic_range_is_refused(self, transfer: int) -> None:
        samples = np.round(self.SEEN * 255).astype(np.uint32)
        error = refusal(png_file(samples, 2, 8, (b"cICP", bytes([9, transfer, 0, 1]))))
        assert (error.kind, "high dynamic range" in error.reason) == (FailureKind.UNSUPPORTED, True)

    @pytest.mark.parametrize("bad", [b"no profile", WIDE[:200], LINEAR_GREY], ids=["rubbish", "cut", "of greys"])
    @pytest.mark.parametrize("form", SAFE)
    def test_one_that_does_not_fit_is_passed_over(self, form: str, bad: bytes) -> None:
        image = Image.fromarray(as_seen(self.SEEN).astype(np.uint8))
        data = encoded(image, form, icc_profile=bad, **SAFE[form])
        assert_shows(data, self.SEEN, within=12 if form in ("JPEG", "AVIF") else 1)
