"""Unpadded prompts and images into rectangular batches, padded on the side asked for."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .loading import LVLM
from .prompts import Inputs


def token_inputs(rows: Sequence[Inputs], fill: Sequence[Inputs], *, left: bool = False) -> dict[str, Tensor]:
    """Rows of tokens as a batch with its attention mask.

    Padding is a copy of the last token of the row's prompt (`fill`): it has an embedding, and stands for no image.
    """
    length = max(len(row["input_ids"]) for row in rows)
    batch = {
        key: torch.stack(
            [_filled(row[key], prompt[key][-1], length, left) for row, prompt in zip(rows, fill, strict=True)]
        )
        for key in rows[0]
    }
    batch["attention_mask"] = stacked([torch.ones_like(row["input_ids"]) for row in rows], left=left)
    return batch


def stacked(rows: Sequence[Tensor], *, left: bool = False) -> Tensor:
    """Tensors (..., n_i) as (rows, ..., n), padded with zeros."""
    length = max(row.shape[-1] for row in rows)
    return torch.stack([pad(row, (length - row.shape[-1], 0) if left else (0, length - row.shape[-1])) for row in rows])


def position_ids(rows: Sequence[Tensor], *, left: bool = False) -> Tensor:
    """Positions (1 or 3, n_i) in the form that models take: (rows, n) or (3, rows, n)."""
    positions = stacked(rows, left=left)
    return positions[:, 0] if positions.shape[1] == 1 else positions.transpose(0, 1)


def spans_cache(key: str, value: Tensor) -> bool:
    """Whether a model wants this of cached tokens too: the attention mask, and Mllama's across to the image."""
    return key == "attention_mask" or (value.ndim > 2 and key != "position_ids")


def image_inputs(images: Sequence[dict[str, Any]], lvlm: LVLM) -> dict[str, Any]:
    """What the vision tower takes for several images: sizes that differ are padded with zeros, as processors do."""
    images = [_whole_mask(image) for image in images]
    batch: dict[str, Any] = {}
    for key, first in images[0].items():
        values = [image[key] for image in images]
        if isinstance(first, Tensor):
            sizes = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
            batch[key] = torch.cat([_padded(value, sizes) for value in values])
        else:
            batch[key] = [item for value in values for item in value]
    return on_device(batch, lvlm)


def on_device(inputs: dict[str, Any], lvlm: LVLM) -> dict[str, Any]:
    """Moved to the model's device, floating-point numbers in its precision."""
    return {
        key: value.to(lvlm.device, lvlm.dtype if value.is_floating_point() else None)
        if isinstance(value, Tensor)
        else value
        for key, value in inputs.items()
    }


def _whole_mask(image: dict[str, Any]) -> dict[str, Any]:
    """With a mask for every patch: LFM2-VL's ends at the patches that its processor allows, which thin images exceed.

    By itself such an image is read whole, so that beside others no patch may be taken for padding, nor padding for one.
    """
    mask, patches = image.get("pixel_attention_mask"), image.get("pixel_values")
    if mask is None or patches is None or mask.ndim != 2 or mask.shape[1] >= patches.shape[1]:
        return image
    return image | {"pixel_attention_mask": pad(mask, (0, patches.shape[1] - mask.shape[1]), value=1)}


def _filled(row: Tensor, last: Tensor, length: int, left: bool) -> Tensor:
    padding = last.expand(length - len(row), *last.shape)
    return torch.cat([padding, row] if left else [row, padding])


def _padded(value: Tensor, sizes: Sequence[int]) -> Tensor:
    widths = [
        width
        for size, have in zip(reversed(sizes), reversed(value.shape[1:]), strict=True)
        for width in (0, size - have)
    ]
    return pad(value, widths) if any(widths) else value
