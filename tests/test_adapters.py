"""Adapters: an adapter's vectors are those of the model that it was merged into, wherever its base model is."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import hub_cache
import numpy as np
import peft
import pytest
import tiny_dual_encoders
import torch
import transformers as tf
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import save

import conditional_image_embeddings as cie
from conditional_image_embeddings.errors import CieError, ExtraError, ModelError
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.models.adapters import local_revision
from conditional_image_embeddings.models.fingerprint import fingerprint

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 84, 3), dtype=np.uint8))
CONDITIONS = ["color", "the model of the car"]
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}


def adapted(base: Path, config: Any) -> Any:
    """The base model with an adapter that is not zero, as new ones are."""
    torch.manual_seed(1)
    model = peft.get_peft_model(tf.AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("lora_B", "ia3_", "modules_to_save")):
            torch.nn.init.normal_(parameter, 1 if "ia3_" in name else 0, 0.3)
    return model


def vectors(model: object, **options: Any) -> np.ndarray:
    return np.asarray(cie.load(str(model), **options).encode(IMAGE, CONDITIONS))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, and beside it `adapter` and `merged`."""
    place = tmp_path_factory.mktemp("place")
    base = save("qwen2_5_vl", place / "base")
    model = adapted(base, peft.LoraConfig(**LORA))
    model.save_pretrained(place / "adapter")
    shutil.copytree(base, place / "merged")
    model.merge_and_unload().save_pretrained(place / "merged")
    return place


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place, tmp_path / "place"))


def point(adapter: Path, base: str, **more: Any) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": base} | more))


def refused(model: object, kind: type[CieError] = ModelError, **options: Any) -> str:
    with pytest.raises(kind) as error:
        cie.load(str(model), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_merged_or_not_the_same_vectors(place: Path) -> None:
    found = vectors(place / "adapter")
    assert np.abs(found - vectors(place / "merged")).max() < 1e-5
    assert np.abs(found - vectors(place / "base")).max() > 0.05


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("gemma3", peft.LoraConfig(**LORA)),
        ("llava", peft.LoraConfig(**LORA, use_dora=True)),
        ("idefics3", peft.IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[])),
        ("qwen3_vl", peft.LoraConfig(**LORA, modules_to_save=["lm_head"])),
    ],
)
def test_kinds_of_adapters(family: str, config: Any, tmp_path: Path) -> None:
    base = save(family, tmp_path / "base")
    model = adapted(base, config)
    model.save_pretrained(tmp_path / "adapter")
    shutil.copytree(base, tmp_path / "merged")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    one, other = (cie.load(str(tmp_path / name)) for name in ("adapter", "merged"))
    assert np.abs(one.encode(IMAGE, CONDITIONS) - other.encode(IMAGE, CONDITIONS)).max() < 1e-5
    assert np.abs(one.encode(IMAGE, CONDITIONS) - vectors(base)).max() > 0.05
    words: list[Any] = [dict(each.words(IMAGE, "color", k=3)) for each in (one, other)]  # type: ignore[attr-defined]
    assert words[0] == pytest.approx(words[1], abs=1e-5)


@pytest.mark.parametrize(
    ("family", "older"),
    [
        ("qwen2_5_vl", {"model.language_model.": "model."}),
        ("qwen2_vl", {"model.language_model.": "model."}),
        ("gemma3", {"model.language_model.": "language_model.model."}),
        ("llava", {"model.language_model.": "language_model.model."}),
    ],
)
def test_names_of_older_versions_of_transformers(family: str, older: dict[str, str], tmp_path: Path) -> None:
    adapted(save(family, tmp_path / "base"), peft.LoraConfig(**LORA)).save_pretrained(tmp_path / "adapter")
    expected = vectors(tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / WEIGHTS)
    ((new, old),) = older.items()
    renamed = {key.replace(f"base_model.model.{new}", f"base_model.model.{old}"): one for key, one in weights.items()}
    assert weights.keys() != renamed.keys()
    save_file(renamed, tmp_path / "adapter" / WEIGHTS, {"format": "pt"})
    assert np.array_equal(vectors(tmp_path / "adapter"), expected)


