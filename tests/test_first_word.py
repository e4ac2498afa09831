"""The first word of an answer: what it is in many scripts, and that it has ended neither too early nor too late."""

import unicodedata

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conditional_image_embeddings.engine.first_word import MAX_BEFORE, MAX_CHARACTERS, first_word, folded, has_ended

WORDS = [
    *("red", "don't", "it’s", "O'Neill", "rock'n'roll", "T-shirt", "off-white", "black-and-white", "m²"),
    *("3.5", "1,000", "1,234.5", "1\u202f000", "3.5L", "1980s", "8-bit", "4x4", "4×4", "16:9", "24/7", "½"),
    *("50%", "20°C", "90°", "5€", "$5", "€3.50", "US$5", "-5", "-$.5", "#1", "#FF0000", "2nd", "F-150", "v2.0"),
    *("snake_case", "1980–1990", "U.S.", "e.g.", "Ph.D.", "a.m.", "N/A", "w/o", "R&B", "AT&T", "example.com"),
    *("C++", "C#", "F#", ".NET", "C++17", "A+", "18+", "iPhone15"),
    *("लाल", "क्ष", "क्\u200dष", "நீலம்", "లాల్", "ਲਾਲ", "লাল", "สีแดง", "ສີແດງ", "ក្រហម"),
    *("အနီရောင်", "དམར་པོ"),
    *("红色", "红色的SUV", "哈利·波特", "赤い", "ハリー・ポッター", "ピンク", "빨간색", "ቀይ", "රතු"),
    unicodedata.normalize("NFD", "빨간색"),
    *("أحمر", "أَحْمَر", "می\u200cخواهم", "אדום", "אָדֹם", 'צה"ל', "צה״ל", "ג'ירפה", "בית־ספר"),
    *("đỏ", unicodedata.normalize("NFD", "đỏ"), "weiß", "İstanbul", "κόκκινο", "красный", "ÉCOLE"),
    "col·lecció",
    *("🔴", "❤️", "👍🏽", "☝🏽", "👩\u200d👩\u200d👧", "🇫🇷", "1️⃣", "#️⃣"),
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_whole_whatever_is_around_it(word: str) -> None:
    for before in ("", " ", "\n", "**", "“", "«", "("):
        for behind in ('"', '".', " ", "\n", ", of course", "” ", "。", ")", "!", " red", "\ufffd "):
            text = f"{before}{word}{behind}"
            assert first_word(text) == word, text
            assert has_ended(f"{text} "), text
        assert first_word(f"{before}{word}") == word
        assert not has_ended(f"{before}{word}")  # it may become another


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("red. The car", "red"),
        ("3. Then", "3"),
        ("1,000, no", "1,000"),
        ("Color: red", "Color"),
        ("color:red", "color"),
        ("black/white", "black"),
        ("red+blue", "red"),
        ("red—blue", "red"),
        ("dogs' x", "dogs"),
        ("__red__", "red"),
        ("...red", "red"),
        ("'red'", "red"),
        ("- red", "red"),
        ("##Red", "Red"),
        ("Mr. X", "Mr"),
        ("20°Cx", "20°"),
        ("N/AB", "N"),
        ("🇫🇷🇩🇪", "🇫🇷"),
        ("🔴🔴", "🔴"),
        ("© 2020", "2020"),
        ("红色、蓝色", "红色"),
        ("《红色》", "红色"),
        ("แดง\u200bสี", "แดง"),
        ("\u0301red", "red"),
        ("\ufffdred\ufffdd", "red"),
        ("", ""),
        ("!?", ""),
        ("\ufffd", ""),
        ("." * MAX_BEFORE + "!red", ""),
    ],
)
def test_where_a_word_ends_and_begins(text: str, word: str) -> None:
    assert first_word(text) == word


def test_a_text_without_spaces_ends_at_a_number_of_characters() -> None:
    for character in ("红", "कि", "e\u0301\u0302", "ก"):
        assert first_word(character * 100) == character * MAX_CHARACTERS
        assert has_ended(character * (MAX_CHARACTERS + 1))
        assert not has_ended(character * MAX_CHARACTERS)
    assert first_word("a" * (MAX_CHARACTERS - 1) + "-b") == "a" * (MAX_CHARACTERS - 1)


def test_a_text_without_a_word_ends() -> None:
    assert has_ended("-" * 2 * MAX_BEFORE)
    assert has_ended("\n" * 2 * MAX_BEFORE)
    assert not has_ended("-" * MAX_BEFORE)


@pytest.mark.parametrize(
    "text", ['red"', "red ", "red!", "red,", "3.5 ", "3.5!", "U.S. ", 'C++"', 'C"', "red. ", "50%."]
)
def test_a_word_ends_as_soon_as_it_can(text: str) -> None:
    assert has_ended(text)


# Everything that a rule is about, and what is next to it.
CHARACTERS = [
    *"aBé3٣½ß\u0301\u093f\u200d\u200c\u200e\ufe0f\u20e3ึ", *"ñल்ก红あアー빨ᄈאأלǅⅣ",
    *".,:;'’\"-‐–־&/_·・་+#%°C$€N!?()*“ \n\t\u202f\u200b\xa0", *"🔴❤👩🏽🇫🇷©\ufffd",
]  # fmt: skip
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=12) | st.text(max_size=12)


@settings(max_examples=1500)
@given(TEXTS, TEXTS)
@example("U.S.", "A")
@example("N/A", "B")
@example("C+", "x")
@example("🇫", "🇷")
@example("a" * MAX_CHARACTERS, "\u0301")
def test_a_word_that_has_ended_is_changed_by_nothing_that_follows(text: str, behind: str) -> None:
    if has_ended(text):
        assert first_word(text + behind) == first_word(text)
        assert has_ended(text + behind)


@settings(max_examples=500)
@given(TEXTS)
def test_a_word_has_ended_once_nothing_can_extend_it(text: str) -> None:
    """At the latest at white space behind it."""
    assert has_ended(f"{text}\n ") or not first_word(f"{text}\n ")
    assert first_word(f"{text}\n ") == first_word(text)


@settings(max_examples=1000)
@given(TEXTS)
def test_no_word_of_the_standard_is_cut(text: str) -> None:
    """Both ends lie on word boundaries of UAX #29, but where docs/methods.md says otherwise."""
    text = regex.sub(r"[:_'’\u202f\u200d\ufe0f]", "", text)  # colons, underscores and final apostrophes; emoji
    word = first_word(text)
    begin = text.find(word)
    boundaries = {found.start() for found in regex.finditer(r"(?w)\b", text)}
    if word and not regex.match(r"\p{Emoji_Presentation}|\p{Extended_Pictographic}", word):
        assert begin in boundaries
        assert begin + len(word) in boundaries


@settings(max_examples=500)
@given(TEXTS)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    for form in ("NFC", "NFD"):
        assert folded(unicodedata.normalize(form, text)) == folded(text)


def test_one_word_is_one_key() -> None:
    for same in (
        ("Rot", "ROT", "rot"),
        ("weiß", "WEISS", "weiss"),
        ("đỏ", unicodedata.normalize("NFD", "ĐỎ")),
        ("O'Neill", "O’Neill"),
        ("T-shirt", "t‑shirt"),
        ("أحمر", "أحمر\u200f"),
        ("ΚΌΚΚΙΝΟΣ", "κόκκινος"),
        ("İstanbul", "i̇stanbul"),
    ):
        assert len(set(map(folded, same))) == 1, same
    assert folded("ISTANBUL") != folded("İstanbul")
    assert folded("क्\u200dष") != folded("क्ष")
