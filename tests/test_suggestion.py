"""Aspects suggested for images: the true ones before any other; and one line for what is wrong."""

import json
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import cie as run
from commands import error_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.inputs.aspects import known_aspects, listed_names
from conditional_image_embeddings.inputs.conditions import prompt
from conditional_image_embeddings.methods.questions import OpenAnswer, ask
from conditional_image_embeddings.suggestion import proposals
from conditional_image_embeddings.suggestion.ranking import Judged, ranked
from conditional_image_embeddings.suggestion.sampling import draw
from conditional_image_embeddings.suggestion.separation import separation

pytestmark = pytest.mark.usefixtures("checked_once")

TRUE = ["car model", "car color", "background color", "viewpoint", "paint pattern"]
DISTRACTORS = [
    "weather", "animal", "brand of shoes", "music genre", "time of day", "number of people", "facial expression",
    "kind of fruit", "handwriting", "furniture style",
]  # fmt: skip


@cache
def drawn() -> list[Image.Image]:
    return [Image.fromarray(render(sample_scene(np.random.default_rng([31, k])))) for k in range(90)]


@pytest.fixture(scope="module")
def builtin() -> Iterator[cie.Embedder]:
    with cie.load("builtin", device="cpu") as embedder:
        yield embedder


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cars")
    for index, car in enumerate(drawn()[:24]):
        car.save(folder / f"{index:02}.png")
    return folder


@pytest.mark.parametrize("seed", range(3))
def test_the_true_aspects_rank_above_others(builtin: cie.Embedder, seed: int) -> None:
    """Whatever images are drawn, and whatever order the candidates come in."""
    candidates = list(np.random.default_rng(seed).permutation(TRUE + DISTRACTORS))
    found = cie.suggest(drawn(), builtin, candidates=candidates, propose=False, sample=40, seed=seed, n=15)
    assert {each.condition for each in found.aspects[:5]} == set(TRUE)
    others = [each.separation for each in found.aspects[5:]]
    assert max(others) < 0.8 * found.aspects[4].separation
    assert {each.condition for each in found.clear} >= set(TRUE)
    assert (found.images, found.proposed, found.failures) == (40, (), {})


def test_a_small_model_is_given_known_aspects_and_their_synonyms_are_one(builtin: cie.Embedder) -> None:
    found = cie.suggest(drawn()[:30], builtin, candidates=["paint colour"], n=5)
    assert found.proposed == ()
    assert found.tried == ("paint colour", *known_aspects())
    assert set(found.conditions) == {"paint colour", "car model", "background color", "viewpoint", "paint pattern"}
    by_name = {each.condition: each for each in found.aspects}
    assert {"car color", "object color"} <= set(by_name["paint colour"].alike)
    assert "camera angle" in by_name["viewpoint"].alike
    for each in found.aspects:
        assert each.separation > each.unconditioned
        assert sum(fraction for _, fraction in each.words) == pytest.approx(1)


def test_what_images_have_in_common_is_not_suggested(builtin: cie.Embedder) -> None:
    words = builtin.words(drawn(), ["viewpoint"], k=1)
    rear = [car for car, ((word,),) in zip(drawn(), words, strict=True) if word[0] == "rear"]
    found = cie.suggest(rear, builtin, candidates=["viewpoint", "background color"], propose=False)
    assert found.aspects[0].condition == "background color"
    assert found.aspects[0].words[0][1] < 0.5
    assert all(each.separation < 0.1 for each in found.aspects[1:])


