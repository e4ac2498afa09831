"""An embedder in other processes: pickled, forked before its first use; and gone as soon as nobody holds it."""

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.methods import with_method

IMAGES = [Image.fromarray(render(sample_scene(np.random.default_rng([5, k])))).resize((64, 48)) for k in range(3)]
PATIENCE = 300  # seconds until a test is taken for one that hangs
WORDS = {"mood": ["happy", "sad", "calm"]}


def embedders() -> list[tuple[Any, str | None]]:
    """One of every method, on two backbones, with options that change vectors; and a condition for each."""
    dior = cie.load("builtin", device="cpu", image_max_size=60, positions="flat")
    clip = cie.load("builtin-clip", device="cpu", dtype="float32")
    clay: Any = with_method(clip, "clay", words=WORDS, components=2)
    clay.fit(IMAGES)
    return [
        (dior, "car color"),
        (with_method(dior, "generative", text_encoder="minilm"), "car color"),
        (clip, None),
        (with_method(clip, "indirect", words=WORDS, solver="svd", components=2), "mood"),
        (clay, "mood"),
        (cie.load("pixels", size=3), None),
    ]


def vectors_of(pickled: bytes) -> tuple[list[Any], int]:
    """Runs in another process: what the embedders give there, and how many models they stand on."""
    loaded = pickle.loads(pickled)  # noqa: S301
    return [each.encode(IMAGES, condition) for each, condition in loaded], len({id(each.lock) for each, _ in loaded})


def test_an_embedder_of_every_method_loads_again_in_another_process() -> None:
    here = embedders()
    expected = [each.encode(IMAGES, condition) for each, condition in here]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found, models = pool.apply_async(vectors_of, (pickle.dumps(here),)).get(PATIENCE)
    for (each, _), there, vectors in zip(here, found, expected, strict=True):
        np.testing.assert_array_equal(there, vectors, err_msg=each.method)
    assert models == 3, "what shared a model shares it there too"


def test_a_model_that_is_another_by_then_is_refused(tmp_path: Path) -> None:
    from tiny_models import save

    embedder = cie.load(str(save("qwen2_vl", tmp_path / "model")), device="cpu")
    pickled = pickle.dumps(embedder)
    assert pickle.loads(pickled).encode(IMAGES, "color") == pytest.approx(embedder.encode(IMAGES, "color"))  # noqa: S301
    config = tmp_path / "model" / "generation_config.json"
    config.write_text(config.read_text().replace("3", "4"))
    with pytest.raises(cie.ModelError, match="is not the one that was sent here"):
        pickle.loads(pickled)  # noqa: S301
    embedder.close()
    with pytest.raises(cie.ModelError, match=r"closed DIOR .* cannot be pickled"):
        pickle.dumps(embedder)


FORK = """
import os, signal, sys
import numpy as np
import conditional_image_embeddings as cie
from PIL import Image

image = Image.linear_gradient("L").convert("RGB").resize((64, 48))
embedders = [(cie.load("builtin", device="cpu"), "car color"), (cie.load("builtin-clip", device="cpu"), None)]
child = os.fork()
signal.alarm(120)  # neither waits for ever
for index, (embedder, condition) in enumerate(embedders):
    np.save(f"{sys.argv[1]}/{'parent' if child else 'child'}{index}", embedder.encode([image] * 3, condition))
    embedder.encode_text(["red"], condition)
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_process_may_fork_before_an_embedder_is_used(threads: str, tmp_path: Path) -> None:
    """Loading has run the model: what OpenMP keeps of that does not come along, and must not be waited for."""
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-c", FORK, str(tmp_path)]
    subprocess.run(command, env=environment, check=True)
    for index in range(2):
        parent, child = (np.load(tmp_path / f"{who}{index}.npy") for who in ("parent", "child"))
        np.testing.assert_allclose(child, parent, atol=1e-5 * np.abs(parent).max())


def test_an_embedder_that_nobody_holds_is_gone() -> None:
    """By counting references alone: a model that waits for the garbage collector fills the memory with the next one."""
    held = embedders()
    for embedder, condition in held:
        embedder.encode(IMAGES, condition)
        list(embedder.encode_stream(IMAGES, condition))
        with suppress(cie.ModelError):  # not every method has them
            embedder.words(IMAGES[0], condition)
        with suppress(cie.ModelError):
            embedder.encode_text("red", condition)
    models = [held[0][0].lvlm.model, held[2][0].dual_encoder, held[1][0].text_encoder]
    gone = [weakref.ref(each) for each in [*(embedder for embedder, _ in held), *models]]
    gc.collect()
    gc.disable()
    try:
        del held, models, embedder, condition
        assert [each() for each in gone if each() is not None] == []
    finally:
        gc.enable()


def test_closing_frees_the_model_and_says_so_afterwards() -> None:
    dior = cie.load("builtin", device="cpu")
    generative = with_method(dior, "generative", text_encoder="minilm")
    model = weakref.ref(dior.lvlm.model)  # type: ignore[attr-defined]
    with generative as same:
        assert same is generative
        assert generative.encode(IMAGES[0], "car color").shape == (384,)
    assert repr(generative) == "<closed Generative 'builtin'>"
    assert dior.encode(IMAGES[0], "car color").shape == (256,), "its own goes on"
    stream = dior.encode_stream(IMAGES, "car color", batch_size=1)
    next(stream)
    dior.close()
    dior.close()
    images: Any = IMAGES
    for call, *arguments in (
        (next, stream), (dior.encode, images), (dior.encode_text, "red"), (dior.words, images),
        (dior.encode_stream, images), (dior.get_embedding_dimension,),
    ):  # fmt: skip
        with pytest.raises(cie.ModelError, match=r"^<closed DIOR 'builtin'> cannot be used: load the model again$"):
            call(*arguments)
    del stream, call, arguments
    gc.collect()
    assert model() is None
