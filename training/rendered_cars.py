"""Batches of the rendered training images, half of them mirrored."""

from pathlib import Path

import numpy as np
import torch
from render_images import PATCH, SIZE
from torch import Tensor


class RenderedCars:
    """The memory-mapped output of `render_images.py`; images that are not rendered yet are not drawn."""

    def __init__(self, directory: Path) -> None:
        self.images, self.parts, self.labels = (
            np.load(directory / f"{name}.npy", mmap_mode="r") for name in ("images", "parts", "labels")
        )
        self.ready = np.flatnonzero(self.labels[:, 0] >= 0)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels in [-1, 1], (n, 3, 96, 96); labels, (n, aspects); part shares per patch, (n, patches, parts)."""
        rows = np.sort(rng.choice(self.ready, size, replace=False))
        images, parts, labels = self.images[rows], self.parts[rows], self.labels[rows].astype(np.int64)
        grid = SIZE // PATCH
        half = slice(None, size // 2)
        images[half] = images[half, :, ::-1].copy()
        parts[half] = parts[half].reshape(-1, grid, grid, parts.shape[-1])[:, :, ::-1].reshape(parts[half].shape).copy()
        order = rng.permutation(size)
        return (
            pixels(images[order]),
            torch.from_numpy(labels[order]),
            torch.from_numpy(parts[order]).float() / 255,
        )


def pixels(images: np.ndarray) -> Tensor:
    """uint8 images, (n, height, width, 3), as the processors normalise them: (n, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
