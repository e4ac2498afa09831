"""What is asked of the models and the collection, in OpenAI's shape where that has one."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from ...errors import OptionError
from ...methods.options import Form, Vectors, request_of
from ...methods.request import Embedded
from ...methods.request import Request as ModelRequest
from ..problems import NotThereError
from .answering import Searches, answers
from .batching import Alike, Kind
from .devices import check_pixels
from .examples import EMBEDDINGS, SEARCH, WORDS
from .inputs import Inputs, Link, image_of, inputs_of
from .schemas import (
    Asked,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    Model,
    ModelsAnswer,
    ProblemAnswer,
    SearchAnswer,
    SearchRequest,
    Weighted,
    WordsAnswer,
    WordsRequest,
)
from .service import Service
from .urls import Urls

MUCH = 2**16  # bytes of a body, or numbers of an answer, that are worth another thread
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemAnswer, "description": said}
    for status, said in {
        400: "The request cannot be answered as it is.",
        401: "The API key is missing or another.",
        403: "A page of another site asked.",
        404: "There is no such model, image or collection.",
        408: "The request did not come whole in time.",
        409: "The collection cannot answer it as it is now.",
        413: "The request is too large.",
        422: "The request is no JSON of this form.",
        503: "Not now: `Retry-After` says when to ask again.",
    }.items()
}

router = APIRouter(prefix="/v1", responses=PROBLEMS)


async def service_of(request: Request) -> Service:
    """The models. It is `async` because FastAPI would run it in another thread otherwise, at each request."""
    found: Service = request.app.state.service
    return found


Models = Annotated[Service, Depends(service_of)]


@router.post("/embeddings", response_model=EmbeddingsAnswer)
async def embeddings(
    request: Request, service: Models, asked: Annotated[EmbeddingsRequest, Body(openapi_examples=EMBEDDINGS)]
) -> Response:
    """Vectors of images and texts: one per input and condition, all conditions of an image from one pass."""
    inputs = await _inputs(request, service, asked)
    wanted = request_of(inputs.conditions, prompt_type=asked.prompt_type, layer=asked.layer, token=asked.token)
    form = Form.of(inputs.conditions, None, asked.normalize)
    found = await _outcomes(request, service, inputs, wanted)
    vectors = [_cut(each.vectors, asked.dimensions) for each in found]
    number = sum(each.size for each in vectors)

    def written() -> bytes:
        rows = [
            {"object": "embedding", "index": place, "condition": condition, "embedding": embedding}
            for place, each in enumerate(vectors)
            for condition, embedding in zip(
                wanted.conditions,
                _encoded(form.apply(each[None]).reshape(len(wanted.conditions), -1), asked.encoding_format),
                strict=True,
            )
        ]
        tokens = sum(each.tokens for each in found)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _json({"object": "list", "data": rows, "model": service.name, "usage": usage})

    return Response(await run_in_threadpool(written) if number > MUCH else written(), media_type="application/json")


@router.post("/words", response_model=WordsAnswer)
async def words(
    request: Request, service: Models, asked: Annotated[WordsRequest, Body(openapi_examples=WORDS)]
) -> Response:
    """What the model would say of images under each condition: the k most probable words."""
    inputs = await _inputs(request, service, asked)
    if "text" in inputs.kinds:
        raise OptionError("words are told of images: a text is none")
    wanted = service.embedder.words_request(inputs.conditions, k=asked.k, prompt_type=asked.prompt_type)
    found = await _outcomes(request, service, inputs, wanted)
    rows = [
        {
            "object": "words", "index": place, "condition": condition,
            "words": [{"word": word, "probability": probability} for word, probability in of_condition[0][: asked.k]],
        }
        for place, each in enumerate(found)
        for condition, of_condition in zip(wanted.conditions, each.words or [], strict=True)
    ]  # fmt: skip
    return Response(_json({"object": "list", "data": rows, "model": service.name}), media_type="application/json")


@router.post("/search", response_model=SearchAnswer)
async def search(
    request: Request, service: Models, asked: Annotated[SearchRequest, Body(openapi_examples=SEARCH)]
) -> Response:
    """The images of the collection that are nearest to what is searched for."""
    collection = request.app.state.collection
    if collection is None:
        raise NotThereError("no collection is open here: start the server with --db")
    image = None if asked.image is None else image_of(asked.image)
    if isinstance(image, Link):
        image = await _urls(request).fetch(image.url, "the image")
    if image is not None:
        await run_in_threadpool(check_pixels, image, service.limits.max_pixels, "the image")
    weights = {
        each.condition if isinstance(each, Weighted) else each: each.weight if isinstance(each, Weighted) else 1.0
        for each in asked.conditions
    }
    searches: Searches = request.app.state.searches
    choice = asked.model_dump(
        include={"image_id", "text", "k", "where", "word", "min_score", "cut", "exact", "setting"}
    )
    future = searches.submit(lambda: collection.search(image=image, conditions=weights, **choice))
    (hits,) = await answers(request, [future], service)
    rows = [each.to_json() for each in hits]
    for row in rows:
        for name in ("scores", "percentiles", "words"):
            row[name] = {"null" if condition is None else condition: value for condition, value in row[name].items()}
    return Response(
        _json({"object": "list", "data": rows, "images": hits.images, "cut": hits.cut, "exact": hits.exact}),
        media_type="application/json",
    )


@router.get("/models")
def models(service: Models) -> ModelsAnswer:
    """What is served."""
    return ModelsAnswer(data=[_model(service)])


@router.get("/models/{name:path}")
def model(service: Models, name: str) -> Model:
    """One model."""
    _check_model(service, name)
    return _model(service)


def _model(service: Service) -> Model:
    known: Mapping[str, Any] = {}
    if service.state == "ready":
        embedder = service.embedder
        known = {"method": embedder.method, "conditions": embedder.entry.conditions,
                 "words": embedder.entry.tells is not None}  # fmt: skip
    return Model(
        id=service.name, created=service.started, owned_by="conditional-image-embeddings",
        method=known.get("method"), conditions=known.get("conditions"), words=known.get("words"),
    )  # fmt: skip


def _check_model(service: Service, name: str | None) -> None:
    if name not in {None, service.name}:
        raise NotThereError(f"there is no model {str(name)[:100]!r} here; this server has {service.name!r}")


def _urls(request: Request) -> Urls:
    found: Urls = request.app.state.urls
    return found


async def _inputs(request: Request, service: Service, asked: Asked) -> Inputs:
    """What a request is about, with images that URLs name."""
    _check_model(service, asked.model)
    _ = service.embedder  # whether there is one
    much = int(request.headers.get("content-length", MUCH)) >= MUCH
    limits = service.limits
    inputs = await run_in_threadpool(inputs_of, asked, limits) if much else inputs_of(asked, limits)
    links = [(place, each) for place, each in enumerate(inputs.values) if isinstance(each, Link)]
    if not links:
        return inputs
    fetched = await asyncio.gather(*(_urls(request).fetch(each.url, f"image {place}") for place, each in links))
    values = list(inputs.values)
    for (place, _), data in zip(links, fetched, strict=True):
        values[place] = data
    return Inputs(inputs.kinds, values, inputs.conditions)


async def _outcomes(request: Request, service: Service, inputs: Inputs, wanted: ModelRequest) -> list[Embedded]:
    """What became of each input, in their order."""
    kinds: Sequence[Kind] = tuple(dict.fromkeys(inputs.kinds))
    places = [inputs.places(kind) for kind in kinds]
    jobs = []
    try:
        for kind, several in zip(kinds, places, strict=True):
            jobs.append(service.submit(Alike(kind, wanted), [inputs.values[place] for place in several], several))
        found = await answers(request, [job.future for job in jobs], service)
    finally:
        for job in jobs:
            job.cancel()
    by_place = {
        place: each
        for several, of_kind in zip(places, found, strict=True)
        for place, each in zip(several, of_kind, strict=True)
    }
    return [by_place[place] for place in range(len(by_place))]


def _cut(vectors: Vectors, dimensions: int | None) -> Vectors:
    if dimensions is not None and dimensions > vectors.shape[-1]:
        raise OptionError(f"dimensions is {dimensions}, and this model's vectors have {vectors.shape[-1]}")
    return vectors[..., :dimensions]


def _encoded(vectors: Vectors, encoding_format: str) -> list[Any]:
    """Rows as JSON has them."""
    if encoding_format == "base64":
        return [base64.b64encode(row.tobytes()).decode() for row in vectors.astype("<f4", copy=False)]
    rows: list[Any] = np.asarray(vectors, np.float64).tolist()
    return rows


def _json(answer: Any) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace")
