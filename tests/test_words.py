"""Words of an answer that arrives token by token, whatever the tokens are; and models that tell none."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_first_word import CHARACTERS
from tiny_models import save, tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import conditional_image_embeddings as cie
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.engine import words
from conditional_image_embeddings.engine.first_word import MAX_BEFORE, MAX_CHARACTERS, first_word, folded
from conditional_image_embeddings.engine.words import MAX_TOKENS, Candidate
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

IMAGE = Image.new("RGB", (112, 80), "teal")
EOS = 3


class Pieces:
    """A tokenizer whose tokens are the given bytes: they may begin and end inside a character."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def decode(self, tokens: list[int], **_: Any) -> str:
        return b"".join(self.pieces[token] for token in tokens).decode("utf-8", "replace")


def told(tokenizer: Any, tokens: list[int]) -> tuple[str, int]:
    """The word of an answer that ends after these tokens, and how many of them it counts."""
    candidate = Candidate.begun(tokenizer, 0, tokens[0], -1.0)
    for token in tokens[1:]:
        if candidate.has_ended:
            break
        candidate.add(tokenizer, token, -1.0)
    word, probability = candidate.word()
    return word, round(-math.log(probability))


@settings(max_examples=1000)
@given(st.text(st.sampled_from([c for c in CHARACTERS if c != "\ufffd"]), min_size=1, max_size=14), st.data())
def test_how_a_text_is_cut_into_tokens_changes_nothing(text: str, data: st.DataObject) -> None:
    """The word is that of the whole answer, and counts the tokens up to the one in which it ends."""
    encoded = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(encoded) - 1)))))
    pieces = [encoded[a:b] for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    word, counted = told(Pieces(pieces), list(range(len(pieces))))
    written = first_word(text)
    assert word == folded(written or " ".join(text[:MAX_BEFORE].split()))
    if written and text.count(written) == 1:
        end = len(text[: text.index(written)].encode()) + len(written.encode())
        assert counted == next(n for n in range(1, len(pieces) + 1) if len(b"".join(pieces[:n])) >= end)


def metaspace() -> Any:
    """As SentencePiece writes them: a space is a part of a token, and missing characters are bytes."""
    corpus = ["red blue car color one word describe green 3.5 silver don't T-shirt"] * 20
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>")  # noqa: S106
    made.train_from_iterator(corpus, trainer)
    learnt = sorted(made.get_vocab(), key=made.get_vocab().__getitem__)[3:]
    vocabulary = [(token, 0.0) for token in ("<unk>", "<s>", "</s>", *bytes_)] + [
        (token, -5.0) for token in (*learnt, "▁'s")
    ]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")  # noqa: S106


TOKENIZERS = {
    "byte-level": lambda: tokenizer("<image>", {"image_token": "<image>"}, chat=False),
    "metaspace": metaspace,
}
ANSWERS = {
    'red".': "red",
    " Red\n": "red",
    'blue"': "blue",
    "3.5 litres": "3.5",
    "3. Then": "3",
    'लाल"': "लाल",
    "สีแดง ค่ะ": "สีแดง",
    "红色的。": "红色的",
    "红色的": "红色的",
    "🔴 red": "🔴",
    '👩\u200d👩\u200d👧"': "👩\u200d👩\u200d👧",
    'O’Neill"': "o'neill",
    "T-shirt.": "t-shirt",
    'đỏ"': "đỏ",
    "don't know": "don't",
    "red 's": "red",
    "red .": "red",
    "** blue **": "blue",
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("cleans_up", [False, True])
def test_words_of_real_kinds_of_tokenizers(kind: str, cleans_up: bool) -> None:
    """Decoders that drop the first space, write bytes as characters, or close the space before punctuation."""
    made = TOKENIZERS[kind]()
    made.clean_up_tokenization_spaces = cleans_up
    for answer, word in ANSWERS.items():
        tokens = made.encode(answer, add_special_tokens=False)
        assert len(tokens) > 1
        assert made.decode(tokens, clean_up_tokenization_spaces=False).strip() == answer.strip()
        assert told(made, tokens)[0] == word, answer


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_an_answer_that_breaks_off_inside_a_character_keeps_the_others(kind: str) -> None:
    made = TOKENIZERS[kind]()
    tokens = made.encode("红色", add_special_tokens=False)
    assert made.decode(tokens) == "红色"
    assert [told(made, tokens[:-dropped])[0] for dropped in (1, 2)] == ["红", "红"]


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cie.load(str(save("llava", tmp_path_factory.mktemp("llava"))), device="cpu")


@pytest.fixture
def saying(llava: Any) -> Iterator[Any]:
    """Makes the model say tokens one after another, each with a probability of .8 (or it ends)."""
    steps: list[int] = []
    script: list[int] = []
    likely = [0.8]

    def scripted(_module: Any, _args: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = torch.full_like(logits, -60.0)
        logits[..., EOS] = math.log(1 - likely[0])
        logits[..., script[len(steps)] if len(steps) < len(script) else EOS] = math.log(likely[0])
        steps.append(1)
        return logits

    handle = llava.lvlm.model.lm_head.register_forward_hook(scripted)

    def run(tokens: list[int], probability: float = 0.8) -> tuple[list[tuple[str, float]], int]:
        assert llava.has_words
        steps.clear()
        likely[0] = probability
        script[:] = tokens
        return llava.words(IMAGE, "car color", k=1), len(steps)

    yield run
    handle.remove()


@pytest.mark.parametrize(
    ("answer", "word", "pieces", "steps"),
    [
        (["3", ".", "5", '"'], "3.5", 3, 4),
        (["3", ".", " ", "T"], "3", 1, 3),
        (["3", "."], "3", 1, 3),  # and the end
        (["C", "+", "x", "."], "c", 1, 3),
        (["r", "e", "d", '"'], "red", 3, 4),
        (['"', "r", "e", "d", "."], "red", 4, 6),
        (["U", ".", "S", ".", " "], "u.s.", 4, 5),
        (["N", "/", "A", "B", "!"], "n", 1, 4),
        (["r", "e", "d", "<s>", "s"], "red", 3, 4),  # a special token that the config does not name as an end
        (["<s>", "r", "e", "d", '"'], "red", 4, 5),
        (["!"], "!", 1, 2),
    ],
)
def test_what_was_only_looked_at_is_not_counted(
    llava: Any, saying: Any, answer: list[str], word: str, pieces: int, steps: int
) -> None:
    vocabulary = llava.lvlm.tokenizer.get_vocab()
    found, taken = saying([vocabulary[token.replace(" ", "Ġ")] for token in answer])
    assert found[0][0] == word
    np.testing.assert_allclose(found[0][1], 0.8**pieces, rtol=1e-5)
    assert taken == steps


@pytest.mark.parametrize(
    ("loop", "most"),
    [("红", 3 * MAX_CHARACTERS + 3), ("a", MAX_CHARACTERS + 1), ("!", 2 * MAX_BEFORE), ("<s>", MAX_TOKENS)],
)
def test_a_model_that_says_the_same_for_ever_is_stopped(llava: Any, saying: Any, loop: str, most: int) -> None:
    tok = llava.lvlm.tokenizer
    found, taken = saying(tok.encode(loop, add_special_tokens=False) * MAX_TOKENS, 0.9999)
    assert taken <= most
    if loop not in {"!", "<s>"}:
        assert found[0][0] == loop * MAX_CHARACTERS


def test_rows_whose_word_has_ended_leave_the_batch(llava: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that stay are as each is alone."""
    rows: list[int] = []
    following = words.following

    def counted(lvlm: Any, group: Any, inputs: Any, chosen: torch.Tensor) -> Any:
        rows.append(len(chosen))
        return following(lvlm, group, inputs, chosen)

    assert llava.has_words
    monkeypatch.setattr(words, "following", counted)
    found = llava.words(IMAGE, "car color", k=30)
    assert rows == sorted(rows, reverse=True)
    assert 2 * rows[-1] <= rows[0]
    monkeypatch.setattr(words, "CACHED_TOKENS", 1)  # each alone
    alone = llava.words(IMAGE, "car color", k=30)
    assert [word for word, _ in found] == [word for word, _ in alone]
    np.testing.assert_allclose([p for _, p in found], [p for _, p in alone], rtol=1e-3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        Image.new("RGB", (90, 60 + 10 * index), (80 * index, 0, 0)).save(folder / f"{index}.png")
    return folder


def test_a_model_that_tells_no_words_embeds_without(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises; with a library that is mended, the same job adds them."""

    def broken(*_: Any, **__: Any) -> Any:
        raise AttributeError("'Output' object has no\nattribute 'image_outputs'")

    directory, store = save("qwen2_5_vl", tmp_path / "model"), Store(tmp_path / "db")
    request = Request(conditions=("car color", None), top_words=2)
    (source,) = find([photos])
    with monkeypatch.context() as patch:
        patch.setattr(words, "following", broken)
        silent = cie.load(str(directory), device="cpu")
        for _ in range(2):
            done = run_job(store, source, silent, request, batch_size=1)
            assert not done.failures
        assert [(each.embedded, each.already_there, each.words_added) for each in done.settings] == [(0, 3, 0)] * 2
        (said,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
        reason = "gives no words: 'Output' object has no attribute 'image_outputs'"
        assert said == f"{directory} {reason}; vectors come without words"
        with pytest.raises(ModelError, match="gives no words"):
            silent.words(IMAGE, "car color")
    for each in done.settings:
        ids, vectors = store.read(each.setting)
        assert set(store.words(each.setting).values()) == {None}
        expected = silent.encode([photos / name for name in ids], each.setting.condition)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    fixed = run_job(store, source, cie.load(str(directory), device="cpu"), request)
    assert [(each.embedded, each.already_there, each.words_added) for each in fixed.settings] == [(0, 3, 3)] * 2
    assert all(len(told) == 2 for each in fixed.settings for told in store.words(each.setting).values())


def test_a_family_that_tells_no_words_embeds_from_the_command_line(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save("blip_2", tmp_path / "blip")
    command = ["embed", photos, "-c", "color", "-m", model, "-e", tmp_path / "db", "--device", "cpu"]
    for expected in ("3 embedded, 0 already there, 0 failed", "0 embedded, 3 already there, 0 failed"):
        caplog.clear()
        done = CliRunner().invoke(main, [*map(str, command)])
        assert done.exit_code == 0, done.output
        assert expected in done.stdout
        assert "words added" not in done.stdout
        assert caplog.text.count("vectors come without words") == 1
