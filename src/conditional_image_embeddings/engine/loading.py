"""A vision-language model with the parts that the engine needs: its decoder's layers, and how to ask it for a cache.

Families differ here in data only; everything is found through transformers' public interface.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from ..errors import ModelError, OptionError
from ..models import heads
from ..models.checkpoint import Checkpoint
from ..models.instructed import InstructRecord
from ..models.reasons import single_line_errors
from .chat import ChatFrame
from .instruct_frame import instructed
from .templates import chat_frame


@dataclass(kw_only=True, repr=False, eq=False)
class LVLM:
    """An image-text-to-text model.

    Prompts are made by any number of threads at once; passes through the model go one at a time, since the hooks that
    tell them apart sit on modules that all of them share.

    Attributes:
        model: The whole model; its head runs only where words are wanted.
        processor: Text and image to model inputs.
        decoder: The language model without its head.
        layers: The decoder's layers in the order in which they run, one that runs several times there as often;
            `hidden_states[k]` is the output of `layers[k - 1]`.
        chat: What becomes of an image and a text before the model reads them.
        image_token_id: The token that stands for a piece of the image.
        prune_top_mlp: Whether the highest layer's feed-forward network sees the wanted tokens only, as the plan of the
            model has it (`plan.ExecutionPlan`).
    """

    name: str
    model: Any
    processor: Any
    tokenizer: Any
    decoder: nn.Module
    layers: nn.ModuleList
    chat: ChatFrame
    image_token_id: int
    cache_argument: str
    prune_top_mlp: bool = False

    @property
    def device(self) -> torch.device:
        """Where its inputs go; some of its layers may be elsewhere, and get them handed on."""
        return _device(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in: the weights of a quantised model have other types."""
        model = self.model
        dtype: torch.dtype = model.dtype if getattr(model, "hf_quantizer", None) is None else model.config.dtype
        return dtype

    @property
    def has_head(self) -> bool:
        """Whether the model can say anything, beyond its hidden states."""
        return heads.has_head(self.model)

    @property
    def has_image_positions(self) -> bool:
        """Whether tokens have positions in several dimensions (M-RoPE), which only the model itself can compute."""
        return hasattr(self._base, "get_rope_index")

    @property
    def _base(self) -> Any:
        return getattr(self.model, "model", self.model)

    def image_positions(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The model's own positions of one unpadded prompt, (3, tokens)."""
        inputs = inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])}
        wanted = inspect.signature(self._base.get_rope_index).parameters
        positions, _ = self._base.get_rope_index(**{key: value for key, value in inputs.items() if key in wanted})
        return torch.as_tensor(positions[:, 0])

    @property
    def layer_kinds(self) -> set[str]:
        """What the layers do, in transformers' words: "full_attention", "sliding_attention", "linear_attention" ..."""
        config = self.decoder.config
        kinds = set(getattr(config, "layer_types", None) or ())
        if not kinds:
            window = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
            chunks = getattr(config, "attention_chunk_size", None)
            kinds = {"sliding_attention" if window else "chunked_attention" if chunks else "full_attention"}
        return kinds | ({"indexed_attention"} if getattr(config, "index_topk", None) else set())

    @property
    def guesses_channels(self) -> bool:
        """Whether the image processor works on arrays (Emu3, Video-LLaVA), and takes a first axis of 3 for colours."""
        return "input_data_format" in inspect.signature(self.processor.image_processor.preprocess).parameters

    def compile_layers(self) -> None:
        """Compile what of each layer does not know which layer it is: norms and feed-forward networks.

        The rest writes to a cache, on whose state compiled code depends: each layer would be compiled several times.
        """
        for layer in set(self.layers):
            for part in _without_cache(layer):
                part.compile(dynamic=True)

    @staticmethod
    def feed_forward(layer: nn.Module) -> nn.Module | None:
        """The largest part of a layer that may need no other token: its network, or mixture of experts."""
        networks = [part for part in _without_cache(layer) if sum(one.ndim > 1 for one in part.parameters()) > 1]
        return max(networks, key=lambda part: sum(map(torch.numel, part.parameters())), default=None)

    def layer_index(self, layer: int) -> int:
        """From an index into the tuple of hidden states, which may be negative, to 0 ... number of layers.

        Raises:
            ValueError: there is no such hidden state.
        """
        count = len(self.layers)
        if not -count - 1 <= layer <= count:
            raise OptionError(
                f"layer {layer} is out of range: {self.name} has hidden states 0 to {count} (or -1 to {-count - 1})"
            )
        return layer % (count + 1)


def _device(model: Any) -> torch.device:
    """Where the model takes its inputs; weights that wait elsewhere until they are needed are on no device."""
    found = next((each.device for each in model.parameters() if each.device.type != "meta"), None)
    return torch.device("cpu") if found is None else found


def _without_cache(layer: nn.Module) -> list[nn.Module]:
    """A layer's parts that do not know which layer they are in, and so write to no cache."""
    return [part for part in layer.children() if not hasattr(part, "layer_idx")]


