"""Pixels: an image shrunk to a few of them, as a control. What a method adds shows beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..inputs.arguments import checked_count
from .embedder import Embedder, checked_reading, checked_size
from .request import Embedded, Request
from .settings import Setting

BATCH = 256  # images; there is no model whose memory could fill


class Pixels(Embedder):
    """The image's average colours on a grid of `size` x `size` cells: vectors of 3 * size**2 values in [0, 1]."""

    method = "pixels"
    revision = None
    depth = 0

    def __init__(self, *, size: int = 12, image_max_size: int = 700, image_reading: str = "upright") -> None:
        self.size = checked_count("size", size)
        self.model = f"pixels-{size}"
        self.image_max_size, self.image_reading = checked_size(image_max_size), checked_reading(image_reading)
        self.budget = BATCH

    def prepare(self, image: Image.Image, request: Request) -> NDArray[np.float32]:  # noqa: ARG002
        """The shrunken image, flat."""
        small = image.resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32).reshape(-1) / np.float32(255)

    def cost(self, prepared: NDArray[np.float32]) -> int:  # noqa: ARG002
        """One an image."""
        return 1

    def forward_batch(self, batch: Sequence[NDArray[np.float32]], request: Request) -> list[Embedded]:  # noqa: ARG002
        """One vector an image."""
        return [Embedded(vector[None, None, None, None]) for vector in batch]

    @classmethod
    def options_from(cls, setting: Setting) -> dict[str, Any]:
        """The options that made a setting."""
        return {**super().options_from(setting), "size": int(setting.model.removeprefix("pixels-"))}

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """The one setting there is."""
        self._check(request)
        return [self._setting(dataset, source)]
