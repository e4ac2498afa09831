"""Where a model's files are: bundled, in a directory, or on the hub at one commit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ModelError
from . import builtin
from .fingerprint import fingerprint
from .reasons import gated, line

HUB_TIMEOUT = 10  # seconds to wait for the hub's first answer; without one, only the cache is asked from then on
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a model's files are.

    Attributes:
        name: The model as the user named it: a hub id, a local directory, "builtin" or "builtin-clip".
        path: What transformers' `from_pretrained` gets: a hub id or a directory.
        directory: The local directory; None for a model on the hub.
        commit: The hub's; None for a local directory.
        options: What `from_pretrained` needs besides (commit, cache folder, token, ...), the same for all parts.
    """

    name: str
    path: str
    directory: Path | None
    commit: str | None
    options: Mapping[str, Any] = field(repr=False)  # holds the token

    @classmethod
    def find(cls, name: str, *, revision: str | None, trust_remote_code: bool, local_files_only: bool,
             cache_folder: str | Path | None, token: str | bool | None) -> "Location":  # fmt: skip
        """Where this model is now; the hub is asked once.

        Raises:
            ModelError: it is in no directory, nor on the hub, nor in its cache.
        """
        directory = local_directory(name)
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}  # None would ask on standard input
        if directory is not None:
            return cls(name=name, path=str(directory), directory=directory, commit=None, options=options)
        options |= {"cache_dir": None if cache_folder is None else str(cache_folder), "token": token}
        commit, reachable = hub_commit(name, revision, options, local_files_only)
        options |= {"revision": commit, "local_files_only": not reachable}
        return cls(name=name, path=name, directory=None, commit=commit, options=options)

    @cached_property
    def revision(self) -> str | None:
        """The hub's commit, or a fingerprint of the local files that is the same for copies of them."""
        return self.commit if self.directory is None else fingerprint(self.directory)

    @property
    def asks_hub(self) -> bool:
        """Whether a file that is not here can be fetched."""
        return self.directory is None and not self.options["local_files_only"]

    def file(self, name: str) -> Path | None:
        """One of the model's files, fetched if it is on the hub; None if there is none, or none in the cache."""
        if self.directory is not None:
            path = self.directory / name
            return path if path.is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        wanted = {key: value for key, value in self.options.items() if key != "trust_remote_code"}
        try:
            return Path(hf_hub_download(self.path, name, **wanted))
        except LocalEntryNotFoundError:
            if self.asks_hub:
                raise
            return None
        except EntryNotFoundError:
            return None

    def json(self, name: str) -> dict[str, Any] | None:
        """What one of the model's JSON files holds; None if there is none.

        Raises:
            ModelError: it is no JSON object.
        """
        path = self.file(name)
        if path is None:
            return None
        try:
            found = json.loads(path.read_bytes())
        except ValueError as error:
            raise ModelError(f"model {self.name!r}: its {name} is damaged ({line(error)}); fetch it again") from error
        if not isinstance(found, dict):
            raise ModelError(f"model {self.name!r}: its {name} is no JSON object; fetch it again")
        return found


def local_directory(name: str) -> Path | None:
    """The local directory that a name means; None for a hub id."""
    if name in builtin.FOLDERS:
        return builtin.path(name)
    path = Path(name).expanduser()
    if not name.strip():
        raise ModelError("the model's name is empty: pass a hub id, a local directory, or 'builtin'")
    if path.is_dir():
        if not any((path / each).is_file() for each in ("config.json", ADAPTER_CONFIG)):
            raise ModelError(f"directory {name!r} has no config.json: pass a directory written by save_pretrained")
        return path
    if path.exists():
        raise ModelError(f"model {name!r} is a file: pass the directory that holds its config.json")
    if name.startswith((".", "~", "/")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"model directory {name!r} does not exist")
    return None


def hub_commit(
    name: str,
    revision: str | None,
    options: dict[str, Any],
    local: bool,
    remedy: str = "pass a local directory, or 'builtin' for the bundled model",
) -> tuple[str, bool]:
    """The commit that a hub id and revision mean now, and whether the hub answered.

    Asked once, briefly: without network, transformers by itself retries each of several files for half a minute.
    """
    from huggingface_hub import HfApi, is_offline_mode
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(token=options["token"])
    cause = "no network was to be used"
    if not (local or is_offline_mode()):
        try:
            return str(api.model_info(name, revision=revision, timeout=HUB_TIMEOUT).sha), True
        except GatedRepoError as error:
            raise ModelError(f"model {name!r} cannot be read: {gated(name)}") from error
        except RevisionNotFoundError as error:
            raise ModelError(f"model {name!r} has no revision {revision!r} on the hub") from error
        except RepositoryNotFoundError as error:
            raise ModelError(
                f"model {name!r} is neither a local directory nor on the hub; "
                "if it is private, log in with `hf auth login` or pass token"
            ) from error
        except HFValidationError as error:
            raise ModelError(
                f"model {name!r} is neither a local directory nor a possible hub id: {line(error)}"
            ) from error
        except Exception as error:  # noqa: BLE001 - whatever the client's HTTP library raises: ask the cache
            cause = f"the hub cannot be reached ({line(error)})"
    try:
        found = api.resolve_revision(name, revision=revision, cache_dir=options["cache_dir"], local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"model {name!r} is neither a local directory nor in the cache, and {cause}: {remedy}"
        ) from error
    return str(getattr(found, "resolved", found)), False
