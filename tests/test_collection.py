"""A stored setting is turned back into its embedder: images and texts land where the stored vectors are."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import peft
import pytest
import tiny_dual_encoders
import torch
import transformers as tf
from color_embedder import draw
from PIL import Image
from tiny_models import save

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.refinement import refine
from conditional_image_embeddings.collection.storage.setting_tables import FITTED_KEY
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ModelError, SettingError, StoreError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods import load_for
from conditional_image_embeddings.methods.clay import CLAY
from conditional_image_embeddings.methods.request import Request

pytestmark = pytest.mark.usefixtures("checked_once")

TEXTS = ["red", "blue"]
WORDS = {"mood": ["happy", "sad", "angry"], "car color": ["red", "teal", "a car in pink"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("models")
    lvlm = save("qwen2_5_vl", directory / "lvlm")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(tf.AutoModelForImageTextToText.from_pretrained(lvlm, dtype=torch.float32), config)
    adapted.save_pretrained(directory / "adapter")
    clip = tiny_dual_encoders.save("clip", directory / "clip")
    return {"lvlm": lvlm, "adapter": directory / "adapter", "clip": clip}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("images") / "photos", 5, size=(60, 40))


def embed(db: Path, photos: Path, model: Path | str, request: Request, **options: Any) -> Any:
    embedder = cie.load(str(model), device="cpu", **options) if model != "pixels" else cie.load("pixels", **options)
    run_job(Store(db), find([photos])[0], embedder, request)
    return embedder


def files(photos: Path) -> list[Path]:
    return sorted(photos.iterdir())


def check(db: Path, photos: Path, condition: str | None, original: Any = None, **options: Any) -> Any:
    """What is rebuilt gives the stored vectors, and, of texts, what the embedder that made them gives."""
    collection = cie.open(db)
    embedder = collection.embedder(condition, device="cpu", **options)
    stored = Store(db, create=False).read(embedder.setting)[1]

    def agree(found: Any, wanted: Any) -> None:
        if embedder.setting.dtype == "float32":
            np.testing.assert_allclose(found, wanted, atol=2e-5)
        else:  # in half precision a batch rounds otherwise than an image alone, by how much, the processor decides
            assert np.diagonal(cie.similarity(np.atleast_2d(found), np.atleast_2d(wanted))).min() > 0.99

    agree(embedder.encode(files(photos)), stored)
    agree(embedder.encode(files(photos)[0]), stored[0])
    if original is not None:
        wanted = original.embed_text(TEXTS, embedder.request)[:, 0, 0, 0, 0]
        agree(embedder.encode_text(TEXTS), wanted)
        agree(embedder.encode_text("blue"), wanted[1])
    return embedder


DIORS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}),
    "layers side by side": ({"layers": (-1, 1), "layer_pooling": "concat"}, {}),
    "mean of layers": ({"layers": (-1, 0, 1), "layer_pooling": "mean"}, {}),
    "a layer, a token": ({"layers": (1,), "tokens": (-2,)}, {}),
    "a mean over prompts": ({"prompt_types": ("describe", "depict"), "average_prompts": True}, {}),
    "another prompt": ({"prompt_types": ("express",)}, {}),
    "flat positions, small": ({}, {"positions": "flat", "image_max_size": 40}),
    "bfloat16": ({}, {"dtype": "bfloat16"}),
    "as the paper reads": ({}, {"image_reading": "reference", "thinking": "as-is"}),
    "random weights": ({}, {"random_weights": True}),
    "options": ({}, {"processor_kwargs": {"max_pixels": 56 * 56}, "model_kwargs": {"variant": None}}),
}


@pytest.mark.parametrize("kind", DIORS)
def test_dior_is_made_again(kind: str, models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    asked, options = DIORS[kind]
    request = Request(conditions=("car color", None), **asked)
    made = embed(tmp_path / "db", photos, models["lvlm"], request, **options)
    for condition in ("car color", None):
        check(tmp_path / "db", photos, condition, made)


def test_dior_with_an_adapter_and_from_generated_tokens(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    made = embed(tmp_path / "a", photos, models["adapter"], Request(conditions=("mood",)))
    check(tmp_path / "a", photos, "mood", made)
    request = Request(
        conditions=("mood",), embedding_source="mean_output", max_new_tokens=3, do_sample=True, temperature=0.7, seed=3
    )
    embed(tmp_path / "b", photos, models["lvlm"], request)
    embedder = check(tmp_path / "b", photos, "mood")
    with pytest.raises(ModelError, match="texts have no mean_output"):
        embedder.encode_text("red")


def test_variables_of_a_chat_template_are_kept(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(models["lvlm"], tmp_path / "model"))
    template = (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").write_text(template + "{% if loud %}!{% endif %}")
    request = Request(conditions=("mood",))
    made = embed(tmp_path / "db", photos, model, request, chat_template_kwargs={"loud": True})
    assert check(tmp_path / "db", photos, "mood", made).setting.extra["chat_template_kwargs"] == {"loud": True}


def test_generative_is_made_again(photos: Path, tmp_path: Path) -> None:
    request = Request(conditions=("car color",), max_new_tokens=5)
    options = {"method": "generative", "text_encoder": "minilm", "encoded_text": "chat"}
    made = embed(tmp_path / "db", photos, "builtin", request, **options)
    check(tmp_path / "db", photos, "car color", made)


def test_clip_and_pixels_are_made_again(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    check(tmp_path / "a", photos, None, embed(tmp_path / "a", photos, models["clip"], Request()))
    embed(tmp_path / "b", photos, "pixels", Request(), size=3)
    embedder = cie.open(tmp_path / "b").embedder()
    assert embedder.encode(files(photos)).shape == (5, 27)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "indirect", "solver": "svd", "components": 7},
        {"method": "indirect", "seed": 5},
        {"method": "clay"},
        {"method": "clay", "components": 4},
    ],
    ids=str,
)
def test_maps_are_made_again_with_the_users_own_words(
    options: dict[str, Any], models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    request = Request(conditions=tuple(WORDS))
    made = embed(tmp_path / "db", photos, models["clip"], request, words=WORDS, **options)
    for condition in WORDS:
        embedder = check(tmp_path / "db", photos, condition, made)
        assert embedder.setting.extra["texts"] == {condition: list(made.texts(condition))}
    setting = embedder.setting
    if options["method"] == "clay":
        with pytest.raises(SettingError, match="depends on its collection"):
            load_for(setting)
    else:  # the setting alone has the words
        np.testing.assert_allclose(
            load_for(setting).encode(files(photos)), made.encode(files(photos), condition), atol=1e-4
        )


def test_clay_of_conditions_together(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    request = Request(conditions=tuple(WORDS), together=True)
    made = embed(tmp_path / "db", photos, models["clip"], request, words=WORDS, method="clay")
    check(tmp_path / "db", photos, "mood + car color", made)


def test_the_stored_map_counts_not_one_made_once_more(
    models: dict[str, Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signs and the last digits of a decomposition are another machine's own."""
    made = embed(tmp_path / "db", photos, models["clip"], Request(conditions=("mood",)), words=WORDS, method="clay")
    monkeypatch.setattr(CLAY, "embedded_texts", lambda *_: pytest.fail("the map was made once more"))
    check(tmp_path / "db", photos, "mood", made)


