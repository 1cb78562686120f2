"""Two levels of names: what makes a clean taxonomy, what is refused, and that it survives a file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.errors import TaxonomyError, UsageError
from phototag.taxonomy import Taxonomy, check_name, nearest_names, spelled_apart
from phototag.text import nfc

PAIRS = [("bird", "rooster"), ("dog", "beagle"), ("bird", "hawk")]

names = (
    st.text(st.characters(exclude_categories=["C"], exclude_characters="/"), min_size=1, max_size=12)
    .map(nfc)
    .filter(lambda name: name == name.strip() and name)
)
# Subclass to superclass, so that no subclass has two parents.
trees = st.dictionaries(
    names, st.sampled_from(["bird", "dog", "fish", "rooster", "Vögel", "虫"]), min_size=1, max_size=20
)


class TestFromPairs:
    def test_both_levels_are_sorted_and_the_parents_fit(self) -> None:
        taxonomy = Taxonomy.from_pairs(PAIRS)
        assert taxonomy.superclasses == ("bird", "dog")
        assert taxonomy.subclasses == ("hawk", "rooster", "beagle")
        assert taxonomy.parents == (0, 0, 1)

    def test_neither_order_nor_repetition_matters(self) -> None:
        assert Taxonomy.from_pairs(PAIRS) == Taxonomy.from_pairs([*reversed(PAIRS), *PAIRS])

    def test_a_subclass_under_two_superclasses_is_refused_by_name(self) -> None:
        with pytest.raises(TaxonomyError, match=r"'rooster' lies under two superclasses, 'bird' and 'dog'"):
            Taxonomy.from_pairs([*PAIRS, ("dog", "rooster")])

    def test_no_classes_are_refused(self) -> None:
        with pytest.raises(TaxonomyError, match="no classes"):
            Taxonomy.from_pairs([])

    def test_the_same_name_may_stand_at_both_levels(self) -> None:
        taxonomy = Taxonomy.from_pairs([("dog", "dog"), ("cat", "cat")])
        assert taxonomy.parent("dog") == "dog"


class TestLookups:
    def test_names_are_found_at_their_level(self) -> None:
        taxonomy = Taxonomy.from_pairs(PAIRS)
        assert taxonomy.superclass_index == {"bird": 0, "dog": 1}
        assert taxonomy.subclass_index == {"hawk": 0, "rooster": 1, "beagle": 2}
        assert taxonomy.parent("beagle") == "dog"
        assert [taxonomy.qualified(index) for index in range(3)] == ["bird/hawk", "bird/rooster", "dog/beagle"]
        with pytest.raises(KeyError):
            taxonomy.parent("unicorn")

    @given(trees)
    def test_children_and_parents_say_the_same(self, tree: dict[str, str]) -> None:
        taxonomy = Taxonomy.from_pairs((superclass, subclass) for subclass, superclass in tree.items())
        assert set(taxonomy.superclasses) == set(tree.values())
        assert {name: taxonomy.parent(name) for name in taxonomy.subclasses} == tree
        assert sorted(child for children in taxonomy.children for child in children) == list(range(len(tree)))
        for parent, children in enumerate(taxonomy.children):
            assert children
            assert all(taxonomy.parents[child] == parent for child in children)


class TestBadTaxonomies:
    @pytest.mark.parametrize(
        "name", ["", " ", " bird", "bird ", "a/b", "a\nb", "a\tb", "a\0b", "\x1b[31mred", "a\u202eb"]
    )
    def test_names_that_would_break_paths_or_terminals_are_refused(self, name: str) -> None:
        with pytest.raises(TaxonomyError, match="superclass"):
            check_name(name, "superclass")
        with pytest.raises(TaxonomyError):
            Taxonomy.from_pairs([("animal", name)])
        with pytest.raises(TaxonomyError):
            Taxonomy.from_pairs([(name, "animal")])

    @pytest.mark.parametrize("name", ["bird", "Großer Vogel", "虫", "a b", "O'Neill's", "100 %", "-x", "ʻōʻō"])
    def test_ordinary_names_of_any_language_are_fine(self, name: str) -> None:
        assert check_name(name, "subclass") == name

    @pytest.mark.parametrize(
        ("superclasses", "subclasses", "parents"),
        [
            (("a", "a"), ("x", "y"), (0, 1)),
            (("a", "b"), ("x", "x"), (0, 1)),
            (("a",), ("x", "y"), (0,)),
            (("a",), ("x",), (1,)),
            (("a",), ("x",), (-1,)),
            (("a", "b"), ("x",), (0,)),
            (("a",), (), ()),
            ((), ("x",), (0,)),
            ((), (), ()),
        ],
    )
    def test_doubled_names_orphans_and_childless_superclasses_are_refused(
        self, superclasses: tuple[str, ...], subclasses: tuple[str, ...], parents: tuple[int, ...]
    ) -> None:
        with pytest.raises(TaxonomyError):
            Taxonomy(superclasses, subclasses, parents)

    def test_the_error_is_one_of_wrong_use(self) -> None:
        assert issubclass(TaxonomyError, UsageError)


class TestJson:
    @given(trees)
    def test_a_taxonomy_survives_a_file(self, tree: dict[str, str]) -> None:
        taxonomy = Taxonomy.from_pairs((superclass, subclass) for subclass, superclass in tree.items())
        back = Taxonomy.from_json(json.loads(json.dumps(taxonomy.to_json())))
        assert back == taxonomy
        assert back.digest == taxonomy.digest

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
        | st.fixed_dictionaries(
            {
                "superclasses": st.lists(st.text() | st.integers() | st.none()) | st.text() | st.integers(),
                "subclasses": st.lists(st.text() | st.lists(st.text())) | st.none(),
                "parents": st.lists(st.integers() | st.booleans() | st.floats() | st.text()) | st.text(),
            }
        )
    )
    def test_whatever_a_strangers_file_holds_it_is_a_taxonomy_or_refused(self, value: Any) -> None:
        try:
            taxonomy = Taxonomy.from_json(value)
        except TaxonomyError:
            return
        assert taxonomy.to_json() == value

    def test_a_boolean_is_no_parent(self) -> None:
        with pytest.raises(TaxonomyError, match="whole numbers"):
            Taxonomy.from_json({"superclasses": ["a", "b"], "subclasses": ["x", "y"], "parents": [False, True]})


class TestDigest:
    def test_it_changes_with_names_order_and_parents(self) -> None:
        taxonomies = [
            Taxonomy(("a", "b"), ("x", "y"), (0, 1)),
            Taxonomy(("a", "b"), ("x", "y"), (1, 0)),
            Taxonomy(("a", "b"), ("y", "x"), (0, 1)),
            Taxonomy(("b", "a"), ("x", "y"), (0, 1)),
            Taxonomy(("a", "c"), ("x", "y"), (0, 1)),
        ]
        assert len({taxonomy.digest for taxonomy in taxonomies}) == len(taxonomies)


class TestSpelling:
    def test_names_are_composed_whatever_wrote_them(self) -> None:
        taxonomy = Taxonomy.from_json(
            {"superclasses": ["Cafe\u0301"], "subclasses": ["a\u030a", "b"], "parents": [0, 0]}
        )
        assert (taxonomy.superclasses, taxonomy.subclasses) == (("Caf\u00e9",), ("\u00e5", "b"))
        assert check_name("e\u0301", "subclass") == "\u00e9"

    def test_a_model_with_one_name_in_two_forms_goes_on_working(self) -> None:
        names = ("e\u0301", "\u00e9")
        assert Taxonomy(("x",), names, (0, 0)).subclasses == names

    def test_a_name_in_another_encoding_is_refused_as_that(self) -> None:
        with pytest.raises(TaxonomyError, match=r"superclass 'caf\u00e9' is not in UTF-8"):
            check_name("caf\udce9", "superclass")

    @pytest.mark.parametrize(
        "pair",
        [("Bird", "bird"), ("american_egret", "American Egret"), ("sea-lion", "sea  lion"), ("Straße", "strasse")],
    )
    def test_names_that_are_one_to_a_reader_are_found(self, pair: tuple[str, str]) -> None:
        assert spelled_apart(pair) == {pair[1]: pair[0]}
        assert spelled_apart([pair[0]], known={pair[1]}) == {pair[0]: pair[1]}

    def test_names_that_differ_are_left_alone(self) -> None:
        assert spelled_apart(["cafe", "caf\u00e9", "tshirt", "t-shirt"]) == {}
        # A model that has both spellings knows each of them.
        assert spelled_apart(["Bird", "bird"], known={"Bird", "bird"}) == {}

    def test_nearest_names_come_best_first(self) -> None:
        assert nearest_names("brid", ["dog", "bird", "Bird of prey"]) == ["bird"]
        assert nearest_names("BIRD", ["dog", "bird"]) == ["bird"]
        assert nearest_names("qqq", ["dog", "bird"]) == []
