"""DIOR as a user meets it: a model on disk, images of several sizes, conditions, layers, tokens and sources."""

import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import save
from transformers import AutoModelForImageTextToText, AutoProcessor, GPT2Config, GPT2LMHeadModel

from conditional_image_embeddings.engine.first_word import MAX_BEFORE, first_word, folded, has_ended
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.inputs.conditions import PROMPTS, prompt
from conditional_image_embeddings.methods.dior import DIOR
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.models.checkpoint import Checkpoint

CONDITIONS = ["car color", None, "the model of the vehicle"]
# One of each strategy, and the families that the main job names.
KEYS = [
    "qwen2_5_vl",
    "qwen3_vl",
    "smolvlm",
    "idefics3",
    "llava_onevision",
    "internvl",
    "gemma3_window",
    "qwen3_5",
    "paligemma",
]


def picture(width: int, height: int, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


IMAGES = [picture(112, 80, 0), picture(60, 140, 1), picture(112, 80, 2)]


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    made: dict[tuple, Path] = {}

    def get(key: str, **options) -> Path:
        name = (key, *sorted(options.items()))
        if name not in made:
            made[name] = save(key, tmp_path_factory.mktemp(key), **options)
        return made[name]

    return get


@pytest.fixture(scope="module")
def dior(directories):
    made: dict[str, DIOR] = {}

    def get(key: str) -> DIOR:
        if key not in made:
            made[key] = load(directories(key))
        return made[key]

    return get


def load(directory: Path, dtype: str = "float32", **options) -> DIOR:
    return DIOR(Checkpoint.find(str(directory), device="cpu", dtype=dtype), **options)


def single_prompt(directory: Path, image: Image.Image, text: str):
    """The model and its inputs for one prompt, as transformers documents it."""
    processor = AutoProcessor.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    messages = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]}]
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    return model, processor.apply_chat_template(messages, **options)


@pytest.mark.parametrize("key", KEYS)
def test_a_batch_of_mixed_sizes_and_conditions_gives_the_single_vectors(key, dior):
    together = dior(key).encode(IMAGES, CONDITIONS)
    assert together.shape == (3, 3, 32)
    assert together.dtype == np.float32
    for image, vectors in zip(IMAGES, together, strict=True):
        for condition, vector in zip(CONDITIONS, vectors, strict=True):
            np.testing.assert_allclose(dior(key).encode(image, condition), vector, atol=1e-4)


@pytest.mark.parametrize("key", ["qwen2_5_vl", "gemma3_window", "paligemma"])
def test_the_tokenizers_padding_side_changes_nothing(key, directories):
    left, right = (load(directories(key, padding_side=side)).encode(IMAGES, CONDITIONS) for side in ("left", "right"))
    np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("key", ["idefics3", "qwen3_5"])
def test_share_false_gives_the_same_vectors_by_separate_passes(key, dior, directories):
    plain = load(directories(key), share=False)
    assert plain.plan.strategy == "separate"
    np.testing.assert_allclose(plain.encode(IMAGES, CONDITIONS), dior(key).encode(IMAGES, CONDITIONS), atol=1e-4)


@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="torch.compile needs a C++ compiler")
def test_compiled_layers_give_the_same_vectors(dior, directories):
    compiled = DIOR(Checkpoint.find(str(directories("qwen2_5_vl")), device="cpu"), compile=True)
    for images, conditions in ((IMAGES, CONDITIONS), (IMAGES[:1], CONDITIONS[:1]), (IMAGES, CONDITIONS[1:])):
        got = compiled.encode(images, conditions)
        assert np.abs(got - dior("qwen2_5_vl").encode(images, conditions)).max() < 1e-5


@pytest.mark.parametrize("prompt_type", PROMPTS)
def test_every_prompt_type_is_the_text_that_the_model_reads(prompt_type, dior, directories):
    for condition in ("car color", None):
        model, inputs = single_prompt(directories("idefics3"), IMAGES[0], prompt(condition, prompt_type))
        with torch.no_grad():
            expected = model(**inputs, output_hidden_states=True).hidden_states[-1][0, -1]
        got = dior("idefics3").encode(IMAGES[0], condition, prompt_type=prompt_type)
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_layers_and_tokens_are_indices_into_hidden_states(dior, directories):
    model, inputs = single_prompt(directories("qwen3_vl"), IMAGES[0], prompt("car color"))
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    for layer in range(-5, 5):
        for token in (-1, -4, 0, 7, 20, -states[0].shape[1]):
            got = dior("qwen3_vl").encode(IMAGES[0], ["car color", "x"], layer=layer, token=token)[0]
            np.testing.assert_allclose(got, states[layer][0, token], atol=1e-4, err_msg=f"layer {layer}, token {token}")


