"""`cie models`."""

import json
from typing import Any

import click

from .command import Command, json_object

LABELS = {
    "family": "family",
    "prompt": "prompt",
    "text_prompt": "of a text",
    "last_tokens": "last tokens",
    "bos": "BOS tokens",
    "system_turn": "system turn",
    "image": "image",
    "thinking": "thinking",
    "date": "today's date",
    "positions": "positions",
    "sharing": "sharing",
    "digest": "digest",
}


@click.command(cls=Command)
@click.option(
    "--check", metavar="MODEL", help="A hub id or directory: what it is fed, and whether that is its own call."
)
@click.option("--thinking", type=click.Choice(["off", "as-is"]), default="off", show_default=True, help="With --check.")
@click.option("--chat-template-kwargs", callback=json_object, metavar="JSON", help="With --check.")
@click.option("--device", help="With --check: cpu, cuda, cuda:1, mps; by default the best there is.")
@click.option("--revision", help="With --check: the model's revision on the hub.")
@click.option("--local-files-only", is_flag=True, help="With --check: never ask the hub.")
@click.option("--trust-remote-code", is_flag=True, help="With --check: run code that comes with the model.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--markdown", is_flag=True, help="Print the families as the page docs/families.md.")
def models(
    check: str | None,
    as_json: bool,
    markdown: bool,
    thinking: str,
    chat_template_kwargs: dict[str, Any] | None,
    **loading: Any,
) -> None:
    r"""The bundled models, the families that the tests hold to the separate forward pass, and instructed embedders.

    Other families work too: a loaded model is tried against separate passes, and shares what is exact. With --check,
    one model is loaded, and what it is fed is printed: the prompt with its special tokens, and how it shares.

    \b
    Example:  cie models --check builtin
    """
    if check is not None:
        options = {name: value for name, value in loading.items() if value}
        _check(check, as_json, {**options, "thinking": thinking, "chat_template_kwargs": chat_template_kwargs})
        return
    from ..models.families import describe, page

    if markdown:
        click.echo(page(), nl=False)
        return
    rows = describe()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    widths = [max(len(str(row[column])) for row in rows) for column in ("name", "kind", "family")]
    for row in rows:
        name, kind, family = (
            row[column].ljust(w) for column, w in zip(("name", "kind", "family"), widths, strict=True)
        )
        click.echo(f"{name}  {kind}  {family}  {row['exact']}")


def _check(model: str, as_json: bool, options: dict[str, Any]) -> None:
    from ..errors import ModelError
    from ..methods import load
    from ..methods.dior import DIOR

    # Loading holds the prompts against the model's own call: what differs ends here, in one line with both as text.
    embedder = load(model, method="dior", **options)
    if not isinstance(embedder, DIOR):
        raise ModelError(f"{model} takes no prompt")
    from ..methods.description import description

    found = description(embedder)
    if as_json:
        click.echo(json.dumps({**found, "faithful": True}, indent=2, ensure_ascii=False))
        return
    found["last_tokens"] = "  ".join(map(repr, found["last_tokens"]))
    found["system_turn"] = "yes" if found["system_turn"] else "none"
    found["image"] += f", {found['image_tokens']} tokens at {found['image_side']} x {found['image_side']} pixels"
    click.echo(f"{found['model']} is fed what its own chat template call gives: tokens, mask and image inputs.\n")
    width = max(map(len, LABELS.values()))
    for key, label in LABELS.items():
        value = found[key]
        click.echo(f"{label.ljust(width)}  {value!r}" if key.endswith("prompt") else f"{label.ljust(width)}  {value}")
