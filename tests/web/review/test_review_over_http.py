"""Review mode of the local page over HTTP: answers, several reviewers, taking back, and samples."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from phototag.review.leases import Leases
from phototag.store import Review, ReviewFilter, Store
from tests.support.pictures import MakePicture
from tests.support.samples import Sampled, scored_photo
from tests.support.web import application, context_in, logged_in

Answer = dict[str, Any]


@pytest.fixture
def client(library: Sampled) -> Iterator[TestClient]:
    with application(library.database) as app:
        yield logged_in(app)


class Tab:
    """What the page of one tab sends, without a browser."""

    def __init__(self, client: TestClient, library: Sampled, name: str = "") -> None:
        self.client = client
        self.api = f"/api/samples/{library.sample_id}"
        self.name = name or uuid4().hex

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"{self.api}/{path}", json={"tab": self.name, **body})

    def next(self, want: int = 1, **more: Any) -> list[Answer]:
        answer = self.post("next", want=want, **more)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["photos"])

    def say(self, photo: Answer, superclass: str | None, subclass: str | None = None, **more: Any) -> Any:
        body = {key: photo[key] for key in ("position", "photo_id", "newest", "version")}
        return self.post(
            "answers", **{"token": uuid4().hex, **body, "superclass": superclass, "subclass": subclass, **more}
        )

    def skip(self, photo: Answer) -> Any:
        return self.say(photo, None, kind="skip")


class TestAnswers:
    def test_photos_come_with_tag_scores_and_candidates(self, client: TestClient, library: Sampled) -> None:
        (photo,) = Tab(client, library).next()
        assert (photo["position"], photo["name"], photo["newest"]) == (1, "photo001.jpg", None)
        assert (photo["tag"]["superclass"], photo["tag"]["subclass"]) == ("bird", "hawk")
        assert 0 < photo["tag"]["subclass_score"] <= photo["tag"]["superclass_score"] <= 1
        assert {"superclass": "bird", "subclass": "hawk"} not in [
            {key: each[key] for key in ("superclass", "subclass")} for each in photo["candidates"]
        ]
        assert client.get(f"/photos/{photo['photo_id']}/picture", params={"v": photo["version"]}).status_code == 200

    def test_an_answer_is_stored_before_it_is_acknowledged(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        first, second, third = tab.next(3)
        saved = tab.say(first, "bird", "hawk").json()
        assert saved["verdict"] == "right"
        assert library.said() == {1: ("bird", "hawk")}
        assert tab.say(second, None).json()["rank"] == "none"
        assert tab.skip(third).status_code == 200
        assert library.said() == {1: ("bird", "hawk"), 2: (None, None)}
        assert library.skipped() == [3]

    def test_an_answer_that_comes_twice_is_stored_once(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        (photo,) = tab.next()
        answers = [tab.say(photo, "bird", "rooster", token="once-and-again") for _ in range(3)]
        assert len({answer.json()["review_id"] for answer in answers}) == 1
        with Store.open(library.database) as store:
            assert len(list(store.reviews.find_all(ReviewFilter(current=False)))) == 1

    def test_an_answer_that_comes_again_after_it_was_taken_back_stays_taken_back(
        self, client: TestClient, library: Sampled
    ) -> None:
        tab = Tab(client, library)
        (photo,) = tab.next()
        tab.say(photo, "dog", "boxer", token="late-copy")
        tab.post("undo", token="late-copy", position=1)
        assert tab.say(photo, "dog", "boxer", token="late-copy").status_code == 200
        assert library.said() == {}

    def test_a_token_of_another_answer_is_refused(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        (photo,) = tab.next()
        tab.say(photo, "bird", "rooster", token="mine-alone")
        assert tab.say(photo, "dog", "boxer", token="mine-alone").status_code == 400
        assert library.said() == {1: ("bird", "rooster")}

    def test_an_answer_about_another_content_is_refused(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        (photo,) = tab.next()
        # As one that waited in a browser for another library, served at the same address before.
        assert tab.say(photo, "bird", "hawk", version="0" * 8).status_code == 400
        assert tab.say(photo, "bird", "hawk", version="").status_code == 400
        assert library.said() == {}

    def test_a_photo_that_changed_is_not_stored(
        self, client: TestClient, library: Sampled, make_picture: MakePicture
    ) -> None:
        from phototag.records import Scores

        tab = Tab(client, library)
        (photo,) = tab.next()
        import numpy as np

        path = make_picture(library.folder / "photo001.jpg", seed=99)
        scores = Scores(np.zeros((1, 3), dtype=np.float32), np.zeros((1, 5), dtype=np.float32))
        with Store.open(library.database) as store, store.writing("test"):
            store.tags.save_batch(model_id=1, tagged=[scored_photo(path, scores)])
        answer = tab.say(photo, "bird", "hawk")
        assert answer.status_code == 400
        assert "changed since it was shown" in answer.json()["error"]

    def test_missing_photos_are_passed_by_with_the_reason(self, client: TestClient, library: Sampled) -> None:
        (library.folder / "photo001.jpg").unlink()
        answer = Tab(client, library).post("next", want=2).json()
        assert [photo["position"] for photo in answer["photos"]] == [2, 3]
        assert answer["passed"][0]["position"] == 1
        assert "is missing" in answer["passed"][0]["reason"]
        again = Tab(client, library).post("next", want=2, passed=[1]).json()
        assert again["passed"] == []

    def test_names_that_training_would_refuse_are_refused(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        (photo,) = tab.next()
        for superclass, subclass in (("dog", "hawk"), ("dog", "a/b"), ("", None), (None, "boxer"), ("x\n", None)):
            answer = tab.say(photo, superclass, subclass)
            assert answer.status_code == 400, (superclass, subclass)
        assert library.said() == {}
        assert tab.say(photo, "dog", "poodle").status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"position": "1"},
            {"position": 1, "photo_id": True},
            {"position": 99, "photo_id": 1, "token": "12345678"},
            {"position": 1, "photo_id": 2, "token": "12345678", "superclass": "dog"},
            {"position": 1, "photo_id": 1, "token": "x", "superclass": "dog"},
            {"position": 1, "photo_id": 1, "token": "a\nb-34567", "superclass": "dog"},
            {"position": 1, "photo_id": 1, "token": "12345678", "superclass": ["dog"]},
            {"position": 1, "photo_id": 1, "token": "12345678", "superclass": "d" * 999},
            {"position": 1, "photo_id": 1, "token": "12345678", "kind": "drop"},
            {"position": 2**70, "photo_id": 1, "token": "12345678"},
        ],
    )
    def test_rubbish_is_refused_with_words(self, client: TestClient, library: Sampled, body: Answer) -> None:
        answer = client.post(f"/api/samples/{library.sample_id}/answers", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert library.said() == {}

    def test_an_unknown_sample_is_not_found(self, client: TestClient, library: Sampled) -> None:
        assert client.get("/review/99").status_code == 404
        assert client.post("/api/samples/99/next", json={"tab": "12345678", "want": 1}).status_code == 404
        assert client.get("/api/names?sample=99").status_code == 404

    def test_a_busy_database_says_so_and_keeps_nothing(
        self, client: TestClient, library: Sampled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("phototag.web.reviewing.WAIT_SECONDS", 0.1)
        tab = Tab(client, library)
        (photo,) = tab.next()
        with Store.open(library.database) as other, other.writing("tag"):
            assert tab.say(photo, "bird", "hawk", token="patient1").status_code == 503
        assert tab.say(photo, "bird", "hawk", token="patient1").status_code == 200

    def test_own_answers_spare_the_gallery_reading_the_library_anew(self, client: TestClient, library: Sampled) -> None:
        following = client.app.state.context.gallery  # type: ignore[attr-defined]
        tab = Tab(client, library)
        first, second = tab.next(2)
        assert tab.say(first, "dog", "boxer", token="soon-undone").status_code == 200
        assert tab.skip(second).status_code == 200
        assert tab.post("undo", token="soon-undone", position=1).status_code == 200
        assert (made := client.post("/api/samples", json={"size": 4})).status_code == 201, made.text
        assert following._sign.read() == following._seen


class TestTogether:
    def test_two_tabs_get_different_photos(self, client: TestClient, library: Sampled) -> None:
        one, two = Tab(client, library), Tab(client, library)
        assert [photo["position"] for photo in one.next(2)] == [1, 2]
        assert [photo["position"] for photo in two.next(3)] == [3, 4, 5]
        assert [photo["position"] for photo in one.next(9, have=[1, 2])] == [6]
        answer = two.post("next", want=3, have=[3, 4, 5]).json()
        assert (answer["photos"], answer["elsewhere"]) == ([], 3)
        assert [photo["position"] for photo in two.next(1, have=[3, 4, 5], any=True)] == [1]

    def test_progress_tells_of_every_photo(
        self, client: TestClient, library: Sampled, make_picture: MakePicture
    ) -> None:
        import numpy as np

        from phototag.records import Scores

        tab = Tab(client, library)
        first, second, third, fourth = tab.next(4)
        tab.say(first, first["tag"]["superclass"], first["tag"]["subclass"])
        tab.say(second, None)
        tab.skip(third)
        path = make_picture(library.folder / "photo004.jpg", seed=99)
        scores = Scores(np.zeros((1, 3), dtype=np.float32), np.zeros((1, 5), dtype=np.float32))
        with Store.open(library.database) as store, store.writing("test"):
            store.tags.save_batch(model_id=1, tagged=[scored_photo(path, scores)])
            store.reviews.save(Review(photo_id=second["photo_id"], superclass="dog"))  # corrects the other one
        progress = client.get(f"{tab.api}/progress").json()["progress"]
        size = len(library.items())
        assert progress == {
            "size": size, "reviewed": 2, "right": 1, "skipped": 1, "changed": 1, "pending": size - 4
        }  # fmt: skip
        with Store.open(library.database) as store:
            waiting, _ = store.samples.standing(library.sample_id)
        assert waiting == [item.position for item in library.items() if item.pending]
        assert fourth["position"] not in waiting

    def test_a_closed_tab_gives_its_photos_back(self, client: TestClient, library: Sampled) -> None:
        one, two = Tab(client, library), Tab(client, library)
        one.next(6)
        assert two.next(1) == []
        assert one.post("hold", have=[]).status_code == 200
        assert len(two.next(6)) == 6

    def test_the_slower_one_is_told_and_decides(self, client: TestClient, library: Sampled) -> None:
        one, two = Tab(client, library), Tab(client, library)
        (first,) = one.next(1)
        (second,) = two.next(1, any=True)
        assert first["photo_id"] == second["photo_id"]
        one.say(first, "bird", "rooster")
        refused = two.say(second, "dog", "boxer")
        assert refused.status_code == 409
        theirs = refused.json()["theirs"]
        assert (theirs["superclass"], theirs["subclass"], theirs["agrees"]) == ("bird", "rooster", False)
        assert two.skip(second).status_code == 409
        assert library.said() == {1: ("bird", "rooster")}
        assert two.say(second, "dog", "boxer", token="take-mine", replace=True).status_code == 200
        assert library.said() == {1: ("dog", "boxer")}
        two.post("undo", token="take-mine", position=1)
        assert library.said() == {1: ("bird", "rooster")}, "theirs counts again"

    def test_many_at_once_store_each_photo_once(self, tmp_path: Path, make_picture: MakePicture) -> None:
        library = Sampled(tmp_path / "many", make_picture, 8)
        acknowledged: list[int] = []
        with application(library.database) as app:

            def work() -> None:
                tab = Tab(logged_in(app), library)
                while photos := tab.next(1, any=True):
                    if tab.say(photos[0], "dog", "boxer").status_code == 200:
                        acknowledged.append(photos[0]["position"])

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
            following = context_in(app).gallery
            assert following._sign.read() == following._seen, "nor is the library read anew for answers at once"
        assert sorted(acknowledged) == list(range(1, 9))
        with Store.open(library.database) as store:
            assert len(list(store.reviews.find_all(ReviewFilter(current=False, valid=False)))) == 8

    def test_leases_end_by_themselves(self) -> None:
        now = [0.0]
        leases = Leases(seconds=10, clock=lambda: now[0])
        assert leases.take(1, "one", [1, 2, 3], want=2) == [1, 2]
        assert leases.take(1, "two", [1, 2, 3], want=2) == [3]
        assert leases.take(2, "two", [1], want=1) == [1], "another sample"
        now[0] = 11
        assert leases.take(1, "two", [1, 2, 3], want=2) == [1, 2]


class TestTakingBack:
    def test_it_is_exact(self, client: TestClient, library: Sampled) -> None:
        before = library.rows()
        tab = Tab(client, library)
        first, second, third = tab.next(3)
        tab.say(first, "dog", "poodle", token="first-one")
        tab.say(second, None, token="second-one")
        tab.skip(third)
        assert library.rows() != before
        tab.post("undo", position=3)
        tab.post("undo", token="second-one", position=2)
        answer = tab.post("undo", token="first-one", position=1).json()
        assert answer["photo"]["position"] == 1
        assert (library.said(), library.skipped(), library.rows()) == ({}, [], before)
        assert tab.post("undo", token="first-one", position=1).status_code == 200, "a lost acknowledgement"

    def test_earlier_sessions_follow_but_not_those_beside(self, client: TestClient, library: Sampled) -> None:
        earlier = Tab(client, library)
        first, second = earlier.next(2)
        earlier.say(first, "bird", "hawk")
        earlier.skip(second)
        now = client.post(f"{earlier.api}/next", json={"tab": "later-tab", "want": 1}).json()["now"]
        beside = Tab(client, library)
        beside.say(beside.next(1, any=True)[0], "dog", "boxer")

        def last(**more: str) -> Any:
            return client.get(f"{earlier.api}/last", params={"before": now, **more}).json()["step"]

        assert last() == {"position": 2, "review_id": None}
        earlier.post("undo", position=2)
        step = last()
        assert step["position"] == 1
        assert last(without=str(step["review_id"])) is None
        earlier.post("undo", position=1, review_id=step["review_id"])
        assert last() is None
        assert list(library.said()) == [3]

    def test_what_was_tagged_otherwise_since_stays(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        tab.say(tab.next()[0], "dog", "boxer", token="overtaken")
        with Store.open(library.database) as store, store.writing("test"):
            store.tags.set_human(library.folder / "photo001.jpg", superclass="bird")
        answer = tab.post("undo", token="overtaken", position=1)
        assert answer.status_code == 400
        assert "tagged in another way" in answer.json()["error"]

    def test_nothing_is_taken_back_for_a_tab_without_a_name(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        tab.say(tab.next()[0], "dog", "boxer", token="stays-there")
        assert tab.post("undo", token="stays-there", position=1, tab="").status_code == 400
        assert library.said() == {1: ("dog", "boxer")}

    def test_reviews_of_other_photos_or_samples_are_not_its_business(
        self, client: TestClient, library: Sampled
    ) -> None:
        with Store.open(library.database) as store, store.writing("test"):
            review_id = store.reviews.save(Review(photo_id=1, superclass="dog"))
        tab = Tab(client, library)
        assert tab.post("undo", position=1, review_id=review_id).status_code == 400
        assert tab.post("undo", position=1, token="never-seen").status_code == 400


class TestAnyPhoto:
    def review(self, client: TestClient, library: Sampled, **body: Any) -> Any:
        item = library.items()[0]
        given = {"superclass": "dog", "subclass": "boxer", "version": item.content_hash.hex()[:8], "token": uuid4().hex}
        return client.post(f"/api/photos/{item.photo_id}/review", json=given | body)

    def test_it_is_tagged_at_once_and_undone_exactly(self, client: TestClient, library: Sampled) -> None:
        before = library.rows()
        saved = self.review(client, library).json()
        assert (saved["superclass"], saved["subclass"], saved["rank"]) == ("dog", "boxer", "subclass")
        assert library.said() == {}, "no review of the sample"
        for _ in range(2):
            assert client.post(f"/api/reviews/{saved['review_id']}/undo").json()["undone"]
        assert library.rows() == before

    def test_the_gallery_shows_it_at_once(self, client: TestClient, library: Sampled) -> None:
        saved = self.review(client, library).json()
        detail = client.app.state.context.gallery.photo(saved["photo_id"])  # type: ignore[attr-defined]
        assert detail is not None
        (item,) = client.app.state.context.gallery.items([saved["photo_id"]])  # type: ignore[attr-defined]
        assert (item.superclass, item.subclass) == ("dog", "boxer")

    def test_another_version_or_photo_is_refused(self, client: TestClient, library: Sampled) -> None:
        assert "changed since it was shown" in self.review(client, library, version="00000000").json()["error"]
        assert self.review(client, library, version="").status_code == 400
        body = {"superclass": None, "subclass": None, "version": "0" * 8, "token": "12345678"}
        assert client.post("/api/photos/999/review", json=body).status_code == 404
        assert client.post("/api/reviews/999/undo").status_code == 404

    def test_a_file_that_is_gone_or_changed_is_not_judged(
        self, client: TestClient, library: Sampled, make_picture: MakePicture
    ) -> None:
        first, second = library.items()[:2]
        page = client.get(f"/photos/{first.photo_id}").text
        assert 'data-do="right"' in page
        assert 'class="take"' in page
        stored_before = {"token": uuid4().hex}
        assert self.review(client, library, **stored_before).status_code == 200
        first.path.unlink()
        make_picture(second.path, seed=77)
        for item, reason in ((first, "is missing; if it was moved"), (second, "changed since it was tagged")):
            body = {"superclass": "dog", "subclass": None, "version": item.content_hash.hex()[:8], "token": uuid4().hex}
            answer = client.post(f"/api/photos/{item.photo_id}/review", json=body)
            assert answer.status_code == 400
            assert f"the photo {reason}" in answer.json()["error"]
            page = client.get(f"/photos/{item.photo_id}").text
            assert f"The file {reason}" in page
            assert 'data-do="fix"' not in page
            assert 'class="take"' not in page
        # What was stored before is acknowledged again, and can be taken back.
        assert self.review(client, library, **stored_before).status_code == 200
        assert 'data-do="undo"' in client.get(f"/photos/{first.photo_id}").text

    def test_keys_mean_the_other_candidates_as_in_review(self, client: TestClient, library: Sampled) -> None:
        (photo,) = Tab(client, library).next()
        text = client.get(f"/photos/{photo['photo_id']}").text
        found = re.findall(r'data-key="(\d)" data-superclass="(\w+)" data-subclass="(\w+)"', text)
        wanted = [(each["superclass"], each["subclass"]) for each in photo["candidates"]]
        assert [pair for _, *pair in found] == [list(pair) for pair in wanted]
        assert [key for key, *_ in found] == [str(number) for number in range(1, len(wanted) + 1)]
        assert (photo["tag"]["superclass"], photo["tag"]["subclass"]) not in wanted

    def test_names_are_offered_best_first(self, client: TestClient, library: Sampled) -> None:
        self.review(client, library, superclass="dog", subclass="poodle")
        everything = client.get("/api/names").json()["names"]
        assert {"superclass": "dog", "subclasses": ["beagle", "boxer", "poodle"]} in everything
        assert client.get("/api/names?typed=BO").json()["names"] == ["dog/boxer"]
        assert client.get("/api/names?typed=o&superclass=dog").json()["names"] == ["boxer", "poodle"]


class TestSamples:
    def test_a_sample_is_drawn_by_a_form(self, client: TestClient, library: Sampled) -> None:
        answer = client.post("/review", data={"size": "4", "by": "superclass"})
        assert answer.status_code == 303
        assert client.get(answer.headers["location"]).status_code == 200
        with Store.open(library.database) as store:
            assert store.samples.find_all()[-1].size == 4
        assert "sample-1" in client.get("/review").text

    def test_a_sample_is_drawn_by_a_script(self, client: TestClient, library: Sampled) -> None:
        made = client.post("/api/samples", json={"size": 5, "by": None})
        assert made.status_code == 201, made.text
        assert made.json()["size"] == 5

    def test_more_photos_than_there_are_cannot_be_drawn(self, client: TestClient, library: Sampled) -> None:
        for size in ("7", "9999999", "9" * 18):
            answer = client.post("/review", data={"size": size})
            assert answer.status_code == 400
            assert "6 photos can be sampled" in answer.text
            refused = client.post("/api/samples", json={"size": int(size), "by": "superclass"})
            assert refused.status_code == 400
            assert refused.json()["error"].startswith("6 photos can be sampled, not ")
        with Store.open(library.database) as store:
            assert [sample.name for sample in store.samples.find_all()] == ["first"]
        assert 'value="6"' in client.get("/review").text
        assert client.post("/api/samples", json={"size": 6}).status_code == 201

    def test_a_sample_without_reviews_can_be_removed(self, client: TestClient, library: Sampled) -> None:
        made = client.post("/api/samples", json={"size": 4}).json()
        tab = Tab(client, library)
        (photo,) = tab.next()
        tab.say(photo, "dog", "boxer")
        text = client.get("/review").text
        assert f'data-remove="{made["sample_id"]}"' in text
        assert f'data-remove="{library.sample_id}"' not in text
        refused = client.post(f"{tab.api}/remove", json={})
        assert refused.status_code == 409
        assert "phototag audit sample first --remove" in refused.json()["error"]
        done = client.post(f"/api/samples/{made['sample_id']}/remove", json={})
        assert done.json() == {"removed": made["sample_id"], "name": made["name"]}
        assert client.post(f"/api/samples/{made['sample_id']}/remove", json={}).status_code == 404
        assert client.get(f"/review/{made['sample_id']}").status_code == 404
        with Store.open(library.database) as store:
            assert [sample.name for sample in store.samples.find_all()] == ["first"]
        assert library.said() == {1: ("dog", "boxer")}

    def test_a_finished_sample_leads_to_nothing_empty(self, client: TestClient, library: Sampled) -> None:
        tab = Tab(client, library)
        for photo in tab.next(want=6):
            tab.say(photo, None)
        text = client.get("/review").text
        assert f'href="/review/{library.sample_id}"' not in text
        assert 'href="/audit?sample=first"' in text

    @pytest.mark.parametrize("form", [{"size": "none"}, {"size": "0"}, {"size": "3", "by": "<b>"}, {"size": ""}])
    def test_what_cannot_be_drawn_is_said_in_the_form(
        self, client: TestClient, library: Sampled, form: dict[str, str]
    ) -> None:
        answer = client.post("/review", data=form)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
        assert "<b>" not in answer.text

    def test_hostile_file_names_are_inert(self, tmp_path: Path, make_picture: MakePicture) -> None:
        names = [
            "<script>alert(1)",
            'a" onerror="x',
            "new\nline",
            "\u202egpj",
            b"\xff".decode("utf-8", "surrogateescape"),
        ]
        library = Sampled(tmp_path / "bad", make_picture, names=names)
        with application(library.database) as app:
            client = logged_in(app)
            photos = Tab(client, library).next(5)
            assert len(photos) == 5
            assert not any(re.search("[\n\u202e]", photo["name"]) for photo in photos)
            for photo in photos:
                assert Tab(client, library).say(photo, None).status_code == 200
            assert client.get("/review").status_code == 200

    def test_a_hostile_sample_name_is_inert(self, client: TestClient, library: Sampled) -> None:
        with Store.open(library.database) as store, store.writing("test"):
            from phototag.audit.sample_creation import create_sample

            made = create_sample(store, size=5, name="<script>\"'")
        for path in ("/review", f"/review/{made.id}"):
            assert '<script>"' not in client.get(path).text
