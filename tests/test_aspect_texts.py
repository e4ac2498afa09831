"""Texts of a condition: our own for the benchmarks' conditions, the user's words for any other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conditional_image_embeddings import datasets
from conditional_image_embeddings.errors import ConditionError
from conditional_image_embeddings.inputs.aspect_texts import known, parse_words, texts
from conditional_image_embeddings.inputs.conditions import normalized_text

TEMPLATES = {  # the paper's, and two of our own
    "car model": "a photo of a {}",
    "car color": "a {} car",
    "background color": "a car in front of a {} background",
    "car manufacturer": "a photo of a car produced by {}",
    "car type": "a photo of a {}",
    "bird species": "a photo of a {}",
    "movie genre": "a poster of a {} movie",
    "movie's production country": "a poster of a movie produced in {}",
    "clothing category": "a photo of a person wearing a {}",
    "texture type": "a photo of a person wearing clothes with a {} pattern",
    "fabric type": "a photo of a person wearing clothes made of {}",
    "fit type": "a photo of a person wearing {} fit clothes",
    "viewpoint": "a photo of a car seen from {}",
    "paint pattern": "a photo of a {} car",
}


def test_every_condition_of_the_benchmarks_is_known() -> None:
    assert {condition: aspect.template for condition, aspect in known().items()} == TEMPLATES
    benchmarked = {aspect for dataset in datasets.describe() for aspect in dataset["aspects"]}
    assert benchmarked <= known().keys()


@pytest.mark.parametrize("condition", TEMPLATES)
def test_our_own_words_are_many_and_each_is_there_once(condition: str) -> None:
    words = known()[condition].words
    assert len(words) >= 20
    assert len({word.casefold() for word in words}) == len(words)
    assert all(word == " ".join(word.split()) and "{" not in word for word in words)
    made = texts(condition)
    assert len(set(made)) == len(words)
    assert made[0] == TEMPLATES[condition].replace("{}", words[0])


def test_case_and_white_space_do_not_matter() -> None:
    assert texts("  Car \n COLOR ") == texts("car color")
    assert texts("car color")[:2] == ["a red car", "a dark red car"]


def test_words_of_the_user() -> None:
    assert texts("car color", ["puce", "dark puce"]) == ["a puce car", "a dark puce car"]
    assert texts("weather", "sunny, a rainy  day,{}") == ["a photo of sunny", "a rainy day", "a photo of {}"]
    assert texts("weather", ("fog",)) == ["a photo of fog"]


def test_an_unknown_condition_without_words_says_what_to_do() -> None:
    with pytest.raises(ConditionError, match=r"'weather'.*--words red,blue.*car model.*fit type") as caught:
        texts("weather")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConditionError, match="is empty"):
        texts("  ", ["red"])


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters=","), max_size=20)))
def test_words_survive_a_comma_separated_text(words: list[str]) -> None:
    words = [*words, "the last"]
    expected: dict[str, str] = {}
    for word in map(normalized_text, words):
        if word:
            expected.setdefault(word.casefold(), word)
    assert parse_words(",".join(words)) == tuple(expected.values())


def test_words_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\ufeff# colours\nred\n\n  light   blue \nRed\n# more\ngreen, of a kind\n", encoding="utf-8")
    assert parse_words(str(file)) == ("red", "light blue", "green, of a kind")
    assert texts("car color", str(file))[1] == "a light blue car"


def test_what_is_no_list_of_words(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("red\n" + "b" * 201 + "\n")
    with pytest.raises(ConditionError, match=r"words, line 2: 'bbb.* 201 characters; at most 200"):
        parse_words(str(file))
    with pytest.raises(ConditionError, match=r"^word 2: .* 201 characters"):
        parse_words("red," + "b" * 201)
    file.write_text("# nothing\n\n")
    with pytest.raises(ConditionError, match=r"words: there are no words"):
        parse_words(str(file))
    with pytest.raises(ConditionError, match=r"^there are no words"):
        parse_words(" , ")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConditionError, match="cannot be read"):
        parse_words(str(file))
    with pytest.raises(ConditionError, match="no such file"):
        parse_words(str(tmp_path / "absent"))
    with pytest.raises(ConditionError, match="no such file"):
        parse_words("colors.txt")
    with pytest.raises(ConditionError, match="not int"):
        texts("weather", [1])  # type: ignore[list-item]


def test_at_most_ten_thousand_words(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(map(str, range(10_000))) + "\n0\n")
    assert len(parse_words(str(file))) == 10_000
    file.write_text("\n".join(map(str, range(10_001))))
    with pytest.raises(ConditionError, match="more than 10000 words"):
        parse_words(str(file))
    with file.open("wb") as out:
        out.truncate(9_000_000)
    with pytest.raises(ConditionError, match="9000000 bytes"):
        parse_words(str(file))


def test_one_word_however_its_characters_are_composed() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert texts("place", [composed, decomposed, "park"]) == ["a photo of café", "a photo of park"]
    assert texts("place", [decomposed, "park"]) == texts("place", [composed, "park"])
