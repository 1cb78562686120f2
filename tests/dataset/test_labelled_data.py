"""Labelled data: what is read, what is refused and with which words, and how it is split."""

from __future__ import annotations

import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.dataset import content as content_module
from phototag.dataset.content import read_content
from phototag.dataset.labelled import LabelledPicture, check_labels, load_data, training_taxonomy, unknown_labels
from phototag.dataset.series import split, unchecked_classes
from phototag.errors import DataError
from phototag.imaging import formats
from phototag.imaging.preprocessing import Preprocessing
from phototag.imaging.sandbox.decoder import Decoder
from phototag.taxonomy import Taxonomy
from tests.support.pictures import colour_folder, draw

HEADER = "filepath,superclass,subclass\n"


def write_csv(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = folder / "labels.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding=encoding)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a.png to f.png, for CSVs."""
    for index, name in enumerate("abcdef"):
        draw(tmp_path / f"{name}.png", (0, 40 * index, 0), seed=index)
    return tmp_path


def refused(source: Path, *words: str, training: bool = False) -> str:
    """The message with which a source is refused; it has to hold all `words`."""
    with pytest.raises(DataError) as caught:
        data = load_data(source)
        if training:
            training_taxonomy(data)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    return message


# -- folders


def test_folder_gives_labels_from_its_two_levels(tmp_path: Path) -> None:
    data = load_data(colour_folder(tmp_path, 3))
    assert len(data.pictures) == 12
    assert Counter((picture.superclass, picture.subclass) for picture in data.pictures) == {
        ("warm", "red"): 3,
        ("warm", "yellow"): 3,
        ("cold", "blue"): 3,
        ("cold", "green"): 3,
    }
    taxonomy = training_taxonomy(data)
    assert taxonomy.superclasses == ("cold", "warm")
    assert taxonomy.subclasses == ("blue", "green", "red", "yellow")


def test_pictures_outside_class_folders_are_counted_not_used(tmp_path: Path) -> None:
    colour_folder(tmp_path, 2)
    for stray in ("top.png", "warm/middle.png", "warm/red/deep/er.png"):
        draw(tmp_path / stray, (9, 9, 9), seed=1)
    (tmp_path / "warm" / "notes.txt").write_text("no picture")
    data = load_data(tmp_path)
    assert data.ignored == 3
    assert len(data.pictures) == 8


def test_hidden_files_and_folders_are_no_pictures(tmp_path: Path) -> None:
    colour_folder(tmp_path, 2)
    draw(tmp_path / "warm" / "red" / "._000.png", (9, 9, 9), seed=1)
    draw(tmp_path / ".thumbnails" / "small" / "000.png", (9, 9, 9), seed=1)
    data = load_data(tmp_path)
    assert (len(data.pictures), data.ignored) == (8, 0)


def test_missing_source_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", str(tmp_path / "nowhere"), "no such folder or CSV")


def test_folder_without_pictures_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "bird" / "hawk").mkdir(parents=True)
    (tmp_path / "bird" / "hawk" / "readme.txt").write_text("none")
    refused(tmp_path, str(tmp_path), "no pictures found", "superclass/subclass/")


