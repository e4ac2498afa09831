"""An embedder under one stored setting: what it encodes lies in the very space of the setting's table."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from ..errors import ModelError, OptionError, SettingError
from .embedder import Embedder
from .options import Form, Images, Vectors, converted, is_one_image
from .registry import METHODS
from .request import Request
from .settings import MODEL_OPTIONS, Setting

if TYPE_CHECKING:
    import torch


class BoundEmbedder:
    """An embedder with all that decides a vector fixed: condition, prompt, layer, token, and what follows.

    Attributes:
        embedder: What embeds.
        setting: What it is bound to.
        request: The setting as `Embedder.stream` takes it.
        then: What becomes of the vectors (n, d) after that, such as a refinement; None: nothing.
    """

    def __init__(
        self, embedder: Embedder, setting: Setting, *, then: Callable[[Vectors], Vectors] | None = None
    ) -> None:
        self.embedder, self.setting, self.then = embedder, setting, then
        self.request = request_of(setting)

    def __repr__(self) -> str:
        return f"BoundEmbedder({self.setting.method}, {self.setting.model!r}, condition={self.setting.condition!r})"

    @property
    def condition(self) -> str | None:
        """What counts."""
        return self.setting.condition

    def encode(
        self,
        images: Images,
        *,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        convert_to_tensor: bool = False,
    ) -> "Vectors | torch.Tensor":
        """Embed images as the setting's were.

        Args:
            images: As `Embedder.encode`'s.
            batch_size: Images per batch at most.
            normalize_embeddings: Scale each vector to unit length: the stored ones are as the method gives them.
            truncate_dim: Keep the first so many dimensions (before normalising).
            convert_to_tensor: Return a torch tensor on the CPU instead of an array.

        Returns:
            float32 (n, d); (d,) for a single image.

        Raises:
            ImageError: an image cannot be read, or the model or its processor fails on it.
        """
        form = self.embedder.form(self.condition, truncate_dim, normalize_embeddings)
        vectors = self.embedder.image_vectors(images, self.request, batch_size=batch_size)
        return self._finished(vectors, form, is_one_image(images), convert_to_tensor)

    def encode_text(
        self,
        texts: str | Iterable[str],
        *,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        convert_to_tensor: bool = False,
    ) -> "Vectors | torch.Tensor":
        """Embed texts into the space of the setting's vectors; arguments and result as `encode`'s.

        Raises:
            ModelError: the method or model reads no text, or the vectors are of generated tokens.
        """
        self.check_reads_text()
        form = self.embedder.form(self.condition, truncate_dim, normalize_embeddings)
        vectors = self.embedder.text_vectors(texts, self.request, batch_size=batch_size)
        return self._finished(vectors, form, isinstance(texts, str), convert_to_tensor)

    def check_reads_text(self) -> None:
        """Whether texts can lie among the setting's vectors.

        Raises:
            ModelError: the vectors are of generated tokens.
        """
        if self.request.embedding_source != "input_last":
            raise ModelError(f"texts have no {self.request.embedding_source}: {self.setting.name} is of images alone")

    def words(self, images: Images, *, k: int = 5) -> list[Any]:
        """What the model would say under the setting's condition: see `Embedder.words`."""
        prompt_type = self.request.prompt_types[0]
        told: list[Any] = self.embedder.words(images, self.setting.condition, k=k, prompt_type=prompt_type)
        return told

    def close(self) -> None:
        """Let go of the model."""
        self.embedder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finished(self, vectors: Vectors, form: Form, one: bool, to_tensor: bool) -> "Vectors | torch.Tensor":
        if self.then is not None:
            vectors = self.then(vectors[:, 0, 0, 0, 0])[:, None, None, None, None]
        found: Vectors | torch.Tensor = converted(form.apply(vectors), one, to_numpy=True, to_tensor=to_tensor)
        return found


def encode_under(
    bound: Sequence[BoundEmbedder], *, images: "Images | None" = None, texts: Sequence[str] = ()
) -> list[Vectors]:
    """Embed images, or texts, under several settings: in one pass per image where these share an embedder.

    Args:
        bound: What embeds; those of one embedder differ in their condition only.
        images: As `Embedder.encode`'s, several.
        texts: Where there are no images.

    Returns:
        For each setting float32 (n, d).

    Raises:
        ImageError: an image cannot be read, or the model fails on it.
        ModelError: the method or model reads no text.
    """
    first = bound[0]
    if any(each.embedder is not first.embedder for each in bound):
        return [encode_under([each], images=images, texts=texts)[0] for each in bound]
    request = replace(first.request, conditions=tuple(each.condition for each in bound))
    if images is not None:
        vectors = first.embedder.image_vectors(images, request)
    else:
        first.check_reads_text()
        vectors = first.embedder.text_vectors(texts, request)
    found = [vectors[:, index, 0, 0, 0] for index in range(len(bound))]
    return [part if each.then is None else each.then(part) for each, part in zip(bound, found, strict=True)]


