"""Conditions and prompts: the paper's seven, word for word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conditional_image_embeddings.errors import ConditionError
from conditional_image_embeddings.inputs.conditions import PROMPTS, checked_conditions, prompt
from conditional_image_embeddings.methods.settings import Setting


def test_the_papers_prompts() -> None:
    assert len(PROMPTS) == 7
    assert prompt("car color") == 'Describe this image in one word regarding car color: "'
    assert prompt("mood", "depict") == 'Depict this image in one word, considering mood: "'
    assert prompt("mood", "describe_unconstraint") == 'Describe this image regarding mood: "'
    assert prompt(None, "describe_unconstraint") == 'Describe this image: "'
    assert all(prompt(None, kind) == f'{kind.title()} this image in one word: "' for kind in list(PROMPTS)[:6])


@pytest.mark.parametrize("condition", ["", "  \n ", "x" * 10_000, 3])
def test_unusable_conditions_are_one_line(condition: object) -> None:
    with pytest.raises(ConditionError) as error:
        checked_conditions([condition])  # type: ignore[list-item]
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


def test_unknown_prompt_types_name_the_known() -> None:
    with pytest.raises(ConditionError, match=r"describe.*convey"):
        prompt("mood", "shout")


def test_no_conditions_at_all() -> None:
    assert checked_conditions(None) == (None,)
    assert checked_conditions("a  b\n") == ("a b",)
    assert checked_conditions(["a", None]) == ("a", None)
    with pytest.raises(ConditionError):
        checked_conditions([])


@pytest.mark.parametrize("conditions", [{"a", "b"}, frozenset({"a"}), {"a": 1, "b": 2}, {"a": 1}.keys(), 3, b"a"])
def test_conditions_have_an_order(conditions: object) -> None:
    with pytest.raises(ConditionError, match=f"list.* not as {type(conditions).__name__}$"):
        checked_conditions(conditions)  # type: ignore[arg-type]
    assert checked_conditions(name for name in ("a", "b")) == ("a", "b")


def test_two_spellings_of_one_condition_are_one() -> None:
    composed, decomposed = "caf\u00e9 color", "cafe\u0301 \u00a0color\n"
    assert checked_conditions([composed, decomposed]) == (composed, composed)
    assert prompt(decomposed) == prompt(composed)


def test_braces_in_a_condition_are_text() -> None:
    assert "{c} {0}" in prompt("{c} {0}")


texts = st.text(min_size=1, max_size=30)


@given(texts, texts, st.integers(-3, 40))
def test_settings_are_kept_whole_and_apart(dataset: str, condition: str, layer: int) -> None:
    setting = Setting(dataset=dataset, method="dior", model="m/x", condition=condition, layer=layer)
    assert Setting.from_json(setting.to_json()) == setting
    assert all(letter.isascii() and (letter.isalnum() or letter in "_-.") for letter in setting.name)
    other = Setting(dataset=dataset, method="dior", model="m/x", condition=condition + "!", layer=layer)
    assert other.name != setting.name
