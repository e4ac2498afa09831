"""Which models suit this machine: what the command line says when no model was named.

No model is chosen on its own where vectors are stored, because a vector must not depend on the machine it was asked on.
"""

import os

GIB = 2**30

# Hub id, and the memory that it asks for in bfloat16 with images of the paper's size, in GiB. Smallest first.
MODELS = (
    ("HuggingFaceTB/SmolVLM-256M-Instruct", 2),
    ("Qwen/Qwen2.5-VL-3B-Instruct", 10),
    ("Qwen/Qwen2.5-VL-7B-Instruct", 20),
    ("Qwen/Qwen2.5-VL-32B-Instruct", 75),
)


def memory() -> tuple[str, float]:
    """What models run on here, and its memory in GiB."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory / GIB
    if hasattr(os, "sysconf"):
        return f"{os.cpu_count()} CPU cores", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    return f"{os.cpu_count()} CPU cores", 8.0


def suggest_models() -> str:
    """The error's text: names the models that fit here, `builtin` first."""
    machine, gibibytes = memory()
    fitting = [model for model, needed in MODELS if needed <= gibibytes]
    return (
        "no model given (-m): a stored vector must not depend on the machine it was made on, so none is chosen. "
        f"On this one ({machine}, {gibibytes:.0f} GiB) these suit: "
        + ", ".join(["builtin (offline, a demonstration that knows rendered cars)", *fitting])
    )
