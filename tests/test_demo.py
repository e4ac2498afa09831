"""The demo, small: one row a setting and aspect, the page beside it, and nothing done twice."""

import json
from typing import TYPE_CHECKING

from conditional_image_embeddings import datasets
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.reports import demo as story

if TYPE_CHECKING:
    from conftest import Demo

KEYS = [
    *("method", "model", "setting", "dataset", "condition", "aspect"),
    *("map_at_r", "precision_at_1", "ami", "nmi", "metric"),
]


def test_every_way_is_scored_on_every_aspect(demo: "Demo") -> None:
    aspects = datasets.describe()[0]["aspects"]
    assert all(list(row)[: len(KEYS)] == KEYS for row in demo.rows)
    assert json.loads(json.dumps(demo.rows)) == demo.rows
    ways = list(dict.fromkeys((row["method"], row["model"], row["condition"]) for row in demo.rows))
    assert ways == [
        *(("dior", "builtin", condition) for condition in (*aspects, None)),
        *(("instruct", "builtin", condition) for condition in aspects),
        *(("generative", "builtin", condition) for condition in aspects),
        *(("indirect", "builtin-clip", condition) for condition in aspects),
        *(("clay", "builtin-clip", condition) for condition in aspects),
        ("clip", "builtin-clip", None),
        ("pixels", "pixels-12", None),
        ("dior", "builtin (random weights)", None),
    ]
    own = [row for row in demo.rows if row["method"] in {"instruct", "generative", "indirect", "clay"}]
    assert all(row["condition"] == row["aspect"] for row in own)
    assert [row["aspect"] for row in demo.rows if row not in own] == aspects * (len(aspects) + 1 + 3)


def test_the_matching_condition_wins(demo: "Demo") -> None:
    for aspect in datasets.describe()[0]["aspects"]:
        rows = [row for row in demo.rows if (row["method"], row["model"], row["aspect"]) == ("dior", "builtin", aspect)]
        assert max(rows, key=lambda row: row["map_at_r"])["condition"] == aspect


def test_a_second_run_embeds_nothing_and_says_the_same(demo: "Demo") -> None:
    def stored() -> dict[str, list[str]]:
        store = Store(demo.output / "embeddings", create=False)
        return {setting.name: store.read(setting)[0] for setting in store.settings()}

    before, page = stored(), (demo.output / "report.html").read_bytes()
    assert story.run(demo.output, images=demo.images) == demo.rows
    assert stored() == before
    assert (demo.output / "report.html").read_bytes() == page
