"""A model's head, which turns the last hidden state into logits: DIOR needs none, and some checkpoints have none."""

from typing import Any

from torch import nn

from ..errors import ModelError


class NoHead(nn.Module):
    """In place of a head whose weights are not there, so that nothing can be said with random ones."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def forward(self, *_: Any, **__: Any) -> Any:
        """Refuse.

        Raises:
            ModelError: always.
        """
        raise no_head(self._name)


def no_head(name: str) -> ModelError:
    """What a model without a head says where it is asked for words."""
    return ModelError(
        f"model {name!r} has no head (its checkpoint is of the base model): it embeds, but says no words and "
        "generates nothing; leave embedding_source at 'input_last', or load the checkpoint with its head"
    )


def find(model: nn.Module) -> tuple[str, nn.Module] | None:
    """The head and its name in the model; some hide it in the language model inside."""
    owners: list[Any] = [module for module in model.modules() if hasattr(module, "get_output_embeddings")]
    heads = {id(head) for owner in owners if (head := owner.get_output_embeddings()) is not None}
    return next(((name, module) for name, module in model.named_modules() if id(module) in heads), None)


def remove(model: nn.Module, name: str) -> None:
    """Put `NoHead` in place of the model's head, which frees its memory."""
    found = find(model)
    if found is not None:
        parent, _, attribute = found[0].rpartition(".")
        setattr(model.get_submodule(parent), attribute, NoHead(name))


def has_head(model: nn.Module) -> bool:
    """Whether there is one. An embedding matrix used as head too is one."""
    found = find(model)
    return found is None or not isinstance(found[1], NoHead)
