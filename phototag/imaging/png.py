"""Read PNG files: look through their chunks once, and give the decoder only those that pixels depend on.

Pillow looks into every chunk, takes the last of several headers, and refuses a picture for a damaged comment. Here what
a picture costs and what is decoded are read from the same chunks, and one that no pixel depends on is left out.
The format: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image, PngImagePlugin

from phototag.imaging.colour import coded_colours
from phototag.imaging.formats import UnsupportedPictureError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_LEAST_TRANSPARENCY = {GREY: 2, RGB: 6, PALETTE: 1}
_KEPT = frozenset({b"PLTE", b"tRNS", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"eXIf"})
_TEXTS = frozenset({b"zTXt", b"tEXt", b"iTXt"})
_LONGEST_KEPT = 16 << 20
_LONGEST_PROFILE = 4 << 20
_LONGEST_TEXT = 1 << 20
# The texts in which other programs note how a picture is turned, as Pillow calls them.
_TURNED_BY = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")


@dataclass(slots=True)
class Chunks:
    """What a PNG file is made of, as far as pixels depend on it.

    `content` are the parts of the compressed pixels, each with the checksum that stands behind it; `notes` are the
    other chunks by their names, and `texts` those that may say how it is turned.
    """

    width: int
    height: int
    depth: int
    colour: int
    interlaced: int
    content: list[tuple[memoryview, bytes]] = field(default_factory=list)
    notes: dict[bytes, bytes] = field(default_factory=dict)
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def transparent(self) -> bool:
        """Return whether there may be transparent pixels."""
        least = _LEAST_TRANSPARENCY.get(self.colour)
        return least is None or len(self.notes.get(b"tRNS", b"")) >= least


def read_chunks(data: bytes, *, most: int | None = None) -> Chunks:
    """Look through a PNG file; `most` is how many chunks it may have, None for any number.

    Raises:
        SyntaxError: it is damaged where pixels depend on it, or ambiguous, or has more chunks.
        EOFError: it ends before its pixels begin.
        UnsupportedPictureError: it is of a kind that cannot be read.
    """
    view = memoryview(data)
    found: Chunks | None = None
    for number, (kind, start, end) in enumerate(_chunks(data)):
        if number == most:
            raise SyntaxError(f"more than {most} chunks")
        if found is None:
            if end > len(data):
                break
            found = _header(kind, data[start:end])
        elif kind == b"IDAT":
            found.content.append((view[start:end], data[end : end + 4]))
        elif kind in _KEPT or kind in _TEXTS:
            if not found.content and end - start <= _LONGEST_KEPT and kind not in found.notes:
                _note(found, kind, data[start:end], data[end : end + 4])
        elif kind == b"IEND":
            break
        elif not kind.isalpha():
            if found.content:
                break  # what follows the pixels is none of ours
            raise SyntaxError(f"broken PNG file (chunk {kind!r})")
        elif kind == b"IHDR":
            raise SyntaxError("more than one header")
        elif kind[:1].isupper():
            raise UnsupportedPictureError(f"PNG with chunks of the unknown kind {kind.decode()}")
    if found is None or not found.content:
        raise EOFError("it ends before its pixels")
    return found


def open_png(data: bytes) -> Image.Image:
    """Open a PNG file; its metadata may be damaged.

    Raises:
        SyntaxError, EOFError, UnsupportedPictureError: as `read_chunks`.
    """
    chunks = read_chunks(data)
    if _checksum(b"IHDR", data[16:29]) != data[29:33]:
        raise SyntaxError("broken PNG file (bad checksum of the header)")
    transparency = chunks.notes.get(b"tRNS", b"")[:256] if chunks.transparent else b""
    if transparency and chunks.colour == RGB and chunks.depth == 16:
        raise UnsupportedPictureError("PNG of 16 bits with one transparent colour")
    if chunks.colour == PALETTE and b"PLTE" not in chunks.notes:
        raise SyntaxError("no palette")
    _check_content(chunks)
    parts: list[bytes | memoryview] = [_SIGNATURE, _chunk(b"IHDR", data[16:29])]
    if chunks.colour == PALETTE:
        parts.append(_chunk(b"PLTE", chunks.notes[b"PLTE"]))
    if transparency:
        parts.append(_chunk(b"tRNS", transparency))
    parts.append(struct.pack(">I4s", sum(len(part) for part, _ in chunks.content), b"IDAT"))
    parts += [*(part for part, _ in chunks.content), bytes(4), _chunk(b"IEND", b"")]
    image = PngImagePlugin.PngImageFile(io.BytesIO(b"".join(parts)))
    if transparency and chunks.colour == GREY and 1 < chunks.depth < 8:
        # The pixels are spread over 0 to 255, and so is to be the value of the transparent ones.
        image.info["transparency"] = image.info["transparency"] * 255 // (2**chunks.depth - 1)
    if chunks.colour == GREY_ALPHA:
        image.info["grey"] = True  # of 16 bits Pillow makes red, green and blue
    image.info.update(_colours(chunks.notes))
    image.info.update(_turning(chunks))
    return image


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Return the kind of each chunk, and where its content begins and ends, which may lie behind the file's end."""
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, at + 8 + length
        at += 12 + length


