"""HEIC: the primary picture, upright whichever way a file says how, in sRGB, and whole or refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.decode import decode_bytes, decode_whole, picture_size
from phototag.imaging.reading import read_bytes
from phototag.imaging.sandbox import Decoder
from phototag.records import FailureKind
from tests.imaging.test_raw import PHOTO, SAMPLES, SMALL, STORED, assert_same, pixels, seen, stored
from tests.support.pictures import encoded, scene

heif = pytest.importorskip("pillow_heif")

SIZE = (240, 160)
_ORIENTATION = b"\x12\x01\3\0\1\0\0\0"  # the tag, its type and its count


def heic(image: Image.Image, *, exif: int | None = None, turned_by_boxes: int = 1, **options: Any) -> bytes:
    """A HEIC file; `exif` is what its EXIF says of how it is turned, `turned_by_boxes` what its boxes say."""
    tags = Image.Exif()
    tags[0x0112] = turned_by_boxes
    packed = b"Exif\0\0II" + tags.tobytes()[8:] if tags.tobytes()[6:8] == b"II" else tags.tobytes()
    options.setdefault("quality", 90)
    options.setdefault("chroma", 444)
    file = io.BytesIO()
    heif.from_pillow(image).save(file, exif=packed, **options)
    data = file.getvalue()
    for mark, order in ((_ORIENTATION, "<"), (b"\x01\x12\0\3\0\0\0\1", ">")):
        if (at := data.find(mark)) >= 0:
            number = struct.pack(order + "H", exif or 1)
            return data[: at + 8] + number + data[at + 10 :]
    raise AssertionError("the file says nothing of how it is turned")


class TestOrientation:
    @pytest.mark.parametrize("orientation", STORED)
    def test_boxes_turn_it_whatever_exif_says(self, orientation: int) -> None:
        for exif in (1, orientation, 3):
            data = heic(stored(scene(SIZE), orientation), turned_by_boxes=orientation, exif=exif)
            if orientation == 1 and exif != 1:
                continue  # then it has no box
            assert (b"irot" in data or b"imir" in data) == (orientation != 1)
            assert_same(pixels(data), seen(scene(SIZE)))
            assert picture_size(data, PHOTO) == SIZE

    @pytest.mark.parametrize("orientation", STORED)
    def test_exif_turns_it_where_no_box_does(self, orientation: int) -> None:
        data = heic(stored(scene(SIZE), orientation), exif=orientation)
        assert b"irot" not in data and b"imir" not in data
        assert_same(pixels(data), seen(scene(SIZE)))
        assert decode_whole(data, short_side=160, path=PHOTO).size == SIZE


class TestKinds:
    def test_pictures_of_tiles(self) -> None:
        data = heic(scene(SIZE), tile_size=64)
        assert b"grid" in data
        assert_same(pixels(data), seen(scene(SIZE)))

    def test_ten_bits_and_grey_and_transparent(self) -> None:
        deep = (np.asarray(scene(SIZE)).astype("<u2") * 257).tobytes()
        file = io.BytesIO()
        heif.from_bytes("RGB;16", SIZE, deep).save(file, quality=95, chroma=444)
        assert_same(pixels(file.getvalue()), seen(scene(SIZE)))
        assert_same(pixels(heic(scene(SIZE).convert("L"))), seen(scene(SIZE).convert("L")))
        clear = scene(SIZE).convert("RGBA")
        clear.putalpha(0)
        assert pixels(heic(clear)).min() > 250

    @pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
    def test_brighter_screens_are_mapped_to_ours(self, transfer: int, name: str) -> None:
        # Paper white of 203 nits, and a grey card of 26, as both have them (ITU-R BT.2408-7, table 1).
        white, grey = {"PQ": (0.58, 0.38), "HLG": (0.75, 0.38)}[name]
        samples = np.empty((160, 240, 3), "<u2")
        samples[:, :120], samples[:, 120:] = white * 65535, grey * 65535
        file = io.BytesIO()
        heif.from_bytes("RGB;16", SIZE, samples.tobytes()).save(
            file, quality=95, chroma=444, color_primaries=9, transfer_characteristics=transfer, matrix_coefficients=9
        )
        found = pixels(file.getvalue())
        assert found[:, :12].min() > 248
        assert abs(found[:, 20:].mean() - 100) < 8  # 26 of 203 in sRGB
        assert np.ptp(found[:, 20:].mean((0, 1))) < 4

    def test_the_primary_picture_of_many(self) -> None:
        images = heif.from_pillow(scene(SIZE, seed=1))
        images.add_from_pillow(scene(SIZE))
        images.add_from_pillow(scene((64, 64), seed=2))
        file = io.BytesIO()
        images.save(file, primary_index=1, quality=90)
        assert_same(pixels(file.getvalue()), seen(scene(SIZE)))


class TestRefused:
    def test_sizes_are_limited_by_the_header(self) -> None:
        data = heic(scene(SIZE)).replace(
            struct.pack(">4s3I", b"ispe", 0, *SIZE), struct.pack(">4s3I", b"ispe", 0, 40_000, 20_000)
        )
        with pytest.raises(DecodeError) as caught:
            pixels(data)
        assert caught.value.kind == FailureKind.TOO_LARGE

    def test_one_that_lacks_pixels_is_cut_short(self) -> None:
        data = heic(scene(SIZE), tile_size=64, quality=98)
        for there in (data[:-200], data[:-200] + bytes(200)):
            with pytest.raises(DecodeError) as caught:
                pixels(there)
            assert caught.value.kind == FailureKind.TRUNCATED

    def test_a_broken_one_says_so(self) -> None:
        data = heic(scene(SIZE))
        random = np.random.default_rng(0)
        for _ in range(60):
            broken = bytearray(data)
            for at in random.integers(12, len(data), 3):
                broken[at] = random.integers(256)
            try:
                decode_bytes(bytes(broken[: random.integers(12, 2 * len(data))]), SMALL, PHOTO)
            except DecodeError as error:
                assert error.reason


def test_it_is_decoded_by_a_worker_and_content_counts_more_than_names(tmp_path: Path) -> None:
    renamed = tmp_path / "a.HEIC"
    renamed.write_bytes(encoded(scene(SIZE), "JPEG", quality=95))
    with Decoder(SMALL) as decoder:
        assert_same(decoder(read_bytes(renamed), renamed)[0].astype(int), seen(scene(SIZE)))
        assert not decoder._all
        assert_same(decoder(heic(scene(SIZE)), renamed)[0].astype(int), seen(scene(SIZE)))
        assert len(decoder._all) == 1
        with pytest.raises(DecodeError) as caught:
            decoder(heic(scene(SIZE))[:60], renamed)
        assert caught.value.kind in (FailureKind.CORRUPT, FailureKind.TRUNCATED)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files are not here")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pp_iphone_7.heic", (3024, 4032)),  # by EXIF alone
        ("invalid_metadata_type.heic", (16, 16)),
        ("Canon.HIF", (2400, 1600)),
        ("pp_wrong.heic", (500, 500)),
        ("corrupted.heic", FailureKind.CORRUPT),
    ],
)
def test_files_of_phones_and_cameras(name: str, expected: object) -> None:
    try:
        found: object = picture_size((SAMPLES / name).read_bytes(), PHOTO)
    except DecodeError as error:
        found = error.kind
    assert found == expected
