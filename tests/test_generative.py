"""Generate, then encode: against transformers' own `generate` and sentence-transformers' own `encode`."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
from tiny_models import save, tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForImageTextToText, AutoProcessor

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.engine.generation import Sampling
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.inputs.conditions import prompt
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods import with_method
from conditional_image_embeddings.methods.embedder import Embedder
from conditional_image_embeddings.methods.generative import answer_text
from conditional_image_embeddings.methods.request import Request

CONDITIONS = ["car color", None, "the model of the vehicle"]


def picture(width: int, height: int, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


IMAGES = [picture(112, 80, 0), picture(60, 140, 1)]


@pytest.fixture(scope="module")
def sentence_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T5 encoder, mean pooling, a dense layer, unit length: the paper's text encoder, tiny and random."""
    base, directory = tmp_path_factory.mktemp("t5"), tmp_path_factory.mktemp("sentence-t5")
    torch.manual_seed(0)
    config = tf.T5Config(
        d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=400, is_encoder_decoder=False
    )
    tf.T5EncoderModel(config).save_pretrained(base)
    tok = tokenizer("<image>", {"image_token": "<image>"}, chat=False)
    tok.backend_tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    tok.save_pretrained(base)
    transformer = Transformer(str(base))
    modules = [transformer, Pooling(16, pooling_mode="mean"), Dense(16, 12, bias=False), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(directory))
    return directory


@pytest.fixture(scope="module")
def lvlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("qwen2_5_vl", tmp_path_factory.mktemp("lvlm"))


def written(directory: Path, image: Image.Image, text: str, tokens: int) -> tuple[str, float]:
    """What `generate` writes, and the probability of exactly these tokens."""
    processor = AutoProcessor.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    chat = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[chat], images=[image], return_tensors="pt")
    out = model.generate(
        **inputs, max_new_tokens=tokens, do_sample=False, output_scores=True, return_dict_in_generate=True
    )
    new = out.sequences[0, inputs["input_ids"].shape[1] :]
    likely = [score[0].log_softmax(-1)[token] for score, token in zip(out.scores, new, strict=True) if token != 3]
    return processor.tokenizer.decode([t for t in new if t != 3], skip_special_tokens=True), float(sum(likely).exp())


def test_it_is_generate_and_then_encode(lvlm: Path, sentence_t5: Path) -> None:
    embedder = cie.load(str(lvlm), method="generative", text_encoder=str(sentence_t5), device="cpu")
    request = Request(conditions=tuple(CONDITIONS), max_new_tokens=5)
    found = dict(embedder.stream(enumerate(IMAGES), request))
    encoder = SentenceTransformer(str(sentence_t5), device="cpu")
    for index, image in enumerate(IMAGES):
        for k, condition in enumerate(CONDITIONS):
            text, probability = written(lvlm, image, prompt(condition), 5)
            [(answer, said)] = found[index].words[k][0]
            assert answer == answer_text(text)
            np.testing.assert_allclose(said, probability, rtol=1e-3)
            np.testing.assert_allclose(found[index].vectors[k, 0, 0, 0], encoder.encode(answer), atol=1e-5)


def test_as_the_paper_s_code_embeds_answers(lvlm: Path, sentence_t5: Path) -> None:
    """It encodes all that `generate` returns, the prompt included, in float32, whatever the model is in."""
    options = {"method": "generative", "text_encoder": str(sentence_t5), "device": "cpu"}
    embedder = cie.load(str(lvlm), **options, encoded_text="chat")
    found = embedder.encode(IMAGES, CONDITIONS, max_new_tokens=5)
    encoder = SentenceTransformer(str(sentence_t5), device="cpu")
    processor = AutoProcessor.from_pretrained(lvlm)
    model = AutoModelForImageTextToText.from_pretrained(lvlm, dtype=torch.float32).eval()
    for index, image in enumerate(IMAGES):
        for k, condition in enumerate(CONDITIONS):
            content = [{"type": "image"}, {"type": "text", "text": prompt(condition)}]
            chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            out = model.generate(**processor(text=chat, images=image, return_tensors="pt"), max_new_tokens=5)
            text = processor.decode(out[0], skip_special_tokens=True)
            np.testing.assert_allclose(found[index, k], encoder.encode(text), atol=1e-5)
    half = cie.load(str(lvlm), **options, dtype="bfloat16", text_encoder_dtype="float32", encoded_text="chat")
    extra = half.settings(Request(), dataset="d")[0].extra
    assert (extra["encoded_text"], extra["text_encoder_dtype"]) == ("chat", "float32")
    plain = cie.load(str(lvlm), **options, text_encoder_dtype="float32").settings(Request(), dataset="d")[0].extra
    assert not {"encoded_text", "text_encoder_dtype"} & plain.keys()
    with pytest.raises(ValueError, match="unknown encoded_text 'all'; known: answer, chat"):
        cie.load(str(lvlm), **options, encoded_text="all")


