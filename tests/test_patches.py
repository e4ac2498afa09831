"""Patch embeddings: the product is the convolution, wherever it stands in for it."""

import pytest
import torch
from torch import nn

from conditional_image_embeddings.lvlm import patches


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(2, 4, 4), (2, 8, 8), (6, 4, 12)], ids=["a patch", "four patches", "nine patches"])
def test_the_product_is_the_convolution(size: tuple[int, int, int], bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4), bias=bias))
    images = torch.randn(5, 3, *size)
    expected = model(images)
    patches.multiply(model)
    torch.testing.assert_close(model(images), expected)


def test_a_padded_convolution_stays_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 8, (2, 4, 4), padding=1), nn.Conv3d(8, 8, 3, padding="same"))
    patch = torch.randn(1, 3, 2, 4, 4)
    expected = model(patch)
    patches.multiply(model)
    torch.testing.assert_close(model(patch), expected)
