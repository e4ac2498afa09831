"""A Ray cluster: this process as its driver, how many workers it takes, and its errors in one line."""

import logging
import math
import os
import re
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import ModelError, OptionError, require

# Ray reads its variables when it is imported; whoever sets them himself is obeyed.
for name, value in {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run cie` ships its folder, and workers make an environment anew
    "RAY_worker_niceness": "0",  # of workers that it starts here: by itself, all other work would go before theirs
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as the next version of Ray has it
}.items():
    os.environ.setdefault(name, value)
if os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} or Path("~/.ray/auth_token").expanduser().exists():
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `ray start` does; a driver alone would not show its token

ANSWER = 10  # seconds that a cluster has to take a connection
LONGEST = 300  # characters of an error
QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
ADDRESS = re.compile(r"auto|local|(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How many workers, and what each of them takes of a node."""

    workers: int
    cpus: int
    gpus: int

    @classmethod
    def on(cls, nodes: Iterable[Mapping[str, float]], workers: int | None, device: str | None) -> "Pool":
        """Of these nodes' resources: a worker per GPU, or per node where there are none, unless a number is given."""
        nodes = [node for node in nodes if node.get("CPU", 0) >= 1]
        on_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
        if str(device).startswith("cuda") or (device is None and on_gpus):
            there = sum(int(node["GPU"]) for node in on_gpus)
            share = [int(node["CPU"] // node["GPU"]) for node in on_gpus]
            return cls(workers=workers or max(1, there), cpus=max(1, min(share, default=1)), gpus=1)
        workers = workers or max(1, len(nodes))
        each = math.ceil(workers / max(1, len(nodes)))
        return cls(workers=workers, cpus=max(1, min((int(node["CPU"] // each) for node in nodes), default=1)), gpus=0)


def connect(address: str | None) -> None:
    """Be the driver of a cluster, if this process is not yet one's.

    Args:
        address: As `RayEmbedder`'s.

    Raises:
        ExtraError: Ray is not installed.
        OptionError: no cluster answers at the address, or one of other versions of Ray or Python.
    """
    require("ray", "--ray")
    at = "" if address is None else f" {address}"
    if address is not None and not ADDRESS.fullmatch(address):
        raise OptionError(f"--ray{at}: no address of a Ray cluster, which is auto, local or HOST:PORT")
    import ray

    if ray.is_initialized():
        return
    try:
        if address not in {None, "auto", "local"}:
            host, _, port = str(address).rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()  # Ray itself would wait for minutes
        if address != "local":
            try:
                ray.init(address=address or "auto", **QUIET)
                return
            except ConnectionError:
                if address is not None:
                    raise
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "lancedb fork")  # Ray's forks are other programs at once
            ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **QUIET)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise OptionError(f"--ray{at}: no Ray cluster answers: {last_line(error)}") from error


@contextmanager
def explained() -> Iterator[None]:
    """Ray's errors as one line."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise ModelError(
            f"the cluster failed: {last_line(error)} (what was committed stays: run the same command again)"
        ) from error


def last_line(error: BaseException) -> str:
    """What an error says in the end, without the traceback of a worker that Ray puts before it."""
    cause = getattr(error, "cause", None) or error
    *_, last = (type(cause).__name__, *filter(None, map(str.strip, str(cause).splitlines())))
    return last[:LONGEST]