def load(
    checkpoint: Checkpoint,
    *,
    attn_implementation: str | None = None,
    thinking: str = "off",
    chat_template_kwargs: Mapping[str, Any] | None = None,
    record: InstructRecord | None = None,
) -> LVLM:
    """Load the model and its processor.

    Args:
        checkpoint: The model.
        attn_implementation: One of transformers' attention implementations; None leaves the choice to transformers.
        thinking: As for `templates.chat_frame`, and so is `chat_template_kwargs`.
        chat_template_kwargs: Further variables of the chat template.
        record: How an embedder that takes instructions is prompted; None for a model that is asked a question.

    Raises:
        ModelError: it cannot be loaded, or lacks what DIOR needs; one line says what.
    """
    name, config = checkpoint.name, checkpoint.config
    if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not hasattr(config, "auto_map"):
        raise ModelError(
            f"model {name!r} is a {config.model_type} model, which does not read images with text: "
            "DIOR needs an image-text-to-text model, such as Qwen2.5-VL"
        )
    options = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    model = checkpoint.load_model(AutoModelForImageTextToText, **options)
    if any(getattr(config, "is_encoder_decoder", False) for config in (model.config, model.config.get_text_config())):
        raise ModelError(f"{name} is an encoder-decoder: the image is not in its prompt, so DIOR has no token to embed")
    if model.config.model_type == "llama4":
        model.language_model.register_forward_hook(_add_image_outputs)
    # A prompt that the record spells out needs no chat template: that there is none is nothing to warn of.
    processor = checkpoint.load_processor(AutoProcessor if record and record.prompt else None)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name} has no processor for images and text: DIOR needs an image-text-to-text model")
    decoder, layers = _decoder(name, model)
    image_token_id, image_token = _image_token(name, model.config, processor, tokenizer)
    if not any(getattr(one, "chat_template", None) for one in (processor, tokenizer)):
        image_token = _placeholder(processor, image_token_id, image_token)
    with single_line_errors(name, "given an image and a text"):
        if record and record.prompt:
            chat = ChatFrame(
                name=name, processor=processor, tokenizer=tokenizer, template=None,
                image_token=image_token, image_token_id=image_token_id,
            )  # fmt: skip
        else:
            chat = chat_frame(
                name,
                processor,
                tokenizer,
                image_token,
                image_token_id,
                thinking=thinking,
                chat_template_kwargs=chat_template_kwargs,
            )
        if record:
            chat = instructed(chat, record)
    parameters = inspect.signature(model.forward).parameters
    return LVLM(
        name=name,
        model=model,
        processor=processor,
        tokenizer=tokenizer,
        decoder=decoder,
        layers=_in_order(model, decoder, layers),
        chat=chat,
        image_token_id=image_token_id,
        cache_argument="cache" if "cache" in parameters else "past_key_values",  # renamed in transformers 5.24
    )


def _add_image_outputs(_module: nn.Module, _args: Any, outputs: Any) -> None:
    """Transformers 5.24's Llama 4 asks its language model's output for a field that nothing sets."""
    if not hasattr(outputs, "image_outputs"):
        outputs.image_outputs = None


def _decoder(name: str, model: Any) -> tuple[nn.Module, nn.ModuleList]:
    """The language model without its head, and its layers."""
    decoder = model.get_decoder()
    while decoder.get_decoder() is not decoder:  # a language model with its own head inside
        decoder = decoder.get_decoder()
    count = getattr(decoder.config, "num_hidden_layers", None)
    for module in decoder.modules():  # the decoder itself first; Llama 4's is one level deeper than it says
        if getattr(module, "config", None) is decoder.config:
            for child in module.children():
                if isinstance(child, nn.ModuleList) and len(child) == count:
                    return module, child
    raise ModelError(f"{name}: {type(decoder).__name__} is no decoder with layers in a row, which is what DIOR reads")


def _in_order(model: Any, decoder: nn.Module, layers: nn.ModuleList) -> nn.ModuleList:
    """The layers as they run: where transformers counts more of them than there are, some run again."""
    config: Any = decoder.config
    if getattr(config, "total_num_hidden_layers", len(layers)) == len(layers):
        return layers
    order: list[nn.Module] = []
    handles = [layer.register_forward_pre_hook(lambda module, _: order.append(module)) for layer in layers]
    with torch.inference_mode():
        decoder(input_ids=torch.zeros(1, 1, dtype=torch.long, device=_device(model)))
    for handle in handles:
        handle.remove()
    return nn.ModuleList(order)


def _image_token(name: str, config: Any, processor: Any, tokenizer: Any) -> tuple[int, str]:
    """The id that stands for image features, and the text that the processor expands to them (Gemma 3: another)."""
    token_id = getattr(config, "image_token_id", None)
    if token_id is None:
        token_id = getattr(config, "image_token_index", None)
    if token_id is None:
        token_id = getattr(processor, "image_token_id", None)
    if token_id is None and isinstance(token := getattr(processor, "image_token", None), str):
        token_id = tokenizer.convert_tokens_to_ids(token)
    if token_id is None:
        raise ModelError(f"{name} has no image token: DIOR needs a model that reads the image as part of its prompt")
    text = getattr(processor, "image_token", None) or tokenizer.convert_ids_to_tokens(int(token_id))
    return int(token_id), str(text)


def _placeholder(processor: Any, token_id: int, token: str) -> str:
    """What a prompt without a template holds for the image: nothing, where the processor adds it to what is there."""
    blank = Image.new("RGB", (64, 64))

    def expanded(text: str) -> int:
        try:
            ids = processor(text=[text], images=[blank], return_tensors="pt")["input_ids"]
        except (ValueError, TypeError, LookupError, RuntimeError, StopIteration):  # text and images do not match
            return 0
        return int((ids == token_id).sum())

    alone = expanded("a")
    return "" if alone and alone != expanded(f"{token}a") else token
