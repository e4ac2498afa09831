"""The shared passes against separate ones: every family, two image sizes, eight prompts of different lengths.

The reference shares no code with the engine: the whole model, called as transformers documents it, on one image and one
prompt at a time. Negative controls prove that these tests would notice a wrong mask or position.

A family is built and loaded once for all its tests, which run one after another on one worker (`of_families`).
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_families import BUILDERS
from tiny_models import save
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.models.llama4 import modeling_llama4

from conditional_image_embeddings.engine import (
    batches,
    cached,
    generation,
    loading,
    packed,
    self_check,
    separate,
    texts,
    words,
)
from conditional_image_embeddings.engine.loading import LVLM
from conditional_image_embeddings.engine.plan import ExecutionPlan
from conditional_image_embeddings.engine.prompts import Prepared, PromptMaker
from conditional_image_embeddings.engine.texts import text_prompt
from conditional_image_embeddings.engine.tree import PromptTree
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.inputs.conditions import prompt
from conditional_image_embeddings.models.checkpoint import Checkpoint
from conditional_image_embeddings.models.families import FAMILIES

CONDITIONS = [
    "color",
    None,
    "the model of the vehicle in the picture",
    "x",
    "car color",
    "a",
    "car model",
    "time of day",
]
TEXTS = [prompt(condition) for condition in CONDITIONS]
PLACED = {"blip-2", "instructblip", "fuyu", "idefics"}  # their processors put the image in front of the text
WITH_IMAGE = {"blip_2", "instructblip", "idefics"}  # they read no text without an image
EXACT = 1e-4
WRONG = 0.05


def picture(width: int, height: int, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


IMAGES = [picture(112, 80, 0), picture(60, 140, 1)]


class Plain(NamedTuple):
    """A tiny model as transformers loads it."""

    processor: Any
    model: Any

    @classmethod
    def load(cls, directory: Path, dtype: torch.dtype = torch.float32) -> "Plain":
        model = AutoModelForImageTextToText.from_pretrained(directory, dtype=dtype)
        return cls(AutoProcessor.from_pretrained(directory), model.eval())

    def inputs(self, image: Image.Image, text: str) -> Any:
        return official(self.processor, image, text, placed=self.model.config.model_type in PLACED)

    def last_tokens(self) -> torch.Tensor:
        """Hidden states (images, prompts, layers, d) of each prompt's last token, each from a call of its own."""
        dtype = self.model.dtype
        return torch.stack(
            [
                torch.stack([last_token(self.model, self.inputs(image, text).to(dtype)) for text in TEXTS])
                for image in IMAGES
            ]
        )


class Tried(NamedTuple):
    """A family's tiny model as the engine loads it and as transformers does, and what the latter gives."""

    lvlm: LVLM
    plan: ExecutionPlan
    plain: Plain
    reference: torch.Tensor
    batches: dict[int, list[Prepared]]

    def prepared(self, prompts: int = len(TEXTS)) -> list[Prepared]:
        """The images under the first few texts."""
        if prompts not in self.batches:
            maker = PromptMaker(self.lvlm, TEXTS[:prompts])
            self.batches[prompts] = [maker(image) for image in IMAGES]
        return self.batches[prompts]


def last_token(model: Any, inputs: Any) -> torch.Tensor:
    """A prompt's last token in each of transformers' hidden states, (layers + 1, d).

    Of several streams their mean (hyper-connections) or the active one (AltUp, which leaves the last state out).
    """
    config = model.config.get_text_config()
    with torch.no_grad():
        outputs = model(**inputs, output_hidden_states=True)
        states = list(getattr(outputs, "language_model_outputs", outputs).hidden_states)
        if hasattr(config, "altup_active_idx"):
            states = [streams[config.altup_active_idx] for streams in states]
            states[-1] = model.model(**inputs).last_hidden_state
    return torch.stack([hidden[0, -1].reshape(-1, config.hidden_size).mean(0) for hidden in states])


