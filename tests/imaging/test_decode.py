"""Decoding: close to a full decode, upright, and whatever a file holds, pixels or a DecodeError come out."""

from __future__ import annotations

import functools
import io
import os
import random
import struct
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from phototag.errors import DecodeError, ModelError
from phototag.imaging import decode
from phototag.imaging.decode import decode_bytes, decode_whole, picture_size
from phototag.imaging.jpeg import reader as jpeg
from phototag.imaging.preprocessing import INTERPOLATIONS, Preprocessing
from phototag.imaging.reading import read_bytes
from phototag.records import FailureKind
from tests.support.pictures import encoded, scene

SMALL = Preprocessing(size=32, crop=1.0)
NAMELESS = Path("picture")
# Transposing by the value makes a picture that this EXIF orientation turns upright again.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
FORMATS = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"quality": 95},
    "TIFF": {},
    "GIF": {},
    "BMP": {},
    "AVIF": {"quality": 95},
}


def pixels(data: bytes, preprocessing: Preprocessing = SMALL) -> np.ndarray:
    return decode_bytes(data, preprocessing, NAMELESS)[0]


def error_between(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of pixel values, of 255."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def kind_of_failure(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        pixels(data)
    return str(caught.value.kind)


class TestPixels:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("size", [(120, 80), (80, 120), (31, 33), (500, 20)])
    def test_every_format_and_shape_gives_a_square_of_the_wanted_size(self, form: str, size: tuple[int, int]) -> None:
        data = encoded(scene(size), form)
        found, width, height = decode_bytes(data, Preprocessing(size=48), NAMELESS)
        assert (found.shape, found.dtype) == ((48, 48, 3), np.uint8)
        assert (width, height) == size == picture_size(data, NAMELESS)

    @pytest.mark.parametrize("form", FORMATS)
    def test_every_format_gives_the_same_picture(self, form: str) -> None:
        exact = pixels(encoded(scene(), "PNG"))
        assert error_between(pixels(encoded(scene(), form, **FORMATS[form])), exact) < (6 if form == "GIF" else 2)

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (3000, 1), (2, 3000)])
    def test_extreme_shapes_are_fine(self, size: tuple[int, int]) -> None:
        for form in ("PNG", "JPEG"):
            assert pixels(encoded(scene().resize(size), form)).shape == (32, 32, 3)

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("crop", [1.0, 0.875, 0.5])
    def test_the_middle_is_cropped_as_the_backbone_was_trained(self, crop: float, interpolation: str) -> None:
        image = scene((300, 200))
        side = 200 * crop
        box = ((300 - side) / 2, (200 - side) / 2, (300 + side) / 2, (200 + side) / 2)
        wanted = image.resize((64, 64), Image.Resampling[interpolation.upper()], box=box)
        preprocessing = Preprocessing(size=64, crop=crop, interpolation=interpolation)
        assert error_between(pixels(encoded(image, "PNG"), preprocessing), np.asarray(wanted)) < 1


class TestScaledDecode:
    @pytest.mark.parametrize("size", [(2400, 1800), (1800, 2400), (1600, 1200), (700, 700)])
    def test_it_is_close_to_a_full_decode(self, size: tuple[int, int]) -> None:
        data = encoded(grained(size), "JPEG", quality=90)
        preprocessing = Preprocessing(size=224)
        assert error_between(pixels(data, preprocessing), fully_decoded(data, preprocessing)) < 1.5

    def test_the_crop_is_that_of_the_whole_picture(self) -> None:
        """Also where a quarter of its size is no whole number, and is rounded up."""
        across, down = (np.sin(np.arange(length) * 2 * np.pi / 40) for length in (1203, 901))
        waves = Image.fromarray((127.5 + 60 * (across[None, :] + down[:, None])).astype(np.uint8))
        data = encoded(waves, "JPEG", quality=95)
        preprocessing = Preprocessing(size=96)
        assert error_between(pixels(data, preprocessing), fully_decoded(data, preprocessing)) < 1.2

    def test_a_large_jpeg_is_never_decoded_in_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encoded(scene((4000, 3000)), "JPEG")
        sizes: list[tuple[int, int]] = []
        original = decode.opaque

        def look(image: Image.Image) -> Image.Image:
            sizes.append(image.size)
            return original(image)

        monkeypatch.setattr(decode, "opaque", look)
        _, width, height = decode_bytes(data, Preprocessing(size=224), NAMELESS)
        assert (width, height) == (4000, 3000)
        assert sizes == [(1000, 750)], "a quarter, which leaves more than twice the 224 pixels"

    def test_a_picture_for_training_is_whole_and_large_enough(self) -> None:
        image = decode_whole(encoded(scene((4000, 3000)), "JPEG"), short_side=256, path=NAMELESS)
        assert image.mode == "RGB"
        assert 256 <= min(image.size) <= 1000
        assert image.width / image.height == pytest.approx(4 / 3, rel=0.01)
        small = decode_whole(encoded(scene((40, 30)), "JPEG"), short_side=256, path=NAMELESS)
        assert small.size == (40, 30), "nothing is enlarged"


