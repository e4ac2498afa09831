"""Images that a model or its processor fails on: each is one bad image, wherever it fails and whatever is raised.

What fails on an ordinary picture too is the model's fault, and ends the job at once.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import save

import conditional_image_embeddings as cie
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ImageError, ModelError, OptionError
from conditional_image_embeddings.methods import clip
from conditional_image_embeddings.methods.dior import DIOR
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.streaming import stream

ODD = [(1, 1), (1, 700), (700, 1), (2, 2), (28, 28), (27, 28), (31, 639), (8, 2000)]
FAILURES = [
    ValueError,
    RuntimeError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    ZeroDivisionError,
    StopIteration,
]
BUGS = [AssertionError, NameError, ImportError]


class Picture(NamedTuple):
    """What becomes of it: in `prepare`, or in `embed` of any batch that holds it."""

    number: int
    fault: str = "none"
    error: type[Exception] = ValueError


class Faulty:
    """Fails as its pictures ask for."""

    lock: Any = nullcontext()

    def __init__(self, budget: int = 8, last: int = 10**9) -> None:
        self.budget, self.last = budget, last
        self.prepared = self.embedded = 0

    def prepare(self, image: Picture, request: Any) -> Picture:
        self.prepared += 1
        if image.fault == "processor":
            raise image.error("no size\nthat it takes")
        return image

    def cost(self, prepared: Picture) -> int:
        return 1

    def forward_batch(self, batch: Sequence[Picture], request: Any) -> list[float]:
        faults = {picture.fault for picture in batch}
        for picture in batch:
            if picture.fault == "model":
                raise picture.error("index 70 is out of bounds")
        if "memory" in faults:
            raise torch.OutOfMemoryError("64 GiB are not enough")
        if "alone" in faults and len(batch) == 1:
            raise RuntimeError("an axis is lost")
        self.embedded += len(batch)
        if self.embedded > self.last:
            raise RuntimeError("CUDA error: device-side assert triggered")
        if "nan in company" in faults and len(batch) > 1:
            return [np.nan] * len(batch)
        return [np.nan if picture.fault == "nan" else float(picture.number) for picture in batch]

    def is_finite(self, result: float) -> bool:
        return bool(np.isfinite(result))


def run(stage: Faulty, pictures: Sequence[Picture], ordinary: Picture | None = None) -> dict[int, Any]:
    found: dict[int, Any] = {}
    keyed = ((picture.number, picture) for picture in pictures)
    results = stream(stage, keyed, None, read=lambda _, given: given, ordinary=ordinary or Picture(-1), workers=2)
    for key, outcome in results:
        assert key not in found
        found[key] = outcome
    return found


FAULTS = ["none", "none", "processor", "model", "memory", "alone", "nan", "nan in company"]
FAIL = {"processor", "model", "memory", "nan"}


@given(st.lists(st.tuples(st.sampled_from(FAULTS), st.sampled_from(FAILURES)), max_size=60), st.integers(1, 20))
def test_each_image_has_its_result_or_a_reason(faults: list[tuple[str, type[Exception]]], budget: int) -> None:
    """However many fail: the model is well, as the ordinary picture shows."""
    pictures = [Picture(number, *fault) for number, fault in enumerate(faults)]
    found = run(Faulty(budget), pictures)
    assert found.keys() == {picture.number for picture in pictures}
    for picture in pictures:
        outcome = found[picture.number]
        if picture.fault in FAIL:
            assert isinstance(outcome, ImageError)
            assert str(outcome).startswith(f"image {picture.number} ")
            assert "\n" not in str(outcome)
        else:
            assert outcome == picture.number


@pytest.mark.parametrize("fault", sorted(FAIL))
def test_what_fails_on_every_image_ends_the_job_at_once(fault: str) -> None:
    stage = Faulty()
    pictures = [Picture(number, fault) for number in range(10_000)]
    with pytest.raises(ModelError, match=r"^image \d+ .*ordinary picture") as caught:
        run(stage, pictures, ordinary=Picture(-1, fault))
    assert "\n" not in str(caught.value)
    assert stage.prepared < 300


def test_a_model_that_breaks_on_its_way_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error of CUDA nothing works any more: what was embedded before fails too."""

    def beyond_use() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "empty_cache", beyond_use)
    with pytest.raises(ModelError, match="one that went well before fails too: RuntimeError: CUDA error"):
        run(Faulty(last=40), [Picture(number) for number in range(1000)])


