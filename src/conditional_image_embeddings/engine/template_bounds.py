"""Chat templates that would not end, or fill the memory, found before they are rendered in this process.

A template is a program of somebody else's. One that is not known yet is first rendered in a process of its own, whose
time and memory the operating system bounds; what is known is kept, so that this costs a tenth of a second once.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .template_trial import OUT_OF_MEMORY
from .verdicts import recall, remember

KIND = "templates"
SECONDS = 2  # of a processor, for all prompts; a template needs milliseconds
BYTES = 2**29  # that the process may take besides what it begins with
MAX_SOURCE = 2**20  # characters of a template
MAX_PROMPT = 2**18  # characters of what it writes around a short text
PATIENCE = 60  # seconds of waiting for those of a processor, on a machine with other work

_known: set[str] = set()


def check_bounds(name: str, template: str, chats: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> None:
    """Refuse a template that takes too long, too much memory, or writes too much.

    Args:
        name: The model's, for messages.
        template: The chat template.
        chats: What it is rendered with, one prompt each: `messages`, `add_generation_prompt`.
        variables: What it is rendered with besides.

    Raises:
        ModelError: the message says which.
    """
    if len(template) > MAX_SOURCE:
        raise ModelError(
            f"{name}: its chat template has {len(template)} characters: no more than {MAX_SOURCE} are read"
        )
    job = {"template": template, "chats": [dict(chat) for chat in chats], "variables": dict(variables)}
    try:
        about = {**json.loads(json.dumps(job)), "longest": MAX_PROMPT}
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: chat_template_kwargs holds what JSON does not: {error}") from error
    key = json.dumps(about)
    if key in _known or recall(KIND, about) is not None:
        return
    if problem := _problem(job):
        raise ModelError(f"{name}: its chat template {problem}")
    _known.add(key)
    remember(KIND, about, verdict=True)


def _problem(job: dict[str, Any]) -> str | None:
    """What is wrong with how the template renders; None if nothing is, or nothing can be tried here."""
    if getattr(sys, "frozen", False):  # there is no interpreter to start
        return None
    job = {**job, "path": sys.path, "seconds": SECONDS, "bytes": BYTES}
    program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("template_trial.py"))]
    slow = f"does not end: it was stopped after {SECONDS} s"
    try:
        done = subprocess.run(  # noqa: S603 - a program of this package
            program, input=json.dumps(job), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return slow
    except OSError:
        return None
    if done.returncode == OUT_OF_MEMORY:
        return f"needs more than {BYTES >> 20} MiB for a short text"
    if done.returncode < 0:  # the system ended it
        return slow
    if done.returncode:  # it did not begin
        return None
    longest = json.loads(done.stdout)["longest"]
    return (
        f"writes {longest} characters around a short text: no more than {MAX_PROMPT} are read"
        if longest > MAX_PROMPT
        else None
    )
