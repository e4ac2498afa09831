"""The aspects that the model itself names, asked openly about a few images.

Asking per image what it could be grouped by, and pooling the answers, follows the image-based criteria proposer of
X-Cluster (Liu et al., Organizing Unstructured Image Collections using Natural Language, arXiv 2410.05217).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image
from tqdm.auto import tqdm

from ..errors import ImageError
from ..inputs.aspects import folded, listed_names
from ..inputs.prompts import OPEN_QUESTIONS

if TYPE_CHECKING:
    from ..methods import Embedder

ASKED = 16  # images that the model is asked openly about: an answer is long, and aspects repeat soon
MAX_PROPOSED = 40
MIN_PROPOSED = 8  # fewer distinct names from all answers, and the known aspects are tried too


def proposed(
    embedder: "Embedder",
    images: Sequence[tuple[Hashable, Any]],
    read: Callable[[Any, Any], Image.Image],
    *,
    show_progress_bar: bool | None = None,
) -> tuple[str, ...]:
    """Aspects that the model lists for these images, the most frequent first; none if it answers in no lists.

    Args:
        embedder: One that stands on a vision-language model.
        images: Pairs of a key and what `read` takes; those that cannot be read are left out.
        read: From a key and its image to the picture, as `Embedder.stream`'s.
        show_progress_bar: None shows it on a terminal.

    Raises:
        ModelError: the model generates nothing.
    """
    from ..methods.questions import ask

    disable = None if show_progress_bar is None else not show_progress_bar
    outcomes = ask(embedder, images, OPEN_QUESTIONS, read=read)
    listed = {
        key: [name for answer in answers for name in listed_names(answer.text, complete=answer.complete)]
        for key, answers in tqdm(outcomes, total=len(images), desc="asking", unit="image", disable=disable, leave=False)
        if not isinstance(answers, ImageError)
    }
    # In the order of the images, whatever order the answers came in: names as frequent as each other stay in it.
    names = [name for key, _ in images for name in listed.get(key, [])]
    spelling = {folded(name): name for name in reversed(names)}
    counted = Counter(map(folded, names)).most_common(MAX_PROPOSED)
    return tuple(spelling[key] for key, _ in counted)
