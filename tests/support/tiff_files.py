"""Write TIFF files of any kind from samples, by the specification and with no library: what they show is known."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

_CODES = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
Tags = dict[int, tuple[int, Sequence[int]]]


def tiff_file(
    *pages: tuple[Tags, Sequence[bytes]], order: str = "<", big: bool = False, below: int | None = None
) -> bytes:
    """A file of pages, each with its tags (type and values) and its strips or tiles.

    `below` makes all pages but the first ones below that page (tag 330), and not its followers.
    """
    number, inline = ("Q", 8) if big else ("I", 4)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HH", 8, 0) if big else b""
    body = bytearray(len(head) + inline)
    places, links, last_end = [], [], 0
    for number_of_page, (tags, parts) in enumerate(pages):
        tags = dict(tags)
        offsets = []
        for part in parts:
            offsets.append(len(body))
            body += part + bytes(len(part) % 2)
        where, counts = (324, 325) if 322 in tags else (273, 279)
        tags[where] = (16 if big else 4, offsets)
        tags[counts] = (4, [len(part) for part in parts])
        if below == number_of_page:
            tags[330] = (16 if big else 4, [0] * (len(pages) - 1))
        places.append(len(body))
        table = struct.pack(order + ("Q" if big else "H"), len(tags))
        extra_at = len(body) + len(table) + len(tags) * (4 + 2 * inline) + inline
        extra = b""
        for tag in sorted(tags):
            kind, values = tags[tag]
            value = struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
            at = len(body) + len(table) + 4 + inline
            if len(value) > inline:
                at = extra_at + len(extra)
                extra += value + bytes(len(value) % 2)
                value = struct.pack(order + number, at)
            if tag == 330:
                links.append(at)
            table += struct.pack(f"{order}HH{number}", tag, kind, len(values)) + value.ljust(inline, b"\0")
        body += table + bytes(inline) + extra
        if below is None and number_of_page:
            struct.pack_into(order + number, body, last_end, places[-1])
        last_end = extra_at - inline
    if below is not None:
        struct.pack_into(f"{order}{len(pages) - 1}{number}", body, links[0], *places[1:])
    body[: len(head)] = head
    struct.pack_into(order + number, body, len(head), places[0])
    return bytes(body)


def page_of(
    samples: np.ndarray,
    photometric: int,
    *,
    order: str = "<",
    bits: int | None = None,
    compression: int = 1,
    predictor: int = 1,
    planar: int = 1,
    tile: int = 0,
    rows: int = 0,
    fill_order: int = 1,
    extra: Sequence[int] = (),
    **more: Sequence[int],
) -> tuple[Tags, list[bytes]]:
    """The tags and parts of a page of samples [H, W, S] of the type that they are stored as.

    `bits` are those of samples that are not of 8, 16, 32 or 64; `tile` is the side of square tiles; `rows` those of a
    strip.
    """
    height, width, count = samples.shape
    depth = bits or samples.dtype.itemsize * 8
    tags: Tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [depth] * count),
        259: (3, [compression]),
        262: (3, [photometric]),
        266: (3, [fill_order]),
        277: (3, [count]),
        284: (3, [planar]),
        339: (3, [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * count),
    }
    if predictor > 1:
        tags[317] = (3, [predictor])
    if extra:
        tags[338] = (3, list(extra))
    tags |= {int(tag.removeprefix("tag")): (3, values) for tag, values in more.items()}
    planes = [samples[:, :, n : n + 1] for n in range(count)] if planar == 2 else [samples]
    parts = []
    for plane in planes:
        if tile:
            tags |= {322: (3, [tile]), 323: (3, [tile])}
            down, across = -height % tile, -width % tile
            padded = np.pad(plane, ((0, down), (0, across), (0, 0)), mode="edge")
            blocks = [padded[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]
        else:
            step = rows or height
            tags[278] = (4, [step])
            blocks = [plane[y : y + step] for y in range(0, height, step)]
        for block in blocks:
            data = _stored(block, order, bits, predictor)
            if fill_order == 2:
                data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, 8)[:, ::-1]).tobytes()
            parts.append(zlib.compress(data) if compression in (8, 32946) else data)
    return tags, parts


def _stored(block: np.ndarray, order: str, bits: int | None, predictor: int) -> bytes:
    if bits is not None:
        flat = block.reshape(block.shape[0], -1).astype(np.uint32)
        single = (flat[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
        return np.packbits(single.reshape(block.shape[0], -1).astype(np.uint8), axis=1).tobytes()
    if predictor == 2:
        whole = block.view(f"u{block.dtype.itemsize}")
        block = np.concatenate((whole[:, :1], whole[:, 1:] - whole[:, :-1]), axis=1)
    if predictor == 3:
        size, count = block.dtype.itemsize, block.shape[2]
        values = np.ascontiguousarray(block.astype(block.dtype.newbyteorder(">"))).view(np.uint8)
        shuffled = values.reshape(block.shape[0], -1, size).transpose(0, 2, 1).reshape(block.shape[0], -1, count)
        return np.concatenate((shuffled[:, :1], shuffled[:, 1:] - shuffled[:, :-1]), axis=1).tobytes()
    return np.ascontiguousarray(block.astype(block.dtype.newbyteorder(order))).tobytes()