def official(processor: Any, image: Image.Image, text: str, *, placed: bool) -> Any:
    """What goes into the model as transformers documents it; without a template, the image and then the text.

    GOT-OCR 2's processor takes no list of images for a text, as the documented call has it.
    """
    types = {"return_mm_token_type_ids": True} if "mm_token_type_ids" in processor.model_input_names else {}
    if processor.chat_template is None:
        text = text if placed else f"{processor.image_token}{text}"
        return processor(text=[text], images=[image], return_tensors="pt", **types)
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    if type(processor).__name__ == "GotOcr2Processor":
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        return processor(text=[text], images=[image], return_tensors="pt")
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    return processor.apply_chat_template(messages, **options, processor_kwargs=types)


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tried]:
    @cache
    def get(key: str) -> Tried:
        directory = save(key, tmp_path_factory.mktemp(key))
        lvlm = loading.load(Checkpoint.find(str(directory), device="cpu"))
        plan = self_check.choose(lvlm)
        plan.apply(lvlm)
        plain = Plain.load(directory)
        return Tried(lvlm, plan, plain, plain.last_tokens(), {})

    return get


def of_families(*keys: str) -> Any:
    """A test per family; all of a family go to one worker (`conftest`)."""
    return pytest.mark.parametrize("key", keys)


SHARING = {family.key: family.sharing for family in FAMILIES}
PACKED = [key for key, sharing in SHARING.items() if sharing == "packed"]
CACHED = [key for key, sharing in SHARING.items() if sharing == "cached"]


def run(tried: Tried, states: Any, batch: list[Prepared], layers: list[int], *, share: bool = True) -> torch.Tensor:
    """One strategy, on as many images at a time as the model allows."""
    with torch.inference_mode():
        return tried.plan.in_parts(batch, lambda part: states(tried.lvlm, part, layers, [-1]), share=share)[:, :, 0]


def test_the_table_and_the_tests_know_the_same_families():
    assert set(SHARING) == set(BUILDERS)


@of_families(*SHARING)
def test_shared_passes_equal_plain_transformers(key, tried, record_property):
    lvlm, plan, _, expected, _ = one = tried(key)
    assert plan.strategy == SHARING[key]
    layers = [0, 2, len(lvlm.layers)]
    largest = 0.0
    for k in (1, 3, 8):
        with torch.inference_mode():
            got = plan.run(lvlm, one.prepared(k), layers, [-1])[:, :, 0]
        largest = max(largest, float((got - expected[:, :k, layers]).abs().max()))
    record_property("largest_difference", largest)  # `pytest --junit-xml` writes it down
    assert largest <= EXACT
    other_image = (expected[0] - expected[1])[:, layers[1:]].abs().amax((0, 2))
    assert other_image.min() > WRONG, "the image makes no difference, so this proves nothing"


@of_families(*SHARING)
def test_separate_batches_and_every_layer_equal_plain_transformers(key, tried):
    """The rival and fallback is exact on every family; one pass gives all layers, each as `hidden_states[k]`."""
    lvlm, _, _, expected, _ = one = tried(key)
    got = run(one, separate.hidden_states, one.prepared(3), list(range(len(lvlm.layers) + 1)), share=False)
    assert float((got - expected[:, :3]).abs().max()) <= EXACT


# HunYuan-VL's layers and Molmo 2's tower once passed for what they are not: rounding hid it.
@of_families("hunyuan_vl", "molmo2", "qwen2_5_vl", "gemma3")
def test_half_precision_lies_within_the_invariants(key, tmp_path):
    directory = save(key, tmp_path, calm=True)
    lvlm = loading.load(Checkpoint.find(str(directory), device="cpu", dtype="bfloat16"))
    plan = self_check.choose(lvlm)
    plan.apply(lvlm)
    layers = [2, len(lvlm.layers)]
    maker = PromptMaker(lvlm, TEXTS[:3])
    with torch.inference_mode():
        got = plan.run(lvlm, [maker(image) for image in IMAGES], layers, [-1])[:, :, 0].float()
    expected = Plain.load(directory, torch.bfloat16).last_tokens()[:, :3, layers].float()
    assert torch.nn.functional.cosine_similarity(got, expected, dim=-1).min() >= 0.9999


