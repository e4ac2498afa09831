"""What was once found out about a model or a template, kept in the user's cache directory so that it is found out once.

A verdict is a small JSON file under the digest of all that it depends on. One that is damaged, unreadable or of
something else is as none, and where nothing can be written nothing is: the cache never decides whether a model loads.
"""

import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

KEPT = 256  # verdicts of a kind; the oldest go first

logger = logging.getLogger(__name__)


def recall(kind: str, about: Any) -> Any:
    """The verdict of this kind about something that JSON can hold; None if there is none."""
    try:
        found = json.loads(_file(kind, about).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found.get("verdict") if isinstance(found, dict) and found.get("about") == about else None


def remember(kind: str, about: Any, verdict: Any) -> None:
    """Keep a verdict, whole or not at all."""
    file = _file(kind, about)
    try:
        if not file.is_absolute():  # a user without a home directory
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".part", delete=False) as part:
            json.dump({"about": about, "verdict": verdict}, part, indent=1)
        Path(part.name).replace(file)
        _drop_oldest(file.parent)
    except OSError as error:
        logger.info("%s is not remembered: %s", kind, error)


def _file(kind: str, about: Any) -> Path:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    return platformdirs.user_cache_path("conditional-image-embeddings") / kind / f"{digest}.json"


def _drop_oldest(directory: Path) -> None:
    files = list(directory.iterdir())
    for file in sorted(files, key=_modified)[: max(0, len(files) - KEPT)]:
        file.unlink(missing_ok=True)


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # another process dropped it
        return 0.0
