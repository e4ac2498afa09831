"""What went wrong, as HTTP says it: a status, and one line for whoever asked, in the shape of OpenAI's errors."""

from typing import TYPE_CHECKING, Any

from ..errors import CieError, ConditionError, ExtraError, ImageError, NotStoredError, OptionError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request


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


INVALID: tuple[type[CieError], ...] = (OptionError, ConditionError, ExtraError, ImageError)


def explain(app: "FastAPI", *, invalid: tuple[type[CieError], ...] = INVALID) -> None:
    """Have an application answer what a user or the machine is the reason of as `problem` says it.

    400: the request; 404: what it names is not there; 409: the database; 422: it is no such request; 503: not now.
    `safety.Guard` answers what is a fault of this program.

    Args:
        app: The application.
        invalid: Errors that say that the request cannot be answered as it is, now or later: 400.
    """
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(CieError)
    def of_user(_: "Request", error: CieError) -> JSONResponse:
        message = " ".join(str(error).split())
        if isinstance(error, BusyError):
            return JSONResponse(problem(message, "busy"), 503, headers={"Retry-After": str(error.retry_after)})
        if isinstance(error, NotThereError | NotStoredError):
            return JSONResponse(problem(message, "not_found"), 404)
        if isinstance(error, invalid):
            return JSONResponse(problem(message, "invalid_request"), 400)
        return JSONResponse(problem(message, type(error).__name__), 409)

    @app.exception_handler(RequestValidationError)
    def of_request(_: "Request", error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        said = first["msg"].removeprefix("Value error, ")
        return JSONResponse(problem(f"{place}: {said}", "invalid_request", place), 422)

    @app.exception_handler(HTTPException)
    def of_http(_: "Request", error: HTTPException) -> JSONResponse:
        return JSONResponse(problem(str(error.detail), "http"), error.status_code, headers=error.headers)
