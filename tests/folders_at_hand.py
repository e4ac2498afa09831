"""Folders that tests cannot make: root may list whatever there is."""

import os
from pathlib import Path

import pytest


def forbid_listing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Folders of this name cannot be listed."""
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
