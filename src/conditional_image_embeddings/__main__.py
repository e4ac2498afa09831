"""`python -m conditional_image_embeddings` is `cie`."""

import os.path
import sys

# Python looks in the current directory first, and beside photographs may lie a folder that is called click or torch. It
# stays where it is the place of this package, such as src/ of a clone. (Without pathlib, which may lie there as well.)
HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120
if not sys.flags.safe_path and os.path.realpath(sys.path[0]) != HOME:
    del sys.path[0]

from .cli import main  # noqa: E402

main(prog_name="cie")
