"""The prompt of an embedder that takes an instruction, as its family's record has it, around an image, a text or both.

The engine sees a frame like a chat's, whose text is the instruction: it is behind the image, or before it in a turn of
its own, and no answer follows.
"""

import hashlib
import json
import re
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import ConditionError, ModelError
from ..models.instructed import InstructRecord
from .chat import BLANK, PROBE, ChatFrame

ANOTHER = "four five six"


@dataclass(kw_only=True, repr=False, eq=False)
class InstructFrame(ChatFrame):
    """Prompts of one family.

    Attributes:
        record: How the family is instructed.
        companion: A text that is read with the image; None for the image alone.
    """

    record: InstructRecord
    companion: str | None = None

    @property
    def answered(self) -> bool:
        """No answer follows."""
        return False

    @property
    def identity(self) -> list[Any]:
        """What decides the prompt around an instruction."""
        return [*super().identity, self.record.identity, self.companion]

    def call(self, template: str | None, image: Image.Image, text: str) -> dict[str, Any]:  # noqa: ARG002
        """What the processor gives for an image, the companion if there is one, and the instruction `text`."""
        types = {"return_mm_token_type_ids": True} if "mm_token_type_ids" in self.processor.model_input_names else {}
        written = self.written(text, image=True, text=self.companion)
        outputs = self.processor(
            text=[written], images=[image], return_tensors="pt", padding=False, **self._special(written), **types
        )
        return self._ended(dict(outputs))

    def instructed_text_ids(self, text: str, instruction: str) -> Tensor:
        """The tokens of a text in place of the image, under an instruction."""
        written = self.written(instruction, text=text)
        ids = torch.tensor(self.tokenizer(written, **self._special(written))["input_ids"])
        return torch.as_tensor(self._ended({"input_ids": ids[None]})["input_ids"][0])

    def written(self, instruction: str, *, image: bool = False, text: str | None = None) -> str:
        """The prompt as text, an image still its placeholder."""
        record = self.record
        if not record.prompt:
            return self.render(self._turns(instruction, image, text), add_generation_prompt=True)
        pattern = (record.pair_prompt if image and text is not None else "" if image else record.text_prompt) or (
            record.prompt
        )
        shown = record.image if image else ""
        parts = {"image": shown, "text": text or "", "input": f"{shown}{text or ''}", "instruction": instruction}
        return re.sub(r"\{(image|text|input|instruction)\}", lambda found: parts[found[1]], pattern)

    def check_text(self, text: str) -> None:
        """Refuse what steers a chat or stands for an image.

        Raises:
            ConditionError: the message names the token.
        """
        if found := self.control_tokens.search(text):
            raise ConditionError(
                f"{found[0]!r} is a token of {self.name}'s own, which it cannot read as text: leave it out of "
                f"{text[:200]!r}"
            )

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of the record and of the prompts that it makes: tokens, whatever made them."""
        pairs = [(PROBE, ANOTHER), (ANOTHER, PROBE)]
        rows = [self.inputs(BLANK, instruction)["input_ids"][0].tolist() for instruction, _ in pairs]
        rows += [self.instructed_text_ids(text, instruction).tolist() for instruction, text in pairs]
        forms = []
        for ids in rows:
            tokens = self.tokenizer.convert_ids_to_tokens(ids)
            forms.append([token for index, token in enumerate(tokens) if not index or tokens[index - 1] != token])
        return hashlib.sha256(json.dumps([forms, self.record.identity], sort_keys=True).encode()).hexdigest()[:12]

    def _turns(self, instruction: str, image: bool, text: str | None) -> list[dict[str, Any]]:
        """The chat: image and text in the user's turn, the instruction in the system's or beside them."""
        parts: list[dict[str, Any]] = [{"type": "image"}] if image else []
        if self.record.place == "system":
            parts += [{"type": "text", "text": text}] if text is not None else []
            told = [{"type": "text", "text": instruction}]
            turns = [("system", told), ("user", parts)]
        else:
            asked = [instruction] if text is None else [text, instruction]
            first = self.record.place == "before"
            if first:
                asked.reverse()
            said = [{"type": "text", "text": "\n".join(asked)}]
            turns = [("user", said + parts if first else parts + said)]
        if not self.as_parts:
            return [{"role": role, "content": "".join(map(self._flat, content))} for role, content in turns]
        return [{"role": role, "content": content} for role, content in turns]

    def _flat(self, part: dict[str, Any]) -> str:
        return self.image_token if part["type"] == "image" else str(part["text"])

    def _special(self, written: str) -> dict[str, Any]:
        """Tokenizers add their special tokens, unless the prompt begins with one, as transformers' own chats do."""
        bos = self.tokenizer.bos_token
        return {"add_special_tokens": False} if bos is not None and written.startswith(bos) else {}

    def _ended(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """With the token that a prompt ends in, where neither the tokenizer nor the prompt has put it there."""
        ids = outputs["input_ids"]
        if self._end is None or int(ids[0, -1]) == self._end:
            return outputs
        longer = {
            key: torch.cat([value, value[:, -1:]], dim=1)
            if isinstance(value, Tensor) and value.shape[:2] == ids.shape
            else value
            for key, value in outputs.items()
        }
        longer["input_ids"][0, -1] = self._end
        return longer

    @cached_property
    def _end(self) -> int | None:
        end = self.record.end
        if not end:
            return None
        found = self.tokenizer.get_vocab().get(end)
        if found is None:
            raise ModelError(
                f"{self.name}: its tokenizer has no {end!r}, which prompts of its family end in: take the tokenizer "
                "that was published with the model"
            )
        return int(found)


def instructed(chat: ChatFrame, record: InstructRecord) -> InstructFrame:
    """The frame of an embedder, from what was found of its processor and chat template.

    Raises:
        ModelError: its prompt does not hold image and instruction, or its tokenizer lacks the token that it ends in.
    """
    frame = InstructFrame(**{each.name: getattr(chat, each.name) for each in fields(chat)}, record=record)
    shown = frame.written(PROBE, image=True)
    if PROBE not in shown:
        raise ModelError(f"{frame.name}: its chat template leaves out an instruction in the place {record.place!r}")
    frame.inputs(BLANK, PROBE)  # raises what is wrong of it
    return frame
