"""What `tiny_models` builds: each family's smallest config with everything that makes it special, and its processor.

A new family is one function, decorated with `parts.family`, in the module of its kind.
"""

from tiny_families import codes, free_sizes, gemma, positions, queries, slices, squares, tiles, timm_towers
from tiny_families.parts import BUILDERS

__all__ = [
    "BUILDERS",
    "codes",
    "free_sizes",
    "gemma",
    "positions",
    "queries",
    "slices",
    "squares",
    "tiles",
    "timm_towers",
]
