"""Raw photos: the JPEG that the camera put in, else what the sensor saw; upright, and never what is not there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phototag.errors import DecodeError
from phototag.imaging.decode import decode_bytes, decode_whole, picture_size
from phototag.imaging.formats import format_of
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.raw import open_raw
from phototag.imaging.raw_header import embedded_jpeg
from phototag.imaging.sandbox import Decoder
from phototag.imaging.thumbnails.render import render_thumbnail
from phototag.records import FailureKind
from tests.support.pictures import encoded, scene
from tests.support.raw_files import dng, raf

pytest.importorskip("rawpy")

SMALL = Preprocessing(size=32, crop=1.0)
PHOTO = Path("photo")
SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "metadata"
SIZE = (240, 160)
# How a picture is stored that is to be turned by an orientation of EXIF: the other way round.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored(image: Image.Image, orientation: int) -> Image.Image:
    turn = STORED[orientation]
    return image if turn is None else image.transpose(turn)


def preview_of(image: Image.Image, orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return encoded(image, "JPEG", quality=95, **({} if orientation is None else {"exif": exif}))


def pixels(data: bytes) -> np.ndarray:
    return decode_bytes(data, SMALL, PHOTO)[0].astype(int)


def seen(image: Image.Image) -> np.ndarray:
    return pixels(encoded(image, "PNG"))


def assert_same(found: np.ndarray, expected: np.ndarray, *, within: float = 3) -> None:
    assert np.abs(found - expected).mean() < within


class TestPreview:
    @pytest.mark.parametrize("orientation", STORED)
    def test_the_raw_photo_says_how_a_preview_without_metadata_is_turned(self, orientation: int) -> None:
        image = stored(scene(SIZE), orientation)
        data = dng(image, preview=preview_of(image), orientation=orientation)
        assert_same(pixels(data), seen(scene(SIZE)))
        assert decode_bytes(data, SMALL, PHOTO)[1:] == SIZE == decode_whole(data, short_side=160, path=PHOTO).size

    def test_its_own_metadata_counts_more(self) -> None:
        image = stored(scene(SIZE), 8)
        assert_same(pixels(dng(image, preview=preview_of(image, 8), orientation=3)), seen(scene(SIZE)))

    def test_one_that_stands_upright_already_is_not_turned_again(self) -> None:
        data = dng(stored(scene(SIZE), 6), preview=preview_of(scene(SIZE)), orientation=6)
        assert_same(pixels(data), seen(scene(SIZE)))

    def test_it_is_decoded_without_a_worker_as_a_jpeg_is(self) -> None:
        with Decoder(SMALL) as decoder:
            found, *size = decoder(dng(scene(SIZE), preview=preview_of(scene(SIZE))), PHOTO)
            assert not decoder._all
        assert_same(found, seen(scene(SIZE)))
        assert size == [*SIZE]

    def test_one_that_is_too_small_is_not_taken(self) -> None:
        data = dng(scene(SIZE), preview=preview_of(scene((120, 80), seed=5)))
        assert embedded_jpeg(data, 80) is not None and embedded_jpeg(data, 81) is None
        larger = decode_whole(data, short_side=100, path=PHOTO).resize((120, 80))
        assert np.abs(np.asarray(larger).astype(int) - np.asarray(scene((120, 80)))).mean() < 12

    def test_fuji_has_a_kind_of_its_own(self) -> None:
        data = raf(preview_of(stored(scene(SIZE), 6), 6))
        assert_same(pixels(data), seen(scene(SIZE)))
        with pytest.raises(DecodeError):
            pixels(data[:-500])

    def test_thumbnails_show_it(self) -> None:
        data = dng(stored(scene(SIZE), 8), preview=preview_of(stored(scene(SIZE), 8)), orientation=8)
        small = Image.open(io.BytesIO(render_thumbnail(data, (120, 120), PHOTO)))
        assert small.size == (120, 80)
        assert np.abs(np.asarray(small).astype(int) - np.asarray(scene((120, 80)))).mean() < 8


def test_libraw_is_asked_for_a_preview_as_well() -> None:
    large = (1600, 1200)
    found = open_raw(dng(scene(large), preview=preview_of(scene(large)), orientation=6))
    assert (found.format, found.size) == ("RAW", large)
    assert found.getexif()[0x0112] == 6


class TestDeveloped:
    @pytest.mark.parametrize("orientation", STORED)
    def test_what_the_sensor_saw_is_upright_and_no_small_copy(self, orientation: int) -> None:
        data = dng(stored(scene(SIZE), orientation), orientation=orientation)
        assert_same(pixels(data), seen(scene(SIZE)), within=16)
        assert picture_size(data, PHOTO) == SIZE

    def test_half_its_size_is_developed_where_that_is_enough(self) -> None:
        whole = decode_whole(dng(scene(SIZE)), short_side=60, path=PHOTO)
        assert whole.size == (120, 80)
        assert decode_whole(dng(scene(SIZE)), short_side=100, path=PHOTO).size == SIZE

    def test_sizes_are_limited_before_anything_is_developed(self) -> None:
        with pytest.raises(DecodeError) as caught:
            decode_bytes(dng(scene((1200, 900))), SMALL, PHOTO, max_megapixels=1)
        assert caught.value.kind == FailureKind.TOO_LARGE

    @pytest.mark.parametrize("missing", ["cut", "never written", "cut, and as long again"])
    @pytest.mark.parametrize("share", [0.3, 0.9])
    def test_values_that_are_not_there_are_noticed(self, missing: str, share: float) -> None:
        data = dng(scene(SIZE))
        there = data[: int(share * len(data))]
        data = there + (b"" if missing == "cut" else bytes(len(data) - len(there)))
        with pytest.raises(DecodeError) as caught:
            pixels(data)
        assert caught.value.kind == FailureKind.TRUNCATED

    def test_no_cut_gives_other_pixels(self) -> None:
        data, right = dng(scene(SIZE), preview=preview_of(scene(SIZE))), seen(scene(SIZE))
        for end in np.linspace(0, len(data) - 1, 40, dtype=int):
            try:
                found = pixels(data[:end])
            except DecodeError as error:
                assert error.kind in set(FailureKind)
            else:
                assert_same(found, right, within=16)


class TestContent:
    def test_the_content_tells_raw_photos_from_tiff_files(self) -> None:
        kinds = {}
        for name, data in (("tiff", encoded(scene(), "TIFF")), ("dng", dng(scene())), ("raf", raf(b""))):
            form = format_of(data)
            kinds[name] = form.name if form else None
        assert kinds == {"tiff": "TIFF", "dng": "RAW", "raf": "RAW"}

    def test_damaged_headers_are_failures(self) -> None:
        data = dng(scene(SIZE), preview=preview_of(scene(SIZE)))
        random = np.random.default_rng(0)
        for _ in range(60):
            broken = bytearray(data)
            for at in random.integers(4, 600, 3):
                broken[at] = random.integers(256)
            try:
                decode_bytes(bytes(broken), SMALL, PHOTO)
            except DecodeError as error:
                assert error.reason


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files are not here")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Canon-R6-pruned.CR3", (1620, 1080)),  # its preview is whole, though the larger one is cut
        ("pp_canon_eos_6d.dng", (1024, 683)),
        ("CanonRaw.cr2", FailureKind.UNSUPPORTED),
        *((name, FailureKind.TRUNCATED) for name in ("DNG.dng", "FujiFilm.raf", "Nikon.nef", "Panasonic.rw2")),
    ],
)
def test_files_of_cameras_without_their_values_are_refused(name: str, expected: object) -> None:
    try:
        found: object = decode_bytes((SAMPLES / name).read_bytes(), Preprocessing(size=224), PHOTO)[1:]
    except DecodeError as error:
        found = error.kind
    assert found == expected
