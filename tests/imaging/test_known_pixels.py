"""Pictures of known pixels in every kind of every format: they are decoded to them, or refused with the true reason."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from phototag.imaging.decode import decode_whole, picture_size
from phototag.records import FailureKind
from tests.support.known_pixels import (
    FLOATS,
    HEIGHT,
    INTEGERS,
    NAMELESS,
    PACKED,
    WIDTH,
    as_seen,
    assert_shows,
    gradient,
    png_file,
    refusal,
    shown,
    stored_as,
    tolerance,
)
from tests.support.pictures import encoded
from tests.support.tiff_files import page_of, tiff_file


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
            pytest.skip(f"Pillow writes no TIFF of mode {mode} with {compression}")
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
            ({262: (3, [32803])}, "raw photo"),
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
            pytest.skip(f"Pillow writes no {form} of mode {mode}")
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
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "video"), (b"\xff\x0aJXL", "JPEG XL"), (b"8BPS\0\x01", "Photoshop"),
    ])  # fmt: skip
    def test_another_format_is_named(self, head: bytes, word: str) -> None:
        error = refusal(head + bytes(500))
        assert error.kind == FailureKind.NOT_AN_IMAGE
        assert word in error.reason and "not a picture in a known format" in error.reason


def test_this_pillow_writes_what_is_tested_here() -> None:
    assert features.check("webp") and features.check("avif") and features.check("libtiff")
