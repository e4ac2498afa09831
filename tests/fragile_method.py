"""A method whose process is killed at a red picture; and a driver of a cluster that stops after its first commit."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mean_color import MeanColor
from numpy.typing import NDArray
from PIL import Image

from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.methods.registry import Method
from conditional_image_embeddings.methods.request import Embedded, Request


class Fragile(MeanColor):
    """`MeanColor`; its process dies at the first red picture that any finds. With `scale` 0 it takes no picture.

    Args:
        flag: A file that is made before the process dies.
        options: Of `MeanColor`.
    """

    method, model, has_words = "fragile", "fragile", True

    def __init__(self, *, flag: str, **options: Any) -> None:
        super().__init__(**options)
        self.flag = Path(flag)

    def prepare(self, image: Image.Image, request: Request) -> NDArray[np.float32]:
        found = super().prepare(image, request)
        if found.tolist() == [1, 0, 0] and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    def forward_batch(self, batch: Sequence[NDArray[np.float32]], request: Request) -> list[Embedded]:
        if not self.scale:
            raise ModelError("the model is worn out")
        made = super().forward_batch(batch, request)
        return [Embedded(each.vectors, [[[("red", float(each.vectors.max()))]]]) for each in made]


ENTRY = Method(
    name="fragile", title="Fragile", implementation="fragile_method:Fragile", options=("flag", "scale"), tells="words"
)


def main(folder: str, db: str, flag: str, address: str) -> None:
    """Embed on the cluster; say when the first rows are committed, and then go no further."""
    from conditional_image_embeddings.collection.job import pending_rows
    from conditional_image_embeddings.collection.job.distributed.ray_embedder import RayEmbedder
    from conditional_image_embeddings.collection.job.embedding_job import run_job
    from conditional_image_embeddings.collection.storage.store import Store
    from conditional_image_embeddings.inputs.sources import find
    from conditional_image_embeddings.methods.registry import register

    pending_rows.COMMIT_ROWS = 50
    commit = pending_rows.PendingRows.commit

    def committed(self: Any) -> None:
        commit(self)
        print("committed", flush=True)  # noqa: T201
        time.sleep(120)

    pending_rows.PendingRows.commit = committed  # type: ignore[method-assign]
    register(ENTRY)
    embedder = RayEmbedder("fragile", {"method": "fragile", "flag": flag}, Request(top_words=1), address=address)
    run_job(Store(db), find([folder])[0], embedder, Request(top_words=1))


if __name__ == "__main__":
    from fragile_method import main as main_of_module  # workers find its methods in a module of this name

    main_of_module(*sys.argv[1:])
