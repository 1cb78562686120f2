"""Small, upright, bare copies of pictures, and the processes that make them."""

from __future__ import annotations

import io
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from phototag.errors import DecodeError
from phototag.imaging.thumbnails.cached import ThumbnailSize
from phototag.imaging.thumbnails.render import render_thumbnail
from phototag.imaging.thumbnails.thumbnailer import Thumbnailer
from phototag.records import FailureKind
from tests.support.thumbnails import CountingThumbnailer, opened

BOX = ThumbnailSize.THUMBNAIL.value
SOMEWHERE = Path("picture")


def as_bytes(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


# ---- the copies


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (320, 240)),
        ((3000, 4000), (320, 427)),
        ((100, 50), (100, 50)),
        ((500, 5000), (48, 480)),
        ((9000, 9), (320, 1)),
    ],
)
def test_copy_fits_the_box_and_is_never_larger(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = opened(render_thumbnail(as_bytes(Image.new("RGB", size, "teal")), BOX, SOMEWHERE))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", expected)


def test_large_copy_is_hardly_smaller_than_there_is_room_for() -> None:
    image = opened(
        render_thumbnail(as_bytes(Image.new("RGB", (4032, 3024), "teal")), ThumbnailSize.PICTURE.value, SOMEWHERE)
    )
    assert 0.94 * 2048 <= image.width <= 2048
    assert image.height == round(image.width * 3 / 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_copy_is_upright(orientation: int) -> None:
    upright = Image.new("RGB", (900, 600), "white")
    upright.paste("red", (0, 0, 450, 300))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that EXIF's number is to be undone by
    turned = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = opened(render_thumbnail(as_bytes(turned, exif=exif), BOX, SOMEWHERE))
    assert image.size == (320, 213)
    corners = [image.getpixel(place) for place in ((40, 40), (280, 40), (40, 170), (280, 170))]
    assert [red > 200 and green < 60 for red, green, _ in corners] == [True, False, False, False]


@pytest.mark.parametrize("size", [(800, 600), (80, 60)])
@pytest.mark.parametrize("coloured", [False, True], ids=["without a profile", "with a profile"])
def test_copy_holds_nothing_but_pixels(size: tuple[int, int], coloured: bool) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET description"
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if coloured else None
    content = as_bytes(Image.new("RGB", size, "teal"), exif=exif, comment=b"SECRET comment", icc_profile=profile)
    assert content.count(b"SECRET") == 2
    small = render_thumbnail(content, BOX, SOMEWHERE)
    image = opened(small)
    assert b"SECRET" not in small
    assert not dict(image.getexif())
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def linear_profile() -> bytes:
    """An ICC profile (version 2) with the colours of sRGB whose values are proportional to light."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def colour(*xyz: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, xyz))

    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)  # no points: a straight line
    parts = {
        b"rXYZ": colour(0.4361, 0.2225, 0.0139),
        b"gXYZ": colour(0.3851, 0.7169, 0.0971),
        b"bXYZ": colour(0.1431, 0.0606, 0.7141),
        b"wtpt": colour(0.9642, 1.0, 0.8249),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 7) + b"linear\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
    }
    table, body = struct.pack(">I", len(parts)), b""
    start = 128 + 4 + 12 * len(parts)
    for name, part in parts.items():
        table += name + struct.pack(">II", start + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + colour(0.9642, 1.0, 0.8249)[8:]
    return head + bytes(128 - len(head)) + table + body


@pytest.mark.parametrize(
    ("profile", "expected"),
    [(None, 90), (linear_profile(), 159), (b"no profile at all", 90), (linear_profile()[:300], 90)],
    ids=["none", "linear", "rubbish", "cut short"],
)
def test_copy_has_the_colours_that_its_profile_says(profile: bytes | None, expected: int) -> None:
    grey = Image.new("RGB", (400, 300), (90, 90, 90))
    image = opened(render_thumbnail(as_bytes(grey, icc_profile=profile), BOX, SOMEWHERE))
    assert image.getpixel((9, 9)) == pytest.approx((expected,) * 3, abs=3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_every_format_becomes_a_jpeg(form: str) -> None:
    content = as_bytes(Image.new("RGB", (700, 500), (200, 30, 30)), form)
    image = opened(render_thumbnail(content, BOX, SOMEWHERE))
    red, green, _ = image.getpixel((100, 100))  # type: ignore[misc]
    assert image.format == "JPEG"
    assert red > 150 and green < 80


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixel_becomes_rgb(mode: str) -> None:
    form = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    image = opened(render_thumbnail(as_bytes(Image.new(mode, (700, 500)), form), BOX, SOMEWHERE))
    assert (image.mode, image.size) == ("RGB", (320, 229))


# ---- the processes that make them


def test_copies_are_made_by_other_processes(thumbnailer: CountingThumbnailer) -> None:
    content = as_bytes(Image.new("RGB", (700, 500), "teal"))
    assert opened(thumbnailer(content, BOX, SOMEWHERE)).size == (320, 229)
    assert opened(thumbnailer(content, (100, 100), SOMEWHERE)).size == (100, 71)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html><script>alert(1)</script></html>", FailureKind.NOT_AN_IMAGE),
        (b"%PDF-1.7", FailureKind.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", FailureKind.NOT_AN_IMAGE),
        (as_bytes(Image.new("RGB", (700, 500), "teal"))[:900], FailureKind.TRUNCATED),
        (b"BM" + b"\0" * 60, FailureKind.NOT_AN_IMAGE),
    ],
)
def test_what_is_no_whole_picture_is_refused(
    thumbnailer: CountingThumbnailer, content: bytes, kind: FailureKind
) -> None:
    with pytest.raises(DecodeError) as caught:
        thumbnailer(content, BOX, SOMEWHERE)
    assert caught.value.kind in (kind, FailureKind.CORRUPT)
    assert opened(thumbnailer(as_bytes(Image.new("RGB", (70, 50))), BOX, SOMEWHERE)).size == (70, 50)


def test_giants_are_refused() -> None:
    thumbnailer = Thumbnailer(max_megapixels=1)
    try:
        with pytest.raises(DecodeError, match="1 megapixels"):
            thumbnailer(as_bytes(Image.new("L", (2000, 1000)), "PNG"), BOX, SOMEWHERE)
    finally:
        thumbnailer.close()


def command(code: str) -> list[str]:
    """A worker that starts as it should, and then does what `code` says with the bytes it gets."""
    program = (
        "import os, struct, sys, time\n"
        "def receive():\n"
        "    (length,) = struct.unpack('<Q', sys.stdin.buffer.read(8))\n"
        "    return sys.stdin.buffer.read(length)\n"
        "def send(kind, content):\n"
        "    os.write(1, struct.pack('<cI', kind, len(content)) + content)\n"
        "receive(); send(b'r', b''); data = receive()\n"
    )
    return [sys.executable, "-c", program + code]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.abort()", "crashed"),
        ("os._exit(0)", "crashed"),
        ("send(b'p', b'<html>')", "made no sense"),
        ("send(b'x', b'')", "made no sense"),
        ("send(b'f', b'unheard of\\nreason')", "made no sense"),
        ("send(b'm', b'')", "memory"),
        ("os.write(1, struct.pack('<cI', b'p', 2**32 - 1))", "made no sense"),
        ("time.sleep(60)", "took longer than 2 s"),
        ("send(b'h', b''); time.sleep(60)", "took longer than 2 s"),
    ],
)
def test_decoder_that_crashes_hangs_or_lies_does_no_harm(code: str, words: str) -> None:
    thumbnailer = Thumbnailer(command=command(code), time_limit_seconds=2)
    try:
        for _ in range(2):
            with pytest.raises(DecodeError, match=words) as caught:
                thumbnailer(b"bytes", BOX, SOMEWHERE)
            assert caught.value.kind == FailureKind.DECODER
            if "time" in code:
                break
    finally:
        thumbnailer.close()


def test_no_decoder_to_be_had_is_told() -> None:
    for words in (["/nowhere/at/all"], [sys.executable, "-c", "pass"]):
        thumbnailer = Thumbnailer(command=words)
        with pytest.raises(DecodeError) as caught:
            thumbnailer(b"bytes", BOX, SOMEWHERE)
        assert caught.value.kind == FailureKind.BUSY
        thumbnailer.close()


def test_closing_ends_decoders_that_hang() -> None:
    thumbnailer = Thumbnailer(command=command("time.sleep(600)"))
    failed = threading.Event()

    def ask() -> None:
        with pytest.raises((RuntimeError, DecodeError)):
            thumbnailer(b"bytes", BOX, SOMEWHERE)
        failed.set()

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    thumbnailer.close()
    assert failed.wait(30)
    thread.join()
    with pytest.raises(RuntimeError, match="closed"):
        thumbnailer(b"bytes", BOX, SOMEWHERE)
