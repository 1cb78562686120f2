"""Pictures on the web page: small, upright, bare copies by number, made once, kept within bounds; never the files."""

from __future__ import annotations

import io
import os
import shutil
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest
from conftest import MakePicture
from phototag.library.scan import ScanProblems, look
from phototag.web.disk_cache import DiskCache
from phototag.web.reducer import reduced
from phototag.web.reducing import Reducer
from PIL import Image, ImageCms
from starlette.applications import Starlette
from starlette.testclient import TestClient
from web import application, context_in, logged_in, save_photos

from phototag.errors import DecodeError
from phototag.imaging.formats import DECODERS
from phototag.records import Failure, FailureKind
from phototag.store import KnownPhoto, Store
from phototag.web.thumbnails import Size, Thumbnails

BOX = Size.THUMBNAIL.value
SOMEWHERE = Path("picture")
MiB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the photos of a test lie."""
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the database of a test lies."""
    return tmp_path / "photos.db"


@pytest.fixture
def reducer() -> Iterator[CountingReducer]:
    """A reducer that counts what it makes."""
    made = CountingReducer()
    yield made
    made.close()


class CountingReducer(Reducer):
    """A reducer that counts, and waits if it is told to."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.count = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, data: bytes, box: tuple[int, int], path: Path) -> bytes:
        self.count += 1
        assert self.may_go_on.wait(60)
        return super().__call__(data, box, path)


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def as_bytes(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def known(database: Path, file: Path) -> KnownPhoto:
    save_photos(database, [file])
    with Store.open(database) as store:
        photo = store.find(file)
    assert photo is not None
    return photo


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
    image = opened(reduced(as_bytes(Image.new("RGB", size, "teal")), BOX, SOMEWHERE))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", expected)


def test_large_copy_is_hardly_smaller_than_there_is_room_for() -> None:
    image = opened(reduced(as_bytes(Image.new("RGB", (4032, 3024), "teal")), Size.PICTURE.value, SOMEWHERE))
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
    image = opened(reduced(as_bytes(turned, exif=exif), BOX, SOMEWHERE))
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
    small = reduced(content, BOX, SOMEWHERE)
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
    image = opened(reduced(as_bytes(grey, icc_profile=profile), BOX, SOMEWHERE))
    assert image.getpixel((9, 9)) == pytest.approx((expected,) * 3, abs=3)


@pytest.mark.parametrize("form", DECODERS)
def test_every_format_becomes_a_jpeg(form: str) -> None:
    content = as_bytes(Image.new("RGB", (700, 500), (200, 30, 30)), form)
    image = opened(reduced(content, BOX, SOMEWHERE))
    red, green, _ = image.getpixel((100, 100))  # type: ignore[misc]
    assert image.format == "JPEG"
    assert red > 150 and green < 80


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixel_becomes_rgb(mode: str) -> None:
    form = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    image = opened(reduced(as_bytes(Image.new(mode, (700, 500)), form), BOX, SOMEWHERE))
    assert (image.mode, image.size) == ("RGB", (320, 229))


# ---- the processes that make them


def test_copies_are_made_by_other_processes(reducer: CountingReducer) -> None:
    content = as_bytes(Image.new("RGB", (700, 500), "teal"))
    assert opened(reducer(content, BOX, SOMEWHERE)).size == (320, 229)
    assert opened(reducer(content, (100, 100), SOMEWHERE)).size == (100, 71)


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
def test_what_is_no_whole_picture_is_refused(reducer: CountingReducer, content: bytes, kind: FailureKind) -> None:
    with pytest.raises(DecodeError) as caught:
        reducer(content, BOX, SOMEWHERE)
    assert caught.value.kind in (kind, FailureKind.CORRUPT)
    assert opened(reducer(as_bytes(Image.new("RGB", (70, 50))), BOX, SOMEWHERE)).size == (70, 50)


def test_giants_are_refused() -> None:
    reducer = Reducer(max_megapixels=1)
    try:
        with pytest.raises(DecodeError, match="1 megapixels"):
            reducer(as_bytes(Image.new("L", (2000, 1000)), "PNG"), BOX, SOMEWHERE)
    finally:
        reducer.close()


def command(code: str) -> list[str]:
    """A helper that starts as it should, and then does what `code` says with the bytes it gets."""
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
    reducer = Reducer(command=command(code), time_limit_seconds=2)
    try:
        for _ in range(2):
            with pytest.raises(DecodeError, match=words) as caught:
                reducer(b"bytes", BOX, SOMEWHERE)
            assert caught.value.kind == FailureKind.DECODER
            if "time" in code:
                break
    finally:
        reducer.close()


def test_no_decoder_to_be_had_is_told() -> None:
    for words in (["/nowhere/at/all"], [sys.executable, "-c", "pass"]):
        reducer = Reducer(command=words)
        with pytest.raises(DecodeError) as caught:
            reducer(b"bytes", BOX, SOMEWHERE)
        assert caught.value.kind == FailureKind.BUSY
        reducer.close()


def test_closing_ends_decoders_that_hang() -> None:
    reducer = Reducer(command=command("time.sleep(600)"))
    failed = threading.Event()

    def ask() -> None:
        with pytest.raises((RuntimeError, DecodeError)):
            reducer(b"bytes", BOX, SOMEWHERE)
        failed.set()

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    reducer.close()
    assert failed.wait(30)
    thread.join()
    with pytest.raises(RuntimeError, match="closed"):
        reducer(b"bytes", BOX, SOMEWHERE)


# ---- making them once


def test_same_copy_is_made_once_at_a_time(
    tmp_path: Path, database: Path, make_picture: MakePicture, reducer: CountingReducer
) -> None:
    photo = known(database, make_picture(tmp_path / "a.jpg"))
    thumbnails = Thumbnails(tmp_path / "cache", reducer=reducer)
    reducer.may_go_on.clear()
    futures = [thumbnails.make(photo, Size.THUMBNAIL) for _ in range(50)]
    reducer.may_go_on.set()
    wait(futures)
    assert len({future.result() for future in futures}) == 1
    assert thumbnails.make(photo, Size.THUMBNAIL).result() == futures[0].result()
    assert reducer.count == 1
    assert thumbnails.make(photo, Size.PICTURE).result()
    assert reducer.count == 2
    thumbnails.close()


def test_copies_outlast_the_server(
    tmp_path: Path, database: Path, make_picture: MakePicture, reducer: CountingReducer
) -> None:
    photo = known(database, make_picture(tmp_path / "a.jpg"))
    for _ in range(2):
        thumbnails = Thumbnails(tmp_path / "cache", reducer=CountingReducer())
        content = thumbnails.make(photo, Size.THUMBNAIL).result()
        thumbnails.close()
    photo.path.unlink()
    thumbnails = Thumbnails(tmp_path / "cache", reducer=reducer)
    assert thumbnails.find(photo, Size.THUMBNAIL) == content
    assert reducer.count == 0
    thumbnails.close()


def test_damaged_copy_is_made_again(
    tmp_path: Path, database: Path, make_picture: MakePicture, reducer: CountingReducer
) -> None:
    photo = known(database, make_picture(tmp_path / "a.jpg"))
    thumbnails = Thumbnails(tmp_path / "cache", reducer=reducer)
    content = thumbnails.make(photo, Size.THUMBNAIL).result()
    (kept,) = (tmp_path / "cache").rglob("*.jpg")
    for damage in (b"", content[:100], b"<html>"):
        kept.write_bytes(damage)
        assert thumbnails.find(photo, Size.THUMBNAIL) is None
        assert thumbnails.make(photo, Size.THUMBNAIL).result() == content
    assert kept.read_bytes() == content
    thumbnails.close()


def test_picture_that_cannot_be_decoded_is_tried_once(
    tmp_path: Path, database: Path, folder: Path, reducer: CountingReducer
) -> None:
    (folder / "a.jpg").write_bytes(b"\xff\xd8\xff no picture")
    photo = known(database, folder / "a.jpg")
    thumbnails = Thumbnails(tmp_path / "cache", reducer=reducer)
    for _ in range(3):
        with pytest.raises(DecodeError):
            thumbnails.make(photo, Size.THUMBNAIL).result()
    assert reducer.count == 1
    thumbnails.close()


# ---- the cache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DiskCache]:
    """A cache of one mebibyte."""
    made = DiskCache(tmp_path / "cache", suffix=".jpg", limit_bytes=MiB)
    yield made
    made.close()


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_cache_keeps_to_its_bound_and_drops_what_was_not_used(tmp_path: Path, cache: DiskCache) -> None:
    for number in range(100):
        cache.write(f"{number:04}", bytes(50_000))
        assert cache.read("0000") is not None  # in use all the time
        assert on_disk(tmp_path) <= MiB
    assert cache.size_bytes == on_disk(tmp_path) > MiB // 2
    assert cache.read("0099") is not None
    assert cache.read("0001") is None


def test_next_server_knows_what_is_kept_and_what_was_used_last(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = DiskCache(folder, suffix=".jpg", limit_bytes=MiB)
    for number in range(20):
        first.write(f"{number:04}", bytes(50_000))
        os.utime(folder / "00" / f"{number:04}.jpg", (1e9 + number, 1e9 + number))
    first.close()
    second = DiskCache(folder, suffix=".jpg", limit_bytes=MiB)
    second.wait_until_known()
    assert second.size_bytes == 1_000_000
    assert second.read("0000") is not None  # the oldest, but now in use
    second.write("new", bytes(50_000))
    assert second.read("0000") is not None
    assert second.read("0001") is None
    second.close()
    third = DiskCache(folder, suffix=".jpg", limit_bytes=200_000)  # the user allows less
    third.wait_until_known()
    assert on_disk(folder) <= 200_000
    assert third.read("0000") is not None
    third.close()


def test_left_overs_of_a_killed_server_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "00"
    folder.mkdir(parents=True)
    old, new = folder / ".0001.jpg.1.1.partial", folder / ".0002.jpg.1.1.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    cache = DiskCache(tmp_path / "cache", suffix=".jpg", limit_bytes=MiB)
    cache.wait_until_known()
    assert not old.exists()
    assert new.exists()  # another server may be about to finish it
    cache.close()


def test_writers_of_the_same_copy_do_not_mix(cache: DiskCache) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(20):
            cache.write("same", content)
            assert cache.read("same") in contents

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.size_bytes == 200_000


def test_what_is_too_large_for_the_cache_is_not_kept(tmp_path: Path, cache: DiskCache) -> None:
    cache.write("large", bytes(MiB + 1))
    assert cache.read("large") is None
    off = DiskCache(tmp_path / "off", suffix=".jpg", limit_bytes=0)
    off.write("any", b"x")
    assert off.read("any") is None
    assert not (tmp_path / "off").exists()
    off.close()


def test_others_cannot_look_into_the_cache(tmp_path: Path, cache: DiskCache) -> None:
    cache.write("0001", b"x")
    assert (tmp_path / "cache" / "00").stat().st_mode & 0o077 == 0


def test_disk_that_takes_nothing_does_not_matter(tmp_path: Path, database: Path, make_picture: MakePicture) -> None:
    photo = known(database, make_picture(tmp_path / "a.jpg"))
    (tmp_path / "cache").write_text("a file where the folder should be")
    thumbnails = Thumbnails(tmp_path / "cache")
    for _ in range(2):
        assert opened(thumbnails.make(photo, Size.THUMBNAIL).result()).size == (96, 64)
    thumbnails.close()


def test_full_disk_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: DiskCache) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.write("0001", bytes(1000))
    assert cache.read("0001") is None
    assert on_disk(tmp_path) == 0


# ---- over HTTP


@pytest.fixture
def app(database: Path, folder: Path, make_picture: MakePicture) -> Iterator[Starlette]:
    """The application over one photo, number 1."""
    assert save_photos(database, [make_picture(folder / "rooster.jpg", size=(800, 600))]) == [1]
    with application(database) as made:
        yield made


@pytest.fixture
def client(app: Starlette) -> TestClient:
    """A client that is let in."""
    return logged_in(app)


def version(app: Starlette) -> str:
    photo = context_in(app).store.find(1)
    assert photo is not None
    assert photo.content_hash is not None
    return photo.content_hash.hex()[:8]


def test_photo_is_shown_small_and_large(client: TestClient) -> None:
    small, large = client.get("/photos/1/thumbnail"), client.get("/photos/1/picture")
    assert opened(small.content).size == (320, 240)
    assert opened(large.content).size == (800, 600)
    assert small.headers["content-type"] == large.headers["content-type"] == "image/jpeg"
    assert client.head("/photos/1/thumbnail").headers["content-length"] == str(len(small.content))


def test_browsers_keep_what_is_named_by_its_content(app: Starlette, client: TestClient) -> None:
    current = client.get(f"/photos/1/thumbnail?v={version(app)}")
    assert current.headers["cache-control"] == "private, max-age=31536000, immutable"
    for old in ("", "?v=", "?v=00000000"):
        answer = client.get(f"/photos/1/thumbnail{old}")
        assert answer.headers["cache-control"] == "private, no-cache"
        again = client.get(f"/photos/1/thumbnail{old}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert current.headers["etag"] != client.get("/photos/1/picture").headers["etag"]


@pytest.mark.parametrize(
    "path",
    [
        *("/photos/0/thumbnail", "/photos/2/thumbnail", "/photos/-1/thumbnail", "/photos/1.0/thumbnail"),
        *(f"/photos/{2**63}/thumbnail", f"/photos/{'9' * 600}/picture", "/photos/٣/thumbnail", "/photos/0x1/picture"),
        *("/photos/../photos.db", "/photos/1/../../etc/passwd", "/photos/%2e%2e%2fphotos.db/picture"),
        *("/photos//etc/passwd/picture", "/photos/1/original", "/photos/1/thumbnail/", "/photos/1%00/thumbnail"),
        *("/photos/1 or 1=1/thumbnail", "/photos//thumbnail", "/photos/1;id/thumbnail"),
    ],
)
def test_pictures_have_no_other_addresses(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert not answer.headers["content-type"].startswith("image/jpeg")


def shown(client: TestClient, photo_id: int = 1) -> str:
    answer = client.get(f"/photos/{photo_id}/picture")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "no-store"
    return answer.text


def test_photo_that_is_gone_says_so(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").unlink()
    assert "The file is gone" in shown(client)


def test_photo_that_was_never_read_says_so(database: Path, folder: Path) -> None:
    file = folder / "broken.jpg"
    file.write_bytes(b"")
    photo = look(os.fspath(file), ScanProblems())
    assert photo is not None
    save_photos(database, [])
    with Store.open(database) as store, store.writing("tag"):
        store.save_batch(model_id=1, tagged=[], failures=[Failure(photo, FailureKind.EMPTY, "the file is empty")])
    with application(database) as app:
        assert "could not be read when it was tagged" in shown(logged_in(app))


def test_photo_that_changed_says_so(client: TestClient, folder: Path, make_picture: MakePicture) -> None:
    make_picture(folder / "rooster.jpg", seed=5)
    assert "has changed since it was tagged" in shown(client)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_photo_that_may_not_be_read_says_so(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").chmod(0)
    assert "No permission" in shown(client)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipe_in_place_of_a_photo_is_not_waited_for(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").unlink()
    os.mkfifo(folder / "rooster.jpg")
    assert "The file is gone" in shown(client)


def test_folder_in_place_of_a_photo_does_no_harm(client: TestClient, folder: Path) -> None:
    (folder / "rooster.jpg").unlink()
    (folder / "rooster.jpg").mkdir()
    assert "The file is gone" in shown(client)


@pytest.mark.parametrize(
    "content", [b"<html><script>alert(1)</script>", b"root:x:0:0:root:/root:/bin/sh\n", b"SQLite format 3\0"]
)
def test_files_that_are_no_pictures_are_not_given_out(database: Path, folder: Path, content: bytes) -> None:
    (folder / "page.jpg").write_bytes(content)
    (photo_id,) = save_photos(database, [folder / "page.jpg"])
    with application(database) as app:
        text = shown(logged_in(app), photo_id)
        assert content.decode() not in text
        assert "Not a picture" in text


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", "<script>\u202e\n'\".jpg".encode()])
def test_files_of_any_name_are_shown(database: Path, folder: Path, make_picture: MakePicture, name: bytes) -> None:
    file = folder / os.fsdecode(name)
    shutil.copy(make_picture(folder / "plain.jpg"), file)
    (photo_id,) = save_photos(database, [file])
    with application(database) as app:
        client = logged_in(app)
        assert opened(client.get(f"/photos/{photo_id}/thumbnail").content).size == (96, 64)
        file.unlink()
        assert "<script" not in shown(client, photo_id)


def test_many_ask_for_the_same_photo(app: Starlette, client: TestClient) -> None:
    counting = CountingReducer()
    thumbnails = context_in(app).thumbnails
    thumbnails._reducer.close()
    thumbnails._reducer = counting
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.get("/photos/1/thumbnail").content)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert len(set(answers)) == 1
    assert counting.count == 1
