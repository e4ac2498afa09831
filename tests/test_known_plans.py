"""A model that was checked once is not checked again: what is remembered, when it counts, and when it does not."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import save

import conditional_image_embeddings as cie
from conditional_image_embeddings.engine import fidelity, self_check, verdicts
from conditional_image_embeddings.engine.plan import ExecutionPlan

IMAGE = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("qwen2_5_vl", tmp_path_factory.mktemp("qwen"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CIE_SELF_CHECK")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "conditional-image-embeddings" / "self-check"


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of the check ran: itself, and its comparison of prompts."""
    ran: list[str] = []
    for module, name in ((self_check, "choose"), (self_check, "check_prompts"), (self_check, "opened_thought")):
        own = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, own=own, name=name, **kw: (ran.append(name), own(*args, **kw))[1]
        )
    return ran


def load(model: Path, **options: Any) -> Any:
    return cie.load(str(model), device="cpu", **options)


def test_a_known_model_is_not_checked_again(model: Path, cache: Path, checks: list[str], monkeypatch) -> None:
    first = load(model)
    assert sorted(checks) == ["check_prompts", "choose", "opened_thought"]
    checks.clear()
    again = load(model)
    assert checks == []
    assert again.plan == first.plan
    assert again.lvlm.prune_top_mlp
    assert again.plan.segments == ("vision_config",)
    assert np.array_equal(again.encode(IMAGE, ["color", "x"]), first.encode(IMAGE, ["color", "x"]))
    monkeypatch.setenv("CIE_SELF_CHECK", "1")
    load(model)
    assert "choose" in checks


def test_a_copy_is_the_same_model_and_other_weights_are_another(
    model: Path, cache: Path, checks: list[str], tmp_path: Path
) -> None:
    load(model)
    checks.clear()
    copy = save("qwen2_5_vl", tmp_path / "copy")
    load(copy)
    assert checks == []
    load(save("qwen2_5_vl", tmp_path / "calm", calm=True))
    assert "choose" in checks


OPTIONS = [
    {"dtype": "bfloat16"}, {"positions": "flat"}, {"share": False}, {"attn_implementation": "eager"},
    {"chat_template_kwargs": {"add_vision_id": True}}, {"processor_kwargs": {"max_pixels": 28 * 28 * 4}},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_what_decides_a_plan_is_part_of_what_it_is_known_by(
    model: Path, cache: Path, checks: list[str], options: dict[str, Any], tmp_path: Path
) -> None:
    directory = model
    if "chat_template_kwargs" in options:
        directory = save("qwen2_5_vl", tmp_path / "model")
        template = directory / "chat_template.jinja"
        template.write_text(template.read_text() + "{% if add_vision_id %}{% endif %}")
    load(directory)
    checks.clear()
    load(directory, **options)
    assert "choose" in checks
    checks.clear()
    load(directory, **options)
    load(directory)
    assert checks == []


@pytest.mark.parametrize("options", [{"random_weights": True}, {"trust_remote_code": True}], ids=str)
def test_nothing_is_remembered_of_what_cannot_be_told_from_another(
    model: Path, cache: Path, checks: list[str], options: dict[str, Any]
) -> None:
    load(model, **options)
    checks.clear()
    load(model, **options)
    assert "choose" in checks
    assert not cache.exists()


PLAN = {
    "strategy": "packed",
    "caches": True,
    "together": True,
    "segments": [],
    "prune_top_mlp": True,
    "thought": "",
    "differences": {},
}


@pytest.mark.parametrize(
    "verdict",
    [
        *(None, 3, "packed", [], {}),
        *(PLAN | {"strategy": "telepathy"}, PLAN | {"segments": 3}, PLAN | {"segments": ["text_config", "nothing"]}),
        *(PLAN | {"caches": "yes"}, PLAN | {"more": 1}, {**PLAN, "differences": 1}, PLAN | {"thought": None}),
    ],
    ids=str,
)
def test_a_verdict_that_is_none_is_found_anew(model: Path, cache: Path, checks: list[str], verdict: Any) -> None:
    load(model)
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"verdict": verdict}))
    checks.clear()
    assert load(model).plan.strategy == "packed"
    assert "choose" in checks
    assert json.loads(file.read_text())["verdict"] == kept["verdict"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[" * 10**5, b"[]", b'{"about": 1}'], ids=repr)
def test_a_damaged_file_is_as_none(model: Path, cache: Path, checks: list[str], content: bytes) -> None:
    load(model)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    checks.clear()
    load(model)
    assert "choose" in checks
    checks.clear()
    load(model)
    assert checks == []


def test_a_cache_that_cannot_be_written_keeps_no_model_from_loading(
    model: Path, tmp_path: Path, monkeypatch, checks: list[str]
) -> None:
    monkeypatch.delenv("CIE_SELF_CHECK")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    load(model)
    load(model)
    assert checks.count("choose") == 2


def test_the_oldest_verdicts_go_first(cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(verdicts, "KEPT", 3)
    for number in range(5):
        verdicts.remember("self-check", {"model": number}, number)
        for age, file in enumerate(sorted(cache.iterdir(), key=lambda file: file.stat().st_mtime_ns)):
            os.utime(file, ns=(age * 10**9, age * 10**9))
    assert [verdicts.recall("self-check", {"model": number}) for number in range(5)] == [None, None, 2, 3, 4]
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    ("family", "text"),
    [("qwen2_5_vl", "begin with a thought"), ("paligemma", "sharing the image is not exact")],
)
def test_what_a_user_must_know_is_said_each_time(
    family: str, text: str, tmp_path: Path, cache: Path, caplog, monkeypatch, checks: list[str]
) -> None:
    spoken = {chr(code): "" for code in range(0x21, 0x180)} | {"<|": "", "\ufffd": ""}
    monkeypatch.setattr(fidelity, "MARKS", spoken)  # whatever a random model says first
    model = save(family, tmp_path / "model")

    def said() -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load(model)
        return [record.message for record in caplog.records]

    first = said()
    assert any(text in message for message in first)
    checks.clear()
    assert said() == first
    assert checks == []


def test_the_check_leaves_the_model_as_it_was_and_the_plan_is_applied_elsewhere(model: Path) -> None:
    embedder = load(model)
    lvlm, plan = embedder.lvlm, embedder.plan
    tower = lvlm.model.config.vision_config

    def state() -> tuple[Any, ...]:
        return lvlm.prune_top_mlp, tower._attn_implementation

    as_planned = state()
    ExecutionPlan().apply(lvlm)
    untouched = state()
    assert untouched == (False, "sdpa") != as_planned
    assert self_check.choose(lvlm) == plan
    assert state() == untouched
    with plan.applied(lvlm):
        assert state() == as_planned
    assert state() == untouched
    assert ExecutionPlan.from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False))) == plan
