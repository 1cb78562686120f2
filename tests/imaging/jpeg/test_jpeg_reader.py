"""The JPEG decoder for large photos: what libjpeg makes of them at the same size, or None, whatever the bytes are."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phototag.imaging.jpeg import reader as jpeg

SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
SIZES = [(8, 8), (16, 16), (17, 9), (64, 48), (65, 47), (100, 75), (33, 130), (9, 300)]
BICUBIC = Image.Resampling.BICUBIC


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOTAG_HOME", str(tmp_path_factory.mktemp("compiled")))
        if jpeg._kernels() is None:
            pytest.skip("numba is not installed, or does not work here")
        yield


def photo(size: tuple[int, int] = (100, 75), *, grain: float = 12.0, seed: int = 0) -> Image.Image:
    """Blots of colour with noise on them, so that blocks differ in everything."""
    chance = np.random.default_rng(seed)
    blots = chance.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(blots).resize(size, BICUBIC)).astype(float)
    return Image.fromarray((smooth + chance.normal(0, grain, smooth.shape)).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def decoded(data: bytes, scale: int = 8) -> jpeg.Reduced:
    found = jpeg.reduced(data, scale)
    assert found is not None
    return found


def luma(data: bytes, scale: int = 8) -> np.ndarray:
    return decoded(data, scale).planes[0].samples


def libjpeg_luma(data: bytes) -> np.ndarray:
    """At 1/8."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", (image.width // 8, image.height // 8))
        return np.asarray(image)


def same(one: jpeg.Reduced, other: jpeg.Reduced) -> bool:
    pairs = zip(one.planes, other.planes, strict=True)
    return all(np.array_equal(left.samples, right.samples) for left, right in pairs)


def whole(found: jpeg.Reduced, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(found.resized(size, (0, 0, found.width, found.height), BICUBIC)).astype(int)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def find(data: bytes, marker: int) -> tuple[int, int]:
    """Where the first segment of that marker begins and ends."""
    at = 2
    while data[at + 1] != marker:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def scan_of(bits: str) -> bytes:
    """Entropy-coded data of these bits."""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def changed(data: bytes, marker: int, offset: int, new: bytes) -> bytes:
    """With other bytes that far into the content of the first segment of that marker."""
    at = find(data, marker)[0] + 4 + offset
    return data[:at] + new + data[at + len(new) :]


class TestPicture:
    @pytest.mark.parametrize("sampling", SAMPLINGS)
    @pytest.mark.parametrize("quality", [20, 75, 90, 100])
    def test_luma_at_an_eighth_is_exactly_libjpegs(self, sampling: str, quality: int) -> None:
        for number, size in enumerate(SIZES):
            for grain in (0, 15, 90):
                image = photo(size, grain=grain, seed=number)
                data = encoded(image, quality=quality, subsampling=SAMPLINGS[sampling])
                assert np.array_equal(luma(data), libjpeg_luma(data)), (size, grain)

    @pytest.mark.parametrize("scale", jpeg.SCALES)
    @pytest.mark.parametrize("sampling", SAMPLINGS)
    def test_it_is_close_to_a_full_decode(self, sampling: str, scale: int) -> None:
        data = encoded(photo((800, 600)), quality=92, subsampling=SAMPLINGS[sampling])
        with Image.open(io.BytesIO(data)) as image:
            exact = np.asarray(image.resize((50, 38), BICUBIC)).astype(int)
        difference = np.abs(whole(decoded(data, scale), (50, 38)) - exact)
        assert difference.mean() < 1.2
        assert difference.max() < 16

    def test_colours_lie_where_they_should(self) -> None:
        quarters = Image.new("RGB", (203, 101), "red")
        quarters.paste("blue", (104, 0, 203, 101))
        quarters.paste("lime", (0, 48, 104, 101))
        for sampling in SAMPLINGS.values():
            for scale in jpeg.SCALES:
                small = whole(decoded(encoded(quarters, quality=95, subsampling=sampling), scale), (20, 10))
                for place, colour in (((2, 4), (255, 0, 0)), ((2, 16), (0, 0, 255)), ((8, 4), (0, 255, 0))):
                    assert np.abs(small[place] - colour).max() < 8, (sampling, scale, place)

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 2), (8, 1)])
    def test_tiny_pictures_are_pictures(self, size: tuple[int, int]) -> None:
        for sampling in SAMPLINGS.values():
            for scale in jpeg.SCALES:
                found = decoded(encoded(Image.new("RGB", size, (200, 60, 90)), quality=95, subsampling=sampling), scale)
                assert (found.width, found.height) == size
                assert np.abs(whole(found, size) - (200, 60, 90)).max() < 4

    @pytest.mark.parametrize("scale", jpeg.SCALES)
    @pytest.mark.parametrize("sampling", SAMPLINGS)
    @pytest.mark.parametrize("size", [(1, 1), (63, 65), (129, 31)])
    def test_the_planes_cover_the_photo_and_no_more(self, size: tuple[int, int], sampling: str, scale: int) -> None:
        found = decoded(encoded(photo(size), subsampling=SAMPLINGS[sampling]), scale)
        for plane in found.planes:
            height, width = plane.samples.shape
            assert 0 <= width * plane.across - size[0] < plane.across
            assert 0 <= height * plane.down - size[1] < plane.down
        assert found.planes[0].across == found.planes[0].down == scale

    def test_chroma_halved_down_alone_is_read(self) -> None:
        """4:4:0, which a 4:2:2 photo becomes when it is turned without loss."""
        data = changed(encoded(photo((64, 64)), quality=95, subsampling=1), 0xC0, 7, b"\x12")
        assert np.array_equal(luma(data), libjpeg_luma(data))
        assert [(plane.across, plane.down) for plane in decoded(data, 4).planes] == [(4, 4), (4, 8), (4, 8)]

    def test_grey_is_one_plane(self) -> None:
        for size in SIZES:
            data = encoded(photo(size).convert("L"), quality=90)
            assert np.array_equal(luma(data), libjpeg_luma(data))
            small = whole(decoded(data, 4), (20, 20))
            assert (small[..., 0] == small[..., 2]).all()
        assert same(decoded(changed(data, 0xC0, 7, b"\x22")), decoded(data)), "alone, sampling factors mean nothing"
        assert jpeg.reduced(changed(data, 0xC0, 7, b"\x52"), 8) is None

    @pytest.mark.parametrize("sampling", SAMPLINGS.values())
    def test_restart_intervals_change_nothing(self, sampling: int) -> None:
        image = photo((330, 210))
        plain = encoded(image, subsampling=sampling)
        for options in ({"restart_marker_blocks": 1}, {"restart_marker_blocks": 7}, {"restart_marker_rows": 1}):
            for scale in jpeg.SCALES:
                marked = decoded(encoded(image, subsampling=sampling, **options), scale)
                assert same(marked, decoded(plain, scale))

    def test_codes_made_for_the_photo_change_nothing(self) -> None:
        for grain in (0, 10, 60):
            image = photo((200, 150), grain=grain)
            for scale in jpeg.SCALES:
                plain, optimised = (decoded(encoded(image, optimize=optimize), scale) for optimize in (False, True))
                assert same(plain, optimised)

    def test_what_else_is_in_the_file_changes_nothing(self) -> None:
        image = photo()
        thumbnail = encoded(image.resize((16, 12)))
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail
        plain = encoded(image)
        mpo = io.BytesIO()
        image.save(mpo, "MPO", save_all=True, append_images=[photo(seed=5)])
        for other in (
            encoded(image, exif=exif, icc_profile=b"profile" * 30_000, comment=b"\xff\xd9 words"),
            plain + b"trailing \xff\xd8 bytes",
            mpo.getvalue(),
        ):
            assert same(decoded(other), decoded(plain))

    def test_fill_bytes_before_markers_change_nothing(self) -> None:
        plain = encoded(photo(), restart_marker_blocks=5)
        begin, scan = find(plain, 0xDB)[0], find(plain, 0xDA)[1]
        filled = plain[:begin] + b"\xff\xff" + plain[begin:scan]
        rest = plain[scan:-2]
        for number in range(8):
            rest = rest.replace(bytes([0xFF, 0xD0 + number]), bytes([0xFF, 0xFF, 0xFF, 0xD0 + number]))
        filled += rest + b"\xff\xff\xff\xd9"
        assert same(decoded(filled), decoded(plain))
        assert np.array_equal(libjpeg_luma(filled), luma(filled))


