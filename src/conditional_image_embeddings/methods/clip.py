"""CLIP: the image tower's projected embedding, without a condition (paper, section 4: baselines).

Any dual encoder will do (CLIP, SigLIP, SigLIP 2, ALIGN, Chinese-CLIP, ...): all that is asked of it is transformers'
`get_image_features`, and `get_text_features` for texts in the same space.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from ..errors import ModelError
from ..models.checkpoint import Checkpoint
from .embedder import Embedder, checked_reading, checked_size
from .request import Embedded, Request
from .settings import Setting

BUDGET_CPU = 32  # images a batch
BUDGET_CUDA = 512
TEXTS = 256  # a batch


class CLIP(Embedder):
    """Embeds images, and texts into the same space, with a dual encoder.

    Args:
        checkpoint: The model to load.
        image_max_size: Images are scaled down to at most this many pixels on the longer side, before the model's own
            preprocessing.
        image_reading: "upright", or "reference": the pixels that the paper's reference implementation sees.

    Raises:
        ModelError: the model cannot be loaded, or has no image tower.
    """

    method = "clip"
    depth = 0

    def __init__(self, checkpoint: Checkpoint, *, image_max_size: int = 700, image_reading: str = "upright") -> None:
        self.checkpoint = checkpoint
        self.model = checkpoint.name
        self.revision = checkpoint.revision
        self.image_max_size, self.image_reading = checked_size(image_max_size), checked_reading(image_reading)
        self.budget = BUDGET_CUDA if checkpoint.device.type == "cuda" else BUDGET_CPU
        self.dual_encoder: Any = checkpoint.load_model(AutoModel)
        if not hasattr(self.dual_encoder, "get_image_features"):
            raise ModelError(f"{self.model} has no image tower: CLIP needs a dual encoder of images and texts")
        self.image_processor = checkpoint.load_processor(AutoImageProcessor)
        self._tokenizer: Any = None

    def prepare(self, image: Image.Image, request: Request) -> dict[str, Tensor]:  # noqa: ARG002
        """The model's inputs for one image."""
        return dict(self.image_processor(images=[image], return_tensors="pt"))

    def cost(self, prepared: dict[str, Tensor]) -> int:  # noqa: ARG002
        """One an image: all are scaled to one size."""
        return 1

    def forward_batch(self, batch: Sequence[dict[str, Tensor]], request: Request) -> list[Embedded]:  # noqa: ARG002
        """One vector an image."""
        inputs = {key: torch.cat([prepared[key] for prepared in batch]) for key in batch[0]}
        with torch.inference_mode():
            features = _features(self.dual_encoder.get_image_features(**self._on_device(inputs)))
        return [Embedded(vector[None, None, None, None]) for vector in features]

    def embed_text(self, texts: Sequence[str], request: Request) -> NDArray[np.float32]:  # noqa: ARG002
        """Vectors (n, 1, 1, 1, 1, d) of texts, from the text tower.

        Raises:
            ModelError: the model has no text tower.
        """
        if not hasattr(self.dual_encoder, "get_text_features"):
            raise ModelError(f"{self.model} has no text tower: texts need a dual encoder of images and texts")
        if self._tokenizer is None:
            self._tokenizer = self.checkpoint.load_processor(AutoTokenizer)
        # SigLIP and its kin were trained on texts padded to one length and read their last position.
        length = self.dual_encoder.config.get_text_config().max_position_embeddings
        fixed = "siglip" in self.dual_encoder.config.model_type
        parts = []
        for start in range(0, len(texts), TEXTS):
            inputs = self._tokenizer(
                list(texts[start : start + TEXTS]),
                padding="max_length" if fixed else True,
                truncation=True,
                split_special_tokens=True,  # what users type is text
                max_length=length if fixed else min(length, self._tokenizer.model_max_length),
                return_tensors="pt",
            )
            with torch.inference_mode():
                parts.append(_features(self.dual_encoder.get_text_features(**self._on_device(dict(inputs)))))
        return np.concatenate(parts)[:, None, None, None, None]

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """The one setting there is."""
        self._check(request)
        setting = self._setting(
            dataset,
            source,
            dtype=str(self.checkpoint.dtype).removeprefix("torch."),
            extra=self.checkpoint.setting_extra,
        )
        return [setting]

    def _on_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        device, dtype = self.checkpoint.device, self.checkpoint.dtype
        return {key: value.to(device, dtype if value.is_floating_point() else None) for key, value in inputs.items()}


def _features(output: Any) -> NDArray[np.float32]:
    """The projected embedding, (n, d): transformers 5 wraps it in an output object, earlier ones do not."""
    features = output if isinstance(output, Tensor) else output.pooler_output
    return np.asarray(features.float().cpu().numpy())
