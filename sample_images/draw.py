"""Draws the project's example pictures: labelled folders, an inbox with its truth, and an overview.

    python sample_images/draw.py [--output DIR] [--seed N]

The same seed gives the same pixels. Every picture has its own stream of random numbers, so that adding one
changes no other.
"""

from __future__ import annotations

import argparse
import csv
import io
import zlib
from pathlib import Path

import numpy as np
from _canvas import Rng
from _composition import cutout, picture
from PIL import Image, ImageDraw

COUNTS = {  # Uneven on purpose: real libraries are.
    "bird/rooster": 26,
    "bird/owl": 24,
    "bird/flamingo": 18,
    "dog/dalmatian": 30,
    "dog/dachshund": 21,
    "dog/poodle": 17,
    "reptile/turtle": 27,
    "reptile/snake": 22,
    "reptile/gecko": 19,
}

# File name, what it shows, and what is special about the file.
INBOX: tuple[tuple[str, str, str], ...] = (
    ("IMG_0412.jpg", "bird/rooster", ""),
    ("IMG_0413.jpg", "bird/rooster", ""),
    ("IMG_0415.jpg", "dog/dalmatian", ""),
    ("IMG_0418.jpg", "dog/dalmatian", "turned"),
    ("IMG_0419.jpg", "bird/owl", ""),
    ("IMG_0422.jpg", "reptile/turtle", ""),
    ("IMG_0425.jpg", "bird/penguin", ""),
    ("IMG_0426.jpg", "bird/penguin", ""),
    ("IMG_0431_truncated.jpg", "dog/poodle", "truncated"),
    ("IMG_0437.jpg", "dog/dachshund", ""),
    ("IMG_0440.jpg", "reptile/gecko", ""),
    ("DSC01377.jpg", "bird/flamingo", ""),
    ("DSC01378.jpg", "bird/flamingo", ""),
    ("DSC01381.jpg", "reptile/snake", ""),
    ("DSC01384.jpg", "bird/owl", "grey"),
    ("DSC01390.jpg", "dog/poodle", ""),
    ("DSC01391.jpg", "dog/poodle", ""),
    ("DSC01402.jpg", "fish/clownfish", ""),
    ("DSC01403.jpg", "fish/clownfish", ""),
    ("DSC01417.jpg", "boat/sailing", ""),
    ("P1040871.jpg", "reptile/turtle", "cmyk"),
    ("P1040872.jpg", "reptile/turtle", ""),
    ("P1040880.jpg", "reptile/snake", ""),
    ("P1040885.jpg", "bird/penguin", ""),
    ("PXL_20240518_091512.jpg", "dog/dachshund", ""),
    ("PXL_20240518_101733.webp", "bird/rooster", ""),
    ("PXL_20240601_184420.jpg", "reptile/gecko", ""),
    ("cutout_0007.png", "dog/dalmatian", "alpha"),
)
UNSEEN_SUBCLASSES = {"bird/penguin"}
UNSEEN_SUPERCLASSES = {"fish/clownfish", "boat/sailing"}

QUALITY = 82
ORIENTATION_TAG = 0x0112
KEPT_SHARE = 0.6
OVERVIEW_BYTES = 60_000
OVERVIEW_PICKS = {  # Chosen by eye: animals that fit a tile, and places that differ.
    "bird/rooster": (2, 13),
    "bird/owl": (16, 17),
    "bird/flamingo": (5, 14),
    "dog/dalmatian": (6, 23),
    "dog/dachshund": (5, 15),
    "dog/poodle": (7, 4),
    "reptile/turtle": (23, 15),
    "reptile/snake": (12, 19),
    "reptile/gecko": (6, 12),
}
# Multiples of 16, so that the edges of tiles are the edges of WebP blocks and stay sharp.
TILE, GAP, COLUMNS, ROWS = (160, 128), 16, 6, 3


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description="Draw the example pictures.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to draw into")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same pixels")
    options = parser.parse_args()
    labelled = draw_labelled(options.output, options.seed)
    draw_inbox(options.output, options.seed)
    draw_overview(options.output / "overview.webp", labelled)
    print(f"{sum(map(len, labelled.values()))} labelled and {len(INBOX)} inbox pictures in {options.output}")


