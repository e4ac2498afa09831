"""A hub client's cache, laid out by hand, as if a model had been fetched: nothing leaves this machine."""

import shutil
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(directory: Path, cache: Path, name: str) -> Path:
    """Put a model's files into the cache under the hub id `name`; returns the folder of its one snapshot."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(directory, repository / "snapshots" / COMMIT))