@pytest.mark.parametrize("method", ["dior", "clay", "pixels"])
def test_refined_vectors_have_their_embedder_too(
    method: str, models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    model = {"dior": models["lvlm"], "clay": models["clip"], "pixels": "pixels"}[method]
    options = {"method": "clay", "words": WORDS, "components": 3} if method == "clay" else {}
    condition = None if method == "pixels" else "mood"
    embed(tmp_path / "db", photos, model, Request(conditions=(condition,)), **options)
    store = Store(tmp_path / "db")
    originals = [each for each in store.settings() if each.method == method]
    choices = [{"whiten": True, "dimensions": 2}, {"dimensions": 2, "center": False}, {"center": True}]
    for choice in choices:
        ((refined, _),) = refine(store, originals, **choice)  # type: ignore[arg-type]
        device = {} if method == "pixels" else {"device": "cpu"}
        embedder = cie.open(tmp_path / "db").embedder(condition, setting=refined.name, **device)
        np.testing.assert_allclose(embedder.encode(files(photos)), store.read(refined)[1], atol=1e-3, rtol=1e-3)
        if method != "pixels":
            assert embedder.encode_text(TEXTS).shape == embedder.encode(files(photos)[:2]).shape
        with pytest.raises(SettingError, match="was refined on its collection"):
            load_for(refined)


def test_what_no_setting_has_any_more_is_removed(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    options: dict[str, Any] = {"words": WORDS, "method": "clay"}
    embed(tmp_path / "db", folder, models["clip"], Request(conditions=tuple(WORDS)), **options)
    table = lancedb.connect(tmp_path / "db").open_table("fitted")
    assert table.count_rows() == 6  # per condition the mean and two maps
    Image.new("RGB", (30, 20), "red").save(folder / "new.png")
    made = embed(tmp_path / "db", folder, models["clip"], Request(conditions=tuple(WORDS)), **options)
    assert lancedb.connect(tmp_path / "db").open_table("fitted").count_rows() == 6
    check(tmp_path / "db", folder, "mood", made)


def test_a_map_that_is_lost_is_told_and_made_anew(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"words": WORDS, "method": "clay"}
    embed(tmp_path / "db", photos, models["clip"], Request(conditions=("mood",)), **options)
    shutil.rmtree(tmp_path / "db/fitted.lance")
    with pytest.raises(StoreError, match="what it was fitted with is not in the table"):
        cie.open(tmp_path / "db").embedder("mood")
    check(
        tmp_path / "db",
        photos,
        "mood",
        embed(tmp_path / "db", photos, models["clip"], Request(conditions=("mood",)), **options),
    )


def test_a_model_that_was_moved_and_one_that_is_another(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(models["lvlm"], tmp_path / "there"))
    made = embed(tmp_path / "db", photos, there, Request(conditions=("mood",)))
    here = there.rename(tmp_path / "here")
    with pytest.raises(ModelError, match=r"does not exist.*model_path= says where it is now"):
        cie.open(tmp_path / "db").embedder("mood")
    check(tmp_path / "db", photos, "mood", made, model_path=str(here))
    config = here / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(SettingError, match=r"here is not the model that made photos-.*its fingerprint is") as error:
        cie.open(tmp_path / "db").embedder("mood", model_path=str(here))
    assert "\n" not in str(error.value)


def test_placement_is_no_part_of_a_setting(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    made = embed(tmp_path / "db", photos, models["lvlm"], Request(conditions=("mood",)))
    check(tmp_path / "db", photos, "mood", made, placement={"device_map": {"": "cpu"}})
    with pytest.raises(ValueError, match="placement has torch_dtype; it takes device_map"):
        cie.open(tmp_path / "db").embedder("mood", placement={"torch_dtype": "float16"})


def test_a_collection_says_what_is_in_it(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database at"):
        cie.open(tmp_path / "db")
    embed(tmp_path / "db", photos, "builtin", Request(conditions=("car color", "Mood", None)))
    before = sorted((tmp_path / "db").rglob("*"))
    with cie.open(tmp_path / "db") as collection:
        assert collection.conditions == ["Mood", "car color", None]
        assert len(collection.settings) == 3
        assert repr(collection).endswith("db', 3 settings, conditions=['Mood', 'car color', None])")
        assert collection.embedder("mood", device="cpu").condition == "Mood"
        assert collection.embedder(None, device="cpu").condition is None
        assert collection.embedder(setting="*car_color*", device="cpu").condition == "car color"
        with pytest.raises(StoreError, match=r"3 settings fit: .*condition= or setting=; there are photos-builtin-"):
            collection.embedder()
        with pytest.raises(StoreError, match=r"no setting of .* fits; there are photos-builtin-"):
            collection.embedder("weather")
        bound = collection.embedder("mood", device="cpu")
        image = files(photos)[0]
        assert np.linalg.norm(bound.encode(image, normalize_embeddings=True, truncate_dim=8)) == pytest.approx(1)
        assert isinstance(bound.encode([image], convert_to_tensor=True), torch.Tensor)
        assert repr(bound) == "BoundEmbedder(dior, 'builtin', condition='Mood')"
        assert bound.encode([]).shape == bound.encode_text([]).shape == (0, len(bound.encode(image)))
    with pytest.raises(StoreError, match="was closed"):
        _ = collection.settings
    assert repr(collection).endswith("closed)")
    assert sorted((tmp_path / "db").rglob("*")) == before


def test_an_earlier_versions_maps_are_made_anew_once(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    """Tables of format 1: a digest of the words in the setting, and no map beside it."""
    options: dict[str, Any] = {"words": WORDS, "method": "clay"}
    request = Request(conditions=("mood",))
    made = embed(tmp_path / "new", photos, models["clip"], request, **options)
    source, old = Store(tmp_path / "new"), Store(tmp_path / "old")
    settings = source.settings()
    for each in settings:
        *_, first = each.formats
        assert first.format_version == 1
        ids, vectors = source.read(each)
        old.add_vectors(first, ids, vectors)
    names = {each.formats[-1].name for each in settings}
    ((of_clay,)) = [each for each in Store(tmp_path / "old").settings() if each.method == "clay"]
    with pytest.raises(SettingError, match="run the same `cie embed` once more"):
        cie.open(tmp_path / "old").embedder("mood")
    embed(tmp_path / "old", photos, models["clip"], request, **options)
    assert {name for name in lancedb.connect(tmp_path / "old").list_tables().tables if "-" in name} == names
    table = lancedb.connect(tmp_path / "old").open_table(of_clay.name)
    assert FITTED_KEY in table.schema.metadata
    check(tmp_path / "old", photos, "mood", made)
    assert of_clay.format_version == 1


def test_a_bound_embedder_goes_to_another_process(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    """With its map and mean, and the place where a moved model is now."""
    there = Path(shutil.copytree(models["clip"], tmp_path / "there"))
    embed(tmp_path / "db", photos, there, Request(conditions=("mood",)), words=WORDS, method="clay")
    here = there.rename(tmp_path / "here")
    embedder = cie.open(tmp_path / "db").embedder("mood", device="cpu", model_path=str(here))
    sent = pickle.loads(pickle.dumps(embedder))  # noqa: S301
    for each in (embedder, sent):
        np.testing.assert_allclose(each.encode(files(photos)), embedder.encode(files(photos)), atol=1e-6)
        np.testing.assert_allclose(each.encode_text(TEXTS), embedder.encode_text(TEXTS), atol=1e-6)
    with pytest.raises(ModelError, match="tells no words"):
        sent.words(files(photos))
    with embedder:
        pass
    with pytest.raises(ModelError, match="closed"):
        embedder.encode(files(photos))
