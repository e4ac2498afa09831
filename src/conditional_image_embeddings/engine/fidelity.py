"""Whether the prompts that the engine feeds are the model's own: checked when a model is loaded, on one image.

The engine takes the model's own call for the first prompt of an image and splices the others from it; whatever goes
wrong on the way is found here, and never reaches a vector.
"""

from PIL import Image

from ..errors import ModelError
from .equivalence import UNSUPPORTED_ERRORS
from .generation import Sampling, answers
from .loading import LVLM
from .prompts import Prepared, same_inputs, split_inputs
from .thinking import MARKS

FIRST_TOKENS = 4  # a mark may be spelled in pieces


def check_prompts(lvlm: LVLM, image: Image.Image, texts: list[str], prepared: Prepared) -> None:
    """Hold each prompt of an image against the model's own call for that image and text.

    Args:
        lvlm: The model.
        image: What was shown.
        texts: The user's text of each prompt.
        prepared: What the engine would feed.

    Raises:
        ModelError: tokens, mask or image inputs differ; the message shows both prompts as text.
    """
    chat = lvlm.chat
    for index, text in enumerate(texts):
        own = chat.call(chat.official or None, image, text)
        tokens, inputs = split_inputs(lvlm, own)
        expected, ids = tokens["input_ids"], prepared.ids[index]
        if chat.closed:
            alike = chat.tokenizer.decode(expected) + chat.closed == chat.tokenizer.decode(ids)
        else:
            alike = same_inputs(tokens, prepared.prompts[index]) and bool(own["attention_mask"].all())
        if not alike:
            raise ModelError(
                f"{lvlm.name}: its prompt is {chat.as_text(ids)!r}, but its own call gives {chat.as_text(expected)!r}"
            )
        if not same_inputs(inputs, prepared.images[index] if prepared.images else prepared.image):
            raise ModelError(f"{lvlm.name}: what it is fed of an image is not what its own call gives")


def opened_thought(lvlm: LVLM, prepared: Prepared) -> str:
    """The mark of the thought that the model opens by itself; empty if it opens none, or says nothing."""
    try:
        (answer,) = answers(lvlm, [prepared.singles()[0]], [], Sampling(max_new_tokens=FIRST_TOKENS), share=False)
    except (ModelError, *UNSUPPORTED_ERRORS):  # without a head it tells no words at all
        return ""
    begun = lvlm.tokenizer.decode(answer.tokens).lstrip()
    return next((mark for mark in MARKS if begun.startswith(mark)), "")
