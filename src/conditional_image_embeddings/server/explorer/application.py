"""The application behind `cie explore`: the page's own files, and the answers it is made of."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from ...errors import OptionError
from ..problems import explain
from ..safety import protect
from .opened import OpenedCollection
from .routes import router

KEEP_MODEL = 600.0  # seconds


class PageFiles(StaticFiles):
    """The page's files, asked for anew each time, so that a page and a server of two versions never meet."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As StaticFiles does."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def application(
    databases: Iterable[str | Path], *, hosts: Sequence[str] = (), keep_model: float = KEEP_MODEL, **loading: Any
) -> FastAPI:
    """The page over one or several databases; they are opened now, and closed with the application.

    Args:
        databases: Directories that `cie embed -e` wrote, or URIs that LanceDB takes.
        hosts: Names under which the page may be asked for, besides this machine's own.
        keep_model: Seconds after which a model that no query needed is let go.
        loading: As for `cie.open`.

    Raises:
        StoreError: a database is not there or cannot be opened.
        OptionError: there is none.
    """
    collections: dict[str, OpenedCollection] = {}
    for path in dict.fromkeys(map(str, databases)):
        name = _free_name(path, collections)
        collections[name] = OpenedCollection(name, path, keep_model=keep_model, **loading)
    if not collections:
        raise OptionError("no database to explore: name one that `cie embed` wrote")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for each in collections.values():
            each.close()

    app = FastAPI(title="cie explore", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.collections = collections
    app.include_router(router)
    package = files("conditional_image_embeddings")
    app.mount("/look", PageFiles(directory=str(package / "reports" / "look")))
    app.mount("/", PageFiles(directory=str(package / "server" / "explorer" / "page"), html=True))
    explain(app)
    protect(app, hosts)
    return app


def _free_name(path: str, taken: Iterable[str]) -> str:
    """What a database is called in links: its folder's name, with a number where that is taken."""
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    base = re.sub(r"[^A-Za-z0-9_.-]+", "_", parts[-1] if parts else "").strip("_.-") or "collection"
    used = {*taken, "collections"}  # /api/collections lists them
    numbered = (base if number == 1 else f"{base}-{number}" for number in count(1))
    return next(name for name in numbered if name not in used)