def test_without_sharing_the_answers_are_the_same(lvlm: Path, sentence_t5: Path) -> None:
    options = {"method": "generative", "text_encoder": str(sentence_t5), "device": "cpu"}
    shared, plain = (cie.load(str(lvlm), share=share, **options) for share in (True, False))
    np.testing.assert_allclose(
        shared.encode(IMAGES, CONDITIONS, max_new_tokens=4),
        plain.encode(IMAGES, CONDITIONS, max_new_tokens=4),
        atol=1e-5,
    )


def drawn(
    embedder: Embedder,
    images: list[Image.Image],
    conditions: Sequence[str | None] = CONDITIONS,
    seed: int = 0,
    **how: Any,
) -> list[list[tuple[str, float]]]:
    """The answer to each condition, of each image."""
    request = Request(conditions=tuple(conditions), max_new_tokens=5, do_sample=True, temperature=2.0, seed=seed)
    found = dict(embedder.stream(enumerate(images), request, **how))
    return [[pair for ((pair,),) in found[index].words] for index in range(len(images))]


def test_a_drawn_answer_depends_on_image_prompt_and_seed_alone(lvlm: Path, sentence_t5: Path) -> None:
    options = {"method": "generative", "text_encoder": str(sentence_t5), "device": "cpu"}
    shared, plain = (cie.load(str(lvlm), share=share, **options) for share in (True, False))
    images = [*IMAGES, picture(112, 80, 2), picture(84, 84, 3)]
    together = drawn(shared, images)

    def assert_same(answers: list[list[tuple[str, float]]], expected: list[list[tuple[str, float]]]) -> None:
        assert [[text for text, _ in row] for row in answers] == [[text for text, _ in row] for row in expected]
        for row, other in zip(answers, expected, strict=True):
            np.testing.assert_allclose([p for _, p in row], [p for _, p in other], rtol=1e-3)

    torch.manual_seed(7)  # what ran before does not matter
    assert_same(drawn(shared, images), together)
    assert_same(drawn(plain, images), together)
    assert_same(drawn(plain, images, batch_size=1), together)
    assert_same(drawn(shared, images[::-1], batch_size=3), together[::-1])
    for index, image in enumerate(images):
        assert_same(drawn(shared, [image]), [together[index]])
    for k, condition in enumerate(CONDITIONS):
        assert_same(drawn(shared, images, (condition,)), [[row[k]] for row in together])
    texts = [text for answers in (together, drawn(shared, images, seed=1)) for row in answers for text, _ in row]
    assert len(set(texts)) == len(texts) == 24  # each image, prompt and seed draws for itself
    repeated = drawn(shared, [IMAGES[0]] * 2)
    assert repeated[0] == repeated[1]


def test_what_is_drawn_is_distributed_as_the_model_says(lvlm: Path, sentence_t5: Path) -> None:
    """A token of known probabilities, drawn under many seeds, and at many places of two images' answers."""
    embedder = cie.load(str(lvlm), method="generative", text_encoder=str(sentence_t5), device="cpu")
    logits = torch.tensor([[2.0, -1.0, 0.0, 1.0, float("-inf")]])
    expected = (logits[0] / 1.5).softmax(-1).numpy()
    one, other = (embedder.prepare(image, Request(do_sample=True, temperature=1.5)) for image in IMAGES)
    for draws in (
        [(seed, one, 0) for seed in range(4000)],
        [(0, prepared, step) for step in range(2000) for prepared in (one, other)],
    ):
        samplings = ((Sampling(temperature=1.5, seed=seed), prepared, step) for seed, prepared, step in draws)
        chosen = [int(each.choose(logits, [each.key(prepared, 0)], step)) for each, prepared, step in samplings]
        counts = np.bincount(chosen, minlength=5)
        deviations = np.sqrt(4000 * expected * (1 - expected))
        assert (np.abs(counts - 4000 * expected) <= 4 * deviations).all()  # also: never what is impossible


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_nothing_is_drawn_without_a_temperature(temperature: float) -> None:
    """Greedy instead would be another embedding than the one asked for."""
    with pytest.raises(ValueError, match=r"temperature above 0.*such as 0\.7"):
        Request(do_sample=True, temperature=temperature)


