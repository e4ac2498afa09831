"""The page's answers: each is what a function of the collection says, in JSON."""

import base64
import csv
import io
import json
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import commands
import httpx2
import numpy as np
import pytest
from collections_at_hand import add, names, random_store, setting
from explorer_at_hand import exploring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_images import heic

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.collection import Collection
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.server.explorer import opened, uploads
from conditional_image_embeddings.server.explorer.requests import Filters

pytestmark = pytest.mark.usefixtures("checked_once")

NUMBER = 40
COLORS, KINDS = ["red", "blue", "", "=1+1"], ["van", "pickup"]
ODD = ['-x "q".png', "2:b c.png", "=cmd|'x'!A1.png", "with\nline.png", "@a, 'b'.png"]
CONDITIONS = ["color", "size:0.5", None]


def words_of(vocabulary: list[str]) -> list[list[tuple[str, float]] | None]:
    generator = np.random.default_rng(7)
    told = [[(vocabulary[generator.integers(len(vocabulary))], 0.75), ("thing", 0.25)] for _ in range(NUMBER)]
    return [None if index % 9 == 8 else each for index, each in enumerate(told)]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two spaces; one has conditions with and without words, one with a weight in its name, and none."""
    path = tmp_path_factory.mktemp("api") / "my db"
    store, generator = Store(path), np.random.default_rng(0)
    image_ids = [*ODD, *names(NUMBER - len(ODD))]
    for condition, vocabulary in zip(CONDITIONS, (COLORS, KINDS, None), strict=True):
        vectors = generator.normal(size=(NUMBER, 8)).astype(np.float32)
        add(store, setting(condition), image_ids, vectors, None if vocabulary is None else words_of(vocabulary))
    add(store, setting("color", method="other"), image_ids[:10], generator.normal(size=(10, 4)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def client(db: Path) -> Iterator[httpx2.Client]:
    with exploring(db) as address, httpx2.Client(base_url=f"{address}api/my_db/", timeout=60) as asking:
        yield asking


@pytest.fixture(scope="module")
def collection(db: Path) -> Iterator[Collection]:
    with cie.open(db) as there:
        yield there


@pytest.fixture(scope="module")
def space(client: httpx2.Client) -> str:
    return str(client.get(str(client.base_url).rstrip("/")).json()["spaces"][0]["space"])


def ask(client: httpx2.Client, path: str, body: dict[str, Any], status: int = 200) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    if status == 200:
        return answer.json()
    said = answer.json()["error"]["message"]
    assert "\n" not in said
    return said


weights = st.sampled_from([-2.0, -0.5, 0.123456789, 1.0, 1e-5])


@st.composite
def conditions(draw: st.DrawFn) -> list[dict[str, Any]]:
    several = draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3, unique=True))
    found = [{"condition": each, "weight": draw(weights)} for each in several]
    found[0]["weight"] = abs(found[0]["weight"])
    return found


@st.composite
def filters(draw: st.DrawFn) -> dict[str, Any]:
    facets = [
        {"condition": condition, "words": words, "excluded": draw(st.booleans())}
        for condition, vocabulary in (("color", COLORS), ("size:0.5", KINDS))
        if (words := draw(st.lists(st.sampled_from(vocabulary), max_size=2, unique=True)))
    ]
    group = {"condition": draw(st.sampled_from(CONDITIONS)), "n": 3, "number": draw(st.integers(1, 3))}
    square = [[-1, -1], [draw(st.floats(-0.5, 1)), -1], [1, 1], [-1, 1]]
    lasso = {"condition": draw(st.sampled_from(CONDITIONS)), "polygon": square}
    grouped = draw(st.sampled_from([False, False, True]))  # of all images: few of them may not fall into three groups
    return {
        "where": None if grouped else draw(st.sampled_from([None, "width > 20", "image_id LIKE '%1%'"])),
        "facets": [] if grouped else facets,
        "group": group if grouped else None,
        "lasso": None if grouped else draw(st.sampled_from([None, None, lasso])),
    }


def passing(collection: Collection, space: str, given: dict[str, Any]) -> dict[str, Any]:
    """Filters as a user of the library gives them."""
    among: set[str] | None = None
    if group := given["group"]:
        among = set(collection.cluster(group["condition"], 3, setting=space)[group["number"] - 1].images)
    if lasso := given["lasso"]:
        inside = set(collection.map(lasso["condition"], setting=space).inside(lasso["polygon"]))
        among = inside if among is None else among & inside
    facets = {
        each["condition"]: [cie.Not(word) if each["excluded"] else word for word in each["words"]]
        for each in given["facets"]
    }
    return {"where": given["where"], "facets": facets or None, "among": among}


queries = st.lists(
    st.builds(lambda value, weight: {"value": value, "weight": weight}, st.sampled_from([*ODD, *names(5)]),
              st.sampled_from([1.0, 2.5, -0.25])),
    min_size=1, max_size=3, unique_by=lambda each: each["value"],
)  # fmt: skip
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(conditions(), queries, filters(), st.booleans(), st.integers(1, 50), st.integers(1, 17))
def test_pages_joined_are_what_rank_finds(
    client: httpx2.Client, collection: Collection, space: str, conditions: list[dict[str, Any]],
    query: list[dict[str, Any]], given: dict[str, Any], cut: bool, k: int, limit: int,
) -> None:  # fmt: skip
    query[0]["weight"] = abs(query[0]["weight"])
    view = {
        "space": space,
        "conditions": conditions,
        "query": {"image_id": query},
        "filters": given,
        "cut": cut,
        "k": k,
    }
    ranking = collection.rank(
        image_id=[(each["value"], each["weight"]) for each in query],
        conditions={each["condition"]: each["weight"] for each in conditions},
        cut="auto" if cut else None, k=k, setting=space, **passing(collection, space, given),
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    while True:
        page = ask(client, "images", {**view, "offset": len(found), "limit": limit})
        assert (page["total"], page["cut"], page["searched"]) == (len(ranking), ranking.cut, ranking.images)
        found += page["images"]
        if len(page["images"]) < limit:
            break
    names = [each["condition"] for each in conditions]
    expected = [
        {
            "rank": hit.rank, "image_id": hit.image_id, "score": hit.score,
            "scores": [hit.scores[name] for name in names], "percentiles": [hit.percentiles[name] for name in names],
            "words": [[{"word": word, "probability": share} for word, share in hit.words[name]] for name in names],
        }
        for hit in ranking.hits()
    ]  # fmt: skip
    assert found == expected


@quick
@given(conditions(), filters(), st.integers(0, 45), st.integers(1, 50))
def test_without_a_query_images_come_by_id_or_as_their_group_has_them(
    client: httpx2.Client, collection: Collection, space: str, conditions: list[dict[str, Any]],
    given: dict[str, Any], offset: int, limit: int,
) -> None:  # fmt: skip
    view = {"space": space, "conditions": conditions, "filters": given}
    names = [each["condition"] for each in conditions]
    expected = collection.image_ids(names, setting=space, **passing(collection, space, given))
    if group := given["group"]:
        expected.sort(key=collection.cluster(group["condition"], 3, setting=space)[group["number"] - 1].images.index)
    page = ask(client, "images", {**view, "offset": offset, "limit": limit})
    assert [each["image_id"] for each in page["images"]] == expected[offset : offset + limit]
    assert page["total"] == len(expected)
    exported = client.post("export", json={**view, "format": "json"}).json()
    assert [each["image_id"] for each in exported] == expected


@quick
@given(filters())
def test_facets_count_what_passes_the_others_filters(
    client: httpx2.Client, collection: Collection, space: str, given: dict[str, Any]
) -> None:
    told = ask(client, "facets", {"space": space, "conditions": ["color", "size:0.5"], "filters": given})["facets"]
    for each in told:
        others = [facet for facet in given["facets"] if facet["condition"] != each["condition"]]
        only = passing(collection, space, {**given, "facets": others})
        counted = collection.facets([each["condition"]], setting=space, **only)
        several = [(facet.words[each["condition"]], facet.count) for facet in counted.by_condition[each["condition"]]]
        assert [(word["word"], word["count"]) for word in each["words"]] == [
            row for row in several if row[0] is not None
        ]
        assert each["images"] == counted.images


@quick
@given(filters(), st.sampled_from(CONDITIONS))
def test_a_map_has_the_places_words_and_who_passes(
    client: httpx2.Client, collection: Collection, space: str, given: dict[str, Any], condition: str | None
) -> None:
    body = {"space": space, "condition": condition, "filters": given}
    told, expected = ask(client, "map", body), collection.map(condition, setting=space)
    places = np.frombuffer(base64.b64decode(told["places"]), "<f4").reshape(-1, 2)
    assert np.array_equal(places, expected.places)
    if told["passing"] is not None:
        passes = np.frombuffer(base64.b64decode(told["passing"]), np.uint8)
        there = {each for each, lets in zip(expected.image_ids, passes, strict=True) if lets}
        assert there == set(collection.image_ids([condition], setting=space, **passing(collection, space, given)))
    numbers = np.frombuffer(base64.b64decode(told["numbers"]), np.uint8)
    known = collection.images(expected.image_ids, [condition], setting=space)
    first = [each.words[condition][0][0] if each.words[condition] else None for each in known]
    assert [None if code == 255 else told["words"][code]["word"] for code in numbers] == first
    points = ask(client, "points", {**body, "points": [3, 0, 39], "images": told["images"]})["images"]
    assert [each["image_id"] for each in points] == [expected.image_ids[point] for point in (3, 0, 39)]
    assert "changed" in ask(client, "points", {**body, "points": [3], "images": "of another map"}, 404)


def test_groups_duplicates_comparisons_and_images_are_the_collections(
    client: httpx2.Client, collection: Collection, space: str
) -> None:
    groups = ask(client, "clusters", {"space": space, "condition": "color", "n": 4})["groups"]
    expected = collection.cluster("color", 4, setting=space)
    assert [(each["number"], each["name"], each["size"], each["images"]) for each in groups] == [
        (each.cluster, each.name, each.size, list(each.images[:4])) for each in expected
    ]
    alike = ask(client, "duplicates", {"space": space, "conditions": ["color", None], "threshold": 0.5})
    rows = collection.duplicates(["color", None], threshold=0.5, setting=space)
    assert [(each["group"], each["image_id"]) for each in alike["duplicates"]] == [(r.group, r.image_id) for r in rows]
    only = {"where": "width > 20", "facets": [{"condition": "color", "words": ["red"], "excluded": True}]}
    some = ask(client, "clusters", {"space": space, "condition": None, "n": 2, "filters": only})["groups"]
    expected = collection.cluster(None, 2, setting=space, where="width > 20", facets={"color": cie.Not("red")})
    assert [each["size"] for each in some] == [each.size for each in expected]
    view = {"space": space, "conditions": [{"condition": None}], "limit": 100}
    second = {**only, "group": {"condition": None, "n": 2, "number": 2}}
    inside = ask(client, "images", {**view, "filters": second})["images"]
    assert [each["image_id"] for each in inside] == expected[1].images
    counted = ask(client, "facets", {"space": space, "conditions": ["color"], "filters": second})["facets"][0]
    among = collection.facets("color", among=expected[1].images, where="width > 20", setting=space)
    assert counted["images"] == among.images
    alike = ask(client, "duplicates", {"space": space, "conditions": [None], "threshold": 0.5, "filters": only})
    rows = collection.duplicates(
        None, threshold=0.5, setting=space, where="width > 20", facets={"color": cie.Not("red")}
    )
    assert [each["image_id"] for each in alike["duplicates"]] == [each.image_id for each in rows]
    a, b = ODD[0], ODD[3]
    compared = ask(client, "compare", {"space": space, "a": a, "b": b})["comparisons"]
    side_by_side = collection.compare(a, b, [each["condition"] for each in compared], setting=space)
    assert compared == json.loads(json.dumps([each.to_json() for each in side_by_side]))
    assert {each["condition"] for each in compared} == set(CONDITIONS)
    image = ask(client, "image", {"space": space, "image_id": a})
    (known,) = collection.images([a], CONDITIONS, setting=space)
    assert (image["path"], image["width"], image["bytes"]) == (known.path, known.width, known.size)
    assert image["file"] is None
    assert "gone" in image["reason"]


def test_exports_are_read_back_and_no_cell_is_a_formula(
    client: httpx2.Client, collection: Collection, space: str
) -> None:
    view = {"space": space, "conditions": [{"condition": "color"}, {"condition": None}], "format": "csv"}
    view["query"] = {"image_id": [{"value": "00000.png"}]}
    answer = client.post("export", json=view)
    assert answer.headers["content-disposition"] == 'attachment; filename="images.csv"'
    head, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert head == ["image_id", "path", "width", "height", "score", "color", "no condition"]
    hits = collection.rank(image_id="00000.png", conditions=["color", None], setting=space).hits()
    assert [row[0].removeprefix("'") for row in rows] == [hit.image_id for hit in hits]
    assert [float(row[4]) for row in rows] == [hit.score for hit in hits]
    assert not [cell for row in rows for cell in (*row[:4], *row[5:]) if cell.startswith(("=", "+", "-", "@"))]
    assert {"'=1+1, thing", "red, thing"} <= {row[5] for row in rows}
    told = client.post("export", json={**view, "format": "json"}).json()
    assert [each["image_id"] for each in told] == [hit.image_id for hit in hits]
    assert set(told[0]["words"]) == {"color", "null"}
    chosen = {**view, "chosen": ["00001.png", ODD[0]], "format": "ids"}
    assert client.post("export", json=chosen).text == f"00001.png\n{ODD[0]}\n"
    assert client.post("export", json={**chosen, "format": "paths"}).text == f"/photos/00001.png\n/photos/{ODD[0]}\n"
    assert "line break" in ask(client, "export", {**chosen, "chosen": [ODD[3]]}, 400)
    assert "no image" in ask(client, "export", {**chosen, "chosen": ["none"]}, 404)


def printed(client: httpx2.Client, body: dict[str, Any], cwd: Path | None = None) -> Any:
    told = ask(client, "command", body)
    name, *arguments = shlex.split(told["command"])
    assert name == "cie"
    place = arguments.index("--") if "--" in arguments else len(arguments)
    arguments.insert(place, "--json")
    finished = commands.cie(*arguments, cwd=cwd)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conditions(), queries, filters(), st.booleans(), st.integers(1, 50))
def test_the_command_prints_the_same_hits(
    client: httpx2.Client, space: str, tmp_path_factory: pytest.TempPathFactory, conditions: list[dict[str, Any]],
    query: list[dict[str, Any]], given: dict[str, Any], cut: bool, k: int,
) -> None:  # fmt: skip
    query[0]["weight"] = abs(query[0]["weight"])
    given = {**given, "group": None, "lasso": None}
    view = {
        "space": space,
        "conditions": conditions,
        "query": {"image_id": query},
        "filters": given,
        "cut": cut,
        "k": k,
    }
    shown = ask(client, "images", view)["images"]
    hits = printed(client, view)
    assert [(each["image_id"], each["score"]) for each in hits] == [(each["image_id"], each["score"]) for each in shown]


def test_the_commands_of_other_views_print_what_they_show(
    client: httpx2.Client, collection: Collection, space: str, tmp_path: Path
) -> None:
    one = {"space": space, "conditions": [{"condition": "size:0.5"}]}
    groups = printed(client, {**one, "shows": "groups", "groups": 3})
    assert [each["size"] for each in groups] == [each.size for each in collection.cluster("size:0.5", 3, setting=space)]
    alike = printed(client, {**one, "shows": "duplicates", "threshold": 0.512345678})
    expected = collection.duplicates("size:0.5", threshold=0.512345678, setting=space)
    assert [each["image_id"] for each in alike] == [each.image_id for each in expected]
    compared = printed(client, {**one, "shows": "compare", "pair": [ODD[0], ODD[1]]})
    assert compared == ask(client, "compare", {"space": space, "a": ODD[0], "b": ODD[1]})["comparisons"]
    facet = {"facets": [{"condition": "color", "words": ["", "=1+1"], "excluded": True}]}
    told = printed(client, {**one, "shows": "words", "filters": facet})
    only = {"facets": {"color": [cie.Not(""), cie.Not("=1+1")]}}
    assert {each["image_id"] for each in told} <= set(collection.image_ids("size:0.5", setting=space, **only))
    assert told
    group = {"group": {"condition": "color", "n": 3, "number": 2}}
    view = {**one, "query": {"image_id": [{"value": "00003.png"}]}, "filters": group}
    assert "ids.txt" in ask(client, "command", view)["note"]
    ids = collection.cluster("color", 3, setting=space)[1].images
    (tmp_path / "ids.txt").write_text("".join(f"{each}\n" for each in ids if "\n" not in each))
    shown = [each["image_id"] for each in ask(client, "images", view)["images"]]
    hits = [each["image_id"] for each in printed(client, view, cwd=tmp_path)]
    assert hits == [each for each in shown if "\n" not in each]
    texts = {**one, "query": {"text": [{"value": "2:- a 'b'", "weight": 0.3}], "upload": [{"value": "f" * 64}]}}
    told = ask(client, "command", texts)
    assert "--text=0.3:2:- a 'b'" in shlex.split(told["command"])
    assert "YOUR-IMAGE" in told["note"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("images", {"space": "none"}, 404, "no setting none"),
        ("images", {"conditions": [{"condition": "smell"}]}, 404, "smell"),
        ("images", {"query": {"image_id": [{"value": "none.png"}]}}, 404, "none.png"),
        ("images", {"query": {"upload": [{"value": "none"}]}}, 404, "drop it once more"),
        ("images", {"conditions": [{"condition": "color"}, {"condition": "color"}]}, 422, "more than once"),
        ("images", {"conditions": [{"condition": "color", "weight": -1}],
                    "query": {"image_id": [{"value": "00000.png"}]}}, 400, "weight"),
        ("images", {"filters": {"group": {"condition": "color", "n": 2, "number": 3}}}, 400, "no group 3"),
        ("images", {"filters": {"facets": [{"condition": None, "words": ["red"]}]}}, 409, "words"),
        ("clusters", {"condition": "color", "n": 41, "conditions": None}, 400, "41"),
        ("compare", {"a": "00000.png", "b": "none.png", "conditions": None}, 404, "none.png"),
        ("image", {"image_id": "none.png", "conditions": None}, 404, "none.png"),
        ("map", {"condition": "smell", "conditions": None}, 404, "smell"),
        ("points", {"condition": "color", "points": [40], "conditions": None}, 404, "changed"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(
    client: httpx2.Client, space: str, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    whole = {"space": space, "conditions": [{"condition": "color"}] if path == "images" else ["color"], **body}
    whole = {name: value for name, value in whole.items() if value is not None}
    assert said in ask(client, path, whole, status)


def test_an_unknown_collection_says_so(client: httpx2.Client) -> None:
    answer = client.get(f"{str(client.base_url).removesuffix('my_db/')}other")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Store, httpx2.Client, dict[str, Any]]]:
    """A collection of its own that a test may change, and a view of it."""
    store = random_store(tmp_path / "collections", 12, "color", "kind")
    with exploring(tmp_path / "collections", keep_model=0.2) as address, httpx2.Client(timeout=60) as asking:
        asking.base_url = f"{address}api/collections-2/"
        space = asking.get(f"{address}api/collections-2").json()["spaces"][0]["space"]
        query = {"image_id": [{"value": "00000.png"}]}
        yield store, asking, {"space": space, "conditions": [{"condition": "color"}], "query": query}


Small = tuple[Store, httpx2.Client, dict[str, Any]]


def test_what_many_ask_for_is_computed_once_and_blocks_nobody(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    _, client, view = small
    begun, go = [], threading.Event()
    clusters, rank = Collection.cluster, Collection.rank

    def slow(self: Collection, *args: Any, **how: Any) -> Any:
        begun.append(1)
        go.wait(30)
        return clusters(self, *args, **how)

    def counted(self: Collection, **how: Any) -> Any:
        begun.append(2)
        return rank(self, **how)

    monkeypatch.setattr(Collection, "cluster", slow)
    monkeypatch.setattr(Collection, "rank", counted)
    group = {"group": {"condition": "color", "n": 3, "number": 1}}
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(ask, client, "clusters", {"space": view["space"], "condition": "color", "n": 3})]
        waiting += [pool.submit(ask, client, "images", {**view, "filters": group}) for _ in range(10)]
        while not begun:
            time.sleep(0.01)
        assert client.get("state", params={"space": view["space"]}).json()["images"] == 12
        go.set()
        answers = [each.result(60) for each in waiting]
    assert answers[1:] == [answers[1]] * 10
    assert sorted(begun) == [1, 2]
    with ThreadPoolExecutor(40) as pool:
        bodies = [{**view, "limit": 1 + number} for number in range(40)]
        counts = [len(each["images"]) for each in pool.map(lambda body: ask(client, "images", body), bodies)]
    assert counts == [min(1 + number, 11) for number in range(40)]
    assert sorted(begun) == [1, 2, 2]


def test_an_error_is_not_kept(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    _, client, view = small
    with monkeypatch.context() as failing:
        failing.setattr(Collection, "rank", lambda *_, **__: (_ for _ in ()).throw(ModelError("no\nmemory")))
        assert ask(client, "images", view, 409) == "no memory"
    assert ask(client, "images", view)["total"] == 11


def test_a_collection_that_changes_is_answered_as_it_is(small: Small) -> None:
    store, client, view = small
    every = {"space": view["space"], "conditions": view["conditions"]}
    mapped = {"space": view["space"], "condition": "color"}
    before, digest = ask(client, "images", view), ask(client, "map", mapped)["images"]
    state = client.get("state", params={"space": view["space"]}).json()
    vectors, _ = store.read(setting("color"))[1], store.read(setting("kind"))
    for condition in ("color", "kind"):
        add(store, setting(condition), ["new.png"], vectors[:1])
    assert ask(client, "images", every)["total"] == 13
    assert ask(client, "images", view)["total"] == before["total"] + 1
    assert client.get("state", params={"space": view["space"]}).json()["images"] == 13 == state["images"] + 1
    assert "changed" in ask(client, "points", {**mapped, "points": [0], "images": digest}, 404)
    store.remove(setting("color"), ["00003.png"])
    assert "00003.png" not in [each["image_id"] for each in ask(client, "images", view)["images"]]
    first = ask(client, "images", view)["images"][0]
    store.remove(setting("color"), ["00004.png"])
    add(store, setting("color"), ["00004.png"], store.vectors_of(setting("color"), ["00000.png"])[1])
    now = ask(client, "images", view)["images"][0]
    assert (now["image_id"], round(now["score"], 5)) == ("00004.png", 1.0)
    assert first["image_id"] != "00004.png"


def test_results_are_kept_by_how_many_images_they_hold(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, _, view = small
    monkeypatch.setattr(opened, "KEPT_RESULTS", 30)
    monkeypatch.setattr(opened, "ONE_RESULT", 2)
    there = opened.OpenedCollection("name", tmp_path / "collections", keep_model=1)
    for number in range(1, 9):
        assert len(there.clusters(view["space"], "color", number, Filters())) == number
    assert there._results.currsize <= 30
    assert len(there._results) == 2
    there.close()


def test_a_database_that_goes_or_breaks_is_told(small: Small, tmp_path: Path) -> None:
    _, client, view = small
    table = next((tmp_path / "collections").glob("*color*.lance"))
    table.rename(tmp_path / "away")
    assert "\n" not in ask(client, "clusters", {"space": view["space"], "condition": "color"}, 404)
    (tmp_path / "away").rename(table)
    assert ask(client, "images", view)["total"] == 11
    for data in (table / "data").iterdir():
        data.write_bytes(b"broken")
    said = ask(client, "clusters", {"space": view["space"], "condition": "color", "n": 2}, 409)
    assert "color" in said
    for each in (tmp_path / "collections").rglob("*"):
        if each.is_file():
            each.unlink()
    ask(client, "images", {**view, "conditions": [{"condition": "kind"}]}, 409)
    assert client.get("state", params={"space": view["space"]}).json()["images"] == 0


def test_a_model_is_loaded_when_needed_tried_again_and_let_go(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    _, client, view = small
    loaded, unloaded, broken, go = [0], [0], [True], threading.Event()
    there, rank = [False], Collection.rank

    def load(*_: Any, **__: Any) -> None:
        go.wait(30)
        if broken[0]:
            raise ModelError("the model is not here")
        loaded[0] += not there[0]
        there[0] = True

    def unload(_: Any) -> None:
        unloaded[0] += there[0]
        there[0] = False

    def ranked(self: Collection, *, text: Any, image_id: Any, **how: Any) -> Any:
        time.sleep(0.5)  # longer than a model that nobody needs is kept
        assert there[0]
        return rank(self, image_id="00000.png", **how)

    monkeypatch.setattr(Collection, "load_models", load)
    monkeypatch.setattr(Collection, "unload_models", unload)
    monkeypatch.setattr(Collection, "models_loaded", property(lambda _: there[0]))
    monkeypatch.setattr(Collection, "rank", ranked)
    asked = [{**view, "query": {"text": [{"value": word}]}} for word in ("red", "blue")]
    assert client.get("model").json() == {"state": "absent", "seconds": 0}
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, client, "images", each, 409) for each in asked]
        while client.get("model").json()["state"] != "loading":
            time.sleep(0.01)
        go.set()
        assert {each.result(30) for each in waiting} == {"the model is not here"}
        assert client.get("model").json()["state"] == "absent"
        broken[0] = False
        assert [each["total"] for each in pool.map(lambda body: ask(client, "images", body), asked)] == [11, 11]
    while there[0]:
        time.sleep(0.02)
    assert (loaded, unloaded) == ([1], [1])
    assert ask(client, "images", {**view, "query": {"text": [{"value": "green"}]}})["total"] == 11
    assert loaded == [2]


def encoded(kind: str, size: tuple[int, int] = (40, 20), **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, kind, **how)
    return buffer.getvalue()


def test_pictures_that_are_dropped_are_held_bounded_and_shown(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    _, client, _ = small
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {"TIFF": (encoded("TIFF"), (40, 20)), "BMP": (encoded("BMP"), (40, 20)),
                "JPEG": (encoded("JPEG", exif=turned), (20, 40)),
                "HEIC": (heic(Image.new("RGB", (40, 20), "red")), (40, 20)),
                "PNG": (encoded("PNG", (900, 90)), (320, 32))}  # fmt: skip
    for data, size in pictures.values():
        with ThreadPoolExecutor(4) as pool:
            answers = list(
                pool.map(lambda _, data=data: client.post("uploads", content=data).json()["upload"], range(4))
            )
        assert len({*answers}) == 1
        shown = client.get(f"uploads/{answers[0]}")
        assert Image.open(io.BytesIO(shown.content)).size == size
        assert shown.headers["content-type"] == "image/webp"
    assert client.get("uploads/none").status_code == 404
    monkeypatch.setattr("conditional_image_embeddings.server.explorer.routes.MAX_UPLOAD", 1000)
    assert client.post("uploads", content=b"x" * 1001).status_code == 413
    held = uploads.Uploads()
    held._kept = type(held._kept)(5000, getsizeof=held._kept.getsizeof)
    keys = [held.add(encoded("BMP", (20, 10 + number))) for number in range(8)]
    assert sum(key in held._kept for key in keys) < 8
    assert held.data(keys[-1])


def test_a_client_that_goes_away_in_its_body_leaves_no_trace(small: Small, caplog: pytest.LogCaptureFixture) -> None:
    _, client, view = small
    here = (client.base_url.host, client.base_url.port or 80)
    for path in ("uploads", "images"):
        with socket.create_connection(here, 10) as raw:
            raw.sendall(
                f"POST /api/collections-2/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nab".encode()
            )
    assert ask(client, "images", view)["total"] == 11
    assert not [record for record in caplog.records if record.exc_info]