class TestLeftToPillow:
    @pytest.mark.parametrize(
        ("mode", "options"),
        [
            ("RGB", {"progressive": True}),
            ("L", {"progressive": True}),
            ("RGB", {"keep_rgb": True}),
            ("CMYK", {}),
        ],
    )
    def test_other_kinds_of_jpeg(self, mode: str, options: dict[str, Any]) -> None:
        assert jpeg.reduced(encoded(photo().convert(mode), **options), 8) is None

    @pytest.mark.parametrize(
        ("marker", "offset", "new"),
        [
            (0xC0, 0, b"\x0c"),  # 12 bits a sample
            (0xC0, 1, b"\0\0"),  # the height comes later
            (0xC0, 3, b"\0\0"),
            (0xC0, 5, b"\x02"),
            (0xC0, 7, b"\x41"),  # 4:1:1
            (0xC0, 7, b"\x00"),
            (0xC0, 10, b"\x21"),  # more chroma than usual
            (0xC0, 8, b"\x03"),  # a quantisation table that is not there
            (0xDB, 0, b"\x10"),  # 16-bit factors
            (0xDB, 0, b"\x07"),
            (0xDB, 1, b"\0"),
            (0xC4, 0, b"\x05"),  # a Huffman table nobody can ask for
            (0xC4, 1, b"\x03"),  # three codes of one bit
            (0xC4, 16, b"\xff"),  # more symbols than follow
            (0xC4, 17, b"\x10"),  # a difference of 16 bits
            (0xDA, 0, b"\x02"),
            (0xDA, 1, b"\x09"),  # another component
            (0xDA, 2, b"\x22"),  # other tables
            (0xDA, 7, b"\x01"),  # a part of the spectrum
            (0xDA, 9, b"\x01"),  # a part of the bits
        ],
    )
    def test_other_headers(self, marker: int, offset: int, new: bytes) -> None:
        data = changed(encoded(photo(), subsampling=2), marker, offset, new)
        assert jpeg.reduced(data, 8) is None
        assert jpeg.reduced(data, 4) is None

    def test_arithmetic_and_lossless_coding(self) -> None:
        data = encoded(photo())
        at = find(data, 0xC0)[0]
        for frame in {*range(0xC2, 0xD0)} - {0xC4}:
            assert jpeg.reduced(data[: at + 1] + bytes([frame]) + data[at + 2 :], 8) is None

    def test_colours_that_an_adobe_segment_names(self) -> None:
        data = encoded(photo())
        body = b"Adobe\0\x64\0\0\0\0"
        assert same(decoded(data[:2] + segment(0xEE, body + b"\x01") + data[2:]), decoded(data))
        for transform in (0, 2):
            assert jpeg.reduced(data[:2] + segment(0xEE, body + bytes([transform])) + data[2:], 8) is None
        assert jpeg.reduced(data[:2] + segment(0xEE, b"Adobe") + data[2:], 8) is None, "cut short"

    def test_components_by_the_name_of_rgb(self) -> None:
        data = encoded(photo())
        for number, name in enumerate(b"RGB"):
            data = changed(data, 0xC0, 6 + 3 * number, bytes([name]))
            data = changed(data, 0xDA, 1 + 2 * number, bytes([name]))
        assert jpeg.reduced(data, 8) is None

    @pytest.mark.parametrize(
        "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff" * 50, b"PNG or so", b"\0" * 99]
    )
    def test_what_is_no_jpeg(self, data: bytes) -> None:
        assert jpeg.reduced(data, 8) is None

    def test_only_two_scales_are_offered(self) -> None:
        with pytest.raises(ValueError, match="1/4 and 1/8"):
            jpeg.reduced(encoded(photo()), 2)


