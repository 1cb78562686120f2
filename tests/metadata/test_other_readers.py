"""ExifTool and Exiv2 read what was written, beside all that they read before."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from phototag.metadata.xmp import XmpError, add_keywords, edit_jpeg, fresh_packet, remove_keywords
from tests.metadata.test_editor import LAYOUTS, WANTED, jpeg
from tests.metadata.test_packets import listed, packet

OURS = {"Subject": {"bird", "robin"}, "HierarchicalSubject": {"bird|robin"}}


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: libimage-exiftool-perl, exiv2)")


def read_all(folder: Path) -> dict[str, dict[str, object]]:
    """All that ExifTool reads of the files in a folder, by name."""
    command = ["exiftool", "-j", "-struct", "-XMP:all", "-x", "XMPToolkit", folder]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    return {Path(found.pop("SourceFile")).name: found for found in json.loads(done.stdout)}


def as_set(value: object) -> set[str]:
    return set(value) if isinstance(value, list) else {str(value)} - {""}


def edited(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, Path, Path]:
    """Write the files as they are, with keywords, and with the keywords cut again; those that are refused are not."""
    folders = tuple(folder / name for name in ("before", "with", "after"))
    for each in folders:
        each.mkdir()
    for name, data in files.items():
        try:
            if name.endswith(".jpg"):
                edit = edit_jpeg(data, lambda body: add_keywords(body, WANTED))
                contents = (data, edit.data)
            else:
                edit = add_keywords(data, WANTED)
                contents = (data, edit.data, remove_keywords(edit.data, edit.added, created=edit.created))
        except XmpError:
            continue
        for each, content in zip(folders, contents, strict=False):
            (each / name).write_bytes(content)
    return folders[0], folders[1], folders[2]


def own_files() -> dict[str, bytes]:
    inside = packet(listed("dc:subject", "Alps"), 'xmp:Rating="5"').encode()
    files = {f"{name}.xmp": text.encode() for name, text in LAYOUTS.items()}
    return files | {"plain.jpg": jpeg(None), "with.jpg": jpeg(inside), "fresh.xmp": fresh_packet("NEF")}


def check_by_exiftool(folder: Path, files: Mapping[str, bytes]) -> int:
    before, after, cut = (read_all(each) for each in edited(folder, files))
    checked = 0
    for name, found in after.items():
        had = before.get(name, {})
        if not had and not found:
            continue  # ExifTool reads no UTF-16, and nothing that begins with a comment
        for tag, keywords in OURS.items():
            assert as_set(found.pop(tag, [])) == keywords | (as_set(had.get(tag, ""))), name
        rest = {tag: value for tag, value in had.items() if tag not in OURS}
        assert found == rest, name
        if name in cut:
            for tag in OURS:
                assert as_set(cut[name].get(tag, "")) == as_set(had.get(tag, "")), name
        checked += 1
    return checked


def test_exiftool_reads_ours_and_all_that_was_there(tmp_path: Path) -> None:
    need("exiftool")
    assert check_by_exiftool(tmp_path, own_files()) >= 8


def test_exiftool_reads_sidecars_of_many_programs(tmp_path: Path, shared: Path) -> None:
    need("exiftool")
    files = {path.name: path.read_bytes() for path in (shared / "data" / "metadata" / "xmp").iterdir()}
    assert check_by_exiftool(tmp_path, files) >= 30


def test_exiv2_reads_ours(tmp_path: Path) -> None:
    need("exiv2")
    _, after, _ = edited(tmp_path, own_files())
    for path in after.iterdir():
        if path.stem == "comments":
            continue  # it opens no file that begins with a comment
        keys = ["-K", "Xmp.dc.subject", "-K", "Xmp.lr.hierarchicalSubject"]
        done = subprocess.run(["exiv2", "-Pkv", *keys, path], capture_output=True, check=False, text=True)
        said = " ".join(done.stdout.split())
        assert "bird, robin" in said and "bird|robin" in said, path