@pytest.mark.parametrize("error", BUGS)
@pytest.mark.parametrize("fault", ["processor", "model"])
def test_an_error_of_ones_own_is_not_swallowed(fault: str, error: type[Exception]) -> None:
    pictures = [Picture(0), Picture(1), Picture(2, fault, error), Picture(3)]
    with pytest.raises(error):
        run(Faulty(), pictures)
    with pytest.raises(error):
        run(Faulty(), [Picture(0, fault)], ordinary=Picture(-1, fault, error))


def test_a_failed_assertion_inside_transformers_is_about_the_image() -> None:
    library: dict[str, Any] = {"__name__": "transformers.models.fuyu.image_processing_fuyu"}
    exec("def patches(image):\n    assert image.fault != 'processor'\n    return image", library)

    class Asserts(Faulty):
        def prepare(self, image: Picture, request: Any) -> Any:
            return library["patches"](image)

    found = run(Asserts(), [Picture(0), Picture(1, "processor")])
    assert found[0] == 0
    assert str(found[1]) == "image 1 is refused by the model's processor: AssertionError"


def test_what_was_asked_for_amiss_is_said_as_it_is() -> None:
    with pytest.raises(OptionError, match="no size"):
        run(Faulty(), [Picture(0, "processor", OptionError)], ordinary=Picture(-1, "processor", OptionError))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def photographs(folder: Path, number: int) -> Path:
    folder.mkdir()
    for index in range(number):
        picture(60 + 8 * index, 90, index).save(folder / f"{index}.png")
    return folder


