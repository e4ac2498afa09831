"""What the paper's reference implementation sets for each method, as options of `load`: for figures beside the paper's.

CLAY and the pixels are not in it: they get what their nearest relative has.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import OptionError

_PIXELS = {"image_reading": "reference"}

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # It numbers a prompt's tokens 0, 1, 2, ... where it reads hidden states; where it generates, the model does.
    "dior": {**_PIXELS, "dtype": "bfloat16", "positions": "flat"},
    "generative": {**_PIXELS, "dtype": "bfloat16", "encoded_text": "chat", "text_encoder_dtype": "float32"},
    "clip": {**_PIXELS, "dtype": "bfloat16"},
    "indirect": {**_PIXELS, "dtype": "float32"},
    "clay": {**_PIXELS, "dtype": "float32"},
    "pixels": _PIXELS,
}
OWN = ("encoded_text", "text_encoder_dtype")  # of a method alone; the others are of the model that it stands on


def check_free(options: Mapping[str, Any]) -> None:
    """Raise a ValueError if one of these is set that the reference has its own of."""
    if taken := [name for name in options if any(name in each for each in OPTIONS.values())]:
        raise OptionError(f"as_reference sets {' and '.join(taken)} by itself: leave out the one or the other")
