"""The application behind `cie serve`."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from ... import __version__
from ...collection import collection as collections
from ...errors import CieError, ConditionError, ImageError, ModelError, OptionError
from ..problems import explain
from ..safety import ApiKey, protect
from .answering import Searches
from .operations import router as operations
from .routes import router as routes
from .service import Service
from .urls import Urls
from .watching import Watch

INVALID: tuple[type[CieError], ...] = (OptionError, ConditionError, ImageError, ModelError)

logger = logging.getLogger(__name__)


def application(
    service: Service,
    *,
    db: str | Path | None = None,
    api_key: str | None = None,
    hosts: Sequence[str] = (),
    any_host: bool = False,
    cors_origins: Sequence[str] = (),
    url_hosts: Sequence[str] = (),
    private_urls: bool = False,
    **opening: Any,
) -> FastAPI:
    """The API over models, which are loaded when the application starts, and let go of when it ends.

    Args:
        service: The models.
        db: A collection for /v1/search.
        api_key: What clients have to know; None lets all in.
        hosts: Names under which the server may be asked for, besides this machine's own.
        any_host: It may be asked for under any name.
        cors_origins: Sites whose pages may ask, such as "https://app.example".
        url_hosts: Hosts that images may be fetched from.
        private_urls: Whether these may be in this machine's own network.
        opening: As for `cie.open`.

    Raises:
        StoreError: the collection is not there or cannot be opened.
    """
    collection = None if db is None else collections.open(db, **opening)
    searches = Searches()
    if collection is not None:
        service.on_ready = collection.use_embedder

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        searches.close()
        service.stop(service.limits.timeout)
        if collection is not None:
            collection.close()

    app = FastAPI(
        title="cie serve",
        version=__version__,
        description="Embeddings of images and texts under conditions named in plain words.",
        lifespan=lifespan,
        docs_url=None,  # their pages come from other hosts
        redoc_url=None,
    )
    app.state.service, app.state.collection, app.state.searches = service, collection, searches
    app.state.urls = Urls(url_hosts, max_bytes=service.limits.max_body, private=private_urls)
    app.include_router(routes)
    app.include_router(operations)
    explain(app, invalid=INVALID)
    if api_key is not None:
        app.add_middleware(ApiKey, key=api_key, open_paths=("/health",))
    limits = service.limits
    protect(
        app, hosts, any_name=any_host, origins=cors_origins, max_body=limits.max_body, max_held=limits.max_held,
        body_seconds=limits.timeout,
    )  # fmt: skip
    if cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )  # fmt: skip
    app.add_middleware(Watch, metrics=service.metrics)
    return app
