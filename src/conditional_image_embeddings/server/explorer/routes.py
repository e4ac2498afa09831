"""What the page asks and is answered: each answer is a function of `collection`, in JSON."""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from .. import pictures
from ..problems import NotThereError
from . import commands, exports
from .answers import hit_answer, map_words, packed, space_answer, words_answer
from .opened import OpenedCollection
from .requests import (
    Answer,
    ClustersRequest,
    CommandRequest,
    CompareRequest,
    DuplicatesRequest,
    ExportRequest,
    FacetsRequest,
    Filters,
    ImageRequest,
    ImagesRequest,
    MapRequest,
    PointsRequest,
)
from .uploads import MAX_UPLOAD

SHOWN_WORDS = 200  # per condition, in the list of facets
SHOWN_DUPLICATES = 2000
COVERS = 4

router = APIRouter(prefix="/api")


async def opened(request: Request, name: str) -> AsyncIterator[OpenedCollection]:
    """The collection that a path names, each of whose tables is opened once per request."""
    found: OpenedCollection | None = request.app.state.collections.get(name)
    if found is None:
        raise NotThereError(f"no collection {name!r} is open here")
    with found.collection.store.reading():  # in the request's own context, of which the answer's thread has a copy
        yield found


Opened = Annotated[OpenedCollection, Depends(opened)]


@router.get("/collections")
def collections(request: Request) -> Answer:
    """What is open here."""
    every = request.app.state.collections.values()
    return {"collections": [{"name": each.name, "path": each.path} for each in every]}


@router.get("/{name}")
def collection(db: Opened) -> Answer:
    """The spaces of a collection: what can be asked of it."""
    return {"name": db.name, "path": db.path, "spaces": [space_answer(db, space) for space in db.collection.spaces()]}


@router.get("/{name}/state")
def state(db: Opened, space: Annotated[str | None, Query()] = None) -> Answer:
    """What changes when a space does, and how many images it has: the page asks now and then."""
    found = next((each for each in db.collection.spaces() if each.name == space or not space), None)
    if found is None:
        return {"state": None, "images": 0}
    images = max(db.collection.store.count(setting) for setting in found.settings.values())
    return {"state": db.state_of(found), "images": images}


@router.post("/{name}/images")
def images(db: Opened, asked: ImagesRequest) -> Answer:
    """A part of what a view shows: of a query the nearest first, with scores; otherwise by id."""
    names = [each.condition for each in asked.conditions]
    if asked.query:
        ranking = db.ranking(asked)
        hits = ranking.hits(asked.offset, asked.offset + asked.limit)
        db.fetch_thumbnails(asked.space, [hit.image_id for hit in hits])
        return {
            "total": len(ranking), "searched": ranking.images, "cut": ranking.cut, "exact": ranking.exact,
            "ranked": True, "images": [hit_answer(hit, names) for hit in hits],
        }  # fmt: skip
    image_ids = db.shown(asked)
    part = image_ids[asked.offset : asked.offset + asked.limit]
    db.fetch_thumbnails(asked.space, part)
    known = db.collection.images(part, names, setting=asked.space) if part else []
    rows = [
        {
            "rank": asked.offset + place,
            "image_id": each.image_id,
            "words": [words_answer(each.words.get(n)) for n in names],
        }
        for place, each in enumerate(known, 1)
    ]
    return {"total": len(image_ids), "searched": len(image_ids), "cut": None, "exact": True, "ranked": False,
            "images": rows}  # fmt: skip


@router.post("/{name}/facets")
def facets(db: Opened, asked: FacetsRequest) -> Answer:
    """The words under each condition, each list of the images that pass the filters under the others."""
    told = []
    for condition in asked.conditions:
        others = [each for each in asked.filters.facets if each.condition != condition]
        filters = db.passing(asked.space, asked.filters.model_copy(update={"facets": others}), grouped=asked.filters)
        counted = db.collection.facets([condition], setting=asked.space, **filters)
        (several,) = counted.by_condition.values()
        words = [(next(iter(each.words.values())), each.count) for each in several]
        listed = [{"word": word, "count": count} for word, count in words if word is not None]
        told.append({"condition": condition, "images": counted.images, "words": listed[:SHOWN_WORDS],
                     "more": max(0, len(listed) - SHOWN_WORDS)})  # fmt: skip
    return {"facets": told}


@router.post("/{name}/image")
def image(db: Opened, asked: ImageRequest) -> Answer:
    """What is known of an image, and its words under every condition."""
    space = db.space(asked.space)
    (known,) = db.collection.images([asked.image_id], list(space.settings), setting=asked.space)
    words = [{"condition": name, "words": words_answer(known.words.get(name))} for name in space.settings]
    return {
        "image_id": known.image_id, "path": known.path, "width": known.width, "height": known.height,
        "bytes": known.size, "words": words, **pictures.presence(db.collection.store, space, asked.image_id),
    }  # fmt: skip


@router.post("/{name}/compare")
def compare(db: Opened, asked: CompareRequest) -> Answer:
    """In which aspects two images agree."""
    conditions = list(db.space(asked.space).settings)
    db.collection.images([asked.a, asked.b], setting=asked.space)  # what is no id here would be read as a file's path
    found = db.collection.compare(asked.a, asked.b, conditions, setting=asked.space)
    return {"comparisons": [each.to_json() for each in found]}


@router.post("/{name}/clusters")
def clusters(db: Opened, asked: ClustersRequest) -> Answer:
    """Groups, each with the images nearest to its centre."""
    groups = db.clusters(asked.space, asked.condition, asked.n, asked.filters)
    db.fetch_thumbnails(asked.space, [each for group in groups for each in group.images[:COVERS]])
    return {
        "groups": [
            {
                "number": group.cluster, "name": group.name, "size": group.size, "images": group.images[:COVERS],
                "words": [{"word": each.word, "fraction": each.fraction} for each in group.words],
            }
            for group in groups
        ]
    }  # fmt: skip


