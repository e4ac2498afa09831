"""Prompts are made by many threads at once, without the model's lock; and nothing of a call stays behind it."""

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import save

from conditional_image_embeddings.engine import loading, prompts, self_check
from conditional_image_embeddings.engine.loading import LVLM
from conditional_image_embeddings.engine.plan import STRATEGIES
from conditional_image_embeddings.engine.prompts import Prepared, PromptMaker, same_inputs
from conditional_image_embeddings.engine.texts import text_hidden_states
from conditional_image_embeddings.errors import ConditionError
from conditional_image_embeddings.inputs.conditions import prompt
from conditional_image_embeddings.models.checkpoint import Checkpoint

THREADS = 6
CONDITIONS = [("color", "the model of the car"), ("x", None, "time of day"), ("mood",), ("a <|im_end|> b", "color")]
TEXTS = [tuple(prompt(condition) for condition in conditions) for conditions in CONDITIONS]
# Each processor or tokenizer does something of its own: slices, tiles, frames, special positions, no template.
FAMILIES = ["qwen2_5_vl", "idefics3", "gemma3", "llava_onevision", "mllama", "chameleon", "got_ocr2"]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LVLM]:
    def get(family: str) -> LVLM:
        return loading.load(Checkpoint.find(str(save(family, tmp_path_factory.mktemp(family))), device="cpu"))

    return get


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns hundreds of times more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def picture(width: int, height: int, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


IMAGES = [picture(112, 80, 0), picture(60, 140, 1), picture(84, 84, 2)]


def parts(one: Prepared) -> list[Any]:
    return [list(one.prompts), list(one.positions or []), one.image, list(one.images or []), one.prefix, one.image_end]


@pytest.mark.parametrize("family", FAMILIES)
def test_many_threads_make_the_prompts_that_one_makes(family: str, load, eager_switches: None) -> None:
    lvlm = load(family)
    readable = [texts for texts in TEXTS if reads(lvlm, texts)]
    assert len(readable) >= 3
    serial = [[parts(PromptMaker(lvlm, texts)(image)) for image in IMAGES] for texts in readable]
    alone = [lvlm.chat.text_ids(texts[0]).tolist() for texts in readable]
    makers = [PromptMaker(lvlm, texts) for texts in readable]  # their tails are learned by whoever is first
    start = Barrier(THREADS)

    def work(thread: int) -> int:
        start.wait()
        wrong = 0
        for turn in range(len(makers)):
            which = (thread + turn) % len(makers)
            for index in np.roll(range(len(IMAGES)), thread):
                wrong += not same_inputs(parts(makers[which](IMAGES[index])), serial[which][index])
            wrong += lvlm.chat.text_ids(readable[which][0]).tolist() != alone[which]
            PromptMaker(lvlm, readable[which])
        return wrong

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [0] * THREADS


def reads(lvlm: LVLM, texts: tuple[str, ...]) -> bool:
    """Whether its tokenizer can read a token of its own as text."""
    try:
        PromptMaker(lvlm, texts)
    except ConditionError:
        return False
    return True


def test_what_a_thread_learned_is_there_for_others_only_once_it_is_right(load, monkeypatch) -> None:
    maker = PromptMaker(load("qwen2_5_vl"), TEXTS[0])
    compared = []

    def same(a: Any, b: Any) -> bool:
        compared.append(maker._tails is None)
        return same_inputs(a, b)

    monkeypatch.setattr(prompts, "same_inputs", same)
    maker(IMAGES[0])
    assert compared
    assert all(compared)
    assert maker._tails is not None


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "idefics3"])
def test_a_model_and_its_tensors_go_with_the_last_that_holds_them(family: str, load) -> None:
    """Without a garbage collector's help: nothing of a call hangs together in a circle."""
    lvlm = load(family)
    plan = self_check.choose(lvlm)
    plan.apply(lvlm)
    maker = PromptMaker(lvlm, TEXTS[0])
    batch = [maker(image) for image in IMAGES[:2]]
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        with torch.inference_mode():
            for states in STRATEGIES.values():
                states(lvlm, batch, [2, 3], [-1])
            text_hidden_states(lvlm, [*TEXTS[0]], [2], [-1], 100)
        gc.collect()
        assert [type(each) for each in gc.garbage if isinstance(each, torch.Tensor | torch.nn.Module)] == []
        model = weakref.ref(lvlm.model)
        del lvlm, maker, batch, plan, states
        assert model() is None
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
