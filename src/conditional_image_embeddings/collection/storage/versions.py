"""The versions that a table was begun with: information beside its identity."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from ... import __version__

PACKAGES = ("transformers", "torch", "pillow")


@cache
def installed_versions() -> dict[str, str]:
    """Version by package: this one, and those that decide what an image's pixels and a model's values are."""
    found = {"conditional-image-embeddings": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
