"""Which images a filter lets through: as many as a facet counts, whatever is asked of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from collections_at_hand import add, names, setting
from commands import cie, error_of
from hypothesis import given, settings
from hypothesis import strategies as st

import conditional_image_embeddings as cie_package
from conditional_image_embeddings import Not
from conditional_image_embeddings.cli import main, options
from conditional_image_embeddings.collection.collection import Collection
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import CieError, OptionError, StoreError

NO_VECTOR = "no vector"
COLORS = ["red", "red", "blue", "", None, "red", "blue", "a=b"]
MODELS = ["pickup", "van", "pickup", "van", "van", "bus", "bus", "bus"]


def fill(store: Store, condition: str | None, first: list[str | None], **own: object) -> None:
    """One image each with this first word, with none, or without a vector."""
    ids = names(len(first))
    there = [index for index, word in enumerate(first) if word != NO_VECTOR]
    words = [None if first[index] is None else [(first[index], 0.5), ("second", 0.1)] for index in there]
    vectors = np.random.default_rng(0).normal(size=(len(first), 4)).astype(np.float32)[there]
    add(store, setting(condition, **own), [ids[index] for index in there], vectors, words=words)


@pytest.fixture
def collection(store: Store) -> Iterator[Collection]:
    fill(store, "color", COLORS)
    fill(store, "model", MODELS)
    fill(store, "size = w x h", ["big"] * 4 + ["small"] * 4)
    with cie_package.open(store.uri) as opened:
        yield opened


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.sampled_from(["red", "blue", "", "it's", "é", None, NO_VECTOR])] * 2), min_size=1, max_size=12
    ),
    st.booleans(),
)
def test_a_facet_counts_what_a_filter_lets_through(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[str | None, str | None]], unconditioned: bool
) -> None:
    other = None if unconditioned else "mood"
    store = Store(tmp_path_factory.mktemp("db"))
    both = [*images, ("red", "red"), ("blue", "blue")]
    fill(store, "color", [each[0] for each in both])
    fill(store, other, [each[1] for each in both])
    with cie_package.open(store.uri) as collection:
        found = collection.facets(["color", other])
        for facet in found.crossed:
            again = collection.facets(["color", other], facets=facet.words)
            assert [(dict(each.words), each.count) for each in again.crossed] == [(dict(facet.words), facet.count)]
            crossed = collection.facets("color", facets=facet.words).images
            in_both = collection.image_ids(["color", other], facets=facet.words)
            assert len(in_both) <= crossed <= facet.count
            if NO_VECTOR not in {word for each in both for word in each}:
                assert len(in_both) == crossed == facet.count
        for facet in found.by_condition[other]:
            narrowed = collection.facets(["color", other], facets={other: facet.words[other]})
            assert narrowed.images == facet.count
        every = [facet.words["color"] for facet in found.by_condition["color"]]
        assert collection.facets(["color", other], facets={"color": every}).images == found.images


def test_everything_that_is_asked_takes_the_same_filter(collection: Collection) -> None:
    ids = names(8)
    given: dict[str, Any] = {"facets": {"Model": ["pickup", "van"], "color": ["red", None]}, "among": [*ids[1:], "x"]}
    expected = [ids[1], ids[4]]
    assert collection.image_ids("size = w x h", **given) == expected
    assert sorted(hit.image_id for hit in collection.search(image_id=ids[7], conditions="color", **given)) == expected
    assert collection.facets("size = w x h", **given).images == 2
    assert sorted(collection.cluster("size = w x h", 1, **given)[0].images) == expected
    rows = collection.duplicates(["size = w x h", "model"], similarity=-1, **given)
    assert sorted(row.image_id for row in rows) == expected
    assert collection.image_ids(["color", "model"], word="VAN", where="width > 11") == ids[3:5]
    assert collection.facets("model", word="van").images == 3
    assert collection.image_ids("color", among=[]) == []
    assert collection.image_ids("color") == ids


def test_words_of_one_facet_are_counted_under_another(collection: Collection) -> None:
    crossed = {tuple(each.words.values()): each.count for each in collection.facets(["model", "color"]).crossed}
    for model in set(MODELS):
        counted = collection.facets("color", facets={"model": model}).crossed
        assert {(model, each.words["color"]): each.count for each in counted} == {
            words: count for words, count in crossed.items() if words[0] == model
        }


def test_facets_that_cannot_be(collection: Collection) -> None:
    store = collection.store
    add(store, setting("wordless"), names(8), np.ones((8, 4), np.float32))
    add(store, setting("elsewhere", model="another"), names(8), np.ones((8, 4), np.float32), [[("a", 1.0)]] * 8)
    for wrong, message in (
        ({"nope": "red"}, r"has nothing under the condition 'nope'; conditions: color"),
        ({"elsewhere": "a"}, "has nothing under the condition 'elsewhere'"),
        ({"wordless": "red"}, "no words are stored under 'wordless'"),
    ):
        with pytest.raises(StoreError, match=message):
            collection.search(image_id="00000.png", conditions="color", facets=wrong)
    with pytest.raises(OptionError, match=r"no image of .* fits width > 0, color is 'pink', 1 given ids"):
        collection.cluster("color", where="width > 0", facets={"color": "pink"}, among=["00000.png"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"facets": ["color"]}, "facets are words by condition"),
        ({"facets": {"color": []}}, "has no word"),
        ({"facets": {"color": 3}}, "is a word or several, not int"),
        ({"facets": {"color": [0]}}, "is of texts, not int"),
        ({"facets": {"color": "\ud800"}}, "no text"),
        ({"facets": {"": "red"}}, "the condition is empty"),
        ({"among": "00000.png"}, "among is several image ids, not str"),
        ({"among": 3}, "among is several image ids, not int"),
        ({"among": ["a", None]}, "among is of texts, not NoneType"),
        ({"among": ["\udcff"]}, "no text"),
        ({"word": 3}, "word is of texts, not int"),
    ],
)
def test_filters_that_are_none(collection: Collection, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CieError, match=message):
        collection.image_ids("color", **wrong)


def test_the_name_of_one_setting_selects_its_space(collection: Collection) -> None:
    """A glob selects settings as ever; where these do not have the condition, their spaces are looked at whole."""
    store, ids = collection.store, names(8)
    for condition in ("color", "model", None):
        fill(store, condition, ["red"] * 8, model="another")
    spaces = collection.spaces()
    assert [(space.shared.model, space.conditions) for space in spaces] == [
        ("another", ["color", "model", None]),
        ("tiny", ["color", "model", "size = w x h"]),
    ]
    for space in spaces:
        assert space.name == min(each.name for each in space.settings.values())
        for one in space.settings.values():
            for condition, expected in space.settings.items():
                hits = collection.search(image_id=ids[0], conditions=condition, setting=one.name)
                assert hits.settings == {condition: expected}
                assert collection.facets(condition, setting=one.name).settings == {condition: expected}
                assert collection.compare(ids[0], ids[1], conditions=condition, setting=one.name)
                assert collection.cluster(condition, 2, setting=one.name)
                assert collection.duplicates(condition, similarity=-1, setting=one.name)
            assert collection.image_ids(space.conditions, setting=one.name) == ids
            assert len(collection.facets(space.conditions, setting=one.name).settings) == 3
    with pytest.raises(StoreError, match=r"has no vectors under 'size = w x h' \(there are: 'color', 'model', no"):
        collection.image_ids("size = w x h", setting=spaces[0].name)
    with pytest.raises(StoreError, match="2 settings fit, which differ in model"):
        collection.image_ids(["color", "model"], setting="*color*")


def test_a_facet_on_the_command_line_may_have_equals_signs() -> None:
    known = ["color", "size = w x h", "size", None]
    assert options.words_by_condition([], known) is None
    assert options.words_by_condition(
        ["color=red", "Color = blue", "color=a=b", "size = w x h=big", "size=3", "=told", "color=", "color=(no words)"],
        known,
    ) == {"color": ["red", "a=b", "", None], "Color": ["blue"], "size = w x h": ["big"], "size": ["3"], None: ["told"]}
    assert options.words_by_condition(["what=is=it"], known) == {"what=is": ["it"]}


def test_a_facet_on_the_command_line_may_be_excluded() -> None:
    given = ["color!=red", " Color != blue ", "color!!=red", "size = w x h!=big", "!=told", "color=!red", "else!=a=b"]
    assert options.words_by_condition(given, ["color", "size = w x h", None]) == {
        "color": [Not("red"), "!red"], "Color": [Not("blue")], "color!": [Not("red")], "size = w x h": [Not("big")],
        None: [Not("told")], "else": [Not("a=b")],
    }  # fmt: skip
    assert options.words_by_condition(["color!=red"], ["color", "color!"]) == {"color!": ["red"]}


def test_what_is_excluded_is_what_is_left(collection: Collection) -> None:
    ids = names(8)

    def passing(*words: Any) -> list[str]:
        return collection.image_ids("model", facets={"color": words})

    assert passing(Not("red")) == [ids[i] for i, word in enumerate(COLORS) if word != "red"]
    assert passing(Not("red"), Not(None)) == [ids[i] for i, word in enumerate(COLORS) if word not in {"red", None}]
    assert passing(Not("")) == [ids[i] for i, word in enumerate(COLORS) if word != ""]
    assert passing("red", None, Not("red")) == [ids[i] for i, word in enumerate(COLORS) if word is None]
    assert passing(Not("pink")) == ids
    for word in set(COLORS):
        assert sorted(passing(word) + passing(Not(word))) == ids
    assert collection.facets("color", facets={"model": Not("bus")}).images == 5
    shown = json.loads(cie("words", collection.store.uri, "-c", "color", "--facet", "model!=bus", "--json").stdout)
    assert {each["image_id"] for each in shown} <= set(collection.image_ids("color", facets={"model": Not("bus")}))
    with pytest.raises(OptionError, match=r"fits color is not 'red', 'red'"):
        collection.cluster("color", facets={"color": [Not("red"), "red"]})


def test_the_commands_take_facets_and_ids(collection: Collection, tmp_path: Path) -> None:
    db, ids = collection.store.uri, names(8)
    shown = cie("words", db, "-c", "color", "--facet", "model=pickup")
    assert shown.stdout.splitlines()[1].split()[:3] == ["blue", "1", "50.0%"], shown.stderr
    chosen = tmp_path / "ids.txt"
    chosen.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["", *ids[:4], "unknown", ""]).encode())
    given = ("--facet", "model=van", "--facet", "model=bus", "--facet", "size = w x h=big", "--among", chosen)
    expected = [ids[1], ids[3]]
    told = json.loads(cie("words", db, "-c", "model", *given, "--json").stdout)
    assert [each["image_id"] for each in told] == expected
    hits = json.loads(cie("search", db, "--id", ids[7], "-c", "color", *given, "--json").stdout)
    assert sorted(each["image_id"] for each in hits) == expected
    (group,) = json.loads(cie("cluster", db, "-c", "color", "-n", "1", *given, "--json").stdout)
    assert sorted(group["images"]) == expected
    rows = json.loads(cie("duplicates", db, "-c", "color", "--similarity", "-1", *given, "--json").stdout)
    assert sorted(each["image_id"] for each in rows) == expected
    assert "has no equals sign" in error_of(cie("words", db, "-c", "color", "--facet", "model"), 2)
    assert "nothing under the condition 'nope'" in error_of(cie("words", db, "-c", "color", "--facet", "nope=a"), 1)
    for content, message in ((b"", "has no ids"), (b"a\xff", "is no UTF-8 text at byte 1")):
        chosen.write_bytes(content)
        assert message in error_of(cie("cluster", db, "-c", "color", "--among", chosen), 2)
    assert "No such file" in error_of(cie("cluster", db, "-c", "color", "--among", tmp_path / "none"), 2)


def test_refined_vectors_have_the_words_of_the_original_ones(collection: Collection) -> None:
    assert cie("refine", collection.store.uri).returncode == 0
    (refined,) = collection.store.settings("*color*refined*")
    found = collection.facets("color", setting=refined.name)
    assert found.by_condition == collection.facets("color", setting=setting("color").name).by_condition
    hits = collection.search(image_id="00007.png", conditions="color", facets={"color": "red"}, setting=refined.name)
    assert hits.settings == {"color": refined}
    assert sorted(hit.image_id for hit in hits) == ["00000.png", "00001.png", "00005.png"]
    assert collection.images(["00000.png"], "color", setting=refined.name)[0].words["color"][0][0] == "red"


def test_a_list_of_ids_is_bounded(collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "LONGEST_LIST", 20)
    for lines, status in ((2, 0), (3, 2)):
        (tmp_path / "ids").write_text("\n".join(names(lines)))
        done = CliRunner().invoke(
            main, ["words", collection.store.uri, "-c", "color", "--among", str(tmp_path / "ids"), "--json"]
        )
        assert done.exit_code == status, done.output
    assert "MiB of ids" in done.output
