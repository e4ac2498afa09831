"""A multimodal model of sentence-transformers as it is: its modules make the vectors, its `prompt` is the condition.

For models that come with `modules.json` and are of no family that `models.instructed` knows.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ModelError, OptionError, require
from ..models.checkpoint import Checkpoint
from ..models.exclusion import loading
from ..models.instructed import record_for
from ..models.reasons import quiet, single_line_errors
from .embedder import Embedder, checked_reading, checked_size
from .request import Embedded, Request
from .settings import Setting

MODULES = "modules.json"
WORDING = "Represent the image regarding {c}."
BUDGET = 32  # images a batch
PROBES = ("color", "the number of people")


def has_modules(checkpoint: Checkpoint) -> bool:
    """Whether a model says itself how sentence-transformers makes vectors with it."""
    return checkpoint.adapter is None and checkpoint.files.file(MODULES) is not None


class Prompted(Embedder):
    """Embeds images and texts with a `SentenceTransformer`, each condition as a prompt; without one, as it does itself.

    Args:
        checkpoint: The model.
        instruction: The prompt about {c}; None is `WORDING`.
        image_max_size: Images are scaled down to at most this many pixels on the longer side (paper: 700).
        image_reading: "upright", or "reference": the pixels that the paper's reference implementation sees.
        attn_implementation: One of transformers' attention implementations; None leaves the choice to transformers.

    Raises:
        ModelError: the model cannot be loaded, or embeds no images.
        OptionError: a prompt without {c}, or one that is too long.
    """

    method = "instruct"
    depth = 0

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        instruction: str | None = None,
        image_max_size: int = 700,
        image_reading: str = "upright",
        attn_implementation: str | None = None,
    ) -> None:
        require("sentence-transformers", f"model {checkpoint.name!r}, which comes with {MODULES},")
        from sentence_transformers import SentenceTransformer

        self._given = {} if instruction is None else {"instruction": instruction}
        self._wording = record_for(checkpoint.name, checkpoint.config, instruction=instruction or WORDING)
        self.checkpoint = checkpoint
        self.model, self.revision = checkpoint.name, checkpoint.revision
        self.image_max_size, self.image_reading = checked_size(image_max_size), checked_reading(image_reading)
        self.budget = BUDGET
        options = {"dtype": checkpoint.dtype, "use_safetensors": True, **checkpoint.model_kwargs}
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        hub = dict(checkpoint.hub_options)
        with loading(), single_line_errors(self.model, "loaded by sentence-transformers"), quiet(progress=False):
            self._sentence_transformer = SentenceTransformer(
                checkpoint.location,
                device=str(checkpoint.device),
                model_kwargs=options,
                processor_kwargs=dict(checkpoint.processor_kwargs),
                cache_folder=hub.pop("cache_dir", None),
                **hub,
            ).eval()
        with self.lock, single_line_errors(self.model, "run on an image"):
            picture = Image.linear_gradient("L").convert("RGB").resize((112, 112))
            both = [self._encoded([{"image": picture}], each) for each in PROBES]
        self._hears = bool(np.abs(both[0] - both[1]).max() > 0)

    def prepare(self, image: Image.Image, request: Request) -> dict[str, Any]:  # noqa: ARG002
        """The input as sentence-transformers takes it."""
        return {"image": image}

    def cost(self, prepared: Any) -> int:  # noqa: ARG002
        """One an image."""
        return 1

    def forward_batch(self, batch: Sequence[Any], request: Request) -> list[Embedded]:
        """One vector per image and condition: a pass for each."""
        vectors = np.stack([self._encoded(batch, condition) for condition in request.conditions], axis=1)
        return [Embedded(each[:, None, None, None]) for each in vectors]

    def embed_text(self, texts: Sequence[str], request: Request) -> NDArray[np.float32]:
        """Vectors (n, *request.shape, d) of texts under the same prompts."""
        given = [{"text": text} for text in texts]
        vectors = np.stack([self._encoded(given, condition) for condition in request.conditions], axis=1)
        return vectors[:, :, None, None, None]

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting per condition."""
        self._check(request)
        extra = {**self.checkpoint.setting_extra, **self._given, "modules": self._modules()}
        dtype = str(self.checkpoint.dtype).removeprefix("torch.")
        return [self._setting(dataset, source, condition=each, dtype=dtype, extra=extra) for each in request.conditions]

    def _check(self, request: Request) -> None:
        super()._check(request)
        if not self._hears and request.conditions != (None,):
            raise ModelError(
                f"{self.model}: its prompt does not reach images, so a condition changes nothing: leave it out, or say "
                "how it is instructed (instruction={...})"
            )

    def _encoded(self, inputs: Sequence[Any], condition: str | None) -> NDArray[np.float32]:
        prompt = None if condition is None else self._wording.instruction(condition)
        return np.asarray(
            self._sentence_transformer.encode(
                list(inputs), prompt=prompt, batch_size=len(inputs), show_progress_bar=False, convert_to_numpy=True
            ),
            np.float32,
        )

    def _modules(self) -> str:
        """12 hexadecimal digits of what becomes of the model's states: the modules and their configs."""
        parts = []
        listed = self.checkpoint.files.file(MODULES)
        modules = json.loads(listed.read_text(encoding="utf-8")) if listed else []
        for name in ("config_sentence_transformers.json", *(f"{each['path']}/config.json" for each in modules)):
            file = self.checkpoint.files.file(name.lstrip("/"))
            parts.append(file.read_text(encoding="utf-8") if file else "")
        return hashlib.sha256(json.dumps([modules, parts]).encode()).hexdigest()[:12]


def checked_prompt(instruction: Any, pooling: str | None) -> str | None:
    """The prompt, where that is all that was said.

    Raises:
        OptionError: a pooling, which is the model's own to say.
    """
    if pooling is not None:
        raise OptionError(f"pooling is {pooling!r}, and this model's own modules pool: leave it out, or give a record")
    return None if instruction is None else str(instruction)
