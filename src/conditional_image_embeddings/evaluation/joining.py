"""A store's vectors joined with labels by image id: one without the other is an error that counts and names."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import EvaluationError, preview
from .scoring import broken_rows

if TYPE_CHECKING:
    from ..methods.settings import Setting

logger = logging.getLogger(__name__)


def join(
    setting: "Setting",
    image_ids: Sequence[str],
    vectors: NDArray[np.float32],
    labels: Mapping[str, str],
    failed: Mapping[str, str],
    *,
    partial: bool,
    allow_missing: bool,
) -> tuple[NDArray[np.float32], list[str]]:
    """Vectors and labels of the same images, in the order of the labels, whatever order the store returns.

    With `partial`, vectors without a label are left out with a warning, with `allow_missing` labels without a vector;
    otherwise they are an error. `failed` are the images that the last job could not embed.
    """
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    if len(row_of) < len(image_ids):
        twice = [image_id for image_id, count in Counter(image_ids).items() if count > 1]
        raise EvaluationError(
            f"{setting.name}: {len(twice)} images have more than one vector: {preview(twice)}; "
            "run the `cie embed` that made it again: it embeds them anew"
        )
    if missing := [image_id for image_id in labels if image_id not in row_of]:
        unpaired = f"{setting.name}: {len(missing)} of {len(labels)} images have no vector: {preview(missing)}"
        unread = len(failed.keys() & set(missing))
        remedy = f"{unread} of them could not be embedded; fix or remove them and " if unread else ""
        if not allow_missing:
            raise EvaluationError(
                f"{unpaired}; {remedy}embed the dataset again: a finished job adds what is missing and lists what "
                "cannot be embedded; or leave them out (--allow-missing)"
            )
        logger.warning("%s; left out", unpaired)
        labels = {image_id: label for image_id, label in labels.items() if image_id in row_of}
    if unlabelled := [image_id for image_id in image_ids if image_id not in labels]:
        unpaired = f"{setting.name}: {len(unlabelled)} of {len(image_ids)} vectors have no label: {preview(unlabelled)}"
        if not partial:
            raise EvaluationError(
                f"{unpaired}; was the dataset changed after it was embedded? Embed it again into a new database"
            )
        logger.warning("%s; the scores are those of the others among themselves", unpaired)
    joined = vectors[[row_of[image_id] for image_id in labels]]
    if broken := broken_rows(joined):
        ids = list(labels)
        raise EvaluationError(
            f"{setting.name}: {len(broken)} vectors hold NaN or infinity: {preview([ids[row] for row in broken])}; "
            "embed with dtype float32"
        )
    return joined, list(labels.values())