def test_the_adapter_is_part_of_the_setting(copy: Path) -> None:
    def setting() -> str:
        return cie.load(str(copy / "adapter")).settings(Request(), dataset="x")[0].name

    point(copy / "adapter", "../base")
    revision = f"{fingerprint(copy / 'base')}+{fingerprint(copy / 'adapter')}"
    assert cie.load(str(copy / "adapter")).revision == local_revision(str(copy / "adapter")) == revision
    seen = {setting()}
    weights = load_file(copy / "adapter" / WEIGHTS)
    save_file({name: 2 * one for name, one in weights.items()}, copy / "adapter" / WEIGHTS, {"format": "pt"})
    seen.add(setting())
    weights = load_file(copy / "base" / "model.safetensors")
    save_file({name: 2 * one for name, one in weights.items()}, copy / "base" / "model.safetensors", {"format": "pt"})
    seen.add(setting())
    assert len(seen) == 3


def test_where_the_base_model_is(copy: Path, place: Path, tmp_path: Path) -> None:
    expected = vectors(place / "adapter")
    adapter, base = copy / "adapter", copy / "base"
    point(adapter, str(base))  # an absolute path
    assert np.array_equal(vectors(adapter), expected)
    point(adapter, "../base")  # beside the adapter, wherever both are moved
    moved = Path(shutil.copytree(copy, tmp_path / "moved"))
    shutil.rmtree(base)
    assert np.array_equal(vectors(moved / "adapter"), expected)
    cache = tmp_path / "cache"
    hub: dict[str, Any] = {"cache_folder": cache, "local_files_only": True}
    hub_cache.put(moved / "base", cache, "someone/base")
    point(adapter, "someone/base")
    model = cie.load(str(adapter), **hub)
    assert model.revision == f"{hub_cache.COMMIT}+{fingerprint(adapter)}"
    assert np.array_equal(model.encode(IMAGE, CONDITIONS), expected)
    hub_cache.put(adapter, cache, "someone/adapter")  # both on the hub
    model = cie.load("someone/adapter", **hub)
    assert model.revision == f"{hub_cache.COMMIT}+{hub_cache.COMMIT}"
    assert np.array_equal(model.encode(IMAGE, CONDITIONS), expected)
    point(adapter, "someone/base", revision="f" * 40)  # the adapter's own word on which base
    assert "'someone/base' cannot be read: it is only partly in the cache" in refused(adapter, **hub)
    point(adapter, "someone/else", revision=None)
    assert "an adapter whose base model is not there: model 'someone/else'" in refused(adapter, **hub)
    point(adapter, str(tmp_path / "nowhere"))
    assert f"'{tmp_path / 'nowhere'}' does not exist; put it there, or change base_model_name_or_path" in refused(
        adapter
    )


def test_beside_a_config(copy: Path, place: Path) -> None:
    expected = vectors(place / "adapter")
    for file in ("config.json", "processor_config.json"):  # as trainers save it, without the base model's weights
        shutil.copy(copy / "base" / file, copy / "adapter" / file)
    assert np.array_equal(vectors(copy / "adapter"), expected)
    for part in (copy / "base").iterdir():  # all in one folder
        shutil.copy(part, copy / "adapter" / part.name)
    shutil.rmtree(copy / "base")
    assert np.array_equal(vectors(copy / "adapter"), expected)
    assert cie.load(str(copy / "adapter")).revision == fingerprint(copy / "adapter")