def embed(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["embed", *map(str, arguments), "--json"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = save(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get


@pytest.mark.parametrize(
    ("family", "size", "reason"),
    [
        ("qwen2_5_vl", (1, 700), "absolute aspect ratio must be smaller than 200, got 700.0"),
        ("glm4v", (8, 2000), "absolute aspect ratio must be smaller than 200"),
        ("fuyu", (1, 700), "Size must contain 'height' and 'width'"),
        ("mistral3", (700, 1), "Size must contain 'height' and 'width'"),
        ("video_llava", (300, 3), "3 pixels high would be taken"),
        ("gemma4", (1, 700), "makes the model fail: IndexError: index out of range"),
    ],
)
def test_one_image_that_is_refused_among_ten(
    family: str, size: tuple[int, int], reason: str, model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = photographs(tmp_path / "photos", 10)
    Image.new("RGB", size).save(folder / "thin.png")
    arguments = (folder, "-c", "color", "--no-condition", "-m", model(family), "-e", tmp_path / "db")
    done = embed(*arguments)
    assert done.exit_code == 3, done.stderr
    for row in json.loads(done.stdout):
        assert (row["embedded"], row["already_there"], row["failed"]) == (10, 0, 1)
    store = Store(str(tmp_path / "db"))
    for setting in store.settings():
        assert len(store.read(setting)[0]) == 10
    (failed,) = store.failures("photos", source=str(folder)).items()
    assert failed[0] == "thin.png"
    assert reason in failed[1]
    assert str(folder / "thin.png") in failed[1]
    assert failed[1] in done.stderr
    again = embed(*arguments)  # it is tried again, and ends the same way
    assert again.exit_code == 3
    assert [row["already_there"] for row in json.loads(again.stdout)] == [10, 10]


def test_other_methods_list_it_too(model: Callable[[str], Path], tmp_path: Path, monkeypatch: Any) -> None:
    folder = photographs(tmp_path / "photos", 3)
    Image.new("RGB", (1, 700)).save(folder / "thin.png")
    answers = ("-m", model("qwen2_5_vl"), "--method", "generative", "--text-encoder", "minilm", "-c", "color")
    prepare = clip.CLIP.prepare

    def fussy(self: Any, image: Image.Image, request: Any) -> Any:
        if image.width == 1:
            raise ValueError("too thin")
        return prepare(self, image, request)

    monkeypatch.setattr(clip.CLIP, "prepare", fussy)
    mapped = ("-m", "builtin-clip", "--words", "red,green,blue", "-c", "color")
    ways = (answers, ("-m", "builtin-clip"), (*mapped, "--method", "clay"), (*mapped, "--method", "indirect"))
    for index, way in enumerate(ways):
        done = embed(folder, *way, "-e", tmp_path / f"db{index}")
        assert done.exit_code == 3, done.stderr
        assert [(row["embedded"], row["failed"]) for row in json.loads(done.stdout)] == [(3, 1)]
        assert "thin.png" in done.stderr
    assert embed(folder, "-m", "pixels", "-e", tmp_path / "pixels").exit_code == 0


def test_a_processor_that_refuses_everything_ends_the_job(tmp_path: Path, monkeypatch: Any) -> None:
    def broken(*_: object) -> Any:
        raise ValueError("no such\nimage mean")

    monkeypatch.setattr(clip.CLIP, "prepare", broken)
    done = embed(photographs(tmp_path / "photos", 30), "-m", "builtin-clip", "-e", tmp_path / "db")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "an ordinary picture is refused too: no such image mean" in done.stderr


def test_encode_raises_the_error_of_the_image_and_names_it(model: Callable[[str], Path], tmp_path: Path) -> None:
    embedder = cie.load(str(model("qwen2_5_vl")), device="cpu")
    good, thin = picture(112, 80), Image.new("RGB", (1, 700))
    thin.save(tmp_path / "thin.png")
    for call in (embedder.encode, embedder.words):
        with pytest.raises(ImageError, match=r"^image 1 \(1 x 700\) is refused by the model's processor: absolute"):
            call([good, thin], "color")
        with pytest.raises(ImageError, match=r"thin\.png' \(1 x 700\) is refused"):
            call(tmp_path / "thin.png", "color")
        with pytest.raises(ImageError, match=r"^image 2 "):
            call([good, good, b"no image"], "color")
    with pytest.raises(ValueError, match="token 900 is out of range"):
        embedder.encode(good, "color", token=900)
    tokens = embedder.prepare(good, Request()).lengths[0]
    with pytest.raises(ImageError, match=f"image 1 .*token {tokens - 1} is out of range"):
        embedder.encode([good, picture(28, 28)], token=tokens - 1)


# One of each way to fail, and of each kind of vision tower.
FAMILIES = ["qwen2_5_vl", "fuyu", "mistral3", "mistral_large4", "lfm2_vl", "gemma4", "qwen3_5", "idefics3", "gemma3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_odd_image_has_one_vector_or_none_whatever_its_batch(family: str, model: Callable[[str], Path]) -> None:
    embedder: DIOR = cie.load(str(model(family)), device="cpu")
    embedder.budget = 10**6  # all in one batch
    images = [picture(*size, seed) for seed, size in enumerate([*ODD, (112, 80), (60, 140)])]
    for conditions in (("color",), ("color", None)):
        request = Request(conditions=conditions)
        together = dict(embedder.stream(enumerate(images), request))
        assert not isinstance(together[len(ODD)], ImageError)
        assert not isinstance(together[len(ODD) + 1], ImageError)
        for index, image in enumerate(images):
            [(_, alone)] = embedder.stream([(index, image)], request)
            if isinstance(alone, ImageError):
                assert str(alone) == str(together[index])
            else:
                scale = np.abs(alone.vectors).max()
                np.testing.assert_allclose(together[index].vectors / scale, alone.vectors / scale, atol=1e-4)


def test_an_image_of_one_token_is_embedded_by_itself(model: Callable[[str], Path]) -> None:
    """Alone, transformers loses its axis of tokens; beside another image it does not."""
    embedder = cie.load(str(model("mistral3")), device="cpu")
    for size in ((1, 1), (28, 28)):
        alone = embedder.encode(picture(*size), "color")
        with_method = embedder.encode([picture(*size), picture(112, 80)], "color")[0]
        np.testing.assert_allclose(alone, with_method, atol=1e-4 * np.abs(alone).max())
