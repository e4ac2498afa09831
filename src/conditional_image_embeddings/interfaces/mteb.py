"""An embedder as an mteb model: its images and texts under the condition that a task is about.

```python
from conditional_image_embeddings.interfaces.mteb import ConditionalModel

model = ConditionalModel("builtin")  # for `mteb.evaluate`
print(model.condition("CUB200I2IRetrieval"))  # bird species
```

A task that is about no aspect in the table is embedded without one; embedders that take an instruction are given the
task's own. Nothing is inherited: mteb's `EncoderProtocol` is structural. A batch with images and texts is embedded as
in `inputs.encode`: in the middle of both, or read at once. Other modalities are not read, and mteb skips their tasks.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import CieError, ConditionError, OptionError, require
from ..inputs.arguments import check_keywords
from ..inputs.conditions import checked_condition
from ..methods import Embedder, load
from ..methods.request import Request
from ..models.builtin import FOLDERS
from ..models.checkpoint import Checkpoint
from . import inputs as mixed

require("mteb", "ConditionalModel")
from mteb.models.model_meta import ModelMeta, ScoringFunction  # noqa: E402
from mteb.similarity_functions import cos_sim, pairwise_cos_sim  # noqa: E402
from mteb.types import Licenses  # noqa: E402

if TYPE_CHECKING:
    import torch
    from mteb.abstasks.task_metadata import TaskMetadata

_TASKS = {
    "action": ("UCF101", "UCF101ZeroShot"),
    "aircraft model": ("FGVCAircraft", "FGVCAircraftZeroShot"),
    "artwork": ("METI2IRetrieval",),
    "bird species": ("Birdsnap", "BirdsnapZeroShot", "CUB200I2IRetrieval"),
    "car model": ("StanfordCars", "StanfordCarsI2IRetrieval", "StanfordCarsZeroShot"),
    "country": ("Country211", "Country211ZeroShot"),
    "digit": ("MNIST", "MNISTZeroShot"),
    "dog breed": ("ImageNetDog15Clustering",),
    "facial expression": ("FER2013", "FER2013ZeroShot"),
    "flower species": ("OxfordFlowersClassification",),
    "food": ("Food101Classification", "Food101ZeroShot"),
    "land use": ("EuroSAT", "EuroSATZeroShot", "RESISC45", "RESISC45ZeroShot"),
    "landmark": (
        "GLDv2I2IRetrieval", "GLDv2I2TRetrieval", "ROxfordEasyI2IRetrieval", "ROxfordHardI2IRetrieval",
        "ROxfordMediumI2IRetrieval", "RParisEasyI2IRetrieval", "RParisHardI2IRetrieval", "RParisMediumI2IRetrieval",
    ),
    "main object": (
        "CIFAR10", "CIFAR100", "CIFAR100Clustering", "CIFAR100ZeroShot", "CIFAR10Clustering", "CIFAR10ZeroShot",
        "Caltech101", "Caltech101ZeroShot", "ImageNet10Clustering", "Imagenet1k", "Imagenet1kZeroShot", "STL10",
        "STL10ZeroShot", "SketchyI2IRetrieval", "TUBerlinT2IRetrieval", "TinyImageNetClustering", "VOC2007",
        "VOC2007.v2",
    ),
    "number of objects": ("CLEVRCountZeroShot",),
    "pet breed": ("OxfordPets", "OxfordPetsZeroShot"),
    "product": ("RP2kI2IRetrieval", "SOPI2IRetrieval"),
    "scene": ("SUN397", "SUN397ZeroShot"),
    "sentiment": ("RenderedSST2",),
    "texture": ("DTD", "DTDZeroShot"),
    "traffic sign": ("GTSRB", "GTSRBZeroShot"),
    "tumor": ("PatchCamelyon", "PatchCamelyonZeroShot"),
}  # fmt: skip

CONDITIONS: Mapping[str, str] = {task: condition for condition, tasks in _TASKS.items() for task in tasks}
"""What a task of mteb is about, by its name: those whose labels are values of one aspect."""

_OF_CALLS = ("batch_size", "show_progress_bar")


class ConditionalModel:
    """Images and texts of mteb's tasks, each task under its condition.

    Args:
        model: An embedder from `load`, or the name of a model to load.
        revision: Of a model to load: a branch, tag or commit on the hub.
        device: Of a model to load.
        conditions: By task name; these come before `CONDITIONS`. None as a value is no condition.
        condition: For tasks that neither names; None for no condition.
        options: Of `Embedder.encode`: `prompt_type`, `layer`, `layer_pooling`, `token`, `embedding_source`,
            `max_new_tokens`. The last two are of images alone.

    Attributes:
        embedder: What embeds.

    Raises:
        ModelError: the model cannot be found or loaded.
        ConditionError: a condition cannot be used, or was given though the method takes none.
        UnknownOptionError: an unknown option; the message lists the known ones.
    """

    def __init__(
        self,
        model: Embedder | str,
        revision: str | None = None,
        *,
        device: str | None = None,
        conditions: Mapping[str, str | None] | None = None,
        condition: str | None = None,
        **options: Any,
    ) -> None:
        self._options = mixed.checked_options(options)
        self._condition = checked_condition(condition)
        self._conditions = {task: checked_condition(each) for task, each in (conditions or {}).items()}
        loading: dict[str, Any] = {
            key: value for key, value in (("revision", revision), ("device", device)) if value is not None
        }
        if isinstance(model, str):
            model = load(model, **loading)
        elif loading:
            raise OptionError("revision and device are those of the embedder given: pass them to load")
        self.embedder = model
        self._instructed: dict[str, Embedder] = {}
        if not model.conditional and (self._condition is not None or any(self._conditions.values())):
            raise ConditionError(f"{model.method} takes no condition: leave them out, and all tasks go without")

    def condition(self, task: str) -> str | None:
        """What the task of this name is embedded under; None for no condition."""
        known = CONDITIONS if self.embedder.conditional else {}
        return self._conditions.get(task, known.get(task, self._condition))

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: "TaskMetadata",
        hf_split: str,  # noqa: ARG002 - mteb's
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Embed a loader's batches in the order given.

        Args:
            inputs: Batches with lists under "image" (PIL images of any mode), "text" or both.
            task_metadata: Its name decides the condition.
            hf_split: Changes nothing.
            hf_subset: Changes nothing.
            prompt_type: Which of a task's instructions is passed on, by embedders that take one; else it changes
                nothing: queries and documents lie in one space.
            kwargs: `batch_size`, of which the loader made use already, and `show_progress_bar`.

        Returns:
            float32 (n, d).

        Raises:
            ImageError: an image cannot be read, or the model or its processor fails on it.
            UnknownOptionError: an unknown keyword; the message lists the known ones.
            ValueError: a batch has neither images nor texts.
        """
        from tqdm.auto import tqdm

        check_keywords(kwargs, _OF_CALLS, of="encode")
        condition = self.condition(task_metadata.name)
        embedder = self._told(task_metadata, prompt_type) if condition is None else self.embedder
        batches = tqdm(inputs, desc=task_metadata.name, disable=not kwargs.get("show_progress_bar"), leave=False)
        return np.concatenate(
            [mixed.encode(embedder, _rows(batch, task_metadata.name), condition, self._options) for batch in batches]
        )

    def _told(self, task: "TaskMetadata", prompt_type: Any) -> Embedder:
        """The embedder with the task's own instruction, where it takes one and nobody said "no condition"."""
        instructed = getattr(self.embedder, "instructed", None)
        if instructed is None or task.name in self._conditions:
            return self.embedder
        prompt, kind = task.prompt, getattr(prompt_type, "value", prompt_type)
        # A single prompt is the queries': what they look for is embedded as it is.
        own = prompt.get(kind or "query") if isinstance(prompt, dict) else None if kind == "document" else prompt
        if not own:
            return self.embedder
        if own not in self._instructed:
            self._instructed[own] = instructed(own)
        return self._instructed[own]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> "torch.Tensor":
        """Cosine similarities of all pairs, (n, m)."""
        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosine similarities of the vectors in the same place, (n,)."""
        return pairwise_cos_sim(embeddings1, embeddings2)

    @cached_property
    def mteb_model_meta(self) -> ModelMeta:
        """What is known of the model, and None where nothing is; to add to it, assign a `model_copy(update=...)`.

        The name is this package's, since a model's vectors under conditions are not those that its hub page promises:
        `conditional-image-embeddings/MODEL-METHOD`; `adapted_from` is the model on the hub. Whatever else decides
        a vector is in `experiment_kwargs`, so that mteb's cache keeps results apart.
        """
        embedder = self.embedder
        checkpoint = mixed.checkpoint(embedder)
        directory = Path(checkpoint.location) if checkpoint else None
        on_hub = directory is not None and not directory.is_dir()
        bundled = embedder.model in FOLDERS
        parameters = _parameters(embedder)
        return ModelMeta(
            loader=None,
            name=f"conditional-image-embeddings/{Path(embedder.model).name}-{embedder.method}",
            revision=embedder.revision,
            release_date=None,
            languages=["eng-Latn"] if bundled else None,
            n_parameters=sum(each.numel() for each in parameters) or None,
            memory_usage_mb=sum(each.numel() * each.element_size() for each in parameters) / 2**20 or None,
            max_tokens=_max_tokens(checkpoint),
            embed_dim=self._dimension(),
            license=_license(directory),
            open_weights=True if bundled else None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch", "Transformers"] if checkpoint else ["NumPy"],
            reference=f"https://huggingface.co/{embedder.model}" if on_hub else None,
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=embedder.conditional,
            training_datasets=set() if bundled or checkpoint is None else None,
            adapted_from=embedder.model if on_hub else None,
            modalities=["image", "text"] if mixed.reads_text(embedder, self._condition, self._options) else ["image"],
            citation=embedder.entry.citation,
            contacts=None,
            experiment_kwargs=self._experiment(),
        )

    def _dimension(self) -> int | None:
        try:
            return self.embedder.get_embedding_dimension(self._condition, **self._options)
        except (CieError, ValueError):  # such as a method that needs a condition, and only some tasks have one
            return None

    def _experiment(self) -> dict[str, Any]:
        """What decides the vectors besides model and revision: in plain words, and all the rest as a digest."""
        conditions = {self._condition, *self._conditions.values(), *CONDITIONS.values()}
        settings = []
        for condition in sorted(conditions, key=str):
            with suppress(ConditionError):  # such as one that the method has no words for
                request = Request(conditions=(condition if self.embedder.conditional else None,))
                settings += [each.to_json() for each in self.embedder.settings(request, dataset="mteb")]
        named = {"condition": self._condition, "conditions": self._conditions, **self._options}
        digest = hashlib.sha256("\n".join(settings).encode()).hexdigest()[:8]
        return {**{key: value for key, value in named.items() if value}, "setting": digest}


def _rows(batch: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    """A batch's inputs one by one; an image whose text is empty is an image alone."""
    images, texts = batch.get("image"), batch.get("text")
    if images is None and texts is None:
        raise OptionError(f"{task}: a batch has neither image nor text but {', '.join(batch) or 'nothing'}")
    if images is None:
        return [{"text": text} for text in texts or []]
    return [{"image": image, "text": text or None} for image, text in zip(images, texts or repeat(None))]  # noqa: B905


def _parameters(embedder: Embedder) -> "list[torch.Tensor]":
    """The model's weights; none where the method has no model, or several."""
    base = embedder.backbone
    model = base.lvlm.model if hasattr(base, "lvlm") else getattr(base, "dual_encoder", None)
    return [] if model is None else list(model.parameters())


def _max_tokens(checkpoint: Checkpoint | None) -> int | None:
    text = checkpoint.config.get_text_config() if checkpoint else None
    return getattr(text, "max_position_embeddings", None)


def _license(directory: Path | None) -> str | None:
    """The license that a local model's card names; a card on the hub is not fetched."""
    from huggingface_hub import metadata_load

    card = directory / "README.md" if directory else None
    named = (metadata_load(card) or {}).get("license") if card and card.is_file() else None
    return named if named in get_args(Licenses) else None
