"""Contact sheets: one picture of many small numbered ones, to look at a group at a glance."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from phototag.errors import DecodeError
from phototag.files import atomic_write
from phototag.imaging import WholeDecoder, read_bytes

MOST_PICTURES = 24
_COLUMNS = 6
_SIDE = 160  # pixels of a thumbnail
_GAP = 4
_LABEL = 18
_MOST_MARKED = 8
_QUALITY = 85
_BACKGROUND = "#202020"


def chosen_numbers(count: int, *, marked: Collection[int] = (), most: int = MOST_PICTURES) -> list[int]:
    """Return which of `count` photos, the most typical first, stand on a sheet: numbers from 1.

    Half of them are the most typical ones; the others are spread evenly over the rest, up to the last, as that is where
    those lie that do not belong. Of the numbers `marked`, a third of the sheet is shown if there are as many.
    """
    if count <= most:
        return list(range(1, count + 1))
    typical = most // 2
    others = most - typical
    numbers = [
        *range(1, typical + 1),
        *(typical + round((count - typical) * step / others) for step in range(1, others + 1)),
    ]
    left = sorted(set(marked) - set(numbers))
    missing = min(_MOST_MARKED - len(set(marked) & set(numbers)), len(left))
    if missing <= 0:
        return numbers
    more = {left[(2 * step + 1) * len(left) // (2 * missing)] for step in range(missing)}
    # The most typical of what is not marked are the most alike: they can be spared.
    spared = [number for number in reversed(numbers[:typical]) if number not in marked]
    spared += [number for number in numbers[typical:] if number not in marked]
    return sorted(set(numbers) - set(spared[: len(more)]) | more)


def write_sheet(path: Path, pictures: Sequence[tuple[int, Path]], *, marked: Collection[int] = ()) -> list[int]:
    """Write a JPEG of numbered thumbnails; those that cannot be read are left out.

    Behind the numbers `marked` stands a star.

    Returns:
        The numbers that are on it. With none there is no file.

    Raises:
        UsageError: the file cannot be written.
    """
    # Pillow lets other threads run while it decodes.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as threads, WholeDecoder(_SIDE) as decode:
        decoded = threads.map(partial(_thumbnail, decode), [picture for _, picture in pictures])
        shown = [(number, image) for (number, _), image in zip(pictures, decoded, strict=True) if image is not None]
    if not shown:
        return []
    data = io.BytesIO()
    _grid(shown, marked).save(data, "JPEG", quality=_QUALITY)
    way_out = "; name another folder with --sheets, or leave contact sheets out with --no-sheets"
    atomic_write(path, data.getvalue(), way_out=way_out)
    return [number for number, _ in shown]


def _thumbnail(decode: WholeDecoder, path: Path) -> Image.Image | None:
    try:
        image = decode(read_bytes(path), path)
    except DecodeError:
        return None  # gone or damaged since it was tagged
    # The whole picture, as what matters may stand at its edge.
    return ImageOps.pad(image, (_SIDE, _SIDE), color=_BACKGROUND)


def _grid(shown: Sequence[tuple[int, Image.Image]], marked: Collection[int]) -> Image.Image:
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=_LABEL)
    for place, (number, image) in enumerate(shown):
        left, top = _GAP + place % columns * step, _GAP + place // columns * step
        sheet.paste(image, (left, top))
        # White on black, since it may stand on anything.
        text = f"{number}*" if number in marked else str(number)
        draw.text((left + 5, top + 3), text, fill="white", font=font, stroke_width=2, stroke_fill="black")
    return sheet
