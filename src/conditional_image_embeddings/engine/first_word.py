"""The first word of an answer, and whether it has ended: decided by the text alone, while it is still being written.

Words are those of Unicode's word boundaries (UAX #29, whose character classes `regex` brings), tailored as the standard
invites to: what is written without a space and means one thing stays whole (T-shirt, R&B, N/A, U.S., C++, .NET, $5,
50%), a colon between letters parts them, and scripts that are written without spaces are not cut by a dictionary: there
a word goes on to the next punctuation, quotation mark, white space, or bound.
"""

import unicodedata
from functools import lru_cache

import regex

MAX_CHARACTERS = 32  # of a word, as people count them (grapheme clusters)
MAX_BEFORE = 16  # characters before the word begins: white space, quotation marks, asterisks
_LONGEST_SIGN = 4  # characters that may turn out to begin a word: "-$.5"

_MARKS = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*"  # they belong to the character before them
_LETTER = r"[\p{L}\p{Nl}\p{WB=ALetter}\p{WB=Hebrew_Letter}\p{WB=Katakana}]"
_DIGIT = r"[\p{N}\p{WB=Numeric}]"
_ANY = rf"[{_LETTER}{_DIGIT}]"
_HEBREW = r"\p{WB=Hebrew_Letter}"

# What joins two parts of a word: behind what, which characters, before what.
_JOINTS = (
    (  # O'Neill, e.g.
        rf"(?<={_LETTER}{_MARKS})", r"[['\p{WB=MidLetter}\p{WB=MidNumLet}]--[:︓﹕：]]", rf"(?={_LETTER})",
    ),
    (rf"(?<={_DIGIT}{_MARKS})", r"['\p{WB=MidNum}\p{WB=MidNumLet}:/×–]", rf"(?={_DIGIT})"),  # 3.5, 1,000, 16:9, 24/7
    (rf"(?<={_HEBREW}{_MARKS})", '"', rf"(?={_HEBREW})"),  # צה"ל
    (rf"(?<={_ANY}{_MARKS})", r"[-‐‑־&་༌・･\p{WB=ExtendNumLet}]", rf"(?={_ANY})"),  # T-shirt, R&B, snake_case
    (  # N/A, but not black/white
        rf"(?<={_LETTER}{_MARKS})(?<!{_ANY}{_MARKS}{_LETTER}{_MARKS})", "/", rf"(?={_LETTER}{_MARKS}+(?!{_ANY}))",
    ),
    (rf"(?<={_LETTER}{_MARKS})", r"\p{Sc}|\+\+", rf"(?={_DIGIT})"),  # US$5, C++17
)  # fmt: skip
_JOINT = "|".join(rf"{behind}(?:{joint}){_MARKS}+{before}" for behind, joint, before in _JOINTS)
_PARTS = rf"(?:{_ANY}{_MARKS}+)++(?:(?:{_JOINT})(?:{_ANY}{_MARKS}+)++)*+"
_BEGIN = (
    rf"[-+−±]?\p{{Sc}}?(?:(?<!\.)\.)?(?={_DIGIT})"  # -5, $5, .5
    rf"|(?<!#)#(?={_ANY})"  # #1
    r"|(?<!\.)\.(?=\p{Lu}{2})"  # .NET
)
_END = (
    rf"(?:\+{{1,2}}(?!{_ANY})|\#"  # C++, A+, C#
    rf"|(?<={_DIGIT}{_MARKS})(?:[%‰‱′″\p{{Sc}}]|°(?:[CF](?!{_ANY}{_MARKS}))?)"  # 50%, 5€, 20°C
    rf"|(?<=\.{_MARKS}{_LETTER}{_MARKS})\.)"  # U.S., but not red.
    rf"{_MARKS}+"
)
_EMOJI = r"(?=\p{Emoji_Presentation}|\p{Extended_Pictographic}[\uFE0F\p{Emoji_Modifier}]|[#*]\uFE0F?\u20E3)\X"

_WORD = regex.compile(rf"(?V1)(?:{_BEGIN})?+{_PARTS}(?:{_END})?+|{_EMOJI}")
_OPEN = regex.compile("(?V1)" + "|".join(rf"{behind}(?:{joint}){_MARKS}" for behind, joint, _ in _JOINTS))
_WHOLE_PARTS = regex.compile(rf"(?V1)(?s:.*){_ANY}{_MARKS}")
_UNSEEN = regex.compile(r"[\p{Bidi_Control}\xAD\u2060\uFEFF]")
_ALIKE = str.maketrans("’‐‑", "'--")


def first_word(text: str) -> str:
    """The first word as it is written; empty where none begins within `MAX_BEFORE` characters.

    Quotation marks, brackets and other punctuation before it are passed over: some answers open their quotation once
    more. An emoji is a word as well.
    """
    return _scan(text)[0]


def word_end(text: str) -> int:
    """How many characters of the text there are up to the end of its first word; 0 without one."""
    return _scan(text)[1]


def has_ended(text: str) -> bool:
    """Whether `first_word` is the same whatever the text goes on with.

    "red" may become "reddish", and "3." may become "3.5"; "3. " has ended.
    """
    return _scan(text)[2]


def folded(word: str) -> str:
    """One spelling for words that differ in case, in composed and decomposed characters, or in unseen ones alone."""
    seen = _UNSEEN.sub("", word).translate(_ALIKE)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", seen).casefold())


@lru_cache(maxsize=4096)  # candidates of many images spell the same
def _scan(text: str) -> tuple[str, int, bool]:
    """The first word, where it ends, and whether that stays."""
    found = _WORD.search(text)
    if found is None:
        return "", 0, len(text) > MAX_BEFORE + _LONGEST_SIGN
    if found.start() > MAX_BEFORE:
        return "", 0, True
    word = found[0]
    if len(word) > MAX_CHARACTERS and len(characters := regex.findall(r"\X", word)) > MAX_CHARACTERS:
        whole = _WHOLE_PARTS.match("".join(characters[:MAX_CHARACTERS]))
        word = whole[0] if whole else ""
        return word, found.start() + len(word), True
    rest = found.end() < len(text)
    return word, found.end(), rest and _OPEN.fullmatch(text, found.end()) is None
