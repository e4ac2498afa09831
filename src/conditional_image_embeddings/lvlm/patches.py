"""Patch embeddings as products of matrices: what a convolution over a whole patch at a time is.

Vision towers that are given their patches cut out (Qwen2-VL and later) embed each by a 3-D convolution whose kernel is
the patch. Libraries of convolutions have no fast way for that case: the product took a third of the time on a CPU.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear


def multiply(model: nn.Module) -> None:
    """Have convolutions that are given single patches multiply them; on larger inputs they stay what they are."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d) and module.groups == 1 and not any(map(int, _padding(module))):
            module.forward = partial(_embedded, module, module.forward)  # type: ignore[method-assign]


def _embedded(convolution: nn.Conv3d, otherwise: Any, patches: Tensor) -> Tensor:
    """(n, channels, *kernel) to (n, d, 1, 1, 1)."""
    if patches.shape[2:] != convolution.kernel_size:
        result: Tensor = otherwise(patches)
        return result
    product = linear(patches.flatten(1), convolution.weight.flatten(1), convolution.bias)
    return product[..., None, None, None]


def _padding(convolution: nn.Conv3d) -> tuple[int, ...]:
    return convolution.padding if isinstance(convolution.padding, tuple) else (convolution.padding != "valid",)
