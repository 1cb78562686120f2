"""The page of a library on a PostgreSQL server, shown by two computers at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from phototag.catalog import GalleryFilter
from phototag.store import Store
from tests.support.pictures import MakePicture
from tests.support.samples import Sampled
from tests.support.web import application, context_in, logged_in


@pytest.fixture
def library(tmp_path: Path, make_picture: MakePicture, postgres_url: str) -> Sampled:
    return Sampled(tmp_path / "photos", make_picture, 4, database=postgres_url)


@pytest.fixture
def apps(library: Sampled) -> Iterator[tuple[Starlette, Starlette]]:
    with application(library.database) as first, application(library.database) as second:
        yield first, second


def photos_for(client: TestClient, library: Sampled, tab: str, want: int) -> list[dict[str, object]]:
    answer = client.post(f"/api/samples/{library.sample_id}/next", json={"tab": tab, "want": want})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["photos"])


def test_people_at_two_computers_review_different_photos_while_a_third_tags(
    apps: tuple[Starlette, Starlette], library: Sampled
) -> None:
    first, second = map(logged_in, apps)
    tabs = [uuid4().hex, uuid4().hex]
    with Store.open(library.database) as store, store.tagging("phototag tag"), store.writing("phototag tag"):
        mine, theirs = photos_for(first, library, tabs[0], 2), photos_for(second, library, tabs[1], 4)
        assert [photo["position"] for photo in mine] == [1, 2]
        assert [photo["position"] for photo in theirs] == [3, 4]
        for client, photo in ((first, mine[0]), (second, theirs[0])):
            body = {key: photo[key] for key in ("position", "photo_id", "newest", "version")}
            body |= {"superclass": "dog", "subclass": None, "token": uuid4().hex, "tab": "a" * 8}
            answer = client.post(f"/api/samples/{library.sample_id}/answers", json=body)
            assert answer.status_code == 200, answer.text
    assert library.said() == {1: ("dog", None), 3: ("dog", None)}
    first.post(f"/api/samples/{library.sample_id}/hold", json={"tab": tabs[0], "have": []})
    assert [photo["position"] for photo in photos_for(second, library, tabs[1], 4)] == [2, 4]


def test_a_position_that_no_sample_has_is_a_wrong_request(apps: tuple[Starlette, Starlette], library: Sampled) -> None:
    body = {"position": 99999999999, "photo_id": 1, "version": "0" * 8, "newest": None, "token": uuid4().hex}
    answer = logged_in(apps[0]).post(f"/api/samples/{library.sample_id}/answers", json=body)
    assert answer.status_code == 400
    assert "has no photo at position" in answer.text


def test_an_answer_at_one_computer_is_shown_by_the_other(apps: tuple[Starlette, Starlette], library: Sampled) -> None:
    first = logged_in(apps[0])
    gallery = context_in(apps[1]).gallery
    (photo,) = photos_for(first, library, uuid4().hex, 1)
    body = {"superclass": "cat", "subclass": None, "token": uuid4().hex, "version": photo["version"]}
    assert first.post(f"/api/photos/{photo['photo_id']}/review", json=body).status_code == 200

    def shown() -> set[str | None]:
        return {each.superclass for each in gallery.page(GalleryFilter(), limit=10).items}

    ends = time.monotonic() + 60
    while "cat" not in shown() and time.monotonic() < ends:
        time.sleep(0.1)
    assert "cat" in shown()