def test_what_is_drawn_is_a_setting_of_its_own(lvlm: Path, sentence_t5: Path) -> None:
    embedder = cie.load(str(lvlm), method="generative", text_encoder=str(sentence_t5), device="cpu")
    greedy = Request(conditions=("x",))
    assert embedder.settings(greedy, dataset="d") == embedder.settings(replace(greedy, temperature=0.7), dataset="d")
    warm = [Request(conditions=("x",), do_sample=True, temperature=t, seed=s) for t, s in ((1, 0), (1, 1), (2, 0))]
    assert len({embedder.settings(request, dataset="d")[0].name for request in (greedy, *warm)}) == 4


def test_beside_dior_it_is_the_same(lvlm: Path, sentence_t5: Path) -> None:
    options = {"image_max_size": 60, "device": "cpu"}
    dior = cie.load(str(lvlm), **options)
    alone = cie.load(str(lvlm), method="generative", text_encoder=str(sentence_t5), **options)
    shared = with_method(dior, "generative", text_encoder=str(sentence_t5))
    request = Request(conditions=("car color",))
    assert shared.settings(request, dataset="d") == alone.settings(request, dataset="d")
    np.testing.assert_array_equal(shared.encode(IMAGES, CONDITIONS), alone.encode(IMAGES, CONDITIONS))
    assert with_method(shared, "dior") is dior


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('red"', "red"),
        (' "Red".\n', "Red"),
        ("“dark  red” is what", "dark red"),
        ("the driver's car", "the driver's car"),
        ('צה"ל" הוא', 'צה"ל'),
        ('"', ""),
        ("", ""),
    ],
)
def test_only_the_answer(text: str, answer: str) -> None:
    assert answer_text(text) == answer


def test_empty_answers_are_embedded_counted_and_stored(tmp_path: Path, sentence_t5: Path) -> None:
    directory = save("qwen2_5_vl", tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(IMAGES):
        image.save(tmp_path / "photos" / f"{index}.png")
    generation = tf.GenerationConfig.from_pretrained(directory)
    generation.eos_token_id = list(range(400))  # whatever the model says ends its answer
    generation.save_pretrained(directory)
    embedder = cie.load(str(directory), method="generative", text_encoder=str(sentence_t5), device="cpu")
    store = Store(tmp_path / "db")
    report = run_job(store, find([tmp_path / "photos"])[0], embedder, Request(conditions=("mood",)))
    (row,) = report.settings
    assert (row.embedded, row.empty_answers) == (2, 2)
    assert [words[0][0] for words in store.words(row.setting).values()] == ["", ""]
    empty = SentenceTransformer(str(sentence_t5), device="cpu").encode("")
    np.testing.assert_allclose(store.read(row.setting)[1], np.stack([empty] * 2), atol=1e-6)


def test_the_setting_knows_the_text_encoder(lvlm: Path, sentence_t5: Path) -> None:
    names = {
        setting.name
        for encoder in (str(sentence_t5), "minilm")
        for tokens in (4, 16)
        for setting in cie.load(str(lvlm), method="generative", text_encoder=encoder, device="cpu").settings(
            Request(conditions=("x",), max_new_tokens=tokens), dataset="d"
        )
    }
    assert len(names) == 4
    assert any("generative-minilm" in name for name in names)


def test_a_text_encoder_that_is_not_there_is_one_line(lvlm: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "weightless").mkdir()
    (tmp_path / "weightless" / "modules.json").write_text("[]")
    for name, said in (
        ("sentence-transformers/sentence-t5-base", "minilm"),
        (str(tmp_path / "empty"), "modules.json"),
        (str(tmp_path / "weightless"), "no weights in safetensors"),
        ("./nowhere", "does not exist"),
    ):
        with pytest.raises(ModelError, match=said) as caught:
            cie.load(str(lvlm), method="generative", text_encoder=name, device="cpu")
        assert "\n" not in str(caught.value)