def test_several_layers_come_from_one_pass(dior):
    embedder = dior("idefics3")
    request = Request(conditions=("car color", "x"), layers=(-1, 0, 2))
    [(_, embedded)] = embedder.stream([("a", IMAGES[0])], request)
    vectors = embedded.vectors[:, 0, 0]
    assert vectors.shape == (2, 3, 32)
    for index, layer in enumerate(request.layers):
        expected = embedder.encode(IMAGES[0], ["car color", "x"], layer=layer)
        np.testing.assert_allclose(vectors[:, index], expected, atol=1e-6)


def test_layers_above_the_one_asked_for_and_the_head_do_not_run(dior):
    embedder = dior("idefics3")
    ran: list[str] = []
    handles = [
        module.register_forward_hook(lambda module, args, output, name=name: ran.append(name))
        for name, module in [
            ("1", embedder.lvlm.layers[1]),
            ("2", embedder.lvlm.layers[2]),
            ("head", embedder.lvlm.model.lm_head),
        ]
    ]
    embedder.encode(IMAGES, CONDITIONS, layer=2)
    assert set(ran) == {"1"}
    embedder.encode(IMAGES, CONDITIONS)
    assert "head" not in ran
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("key", ["qwen2_5_vl", "smolvlm", "gemma3_window", "qwen3_5", "lfm2_vl", "mllama"])
def test_generated_tokens_are_those_of_generate_and_so_are_their_states(key, dior, directories):
    """`first_output`: the state of the first generated token once it has been fed; `mean_output`: the mean over all."""
    for condition in ("car color", "the model of the vehicle"):
        model, inputs = single_prompt(directories(key), IMAGES[1], prompt(condition))
        generated = model.generate(
            **inputs, max_new_tokens=5, do_sample=False, output_hidden_states=True, return_dict_in_generate=True
        )
        fed = [step[-1][0, -1] for step in generated.hidden_states[1:]]  # the last token chosen is never fed
        options = {"conditions": ["car color", "the model of the vehicle"], "embedding_source": "mean_output"}
        index = options["conditions"].index(condition)
        first = dior(key).encode(IMAGES, **{**options, "embedding_source": "first_output"})[1, index]
        np.testing.assert_allclose(first, fed[0], atol=2e-4)
        if 3 not in generated.sequences[0, inputs["input_ids"].shape[1] :]:
            mean = dior(key).encode(IMAGES, **options, max_new_tokens=len(fed))[1, index]
            np.testing.assert_allclose(mean, torch.stack(fed).mean(0), atol=2e-4)


def test_generation_without_sharing_gives_the_same(dior, directories):
    plain = load(directories("qwen2_5_vl"), share=False)
    for source in ("first_output", "mean_output"):
        shared = dior("qwen2_5_vl").encode(IMAGES, CONDITIONS, embedding_source=source, max_new_tokens=4)
        separate = plain.encode(IMAGES, CONDITIONS, embedding_source=source, max_new_tokens=4)
        np.testing.assert_allclose(separate, shared, atol=1e-4)


def slow_words(directory: Path, image: Image.Image, text: str, k: int) -> dict[str, float]:
    """Each of the 2 k most probable first tokens, continued by whole passes to an answer, whose first word is taken."""
    model, inputs = single_prompt(directory, image, text)
    tokenizer = AutoProcessor.from_pretrained(directory).tokenizer
    length = inputs["input_ids"].shape[1]

    def logarithms(tokens: list[int]) -> torch.Tensor:
        behind = {key: value for key, value in inputs.items() if value.shape[:2] == (1, length)}
        longer = {
            **inputs,
            **{key: torch.cat([value, *[value[:, -1:]] * len(tokens)], 1) for key, value in behind.items()},
        }
        longer["input_ids"][0, length:] = torch.tensor(tokens)
        with torch.no_grad():
            return model(**longer).logits[0, -1].log_softmax(-1)

    found: dict[str, float] = {}
    best = logarithms([]).topk(2 * k)
    for first, logarithm in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        tokens, totals, texts = [first], [logarithm], [tokenizer.decode([first], skip_special_tokens=True)]
        while tokens[-1] != 3 and not any(map(has_ended, texts[:-2])):  # two tokens more than are needed
            likely, coming = (each.item() for each in logarithms(tokens).max(-1))
            tokens, totals = [*tokens, coming], [*totals, totals[-1] + likely * (coming != 3)]
            texts.append(tokenizer.decode(tokens, skip_special_tokens=True))
        word = first_word(texts[-1])
        if word:
            needed = next(n for n, text in enumerate(texts) if first_word(text) == word)
        else:  # nothing but punctuation
            needed = next((n for n, text in enumerate(texts) if has_ended(text)), -1)
            word = " ".join(texts[needed][:MAX_BEFORE].replace("\ufffd", "").split())
        found[folded(word)] = found.get(folded(word), 0.0) + math.exp(totals[needed])
    return dict(sorted(found.items(), key=lambda pair: -pair[1])[:k])


