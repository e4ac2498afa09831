"""Embedders that take an instruction give the vectors of their families' own published procedures.

Each procedure is written out plainly here, as the public code that the record cites has it.
"""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tiny_embedders import NAMES, save_family
from tiny_models import save
from torch.nn.functional import normalize
from transformers import AutoModelForImageTextToText, AutoProcessor

import conditional_image_embeddings as cie
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.errors import ConditionError, ModelError, OptionError
from conditional_image_embeddings.interfaces.inputs import encode as encode_inputs
from conditional_image_embeddings.methods import load_for, supported_methods
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.models.instructed import FAMILIES

RANDOM = np.random.default_rng(0)
# Of sizes that no limit changes: the families' codes resize images by other libraries than their processors do.
IMAGES = [Image.fromarray(RANDOM.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in ((560, 448), (448, 476))]
CONDITIONS = ["car color", None, "the number of people in the foreground"]
TEXTS = ["red", "a dog on the beach"]

Procedure = Callable[[Path, Sequence[Image.Image | None], Sequence[str | None], Sequence[str | None]], torch.Tensor]


def last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state of each row's last token that is no padding, whatever the side of the padding."""
    column = mask.shape[1] - mask.flip(1).argmax(1) - 1
    return states[torch.arange(len(states)), column]


def flat(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(1) - 1).clamp(0).expand(3, -1, -1)


def opened(directory: Path, **options: Any) -> tuple[Any, Any]:
    processor = AutoProcessor.from_pretrained(directory, **options)
    return AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval(), processor


def pixels(low: int, high: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": low, "longest_edge": high}}


def qwen3_vl_embedding(directory, images, texts, conditions):
    """QwenLM/Qwen3-VL-Embedding, src/models/qwen3_vl_embedding.py: Qwen3VLEmbedder."""
    model, processor = opened(directory, **pixels(4 * 32 * 32, 1800 * 32 * 32))
    processor.tokenizer.padding_side = "right"
    chats = []
    for image, text, condition in zip(images, texts, conditions, strict=True):
        instruction = "Represent the user's input."
        if condition is not None:
            instruction = f"Represent the user's input regarding {condition}."
        content: list[Any] = [] if image is None else [{"type": "image", "image": image}]
        content += [] if text is None else [{"type": "text", "text": text}]
        system = {"role": "system", "content": [{"type": "text", "text": instruction}]}
        chats.append([system, {"role": "user", "content": content}])
    written = processor.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    shown = [image for image in images if image is not None] or None
    inputs = processor(text=written, images=shown, padding=True, return_tensors="pt")
    assert (last(inputs["input_ids"], inputs["attention_mask"]) == processor.tokenizer.pad_token_id).all()
    return normalize(last(model.model(**inputs).last_hidden_state, inputs["attention_mask"]), dim=-1)


def vlm2vec(directory, images, texts, conditions):
    """TIGER-AI-Lab/VLM2Vec, experiments/examples/qwen2vl/demo_v2_image.py; no vision_start, so flat positions."""
    base, _ = opened(directory.parent / "Qwen2-VL-2B-Instruct")
    model = peft.PeftModel.from_pretrained(base, directory).merge_and_unload()
    processor = AutoProcessor.from_pretrained(directory, **pixels(4 * 28 * 28, 1280 * 28 * 28))
    written = []
    for image, text, condition in zip(images, texts, conditions, strict=True):
        question = f" with the following question: What is the {condition}?" if condition is not None else "."
        said = f"<|image_pad|> Represent the given image{question}"
        written.append(text if image is None else said if text is None else f"{said} {text}")
    shown = [image for image in images if image is not None] or None
    inputs = processor(text=written, images=shown, padding=True, return_tensors="pt")
    states = model(**inputs, position_ids=flat(inputs["attention_mask"]), output_hidden_states=True).hidden_states[-1]
    return normalize(last(states, inputs["attention_mask"]), dim=-1)


def e5_v(directory, images, texts, conditions):
    """kongds/E5-V, README.md; the prompts with a condition and with a text after those of retrieval.py."""
    model, processor = opened(directory)
    user, assistant = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
    written = []
    for image, text, condition in zip(images, texts, conditions, strict=True):
        based = "" if condition is None else f" based on its {condition}"
        if image is None:
            said = f"{text}\nSummary above sentence in one word{based}: "
        elif text is None:
            said = f"<image>\nSummary above image in one word{based}: "
        else:
            said = f'<image>Modify this image with "{text}", desribe modified image in one word{based}: '
        written.append(f"{user}{said}<|eot_id|>{assistant} \n")
    shown = [image for image in images if image is not None] or None
    inputs = processor(text=written, images=shown, return_tensors="pt", padding=True)
    assert (inputs["input_ids"] == processor.tokenizer.bos_token_id).sum(1).tolist() == [1] * len(written)
    return normalize(model(**inputs, output_hidden_states=True).hidden_states[-1][:, -1, :], dim=-1)


def gme(directory, images, texts, conditions):
    """Alibaba-NLP/gme-Qwen2-VL, gme_inference.py: GmeQwen2VL.embed; forward gives the decoder no positions."""
    model, processor = opened(directory, **pixels(256 * 28 * 28, 1280 * 28 * 28))
    processor.tokenizer.padding_side = "right"
    written = []
    for image, text, condition in zip(images, texts, conditions, strict=True):
        told = "You are a helpful assistant." if condition is None else f"Find an image with the same {condition}."
        shown = "" if image is None else "<|vision_start|><|image_pad|><|vision_end|>"
        written.append(
            f"<|im_start|>system\n{told}<|im_end|>\n<|im_start|>user\n{shown}{text or ''}<|im_end|>\n"
            "<|im_start|>assistant\n<|endoftext|>"
        )
    given = [image for image in images if image is not None] or None
    inputs = processor(text=written, images=given, padding=True, return_tensors="pt")
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    if given:
        features = model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output
        embeddings[inputs["input_ids"] == model.config.image_token_id] = features
    mask = inputs["attention_mask"]
    states = model.model.language_model(
        inputs_embeds=embeddings, attention_mask=mask, position_ids=flat(mask)
    ).last_hidden_state
    return normalize(last(states, mask), dim=-1)


PROCEDURES: dict[str, Procedure] = {
    "qwen3-vl-embedding": qwen3_vl_embedding, "vlm2vec-v2": vlm2vec, "e5-v": e5_v, "gme": gme,
}  # fmt: skip
SHARING = {"qwen3-vl-embedding": "tower", "vlm2vec-v2": "packed", "e5-v": "packed", "gme": "tower"}


def published(family: str, directory: Path, images: Any, texts: Any, conditions: Any) -> np.ndarray:
    with torch.inference_mode():
        return PROCEDURES[family](directory, images, texts, conditions).numpy()


@pytest.fixture(scope="module", params=PROCEDURES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def directory(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(family, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def embedder(directory: Path) -> Any:
    return cie.load(str(directory), device="cpu", image_max_size=0)  # by its name alone


def test_images_single_and_batched_under_mixed_conditions(family: str, directory: Path, embedder: Any) -> None:
    assert embedder.method == "instruct"
    assert embedder.sharing == SHARING[family]
    count = len(CONDITIONS)
    images = [image for image in IMAGES for _ in CONDITIONS]
    batched = published(family, directory, images, [None] * len(images), CONDITIONS * len(IMAGES))
    got = embedder.encode(IMAGES, CONDITIONS)
    np.testing.assert_allclose(got.reshape(batched.shape), batched, atol=1e-5)
    for index in (0, count):
        single = published(family, directory, images[index : index + 1], [None], ["car color"])
        np.testing.assert_allclose(got.reshape(batched.shape)[index], single[0], atol=1e-5)
        np.testing.assert_allclose(embedder.encode(images[index], "car color"), single[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=-1), 1, atol=1e-5)
    assert np.abs(got[:, 0] - got[:, 1]).max() > 1e-2  # the condition counts


def test_an_image_below_the_limits(family: str, directory: Path, embedder: Any) -> None:
    small = Image.fromarray(RANDOM.integers(0, 256, (84, 112, 3), dtype=np.uint8))  # GME makes 256 tokens of it
    expected = published(family, directory, [small], [None], ["car color"])
    np.testing.assert_allclose(embedder.encode(small, "car color"), expected[0], atol=1e-5)


def test_texts_in_place_of_images(family: str, directory: Path, embedder: Any) -> None:
    texts = [text for text in TEXTS for _ in CONDITIONS]
    expected = published(family, directory, [None] * len(texts), texts, CONDITIONS * len(TEXTS))
    got = embedder.encode_text(TEXTS, CONDITIONS)
    np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=1e-5)


def test_images_with_texts_are_read_at_once(family: str, directory: Path, embedder: Any) -> None:
    texts = ["with a red door", "at night"]
    for condition in ("car color", None):
        expected = published(family, directory, IMAGES, texts, [condition] * 2)
        together = [{"image": image, "text": text} for image, text in zip(IMAGES, texts, strict=True)]
        got = encode_inputs(embedder, ["red", *together, IMAGES[0]], condition, {})
        np.testing.assert_allclose(got[1:3], expected, atol=1e-5)
        np.testing.assert_allclose(got[0], embedder.encode_text("red", condition), atol=1e-6)
        np.testing.assert_allclose(got[3], embedder.encode(IMAGES[0], condition), atol=1e-6)


def test_shortened_vectors_have_unit_length_again(family: str, embedder: Any, caplog: Any) -> None:
    whole, short = (embedder.encode(IMAGES, "car color", truncate_dim=each) for each in (None, 8))
    np.testing.assert_allclose(short, normalize(torch.from_numpy(whole[:, :8]), dim=-1).numpy(), atol=1e-6)
    text = embedder.encode_text("red", "car color", truncate_dim=8)
    assert np.linalg.norm(text) == pytest.approx(1, abs=1e-5)
    said = "fewer than 64 dimensions" if family == "qwen3-vl-embedding" else "vectors of fewer dimensions"
    assert sum(said in message for message in caplog.messages) == 1


def test_a_whole_instruction_in_place_of_a_condition(embedder: Any) -> None:
    told = embedder.instructed("Find the same kind of weather.")
    assert told.lvlm.model is embedder.lvlm.model
    assert told.lock is embedder.lock
    assert np.abs(told.encode(IMAGES[0]) - embedder.encode(IMAGES[0])).max() > 1e-3
    np.testing.assert_allclose(told.encode(IMAGES[0], "color"), embedder.encode(IMAGES[0], "color"), atol=1e-6)
    (setting,) = told.settings(Request(), dataset="x")
    np.testing.assert_array_equal(load_for(setting, device="cpu").encode(IMAGES[0]), told.encode(IMAGES[0]))


def test_separate_passes_give_the_same(directory: Path, embedder: Any) -> None:
    separate = cie.load(str(directory), device="cpu", image_max_size=0, share=False)
    assert separate.sharing == "separate"
    np.testing.assert_allclose(separate.encode(IMAGES, CONDITIONS), embedder.encode(IMAGES, CONDITIONS), atol=1e-5)


def test_a_setting_makes_its_embedder_again(directory: Path, embedder: Any) -> None:
    setting, none = embedder.settings(Request(conditions=("car color", None)), dataset="x")
    assert setting.name != none.name
    bound = load_for(setting, device="cpu")
    np.testing.assert_array_equal(bound.encode(IMAGES[0]), embedder.encode(IMAGES[0], "car color"))
    changed = cie.load(str(directory), instruction="The {c} of this.", image_max_size=0)
    assert changed.settings(Request(conditions=("car color",)), dataset="x")[0].digest != setting.digest


def test_without_a_head(family: str, directory: Path, embedder: Any, tmp_path: Path) -> None:
    base = "Qwen2-VL-2B-Instruct" if family == "vlm2vec-v2" else directory.name
    for each in {directory.name, base}:
        shutil.copytree(directory.parent / each, tmp_path / each)
    weights = tmp_path / base / "model.safetensors"
    kept = {name: one for name, one in load_file(weights).items() if "lm_head" not in name}
    assert len(kept) < len(load_file(weights))
    save_file(kept, weights, {"format": "pt"})
    if family == "vlm2vec-v2":
        config = tmp_path / directory.name / "adapter_config.json"
        config.write_text(config.read_text().replace(str(directory.parent), str(tmp_path)))
    found: Any = cie.load(str(tmp_path / directory.name), device="cpu", image_max_size=0)
    assert not found.lvlm.has_head
    np.testing.assert_array_equal(found.encode(IMAGES[0], CONDITIONS), embedder.encode(IMAGES[0], CONDITIONS))


def test_what_a_family_says_of_itself(directory: Path, tmp_path: Path) -> None:
    assert supported_methods(str(directory))[0] == "instruct"
    renamed = Path(shutil.copytree(directory, tmp_path / "a-name-that-says-nothing"))
    assert "instruct" not in supported_methods(str(renamed))


def test_every_record_is_whole_and_cites_its_source() -> None:
    assert FAMILIES.keys() == NAMES.keys()
    for record in FAMILIES.values():
        assert record.title
        assert record.source
        for kind in ("", "text", "pair"):
            assert "car color" in record.instruction("car color", kind)
            assert record.instruction(None, kind)
        where = [record.prompt.find(part) for part in ("{instruction}", "{input}")]
        assert (record.place == "system") == (where[0] < where[1] or not record.prompt)


def test_searched_together_with_dior(tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES * 3):
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.rotate(90 * (index // 2), expand=True).save(tmp_path / "photos" / f"{index}.png")
    models = {"color": "builtin", "style": str(save_family("gme", tmp_path))}
    for condition, model in models.items():
        given = ["embed", str(tmp_path / "photos"), "-c", condition, "-m", model, "-e", str(tmp_path / "db")]
        assert CliRunner().invoke(main, given).exit_code == 0
    with cie.open(tmp_path / "db", device="cpu") as collection:
        settings = {"color": "*builtin*", "style": "*gme*"}
        weights: dict[str | None, float] = {"color": 1.0, "style": 2.0}
        hits = collection.search(text="red", conditions=weights, setting=settings)
        for hit in hits:
            percentiles = {name: share or 0.0 for name, share in hit.percentiles.items()}
            assert hit.score == pytest.approx(percentiles["color"] + 2 * percentiles["style"], abs=1e-5)
        line = ["search", str(tmp_path / "db"), "--text", "red", "-c", "color", "-c", "style:2", "--json"]
        found = CliRunner().invoke(main, [*line, *(f"--setting={name}={glob}" for name, glob in settings.items())])
        assert [each["score"] for each in json.loads(found.stdout)] == pytest.approx([hit.score for hit in hits])
        refused = CliRunner().invoke(main, [*line, "--setting", "*a*", "--setting", "shape=*b*"])
        assert refused.exit_code == 2
        assert "--setting names no condition that is searched: *a* and shape=*b*" in refused.stderr
        assert {space.shared.method for space in collection.spaces()} == {"dior", "instruct"}
    assert len(hits) == 6


def test_mteb_tasks_pass_their_instruction(tmp_path: Path) -> None:
    import mteb
    from mteb.types import PromptType

    from conditional_image_embeddings.interfaces.mteb import ConditionalModel

    embedder: Any = cie.load(str(save_family("qwen3-vl-embedding", tmp_path)), device="cpu")
    model = ConditionalModel(embedder)
    task = mteb.get_task("Flickr30kI2TRetrieval").metadata
    asked = task.prompt["query"] if isinstance(task.prompt, dict) else task.prompt
    assert asked

    def encode(prompt_type: Any, **prompt: Any) -> np.ndarray:
        metadata = task.model_copy(update=prompt)
        split = {"hf_split": "test", "hf_subset": "default"}
        return model.encode([{"image": [IMAGES[1]]}], task_metadata=metadata, prompt_type=prompt_type, **split)[0]

    told = embedder.instructed(asked).encode(IMAGES[1])
    np.testing.assert_allclose(encode(PromptType.query), told, atol=1e-6)
    np.testing.assert_allclose(encode(PromptType.document), embedder.encode(IMAGES[1]), atol=1e-6)
    both = {"query": "Find it", "document": "Keep it"}
    expected = embedder.instructed("Keep it").encode(IMAGES[1])
    np.testing.assert_allclose(encode(PromptType.document, prompt=both), expected, atol=1e-6)
    np.testing.assert_allclose(encode(None, name="DTD"), embedder.encode(IMAGES[1], "texture"), atol=1e-6)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save("qwen2_5_vl", tmp_path_factory.mktemp("plain") / "some-model"))


def refused(error: type[Exception], model: str, **options: Any) -> str:
    with pytest.raises(error) as raised:
        cie.load(model, method="instruct", device="cpu", **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_in_the_commands(family: str, directory: Path, tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES * 3):
        (folder := tmp_path / "photos" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        image.rotate(90 * (index // 2), expand=True).save(folder / f"{index}.png")
    db = str(tmp_path / "db")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, list(arguments))
        assert done.exit_code == 0, done.output
        return done.stdout

    told = run("embed", str(tmp_path / "photos"), "-c", "car color", "--no-condition", "-m", str(directory), "-e", db)
    assert told.count("6 embedded") == 2
    hits = json.loads(run("search", db, "--text", "red", "-c", "car color", "--device", "cpu", "--json"))
    assert len(hits) == 6
    shown = run(
        "search", db, "--image", str(tmp_path / "photos/a/0.png"), "-c", "car color", "--device", "cpu", "--json"
    )
    assert {hit["image_id"] for hit in json.loads(shown)} == {hit["image_id"] for hit in hits} - {"a/0.png"}  # itself
    assert "Instruct" in run("evaluate", db, "--folders", "kind", "--no-clustering", "--format", "latex")


def test_a_model_of_no_known_family(plain: str) -> None:
    said = refused(ModelError, plain)
    assert all(name in said for name in FAMILIES)
    assert "instruction={'place': 'system', 'with_condition':" in said
    assert "unknown family 'gmee'; known: qwen3-vl-embedding" in refused(OptionError, plain, family="gmee")
    assert "is a qwen2_5_vl model, and GME is qwen2_vl" in refused(ModelError, plain, family="gme")


def test_records_that_are_none(plain: str) -> None:
    assert "has 10000 characters; at most 2000" in refused(OptionError, plain, instruction="x {c} " + 9994 * "a")
    assert "has no {c}" in refused(OptionError, plain, instruction="Represent the color.")
    assert "has no {c}" in refused(OptionError, plain, instruction={"with_condition": "Represent the color."})
    assert "has no plaice; it takes place, prompt" in refused(OptionError, plain, instruction={"plaice": 1})
    assert "unknown place 'behind'" in refused(OptionError, plain, instruction={"place": "behind"})
    assert "unknown pooling 'cls'; known: last, mean" in refused(OptionError, plain, instruction="{c}", pooling="cls")
    assert "is bool, not 'yes'" in refused(OptionError, plain, instruction={"normalized": "yes"})
    assert "tokenizer has no '<|end|>'" in refused(ModelError, plain, instruction={"end": "<|end|>"})
    assert "has {input}, the image, and {instruction}" in refused(OptionError, plain, instruction={"prompt": "{image}"})


@pytest.fixture(scope="module")
def modules(plain: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as sentence-transformers saves it."""
    transformer = Transformer(plain, processing_kwargs={"chat_template": {"add_generation_prompt": True}})
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
    directory = tmp_path_factory.mktemp("modules") / "model"
    SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu").save(str(directory))
    return directory


def test_a_model_of_sentence_transformers_as_it_is(modules: Path) -> None:
    assert supported_methods(str(modules))[0] == "instruct"
    embedder = cie.load(str(modules), device="cpu")
    own = SentenceTransformer(str(modules), device="cpu")
    got = embedder.encode(IMAGES, ["car color", None])
    for index, prompt in enumerate(("Represent the image regarding car color.", None)):
        given: Any = [{"image": image} for image in IMAGES]
        np.testing.assert_allclose(got[:, index], own.encode(given, prompt=prompt), atol=1e-5)
    assert np.abs(got[:, 0] - got[:, 1]).max() > 1e-3
    prompt = "Represent the image regarding car color."
    np.testing.assert_allclose(embedder.encode_text("red", "car color"), own.encode("red", prompt=prompt), atol=1e-5)
    other = cie.load(str(modules), instruction="Which {c}?", device="cpu")
    expected = own.encode([{"image": IMAGES[0]}], prompt="Which car color?")[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(other.encode(IMAGES[0], "car color"), expected, atol=1e-5)
    (setting,) = other.settings(Request(conditions=("car color",)), dataset="x")
    np.testing.assert_allclose(load_for(setting, device="cpu").encode(IMAGES[0]), expected, atol=1e-5)
    with pytest.raises(OptionError, match="this model's own modules pool"):
        cie.load(str(modules), pooling="mean")
    record: Any = cie.load(str(modules), instruction={"with_condition": "The {c}?"}, device="cpu")
    assert record.sharing == "packed"  # a record is the engine's


def test_a_prompt_that_reaches_no_image(plain: str, tmp_path: Path) -> None:
    silent = Path(shutil.copytree(plain, tmp_path / "silent"))
    for file in silent.glob("chat_template*"):
        file.write_text(
            "{% for m in messages if m['role'] == 'user' %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
            "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
        )
    transformer = Transformer(str(silent))
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(tmp_path / "model"))
    embedder = cie.load(str(tmp_path / "model"), device="cpu")
    assert embedder.encode(IMAGES[1]).ndim == 1
    with pytest.raises(ModelError, match="its prompt does not reach images"):
        embedder.encode(IMAGES[1], "color")


@pytest.mark.parametrize("place", ["system", "before", "after"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_record_of_ones_own(place: str, pooling: str, plain: str) -> None:
    record = {"place": place, "with_condition": "See the {c}!", "end": "</s>", "normalized": False}
    embedder: Any = cie.load(plain, method="instruct", instruction=record, pooling=pooling, device="cpu")
    assert embedder.sharing == ("packed" if place == "after" else "tower")
    model, processor = opened(Path(plain))
    shown, said = {"type": "image", "image": IMAGES[0]}, {"type": "text", "text": "See the car color!"}
    chat = {
        "system": [{"role": "system", "content": [said]}, {"role": "user", "content": [shown]}],
        "before": [{"role": "user", "content": [said, shown]}],
        "after": [{"role": "user", "content": [shown, said]}],
    }[place]
    written = processor.apply_chat_template([chat], add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[written[0] + "</s>"], images=[IMAGES[0]], return_tensors="pt")
    with torch.inference_mode():
        states = model.model(**inputs).last_hidden_state[0]
    expected = states.mean(0) if pooling == "mean" else states[-1]
    got = embedder.encode(IMAGES, ["car color", "the model of the car"])
    np.testing.assert_allclose(got[0, 0], expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(embedder.encode(IMAGES[0], "car color"), expected.numpy(), atol=1e-5)
    with pytest.raises(ConditionError, match="no wording without a condition: give without_condition="):
        embedder.encode(IMAGES[0])
    assert embedder.encode_text("red", "car color").shape == got.shape[-1:]


def test_an_end_token_that_the_tokenizer_does_not_add(tmp_path: Path) -> None:
    directory = save_family("qwen3-vl-embedding", tmp_path)
    expected = cie.load(str(directory), device="cpu").encode(IMAGES[1], "color")
    processor = AutoProcessor.from_pretrained(directory)
    processor.tokenizer._tokenizer.post_processor = None
    processor.save_pretrained(directory)
    np.testing.assert_array_equal(cie.load(str(directory), device="cpu").encode(IMAGES[1], "color"), expected)


def test_pickled_it_loads_again(directory: Path) -> None:
    embedder: Any = cie.load(str(directory), device="cpu")
    told = embedder.instructed("Find the same landmark.")
    one, other = pickle.loads(pickle.dumps((embedder, told)))  # noqa: S301
    assert one.lvlm.model is other.lvlm.model
    np.testing.assert_array_equal(one.encode(IMAGES[0], "color"), embedder.encode(IMAGES[0], "color"))
    np.testing.assert_array_equal(other.encode(IMAGES[0]), told.encode(IMAGES[0]))


def test_special_tokens_in_what_users_type_are_refused(embedder: Any) -> None:
    token = embedder.frame.tokenizer.pad_token
    for call in (lambda: embedder.encode(IMAGES[1], f"color {token}"), lambda: embedder.encode_text(token, "color")):
        with pytest.raises(ConditionError, match="is a token of"):
            call()
