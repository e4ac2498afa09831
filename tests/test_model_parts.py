"""What is wrong with a model, or missing of it, is said by its name, in one line."""

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_cache
import numpy as np
import pytest
import tiny_families
import transformers as tf
from PIL import Image
from tiny_models import save

import conditional_image_embeddings as cie
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.models.reasons import missing_package

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
FAMILIES = ["qwen2_5_vl", "gemma3", "idefics3"]
INDEX = "model.safetensors.index.json"
Hub = Callable[[Path, str], dict[str, Any]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: save(family, tmp_path_factory.mktemp(family) / "model") for family in FAMILIES}


@pytest.fixture
def model(models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(models["idefics3"], tmp_path / "model"))


def refused(model: object, **options: object) -> str:
    with pytest.raises(ModelError) as error:
        cie.load(str(model), **options)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


def sharded(model: Path) -> list[Path]:
    loaded = tf.AutoModelForImageTextToText.from_pretrained(model)
    (model / "model.safetensors").unlink()
    loaded.save_pretrained(model, max_shard_size="40KB")
    shards = sorted(model.glob("model-*.safetensors"))
    assert len(shards) > 2
    return shards


def test_a_missing_shard(model: Path, tmp_path: Path) -> None:
    shards = sharded(model)
    whole = cie.load(str(model)).encode(IMAGE)
    assert np.isfinite(whole).all()
    cache = tmp_path / "cache"
    snapshot = hub_cache.put(model, cache, "someone/model")
    hub: dict[str, Any] = {"cache_folder": cache, "local_files_only": True}
    assert np.array_equal(cie.load("someone/model", **hub).encode(IMAGE), whole)
    said = f"lacks 1 of its {len(shards)} weight files"
    for folder, options, name in ((model, {}, model), (snapshot, hub, "someone/model")):
        (folder / shards[1].name).unlink()
        text = refused(name, **options)
        assert said in text
        assert shards[1].name in text
    assert "in the cache, and the hub was not asked" in text


def test_weights_that_are_not_there_at_all(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    assert "has no weights in its directory" in refused(model)
    hub_cache.put(model, tmp_path / "cache", "someone/model")
    text = refused("someone/model", cache_folder=tmp_path / "cache", local_files_only=True)
    assert "has no weights in the cache, and the hub was not asked" in text
    (model / INDEX).write_text("{")
    assert f"its {INDEX} is damaged" in refused(model)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (["tokenizer.json", "tokenizer_config.json"], "no tokenizer"),  # some tokenizers load without, and know no word
        (["tokenizer.json"], "no tokenizer"),
        (["processor_config.json"], "no image processor (no preprocessor_config.json"),
        (["processor_config.json", "tokenizer.json"], "and no image processor"),
    ],
)
def test_parts_of_the_processor(
    family: str, files: list[str], missing: str, models: dict[str, Path], tmp_path: Path
) -> None:
    model = Path(shutil.copytree(models[family], tmp_path / "model"))
    for file in files:
        (model / file).unlink()
    assert missing in refused(model)
    hub_cache.put(model, tmp_path / "cache", "someone/model")
    text = refused("someone/model", cache_folder=tmp_path / "cache", local_files_only=True)
    assert missing in text
    assert "in the cache" in text


def test_a_chat_template_that_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def warnings(family: str, **options: Any) -> list[str]:
        caplog.clear()
        assert cie.load(str(save(family, tmp_path / f"{family}{len(options)}", **options))).encode(IMAGE).any()
        return [record.message for record in caplog.records if "chat template" in record.message]

    with caplog.at_level(logging.WARNING):
        assert warnings("idefics3") == []
        (said,) = warnings("idefics3", chat=False)
        assert "has no chat template, as idefics3 models have" in said
        assert warnings("paligemma", chat=False) == []  # published without


def test_own_code_of_the_processor(model: Path) -> None:
    config = json.loads((model / "processor_config.json").read_text())
    own = {"processor_class": "TheirProcessor", "auto_map": {"AutoProcessor": "theirs.TheirProcessor"}}
    (model / "processor_config.json").write_text(json.dumps(config | own))
    text = refused(model)
    assert "cannot load its processor: it comes with its own code" in text
    (model / "theirs.py").write_text("import a_package_of_theirs\nclass TheirProcessor: pass\n")
    assert "pip install a_package_of_theirs" in refused(model, trust_remote_code=True)


# For each, what its quantiser says where its library is not there; the tests' environment has none of them.
QUANTIZED = {
    "bitsandbytes": ({"load_in_4bit": True}, "bitsandbytes"),
    "awq": ({"bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}, "gptqmodel"),
    "gptq": ({"bits": 4, "group_size": 32}, "optimum"),
    "compressed-tensors": ({"config_groups": {}, "format": "pack-quantized"}, "compressed-tensors"),
    "torchao": ({"quant_type": "int8_weight_only"}, "torchao"),
    "quanto": ({"weights": "int8"}, "optimum-quanto"),
    "eetq": ({"weights": "int8"}, "kernels"),
    "aqlm": ({}, "aqlm"),
}


@pytest.mark.parametrize("method", QUANTIZED)
def test_the_library_of_a_quantised_checkpoint(method: str, model: Path) -> None:
    options, library = QUANTIZED[method]
    config = json.loads((model / "config.json").read_text())
    quantization = {"quant_method": method, **options}
    (model / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
    text = refused(model)
    assert "it needs a package that is not installed: pip install" in text
    assert library in text.partition("pip install")[2]


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ImportError("FooModel requires the timm library. Install it:\n`pip install timm`. Please"), "timm"),
        (ImportError("requires: `pip install -U bitsandbytes>=0.46.1`"), "'bitsandbytes>=0.46.1'"),
        (ImportError("(`pip install 'auto-round>=0.5'`)"), "'auto-round>=0.5'"),
        (ImportError("not found: einops, flash_attn. Run `pip install einops flash_attn`"), "einops flash_attn"),
        (ValueError("Using a `device_map` requires `accelerate`. You can install it with `pip install accelerate`"),
         "accelerate"),
        (ModuleNotFoundError("No module named 'a.b'", name="a.b"), "a"),
        (ValueError("pip install anything"), None),
    ],
)  # fmt: skip
def test_packages_are_named_from_what_libraries_say(error: Exception, package: str | None) -> None:
    assert missing_package(error) == package


def test_without_what_is_no_dependency(tmp_path: Path) -> None:
    """All families' processors can be made (SmolVLM's wants num2words); what a vision tower wants is named."""
    model = save("perception_lm", tmp_path)
    script = Path(__file__).parent / "only_dependencies.py"
    done = subprocess.run([sys.executable, str(script), str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"model '{model}' cannot be loaded: it needs a package that is not installed: pip install timm"
    ]


def test_a_package_that_a_processor_wants_for_an_image(tmp_path: Path) -> None:
    if importlib.util.find_spec("cv2") is not None:
        pytest.skip("OpenCV is installed")
    config, processor = tiny_families.BUILDERS["minicpm_ocr"]()
    tf.AutoModelForImageTextToText.from_config(config).save_pretrained(tmp_path)
    processor.image_processor.small_image_upsize, processor.image_processor.scale_resolution = "adaptive", 224
    processor.save_pretrained(tmp_path)
    assert "pip install opencv-python" in refused(tmp_path)
