"""Draw photos with their tags under them: `phototag query --format json | python sample_images/tagged.py OUT.webp`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

TILE = 168
CAPTION = 46
GAP = 10
COLUMNS = 7


def caption(row: dict[str, Any]) -> tuple[str, str]:
    """Two lines: the tag, and its score or why there is none."""
    if row["state"] != "ok":
        return "unreadable", str(row["error"])[:26]
    if row["rank"] == "none":
        return "none of the classes", f"novelty {row['novelty']:.0%}"
    name = "/".join(filter(None, (row["superclass"], row["subclass"])))
    score = row["subclass_score"] if row["subclass"] else row["superclass_score"]
    return name, f"{score:.0%}, novelty {row['novelty']:.0%}"


def tile(row: dict[str, Any]) -> Image.Image:
    """One photo with its caption."""
    canvas = Image.new("RGB", (TILE, TILE + CAPTION), "white")
    try:
        with Image.open(row["path"]) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
            white = Image.new("RGBA", upright.size, "white")
            photo = ImageOps.fit(Image.alpha_composite(white, upright).convert("RGB"), (TILE, TILE))
    except OSError:
        photo = Image.new("RGB", (TILE, TILE), "#d8d8d8")
    canvas.paste(photo, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for line, (text, size, colour) in enumerate(zip(caption(row), (15, 13), ("#111111", "#666666"), strict=True)):
        draw.text((2, TILE + 4 + 20 * line), text, font=ImageFont.load_default(size), fill=colour)
    return canvas


def main() -> None:
    """Read rows from stdin and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    tiles = [tile(row) for row in json.load(sys.stdin)]
    rows = -(-len(tiles) // COLUMNS)
    width, height = COLUMNS * (TILE + GAP) + GAP, rows * (TILE + CAPTION + GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    for index, image in enumerate(tiles):
        row, column = divmod(index, COLUMNS)
        sheet.paste(image, (GAP + column * (TILE + GAP), GAP + row * (TILE + CAPTION + GAP)))
    sheet.save(arguments.output, quality=70, method=6)


if __name__ == "__main__":
    main()
