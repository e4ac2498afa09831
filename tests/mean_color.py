"""A method of one file and one registry entry: an image's mean colour. Run as a program: `cie` with it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from conditional_image_embeddings.methods.embedder import Embedder
from conditional_image_embeddings.methods.registry import Method, register
from conditional_image_embeddings.methods.request import Embedded, Request
from conditional_image_embeddings.methods.settings import Setting


class MeanColor(Embedder):
    """Vectors of 3 values in [0, scale]."""

    method, model, revision, depth, budget = "colors", "mean-color", None, 0, 64

    def __init__(self, *, scale: float = 1.0, image_max_size: int = 700, image_reading: str = "upright") -> None:
        self.scale, self.image_max_size, self.image_reading = scale, image_max_size, image_reading

    def prepare(self, image: Image.Image, request: Request) -> NDArray[np.float32]:
        return np.asarray(image.resize((1, 1), Image.Resampling.BOX), np.float32).reshape(3) / np.float32(255)

    def cost(self, prepared: NDArray[np.float32]) -> int:
        return 1

    def forward_batch(self, batch: Sequence[NDArray[np.float32]], request: Request) -> list[Embedded]:
        return [Embedded(self.scale * vector[None, None, None, None]) for vector in batch]

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        self._check(request)
        return [self._setting(dataset, source, extra={} if self.scale == 1 else {"scale": self.scale})]


ENTRY = Method(name="colors", title="Mean colour", implementation="mean_color:MeanColor", options=("scale",))

if __name__ == "__main__":
    register(ENTRY)
    from conditional_image_embeddings.cli import main

    main()
