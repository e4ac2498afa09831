"""What the engine is measured against: each takes image files and prompts, and gives one vector per pair.

All run the same model object in the same process. The reference's two modes are written again from its description,
because its code asks for classes that transformers 5 no longer has; `reference_code` runs the real one from a checkout.
"""

import copy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

PLACES = ("after", "system")  # where a prompt's text stands: behind the image, or in a turn before it


def chat(image: Any, text: str, place: str = "after") -> list[dict[str, Any]]:
    """One turn with the image and then the text, or the text in a system turn before the image's."""
    said = {"type": "text", "text": text}
    if place == "system":
        return [{"role": "system", "content": [said]}, {"role": "user", "content": [image]}]
    return [{"role": "user", "content": [image, said]}]


Rival = Callable[[list[Path], list[str]], torch.Tensor]  # files, conditions -> (n, K, d)


class Reference:
    """The reference implementation's procedure: one image, one prompt at a time, through the whole model."""

    def __init__(self, model: Any, processor: Any, place: str = "after") -> None:
        self.model, self.processor, self.place = model, processor, place

    def inputs(self, image: Image.Image, text: str) -> dict[str, Any]:
        told = chat({"type": "image"}, text, self.place)
        rendered = self.processor.apply_chat_template(told, add_generation_prompt=True)
        made = self.processor(text=[rendered], images=[image], return_tensors="pt", padding=True)
        return {name: value.to(self.model.device) for name, value in made.items()}

    @torch.no_grad()
    def full_passes(self, files: list[Path], prompts: list[str]) -> torch.Tensor:
        """K full passes, logits of all tokens, all hidden states."""
        rows = []
        for file in files:
            image = Image.open(file).convert("RGB")
            for text in prompts:
                output = self.model(**self.inputs(image, text), output_hidden_states=True)
                rows.append(output.hidden_states[-1][0, -1].float().cpu())
        return torch.stack(rows).view(len(files), len(prompts), -1)

    @torch.no_grad()
    def base_model(self, files: list[Path], prompts: list[str]) -> torch.Tensor:
        """K passes of the model without its head, keeping the last state only: what thirty good lines would do."""
        rows = []
        for file in files:
            image = Image.open(file).convert("RGB")
            states = (self.model.model(**self.inputs(image, text)).last_hidden_state for text in prompts)
            rows.extend(state[0, -1].float().cpu() for state in states)
        return torch.stack(rows).view(len(files), len(prompts), -1)

    @torch.no_grad()
    def cache_mode(self, files: list[Path], prompts: list[str]) -> torch.Tensor:
        """The first prompt whole; the others go on from its key-value cache. The image is processed twice for each."""
        rows = []
        for file in files:
            image = Image.open(file).convert("RGB")
            first = self.inputs(image, prompts[0])
            output = self.model(**first, use_cache=True, output_hidden_states=True)
            rows.append(output.hidden_states[-1][0, -1].float().cpu())
            for text in prompts[1:]:
                common = _common_prefix(first["input_ids"][0], self.inputs(image, text)["input_ids"][0])
                suffix = self.inputs(image, text)["input_ids"][:, common:]
                cache = copy.deepcopy(output.past_key_values)
                cache.crop(common - first["input_ids"].shape[1])
                length = common + suffix.shape[1]
                positions = torch.arange(common, length, device=suffix.device)[None]
                continued = self.model(
                    input_ids=suffix, attention_mask=torch.ones(1, length, dtype=torch.long, device=suffix.device),
                    position_ids=positions, past_key_values=cache, use_cache=False, output_hidden_states=True,
                )  # fmt: skip
                rows.append(continued.hidden_states[-1][0, -1].float().cpu())
        return torch.stack(rows).view(len(files), len(prompts), -1)


def _common_prefix(a: torch.Tensor, b: torch.Tensor) -> int:
    shorter = min(len(a), len(b))
    differing = (a[:shorter] != b[:shorter]).nonzero()
    return int(differing[0]) if len(differing) else shorter


def reference_code(directory: Path, model: Any, processor: Any, *, use_cache: bool) -> Rival:
    """The reference's own code, from a checkout of it, on this model object."""
    sys.path.insert(0, str(directory))
    loader = types.ModuleType("utils.get_models")  # in place of its loader, which needs transformers 4 and the hub
    loader.load_model_and_processor = lambda model_id: (model, processor)  # noqa: ARG005
    loader.__getattr__ = lambda name: None  # type: ignore[method-assign]  # noqa: ARG005 - the other methods' loaders
    sys.modules["utils.get_models"] = loader
    from entities.config import InferenceConfig
    from processors.dior import DIOREmbeddingProcessor

    def run(files: list[Path], conditions: list[str]) -> torch.Tensor:
        config = InferenceConfig(
            model_id="random", dataset_name="synthetic_cars", use_cache=use_cache,
            embedding_dir=str(files[0].parent / "reference"), datasets_dir=str(files[0].parent.parent),
        )  # fmt: skip
        embedding = DIOREmbeddingProcessor(config)
        embedding.aspects = list(conditions)
        saved: list[Any] = []
        embedding._output_exists = lambda path: False  # noqa: ARG005
        embedding._save_json = lambda path, data: saved.append(data["embedding"])  # noqa: ARG005
        embedding._get_image_files = lambda: [str(file) for file in files]
        embedding.run()
        return torch.tensor(saved).view(len(files), len(conditions), -1)

    return run


def sentence_transformers(
    directory: Path, prompts_of: Callable[[str], str], device: str, dtype: torch.dtype, place: str = "after"
) -> Rival:
    """sentence-transformers with the same model: `Transformer`, last-token pooling, one prompt a condition."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(
        str(directory), model_kwargs={"dtype": dtype},
        processing_kwargs={"chat_template": {"add_generation_prompt": True}},
    )  # fmt: skip
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
    embedder = SentenceTransformer(modules=[transformer, pooling], device=device)

    def run(files: list[Path], conditions: list[str]) -> torch.Tensor:
        chats = [
            chat({"type": "image", "image": Image.open(file).convert("RGB")}, prompts_of(condition), place)
            for file in files for condition in conditions
        ]  # fmt: skip
        vectors = embedder.encode(chats, batch_size=len(conditions), convert_to_tensor=True, show_progress_bar=False)
        return vectors.float().cpu().view(len(files), len(conditions), -1)

    return run
