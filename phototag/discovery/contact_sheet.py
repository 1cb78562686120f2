"""Contact sheets: pages of small numbered pictures, to look at a group at a glance."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from phototag.errors import DecodeError
from phototag.files import atomic_write
from phototag.imaging import WholeDecoder, read_bytes
from phototag.paths import PhotoPath
from phototag.text import printable, shorten

PAGE_PICTURES = 48
_COLUMNS = 6
_SIDE = 160  # pixels of a thumbnail
_GAP = 4
_LABEL = 18
_HEADING = 32
_HEADING_CHARACTERS = 90
_QUALITY = 85
_BACKGROUND = "#202020"

Numbered = tuple[int, PhotoPath]


def write_sheets(
    path: Path,
    pictures: Sequence[Numbered],
    *,
    heading: str,
    marked: Collection[int] = (),
    told: Callable[[int], object] = lambda _: None,
) -> list[Path]:
    """Write numbered thumbnails as JPEG files under a heading, some on a page; those that cannot be read are left out.

    Behind the numbers `marked` stands a star. `told` hears of so many more pictures that were looked at.

    Returns:
        The pages: the first at `path`, the others beside it as in "group-page-2.jpg". No page is without a picture.

    Raises:
        UsageError: a file cannot be written.
    """
    way_out = "; name another folder with --sheets, or leave contact sheets out with --no-sheets"
    parts = [pictures[start : start + PAGE_PICTURES] for start in range(0, len(pictures), PAGE_PICTURES)]
    pages = []
    # Pillow lets other threads run while it decodes.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as threads, WholeDecoder(_SIDE) as decode:
        for number, part in enumerate(parts, start=1):
            decoded = threads.map(partial(_thumbnail, decode), [picture for _, picture in part])
            shown = [(place, image) for (place, _), image in zip(part, decoded, strict=True) if image is not None]
            told(len(part))
            if not shown:
                continue
            page = path if number == 1 else path.with_name(f"{path.stem}-page-{number}{path.suffix}")
            title = f"{heading}, page {number} of {len(parts)}" if len(parts) > 1 else heading
            data = io.BytesIO()
            _grid(shown, marked, title).save(data, "JPEG", quality=_QUALITY)
            atomic_write(page, data.getvalue(), way_out=way_out)
            pages.append(page)
    return pages


def _thumbnail(decode: WholeDecoder, path: PhotoPath) -> Image.Image | None:
    try:
        image = decode(read_bytes(path), path)
    except DecodeError:
        return None  # gone or damaged since it was tagged
    # The whole picture, as what matters may stand at its edge.
    return ImageOps.pad(image, (_SIDE, _SIDE), color=_BACKGROUND)


def _grid(shown: Sequence[tuple[int, Image.Image]], marked: Collection[int], title: str) -> Image.Image:
    rows = -(-len(shown) // _COLUMNS)
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (_COLUMNS * step + _GAP, _HEADING + rows * step + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=_LABEL)
    # Names of classes come from others, and the font has no signs for many of them; the table has them in full.
    draw.text((_GAP + 5, 6), shorten(printable(title), _HEADING_CHARACTERS), fill="white", font=font)
    for place, (number, image) in enumerate(shown):
        left, top = _GAP + place % _COLUMNS * step, _HEADING + _GAP + place // _COLUMNS * step
        sheet.paste(image, (left, top))
        # White on black, since it may stand on anything.
        text = f"{number}*" if number in marked else str(number)
        draw.text((left + 5, top + 3), text, fill="white", font=font, stroke_width=2, stroke_fill="black")
    return sheet
