"""An embedder as an mteb model: mteb's own check passes, and each task gets its condition's vectors."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.mocks import ALL_MOCK_TASK_TEST_GRID
from PIL import Image
from torch.utils.data import DataLoader

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.errors import ConditionError, ExtraError, ModelError
from conditional_image_embeddings.interfaces.mteb import CONDITIONS, ConditionalModel

IMAGES = [Image.fromarray(render(sample_scene(np.random.default_rng([99, k])))) for k in range(6)]


@pytest.fixture(scope="module")
def embedder() -> Any:
    return cie.load("builtin")


def batches(**columns: list[Any]) -> Any:
    """A loader as mteb's: two rows a batch, each column a list."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return DataLoader(
        rows,  # type: ignore[arg-type]
        batch_size=2,
        collate_fn=lambda some: {name: [row[name] for row in some] for name in columns},
    )


def encode(model: ConditionalModel, task: str, inputs: Any, **options: Any) -> Any:
    return model.encode(
        inputs, task_metadata=mteb.get_task(task).metadata, hf_split="test", hf_subset="default", **options
    )


def near(a: Any, b: Any) -> bool:
    """Equal up to what the make-up of a batch changes in the last digits."""
    return np.allclose(a, b, atol=1e-4)


def test_mtebs_own_check_passes(embedder: Any) -> None:
    model = ConditionalModel(embedder)
    assert isinstance(model, mteb.EncoderProtocol)
    results = mteb.mock_run(model)
    run = {name: result for name, result in results.items() if result is not None}
    assert {name: result for name, result in run.items() if not isinstance(result, mteb.TaskResult)} == {}
    assert {"MockImageClustering", "MockAny2AnyRetrievalI2T", "MockSTSTask", "MockVisionCentricQA"} <= run.keys()


def test_a_task_is_embedded_under_what_it_is_about(embedder: Any) -> None:
    model = ConditionalModel(embedder, conditions={"DTD": "paint pattern", "MNIST": None}, condition="viewpoint")
    for task, condition in (
        ("StanfordCarsI2IRetrieval", "car model"),
        ("DTD", "paint pattern"),
        ("MNIST", None),
        ("Flickr30kI2TRetrieval", "viewpoint"),
    ):
        assert model.condition(task) == condition
        found = encode(model, task, batches(image=IMAGES), batch_size=2, show_progress_bar=False)
        assert found.dtype == np.float32
        assert near(found, embedder.encode(IMAGES, condition))


def test_the_table_names_tasks_that_there_are() -> None:
    tasks = mteb.get_tasks(modalities=["image"], exclusive_modality_filter=False, exclude_superseded=False)
    known = {task.metadata.name for task in tasks}
    assert set(CONDITIONS) <= known
    page = (Path(__file__).parents[1] / "docs" / "interfaces.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z ]+) \| (.+) \|$", page.partition("| condition | tasks |")[2], re.MULTILINE)
    assert {task: condition for condition, named in rows for task in named.split(", ")} == CONDITIONS
    assert CONDITIONS["CUB200I2IRetrieval"] == "bird species"
    assert CONDITIONS["StanfordCars"] == CONDITIONS["StanfordCarsZeroShot"] == "car model"


def test_texts_pairs_and_images_of_any_mode(embedder: Any) -> None:
    model = ConditionalModel(embedder, condition="car color")
    task, texts = "Flickr30kI2TRetrieval", ["red", "", "blue"]
    assert near(encode(model, task, batches(text=texts)), embedder.encode_text(texts, "car color"))
    modes = [IMAGES[0].convert(mode) for mode in ("RGBA", "L", "P")]
    images = embedder.encode(modes, "car color")
    assert near(encode(model, task, batches(image=modes)), images)
    both = encode(model, task, batches(image=modes, text=texts))
    told = embedder.encode_text(["red", "blue"], "car color", normalize_embeddings=True)
    shown = images / np.linalg.norm(images, axis=1, keepdims=True)
    assert near(both, [(shown[0] + told[0]) / 2, images[1], (shown[2] + told[1]) / 2])


def test_similarities_are_the_packages_own(embedder: Any) -> None:
    model = ConditionalModel(embedder)
    a, b = embedder.encode(IMAGES[:3], "car color"), embedder.encode(IMAGES[3:], "car color")
    assert near(model.similarity(a, b), cie.similarity(a, b))
    assert near(model.similarity_pairwise(a, b), np.diag(cie.similarity(a, b)))


def test_what_is_told_of_the_model_is_true(embedder: Any) -> None:
    meta = ConditionalModel(embedder).mteb_model_meta
    assert meta.name == "conditional-image-embeddings/builtin-dior"
    assert meta.revision == embedder.revision
    assert meta.license == "mit"
    assert meta.modalities == ["image", "text"]
    assert meta.embed_dim == embedder.encode(IMAGES[0]).shape[-1]
    assert meta.n_parameters is not None
    assert 6.3e6 < meta.n_parameters < 6.4e6
    assert meta.use_instructions
    pixels = ConditionalModel("pixels").mteb_model_meta
    assert pixels.modalities == ["image"]
    assert pixels.n_parameters is None
    assert not pixels.use_instructions


def test_results_under_other_conditions_are_kept_apart(embedder: Any, tmp_path: Path) -> None:
    task = next(task for task in ALL_MOCK_TASK_TEST_GRID if task.metadata.name == "MockImageClustering")
    cache = mteb.ResultCache(tmp_path)
    models = [
        ConditionalModel(embedder, condition="car color"),
        ConditionalModel(embedder, condition="car model"),
        ConditionalModel(embedder, condition="car model", layer=-2),
        ConditionalModel(cie.load("builtin", image_max_size=64), condition="car model"),
    ]
    for model in models:
        mteb.evaluate(model, task, cache=cache, show_progress_bar=False)
    assert len(list(tmp_path.rglob("MockImageClustering.json"))) == len(models)


def test_a_method_without_conditions_goes_without() -> None:
    model = ConditionalModel("builtin-clip")
    assert model.condition("StanfordCars") is None
    found = encode(model, "StanfordCars", batches(image=IMAGES[:2]))
    assert near(found, model.embedder.encode(IMAGES[:2]))
    with pytest.raises(ConditionError, match="clip takes no condition"):
        ConditionalModel(model.embedder, condition="car color")


def test_what_cannot_be_had_is_refused(embedder: Any) -> None:
    model = ConditionalModel(embedder)
    with pytest.raises(TypeError, match="unknown option precision; encode takes: batch_size, show_progress_bar"):
        encode(model, "DTD", batches(text=["red"]), precision="int8")
    with pytest.raises(ValueError, match="DTD: a batch has neither image nor text but audio"):
        encode(model, "DTD", batches(audio=[0]))
    with pytest.raises(TypeError, match="unknown option prompt; known here: prompt_type"):
        ConditionalModel(embedder, prompt="x")
    with pytest.raises(ValueError, match="pass them to load"):
        ConditionalModel(embedder, device="cpu")
    with pytest.raises(ModelError, match="reads no text"):
        encode(ConditionalModel("pixels"), "DTD", batches(text=["red"]))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "conditional_image_embeddings.interfaces.mteb"
    for module in [each for each in sys.modules if each.partition(".")[0] == "mteb"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ExtraError, match=r"pip install 'conditional-image-embeddings\[mteb\]'"):
        importlib.import_module(name)