def test_flat_folder_of_pictures_says_what_was_expected(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", (1, 2, 3), seed=1)
    refused(tmp_path, "no pictures found", "superclass/subclass/")


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root reads everything")
def test_folder_without_permission_is_named(tmp_path: Path) -> None:
    colour_folder(tmp_path, 2)
    closed = tmp_path / "warm"
    closed.chmod(0)
    try:
        refused(tmp_path, str(closed), "cannot be read")
    finally:
        closed.chmod(0o755)


def test_subclass_under_two_superclasses_names_both_folders(tmp_path: Path) -> None:
    colour_folder(tmp_path, 2)
    draw(tmp_path / "cold" / "red" / "x.png", (1, 2, 3), seed=1)
    refused(tmp_path, "'red'", "two superclasses", str(tmp_path / "warm" / "red"), str(tmp_path / "cold" / "red"))


def test_the_only_picture_of_a_class_is_learned_from(tmp_path: Path) -> None:
    data = load_data(colour_folder(tmp_path, {"blue": 1}))
    assert unchecked_classes(data.pictures) == ["cold/blue"]
    training, validation = split(data.pictures, fraction=0.9, seed=1)
    assert "blue" in {picture.subclass for picture in training}
    assert {picture.subclass for picture in validation} == {"red", "yellow", "green"}


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    for index in range(3):
        draw(tmp_path / "warm" / "red" / f"{index}.png", (1, 2, 3), seed=index)
    refused(tmp_path, "only one class", "warm/red", training=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_file_names_that_are_not_utf8_are_used(tmp_path: Path) -> None:
    colour_folder(tmp_path, 2)
    odd = os.fsdecode(os.fsencode(tmp_path / "warm" / "red") + b"/caf\xe9.png")
    Path(odd).write_bytes((tmp_path / "warm" / "red" / "000.png").read_bytes())
    data = load_data(tmp_path)
    assert Path(odd) in [picture.path for picture in data.pictures]
    parts = split(data.pictures, fraction=0.5, seed=0)
    assert sum(map(len, parts)) == 9


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_class_names_that_are_not_utf8_are_refused_by_name(tmp_path: Path) -> None:
    colour_folder(tmp_path, 2)
    odd = os.fsdecode(os.fsencode(tmp_path / "warm") + b"/caf\xe9")
    draw(tmp_path / "x.png", (1, 1, 1), seed=1)
    Path(odd).mkdir()
    (tmp_path / "x.png").rename(Path(odd) / "x.png")
    refused(tmp_path, "subclass", "caf")


# -- CSV files


def test_csv_paths_are_relative_to_the_csv(pictures: Path) -> None:
    (pictures / "sub").mkdir()
    (pictures / "a.png").rename(pictures / "sub" / "a.png")
    absolute = pictures / "b.png"
    data = load_data(write_csv(pictures, "sub/a.png,bird,hawk", f"{absolute},bird,hawk"))
    assert [picture.path for picture in data.pictures] == [pictures / "sub" / "a.png", absolute]
    assert data.pictures[1].origin == f"{pictures / 'labels.csv'}, line 3"


def test_csv_columns_may_stand_in_any_order_with_others_between(pictures: Path) -> None:
    path = write_csv(pictures, "hawk,1,a.png,bird", header="subclass,note,filepath,superclass\n")
    (picture,) = load_data(path).pictures
    assert (picture.path.name, picture.superclass, picture.subclass) == ("a.png", "bird", "hawk")


def test_csv_with_byte_order_mark_windows_line_ends_and_quotes(pictures: Path) -> None:
    (pictures / "a.png").rename(pictures / "a, b.png")
    path = pictures / "labels.csv"
    path.write_bytes(b'\xef\xbb\xbf"filepath","superclass","subclass"\r\n"a, b.png","bird","hawk"\r\n')
    (picture,) = load_data(path).pictures
    assert picture.path.name == "a, b.png"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_csv_with_names_that_are_not_utf8(pictures: Path) -> None:
    odd = os.fsdecode(os.fsencode(pictures) + b"/caf\xe9.png")
    (pictures / "a.png").rename(odd)
    path = pictures / "labels.csv"
    path.write_bytes(HEADER.encode() + b"caf\xe9.png,bird,hawk\n")
    (picture,) = load_data(path).pictures
    assert picture.path == Path(odd)


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("filepath,label\n", "superclass, subclass"),
        ("file,superclass,subclass\n", "filepath"),
        ("filepath superclass subclass\n", "filepath, superclass, subclass"),
        ("", "filepath"),
    ],
)
def test_csv_without_the_columns_names_line_and_columns(pictures: Path, header: str, missing: str) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", header=header)
    refused(path, f"{path}, line 1", f"no column {missing}", "header has")


