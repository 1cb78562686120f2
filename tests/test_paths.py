"""Addresses of objects beside paths of files: parts, order, and what both share."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.paths import S3Path, absolute, is_below, path_of, shared_folder

KEYS = st.text(st.one_of(st.sampled_from("/.a%é\n"), st.characters(exclude_categories=["Cs"])), max_size=12)


@given(KEYS)
def test_an_address_is_its_bytes_and_nothing_is_folded(key: str) -> None:
    path = S3Path(f"s3://bucket/{key}")
    assert (path.bucket, path.key, path_of(bytes(path))) == ("bucket", key, path)
    assert f"{path.parent}/{path.name}" == str(path) and path.with_name(path.name) == path
    assert all(is_below(path, above) for above in (path, *path.parents)) and path.parents[-1] == S3Path("s3://bucket")
    assert "/".join(path.parts) == str(path)
    assert pickle.loads(pickle.dumps(path)) == path


@given(st.lists(KEYS, max_size=6))
def test_addresses_sort_as_their_bytes_do_and_after_files(keys: list[str]) -> None:
    paths = [S3Path(f"s3://bucket/{key}") for key in keys]
    assert [bytes(path) for path in sorted(paths)] == sorted(map(bytes, paths))
    assert sorted([*paths, Path("/z")])[0] == Path("/z")


@pytest.mark.parametrize("text", ["s3://", "s3:///key", "photos/a.jpg", "s3://bucket/\udcff"])
def test_what_names_no_bucket_or_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no bucket|is not UTF-8"):
        S3Path(text)


def test_what_a_person_types_loses_one_slash_at_its_end() -> None:
    assert absolute("s3://bucket/") == absolute("s3://bucket") == S3Path("s3://bucket")
    assert absolute("s3://bucket/a//") == S3Path("s3://bucket/a/")
    assert absolute("/a/../b") == Path("/b")


@pytest.mark.parametrize(
    ("folders", "shared"),
    [
        ([b"s3://b/x/y", b"s3://b/x/z/w"], b"s3://b/x"),
        ([b"s3://b/x", b"s3://b/x/y", b"s3://b/x-y"], b"s3://b"),
        ([b"s3://b", b"s3://c"], b""),
        ([b"s3://b/x", b"/a"], b""),
        ([b"/a/b", b"/a/c"], b"/a"),
    ],
)
def test_the_folder_that_photos_share(folders: list[bytes], shared: bytes) -> None:
    assert shared_folder(folders) == shared


def test_nothing_lies_below_both_a_folder_and_an_address() -> None:
    assert not is_below(Path("/a"), S3Path("s3://b")) and not is_below(S3Path("s3://b/a"), Path("/"))
    assert not is_below(S3Path("s3://b/ab"), S3Path("s3://b/a"))