@functools.cache
def grained(size: tuple[int, int]) -> Image.Image:
    """Photo-like: soft shapes, hard edges and the noise of a sensor."""
    noise = np.random.default_rng(1).normal(0, 12, (size[1], size[0], 1))
    photo = np.asarray(scene(size)).astype(float) + noise
    photo[:: size[1] // 16, :] = 20
    photo[:, :: size[0] // 16] = 235
    return Image.fromarray(photo.clip(0, 255).astype(np.uint8))


def fully_decoded(data: bytes, preprocessing: Preprocessing) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        side = min(image.size) * preprocessing.crop
        left, top = ((length - side) / 2 for length in image.size)
        size = (preprocessing.size, preprocessing.size)
        box = (left, top, left + side, top + side)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=box))


class TestLargeJpeg:
    """With the decoder for large photos, which takes files of any size here."""

    @pytest.fixture(autouse=True)
    def any_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if jpeg._kernels() is None:
            pytest.skip("numba is not installed, or does not work here")
        monkeypatch.setattr(decode, "_WORTH_BYTES", 0)

    @pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "grey"])
    @pytest.mark.parametrize("size", [(1203, 901), (797, 803), (1807, 2401)])
    def test_it_is_close_to_a_full_decode(self, size: tuple[int, int], kind: str) -> None:
        """At 1/4 and 1/8, of pictures that no number divides."""
        options = {"subsampling": kind} if ":" in kind else {}
        data = encoded(grained(size).convert("RGB" if options else "L"), "JPEG", quality=92, **options)
        preprocessing = Preprocessing(size=96)
        found, width, height = decode_bytes(data, preprocessing, NAMELESS)
        assert (width, height) == size
        assert error_between(found, fully_decoded(data, preprocessing)) < 2

    def test_pillow_only_reads_the_header(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encoded(grained((1200, 900)), "JPEG")
        monkeypatch.setattr(decode, "opaque", lambda _: pytest.fail("decoded by Pillow"))
        assert pixels(data, Preprocessing(size=96)).shape == (96, 96, 3)

    def test_small_files_are_left_to_pillow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encoded(grained((1200, 900)), "JPEG")
        monkeypatch.setattr(decode, "_WORTH_BYTES", len(data) + 1)
        monkeypatch.setattr(jpeg, "reduced", lambda *_: pytest.fail("not worth it"))
        assert pixels(data, Preprocessing(size=96)).shape == (96, 96, 3)

    def test_what_it_cannot_read_pillow_can(self) -> None:
        image = grained((1200, 900))
        for options in ({"progressive": True}, {"keep_rgb": True}):
            data = encoded(image, "JPEG", quality=92, **options)
            assert jpeg.reduced(data, 4) is None
            assert error_between(pixels(data), pixels(encoded(image, "PNG"))) < 2

    def test_a_photo_cut_short_is_never_taken_for_whole(self) -> None:
        data = encoded(grained((1200, 900)), "JPEG")
        for share in (0.3, 0.6, 0.99):
            assert kind_of_failure(data[: int(len(data) * share)]) == FailureKind.TRUNCATED

    @pytest.mark.parametrize("orientation", STORED_AS)
    def test_it_comes_out_upright(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(scene((1203, 801)).transpose(STORED_AS[orientation]), "JPEG", exif=exif)
        found, width, height = decode_bytes(data, SMALL, NAMELESS)
        assert (width, height) == (1203, 801)
        assert error_between(found, pixels(encoded(scene((1203, 801)), "PNG"))) < 2

    def test_the_first_of_several_pictures_counts(self) -> None:
        first, second = grained((800, 600)), scene((800, 600), seed=4)
        data = encoded(first, "MPO", save_all=True, append_images=[second])
        assert error_between(pixels(data), pixels(encoded(first, "PNG"))) < 2

    def test_damage_gives_pixels_or_an_error(self) -> None:
        chance = random.Random(5)
        whole = encoded(grained((300, 200)), "JPEG", quality=92)
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(chance.choice([1, 2, 8])):
                data[chance.randrange(chance.choice([700, len(data)]))] = chance.randrange(256)
            try:
                assert pixels(bytes(data)).shape == (32, 32, 3)
            except DecodeError as error:
                assert error.kind in set(FailureKind)


class TestOrientation:
    @pytest.mark.parametrize("orientation", STORED_AS)
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_a_photo_comes_out_upright_with_its_upright_size(self, form: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(scene().transpose(STORED_AS[orientation]), form, exif=exif, **FORMATS[form])
        found, width, height = decode_bytes(data, SMALL, NAMELESS)
        assert (width, height) == (120, 80)
        assert picture_size(data, NAMELESS) == (120, 80)
        assert error_between(found, pixels(encoded(scene(), "PNG"))) < 2
        whole = decode_whole(data, short_side=80, path=NAMELESS)
        assert whole.size == (120, 80)
        assert error_between(np.asarray(whole), np.asarray(scene())) < 4

    @pytest.mark.parametrize("orientation", STORED_AS)
    def test_a_large_jpeg_is_turned_after_scaling(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(scene((1200, 800)).transpose(STORED_AS[orientation]), "JPEG", exif=exif)
        found, width, height = decode_bytes(data, SMALL, NAMELESS)
        assert (width, height) == (1200, 800)
        assert error_between(found, pixels(encoded(scene((1200, 800)), "PNG"))) < 2

    @pytest.mark.parametrize(
        "field", [b"\0\x03\0\0\0\x01\0\0\0\0", b"\0\x03\0\0\0\x01\0\x09\0\0", b"\0\x02\0\0\0\x026\0\0\0"]
    )
    def test_an_orientation_that_means_nothing_is_left_alone(self, field: bytes) -> None:
        """0, 9, and the text "6"."""
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12" + field + b"\0\0\0\0"
        data = encoded(scene(), "JPEG", exif=exif, quality=95)
        assert picture_size(data, NAMELESS) == (120, 80)
        assert error_between(pixels(data), pixels(encoded(scene(), "PNG"))) < 2


class TestModes:
    def test_transparency_shows_white(self) -> None:
        clear = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
        assert (pixels(encoded(clear, "PNG")) == 255).all()
        half = Image.new("RGBA", (60, 40), (0, 0, 0, 128))
        assert error_between(pixels(encoded(half, "PNG")), np.full((32, 32, 3), 127)) < 2
        palette = Image.new("P", (60, 40), 0)
        palette.putpalette([0, 0, 0, 255, 0, 0])
        assert (pixels(encoded(palette, "PNG", transparency=0)) == 255).all()
        gray = Image.new("LA", (60, 40), (10, 0))
        assert (pixels(encoded(gray, "PNG")) == 255).all()
        assert (pixels(encoded(Image.new("L", (60, 40), 9), "PNG", transparency=9)) == 255).all()
        assert (pixels(encoded(clear, "WEBP")) == 255).all()

    @pytest.mark.parametrize("form", ["PNG", "TIFF"])
    def test_16_bits_are_scaled_not_clipped(self, form: str) -> None:
        ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
        found = pixels(encoded(Image.fromarray(ramp), form))
        assert error_between(found[..., 0], np.linspace(0, 255, 32 * 32).reshape(32, 32)) < 6
        assert (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
    def test_a_colour_survives_its_mode(self, mode: str) -> None:
        colour = Image.new("RGB", (50, 50), (255, 255, 255)).convert(mode)
        form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
        assert error_between(pixels(encoded(colour, form)), np.full((32, 32, 3), 255)) < 2

    def test_a_cmyk_jpeg_has_its_colours(self) -> None:
        found = pixels(encoded(scene().convert("CMYK"), "JPEG", quality=95))
        assert error_between(found, pixels(encoded(scene(), "PNG"))) < 3

    @pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
    def test_of_several_frames_the_first_counts(self, form: str) -> None:
        frames = [scene(seed=seed) for seed in (1, 2, 3)]
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        limit = 6 if form in ("GIF", "MPO", "AVIF", "WEBP") else 0.01
        assert error_between(pixels(data), pixels(encoded(frames[0], "PNG"))) < limit

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -5.0, 0.0, 1e30])
    def test_strange_floats_give_pixels(self, value: float) -> None:
        data = encoded(Image.fromarray(np.full((40, 40), value, np.float32)), "TIFF")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert pixels(data).shape == (32, 32, 3)


class TestFailures:
    def test_each_has_its_kind_and_names_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = encoded(scene((300, 200)), "JPEG")
        contents = {
            FailureKind.EMPTY: b"",
            FailureKind.NOT_AN_IMAGE: b"%PDF-1.7 a document",
            FailureKind.TRUNCATED: whole[: len(whole) // 2],
        }
        for kind, content in contents.items():
            file = tmp_path / f"{kind}.jpg"
            file.write_bytes(content)
            with pytest.raises(DecodeError) as caught:
                decode_bytes(read_bytes(file), SMALL, file)
            assert caught.value.kind is kind
            assert str(caught.value) == f"{file}: {caught.value.reason}"
        with pytest.raises(DecodeError) as caught:
            read_bytes(tmp_path / "gone.jpg")
        assert caught.value.kind is FailureKind.GONE
        monkeypatch.setattr("phototag.imaging.reading.MAX_FILE_BYTES", 100)
        (tmp_path / "big.jpg").write_bytes(whole)
        with pytest.raises(DecodeError, match="MiB") as caught:
            read_bytes(tmp_path / "big.jpg")
        assert caught.value.kind is FailureKind.TOO_LARGE

    def test_a_file_that_is_still_written_is_not_decoded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "a.jpg"
        file.write_bytes(encoded(scene(), "JPEG"))
        examine = os.fstat

        def written_on(descriptor: int) -> os.stat_result:
            found = examine(descriptor)
            with file.open("ab") as more:
                more.write(b"more")
            return found

        monkeypatch.setattr(os, "fstat", written_on)
        with pytest.raises(DecodeError, match="the file changed while it was read") as caught:
            read_bytes(file)
        assert caught.value.kind is FailureKind.TRUNCATED

    def test_a_folder_is_no_picture(self, tmp_path: Path) -> None:
        with pytest.raises(DecodeError, match="the file is gone; there is a folder, not a file"):
            read_bytes(tmp_path)

    def test_a_damaged_picture_is_corrupt(self) -> None:
        data = bytearray(encoded(scene(), "PNG"))
        data[60] ^= 0xFF
        assert kind_of_failure(bytes(data)) in (FailureKind.CORRUPT, FailureKind.TRUNCATED)

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
    def test_a_picture_cut_short_is_never_taken_for_whole(self, form: str) -> None:
        data = encoded(scene((300, 200)), form)
        for share in (0.3, 0.6, 0.9):
            assert kind_of_failure(data[: int(len(data) * share)]) != ""

    @pytest.mark.parametrize(
        "form", ["ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "ICNS", "EPS", "PDF", "XBM", "SPIDER"]
    )
    def test_other_decoders_are_out_of_reach(self, form: str) -> None:
        """Rarely used decoders are where decoders break: a file does not choose them by what it claims to be."""
        image = scene((64, 64))
        image = image.convert("1") if form == "XBM" else image.convert("F") if form == "SPIDER" else image
        assert kind_of_failure(encoded(image, form)) == FailureKind.NOT_AN_IMAGE

    def test_too_many_pixels_are_refused_from_the_header_alone(self) -> None:
        for side in (17_321, 60_000, 2**31 - 1):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(DecodeError) as caught:
                    pixels(huge_png(side))
            assert caught.value.kind is FailureKind.TOO_LARGE
            assert "limit of 300 megapixels; make it smaller, or tag it with --max-megapixels" in caught.value.reason
        with pytest.raises(DecodeError) as caught:
            pixels(huge_png(17_320))
        assert caught.value.kind is not FailureKind.TOO_LARGE, "just below 300 megapixels it is only broken"

    def test_the_limit_is_the_callers(self) -> None:
        data = encoded(scene((1200, 900)), "PNG")
        for limit in (1, 2):
            attempts = (
                lambda limit=limit: decode_bytes(data, SMALL, NAMELESS, max_megapixels=limit),
                lambda limit=limit: decode_whole(data, short_side=9, path=NAMELESS, max_megapixels=limit),
                lambda limit=limit: picture_size(data, NAMELESS, max_megapixels=limit),
            )
            for attempt in attempts:
                if limit == 2:
                    attempt()
                    continue
                with pytest.raises(DecodeError, match="1200 x 900 pixels are more than the limit of 1 mega"):
                    attempt()

    def test_a_higher_limit_is_not_pillows_business(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert picture_size(huge_jpeg(60_000), NAMELESS, max_megapixels=5000) == (60_000, 60_000)

    @pytest.mark.parametrize("compression", [1, 3, 4, 5, 7, 8, 32773, 32946])
    def test_a_tiff_that_claims_more_than_it_can_hold_costs_nothing(self, compression: int) -> None:
        begun = time.thread_time()
        assert kind_of_failure(huge_tiff(17_000, compression)) == FailureKind.TRUNCATED
        assert time.thread_time() - begun < 1

    @pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "group3", "group4"])
    def test_a_tiff_may_be_as_small_as_its_compression_makes_it(self, compression: str) -> None:
        for side in (50, 8000):
            data = encoded(Image.new("1", (side, side)), "TIFF", compression=compression)
            assert picture_size(data, NAMELESS) == (side, side)

    def test_a_flat_jpeg_in_a_tiff_is_no_false_claim(self) -> None:
        data = encoded(Image.new("L", (2000, 2000)), "TIFF", compression="jpeg")
        assert picture_size(data, NAMELESS) == (2000, 2000)


def huge_jpeg(side: int) -> bytes:
    """A small picture that claims to be one of side x side pixels."""
    data = encoded(scene(), "JPEG")
    size = data.index(b"\xff\xc0") + 5
    return data[:size] + struct.pack(">HH", side, side) + data[size + 4 :]


def huge_tiff(side: int, compression: int) -> bytes:
    """A few bytes that claim to be a colour picture of side x side pixels in one strip."""
    fields = [
        (256, side),
        (257, side),
        (258, 8),
        (259, compression),
        (262, 2),
        (273, 8),
        (277, 3),
        (278, side),
        (279, 9),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)


def huge_png(side: int) -> bytes:
    """A few bytes that claim to be a picture of side x side pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def samples() -> dict[str, bytes]:
    """One small file of every kind that phototag reads."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker"
    image = scene((40, 30))
    files = {form: encoded(image, form, **({} if form in ("GIF", "BMP") else {"exif": exif})) for form in FORMATS}
    files["MPO"] = encoded(image, "MPO", save_all=True, append_images=[image])
    files["CMYK"] = encoded(image.convert("CMYK"), "JPEG", progressive=True)
    files["16 bit"] = encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)), "PNG")
    files["palette"] = encoded(image.quantize(8), "PNG", transparency=1)
    files["LZW"] = encoded(image, "TIFF", compression="tiff_lzw")
    files["JPEG in TIFF"] = encoded(image, "TIFF", compression="jpeg")
    files["moving"] = encoded(image, "GIF", save_all=True, append_images=[image.rotate(90)])
    files["lossless"] = encoded(image.convert("RGBA"), "WEBP", lossless=True)
    return files


SAMPLES = samples()


@pytest.mark.filterwarnings("ignore")
class TestBrokenFiles:
    """Cut anywhere, flipped anywhere: pixels or a DecodeError, nothing else."""

    def survives(self, data: bytes) -> None:
        for attempt in (
            lambda: decode_bytes(data, SMALL, NAMELESS),
            lambda: picture_size(data, NAMELESS),
            lambda: decode_whole(data, short_side=32, path=NAMELESS),
        ):
            try:
                attempt()
            except DecodeError as error:
                assert error.kind in set(FailureKind)
                assert error.reason

    @pytest.mark.parametrize("name", SAMPLES)
    def test_the_samples_are_whole(self, name: str) -> None:
        assert pixels(SAMPLES[name]).shape == (32, 32, 3)

    @pytest.mark.parametrize("name", SAMPLES)
    def test_a_file_may_be_cut_anywhere(self, name: str) -> None:
        data = SAMPLES[name]
        for length in {*range(0, len(data), max(1, len(data) // 60)), *range(60), len(data) - 1}:
            self.survives(data[:length])

    @pytest.mark.parametrize("name", SAMPLES)
    def test_bytes_may_be_anything(self, name: str) -> None:
        chance = random.Random(name)
        for _ in range(60):
            data = bytearray(SAMPLES[name])
            for _ in range(chance.choice([1, 1, 2, 8, 40])):
                # Headers are short, and where most can go wrong.
                reach = chance.choice([60, len(data)])
                data[chance.randrange(min(reach, len(data)))] = chance.randrange(256)
            self.survives(bytes(data))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(name=st.sampled_from(sorted(SAMPLES)), data=st.data())
    def test_parts_may_be_cut_out_doubled_or_strange(self, name: str, data: st.DataObject) -> None:
        whole = SAMPLES[name]
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, len(whole)))
        middle = data.draw(st.sampled_from([b"", whole[start:end] * 2]) | st.binary(max_size=40))
        self.survives(whole[:start] + middle + whole[end:])

    @given(st.binary(max_size=200))
    def test_any_bytes_at_all(self, data: bytes) -> None:
        self.survives(data)

    @given(st.sampled_from(sorted(SAMPLES)), st.binary(max_size=60))
    def test_anything_after_a_right_beginning(self, name: str, rest: bytes) -> None:
        for length in (2, 4, 12, 30):
            self.survives(SAMPLES[name][:length] + rest)


class TestPreprocessing:
    @pytest.mark.parametrize(
        "values",
        [
            {"size": 0},
            {"size": 5000},
            {"size": 224, "crop": 0},
            {"size": 224, "crop": 1.1},
            {"size": 224, "crop": float("nan")},
            {"size": 224, "std": (0.5, 0.0, 0.5)},
            {"size": 224, "mean": (float("inf"), 0.5, 0.5)},
            {"size": 224, "mean": (0.5, 0.5)},
            {"size": 224, "interpolation": "nearest"},
        ],
    )
    def test_values_out_of_range_are_refused(self, values: dict[str, Any]) -> None:
        with pytest.raises(ModelError):
            Preprocessing(**values)

    def test_it_survives_a_file(self) -> None:
        whole = Preprocessing(size=96, crop=0.9, interpolation="lanczos", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
        assert Preprocessing.from_json(whole.to_json()) == whole

    @pytest.mark.parametrize("value", [None, 5, [], {}, {"size": "x"}, {"size": 224, "crop": 1, "mean": 3}])
    def test_anything_else_is_refused(self, value: object) -> None:
        with pytest.raises(ModelError):
            Preprocessing.from_json(value)