@pytest.mark.parametrize("key", ["qwen2_5_vl", "gemma3_window", "qwen3_5", "mllama"])
def test_words_are_whole_and_their_probabilities_the_models_own(key, dior, directories):
    expected = slow_words(directories(key), IMAGES[1], prompt("car color"), 3)
    words = dior(key).words(IMAGES, ["x", "car color"], k=3)[1][1]
    assert [word for word, _ in words] == list(expected)
    np.testing.assert_allclose([probability for _, probability in words], list(expected.values()), rtol=1e-3, atol=1e-6)
    assert dior(key).words(IMAGES[1], "car color", k=3)[0][0] == words[0][0]


@pytest.mark.parametrize("key", ["qwen2_5_vl", "qwen3_5", "paligemma"])
def test_vectors_are_the_same_when_words_are_told_with_them(key, dior):
    request = Request(conditions=("car color", "x"), prompt_types=("describe", "express"), layers=(-1, 2))
    silent = dict(dior(key).stream(enumerate(IMAGES), request))
    told = dict(dior(key).stream(enumerate(IMAGES), replace(request, top_words=2)))
    for index, embedded in silent.items():
        np.testing.assert_allclose(told[index].vectors, embedded.vectors, atol=1e-4)
        assert embedded.words is None
        assert [len(of_condition) for of_condition in told[index].words] == [2, 2]
        expected = dior(key).words(IMAGES[index], "x", k=2, prompt_type="express")
        assert told[index].words[1][1][0][0] == expected[0][0]


def test_every_combination_of_prompt_type_token_and_layer_comes_from_one_pass(dior):
    embedder = dior("qwen2_5_vl")
    axes = {"prompt_types": ("describe", "capture"), "tokens": (-1, -3), "layers": (-1, 1, 2)}
    [(_, embedded)] = embedder.stream([("a", IMAGES[0])], Request(conditions=("car color", None), **axes))
    assert embedded.vectors.shape == (2, 2, 2, 3, 32)
    for (p, prompt_type), (t, token), (n, layer) in itertools.product(*map(enumerate, axes.values())):
        single = embedder.encode(IMAGES[0], ["car color", None], prompt_type=prompt_type, token=token, layer=layer)
        np.testing.assert_allclose(embedded.vectors[:, p, t, n], single, atol=1e-4)


def test_ensembles_are_means_over_prompts_and_layers_of_unit_length(dior):
    embedder = dior("idefics3")
    types, layers = ["describe", "express", "depict"], [-1, 2]
    each = np.stack([embedder.encode(IMAGES, CONDITIONS, prompt_type=prompt_type) for prompt_type in types])
    np.testing.assert_allclose(embedder.encode(IMAGES, CONDITIONS, prompt_type=types), each.mean(0), atol=1e-5)
    unit = [embedder.encode(IMAGES, CONDITIONS, layer=layer, normalize_embeddings=True) for layer in layers]
    together = embedder.encode(IMAGES, CONDITIONS, layer=layers)
    np.testing.assert_allclose(together, np.concatenate(unit, -1), atol=1e-5)
    mean = embedder.encode(IMAGES, CONDITIONS, layer=layers, layer_pooling="mean")
    np.testing.assert_allclose(mean, np.mean(unit, 0), atol=1e-5)
    names = {
        setting.name
        for options in ({}, {"average_prompts": True}, {"layer_pooling": "mean"}, {"layer_pooling": "concat"})
        for setting in embedder.settings(Request(prompt_types=tuple(types), layers=(-1, 2), **options), dataset="x")
    }
    assert len(names) == 6 + 2 + 3 + 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("key", ["idefics3", "gemma3"])
def test_half_precision_shared_and_separate_agree(key, dtype, directories):
    shared, plain = (
        load(directories(key, calm=True), dtype, share=share).encode(IMAGES, CONDITIONS) for share in (True, False)
    )
    unit = [vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) for vectors in (shared, plain)]
    assert (unit[0] * unit[1]).sum(-1).min() >= 0.9999