def test_its_own_processor(copy: Path) -> None:
    processor = tf.AutoProcessor.from_pretrained(copy / "base")
    processor.chat_template = processor.tokenizer.chat_template = "{{ 'another frame' }}" + processor.chat_template
    processor.tokenizer.save_pretrained(copy / "adapter")
    expected = vectors(copy / "merged")
    assert np.abs(vectors(copy / "adapter") - expected).max() < 1e-5  # half a processor is none
    processor.save_pretrained(copy / "adapter")
    processor.save_pretrained(copy / "merged")
    assert np.abs(vectors(copy / "adapter") - vectors(copy / "merged")).max() < 1e-5
    assert np.abs(vectors(copy / "adapter") - expected).max() > 0.01


def test_a_dual_encoder(tmp_path: Path) -> None:
    base = tiny_dual_encoders.save("clip", tmp_path / "base")
    torch.manual_seed(1)
    model = peft.get_peft_model(tf.AutoModel.from_pretrained(base), peft.LoraConfig(target_modules=["q_proj", "fc1"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    model.save_pretrained(tmp_path / "adapter")
    shutil.copytree(base, tmp_path / "merged")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    one, other, without = (cie.load(str(tmp_path / name)).encode(IMAGE) for name in ("adapter", "merged", "base"))
    assert np.abs(one - other).max() < 1e-5
    assert np.abs(one - without).max() > 1e-3


def test_without_the_extra_one_line_names_base_and_command(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = refused(place / "adapter", ExtraError)
    assert f"is an adapter on '{place / 'base'}'" in text
    assert "pip install 'conditional-image-embeddings[peft]'" in text


def test_weights_that_do_not_fit(copy: Path) -> None:
    adapter = copy / "adapter"
    weights = load_file(adapter / WEIGHTS)
    name = next(iter(weights))
    save_file({key: one for key, one in weights.items() if key != name}, adapter / WEIGHTS)
    assert "has no weights for 1 modules in Qwen2_5_VLForConditionalGeneration" in refused(adapter)
    save_file({**weights, name.replace("layers.0", "layers.9"): weights[name].clone()}, adapter / WEIGHTS)
    assert "has 1 weights for modules that are not in Qwen2_5_VLForConditionalGeneration" in refused(adapter)
    save_file({**weights, name: weights[name][:, :3].contiguous()}, adapter / WEIGHTS)
    assert "size mismatch" in refused(adapter)
    save_file(weights, adapter / WEIGHTS)
    point(adapter, "../base", target_modules=["nothing_of_that_name"])
    assert "nothing_of_that_name" in refused(adapter)


def test_what_is_no_adapter_to_load(copy: Path) -> None:
    adapter = copy / "adapter"
    point(adapter, "../chained")
    shutil.copytree(copy / "base", copy / "chained")
    shutil.copy(adapter / CONFIG, copy / "chained" / CONFIG)
    assert "which is an adapter itself" in refused(adapter)
    point(adapter, "")
    assert "names no base model" in refused(adapter)
    point(adapter, "../base")
    (adapter / WEIGHTS).unlink()
    assert f"has no {WEIGHTS}" in refused(adapter)
    torch.save({}, adapter / "adapter_model.bin")
    assert "adapter_model.bin is pickled, and not loaded" in refused(adapter)
    prompts = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, num_layers=4, token_dim=32,
                                      num_attention_heads=4, base_model_name_or_path="../base")  # fmt: skip
    prompts.save_pretrained(adapter)
    save_file({"prompt_embeddings": torch.zeros(2, 32)}, adapter / WEIGHTS)
    assert "puts tokens of its own into the prompt" in refused(adapter)


def test_a_head_that_the_adapter_brings(copy: Path) -> None:
    full = copy / "base" / "model.safetensors"
    model = adapted(copy / "base", peft.LoraConfig(**LORA, modules_to_save=["lm_head"]))
    model.save_pretrained(copy / "adapter")
    save_file({key: one for key, one in load_file(full).items() if "lm_head" not in key}, full, {"format": "pt"})
    lvlm: Any = cie.load(str(copy / "adapter"))
    assert lvlm.lvlm.has_head
    assert not cie.load(str(copy / "base")).lvlm.has_head  # type: ignore[attr-defined]
