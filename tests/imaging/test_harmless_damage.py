"""What no pixel depends on may be damaged, huge or missing: the picture is read. Missing pixels are noticed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from phototag.errors import DecodeError
from phototag.imaging.cost import cost_of
from phototag.imaging.decode import decode_bytes, decode_whole, picture_size
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.reading import read_bytes
from phototag.records import FailureKind

SMALL = Preprocessing(size=32, crop=1.0)
NAMELESS = Path("picture")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def scene(size: tuple[int, int] = (240, 160)) -> Image.Image:
    blots = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC)


def encoded(form: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or scene()).save(file, form, **options)
    return file.getvalue()


def decoded(data: bytes) -> list[np.ndarray]:
    whole = decode_whole(data, short_side=160, path=NAMELESS)
    return [decode_bytes(data, SMALL, NAMELESS)[0], np.asarray(whole)]


def assert_same(data: bytes, reference: bytes) -> None:
    for found, expected in zip(decoded(data), decoded(reference), strict=True):
        assert np.array_equal(found, expected)


def refused(data: bytes) -> DecodeError:
    for attempt in (decode_bytes, decode_whole):
        with pytest.raises(DecodeError) as caught:
            attempt(data, SMALL, NAMELESS) if attempt is decode_bytes else attempt(data, short_side=9, path=NAMELESS)
    return caught.value


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", right if checksum is None else checksum)


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def png_with(*more: bytes, behind: bytes = b"", end: bytes = chunk(b"IEND", b"")) -> bytes:
    head, *content = (chunk(*one) for one in chunks(PNG) if one[0] != b"IEND")
    return SIGNATURE + head + b"".join(more) + b"".join(content) + behind + end


def one_strip(content: bytes, *, width: int, height: int, compression: int, photometric: int) -> bytes:
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, compression),
        (262, photometric),
        (273, 0),
        (277, 1),
        (278, height),
    ]
    tags.append((279, len(content)))
    at = 8 + 2 + 12 * len(tags) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, at if tag == 273 else value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(4) + content


PNG = encoded("PNG")
JPEG = encoded("JPEG", quality=92)
MEGABYTES = zlib.compress(b"x" * (3 << 20))


class TestPng:
    @pytest.mark.parametrize(
        "part",
        [
            chunk(b"zTXt", b"Comment\0\0" + MEGABYTES),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + MEGABYTES),
            chunk(b"iCCP", b"wide\0\0" + MEGABYTES),
            chunk(b"iCCP", b"odd\0\1" + zlib.compress(b"z" * 500)),
            chunk(b"iCCP", b"no end of the name"),
            chunk(b"eXIf", b"\0\x08\0\2\1\x12\0\3"),
            chunk(b"eXIf", b""),
            chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n      20\nnothex!!\n")),
            chunk(b"zTXt", b"Raw profile type exif\0\0no compression"),
            chunk(b"zTXt", b"Comment\0\1later"),
            chunk(b"tEXt", b"Author\0somebody", checksum=0),
            chunk(b"gAMA", b"\0"),
            chunk(b"cHRM", b"\0"),
            chunk(b"pHYs", b"\0"),
            chunk(b"sRGB", b""),
            chunk(b"tRNS", b"\0\1"),
            chunk(b"acTL", b"\0"),
            chunk(b"fcTL", bytes(26)),
            chunk(b"fcTL", b"\xff" * 26),
            chunk(b"acTL", b"\0\0\0\2\0\0\0\0") + chunk(b"fcTL", b"\0\0\0\7" + bytes(22)),
            chunk(b"iTXt", b"\xff\xff"),
        ],
    )
    def test_a_damaged_or_giant_note_does_not_matter(self, part: bytes) -> None:
        assert_same(png_with(part), PNG)
        assert_same(png_with(behind=part), PNG)
        assert_same(png_with(part, part), PNG)

    def test_many_texts_do_not_matter(self) -> None:
        assert_same(png_with(*[chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000)))] * 100), PNG)

    def test_the_end_may_be_missing_or_rubbish(self) -> None:
        for end in (b"", b"\0", chunk(b"IEND", b"", checksum=1), b"\0\0\0\0rubb", chunk(b"IEND", b"") + bytes(1000)):
            assert_same(png_with(end=end), PNG)

    def test_a_wrong_checksum_of_right_pixels_does_not_matter(self) -> None:
        parts = dict(chunks(PNG))
        head = SIGNATURE + chunk(b"IHDR", parts[b"IHDR"])
        assert_same(head + chunk(b"IDAT", parts[b"IDAT"], checksum=7) + chunk(b"IEND", b""), PNG)

    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
    def test_missing_pixels_before_a_marked_end_do(self, mode: str) -> None:
        head, *_, last = chunks(encoded("PNG", scene().convert(mode)))
        rows = zlib.decompress(
            b"".join(part for kind, part in chunks(encoded("PNG", scene().convert(mode))) if kind == b"IDAT")
        )
        for left in (rows[: len(rows) * 3 // 4], rows[:-1]):
            short = SIGNATURE + chunk(*head) + chunk(b"IDAT", zlib.compress(left)) + chunk(*last)
            assert refused(short).kind == FailureKind.TRUNCATED
        assert_same(encoded("PNG", Image.new(mode, (40, 30))), encoded("PNG", Image.new(mode, (40, 30))))

    def test_wrong_pixels_do(self) -> None:
        rows = scene((64, 64)).tobytes()
        stored = zlib.compress(b"".join(b"\0" + rows[at : at + 192] for at in range(0, len(rows), 192)), 0)
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
        data = bytearray(SIGNATURE + head + chunk(b"IDAT", stored) + chunk(b"IEND", b""))
        decoded(bytes(data))
        data[3000:3100] = bytes(100)
        assert refused(bytes(data)).kind in (FailureKind.CORRUPT, FailureKind.TRUNCATED)

    @pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
    def test_a_wrong_checksum_of_what_pixels_depend_on(self, kind: bytes) -> None:
        parts = chunks(encoded("PNG", scene().quantize(16)))
        data = SIGNATURE + b"".join(chunk(*one, *([7] if one[0] == kind else [])) for one in parts)
        assert refused(data).kind == FailureKind.CORRUPT

    @pytest.mark.parametrize("orientation", [3, 6])
    def test_it_is_turned_as_any_note_says(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = exif.tobytes()
        text = b"\nexif\n%8d\n%s\n" % (len(turned), turned.hex().encode())
        expected = decode_bytes(encoded("PNG", exif=exif), SMALL, NAMELESS)[0]
        assert not np.array_equal(expected, decode_bytes(PNG, SMALL, NAMELESS)[0])
        for part in (
            chunk(b"eXIf", turned.removeprefix(b"Exif\0\0")),
            chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
            chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="%d"/>' % orientation),
        ):
            assert np.array_equal(decode_bytes(png_with(part), SMALL, NAMELESS)[0], expected)


class TestStructure:
    """What a picture costs is read from where the decoder reads it, and what is ambiguous is for a worker process."""

    def test_two_headers_are_refused_and_never_decoded_here(self) -> None:
        second = chunk(b"IHDR", struct.pack(">IIBBBBB", 17_000, 17_000, 8, 6, 0, 0, 0))
        for data in (png_with(second), png_with(behind=second)):
            assert cost_of(data, SMALL) is None
            assert refused(data).kind == FailureKind.CORRUPT

    def test_transparency_behind_a_false_trail_is_counted(self) -> None:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 6000, 8, 2, 0, 0, 0))
        trail = chunk(b"tEXt", b"a\0IDAT") + chunk(b"tRNS", bytes(6))
        cost = cost_of(SIGNATURE + header + trail + chunk(b"IDAT", b"x"), SMALL)
        assert cost is not None and cost.heavy and not cost.everyday

    @pytest.mark.parametrize("kind", [b"zzZz", b"IDAT", b"tEXt"])
    def test_endless_chunks_are_not_looked_through_here(self, kind: bytes) -> None:
        data = png_with(chunk(kind, b"") * 20_000)
        assert cost_of(data, SMALL) is None
        assert_same(data, PNG)

    @pytest.mark.parametrize("marker", [0x00, 0x02, 0x01, 0xC8, 0xD0, 0xD8, 0xF0, 0xFD])
    def test_markers_that_programs_skip_differently(self, marker: int) -> None:
        odd = b"\xff" + bytes([marker]) + b"\0\x04ab"
        assert cost_of(JPEG[:2] + odd + JPEG[2:], SMALL) is None

    def test_two_frames_in_a_jpeg(self) -> None:
        at = JPEG.index(b"\xff\xc0")
        frame = JPEG[at : at + 19]
        assert cost_of(JPEG[:at] + frame + JPEG[at:], SMALL) is None

    def test_endless_segments_in_a_jpeg(self) -> None:
        assert cost_of(JPEG[:2] + b"\xff\xfe\0\2" * 20_000 + JPEG[2:], SMALL) is None


class TestJpeg:
    @pytest.mark.parametrize(
        "segment",
        [
            (0xE0, b"JFIF\0"),
            (0xE1, b"Exif\0\0"),
            (0xE1, b"Exif\0\0MM\0*\0\0\xff\xff"),
            (0xE1, b"Exif\0\0nonsense"),
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0<broken"),
            (0xE2, b"ICC_PROFILE\0"),
            (0xE2, b"ICC_PROFILE\0\1\2half of one"),
            (0xE2, b"MPF\0nonsense"),
            (0xE2, b"MPF\0II*\0\x08\0\0\0\0\0"),
            (0xED, b"Photoshop 3.0\x008BIM"),
            (0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
            (0xEE, b"Adobe"),
            (0xFE, b""),
        ],
    )
    def test_damaged_metadata_does_not_matter(self, segment: tuple[int, bytes]) -> None:
        marker, content = segment
        data = JPEG[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content + JPEG[2:]
        assert_same(data, JPEG)

    def test_it_is_turned_though_other_metadata_is_damaged(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encoded("JPEG", quality=92, exif=exif)
        broken = data[:2] + b"\xff\xe2\0\x0eICC_PROFILE\0" + data[2:]
        assert picture_size(broken, NAMELESS) == (160, 240)
        assert_same(broken, data)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"progressive": True},
            {"mode": "L"},
            {"mode": "CMYK"},
            {"subsampling": 0},
            {"restart_marker_blocks": 4},
            {"size": (1203, 907)},
        ],
        ids=str,
    )
    def test_only_the_end_may_be_missing(self, options: dict[str, Any]) -> None:
        options = dict(options)
        image = scene(options.pop("size", (240, 160))).convert(options.pop("mode", "RGB"))
        whole = encoded("JPEG", image, quality=95, **options)
        assert whole.endswith(b"\xff\xd9")
        for cut in (whole[:-2], whole[:-1], whole[:-2] + bytes(5000)):
            assert_same(cut, whole)
        for share in (0.3, 0.6, 0.9, 0.99):
            cut = whole[: int(len(whole) * share)]
            assert refused(cut).kind == FailureKind.TRUNCATED
            assert refused(cut + bytes(100_000)).kind == FailureKind.TRUNCATED, "a disk that was not written"
            if "progressive" not in options:
                assert refused(cut + b"\xff\xd9").kind == FailureKind.TRUNCATED, "an end set behind what is left"

    def test_one_cut_anywhere_says_so(self) -> None:
        for length in (*range(4, 700, 23), *range(700, len(JPEG) - 2, 997)):
            kind = refused(JPEG[:length]).kind
            # Before the first pixel there is nothing to see that anything follows.
            assert kind == FailureKind.TRUNCATED or (kind == FailureKind.CORRUPT and length < 700), length

    def test_a_large_photo_without_its_end(self) -> None:
        noise = np.random.default_rng(1).normal(0, 20, (1500, 2000, 3))
        image = Image.fromarray(np.clip(np.asarray(scene((2000, 1500))) + noise, 0, 255).astype(np.uint8))
        whole = encoded("JPEG", image, quality=92)
        assert len(whole) > 600_000
        found, expected = (decode_bytes(data, SMALL, NAMELESS)[0].astype(int) for data in (whole[:-2], whole))
        assert np.abs(found - expected).mean() < 1
        assert refused(whole[:-4000]).kind == FailureKind.TRUNCATED

    def test_grey_pictures_are_not_taken_for_cut(self) -> None:
        for value in (126, 128, 130):
            whole = encoded("JPEG", Image.new("RGB", (200, 100), (value,) * 3))
            assert_same(whole, encoded("JPEG", Image.new("RGB", (200, 100), (value,) * 3)))
            assert_same(whole[:-2], whole)


class TestOthers:
    @pytest.mark.parametrize("form", ["WEBP", "AVIF"])
    @pytest.mark.parametrize("bad", [b"Exif\0\0nonsense", b"MM\0*\0\0\xff\xff", b"II"])
    def test_damaged_exif_does_not_matter(self, form: str, bad: bytes) -> None:
        exif = Image.Exif()
        exif[0x010F] = "M" * 40
        sound = encoded(form, quality=90, exif=exif.tobytes())
        part = exif.tobytes().removeprefix(b"Exif\0\0")
        assert part in sound
        broken = sound.replace(part, bad.ljust(len(part), b"\xff"))
        assert_same(broken, sound)

    def test_a_webp_cut_within_its_metadata(self) -> None:
        exif = Image.Exif()
        exif[0x010F] = "M" * 400
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for options in ({}, {"icc_profile": profile}):
            sound = encoded("WEBP", quality=90, exif=exif.tobytes(), **options)
            assert_same(sound[:-100], sound)
        assert refused(sound[: len(sound) // 2]).kind in (FailureKind.TRUNCATED, FailureKind.CORRUPT)

    def test_nonsense_in_tags_of_a_tiff_does_not_matter(self) -> None:
        from tests.support.tiff_files import page_of, tiff_file

        tags, parts = page_of(np.asarray(scene()), 2)
        sound = tiff_file((tags, parts))
        for extra in ({282: (3, [1]), 283: (7, [1] * 9)}, {700: (4, [1])}, {34665: (4, [5])}, {34675: (3, [9] * 30)}):
            assert_same(tiff_file(({**tags, **extra}, parts)), sound)

    def test_a_jpeg_in_a_tiff_is_whole_and_fills_its_place(self) -> None:
        page = {"width": 240, "height": 160, "compression": 7, "photometric": 1}
        inside = encoded("JPEG", scene().convert("L"))
        for part, kind in (
            (inside, None),
            (inside[: len(inside) // 2], FailureKind.TRUNCATED),
            (encoded("JPEG", scene((240, 80)).convert("L")), FailureKind.CORRUPT),
        ):
            data = one_strip(part, **page)
            assert kind is None or refused(data).kind == kind
            if kind is None:
                assert len(decoded(data)) == 2

    def test_any_note_may_be_any_bytes(self) -> None:
        chance = random.Random(3)
        for _ in range(200):
            kind = chance.choice(
                [b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"tEXt", b"gAMA", b"fcTL", b"acTL", b"sPLT", b"tIME"]
            )
            noise = chance.randbytes(chance.randrange(40))
            found = decode_bytes(png_with(chunk(kind, noise)), SMALL, NAMELESS)[0]
            if kind != b"gAMA":
                assert np.array_equal(found, decode_bytes(PNG, SMALL, NAMELESS)[0])


class TestFirstBytes:
    def test_a_giant_that_is_no_picture_is_not_read(self, tmp_path: Path) -> None:
        file = tmp_path / "film.jpg"
        with file.open("wb") as made:
            made.truncate(900 << 20)
        with pytest.raises(DecodeError) as caught:
            read_bytes(file)
        assert caught.value.kind == FailureKind.NOT_AN_IMAGE

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
    def test_a_giant_that_begins_with_a_small_picture_is_not_read(self, tmp_path: Path, form: str) -> None:
        for whole in (True, False):
            file = tmp_path / "film.jpg"
            with file.open("wb") as made:
                made.write(encoded(form) if whole else encoded(form)[:32])
                made.truncate(900 << 20)
            with pytest.raises(DecodeError, match="900 MiB are far more than the picture takes") as caught:
                read_bytes(file)
            assert caught.value.kind == FailureKind.TOO_LARGE

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
    def test_a_picture_that_may_be_that_large_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        monkeypatch.setattr("phototag.imaging.reading.GIANT_BYTES", 0)
        monkeypatch.setattr("phototag.imaging.giants.GIANT_BYTES", 0)
        file = tmp_path / "photo.jpg"
        noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8))
        file.write_bytes(encoded(form, noise, **({"quality": 100} if form in ("JPEG", "WEBP", "AVIF") else {})))
        assert read_bytes(file) == file.read_bytes()

    def test_a_picture_is_read_whole(self, tmp_path: Path) -> None:
        for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "MPO"):
            file = tmp_path / "photo.jpg"
            file.write_bytes(encoded(form))
            assert read_bytes(file) == encoded(form)
