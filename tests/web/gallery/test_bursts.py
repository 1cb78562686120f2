"""Bursts on the page: a stack that opens, what the file says of the photo, and one answer for all of a burst."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from phototag.records import CaptureFacts, Source
from phototag.store import Capture, Query, Store
from tests.support.pictures import MakePicture
from tests.support.web import application, logged_in, save_photos


@pytest.fixture
def ids(tmp_path: Path, make_picture: MakePicture) -> list[int]:
    """Three photos of a burst, and one of another day."""
    files = [make_picture(tmp_path / f"{number}.jpg") for number in range(4)]
    numbers = save_photos(tmp_path / "photos.db", files)
    with Store.open(tmp_path / "photos.db") as store, store.writing("test"):
        found = {}
        for place, number in enumerate(numbers):
            known = store.photos.find(number)
            assert known is not None
            taken = datetime(2026, 5, 3, 14, 22, 1) + timedelta(seconds=place if place < 3 else 99_999)
            facts = CaptureFacts(taken, 120, "Box <b>", lens="Lens", latitude=1.5, longitude=2.5, rating=3)
            found[number] = Capture(known.modified_ns, facts, ("animal|bird",))
        store.captures.save(found)
    return numbers


def test_burst_is_a_stack_and_is_reviewed_by_one_answer(ids: list[int], tmp_path: Path) -> None:
    with application(tmp_path / "photos.db") as app:
        client = logged_in(app)
        page = client.get("/?sort=taken").text
        assert page.count('class="tile"') == 2
        assert f'href="/?burst={ids[0]}&amp;sort=taken"' in page
        assert "2 more in bursts" in page and "Box &lt;b&gt;" in page
        assert client.get(f"/?burst={ids[1]}").text.count('class="tile"') == 3
        assert client.get("/?stacks=off").text.count('class="tile"') == 4
        detail = client.get(f"/photos/{ids[1]}").text
        for words in ("2026-05-03 14:22:02+02:00", "Lens", "1.50000, 2.50000", "3 of 5", "animal|bird"):
            assert words in detail
        assert 'data-do="burst"' not in detail

        token = {"token": "12345678"}
        assert client.post(f"/api/photos/{ids[0]}/burst", json=token).status_code == 400
        for number, name in ((ids[0], "hawk"), (ids[2], "rooster")):
            version = app.state.context.store.photos.find(number).content_hash.hex()[:8]
            body = {"superclass": "bird", "subclass": name, "version": version, "token": f"{number}-review"}
            assert client.post(f"/api/photos/{number}/review", json=body).status_code == 200
        assert 'data-do="burst"' in client.get(f"/photos/{ids[0]}").text
        answer = client.post(f"/api/photos/{ids[0]}/burst", json=token).json()
        assert answer == {"reviewed": [ids[1]], "left_out": 1}  # what a person said of one stays
        assert client.post(f"/api/photos/{ids[0]}/burst", json=token).json()["reviewed"] == []
    with Store.open(tmp_path / "photos.db") as store:
        tagged = {row.path.name: (row.subclass, row.source) for row in store.query(Query())}
    assert tagged["1.jpg"] == ("hawk", Source.HUMAN)
    assert tagged["2.jpg"] == ("rooster", Source.HUMAN)
    assert tagged["3.jpg"][1] is Source.MODEL
