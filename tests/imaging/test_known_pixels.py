"""Pictures of known pixels in every kind of every format: they are decoded to them, or refused with the true reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from phototag.errors import DecodeError
from phototag.imaging.decode import decode_bytes, decode_whole, picture_size
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.thumbnails.render import render_thumbnail
from phototag.records import FailureKind
from tests.support.tiff_files import page_of, tiff_file

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


class TestTiff:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("photometric", [0, 1, 2])
    @pytest.mark.parametrize(("kind", "bits"), [*INTEGERS, *PACKED, *FLOATS])
    def test_samples_of_every_kind(self, kind: str, bits: int | None, photometric: int, order: str) -> None:
        colours = gradient(3 if photometric == 2 else 1)
        samples = stored_as(1 - colours if photometric == 0 else colours, kind, bits)
        data = tiff_file(page_of(samples, photometric, bits=bits, order=order), order=order)
        assert_shows(data, colours, within=tolerance(kind, bits))

    @pytest.mark.parametrize("photometric", [0, 1])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_black_and_white(self, photometric: int, order: str) -> None:
        black = gradient(1) > 0.5
        data = tiff_file(
            page_of((black ^ (photometric == 0)).astype("u1"), photometric, bits=1, order=order), order=order
        )
        assert_shows(data, black.astype(float))

    @pytest.mark.parametrize(
        "layout", [{"tile": 16}, {"tile": 64}, {"rows": 7}, {"planar": 2}, {"planar": 2, "tile": 32}]
    )
    @pytest.mark.parametrize("packing", [{}, {"compression": 8}, {"compression": 8, "predictor": 2}, {"fill_order": 2}])
    @pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2"])
    def test_every_layout_and_packing(self, kind: str, layout: dict[str, int], packing: dict[str, int]) -> None:
        for order, big in (("<", False), (">", True)):
            page = page_of(stored_as(gradient(3), kind), 2, order=order, **layout, **packing)
            assert_shows(tiff_file(page, order=order, big=big), gradient(3))

    @pytest.mark.parametrize("layout", [{}, {"tile": 16}, {"rows": 7}, {"planar": 2}])
    @pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_differences_of_floats(self, kind: str, layout: dict[str, int], order: str) -> None:
        page = page_of(gradient(3).astype(kind), 2, order=order, compression=8, predictor=3, **layout)
        assert_shows(tiff_file(page, order=order), gradient(3))

    @pytest.mark.parametrize("bits", [10, 12])
    def test_odd_depths_in_tiles_and_packed(self, bits: int) -> None:
        for layout in ({"tile": 16}, {"compression": 8, "rows": 9}, {"planar": 2}):
            page = page_of(stored_as(gradient(3), "u2", bits), 2, bits=bits, **layout)
            assert_shows(tiff_file(page), gradient(3))

    @pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("extra", [0, 1, 2])
    @pytest.mark.parametrize("planar", [1, 2])
    def test_a_sample_behind_the_colours(self, kind: str, count: int, extra: int, planar: int) -> None:
        colours, alpha = gradient(count), gradient(4)[:, :, 3:]
        stored = colours * alpha if extra == 1 else colours
        samples = stored_as(np.concatenate((stored, alpha), axis=2), kind)
        seen = colours if extra == 0 else colours * alpha + 1 - alpha
        data = tiff_file(page_of(samples, 2 if count == 3 else 1, extra=[extra], planar=planar))
        assert_shows(data, seen, within=3)

    def test_more_samples_than_any_colours_have(self) -> None:
        samples = stored_as(np.concatenate((gradient(3), gradient(4)), axis=2), "u1")
        assert_shows(tiff_file(page_of(samples, 2, extra=[0, 0, 0, 0])), gradient(3))

    @pytest.mark.parametrize("kind", ["u1", "u2"])
    def test_inks(self, kind: str) -> None:
        inks = gradient(4)
        seen = (1 - inks[:, :, :3]) * (1 - inks[:, :, 3:])
        for layout in ({}, {"planar": 2}, {"compression": 8, "predictor": 2}):
            assert_shows(tiff_file(page_of(stored_as(inks, kind), 5, **layout)), seen, within=3)

    @pytest.mark.parametrize("kind", ["u1", "u2"])
    @pytest.mark.parametrize("photometric", [8, 9])
    def test_lab(self, kind: str, photometric: int) -> None:
        rgb = Image.fromarray(as_seen(0.25 + gradient(3) / 2).astype(np.uint8))
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        transform = ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(srgb), ImageCms.ImageCmsProfile(lab), "RGB", "LAB"
        )
        values = np.frombuffer(transform.apply(rgb).tobytes(), np.uint8).reshape(HEIGHT, WIDTH, 3).copy()
        if photometric == 9:
            values[:, :, 1:] ^= 128
        stored = values if kind == "u1" else values.astype("u2") * 256
        assert_shows(tiff_file(page_of(stored, photometric)), 0.25 + gradient(3) / 2, within=12)

    @pytest.mark.parametrize("top", [255, 65535])
    def test_a_palette_of_8_or_16_bits(self, top: int) -> None:
        samples = stored_as(gradient(1), "u1")
        ramp = np.arange(256) * (257 if top == 65535 else 1)
        data = tiff_file(page_of(samples, 3, tag320=[*ramp, *ramp[::-1], *ramp]))
        assert_shows(data, np.concatenate((gradient(1), 1 - gradient(1), gradient(1)), axis=2))

    @pytest.mark.parametrize("top", [1.0, 255.0, 4095.0, 65535.0])
    def test_floats_count_to_one_or_to_the_brightest(self, top: float) -> None:
        for count in (1, 3):
            data = tiff_file(page_of((gradient(count) * top).astype("f4"), 2 if count == 3 else 1))
            assert_shows(data, gradient(count), within=4)

    def test_dark_floats_stay_dark(self) -> None:
        assert_shows(tiff_file(page_of((gradient(1) / 4).astype("f4"), 1)), gradient(1) / 4)

    @pytest.mark.parametrize("top", [255, 65535])
    @pytest.mark.parametrize("kind", ["u4", "i4"])
    def test_short_values_in_long_integers(self, kind: str, top: int) -> None:
        assert_shows(tiff_file(page_of(np.round(gradient(1) * top).astype(kind), 1)), gradient(1))

    @pytest.mark.parametrize(
        "compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "group3", "group4", "jpeg", "raw"]
    )
    @pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr", "LA", "RGBA", "P", "1", "I;16", "I", "F"])
    def test_whatever_pillow_writes(self, compression: str, mode: str) -> None:
        seen = gradient(3 if mode in ("RGB", "YCbCr", "RGBA", "P") else 1)
        image = Image.fromarray(as_seen(seen).astype(np.uint8))
        grey = np.asarray(image)[:, :, 0]
        wide = {"I;16": grey.astype("u2") * 257, "I": grey.astype("i4"), "F": grey.astype("f4") / 255}
        image = Image.fromarray(wide[mode]) if mode in wide else image.convert(mode)
        if mode == "1":
            seen = np.asarray(image)[:, :, None].astype(float)
        file = io.BytesIO()
        try:
            image.save(file, "TIFF", compression=compression)
        except (OSError, KeyError, ValueError, RuntimeError):
            pytest.skip("cannot be written")
        assert_shows(file.getvalue(), seen, within=90 if mode == "P" else 14 if compression == "jpeg" else 3)


class TestPages:
    BIG, SMALL = gradient(3), gradient(3)[::-1][::6, ::6]

    def page(self, colours: np.ndarray, subfile: int | None = None, old: int | None = None) -> Any:
        tags, parts = page_of(stored_as(colours, "u1"), 2)
        tags |= {} if subfile is None else {254: (4, [subfile])}
        return tags | ({} if old is None else {255: (3, [old])}), parts

    @pytest.mark.parametrize("big", [False, True])
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("marks", [{"subfile": 1}, {"old": 2}, {"subfile": 4}, {"subfile": 5}])
    def test_a_reduced_copy_or_mask_in_front_is_passed_over(self, marks: dict[str, int], order: str, big: bool) -> None:
        if order == ">":
            tags, parts = page_of(stored_as(self.BIG, "u1"), 2, order=">")
            small = page_of(stored_as(self.SMALL, "u1"), 2, order=">")
            small[0].update({254: (4, [1])})
            assert_shows(tiff_file(small, (tags, parts), order=">", big=big), self.BIG)
            return
        assert_shows(tiff_file(self.page(self.SMALL, **marks), self.page(self.BIG, 0), big=big), self.BIG)

    def test_the_picture_may_lie_below_its_copy(self) -> None:
        assert_shows(tiff_file(self.page(self.SMALL, 1), self.page(self.BIG, 0), below=0), self.BIG)

    def test_of_several_full_pages_the_first_counts(self) -> None:
        assert_shows(tiff_file(self.page(self.BIG), self.page(self.SMALL)), self.BIG)
        assert_shows(tiff_file(self.page(self.BIG, 2), self.page(self.BIG[::-1], 2)), self.BIG)

    def test_where_all_are_copies_the_first_counts(self) -> None:
        assert_shows(tiff_file(self.page(self.BIG, 1), self.page(self.SMALL, 1)), self.BIG)

    def test_pages_in_a_ring_end(self) -> None:
        data = bytearray(tiff_file(self.page(self.SMALL, 1), self.page(self.SMALL, 1)))
        (first,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, first)
        struct.pack_into("<I", data, first + 2 + 12 * count, first)
        assert picture_size(bytes(data), NAMELESS) == (15, 10)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
    def test_it_comes_out_upright(self, orientation: int, kind: str) -> None:
        turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
        image = Image.fromarray(as_seen(gradient(3)).astype(np.uint8))
        turned = image.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else image
        samples = stored_as(np.asarray(turned) / 255, kind)
        assert_shows(tiff_file(page_of(samples, 2, tag274=[orientation])), gradient(3))


class TestRefusedTiff:
    @pytest.mark.parametrize(
        ("compression", "word"),
        [
            (6, "old-style JPEG"),
            (34712, "JPEG 2000"),
            (34933, "PNG"),
            (50001, "WebP"),
            (50000, "Zstandard"),
            (77, "77"),
        ],
    )
    def test_what_is_inside_is_named(self, compression: int, word: str) -> None:
        tags, parts = page_of(stored_as(gradient(3), "u1"), 2)
        error = refusal(tiff_file(({**tags, 259: (3, [compression])}, parts)))
        assert error.kind == FailureKind.UNSUPPORTED
        assert word in error.reason and "TIFF" in error.reason and "not read" in error.reason

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({339: (3, [5] * 3)}, "complex"),
            ({339: (3, [1, 3, 1])}, "different"),
            ({258: (3, [8, 8, 16])}, "different"),
            ({258: (3, [40] * 3)}, "40 bits"),
            ({262: (3, [32803])}, "raw sensor"),
            ({262: (3, [6])}, "subsampled"),
            ({259: (3, [7]), 258: (3, [12] * 3)}, "12 bits"),
        ],
    )
    def test_samples_that_are_not_read_are_named(self, change: dict[int, Any], word: str) -> None:
        tags, parts = page_of(stored_as(gradient(3), "u1"), 2)
        error = refusal(tiff_file(({**tags, **change}, parts)))
        assert (error.kind, word in error.reason) == (FailureKind.UNSUPPORTED, True), error.reason

    @pytest.mark.parametrize("kind", ["u1", "u2"])
    def test_giant_tiles_of_a_small_picture_cost_nothing(self, kind: str) -> None:
        tags, parts = page_of(stored_as(gradient(3), kind), 2, tile=64, compression=8)
        error = refusal(tiff_file(({**tags, 322: (4, [1 << 20]), 323: (4, [1 << 20])}, parts)))
        assert "far larger than the picture" in error.reason

    @pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
    @pytest.mark.parametrize("compression", [1, 8])
    def test_a_file_cut_short_says_so(self, kind: str, compression: int) -> None:
        data = tiff_file(page_of(stored_as(gradient(3), kind), 2, compression=compression))
        (directory,) = struct.unpack_from("<I", data, 4)
        # The tags first, as in most files; the pixels break off behind them.
        moved = bytearray(data[:8] + data[directory:] + data[8 : directory - 400])
        shift = directory - 8
        struct.pack_into("<I", moved, 4, 8)
        for entry in range(10, 10 + 12 * struct.unpack_from("<H", moved, 8)[0], 12):
            tag, form, count, value = struct.unpack_from("<HHII", moved, entry)
            if tag == 273:
                struct.pack_into("<I", moved, entry + 8, len(data) - shift)
            elif count * {3: 2, 4: 4}[form] > 4:
                struct.pack_into("<I", moved, entry + 8, value - shift)
        assert refusal(bytes(moved)).kind == FailureKind.TRUNCATED


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


class TestPng:
    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
    @pytest.mark.parametrize(("colour", "count"), [(0, 1), (2, 3), (4, 2), (6, 4)])
    def test_every_depth(self, bits: int, colour: int, count: int) -> None:
        if colour and bits < 8:
            pytest.skip("there is no such kind")
        samples = np.round(gradient(4)[:, :, : count - 1 if count % 2 == 0 else count] * (2**bits - 1)).astype(
            np.uint32
        )
        seen = samples / (2**bits - 1)
        if count % 2 == 0:
            alpha = np.round(gradient(4)[:, :, 3:] * (2**bits - 1)).astype(np.uint32)
            samples = np.concatenate((samples, alpha), axis=2)
            seen = seen * alpha / (2**bits - 1) + 1 - alpha / (2**bits - 1)
        assert_shows(png_file(samples, colour, bits), seen, within=3)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_palettes(self, bits: int) -> None:
        chance = np.random.default_rng(1)
        palette = chance.integers(0, 256, (2**bits, 3), dtype=np.uint8)
        samples = chance.integers(0, 2**bits, (HEIGHT // 10, WIDTH // 10, 1)).repeat(10, 0).repeat(10, 1)
        seen = palette[samples[:, :, 0]] / 255
        data = png_file(samples, 3, bits, palette=palette.tobytes())
        assert np.abs(shown(data) - as_seen(seen)).max() == 0
        alphas = chance.integers(0, 256, 2**bits, dtype=np.uint8)
        alpha = alphas[samples] / 255
        data = png_file(samples, 3, bits, (b"tRNS", alphas.tobytes()), palette=palette.tobytes())
        assert np.abs(shown(data) - as_seen(seen * alpha + 1 - alpha)).max() <= 1

    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
    def test_one_transparent_grey(self, bits: int) -> None:
        samples = np.round(gradient(1) * (2**bits - 1)).astype(np.uint32)
        for value in {0, (2**bits - 1) // 3, 2**bits - 1}:
            seen = np.where(samples == value, 1.0, samples / (2**bits - 1))
            data = png_file(samples, 0, bits, (b"tRNS", struct.pack(">H", value)))
            assert np.abs(shown(data) - as_seen(seen)).max() <= 1

    def test_one_transparent_colour(self) -> None:
        samples = np.round(gradient(3) * 255).astype(np.uint32)
        samples[10:20, 10:30] = (9, 99, 199)
        seen = samples / 255
        seen[10:20, 10:30] = 1
        data = png_file(samples, 2, 8, (b"tRNS", struct.pack(">HHH", 9, 99, 199)))
        assert np.abs(shown(data) - as_seen(seen)).max() == 0
        error = refusal(png_file(samples, 2, 16, (b"tRNS", struct.pack(">HHH", 9, 99, 199))))
        assert (error.kind, "transparent colour" in error.reason) == (FailureKind.UNSUPPORTED, True)

    def test_values_proportional_to_light_are_lifted(self) -> None:
        light = gradient(3) ** 2.2
        data = png_file(np.round(light * 65535).astype(np.uint32), 2, 16, (b"gAMA", struct.pack(">I", 100_000)))
        # Values are cut to 8 bits first, which shows in the dark.
        assert np.abs(shown(data) - as_seen(gradient(3))).mean() < 4
        usual = png_file(np.round(gradient(3) * 255).astype(np.uint32), 2, 8, (b"gAMA", struct.pack(">I", 45_455)))
        assert np.abs(shown(usual) - as_seen(gradient(3))).max() == 0

    def test_chunks_of_an_unknown_kind_that_pixels_depend_on(self) -> None:
        samples = np.round(gradient(3) * 255).astype(np.uint32)
        whole = png_file(samples, 2, 8)
        apples = whole[:8] + struct.pack(">I", 4) + b"CgBI" + bytes(4) + bytes(4) + whole[8:]
        assert refusal(apples).kind == FailureKind.UNSUPPORTED
        assert refusal(png_file(samples, 2, 8, (b"ABCd", b"x"))).kind == FailureKind.UNSUPPORTED


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


class TestJpeg:
    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    @pytest.mark.parametrize(
        "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}, {"keep_rgb": True}]
    )
    def test_every_kind(self, mode: str, options: dict[str, Any]) -> None:
        seen = gradient(1 if mode == "L" else 3)
        image = Image.fromarray(as_seen(seen).astype(np.uint8)).convert(mode)
        assert_shows(encoded(image, "JPEG", quality=98, **options), seen, within=14)

    @pytest.mark.parametrize(("bits", "parts", "marker", "words"), [
        (12, 3, 0xC1, "12 bits"), (16, 1, 0xC3, "lossless"), (8, 2, 0xC0, "2 colours"), (8, 3, 0xC5, "hierarchical"),
    ])  # fmt: skip
    def test_others_are_named(self, bits: int, parts: int, marker: int, words: str) -> None:
        data = bytearray(encoded(Image.fromarray(as_seen(gradient(3)).astype(np.uint8)), "JPEG"))
        at = data.index(b"\xff\xc0")
        data[at + 1], data[at + 4], data[at + 9] = marker, bits, parts
        error = refusal(bytes(data))
        assert error.kind == FailureKind.UNSUPPORTED
        assert words in error.reason and error.reason.endswith("is not read")


class TestOthers:
    @pytest.mark.parametrize("form", ["WEBP", "AVIF", "GIF", "BMP"])
    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
    def test_whatever_pillow_writes(self, form: str, mode: str) -> None:
        colours = gradient(1 if mode in ("L", "LA", "1") else 3)
        image = Image.fromarray(as_seen(colours).astype(np.uint8))
        if mode.endswith("A"):
            if form == "BMP" or (form, mode) == ("GIF", "LA"):
                pytest.skip("written without its transparency")
            alpha = (gradient(1) > 0.5).astype(float)
            image.putalpha(Image.fromarray((alpha[:, :, 0] * 255).astype(np.uint8)))
            colours = colours * alpha + 1 - alpha
        image = image.convert(mode)
        if mode == "1":
            colours = np.asarray(image)[:, :, None].astype(float)
        options = {"quality": 100} if form in ("WEBP", "AVIF") else {}
        try:
            data = encoded(image, form, **options)
        except OSError:
            pytest.skip("cannot be written")
        mean = np.abs(shown(data) - as_seen(colours)).mean()
        assert mean < (20 if mode == "P" or form == "GIF" else 3)

    @pytest.mark.parametrize("masks", [
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF, 0xFF00, 0xFF0000, 0xFF000000), (0xFF0000, 0xFF00, 0xFF, 0),
    ])  # fmt: skip
    @pytest.mark.parametrize("fourth", [0, 255])
    def test_a_bitmap_whose_fourth_byte_means_nothing(self, masks: tuple[int, ...], fourth: int) -> None:
        colours = as_seen(gradient(3)).astype(np.uint32)
        shifts = [mask.bit_length() - 8 for mask in masks]
        pixels = sum(colours[:, :, n] << shifts[n] for n in range(3)) + (fourth << 24)
        head = struct.pack("<IiiHHIIiiII", 108, WIDTH, -HEIGHT, 1, 32, 3, 0, 0, 0, 0, 0) + struct.pack("<IIII", *masks)
        head = head.ljust(108, b"\0")
        data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 108) + head + pixels.astype("<u4").tobytes()
        assert_shows(data, gradient(3))

    @pytest.mark.parametrize("masks", [(0xF00, 0xF0, 0xF, 0), (0x3FF00000, 0xFFC00, 0x3FF, 0)])
    def test_a_bitmap_of_other_masks_is_refused(self, masks: tuple[int, ...]) -> None:
        bits = 16 if masks[0] == 0xF00 else 32
        head = struct.pack("<IiiHHIIiiII", 108, WIDTH, HEIGHT, 1, bits, 3, 0, 0, 0, 0, 0) + struct.pack("<IIII", *masks)
        data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 108) + head.ljust(108, b"\0") + bytes(WIDTH * HEIGHT * 4)
        assert refusal(data).kind == FailureKind.UNSUPPORTED

    @pytest.mark.parametrize("transparent", [False, True])
    def test_a_first_frame_that_leaves_a_margin(self, transparent: bool) -> None:
        image = Image.fromarray(as_seen(gradient(3)).astype(np.uint8)).quantize(64)
        data = bytearray(encoded(image, "GIF", **({"transparency": 63} if transparent else {})))
        frame = data.index(b",\0\0\0\0")
        struct.pack_into("<HH", data, 6, WIDTH + 20, HEIGHT + 10)
        struct.pack_into("<HH", data, frame + 1, 5, 3)
        found = np.asarray(decode_whole(bytes(data), short_side=9, path=NAMELESS)).astype(int)
        assert (found[:3] == 255).all() and (found[:, :5] == 255).all() and (found[HEIGHT + 3 :] == 255).all()
        inside = found[3 : HEIGHT + 3, 5 : WIDTH + 5]
        assert np.abs(inside - np.asarray(image.convert("RGB")).astype(int)).mean() < (6 if transparent else 0.1)

    @pytest.mark.parametrize(("head", "word"), [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"), (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "video"), (b"\xff\x0aJXL", "JPEG XL"), (b"8BPS\0\x01", "Photoshop"),
    ])  # fmt: skip
    def test_another_format_is_named(self, head: bytes, word: str) -> None:
        error = refusal(head + bytes(500))
        assert error.kind == FailureKind.NOT_AN_IMAGE
        assert word in error.reason and "not a picture in a known format" in error.reason


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
            pytest.skip("cannot be written")
        assert_shows(data, self.SEEN, within=12 if form in ("JPEG", "AVIF") else 4)

    @pytest.mark.parametrize("mode", ["L", "LA"])
    @pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
    def test_greys(self, form: str, mode: str) -> None:
        seen = 0.3 + 0.4 * gradient(1)
        light = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
        image = Image.fromarray(np.round(light[:, :, 0] * 255).astype(np.uint8)).convert(mode)
        if form == "JPEG" and mode == "LA":
            pytest.skip("cannot be written")
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


def test_this_pillow_writes_what_is_tested_here() -> None:
    assert features.check("webp") and features.check("avif") and features.check("libtiff")