def _header(kind: bytes, content: bytes) -> Chunks:
    if not kind.isalpha():
        raise SyntaxError("broken PNG file: it begins without a header")
    if kind != b"IHDR":
        raise UnsupportedPictureError(f"PNG that begins with the unknown chunk {kind!r}, as Apple's own kind does")
    if len(content) != 13:
        raise SyntaxError("a header of a wrong length")
    width, height, depth, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", content)
    if not 0 < width < 2**31 or not 0 < height < 2**31 or depth not in _DEPTHS.get(colour, ()):
        raise SyntaxError(f"no header: {width} x {height} pixels of {depth} bits, colour type {colour}")
    if compression or filters or interlaced > 1:
        raise SyntaxError("unknown compression, filters or interlacing")
    return Chunks(width, height, depth, colour, interlaced)


def _note(chunks: Chunks, kind: bytes, content: bytes, checksum: bytes) -> None:
    if _checksum(kind, content) != checksum:
        if kind == b"PLTE" and chunks.colour == PALETTE:
            raise SyntaxError("broken PNG file (bad checksum of the palette)")
    elif kind not in _TEXTS:
        chunks.notes[kind] = content
    elif content.startswith(_TURNED_BY) and len(chunks.texts) < len(_TURNED_BY):
        chunks.texts.append((kind, content))


def _checksum(kind: bytes, content: bytes | memoryview) -> bytes:
    return struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + _checksum(kind, content)


def _check_content(chunks: Chunks) -> None:
    """Check the compressed pixels by their checksums: the decoder does not.

    Raises:
        SyntaxError: they are damaged.
    """
    if all(len(checksum) < 4 or _checksum(b"IDAT", part) == checksum for part, checksum in chunks.content):
        return
    # The stream has one of its own. What counts is whether the pixels are right.
    try:
        if _missing_bytes(chunks) is None:
            raise EOFError("its pixels are damaged or end too early")
    except zlib.error as error:
        raise SyntaxError("broken PNG file (bad checksum of the pixels)") from error


def has_too_few_pixels(data: bytes) -> bool:
    """Return whether the compressed pixels of a PNG file that can be decoded are fewer than it has."""
    return (_missing_bytes(read_chunks(data)) or 0) > 0


def _missing_bytes(chunks: Chunks) -> int | None:
    """Return how many bytes of rows the compressed pixels lack, None if they have no end.

    Of interlaced pictures it is less: the decoder says of those if rows are missing.

    Raises:
        zlib.error: they are damaged.
    """
    rows = chunks.height * (1 + -(-chunks.width * chunks.depth * _CHANNELS[chunks.colour] // 8))
    # Interlaced ones have more rows, each with a byte of its own and up to one of padding.
    most = rows * 2 + 1024
    found, stream = 0, zlib.decompressobj()
    for part, _ in chunks.content:
        rest: bytes | memoryview = part
        while rest and found < most:
            found += len(stream.decompress(rest, 1 << 20))
            rest = stream.unconsumed_tail
    return rows - found if stream.eof else None


def _colours(notes: dict[bytes, bytes]) -> dict[str, object]:
    """Return what the chunks say of colours, as Pillow calls it; a damaged profile says nothing.

    Raises:
        UnsupportedPictureError: the colours are those of no usual screen.
    """
    if len(coded := notes.get(b"cICP", b"")) == 4:
        return coded_colours(coded[0], coded[1])
    _, separator, packed = notes.get(b"iCCP", b"").partition(b"\0")
    if separator and packed[:1] == b"\0" and (profile := _unpacked(packed[1:], _LONGEST_PROFILE)):
        return {"icc_profile": profile}
    if b"sRGB" not in notes and len(gamma := notes.get(b"gAMA", b"")) >= 4:
        return {"gamma": int.from_bytes(gamma[:4]) / 100_000}
    return {}


def _turning(chunks: Chunks) -> dict[str, object]:
    """Return what may say how the picture is turned, as Pillow calls it."""
    found: dict[str, object] = {}
    if b"eXIf" in chunks.notes:
        found["exif"] = b"Exif\0\0" + chunks.notes[b"eXIf"]
    for kind, content in chunks.texts:
        name, _, text = content.partition(b"\0")
        unpacked: bytes | None = text
        if kind == b"zTXt":
            unpacked = _unpacked(text[1:], _LONGEST_TEXT)
        elif kind == b"iTXt":
            unpacked = text[2:].split(b"\0", 2)[-1]
            unpacked = _unpacked(unpacked, _LONGEST_TEXT) if text[:1] != b"\0" else unpacked
        if unpacked is not None:
            found[name.decode("latin-1")] = unpacked.decode("utf-8", "replace")
    return found


def _unpacked(packed: bytes, longest: int) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(packed, longest)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else content
