"""Writes docs/models.md: for each checkpoint named, the frame that its prompt has, from what is loaded.

    uv run python scripts/models_page.py "Gemma 3=google/gemma-3-4b-it" "Qwen2.5-VL=DIRECTORY" ... > docs/models.md

A directory may hold random weights: frame, thinking and sharing do not depend on them. Tokens per image are left out,
because they depend on the published processor's sizes.
"""

import logging
import re

import click

from conditional_image_embeddings.cli.command import Command
from conditional_image_embeddings.methods import load
from conditional_image_embeddings.methods.description import CONDITION, description

HEAD = """# What well-known models are fed

The prompt of each family's own chat template around an image and `TEXT`, the user's text. Loading a model holds its
prompts against its own call ([the engine](engine.md#what-the-model-reads)), and `cie models --check MODEL` prints all
of this, and the tokens per image, for the checkpoint at hand. How many an image of 448 pixels takes, the published
processor decides: none was at hand here, so the table cannot say.

Made by `scripts/models_page.py` from what was loaded: the public chat template, the published tokenizer or a near
relative's with the family's special tokens, and small random weights, on which neither the frame nor the sharing
depends. The checkpoints themselves were not downloaded for this page.

Not every row rests on the original: InternVL3's image placeholder was changed to fit the processor here, and some
templates come from training libraries that may have edited them lightly. That the tokenizer itself adds BOS is
assumed for Janus, LFM2-VL, Pixtral and Mistral Small 3.1; of these, only Janus's template writes none. PaliGemma has no
template.

The image stands before the text in all of them; `…` stands for more tokens of the image.

| family | prompt | last token | thinking | positions | sharing |
|---|---|---|---|---|---|
"""


@click.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="NAME=MODEL...")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(models: tuple[str, ...], debug: bool) -> None:  # noqa: ARG001
    """Print the page for models given as NAME=MODEL."""
    logging.disable()
    rows = []
    for each in models:
        name, _, model = each.partition("=")
        found = description(load(model, method="dior", device="cpu"))
        text = f'Describe this image in one word regarding {CONDITION}: "'
        before, _, behind = found["prompt"].partition(text)
        system, mark, turn = before.rpartition("user")
        if len(system) > LONG:
            before = f"{system[:60]} … {system[-20:]}{mark}{turn}"
        before = re.sub(r"\(x\d+\)", "…", before)  # how many there are is the stand-in's size
        cells = [f"{before} TEXT {behind}", found["last_tokens"][-1]]
        quoted = [f"`{cell!r}`".replace("|", "\\|").replace("`'", "`").replace("'`", "`") for cell in cells]
        rows.append([name, *quoted, found["thinking"].replace("|", "\\|"), found["positions"], found["sharing"]])
    click.echo(HEAD + "\n".join(f"| {' | '.join(row)} |" for row in sorted(rows)))


LONG = 200  # characters before the user's turn: the rest of a long system turn is left out

if __name__ == "__main__":
    main()