@router.post("/{name}/duplicates")
def duplicates(db: Opened, asked: DuplicatesRequest) -> Answer:
    """Images that are alike, group by group."""
    rows = db.duplicates(asked.space, asked.conditions, asked.threshold, asked.filters)
    shown = rows[:SHOWN_DUPLICATES]
    db.fetch_thumbnails(asked.space, [each.image_id for each in shown])
    return {
        "images": len(rows), "groups": rows[-1].group if rows else 0,
        "duplicates": [
            {"group": each.group, "image_id": each.image_id, "similarity": each.similarity,
             "percentile": each.percentile, "size": each.size, "same_file_as": each.same_file_as}
            for each in shown
        ],
    }  # fmt: skip


@router.post("/{name}/map")
def image_map(db: Opened, asked: MapRequest) -> Answer:
    """Every image's place, (x, y) as little-endian float32, and the number of its word, a byte each; 255 is none."""
    found = db.map(asked.space, asked.condition, asked.method)
    words, numbers = map_words(db, asked.space, asked.condition, found.image_ids)
    passing = None
    if asked.filters != Filters():
        passes = set(db.image_ids(asked.space, [asked.condition], asked.filters))
        passing = packed(np.array([each in passes for each in found.image_ids], np.uint8))
    return {
        "count": len(found.image_ids), "made_by": found.made_by, "words": words, "passing": passing,
        "places": packed(found.places.astype("<f4")), "numbers": packed(numbers),
        "images": _digest(found.image_ids),
    }  # fmt: skip


@router.post("/{name}/points")
def points(db: Opened, asked: PointsRequest) -> Answer:
    """Which images some points of a map are."""
    image_ids = db.map(asked.space, asked.condition, asked.method).image_ids
    changed = asked.images is not None and asked.images != _digest(image_ids)
    if changed or any(point >= len(image_ids) for point in asked.points):
        raise NotThereError("the map has changed since: load the page again")
    found = [image_ids[point] for point in asked.points]
    db.fetch_thumbnails(asked.space, found)
    known = db.collection.images(found, [asked.condition], setting=asked.space) if found else []
    told = [(each.image_id, words_answer(each.words.get(asked.condition))) for each in known]
    return {"images": [{"image_id": image_id, "words": words} for image_id, words in told]}


@router.post("/{name}/uploads")
async def upload(db: Opened, request: Request) -> Answer:
    """Take a picture to search with: its encoded bytes are the body. It stays in this process."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_UPLOAD:
            raise HTTPException(413, f"the picture has more than {MAX_UPLOAD // 2**20} MiB: choose a smaller one")
    return {"upload": await run_in_threadpool(db.uploads.add, bytes(data))}


@router.get("/{name}/uploads/{key}")
def uploaded(db: Opened, key: str) -> Response:
    """A small WebP of such a picture."""
    return _picture(db.uploads.picture(key), "image/webp")


@router.get("/{name}/model")
def model(db: Opened) -> Answer:
    """Whether the model is loaded."""
    return db.models.state()


@router.get("/{name}/thumbnail")
def thumbnail(
    db: Opened, space: Annotated[str, Query()], image: Annotated[str, Query()], state: Annotated[str, Query()] = ""
) -> Response:
    """The stored picture of an image, as it was in a state of the space."""
    data = db.thumbnail(space, image, state)
    if not data:
        raise NotThereError(f"no picture of {image!r} is stored")
    return _picture(data, "image/png" if data.startswith(b"\x89PNG") else "image/webp")


@router.get("/{name}/preview")
def preview(db: Opened, space: Annotated[str, Query()], image: Annotated[str, Query()]) -> Response:
    """The image itself, at the size of a screen."""
    return _picture(pictures.preview(pictures.file_of(db.collection.store, db.space(space), image)), "image/webp")


@router.get("/{name}/original")
def original(db: Opened, space: Annotated[str, Query()], image: Annotated[str, Query()]) -> Response:
    """The image's file, or, of a kind that browsers do not show, its pixels as PNG."""
    data, kind = pictures.original(pictures.file_of(db.collection.store, db.space(space), image))
    return _picture(data, kind)


@router.post("/{name}/export")
def export(db: Opened, asked: ExportRequest) -> Response:
    """A list of images to keep, as a file."""
    names = [each.condition for each in asked.conditions]
    scores: dict[str, float] | None = None
    if asked.query:
        ranking = db.ranking(asked)
        scores = dict(zip(ranking.image_ids, ranking.scores.tolist(), strict=True))
    image_ids = asked.chosen
    if image_ids is None:
        image_ids = db.shown(asked) if scores is None else list(scores)
    known = db.collection.images(image_ids, names, setting=asked.space) if image_ids else []
    text, kind = exports.written(known, names, scores, asked.format)
    name = {"paths": "paths.txt", "ids": "ids.txt", "csv": "images.csv", "json": "images.json"}[asked.format]
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)


@router.post("/{name}/command")
def command(db: Opened, asked: CommandRequest) -> Answer:
    """The command that prints what the page shows."""
    chosen = asked.filters.group is not None or asked.filters.lasso is not None
    text, note = commands.command(db.path, asked, several_spaces=len(db.collection.spaces()) > 1, chosen=chosen)
    return {"command": text, "note": note}


def _digest(image_ids: list[str]) -> str:
    return hashlib.sha256("\n".join(image_ids).encode()).hexdigest()


def _picture(data: bytes, kind: str) -> Response:
    # A picture may be replaced under its name: the browser keeps it for a short while only.
    return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=300"})
