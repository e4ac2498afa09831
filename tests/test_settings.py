"""Settings that last: what identifies one is what differs from the defaults, as values, and nothing is dropped."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
import torch
from color_embedder import draw
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.versions import installed_versions
from conditional_image_embeddings.errors import CieError, OptionError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.bound import request_of
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.settings import FORMAT_VERSION, Setting
from conditional_image_embeddings.models.json_values import json_value

pytestmark = pytest.mark.usefixtures("checked_once")

PLAIN = Setting(dataset="photos", method="dior", model="builtin", revision="1", condition="car color", layer=-1)
# As version 0.1.0 wrote it, and the table's name.
FIRST = (
    '{"condition": "car color", "dataset": "photos", "dtype": "float32", "embedding_source": null, "extra": {}, '
    '"image_max_size": 700, "layer": -1, "method": "dior", "model": "builtin", "positions": null, "prompt_type": null, '
    '"revision": "1", "source": null, "token": null}'
)
OLD_NAME = "photos-builtin-car_color-num_layer_-1-8bbb014c"


@dataclass(frozen=True, kw_only=True)
class Later(Setting):
    """A version with two more fields."""

    crop: str = "none"
    tiles: int | None = None


def test_a_new_field_with_its_default_changes_no_digest() -> None:
    for changes in ({}, {"condition": None}, {"extra": {"a": [1]}}, {"layer": "mean(-1,-4)", "token": -2}):
        told = {**vars(PLAIN), **changes}
        assert Later(**told).digest == replace(PLAIN, **changes).digest
        assert Later(**told).name == replace(PLAIN, **changes).name
        assert Later.from_json(replace(PLAIN, **changes).to_json()) == Later(**told)
        assert Later(**told, tiles=4).digest != Later(**told).digest


def test_only_what_differs_from_the_defaults_identifies() -> None:
    assert PLAIN.identity == {
        "format_version": FORMAT_VERSION, "dataset": "photos", "method": "dior", "model": "builtin", "revision": "1",
        "condition": "car color", "layer": -1,
    }  # fmt: skip
    assert PLAIN.digest == "2328f790"  # stored tables are named after it: it never changes


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Later(**{**vars(PLAIN), "tiles": 4}).to_json(), "its setting has tiles, which .* know: install 9.9 or later"),
        (json.dumps({**PLAIN.identity, "format_version": 7}), "is in format 7, which .* know: install 9.9 or later"),
        (json.dumps({**json.loads(FIRST), "tiles": None}), "has tiles, which .* does not know: install 9.9 or later"),
        ("[]", "no JSON object but list"),
        ("7", "no JSON object but int"),
        ("{", "is no JSON"),
        ('{"dataset": "d"}', "has None as method"),
        (json.dumps({**PLAIN.identity, "model": 3}), "has 3 as model"),
        (json.dumps({**PLAIN.identity, "extra": [1]}), "no JSON object as extra"),
    ],
)  # fmt: skip
def test_what_a_table_says_is_never_dropped_in_silence(
    told: str, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CieError, match=message) as error:
        Setting.from_json(told, written_by={**installed_versions(), "conditional-image-embeddings": "9.9"})
    assert "\n" not in str(error.value)
    Store(tmp_path).add_vectors(PLAIN, ["x"], np.ones((1, 2), np.float32))
    database = lancedb.connect(tmp_path)
    data = database.open_table(PLAIN.name).to_arrow()
    database.create_table("photos-00000000", data=data.replace_schema_metadata({"setting": told}))
    with caplog.at_level(logging.WARNING):
        assert Store(tmp_path).settings() == [PLAIN]
    assert "table photos-00000000 of" in caplog.text
    assert "its setting" in caplog.text


def test_tables_of_the_first_format_are_found_read_and_continued(tmp_path: Path) -> None:
    Store(tmp_path).add_vectors(PLAIN, ["x"], np.ones((1, 2), np.float32))
    database = lancedb.connect(tmp_path)
    data = database.open_table(PLAIN.name).to_arrow().replace_schema_metadata({"setting": FIRST})
    database.drop_table(PLAIN.name)
    assert PLAIN.formats[-1].to_json() == FIRST
    name = PLAIN.formats[-1].name
    assert name == OLD_NAME
    database.create_table(name, data=data)
    store = Store(tmp_path)
    assert store.settings() == store.settings(name) == store.settings(PLAIN.name) == [PLAIN]
    assert store.information(PLAIN) == {}
    store.add_vectors(PLAIN, ["y"], np.zeros((1, 2), np.float32))
    assert store.read(PLAIN)[0] == ["x", "y"]
    assert database.list_tables().tables == [name]


def test_what_the_first_format_abbreviated_is_known_by_it() -> None:
    extra = {"texts": {"mood": ["happy", "sad"]}, "model_kwargs": {"a": "b"}}
    today = Setting(dataset="d", method="indirect", model="m", condition="mood", extra=extra)
    first = Setting.from_json(today.formats[-1].to_json())
    assert first.format_version == 1
    assert first.extra == {"texts": "2, 2de10df6c670", "model_kwargs": {"a": "'b'"}}
    assert first.formats == (first,)
    assert first in today.formats
    assert today.summary()["extra"]["texts"] == first.extra["texts"]


def test_options_are_values_that_json_holds() -> None:
    class Quantized:
        def to_dict(self) -> dict[str, Any]:
            return {"bits": 4, "compute": torch.bfloat16, "skip": ("head",)}

    given = {"a": torch.float16, "b": (1, None, True), "c": {"d": 0.5}, "quantization_config": Quantized()}
    told = json_value(given, "model_kwargs")
    assert told == {
        "a": "float16", "b": [1, None, True], "c": {"d": 0.5},
        "quantization_config": {"bits": 4, "compute": "bfloat16", "skip": ["head"]},
    }  # fmt: skip
    assert json.loads(json.dumps(told)) == told
    for name in ("model_kwargs", "processor_kwargs"):
        with pytest.raises(OptionError, match=rf"{name}\.hook is a function, which cannot be kept"):
            cie.load("builtin", device="cpu", **{name: {"hook": lambda: 1}})
    embedder = cie.load(
        "builtin", device="cpu", model_kwargs={"variant": None, "device_map": {"": torch.device("cpu")}}
    )
    (setting,) = embedder.settings(Request(), dataset="d")
    assert setting.extra["model_kwargs"] == {"variant": None}


def test_placement_and_sharing_are_not_part_of_a_setting() -> None:
    ways: list[dict[str, Any]] = [{}, {"share": False}, {"model_kwargs": {"device_map": "cpu"}}, {"compile": False}]
    told = [cie.load("builtin", device="cpu", **each).settings(Request(), dataset="d") for each in ways]
    assert told == [told[0]] * len(ways)


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request(conditions=("a",), prompt_types=("express",), tokens=(-2,), layers=(3,)),
        Request(prompt_types=("describe", "depict"), average_prompts=True),
        Request(layers=(-1, -2), layer_pooling="concat"),
        Request(layers=(-1, 0), layer_pooling="mean"),
        Request(embedding_source="first_output"),
        Request(embedding_source="mean_output", max_new_tokens=3, do_sample=True, temperature=0.5, seed=9),
    ],
    ids=str,
)
def test_a_setting_tells_what_was_asked(request_: Request) -> None:
    (setting,) = cie.load("builtin", device="cpu").settings(request_, dataset="d")
    assert request_of(setting) == request_


def test_versions_are_kept_and_a_job_that_goes_on_with_others_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, store = draw(tmp_path / "photos", 3), Store(tmp_path / "db")
    with caplog.at_level(logging.WARNING):
        report = run_job(store, find([folder])[0], cie.load("pixels"), Request())
        setting = report.settings[0].setting
        assert store.information(setting) == installed_versions()
        assert installed_versions().keys() == {"conditional-image-embeddings", "transformers", "torch", "pillow"}
        Image.new("RGB", (9, 9)).save(folder / "new.png")
        run_job(store, find([folder])[0], cie.load("pixels"), Request())
        assert not caplog.records
        later = {**installed_versions(), "torch": "9.0"}
        for module in ("storage.setting_tables", "job.embedding_job"):
            monkeypatch.setattr(f"conditional_image_embeddings.collection.{module}.installed_versions", lambda: later)
        run_job(store, find([folder])[0], cie.load("pixels"), Request())
        assert not caplog.records  # nothing was to do
        Image.new("RGB", (9, 9), "red").save(folder / "newer.png")
        run_job(store, find([folder])[0], cie.load("pixels"), Request())
    (record,) = caplog.records
    assert f"was begun with torch {installed_versions()['torch']} (here 9.0)" in record.message
    assert store.information(setting) == installed_versions()
    assert len(store.read(setting)[0]) == 5