@of_families(*CACHED, *PACKED)
def test_cached_passes_are_exact_on_every_family_that_shares(key, tried):
    lvlm, _, _, expected, _ = one = tried(key)
    got = run(one, cached.hidden_states, one.prepared(), [2, len(lvlm.layers)])
    assert float((got - expected[:, :, [2, len(lvlm.layers)]]).abs().max()) <= EXACT


def wrong(tried: Tried, states: Any, *, images: int = 1) -> float:
    top = len(tried.lvlm.layers)
    found = run(tried, states, tried.prepared()[:images], [top])[:, :, 0]
    return float((found - tried.reference[:images, :, top]).abs().max())


@of_families(*PACKED)
def test_a_mask_that_lets_branches_see_each_other_is_noticed(key, tried, monkeypatch):
    family = tried(key)  # before anything is broken: the plan is made as it is loaded
    monkeypatch.setattr(
        PromptTree, "attention_mask", lambda tree: torch.ones(len(tree), len(tree), dtype=torch.bool).tril()
    )
    assert wrong(family, packed.hidden_states) > WRONG


@of_families(*PACKED)
def test_positions_that_run_on_through_the_branches_are_noticed(key, tried, monkeypatch):
    family = tried(key)  # before anything is broken: the plan is made as it is loaded

    def running(one: Prepared, tree: PromptTree) -> torch.Tensor:
        return (torch.arange(len(tree)) + one.prefix).expand(len(one.token_positions(0)), -1)

    monkeypatch.setattr(packed, "_positions", running)
    assert wrong(family, packed.hidden_states) > WRONG


@of_families("qwen3_5", "qwen3_5_moe", "lfm2_vl", "aya_vision")
def test_a_prefix_padded_on_the_wrong_side_is_noticed(key, tried, monkeypatch):
    """Carried states and windows; plain attention does not mind where the padding is."""
    family = tried(key)  # before anything is broken: the plan is made as it is loaded
    monkeypatch.setattr(cached, "token_inputs", lambda rows, fill, left=False: batches.token_inputs(rows, fill))
    monkeypatch.setattr(cached, "position_ids", lambda rows, left=False: batches.position_ids(rows))
    assert wrong(family, cached.hidden_states, images=2) > WRONG


# These take no positions from outside: their layers count how far back a key is, or have none.
WITHOUT_POSITIONS = {"inkling2", "inkling2_loop", "inkling_mm_model", "nemotron_h_omni"}


@of_families(*(key for key in (*CACHED, *PACKED) if key not in WITHOUT_POSITIONS))
def test_suffix_positions_that_are_off_are_noticed(key, tried, monkeypatch):
    family = tried(key)  # before anything is broken: the plan is made as it is loaded

    def shifted(rows: list[torch.Tensor], left: bool = False) -> torch.Tensor:
        return batches.position_ids(rows, left=left) + (0 if left else 2)

    monkeypatch.setattr(cached, "position_ids", shifted)
    assert wrong(family, cached.hidden_states) > WRONG


@of_families(*SHARING)
def test_texts_in_a_batch_are_the_texts_one_by_one(key, tried):
    """Without an image, on every family: prompts of different lengths, each against a plain call of transformers."""
    lvlm, plan, plain, _, _ = tried(key)
    prompts = [text_prompt("red", "car color"), text_prompt("a much longer text, of the weather", None)]
    layers = [1, 2, len(lvlm.layers)]
    if key in WITH_IMAGE:
        with pytest.raises(ModelError, match="no text without an image"):
            texts.text_hidden_states(lvlm, prompts, layers, [-1], 1)
        return
    with torch.inference_mode():
        got = texts.text_hidden_states(lvlm, prompts, layers, [-1], 2048 if plan.shares else 1)[:, 0]
    assert float((got[0] - got[1]).abs().max()) > WRONG
    for text, vectors in zip(prompts, got, strict=True):
        with_image = plain.inputs(IMAGES[0], text)["input_ids"][0]
        ids = lvlm.chat.text_ids(text)
        head = next(n for n, (a, b) in enumerate(zip(with_image, ids, strict=False)) if a != b)
        assert torch.equal(torch.cat([with_image[:head], with_image[head - len(ids) :]]), ids), (
            "more than a piece is out"
        )
        assert lvlm.image_token_id not in ids
        if plain.processor.chat_template:
            messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
            chat = plain.processor.apply_chat_template(messages, add_generation_prompt=True)
            assert lvlm.tokenizer.decode(ids).removeprefix("<s>") == chat
        states = last_token(plain.model, {"input_ids": ids[None]})
        if len(states) < len(lvlm.layers) + 1:  # without an image, Mllama leaves its layers of cross attention out
            states = states[[0, 1, 1, 2, -1]]
        assert float((vectors - states[layers]).abs().max()) <= EXACT


