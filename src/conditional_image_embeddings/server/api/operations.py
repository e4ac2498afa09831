"""What those who run a server ask it."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from ... import __version__
from .routes import Models

LIBRARIES = ("torch", "transformers", "lancedb", "fastapi", "uvicorn")

router = APIRouter()


class Device(BaseModel):
    """A model on a device; `failure` says why it does not answer."""

    state: str
    device: str | None
    dtype: str | None
    failure: str | None


class Health(BaseModel):
    """Whether requests are answered, by what, and how many inputs wait."""

    status: str
    model: str
    method: str | None
    revision: str | None
    devices: list[Device]
    queue: dict[str, int]
    versions: dict[str, str]


@router.get("/health", response_model=Health, responses={503: {"model": Health, "description": "Not ready."}})
async def health(service: Models) -> JSONResponse:
    """200 once the model has answered, for as long as one does; 503 before and after. It asks for no API key."""
    ready = service.state == "ready"
    embedder = service.embedder if ready else None
    devices = [
        Device(
            state=each.state,
            device=None if each.embedder is None else str(each.embedder.device),
            dtype=None if each.embedder is None else each.embedder.dtype,
            failure=None if each.failure is None else " ".join(str(each.failure).split())[:1000],
        )
        for each in service.devices
    ]
    told = Health(
        status=service.state,
        model=service.name,
        method=None if embedder is None else embedder.method,
        revision=None if embedder is None else embedder.revision,
        devices=devices,
        queue={"waiting": len(service.queue), "room": service.queue.room},
        versions={"conditional-image-embeddings": __version__, **{each: version(each) for each in LIBRARIES}},
    )
    headers: dict[str, Any] = {} if ready else {"Retry-After": "5"}
    return JSONResponse(told.model_dump(), 200 if ready else 503, headers=headers)


@router.get("/metrics", response_class=Response)
async def metrics(service: Models) -> Response:
    """Counters for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
