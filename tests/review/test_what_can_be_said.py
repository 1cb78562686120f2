"""One rule for the class that an answer names, wherever it is given: what is known or stored can always be said."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest

from phototag.errors import UsageError
from phototag.review.names import Key, narrow
from phototag.review.photo_reviews import settle_class
from phototag.store import Query, Store
from phototag.taxonomy import Taxonomy
from tests.support.scripted_review import Library, go
from tests.support.web import application, logged_in

OTHER = Taxonomy.from_pairs([("amphibian", "gecko"), ("amphibian", "common_newt"), ("dog", "pug")])
Label = tuple[str | None, str | None]


@pytest.fixture
def store(library: Library) -> Iterator[Store]:
    """The library, with another model that knows a subclass of the first under another superclass."""
    with Store.open() as opened:
        with opened.writing("test"):
            opened.models.register(hash="b" * 64, name="o", backbone="b", taxonomy=OTHER, metrics={})
        yield opened


def said_on_the_page(store: Store, library: Library, label: Label) -> list[tuple[int, object]]:
    """What the page answers to a label, in review mode and on the page of a photo."""
    superclass, subclass = label
    with application(store) as app:
        client, api = logged_in(app), f"/api/samples/{library.sample_id}"
        (photo,) = client.post(f"{api}/next", json={"tab": "t" * 8, "want": 1}).json()["photos"]
        said = {"superclass": superclass, "subclass": subclass, "version": photo["version"]}
        about = {"tab": "t" * 8, "position": photo["position"], "photo_id": photo["photo_id"], "newest": None}
        answers = [
            client.post(f"{api}/answers", json={**said, **about, "token": "a" * 8}),
            client.post(f"/api/photos/{photo['photo_id']}/review", json={**said, "token": "b" * 8}),
        ]
        return [(answer.status_code, answer.json().get("subclass")) for answer in answers]


@pytest.mark.parametrize("label", [("reptile", "gecko"), ("amphibian", "gecko"), ("amphibian", None), ("dog", "pug")])
def test_what_any_model_knows_can_be_said_by_every_door(store: Store, library: Library, label: Label) -> None:
    assert settle_class(store, *label) == label
    assert said_on_the_page(store, library, label) == [(200, label[1])] * 2
    reviewing = library.session(store)
    shown = reviewing.next_photo()
    assert not isinstance(reviewing.save(shown, *label), UsageError)  # type: ignore[arg-type]
    assert list(library.said().values()) == [label, label]


def test_terminal_takes_a_class_of_another_model(store: Store, library: Library) -> None:
    go(library, "s", *"amphibian", Key.ENTER, "y", *"gecko", Key.ENTER, "y")
    assert ("amphibian", "gecko") in library.said().values()


@pytest.mark.parametrize("label", [("bird", "gecko"), ("bird", "a/b"), ("", None), ("bird", " "), ("x\n", None)])
def test_what_training_would_refuse_is_refused_by_every_door(store: Store, library: Library, label: Label) -> None:
    with pytest.raises(UsageError):
        settle_class(store, *label)
    assert [status for status, _ in said_on_the_page(store, library, label)] == [400, 400]
    assert library.said() == {}


def test_stored_tags_of_forgotten_origin_can_be_confirmed(store: Store, library: Library) -> None:
    # As an older phototag or a program may have written it.
    with store.writing("test"):
        store.tags.set_human(library.folder / "a.jpg", superclass="lizard", subclass="gecko")
    assert settle_class(store, "lizard", "gecko") == ("lizard", "gecko")
    assert settle_class(store, "lizard", None) == ("lizard", None)
    assert store.count(Query(superclass="lizard")) == 1


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        (("Dog", "Beagle"), ("dog", "beagle")),
        (("amphibian", "Common newt"), ("amphibian", "common_newt")),
        (("AMPHIBIAN", None), ("amphibian", None)),
        (("bird", unicodedata.normalize("NFD", "Mönch")), ("bird", "Mönch")),
    ],
)
def test_another_spelling_is_the_known_name(store: Store, typed: Label, known: Label) -> None:
    assert settle_class(store, *typed) == known


def test_another_spelling_is_found_in_lists() -> None:
    assert narrow(["dog/pug", "amphibian/common_newt"], "Common Newt") == ["amphibian/common_newt"]
