"""A sidecar belongs to the photo that its name says, or that it says itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from phototag.metadata import Siblings, new_sidecar, sidecars_of

SAYS = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:SidecarForExtension="{}"/></rdf:RDF>'
)


@pytest.mark.parametrize(
    ("photo", "others", "sidecars"),
    [
        ("a.jpg", ["a.jpg.xmp"], ["a.jpg.xmp"]),
        ("a.JPG", ["A.jpg.XMP"], ["A.jpg.XMP"]),
        ("a.jpg", ["a.xmp"], ["a.xmp"]),  # the only picture
        ("a.cr2", ["a.xmp", "a.jpg"], ["a.xmp"]),  # the RAW
        ("a.jpg", ["a.xmp", "a.cr2"], []),
        ("a.cr2", ["a.xmp", "a.nef"], []),  # of which?
        ("a.heic", ["a.xmp", "a.mov"], []),
        ("a.cr2", ["a.xmp", "a.cr2.xmp"], ["a.cr2.xmp", "a.xmp"]),
        ("a.jpg", ["a.cr2.xmp", "b.xmp"], []),
        ("a.cr2.jpg", ["a.cr2", "a.cr2.xmp"], []),
        ("a.cr2", ["a.cr2.jpg", "a.cr2.xmp"], ["a.cr2.xmp"]),
        ("ä\udcff.jpg", ["ä\udcff.jpg.xmp"], ["ä\udcff.jpg.xmp"]),
    ],
)
def test_sidecars_are_known_by_their_names(photo: str, others: list[str], sidecars: list[str]) -> None:
    folder = Path("nowhere")
    assert sidecars_of(folder / photo, siblings=Siblings([photo, *others])) == tuple(folder / name for name in sidecars)


def test_sidecar_says_itself_to_which_file_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_text(SAYS.format("heic"))
    siblings = Siblings(["a.heic", "a.mov", "a.jpg", "a.cr2", "a.xmp"])
    assert sidecars_of(tmp_path / "a.heic", siblings=siblings) == (tmp_path / "a.xmp",)
    assert sidecars_of(tmp_path / "a.cr2", siblings=siblings) == ()
    assert sidecars_of(tmp_path / "a.jpg", siblings=siblings) == ()


@pytest.mark.parametrize(
    ("photo", "others", "name"),
    [
        ("a.jpg", [], "a.jpg.xmp"),
        ("a.CR2", ["a.jpg"], "a.xmp"),
        ("a.cr2", ["a.nef"], "a.cr2.xmp"),
        ("a.dng", [], "a.dng.xmp"),
        ("a.cr2", ["a.XMP"], "a.cr2.xmp"),  # another's
        ("a.HEIC", ["a.mov"], "a.HEIC.xmp"),
    ],
)
def test_new_sidecars_are_named_as_other_programs_look_for_them(photo: str, others: list[str], name: str) -> None:
    assert new_sidecar(Path(photo), siblings=Siblings([photo, *others])) == Path(name)


def test_folder_is_listed_once_for_all_its_photos(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.jpg.xmp", "b.jpg"):
        (tmp_path / name).touch()
    siblings = Siblings.of(tmp_path)
    assert [sidecars_of(tmp_path / name, siblings=siblings) for name in ("a.jpg", "b.jpg")] == [
        (tmp_path / "a.jpg.xmp",),
        (),
    ]
