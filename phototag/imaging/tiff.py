"""Open TIFF files: find the page that is the picture, and have it decoded as its tags mean it.

Pillow takes the first page, which may be a small copy of the picture, and some kinds of samples for others. So the
pages are looked through here, once and within bounds. What Pillow decodes rightly is given to it as a file of that one
page, with the tags that pixels depend on and no other; the samples of all else are put together in `tiff_samples`.
The format: TIFF 6.0 and its technical notes; BigTIFF
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from PIL import Image, TiffImagePlugin

from phototag.imaging.formats import UnsupportedPictureError
from phototag.imaging.jpeg import frame_size, has_end, with_end

SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 255, 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 273, 274, 277, 278, 279, 284
PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 317, 320, 322, 323, 324, 325
SUB_PAGES, EXTRA, SAMPLE_FORMAT, JPEG_TABLES, SUBSAMPLING, PROFILE = 330, 338, 339, 347, 530, 34675
# Of raw photos: small JPEGs, their own or Panasonic's way, and what every DNG file has.
JPEG_OFFSET, JPEG_COUNT, PANASONIC_JPEG, DNG_VERSION = 513, 514, 46, 50706
# What pixels depend on: also T4 and T6 options, and the matrix and reference values of YCbCr.
_PIXEL_TAGS = frozenset(
    {WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS}
    | {PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, EXTRA, SAMPLE_FORMAT}
    | {JPEG_TABLES, SUBSAMPLING, 292, 293, 529, 531, 532}
)
_WANTED = _PIXEL_TAGS | {SUBFILE, OLD_SUBFILE, ORIENTATION, SUB_PAGES, PROFILE}
_WANTED |= {JPEG_OFFSET, JPEG_COUNT, PANASONIC_JPEG, DNG_VERSION}
# Bytes and integers by the number of their type, as in `struct`; the others are kept as they are.
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_TYPE_BYTES = {5: 8, 10: 8, 11: 4, 12: 8} | {number: struct.calcsize(code) for number, code in _TYPES.items()}
_MOST_PAGES = 1000
_MOST_ENTRIES = 4096
_MOST_NUMBERS = 1 << 20
_MOST_COPIES = 2  # of a file, in the values of all of its pages
_MOST_SAMPLES = 64
# How many times as large as the picture a tile may be: the decoder makes room for a whole one.
_LARGEST_TILE = 4
_SMALL_PIXELS = 1 << 20
_LONGEST_PROFILE = 16 << 20

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
COLOURS = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}
_PHOTOMETRICS = {
    4: "a mask",
    10: "ITU Lab",
    32844: "LogL",
    32845: "LogLuv",
}
RAW, JPEG = 1, 7
FAX = frozenset({2, 3, 4})
# With or without a difference between neighbours, these give bytes back as they were, whatever they mean.
PLAIN = frozenset({RAW, 5, 8, 32773, 32946})
_COMPRESSIONS = {
    6: "old-style JPEG",
    32809: "ThunderScan",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34661: "JBIG",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34892: "JPEG with losses",
    34925: "LZMA",
    34933: "PNG",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


@dataclass(slots=True)
class Page:
    """One page of a file: its tags, and what they say of its pixels."""

    order: str  # of bytes, as in `struct`
    tags: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)  # type, count and value

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return the value of a tag of integers, nothing where it is none."""
        kind, count, value = self.tags.get(tag, (0, 0, b""))
        return struct.unpack(f"{self.order}{count}{_TYPES[kind]}", value) if kind in _TYPES else ()

    def number(self, tag: int, default: int) -> int:
        """Return the first value of a tag of integers."""
        kind, _, value = self.tags.get(tag, (0, 0, b""))
        return struct.unpack_from(self.order + _TYPES[kind], value)[0] if kind in _TYPES and value else default

    @property
    def is_reduced(self) -> bool:
        """Return whether it is a smaller copy or a mask of another page."""
        return bool(self.number(SUBFILE, 0) & 5) or self.number(OLD_SUBFILE, 0) == 2

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels, 0 where the page says none."""
        return self.number(WIDTH, 0), self.number(LENGTH, 0)

    @property
    def compression(self) -> int:
        """Return how the samples are packed."""
        return self.number(COMPRESSION, RAW)

    @property
    def photometric(self) -> int:
        """Return which colours the samples are, by rule where the page does not say it."""
        missing = MIN_IS_WHITE if self.compression in FAX else RGB if self.samples >= 3 else MIN_IS_BLACK
        return YCBCR if self.compression == 6 else self.number(PHOTOMETRIC, missing)

    @property
    def samples(self) -> int:
        """Return how many samples a pixel has."""
        return self.number(SAMPLES, max(1, len(self.numbers(BITS))))

    @property
    def bits(self) -> int:
        """Return how many bits a sample has, 0 if they differ."""
        found = self.numbers(BITS)[: self.samples] or (8 if self.compression == JPEG else 1,)
        return found[0] if len(set(found)) == 1 else 0

    @property
    def sample_format(self) -> int:
        """Return what samples are: unsigned, signed or floating-point; 0 if they differ."""
        found = self.numbers(SAMPLE_FORMAT)[: self.samples] or (UNSIGNED,)
        return 0 if len(set(found)) > 1 else UNSIGNED if found[0] == 4 else found[0]

    @property
    def alpha(self) -> int:
        """Return what the sample behind the colours means: 1 alpha in the colours already, 2 alpha, 0 nothing known."""
        if self.numbers(EXTRA):
            return self.number(EXTRA, 0)
        # Some programs do not say that the fourth one is.
        return 2 if self.photometric == RGB and self.samples == 4 else 0

    @property
    def bytes_per_pixel(self) -> int:
        """Return how many bytes the samples of a pixel take."""
        return -(-self.samples * self.bits // 8)

    @property
    def is_for_pillow(self) -> bool:
        """Return whether Pillow gives the pixels that the tags mean."""
        if self.compression in FAX or self.compression == JPEG or self.photometric == YCBCR:
            return True
        if self.photometric == PALETTE:
            return True
        if self.sample_format != UNSIGNED or self.number(PLANAR, 1) != 1 or self.photometric == ICC_LAB:
            return False
        extra = self.samples - COLOURS[self.photometric]
        most = 1 if self.photometric in (MIN_IS_BLACK, RGB) else 0
        return extra <= most and (self.bits == 8 or (self.bits in (1, 2, 4) and self.samples == 1))


def open_tiff(data: bytes) -> Image.Image:
    """Open the picture in a TIFF file.

    Raises:
        SyntaxError, EOFError: it is damaged.
        UnsupportedPictureError: it is of a kind that is not read.
    """
    page = picture_page(data)
    check_supported(page)
    _check_extent(page, data)
    if page.compression == JPEG:
        _check_jpegs(page, data)
    if page.is_for_pillow:
        image: Image.Image = TiffImagePlugin.TiffImageFile(io.BytesIO(one_page(data, page, _for_pillow(page))))
    else:
        from phototag.imaging.tiff_samples import SampledTiff

        image = SampledTiff(data, page)
    image.info["orientation"] = page.number(ORIENTATION, 1)
    if PROFILE in page.tags:
        image.info["icc_profile"] = page.tags[PROFILE][2]
    return image


def picture_page(data: bytes) -> Page:
    """Return the page that is the picture: the first that is no smaller copy of another one.

    Raises:
        SyntaxError, EOFError: there is none.
    """
    first = None
    for page in pages(data):
        if not page.is_reduced:
            return page
        first = first or page
    if first is None:
        raise EOFError("it has no page")
    return first


def read_first_page(head: bytes, part: bytes) -> tuple[Page, int]:
    """Return the page whose tags begin the `part` of a file of that head, and where in the file the next one is.

    Tags whose values lie elsewhere are left out.

    Raises:
        SyntaxError, struct.error: there is none.
    """
    return _read_page(part, "<" if head[:2] == b"II" else ">", 43 in head[2:4], 0)


def check_supported(page: Page) -> None:
    """Check that a page is of a kind that is read.

    Raises:
        UnsupportedPictureError: it is not.
        SyntaxError: its tags contradict each other.
    """

    def refuse(what: str) -> None:
        raise UnsupportedPictureError(f"TIFF with {what}")

    compression, photometric, samples, bits = page.compression, page.photometric, page.samples, page.bits
    if min(page.size) < 1 or samples < 1:
        raise SyntaxError("it says no size")
    across, down = page.number(TILE_WIDTH, 0), page.number(TILE_LENGTH, 0)
    if TILE_OFFSETS in page.tags and across * down > _LARGEST_TILE * max(_SMALL_PIXELS, page.size[0] * page.size[1]):
        raise SyntaxError(f"tiles of {across} x {down} pixels are far larger than the picture")
    if compression not in PLAIN | FAX | {JPEG}:
        refuse(f"{_COMPRESSIONS.get(compression, f'unknown compression {compression}')} inside")
    if photometric not in COLOURS:
        refuse(f"{_PHOTOMETRICS.get(photometric, f'the unknown colours {photometric}')} for pixels")
    if samples > _MOST_SAMPLES:
        refuse(f"{samples} samples a pixel")
    if samples < COLOURS[photometric]:
        raise SyntaxError(f"{samples} samples a pixel are too few for its colours")
    if not bits or not page.sample_format:
        refuse("samples of different sizes or kinds")
    if page.sample_format not in (UNSIGNED, SIGNED, FLOAT):
        refuse("complex numbers or samples of an unknown kind")
    whole = {UNSIGNED: range(1, 33), SIGNED: (8, 16, 32), FLOAT: (16, 32, 64)}
    if bits not in whole[page.sample_format]:
        refuse(f"samples of {bits} bits")
    predictors = {1, 2, 3} if page.sample_format == FLOAT else {1, 2} if bits in (8, 16, 32) else {1}
    if compression in PLAIN and page.number(PREDICTOR, 1) not in predictors:
        refuse("an unknown predictor")
    if compression == JPEG and bits != 8:
        refuse(f"JPEG of {bits} bits a sample inside")
    if photometric == YCBCR and compression == RAW and page.numbers(SUBSAMPLING) != (1, 1):
        refuse("subsampled colours and no compression")
    if photometric in (YCBCR, PALETTE) and (bits > 8 or page.sample_format != UNSIGNED):
        refuse(f"a palette or YCbCr of {bits} bits a sample")
    if photometric in (LAB, ICC_LAB) and (bits not in (8, 16) or page.sample_format == FLOAT):
        refuse(f"Lab of {bits} bits a sample")
    if photometric in (CMYK, LAB, ICC_LAB) and page.alpha:
        refuse("transparency in CMYK or Lab")


def one_page(data: bytes, page: Page, tags: dict[int, tuple[int, int, bytes]]) -> bytes:
    """Return a file of that page of a file alone, with other tags, and never a BigTIFF."""
    start = len(data) + len(data) % 2
    table = struct.pack(page.order + "H", len(tags))
    behind, end = b"", start + len(table) + 12 * len(tags) + 4
    for tag in sorted(tags):
        kind, count, value = tags[tag]
        if len(value) > 4:
            at = end + len(behind)
            behind += value + bytes(len(value) % 2)
            value = struct.pack(page.order + "I", at)
        table += struct.pack(page.order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
    head = data[:2] + struct.pack(page.order + "HI", 42, start)
    return b"".join((head, memoryview(data)[len(head) :], bytes(len(data) % 2), table, bytes(4), behind))


def shorts(page: Page, *values: int) -> tuple[int, int, bytes]:
    """Return the type, count and value of a tag of 16-bit integers."""
    return 3, len(values), struct.pack(f"{page.order}{len(values)}H", *values)


def longs(page: Page, *values: int) -> tuple[int, int, bytes]:
    """Return the type, count and value of a tag of 32-bit integers."""
    return 4, len(values), struct.pack(f"{page.order}{len(values)}I", *values)


def _for_pillow(page: Page) -> dict[int, tuple[int, int, bytes]]:
    tags = {tag: value for tag, value in page.tags.items() if tag in _PIXEL_TAGS}
    tags[PHOTOMETRIC] = shorts(page, page.photometric)
    tags[SAMPLES] = shorts(page, page.samples)
    if page.sample_format == UNSIGNED:
        tags.pop(SAMPLE_FORMAT, None)
    tags[BITS] = shorts(page, *[page.bits] * page.samples)
    colours = page.numbers(COLOUR_MAP)
    if colours and max(colours) < 256:  # of 8 bits, as some programs write them, and not of 16
        tags[COLOUR_MAP] = shorts(page, *(value * 257 for value in colours))
    extra = page.samples - COLOURS[page.photometric]
    if extra:
        tags[EXTRA] = shorts(page, page.alpha if page.alpha in (1, 2) else 0, *[0] * (extra - 1))
    return tags


def pages(data: bytes) -> Iterator[Page]:
    """Return the pages of a file, and behind each the pages below it, unless their values overlap again and again."""
    left = _MOST_COPIES * len(data)
    for page in _all_pages(data):
        yield page
        left -= sum(len(value) for *_, value in page.tags.values())
        if left < 0:
            return


def _all_pages(data: bytes) -> Iterator[Page]:
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    seen: set[int] = set()
    for page in _chain(data, order, is_big, at, seen):
        yield page
        for below in page.numbers(SUB_PAGES)[:_MOST_PAGES]:
            yield from _chain(data, order, is_big, below, seen)


def _chain(data: bytes, order: str, is_big: bool, at: int, seen: set[int]) -> Iterator[Page]:
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        try:
            page, at = _read_page(data, order, is_big, at)
        except (struct.error, OverflowError):
            if len(seen) == 1:
                raise EOFError("it ends within its tags") from None
            return  # what there is of further pages does not matter
        yield page


def _read_page(data: bytes, order: str, is_big: bool, at: int) -> tuple[Page, int]:
    """Return the page at that place, and where the next one is.

    Raises:
        struct.error: the file ends before.
    """
    number, inline, most = ("Q", 8, "Q") if is_big else ("I", 4, "H")
    page = Page(order)
    left = len(data)  # for all values: none of them overlap
    (entries,) = struct.unpack_from(order + most, data, at)
    at += struct.calcsize(most)
    if entries > _MOST_ENTRIES:
        raise SyntaxError(f"{entries} tags on a page")
    for entry in range(at, at + entries * (4 + 2 * inline), 4 + 2 * inline):
        tag, kind, count = struct.unpack_from(f"{order}HH{number}", data, entry)
        size = count * _TYPE_BYTES.get(kind, 0)
        if size > left or (count > _MOST_NUMBERS and size > count):
            continue
        if tag not in _WANTED or not size or tag in page.tags or (tag == PROFILE and size > _LONGEST_PROFILE):
            continue
        value_at = entry + 4 + inline
        if size > inline:
            (value_at,) = struct.unpack_from(order + number, data, value_at)
        value = data[value_at : value_at + size]
        if len(value) == size:
            left -= size
            page.tags[tag] = kind, count, value
            if size == 8 * count and kind in _TYPES:  # of BigTIFF, whose places are none that a file read here has
                page.tags[tag] = longs(page, *(min(number, 2**32 - 1) for number in page.numbers(tag)))
    (following,) = struct.unpack_from(order + number, data, at + entries * (4 + 2 * inline))
    return page, following


def _check_extent(page: Page, data: bytes) -> None:
    """Check that the file has the parts that the page is made of.

    Raises:
        EOFError: it ends before.
        SyntaxError: the page says nothing of them.
    """
    offsets, counts = part_places(page)
    if not offsets:
        raise SyntaxError("it does not say where its pixels are")
    if page.compression == RAW:  # some programs write any count where there is no need of one
        counts = _raw_counts(page, len(offsets))
    reach = max((start + size for start, size in zip(offsets, counts, strict=False)), default=max(offsets) + 1)
    if reach > len(data):
        raise EOFError(f"its pixels end at byte {reach} of {len(data)}")


def _check_jpegs(page: Page, data: bytes) -> None:
    """Check that the JPEGs that a page is made of are as large as their places, and whole: the decoder does not.

    Raises:
        EOFError: one ends before its pixels do.
        SyntaxError: one is smaller.
    """
    (width, height), rows = page.size, page.number(ROWS_PER_STRIP, page.size[1])
    in_plane = -(-height // max(1, rows))
    tables = page.tags[JPEG_TABLES][2] if JPEG_TABLES in page.tags else b"\xff\xd8\xff\xd9"
    for number, (start, size) in enumerate(zip(*part_places(page), strict=False)):
        part = data[start : start + size]
        across, down = width, min(rows, height - rows * (number % in_plane))
        if TILE_OFFSETS in page.tags:
            across, down = page.number(TILE_WIDTH, 0), page.number(TILE_LENGTH, 0)
        found = frame_size(part)
        if found is not None and page.number(PLANAR, 1) == 1 and (found[0] < across or found[1] < down):
            raise SyntaxError(f"a JPEG of {found[0]} x {found[1]} pixels in it is to fill {across} x {down}")
        if not has_end(part) and with_end(tables[:-2] + part[2:]) is None:
            raise EOFError("a JPEG in it ends before its pixels")


def _raw_counts(page: Page, parts: int) -> list[int]:
    """Return how many bytes each strip or tile has that is not packed."""
    width, height = page.size
    samples = 1 if page.number(PLANAR, 1) == 2 else page.samples
    if TILE_OFFSETS in page.tags:
        width, rows = page.number(TILE_WIDTH, 0), page.number(TILE_LENGTH, 0)
        return [-(-width * samples * page.bits // 8) * rows] * parts
    row_bytes = -(-width * samples * page.bits // 8)
    rows = max(1, min(height, page.number(ROWS_PER_STRIP, height)))
    in_plane = -(-height // rows)
    return [row_bytes * min(rows, max(0, height - rows * (part % in_plane))) for part in range(parts)]


def part_places(page: Page) -> tuple[Sequence[int], Sequence[int]]:
    """Return where the strips or tiles of a page begin, and how many bytes they have."""
    tiled = TILE_OFFSETS in page.tags
    return page.numbers(TILE_OFFSETS if tiled else STRIP_OFFSETS), page.numbers(TILE_COUNTS if tiled else STRIP_COUNTS)
