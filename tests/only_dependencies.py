"""Run as a script: as if only this package and its dependencies were installed, none of what the tests bring along.

Several arguments are a command of `cie`. One is the directory of a model whose vision tower needs timm: this prints one
line for each family whose config and processor cannot be made so, then what loading that model says.
"""

import importlib.metadata
import sys
from importlib.machinery import PathFinder
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def dependencies(package: str) -> set[str]:
    found: set[tuple[str, frozenset[str]]] = set()
    wanted = [(canonicalize_name(package), frozenset({""}))]
    while wanted:
        name, extras = one = wanted.pop()
        if one in found:
            continue
        found.add(one)
        try:
            required = map(Requirement, importlib.metadata.requires(name) or [])
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        wanted += [
            (canonicalize_name(each.name), frozenset({"", *each.extras}))
            for each in required
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return {name for name, _ in found}


OURS = dependencies("conditional-image-embeddings")
HIDDEN = {
    module
    for module, owners in importlib.metadata.packages_distributions().items()
    if not any(canonicalize_name(owner) in OURS for owner in owners)
}


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, fullname: str, *args: Any, **kwargs: Any) -> Any:
        return None if fullname.partition(".")[0] in HIDDEN else PathFinder.find_spec(fullname, *args, **kwargs)


if __name__ == "__main__":
    sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
    assert {"timm", "peft", "pytest", "faiss", "sentence_transformers", "pytorch_metric_learning"} <= HIDDEN
    if len(sys.argv) > 2:
        from conditional_image_embeddings.cli import main

        main(sys.argv[1:])
    from tiny_families import BUILDERS

    import conditional_image_embeddings as cie
    from conditional_image_embeddings.errors import ModelError

    for family, build in BUILDERS.items():
        try:
            build()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is printed
            sys.stdout.write(f"{family}: {error!r}\n")
    try:
        cie.load(sys.argv[1], device="cpu")
    except ModelError as error:
        sys.stdout.write(f"{error}\n")