def load_for(
    setting: Setting,
    *,
    fitted: Mapping[str, NDArray[Any]] | None = None,
    model_path: str | None = None,
    text_encoder_path: str | None = None,
    device: "str | torch.device | None" = None,
    placement: Mapping[str, Any] | None = None,
    share: bool = True,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    cache_folder: str | None = None,
    token: str | bool | None = None,
) -> BoundEmbedder:
    """Load the embedder that made a setting's vectors.

    Args:
        setting: As a table has it (`Store.settings`).
        fitted: What its vectors were made with besides (`Store.fitted`): CLAY needs it.
        model_path: Where a local model is now, if it was moved; that it is the same, its fingerprint says.
        text_encoder_path: The same for the text encoder of the generative method.
        device: As for `load`: it is no part of a setting, nor is what follows.
        placement: `device_map` and its kin, of the model's `from_pretrained`.
        share: As for `load`.
        attn_implementation: As for `load`.
        trust_remote_code: As for `load`.
        local_files_only: As for `load`.
        cache_folder: As for `load`.
        token: As for `load`.

    Returns:
        An embedder that is bound to the setting.

    Raises:
        SettingError: what the setting says is not here any more (another model lies there, say), or is not enough.
        ModelError: the model cannot be found or loaded.
    """
    if "imported" in setting.extra:
        raise SettingError(
            f"{setting.name} was imported from {setting.extra['imported']!r}: another tool made its vectors, and this "
            "package cannot make more of them; search by images of the collection"
        )
    entry = METHODS.get(setting.method)
    if entry is None:
        raise SettingError(f"{setting.name}: there is no method {setting.method!r} here; known: {', '.join(METHODS)}")
    if "refined" in setting.extra:
        raise SettingError(f"{setting.name} was refined on its collection: open that, cie.open(...).embedder(...)")
    if setting.format_version == 1 and setting.extra.keys() & set(MODEL_OPTIONS):
        raise SettingError(f"{setting.name} is of an earlier version, which did not keep its model's options as values")
    options = entry.implementing_class.options_from(setting)
    if entry.model_family is None:
        embedder: Embedder = entry.implementing_class(**options)
    else:
        where = {"trust_remote_code": trust_remote_code, "local_files_only": local_files_only}
        hub = {**where, "cache_folder": cache_folder, "token": token}
        if "share" in (*entry.options, *entry.backbone_options):
            options |= {"share": share, "attn_implementation": attn_implementation}
        if text_encoder_path is not None:
            options["text_encoder"] = text_encoder_path
        checkpoint = _checkpoint(setting, model_path, device=device, placement=placement, **hub)
        embedder = entry.implementing_class.from_checkpoint(checkpoint, **options)
        if text_encoder_path is not None:
            embedder.text_encoder.name = setting.extra["text_encoder"]  # type: ignore[attr-defined]
    return _bound(embedder, setting, fitted)


def _bound(embedder: Embedder, setting: Setting, fitted: Mapping[str, NDArray[Any]] | None) -> BoundEmbedder:
    embedder.restore(fitted or {}, setting)
    return bind(embedder, setting)


def bind(embedder: Embedder, setting: Setting) -> BoundEmbedder:
    """The embedder under a setting that it makes.

    Raises:
        SettingError: what it would make is another setting.
    """
    bound = BoundEmbedder(embedder, setting)
    (made,) = embedder.settings(bound.request, dataset=setting.dataset, source=setting.source)
    if setting not in made.formats:
        then, now = ({**each.summary(), **each.summary()["extra"]} for each in (setting, made))
        differing = [name for name in {**then, **now} if name != "extra" and then.get(name) != now.get(name)]
        said = "; ".join(f"{name} was {then.get(name)!r} and is {now.get(name)!r}" for name in differing)
        raise SettingError(f"{setting.name} cannot be made again here: {said[:400]}")
    return bound


def _checkpoint(
    setting: Setting, model_path: str | None, *, placement: Mapping[str, Any] | None, **options: Any
) -> Any:
    """The setting's model, found and known by its fingerprint or commit."""
    from ..models.checkpoint import PLACEMENT, Checkpoint
    from ..models.finding import local_directory

    if unknown := sorted((placement or {}).keys() - PLACEMENT):
        raise OptionError(f"placement has {', '.join(unknown)}; it takes {', '.join(sorted(PLACEMENT))}")
    name = str(model_path or setting.model)
    extra = setting.extra
    try:
        revision = (setting.revision or "").rpartition("+")[2] or None  # an adapter's names its base model's itself
        if local_directory(name) is not None:
            revision = None
        found = Checkpoint.find(
            name,
            dtype=setting.dtype,
            revision=revision,
            random_weights=extra.get("random_weights", False),
            model_kwargs={**extra.get("model_kwargs", {}), **(placement or {})},
            processor_kwargs=extra.get("processor_kwargs"),
            **options,
        )
    except ModelError as error:
        raise ModelError(f"{error} (if it was moved, model_path= says where it is now)") from error
    if found.revision != setting.revision:
        raise SettingError(
            f"{name} is not the model that made {setting.name}: its fingerprint is {found.revision}, not "
            f"{setting.revision}; model_path= says where that model is now"
        )
    return replace(found, name=setting.model)


def request_of(setting: Setting) -> Request:
    """What was asked of the embedder: the inverse of `Embedder.settings`."""
    extra = setting.extra
    given: dict[str, Any] = {"conditions": (setting.condition,)}
    if together := extra.get("together"):
        given = {"conditions": tuple(together), "together": True}
    if setting.prompt_type is not None:
        types = tuple(setting.prompt_type.split("+"))
        given |= {"prompt_types": types, "average_prompts": len(types) > 1}
    if isinstance(setting.layer, str):
        pooled = re.fullmatch(r"(\w+)\(([-\d,]+)\)", setting.layer)
        if pooled is None:
            raise SettingError(f"{setting.name}: its layer {setting.layer!r} is none")
        given |= {"layer_pooling": pooled[1], "layers": tuple(map(int, pooled[2].split(",")))}
    elif setting.layer is not None:
        given["layers"] = (setting.layer,)
    if setting.token is not None:
        given["tokens"] = (setting.token,)
    if setting.embedding_source is not None:
        given["embedding_source"] = setting.embedding_source
    if "max_new_tokens" in extra:
        given["max_new_tokens"] = extra["max_new_tokens"]
    if "temperature" in extra:
        given |= {"do_sample": True, "temperature": extra["temperature"], "seed": extra["seed"]}
    return Request(**given)