def test_flat_positions_are_the_references(directories, dior):
    model, inputs = single_prompt(directories("qwen2_5_vl"), IMAGES[0], prompt("car color"))
    positions = torch.arange(inputs["input_ids"].shape[1]).expand(3, 1, -1)
    with torch.no_grad():
        expected = model(**inputs, position_ids=positions, output_hidden_states=True).hidden_states[-1][0, -1]
    flat = load(directories("qwen2_5_vl"), positions="flat")
    got = flat.encode(IMAGES, ["x", "car color"])[0, 1]
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.abs(got - dior("qwen2_5_vl").encode(IMAGES[0], "car color")).max() > 0.05


def test_a_model_without_a_chat_template_reads_image_and_text(directories):
    embedder = load(directories("idefics3", chat=False))
    processor = AutoProcessor.from_pretrained(directories("idefics3", chat=False))
    model = AutoModelForImageTextToText.from_pretrained(directories("idefics3", chat=False), dtype=torch.float32).eval()
    inputs = processor(text=["<image>" + prompt("car color")], images=[IMAGES[0]], return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True).hidden_states[-1][0, -1]
    np.testing.assert_allclose(embedder.encode(IMAGES[0], "car color"), expected, atol=1e-4)


def test_an_image_behind_the_text_shares_the_vision_tower_alone(directories, tmp_path):
    directory = save("idefics3", tmp_path)
    processor = AutoProcessor.from_pretrained(directory)
    processor.chat_template = (
        "{% for c in messages[0]['content'] | reverse %}{{ c['text'] if c['text'] else '<image>' }}{% endfor %}"
    )
    processor.save_pretrained(directory)
    embedder = load(directory)
    assert embedder.plan.strategy == "tower"
    together = embedder.encode(IMAGES, CONDITIONS)
    np.testing.assert_allclose(embedder.encode(IMAGES[1], CONDITIONS[2]), together[1, 2], atol=1e-5)


def test_an_image_goes_through_the_processor_once(dior, monkeypatch):
    embedder = dior("qwen2_5_vl")
    conditions = [f"aspect {n}" for n in range(4)]
    embedder.encode(IMAGES[0], conditions)  # the tails are learned on the first image
    calls = []
    kind = type(embedder.lvlm.processor)
    whole = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda self, *args, **kwargs: calls.append(1) or whole(self, *args, **kwargs))
    embedder.encode(IMAGES, conditions)
    assert len(calls) == len(IMAGES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 5}, "layer 5 is out of range.* 0 to 4"),
        ({"layer": -6}, "layer -6"),
        ({"token": 900}, "token 900 is out of range"),
    ],
)
def test_what_is_out_of_range_says_so(options, message, dior):
    with pytest.raises(ValueError, match=message):
        dior("idefics3").encode(IMAGES[0], "car color", **options)


def test_a_model_that_does_not_read_images_with_text_is_refused(tmp_path):
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=99)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a gpt2 model, which does not read images with text") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_encoder_decoder_is_refused(tmp_path, monkeypatch, directories):
    whole = Checkpoint.load_model

    def encoder_decoder(self, *args, **kwargs):
        model = whole(self, *args, **kwargs)
        model.config.is_encoder_decoder = True
        return model

    monkeypatch.setattr(Checkpoint, "load_model", encoder_decoder)
    with pytest.raises(ModelError, match="encoder-decoder"):
        load(directories("idefics3"))


def test_many_threads_prepare_what_one_prepares(dior):
    embedder = dior("qwen2_5_vl")
    images = [picture(56 + 28 * (n % 3), 84, n) for n in range(40)]
    request = Request(conditions=("car color", "x", None))
    found = dict(embedder.stream(enumerate(images), request, workers=8))
    alone = dict(embedder.stream(enumerate(images), request, workers=1, batch_size=1))
    for index, embedded in alone.items():
        np.testing.assert_allclose(found[index].vectors, embedded.vectors, atol=1e-4)


def test_settings_tell_apart_what_decides_a_vector(dior):
    request = Request(conditions=("car color", None), layers=(-1, 2), tokens=(-2,))
    settings = dior("idefics3").settings(request, dataset="cars")
    assert [(setting.condition, setting.layer) for setting in settings] == [
        *(("car color", -1), ("car color", 2), (None, -1), (None, 2))
    ]
    assert settings[0].positions == "native"
    assert settings[0].method == "dior"


def test_what_is_generated_belongs_to_the_setting():
    embedder = DIOR(Checkpoint.find("builtin", device="cpu"))

    def names(**options: object) -> list[str]:
        return [setting.name for setting in embedder.settings(Request(**options), dataset="x")]

    short, long = ({"embedding_source": "mean_output", "max_new_tokens": tokens} for tokens in (2, 16))
    assert names(**short) != names(**long)
    assert names(**long) != names(**long, do_sample=True, temperature=0.7)
    assert names(max_new_tokens=2) == names(max_new_tokens=16)  # the prompt's last token comes before all of it
