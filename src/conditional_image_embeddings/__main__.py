"""`python -m conditional_image_embeddings` is `cie`."""

from .cli import main

main(prog_name="cie")