def test_the_model_names_aspects_itself(builtin: cie.Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are lists are pooled: the most frequent first, and then no known aspect is tried."""
    lists = [
        "1. Car color: red\n2. Viewpoint",
        "viewpoint, paint pattern, car-color, a, b, c, d",
        "car color",
        "a, e, f,",
    ]

    def answered(embedder: Any, images: Any, questions: Any, **options: Any) -> Iterator[tuple[Any, Any]]:
        yield images[1][0], cie.ImageError("cannot be read")
        yield images[0][0], [OpenAnswer(text, complete=True) for text in lists]

    monkeypatch.setattr("conditional_image_embeddings.methods.questions.ask", answered)
    found = cie.suggest(drawn()[:20], builtin, candidates=["Paint pattern"])
    assert found.proposed == ("car color", "viewpoint", "a", "paint pattern", "b", "c", "d", "e", "f")
    assert found.tried == ("Paint pattern", "car color", "viewpoint", "a", "b", "c", "d", "e", "f")
    assert {"car color", "viewpoint", "Paint pattern"} == set(found.conditions[:3])
    monkeypatch.setattr(proposals, "MAX_PROPOSED", 2)
    named = proposals.proposed(builtin, [(k, car) for k, car in enumerate(drawn()[:2])], lambda _, image: image)
    assert named == ("car color", "viewpoint")


def test_answers_of_the_generative_method_are_words_too(builtin: cie.Embedder) -> None:
    with cie.load("builtin", method="generative", text_encoder="minilm") as generative:
        found = cie.suggest(drawn()[:24], generative, candidates=["weather", "car color"], propose=False)
    assert found.aspects[0].condition == "car color"
    by_dior = cie.suggest(drawn()[:24], builtin, candidates=["weather", "car color"], propose=False)
    assert found.aspects[0].words == by_dior.aspects[0].words


def test_open_questions_are_answered_in_full(builtin: cie.Embedder) -> None:
    questions = [prompt("car color"), prompt("viewpoint")]
    answers = dict(ask(builtin, list(enumerate(drawn()[:6])), questions, read=lambda _, image: image))
    said = [[answer.text.strip('" ').split('"')[0] for answer in answers[k]] for k in range(6)]
    words = builtin.words(drawn()[:6], ["car color", "viewpoint"], k=1)
    assert said == [[found[0][0] for found in of_image] for of_image in words]
    assert all(answer.complete for of_image in answers.values() for answer in of_image)
    cut = dict(ask(builtin, [(0, drawn()[0])], questions, read=lambda _, image: image, max_new_tokens=1))
    assert not any(answer.complete for answer in cut[0])


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("Color, shape, and style.", ["color", "shape", "style"]),
        (
            "1. **Color**: red or blue\n2. Shape (of the body)\n3) Number of doors",
            ["color", "shape", "number of doors"],
        ),
        ("- color\n* Color\n• fabric-type", ["color", "fabric-type"]),
        ("Sure! Here you are\ncolor\nsize", ["color", "size"]),
        ("颜色、形状", ["颜色", "形状"]),
        ("red", []),  # an answer to another question
        ("Color, color", []),
        ("", []),
        ("1, 2, 3", []),
    ],
)
def test_names_of_a_list(answer: str, names: list[str]) -> None:
    assert listed_names(answer) == names


def test_a_name_that_was_cut_is_none() -> None:
    assert listed_names("color, shape, tex", complete=False) == ["color", "shape"]


@given(st.text(max_size=300))
def test_any_answer_gives_names_that_are_conditions(answer: str) -> None:
    for name in listed_names(answer):
        assert prompt(name).count(name)
        assert name == name.lower().strip()


def test_separation_is_of_groups_that_are_apart_and_even() -> None:
    generator = np.random.default_rng(0)
    centres = np.eye(8)[:4]
    even = np.repeat(np.arange(4), 15)
    vectors = centres[even] + generator.normal(size=(60, 8)) * 0.05
    words = [str(group) for group in even]
    assert separation(words, vectors) == pytest.approx(0.75, abs=0.05)
    assert separation(words, vectors * generator.uniform(1, 9, size=(60, 1))) == pytest.approx(
        separation(words, vectors), abs=1e-6
    )
    assert separation(list(generator.permutation(words)), vectors) == 0
    assert separation(["0"] * 60, vectors) == separation([str(k) for k in range(60)], vectors) == 0
    odd = np.array([0] * 59 + [1])
    assert separation([str(group) for group in odd], centres[odd]) < 0.1


def test_alike_aspects_are_one_under_the_first_name_that_is_as_good() -> None:
    def judged(name: str, words: str, worth: float) -> Judged:
        return Judged(name, list(words), worth, 0.0)

    found = ranked(
        [
            judged("vague", "aabbccc", 0.3),
            judged("color", "aabbccc", 0.48),
            judged("paint", "xxyyzzz", 0.5),
            judged("side", "lrlrlrl", 0.6),
            judged("nothing", "aaaaaaa", 0.0),
        ]
    )
    assert [(each.condition, each.alike) for each in found] == [("side", ()), ("color", ("paint", "vague"))]
    assert found[1].words == (("c", 3 / 7), ("a", 2 / 7), ("b", 2 / 7))


def test_a_draw_is_even_in_order_and_repeatable() -> None:
    assert draw(range(5), 9, 1) == list(range(5))
    assert draw(iter(range(100)), 10, 1) == draw(range(100), 10, 1) == sorted(draw(range(100), 10, 1))
    counted = np.bincount([k for seed in range(2000) for k in draw(range(10), 3, seed)])
    assert counted.min() > 500
    assert counted.max() < 700


def test_the_command(cars: Path) -> None:
    asked = ("suggest", cars, "-m", "builtin", "--no-proposals", *(f"--candidate={name}" for name in TRUE[:3]))
    done = run(*asked, "-n", "2", "--json")
    rows = json.loads(done.stdout)
    assert (done.returncode, len(rows)) == (0, 2)
    assert rows[0].keys() == {"condition", "separation", "unconditioned", "words", "alike"}
    assert rows[0]["words"][0].keys() == {"word", "fraction"}
    assert f"next: cie embed {cars} -c '{rows[0]['condition']}' -c" in done.stderr
    assert "3 aspects tried on 24 images" in done.stderr
    table = run(*asked, "-n", "2").stdout.splitlines()
    assert len(table) == 3
    assert all(
        row["condition"] in line and f"{row['separation']:.2f}" in line
        for row, line in zip(rows, table[1:], strict=True)
    )


def test_what_a_user_or_model_says_is_shown_and_quoted_as_it_is(cars: Path) -> None:
    name = "[red]car color[/red], the car's color"
    done = run("suggest", cars, "-m", "builtin", "--no-proposals", "--candidate", name)
    assert name in done.stdout
    assert shlex.split(done.stderr.splitlines()[-1].removeprefix("next: ")) == [
        *("cie", "embed", str(cars), "-c", name, "-m", "builtin")
    ]


def test_images_that_fail_are_listed_and_the_others_judged(cars: Path, tmp_path: Path) -> None:
    for file in list(cars.iterdir())[:20]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = run("suggest", tmp_path, "-m", "builtin", "--no-proposals", "--candidate", "car color", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)[0]["condition"] == "car color"
    assert "on 20 images" in done.stderr
    assert "failed: " in done.stderr
    assert "broken.png" in done.stderr


def test_several_sources_are_one_collection(cars: Path, tmp_path: Path) -> None:
    for index, car in enumerate(drawn()[24:36]):
        car.save(tmp_path / f"{index:02}.png")  # ids that the other folder has too
    done = run("suggest", cars, tmp_path, "-m", "builtin", "--no-proposals", "--candidate", "car color")
    assert "on 36 images" in done.stderr


def test_few_images_are_warned_of_and_two_refused(cars: Path, builtin: cie.Embedder) -> None:
    some = [str(cars / f"{k:02}.png") for k in range(6)]
    done = run("suggest", *some, "-m", "builtin", "--no-proposals", "--candidate", "background color")
    assert done.returncode == 0
    assert "6 images are few" in done.stderr
    assert "2 images have no groups" in error_of(run("suggest", *some[:2], "-m", "builtin"), 1)
    with pytest.raises(cie.OptionError, match="1 images have no groups"):
        cie.suggest(drawn()[0], builtin)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("-m", "builtin", "-n", "0"), 2, "0 is not in the range"),
        (("-m", "builtin", "--sample", "2"), 2, "2 is not in the range"),
        (("-m", "builtin", "--sample", "100000"), 2, "100000 is not in the range"),
        (("-m", "builtin", "--no-proposals"), 2, "nothing to try"),
        (("-m", "builtin", "--candidate", " "), 1, "the condition is empty"),
        (("-m", "builtin-clip",), 1, "clip takes no condition: aspects are suggested by method dior or generative"),
        (("-m", "pixels",), 1, "pixels takes no condition"),
        ((), 2, "no model given"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(cars: Path, options: tuple[str, ...], status: int, said: str) -> None:
    assert said in error_of(run("suggest", cars, *options), status)


def test_wrong_arguments_are_refused(builtin: cie.Embedder) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"n": 0}, "n is 0"),
        ({"sample": 0}, "sample is 0"),
        ({"sample": 5000}, "at most 1000"),
        ({"candidates": "car color"}, "candidates comes as a list"),
        ({"propose": False}, "nothing to try"),
    ]
    for options, said in wrong:
        with pytest.raises(cie.OptionError, match=said):
            cie.suggest(drawn()[:5], builtin, **options)
    with pytest.raises(cie.UnknownOptionError, match="suggest takes: images, embedder, n"):
        cie.suggest(drawn()[:5], builtin, count=3)  # type: ignore[call-arg]
    with cie.load("builtin-clip") as clip, pytest.raises(cie.ConditionError, match="takes no condition"):
        cie.suggest(drawn()[:5], clip)