def stream(seed: int, name: str) -> Rng:
    """Return the random numbers of one picture."""
    # crc32, because hash() differs from run to run.
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def draw_labelled(output: Path, seed: int) -> dict[str, list[Path]]:
    """Draw the labelled folders; return the paths of each kind."""
    drawn: dict[str, list[Path]] = {}
    for kind, count in COUNTS.items():
        folder = output / kind
        folder.mkdir(parents=True, exist_ok=True)
        drawn[kind] = [folder / f"{number:02}.jpg" for number in range(1, count + 1)]
        for path in drawn[kind]:
            picture(kind, stream(seed, f"{kind}/{path.name}")).save(path, quality=QUALITY, optimize=True)
    return drawn


def draw_inbox(output: Path, seed: int) -> None:
    """Draw the inbox and write its truth."""
    (output / "inbox").mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str]] = []
    for name, kind, special in INBOX:
        path = output / "inbox" / name
        _save_inbox(path, kind, special, stream(seed, f"inbox/{name}"))
        if special == "truncated":
            continue
        superclass, subclass = kind.split("/")
        if kind in UNSEEN_SUPERCLASSES:
            superclass = subclass = ""
        elif kind in UNSEEN_SUBCLASSES:
            subclass = ""
        rows.append((f"inbox/{name}", superclass, subclass))
    with (output / "inbox.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("filepath", "superclass", "subclass"))
        writer.writerows(sorted(rows))


def _save_inbox(path: Path, kind: str, special: str, rng: Rng) -> None:
    if special == "alpha":
        cutout(kind, rng, (280, 260)).save(path, optimize=True)
        return
    image = picture(kind, rng, (240, 320) if special == "turned" else None)
    if path.suffix == ".webp":
        image.save(path, quality=QUALITY)
        return
    exif = Image.Exif()
    if special == "turned":
        # Stored lying on its side, as a camera held upright does; only the tag says so.
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[ORIENTATION_TAG] = 6
    elif special == "grey":
        image = image.convert("L")
    elif special == "cmyk":
        image = image.convert("CMYK")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True, exif=exif)
    content = buffer.getvalue()
    path.write_bytes(content[: int(len(content) * KEPT_SHARE)] if special == "truncated" else content)


def draw_overview(path: Path, labelled: dict[str, list[Path]]) -> None:
    """Lay two pictures of each kind out as rounded tiles, within OVERVIEW_BYTES."""
    width, height = COLUMNS * (TILE[0] + GAP) + GAP, ROWS * (TILE[1] + GAP) + GAP
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    corner = Image.new("L", (TILE[0] * 4, TILE[1] * 4))
    ImageDraw.Draw(corner).rounded_rectangle((0, 0, TILE[0] * 4 - 1, TILE[1] * 4 - 1), radius=40, fill=255)
    mask = corner.resize(TILE, Image.Resampling.LANCZOS)
    kinds = list(labelled)
    for index in range(ROWS * COLUMNS):
        row, column = divmod(index, COLUMNS)
        kind = kinds[row * 3 + column % 3]
        source = labelled[kind][OVERVIEW_PICKS[kind][column // 3] - 1]
        with Image.open(source) as image:
            tile = _cropped(image.convert("RGB"))
        sheet.paste(tile, (GAP + column * (TILE[0] + GAP), GAP + row * (TILE[1] + GAP)), mask)
    for quality in range(84, 30, -2):
        buffer = io.BytesIO()
        sheet.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= OVERVIEW_BYTES:
            break
    path.write_bytes(buffer.getvalue())


def _cropped(image: Image.Image) -> Image.Image:
    """Return the picture cut to the shape of a tile, keeping its middle."""
    share = max(TILE[0] / image.width, TILE[1] / image.height)
    w, h = TILE[0] / share, TILE[1] / share
    x, y = (image.width - w) / 2, (image.height - h) / 2
    return image.resize(TILE, Image.Resampling.LANCZOS, box=(x, y, x + w, y + h))


if __name__ == "__main__":
    main()