@of_families(*SHARING)
def test_what_comes_next_is_what_the_whole_model_says(key, tried, monkeypatch):
    """On every family: a prompt's logits against a plain call of its own, and one token more, or why there is none."""
    lvlm, plan, _, _, _ = one = tried(key)
    batch = one.prepared(2)
    with torch.inference_mode(), monkeypatch.context() as patch:
        if key == "llama4":  # as the library is, without what the tests add to it for their references
            patch.delattr(modeling_llama4.MoeCausalLMOutputWithPast, "image_outputs")
        parts = plan.parts(batch, share=plan.caches)
        for part in parts:
            reason = words.silence(lvlm, part, share=plan.caches)
            assert (reason is not None) == (key in WITH_IMAGE)
            assert "\n" not in (reason or "")
        groups = [group for part in parts for group in generation.prefill(lvlm, part, [], share=plan.caches)]
    got = sorted(tuple(row.tolist()) for group in groups for row in group.logits)
    with torch.inference_mode():
        singles = [separate.prompt_inputs(lvlm, [single]) for each in batch for single in each.singles()]
        expected = [lvlm.model(**tokens, **image).logits[0, -1] for tokens, image in singles]
    np.testing.assert_allclose(got, sorted(tuple(row.tolist()) for row in expected), atol=EXACT)


@of_families("paligemma")
def test_sharing_where_it_is_unsound_would_be_noticed(key, tried):
    """PaliGemma's image sees the text: the engine must find that out by itself, and it is wrong by far otherwise."""
    assert tried(key).plan.strategy == "separate"
    assert wrong(tried(key), cached.hidden_states) > WRONG


def last_norm(lvlm: LVLM, inputs: dict[str, Any]) -> tuple[str, torch.Tensor]:
    """The part of the decoder that runs last, behind its layers, and its output's last token."""
    ran: list[tuple[str, torch.Tensor]] = []
    handles = [
        part.register_forward_hook(lambda _, __, out, name=name: ran.append((name, out)))
        for name, part in lvlm.decoder.named_children()
    ]
    with torch.inference_mode():
        lvlm.model(**inputs)
    for handle in handles:
        handle.remove()
    name, output = ran[-1]
    return name, output[:, -1]


@of_families(*SHARING)
def test_the_last_layer_is_the_normed_state_whatever_the_config_says(key, tried, monkeypatch):
    """`tie_last_hidden_states` decides what transformers' own `hidden_states[-1]` is; this engine's is normed."""
    lvlm, plan, _, _, _ = one = tried(key)
    batch = one.prepared(1)[:1]
    tokens, image = separate.prompt_inputs(lvlm, batch[0].singles())
    name, expected = last_norm(lvlm, tokens | image)
    assert "norm" in name or key == "qwen4_exp"  # its mixer of streams norms them first
    for tied in (None, False, True):
        for config in (lvlm.decoder.config, lvlm.model.config):
            monkeypatch.setattr(config, "tie_last_hidden_states", tied, raising=False)
        with torch.inference_mode():
            got = plan.run(lvlm, batch, [len(lvlm.layers) - 1, len(lvlm.layers)], [-1])[0, 0, 0]
        assert float((got[1] - expected[0]).abs().max()) <= EXACT
        assert float((got[0] - expected[0]).abs().max()) > WRONG
