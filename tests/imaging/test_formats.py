"""One table says which pictures are read: everything that opens, finds or isolates them follows it."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from phototag.cli.tag import tag
from phototag.imaging.formats import FORMAT_NAMES, FORMATS, MAX_MEGAPIXELS, Format, format_of
from tests.support.project import ROOT

# What somebody writes who adds a format: one file, and one line in the table.
OPENER = """
import struct
from PIL import Image

def open_tiles(data):
    width, height = struct.unpack_from("<HH", data, 5)
    return Image.frombytes("RGB", (width, height), data[9:])
"""
LINE = '    Format("Tiles", (".tiles",), rb"TILES", opener="phototag.imaging.tiles:open_tiles"),\n'

SCRIPT = """
import io, json, sys
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader

from phototag.dataset import LabelledPicture
from phototag.errors import DecodeError
from phototag.imaging import Decoder, Preprocessing, Thumbnailer
from phototag.imaging.decode import decode_bytes
from phototag.library import ScanProblems, resolve_roots, scan
from phototag.training.finetune.augment import TrainingPictures, collate, start_worker

preprocessing = Preprocessing(size=16, crop=1.0)
(photo,) = scan(resolve_roots([sys.argv[1]]), ScanProblems())
data = photo.path.read_bytes()
found = {"scanned": photo.path.name, "parent": decode_bytes(data, preprocessing, photo.path)[0].mean((0, 1)).tolist()}
with Decoder(preprocessing) as decoder:
    pixels, *found["size"] = decoder(data, photo.path)
    found["sandbox"], found["workers"] = pixels.mean((0, 1)).tolist(), len(decoder._all)
    try:
        decoder(data[:99], photo.path)
    except DecodeError as error:
        found["damaged"] = error.kind
with Thumbnailer() as thumbnailer:
    thumbnail = Image.open(io.BytesIO(thumbnailer(data, (16, 16), photo.path)))
    found["thumbnail"] = [thumbnail.format, *thumbnail.size, *thumbnail.getpixel((2, 2))]
labelled = [LabelledPicture(photo.path, "a", "b", "made up")]
for name, augment in (("validation", None), ("training", lambda image: image)):
    pictures = TrainingPictures(labelled, [0], preprocessing, augment=augment, seed=())
    (batch,) = DataLoader(pictures, batch_size=1, collate_fn=collate, num_workers=1, worker_init_fn=start_worker)
    found[name] = batch[0].float().mean((0, 1, 2)).tolist()
print(json.dumps(found))
"""


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_each_format_has_one_way_to_be_opened_and_is_recognised_where_it_must_be(form: Format) -> None:
    assert bool(form.pillow) != bool(form.opener)
    assert form.signature and re.compile(form.signature)
    for name in filter(None, (form.pillow, form.opener, form.bare, form.worker_setup)):
        assert callable(pkgutil.resolve_name(name))


@pytest.mark.parametrize("page", ["docs/limits.md", "docs/tagging.md"])
def test_people_read_of_the_formats_in_the_table(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert f"Photos are read as {FORMAT_NAMES}, up to {MAX_MEGAPIXELS} megapixels" in text
    assert FORMAT_NAMES in " ".join(str(tag.help).split())


def test_no_two_formats_share_a_suffix() -> None:
    suffixes = [suffix for form in FORMATS for suffix in form.suffixes]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n\0", "PNG"),
        (b"\xff\xd8", None),
        (b"x\xff\xd8\xff", None),
        (b"", None),
    ],
)
def test_the_first_bytes_say_the_format(data: bytes, name: str | None) -> None:
    found = format_of(data)
    assert (found.name if found else None) == name


def test_new_format_is_one_file_and_one_line(tmp_path: Path) -> None:
    package = tmp_path / "phototag"
    shutil.copytree(ROOT / "phototag", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "imaging" / "tiles.py").write_text(OPENER)
    table = package / "imaging" / "formats.py"
    head, mark, tail = table.read_text().partition("FORMATS = (\n")
    table.write_text(head + mark + LINE + tail)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.tiles").write_bytes(b"TILES" + struct.pack("<HH", 32, 24) + bytes((200, 100, 50)) * (32 * 24))
    (photos / "b.unknown").write_bytes(b"TILES")

    words = [sys.executable, "-c", SCRIPT, str(photos)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    colour = pytest.approx([200, 100, 50], abs=3)
    assert found["scanned"] == "a.tiles"
    assert found["parent"] == found["sandbox"] == found["validation"] == found["training"] == colour
    assert (found["size"], found["workers"], found["damaged"]) == ([32, 24], 1, "truncated")
    assert found["thumbnail"][:3] == ["JPEG", 16, 12]
    assert found["thumbnail"][3:] == colour