class TestDamage:
    @pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"optimize": True}])
    def test_a_file_cut_anywhere_is_no_picture(self, options: dict[str, int]) -> None:
        data = encoded(photo((60, 40)), **options)
        for length in range(len(data)):
            assert jpeg.reduced(data[:length], 8) is None
            assert jpeg.reduced(data[:length], 4) is None

    def test_a_photo_cut_and_closed_is_no_picture(self) -> None:
        data = encoded(photo((200, 150)))
        scan = find(data, 0xDA)[1]
        for length in range(scan, len(data) - 4, 7):
            assert jpeg.reduced(data[:length] + b"\xff\xd9", 8) is None

    def test_bytes_left_over_are_for_pillow_to_judge(self) -> None:
        for data in (encoded(photo()), encoded(photo(), restart_marker_blocks=4)):
            for extra in (b"\0", b"\xff\0", b"\x55\x55", b"\xff\xd0", b"\xff\xda", b"\xff\xff\0"):
                assert jpeg.reduced(data[:-2] + extra + data[-2:], 8) is None

    def test_restart_markers_come_in_order(self) -> None:
        data = encoded(photo((200, 150)), restart_marker_blocks=4)
        assert jpeg.reduced(data.replace(b"\xff\xd1", b"\xff\xd2", 1), 8) is None
        assert jpeg.reduced(data.replace(b"\xff\xd1", b"", 1), 8) is None
        assert jpeg.reduced(changed(data, 0xDD, 0, b"\0\0"), 8) is None
        assert jpeg.reduced(changed(data, 0xDD, 0, b"\0\5"), 8) is None

    def test_a_claim_of_size_costs_nothing(self) -> None:
        data = changed(encoded(photo()), 0xC0, 1, b"\xff\xff\xff\xff")
        tracemalloc.start()
        begun = time.thread_time()
        assert jpeg.reduced(data, 4) is None
        assert time.thread_time() - begun < 1
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()

    def test_a_mean_beyond_all_brightness_is_refused(self) -> None:
        """Each block brighter than the one before, which no encoder writes and libjpeg lets wrap round."""
        header = encoded(Image.new("L", (8, 800)), quality=90)
        header = changed(header[: find(header, 0xDA)[1]], 0xDB, 1, b"\x10")
        step = "1110" + "111111" + "1010"  # a difference of 6 bits, 63, and the end of the block
        assert jpeg.reduced(header + scan_of(step * 100) + b"\xff\xd9", 8) is None

    def test_codes_longer_than_a_look_into_the_tables(self) -> None:
        grey = encoded(Image.new("L", (16, 8)), quality=100)
        sixteen_bits = bytes([0] * 15 + [4])
        tables = (
            b"\x00" + sixteen_bits + bytes([0, 3, 7, 11]) + b"\x10" + sixteen_bits + bytes([0x00, 0x0A, 0xF0, 0x01])
        )
        header = grey[: find(grey, 0xC4)[0]] + segment(0xC4, tables) + grey[slice(*find(grey, 0xDA))]
        first = [f"{2:016b}", f"{100:07b}", f"{1:016b}", f"{600:010b}", f"{2:016b}", f"{3:016b}", "1", f"{0:016b}"]
        last = [f"{0:016b}"] + [f"{3:016b}", "0"] * 63  # full to the last coefficient: it has no end
        data = header + scan_of("".join(first + last)) + b"\xff\xd9"
        assert luma(data).tolist() == libjpeg_luma(data).tolist() == [[141, 141]]
        assert luma(data, 4)[:, :2].tolist() == [[(1128 + 600) >> 3, (1128 - 600) >> 3]] * 2

    def test_coefficients_past_the_last_are_refused(self) -> None:
        """Of one bit and two: the end of a block, 16 zeros, and 15 zeros with a one after them."""
        grey = encoded(Image.new("L", (8, 8)), quality=100)
        tables = b"\x00" + bytes([1] + [0] * 15) + b"\x00" + b"\x10" + bytes([1, 1, 1] + [0] * 13) + b"\x00\xf0\xf1"
        header = grey[: find(grey, 0xC4)[0]] + segment(0xC4, tables) + grey[slice(*find(grey, 0xDA))]
        mean, end, zeros, one = "0", "0", "10", "1101"
        for block, right in (
            ([mean, end], True),
            ([mean, zeros, zeros, zeros, end], True),
            ([mean, one, one, one, end], True),
            ([mean, zeros, zeros, zeros, zeros, end], False),
            ([mean, one, one, one, one, end], False),
            ([mean, "111"], False),
            ([mean, zeros], False),
        ):
            for scale in jpeg.SCALES:
                found = jpeg.reduced(header + scan_of("".join(block)) + b"\xff\xd9", scale)
                assert (found is not None) is right, block

    def test_any_damage_gives_none_or_what_libjpeg_sees(self) -> None:
        chance = random.Random(11)
        seeds = [
            encoded(photo(size, grain=grain, seed=3), quality=quality, subsampling=sampling, **more)
            for size, grain, quality in (((64, 48), 20, 90), ((33, 50), 60, 98), ((40, 20), 3, 60))
            for sampling in SAMPLINGS.values()
            for more in ({}, {"restart_marker_blocks": 2}, {"optimize": True})
        ]
        seeds += [encoded(photo().convert("L")), encoded(photo(), progressive=True)]
        seen = 0
        for _ in range(3000):
            data = damaged(chance.choice(seeds), chance)
            eighth, quarter = jpeg.reduced(data, 8), jpeg.reduced(data, 4)
            if eighth is None or quarter is None:
                assert eighth is quarter, "what is broken is so at any size"
                continue
            seen += 1
            if min(eighth.width, eighth.height) >= 8:
                assert np.array_equal(eighth.planes[0].samples, libjpeg_luma(data))
        assert seen > 100, "some damage shows only in the pixels, if at all"


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed in the header, in the tables or in the scan, cut out or doubled."""
    result = bytearray(data)
    scan = data.find(b"\xff\xda")
    ranges = [(0, scan + 14), (scan, len(data)), (scan + 14, len(data) - 2), (max(0, data.find(b"\xff\xc4")), scan)]
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        begin, end = chance.choice(ranges)
        place = chance.randrange(begin, min(end, len(result)))
        match chance.randrange(4):
            case 0:
                result[place] = chance.choice([0, 1, 0xF0, 0xFF])
            case 1:
                result[place] ^= 1 << chance.randrange(8)
            case 2:
                result[place] = chance.randrange(256)
            case _:
                result[place : place + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
                if len(result) < scan + 20:
                    return bytes(result)
    return bytes(result)


class TestKernels:
    def test_threads_do_not_disturb_each_other(self) -> None:
        files = [encoded(photo((640, 480), seed=seed), subsampling=seed % 3) for seed in range(6)] * 4
        alone = [decoded(data, 4) for data in files]
        with ThreadPoolExecutor(4) as pool:
            assert all(map(same, pool.map(lambda data: decoded(data, 4), files), alone))

    def test_without_numba_everything_is_left_to_pillow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jpeg, "_load_kernels", jpeg._load_kernels.__wrapped__)
        monkeypatch.setitem(sys.modules, "numba", None)
        assert jpeg._kernels() is None
        assert jpeg.reduced(encoded(photo()), 8) is None

    def test_numba_that_may_not_compile_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import numba

        monkeypatch.setattr(jpeg, "_load_kernels", jpeg._load_kernels.__wrapped__)
        monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
        assert jpeg._kernels() is None

    def test_a_compiler_that_fails_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from numba.core.errors import LoweringError

        def fail(name: str) -> Any:
            if name.endswith("_huffman"):
                raise LoweringError("no")
            return sys.modules[name]

        monkeypatch.setattr(jpeg, "_load_kernels", jpeg._load_kernels.__wrapped__)
        monkeypatch.setattr(jpeg.importlib, "import_module", fail)
        assert jpeg._kernels() is None

    @pytest.mark.slow
    @pytest.mark.parametrize("chosen", [False, True])
    def test_compiled_code_is_kept(self, home: Path, tmp_path: Path, chosen: bool) -> None:
        """In phototag's cache, or where the user wants numba's."""
        code = "import sys, phototag.imaging.jpeg.reader as j; assert 'numba' not in sys.modules; assert j._kernels()"
        env = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
        if chosen:
            env["NUMBA_CACHE_DIR"] = str(tmp_path)
        subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120)
        assert bool(list(tmp_path.rglob("*.nbi"))) is chosen
        assert bool(list((home / "cache" / "numba").rglob("*.nbi"))) is not chosen


class TestBox:
    """Only a part of the photo is wanted, as for a central crop."""

    @pytest.mark.parametrize("sampling", SAMPLINGS)
    @pytest.mark.parametrize("scale", [4, 8])
    @pytest.mark.parametrize("restart", [{}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}])
    @pytest.mark.parametrize(
        "box", [(0, 0, 200, 150), (64, 40, 150, 100), (-9.5, -3.25, 90, 60.5), (190, 149, 900, 900)]
    )
    def test_inside_it_nothing_changes(
        self, sampling: str, scale: int, restart: dict[str, int], box: tuple[float, float, float, float]
    ) -> None:
        data = encoded(photo((200, 150)), quality=90, subsampling=SAMPLINGS[sampling], **restart)
        entire, part = decoded(data, scale), jpeg.reduced(data, scale, box=box)
        assert part is not None
        assert (part.width, part.height) == (entire.width, entire.height)
        for one, other in zip(entire.planes, part.planes, strict=True):
            assert one.samples.shape == other.samples.shape
            rows = slice(max(0, int(box[1]) // one.down), int(box[3]) // one.down)
            columns = slice(max(0, int(box[0]) // one.across), int(box[2]) // one.across)
            assert np.array_equal(one.samples[rows, columns], other.samples[rows, columns])

    def test_a_file_cut_below_it_is_for_pillow(self) -> None:
        data = encoded(photo((200, 400)), quality=90)
        assert jpeg.reduced(data, 8, box=(0, 0, 200, 100)) is not None
        for length in range(find(data, 0xDA)[1], len(data), 97):
            assert jpeg.reduced(data[:length], 8, box=(0, 0, 200, 100)) is None

    def test_a_second_picture_after_it_does_no_harm(self) -> None:
        data = encoded(photo((200, 400)), quality=90)
        assert jpeg.reduced(data + data, 8, box=(0, 0, 200, 100)) is not None

    def test_a_strange_marker_below_it_is_for_pillow(self) -> None:
        data = encoded(photo((200, 400)), quality=90)
        assert jpeg.reduced(data[:-400] + b"\xff\xc4" + data[-398:], 8, box=(0, 0, 200, 100)) is None

    def test_any_damage_and_any_box_gives_a_picture_or_none(self) -> None:
        chance = random.Random(5)
        data = encoded(photo((120, 90)), quality=85, restart_marker_rows=2)
        began = find(data, 0xDA)[1]
        for _ in range(400):
            damaged = bytearray(data)
            for _ in range(chance.choice([0, 1, 5])):
                damaged[chance.randrange(began, len(data))] = chance.randrange(256)
            left, top = chance.uniform(-50, 150), chance.uniform(-50, 150)
            box = (left, top, left + chance.uniform(0, 200), top + chance.uniform(0, 200))
            found = jpeg.reduced(bytes(damaged), chance.choice([4, 8]), box=box)
            assert found is None or found.planes[0].samples.size
