"""The plan: what each photo of a pass needs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.records import FailureKind, FileStat, PhotoState, Source
from phototag.store import KnownPhoto
from phototag.tagging.plan import MAX_ATTEMPTS, Need, compare

FILE = FileStat(b"/p/a.jpg", 10, 20, 30, 40)
KNOWN = KnownPhoto(
    id=1,
    path_bytes=b"/p/a.jpg",
    size_bytes=10,
    modified_ns=20,
    changed_ns=30,
    inode=40,
    content_hash=b"h" * 32,
    state=PhotoState.OK,
    error_kind=None,
    attempts=0,
    tag_model_id=7,
    tag_source=Source.MODEL,
)
UNREADABLE = KNOWN._replace(
    state=PhotoState.UNREADABLE, error_kind=FailureKind.TRUNCATED, attempts=1, tag_model_id=None, tag_source=None
)


def need(file: FileStat, known: KnownPhoto, *, model_id: int | None = 7, force: bool = False) -> Need:
    (step,) = compare([file], [known], model_id=model_id, force=force)
    return step.need


class TestPlan:
    def test_an_untouched_photo_with_this_models_tag_needs_nothing(self) -> None:
        assert need(FILE, KNOWN) is Need.NOTHING

    @pytest.mark.parametrize("field", ["size_bytes", "modified_ns", "changed_ns", "inode"])
    @pytest.mark.parametrize("change", [-1, 1])
    def test_any_other_stat_value_older_or_newer_means_changed(self, field: str, change: int) -> None:
        touched = FILE._replace(**{field: getattr(FILE, field) + change})
        assert need(touched, KNOWN) is Need.TAG

    def test_a_huge_inode_number_is_no_change(self) -> None:
        huge = 2**64 - 5
        assert need(FILE._replace(inode=huge), KNOWN._replace(inode=huge)) is Need.NOTHING

    def test_another_model_or_force_means_tagging_again(self) -> None:
        assert need(FILE, KNOWN, model_id=8) is Need.TAG
        assert need(FILE, KNOWN, model_id=None) is Need.TAG
        assert need(FILE, KNOWN, force=True) is Need.TAG

    def test_an_unreadable_photo_is_given_up_after_some_attempts(self) -> None:
        assert need(FILE, UNREADABLE._replace(attempts=MAX_ATTEMPTS - 1)) is Need.TAG
        hopeless = UNREADABLE._replace(attempts=MAX_ATTEMPTS)
        assert need(FILE, hopeless) is Need.GIVEN_UP
        assert need(FILE, hopeless, force=True) is Need.TAG
        assert need(FILE._replace(size_bytes=11), hopeless) is Need.TAG

    def test_what_brought_a_decoder_down_is_kept_away_from_it_until_it_changes(self) -> None:
        crashed = UNREADABLE._replace(error_kind=FailureKind.DECODER, attempts=1)
        assert need(FILE, crashed) is Need.GIVEN_UP
        assert need(FILE, crashed, force=True) is Need.TAG
        assert need(FILE._replace(modified_ns=21), crashed) is Need.TAG

    def test_a_photo_without_permission_is_never_given_up(self) -> None:
        barred = UNREADABLE._replace(error_kind=FailureKind.PERMISSION, attempts=100)
        assert need(FILE, barred) is Need.TAG

    def test_an_unreadable_photo_is_read_again_although_its_content_is_known(self) -> None:
        """Scores of its content may be stored, but only reading it shows that it can be read now."""
        (step,) = compare([FILE], [UNREADABLE], model_id=7)
        assert step.need is Need.TAG
        assert not step.same_content
        (step,) = compare([FILE], [KNOWN._replace(tag_model_id=8)], model_id=7)
        assert step.same_content

    def test_a_known_photo_that_is_not_there_is_missing_once(self) -> None:
        assert [step.need for step in compare([], [KNOWN], model_id=7)] == [Need.MISSING]
        assert list(compare([], [KNOWN._replace(state=PhotoState.MISSING)], model_id=7)) == []

    @given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
    def test_every_photo_appears_once_in_order(self, here: set[int], stored: set[int]) -> None:
        def path(number: int) -> str:
            return f"/p/{number:02}.jpg"

        photos: Sequence[FileStat] = [FILE._replace(path_bytes=path(number).encode()) for number in sorted(here)]
        known = [KNOWN._replace(id=number, path_bytes=path(number).encode()) for number in sorted(stored)]
        steps = list(compare(photos, known, model_id=7))
        got = [
            (
                os.fspath(step.photo.path) if step.photo else os.fsdecode(step.known.path_bytes) if step.known else "",
                step.need,
            )
            for step in steps
        ]
        wanted = [
            (path(n), Need.MISSING if n not in here else Need.NOTHING if n in stored else Need.TAG)
            for n in sorted(here | stored)
        ]
        assert got == wanted
