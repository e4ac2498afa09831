"""What one model is fed, in words: the prompt with its special tokens, where it ends, and how it shares.

For readers who load a checkpoint that nobody tried: `cie models --check` prints it, and `docs/models.md` is made of it.
"""

from typing import TYPE_CHECKING, Any

from PIL import Image

from ..engine.texts import text_prompt
from ..engine.thinking import SWITCHES
from ..inputs.conditions import prompt

if TYPE_CHECKING:
    from .dior import DIOR

CONDITION = "color"
SIDE = 448  # pixels of the image whose tokens are counted
LAST = 8  # tokens shown of a prompt's end


def description(embedder: "DIOR") -> dict[str, Any]:
    """What a loaded model is fed of an image under the condition "color", and of the text "red".

    Loading it has held its prompts against its own call (`fidelity`): where they differ, there is nothing to describe.

    Returns:
        `{model, family, revision, prompt, text_prompt, last_tokens, bos, system_turn, image, thinking, date, positions,
        image_tokens, image_side, sharing, digest}`, ready for JSON.
    """
    lvlm, chat = embedder.lvlm, embedder.lvlm.chat
    picture = Image.linear_gradient("L").convert("RGB").resize((SIDE, SIDE))
    text = prompt(CONDITION)
    prepared = embedder.prompt_maker((CONDITION,), ("describe",))(picture)
    ids = prepared.ids[0]
    shown = chat.as_text(ids)
    of_image = ids == chat.image_token_id
    first = int(of_image.nonzero()[0])
    return {
        "model": lvlm.name,
        "family": lvlm.model.config.model_type,
        "revision": embedder.revision,
        "prompt": shown,
        "text_prompt": _text_prompt(embedder),
        "last_tokens": [chat.tokenizer.decode([token]) for token in ids[-LAST:].tolist()],
        "bos": int((ids == chat.tokenizer.bos_token_id).sum()) if chat.tokenizer.bos_token_id is not None else 0,
        "system_turn": "system" in chat.tokenizer.decode(ids[:first]).lower(),
        "image": "behind the text" if text in chat.tokenizer.decode(ids[:first]) else "before the text",
        "thinking": _thinking(embedder),
        "date": "none" if "strftime_now" not in chat.official else "fixed",
        "positions": "flat"
        if embedder.positions == "flat"
        else "in three dimensions"
        if lvlm.has_image_positions
        else "in one dimension",
        "image_tokens": int(of_image.sum()),
        "image_side": SIDE,
        "sharing": embedder.plan.strategy,
        "digest": chat.digest,
    }


def _text_prompt(embedder: "DIOR") -> str | None:
    chat = embedder.lvlm.chat
    return chat.as_text(chat.text_ids(text_prompt("red", CONDITION)))


def _thinking(embedder: "DIOR") -> str:
    chat = embedder.lvlm.chat
    if chat.closed:
        return f"closed with {chat.closed!r}"
    switched = [f"{name}={chat.variables[name]}" for name in SWITCHES if name in chat.variables]
    return ", ".join(switched) or "its template opens no thought"