def test_csv_with_a_header_only_has_no_pictures(pictures: Path) -> None:
    path = write_csv(pictures)
    refused(path, str(path), "no pictures found", "filepath,superclass,subclass")


def test_empty_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"")
    refused(tmp_path / "labels.csv", "line 1", "no column")


def test_picture_given_as_csv_is_refused(tmp_path: Path) -> None:
    refused(draw(tmp_path / "a.png", (1, 2, 3), seed=1), "a.png, line 1")


def test_missing_files_are_listed_with_their_lines(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", "gone.png,bird,hawk", "b.png,bird,hawk", "lost.png,dog,boxer")
    message = refused(path, f"{path}, line 3: no such file", "gone.png", f"{path}, line 5: no such file", "lost.png")
    assert "line 2" not in message
    assert "line 4" not in message


def test_long_lists_of_problems_are_cut(pictures: Path) -> None:
    path = write_csv(pictures, *(f"gone{index}.png,bird,hawk" for index in range(500)))
    message = refused(path, "line 2", "line 11", "and 490 more")
    assert len(message.splitlines()) == 11


def test_file_name_that_no_system_takes_is_named_with_its_line(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", f"{'n' * 5000}.png,bird,hawk", "\0.png,bird,hawk")
    refused(path, f"{path}, line 3", f"{path}, line 4")


def test_surplus_fields_are_refused_with_their_line(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", "b.png,bird,hawk,red-tailed")
    refused(path, f"{path}, line 3", "more fields than the header", "quote")


def test_subclass_without_superclass_is_refused_with_its_line(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", "b.png,,hawk")
    refused(path, f"{path}, line 3", "'hawk' without a superclass")


def test_row_without_a_file_is_refused_with_its_line(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", ",bird,hawk")
    refused(path, f"{path}, line 3", "no filepath")


def test_broken_quoting_is_refused_with_its_line(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", 'b.png,bird,"hawk')
    refused(path, f"{path}, line 3", "not CSV")


@pytest.mark.parametrize("name", ["ha/wk", "ha\x07wk"])
def test_class_names_that_cannot_be_are_refused_with_their_line(pictures: Path, name: str) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", f"b.png,bird,{name}")
    refused(path, f"{path}, line 3", "subclass")


def test_two_parents_in_a_csv_name_both_lines(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,crane", "b.png,bird,hawk", "c.png,vehicle,crane")
    refused(path, "'crane'", "two superclasses", f"{path}, line 2", f"{path}, line 4")


def test_training_needs_both_labels_in_every_row(pictures: Path) -> None:
    path = write_csv(pictures, "a.png,bird,hawk", "b.png,bird,", "c.png,,", "d.png,bird")
    message = refused(path, training=True)
    assert f"{path}, line 3: b.png has no subclass" in message
    assert f"{path}, line 4: c.png has no superclass" in message
    assert f"{path}, line 5: d.png has no subclass" in message


def test_empty_labels_are_read_for_judging(pictures: Path) -> None:
    data = load_data(write_csv(pictures, "a.png,bird,", "b.png,,"))
    assert [(picture.superclass, picture.subclass) for picture in data.pictures] == [("bird", None), (None, None)]


# -- validation data against what the model knows


def test_unknown_labels_in_validation_data_are_named_with_their_line(pictures: Path) -> None:
    taxonomy = Taxonomy.from_pairs([("bird", "hawk"), ("dog", "boxer")])
    path = write_csv(pictures, "a.png,bird,hawk", "b.png,fish,eel", "c.png,bird,crow", "d.png,bird,")
    with pytest.raises(DataError) as caught:
        check_labels(load_data(path), taxonomy)
    message = str(caught.value)
    assert f"{path}, line 3" in message
    assert "'fish'" in message
    assert f"{path}, line 4" in message
    assert "'crow'" in message
    assert "line 2" not in message
    assert "line 5" not in message


def test_validation_label_under_another_superclass_is_refused(pictures: Path) -> None:
    taxonomy = Taxonomy.from_pairs([("bird", "crane"), ("vehicle", "truck")])
    path = write_csv(pictures, "a.png,vehicle,crane")
    with pytest.raises(DataError, match="vehicle/crane is bird/crane in the model") as caught:
        check_labels(load_data(path), taxonomy)
    assert f"{path}, line 2" in str(caught.value)


# -- the split


@st.composite
def labelled(draw_value: st.DrawFn) -> list[LabelledPicture]:
    counts = draw_value(st.lists(st.integers(2, 60), min_size=2, max_size=6))
    return [
        LabelledPicture(Path(f"/data/s{number % 2}/c{number}/{index}.jpg"), f"s{number % 2}", f"c{number}", "here")
        for number, count in enumerate(counts)
        for index in range(count)
    ]


def classes_of(pictures: list[LabelledPicture]) -> Counter[str | None]:
    return Counter(picture.subclass for picture in pictures)


@given(labelled(), st.floats(0.01, 0.9), st.integers(0, 2**31))
def test_split_loses_and_doubles_nothing(pictures: list[LabelledPicture], fraction: float, seed: int) -> None:
    training, validation = split(pictures, fraction=fraction, seed=seed)
    assert sorted(training + validation, key=lambda p: p.path) == sorted(pictures, key=lambda p: p.path)
    assert not {p.path for p in training} & {p.path for p in validation}


@given(labelled(), st.floats(0.01, 0.9), st.integers(0, 2**31))
def test_split_keeps_every_class_on_both_sides_in_about_the_share(
    pictures: list[LabelledPicture], fraction: float, seed: int
) -> None:
    training, validation = split(pictures, fraction=fraction, seed=seed)
    in_all, in_training, in_validation = classes_of(pictures), classes_of(training), classes_of(validation)
    for name, count in in_all.items():
        assert in_training[name] >= 1
        assert in_validation[name] >= 1
        if 1 <= count * fraction <= count - 1:
            assert abs(in_validation[name] - count * fraction) <= 0.5


@given(labelled(), st.randoms(use_true_random=False), st.integers(0, 2**31))
def test_split_does_not_depend_on_the_order(pictures: list[LabelledPicture], random: object, seed: int) -> None:
    shuffled = list(pictures)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split(shuffled, fraction=0.3, seed=seed) == split(pictures, fraction=0.3, seed=seed)


@given(labelled(), st.integers(0, 2**31))
def test_split_of_a_class_does_not_depend_on_other_classes(pictures: list[LabelledPicture], seed: int) -> None:
    only = [picture for picture in pictures if picture.subclass == "c0"]
    alone = split(only, fraction=0.3, seed=seed)[1]
    assert alone == [p for p in split(pictures, fraction=0.3, seed=seed)[1] if p.subclass == "c0"]


def test_seeds_split_differently() -> None:
    pictures = [LabelledPicture(Path(f"/d/{i}.jpg"), "s", "c", "here") for i in range(50)]
    splits = {tuple(split(pictures, fraction=0.2, seed=seed)[1]) for seed in range(5)}
    assert len(splits) == 5


# -- pictures that cannot be read


def broken_of(folder: Path, *, broken: int, total: int) -> list[LabelledPicture]:
    good = draw(folder / "good.png", (9, 9, 9), seed=1).read_bytes()
    pictures = []
    for index in range(total):
        path = folder / f"{index:03}.png"
        path.write_bytes(good[:60] if index < broken else good)
        pictures.append(LabelledPicture(path, "warm", "red", "here"))
    return pictures


def test_unreadable_pictures_are_skipped_and_told(tmp_path: Path) -> None:
    pictures = broken_of(tmp_path, broken=2, total=40)
    content = read_content(pictures, Preprocessing(size=32))
    assert content.pictures == tuple(pictures[2:])
    assert len(content.unreadable) == 2
    assert str(pictures[0].path) in content.unreadable[0]
    assert content.positions == tuple(range(2, 40))


def test_more_than_a_twentieth_unreadable_stops(tmp_path: Path) -> None:
    pictures = broken_of(tmp_path, broken=3, total=40)
    with pytest.raises(DataError, match=r"3 of 40 pictures cannot be read, more than 5 %") as caught:
        read_content(pictures, Preprocessing(size=32))
    assert str(pictures[0].path) in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="limits and pipes are POSIX matters")
def test_pictures_are_decoded_as_tag_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What crashes a decoder, or is no file, costs that picture; its reason is that of `tag`."""
    pictures = broken_of(tmp_path, broken=0, total=40)
    os.mkfifo(tmp_path / "pipe.jpg")
    draw(tmp_path / "deadly.gif", (1, 2, 3), seed=1)
    crash = "import os; from phototag.imaging.sandbox import worker; worker.decode_bytes = lambda *_, **__: os.abort()"
    command = [sys.executable, "-c", f"{crash}; worker.main()"]
    monkeypatch.setattr(content_module, "Decoder", partial(Decoder, command=command))
    pictures += [LabelledPicture(tmp_path / name, "warm", "red", "here") for name in ("deadly.gif", "pipe.jpg")]
    content = read_content(pictures, Preprocessing(size=32))
    assert content.unreadable == (
        f"{tmp_path / 'deadly.gif'}: the decoder crashed (signal 6, SIGABRT)",
        f"{tmp_path / 'pipe.jpg'}: the file is gone; there is a named pipe, not a file",
    )


# -- one spelling, one label, nothing left out in silence


def test_names_are_composed_and_two_forms_are_one_class(tmp_path: Path) -> None:
    for number, name in enumerate(("cafe\u0301", "caf\u00e9")):
        draw(tmp_path / name / "cup" / f"{number}.png", (1, 2, 3), seed=number)
    assert {picture.superclass for picture in load_data(tmp_path).pictures} == {"caf\u00e9"}


@pytest.mark.parametrize("other", ["Warm/orange", "warm/RED", "hot/red_"])
def test_class_folders_that_differ_only_in_spelling_are_refused(tmp_path: Path, other: str) -> None:
    draw(colour_folder(tmp_path, 2) / other / "x.png", (1, 2, 3), seed=1)
    refused(tmp_path, "differs from", "only in spelling", str(tmp_path / other))


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    elsewhere = colour_folder(tmp_path / "elsewhere", 2)
    root = tmp_path / "data"
    (root / "cold" / "blue").mkdir(parents=True)
    (root / "warm").symlink_to(elsewhere / "warm")
    (root / "cold" / "green").symlink_to(elsewhere / "cold" / "green")
    (root / "cold" / "blue" / "0.png").symlink_to(elsewhere / "cold" / "blue" / "000.png")
    (root / "cold" / "loop").symlink_to(root)
    assert len(load_data(root).pictures) == 7


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = colour_folder(tmp_path, 2)
    (root / "warm" / "orange").mkdir()
    (root / "warm" / "orange" / "IMG_1.PSD").write_bytes(b"x")
    draw(root / "warm" / "red" / "@eaDir" / "000.png" / "thumb.png", (1, 2, 3), seed=1)
    draw(root / "#recycle" / "old" / "x.png", (1, 2, 3), seed=1)
    data = load_data(root)
    assert (len(data.pictures), data.ignored, data.empty) == (8, 0, ("warm/orange",))
    assert "no pictures in warm/orange" in caplog.text
    assert "1 file in formats that are not read (1 .psd)" in caplog.text
    assert "1 @eaDir" in caplog.text and "1 #recycle" in caplog.text


def test_pictures_whose_extra_is_not_installed_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_is_there", lambda module: False)
    root = colour_folder(tmp_path, 2)
    (root / "warm" / "red" / "IMG_1.HEIC").write_bytes(b"x")
    assert len(load_data(root).pictures) == 8
    assert "(1 .heic). Some are read after: pip install 'phototag[heic]'" in caplog.text


def test_a_folder_of_formats_that_are_not_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "bird" / "hawk").mkdir(parents=True)
    (tmp_path / "bird" / "hawk" / "1.CRW").write_bytes(b"x")
    refused(tmp_path, "no pictures found", "1 .crw")


def test_a_row_that_contradicts_another_is_refused_with_both_lines(pictures: Path) -> None:
    source = write_csv(pictures, "a.png,bird,hawk", "b.png,bird,hawk", "./a.png,dog,beagle")
    refused(source, "line 4", "a.png is dog/beagle here and bird/hawk in", "line 2")


def test_a_row_that_repeats_another_counts_once(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load_data(write_csv(pictures, "a.png,bird,hawk", "b.png,bird,", f"{pictures}/a.png,bird,hawk"))
    assert [picture.path.name for picture in data.pictures] == ["a.png", "b.png"]
    assert "1 rows repeat others and count once" in caplog.text


def test_a_file_is_found_in_whichever_form_the_disk_spells_it(tmp_path: Path) -> None:
    draw(tmp_path / "cafe\u0301" / "\u00e9.png", (1, 2, 3), seed=1)
    (picture,) = load_data(write_csv(tmp_path, "caf\u00e9/e\u0301.png,bird,hawk")).pictures
    assert picture.path.exists()


def test_another_encoding_is_named_as_the_reason(tmp_path: Path) -> None:
    draw(tmp_path / "é.png", (1, 2, 3), seed=1)
    refused(write_csv(tmp_path, "é.png,bird,hawk", encoding="latin-1"), "no such file", "save it as UTF-8")
    draw(tmp_path / "a.png", (1, 2, 3), seed=1)
    refused(write_csv(tmp_path, "a.png,é,hawk", encoding="latin-1"), "line 2", "not in UTF-8")


@pytest.mark.parametrize(
    "folders",
    [["2019/05-June", "2020/Rome"], ["Family/2019-05-31", "Trips/20200102 Oslo"], ["DCIM/100CANON", "DCIM/101_PANA"]],
)
def test_a_library_is_told_from_labelled_pictures(tmp_path: Path, folders: list[str]) -> None:
    for number, folder in enumerate(folders):
        draw(tmp_path / folder / "x.png", (1, 2, 3), seed=number)
    assert "named after dates or cameras" in load_data(tmp_path).doubt


def test_pictures_that_lie_everywhere_look_like_a_library_and_classes_do_not(tmp_path: Path) -> None:
    root = colour_folder(tmp_path, 2)
    for name in ("1990s/x.png", "digit/7/x.png", "car/Audi 2011/x.png"):
        draw(root / name, (1, 2, 3), seed=1)
    assert load_data(root).doubt == ""
    for number in range(20):
        draw(root / f"{number}.png", (1, 2, 3), seed=number)
    assert "no superclass/subclass folder" in load_data(root).doubt


def test_labels_of_validation_data_get_the_nearest_name(pictures: Path) -> None:
    taxonomy = Taxonomy.from_pairs([("bird", "hawk"), ("dog", "beagle")])
    data = load_data(write_csv(pictures, "a.png,brid,", "b.png,fish,eel", "c.png,dog,hawk"))
    assert unknown_labels(data, taxonomy) == ["brid", "dog/hawk", "eel", "fish"]
    with pytest.raises(DataError, match="no superclass 'brid' \\(the nearest is 'bird'\\)"):
        check_labels(data, taxonomy)
    other = load_data(write_csv(pictures, "a.png,Bird,Hawk"))
    with pytest.raises(DataError, match="superclass 'Bird' is spelt 'bird' in the model"):
        unknown_labels(other, taxonomy)
