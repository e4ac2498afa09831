"""What went wrong, as HTTP says it: a status, and one line for whoever asked, in the shape of OpenAI's errors."""

import logging
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..errors import CieError, ConditionError, ImageError, OptionError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

logger = logging.getLogger(__name__)


class NotThereError(CieError):
    """What a request names is not there: a collection, an image, a file."""


class BusyError(CieError):
    """The server cannot do it now, and may be able to later: 503, with `Retry-After`."""

    retry_after = 1  # seconds


def problem(message: str, kind: str, param: str | None = None) -> dict[str, Any]:
    """The body of an answer that says what was wrong.

    Args:
        message: One line: what was wrong, where, what to do.
        kind: A word for programs.
        param: The part of the request that it is about.
    """
    told = {"message": _encodable(message), "type": kind, "param": None if param is None else _encodable(param)}
    return {"error": {**told, "code": None}}


def _encodable(text: str) -> str:
    """Without lone halves of character pairs, which JSON can have in a request, and UTF-8 in no answer."""
    return text.encode("utf-8", "backslashreplace").decode()


def explain(app: "FastAPI", invalid: tuple[type[CieError], ...] = (OptionError, ConditionError, ImageError)) -> None:
    """Have an application answer errors as `problem` does, never with a traceback.

    Args:
        app: The application.
        invalid: Errors that say that the request cannot be answered as it is, now or later: 400.
    """

    @app.exception_handler(CieError)
    def of_user(_: "Request", error: CieError) -> JSONResponse:
        message = " ".join(str(error).split())
        if isinstance(error, BusyError):
            return JSONResponse(problem(message, "busy"), 503, headers={"Retry-After": str(error.retry_after)})
        if isinstance(error, NotThereError):
            return JSONResponse(problem(message, "not_found"), 404)
        if isinstance(error, invalid):
            return JSONResponse(problem(message, "invalid_request"), 400)
        return JSONResponse(problem(message, type(error).__name__), 409)

    @app.exception_handler(RequestValidationError)
    def of_request(_: "Request", error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return JSONResponse(
            problem(f"{place}: {first['msg'].removeprefix('Value error, ')}", "invalid_request", place), 422
        )

    @app.exception_handler(HTTPException)
    def of_http(_: "Request", error: HTTPException) -> JSONResponse:
        return JSONResponse(problem(str(error.detail), "http"), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    def of_ours(_: "Request", error: Exception) -> JSONResponse:
        logger.error("internal error", exc_info=error)
        message = f"internal error: {type(error).__name__} (a fault of this program: the terminal says more)"
        return JSONResponse(problem(message, "internal"), 500)
