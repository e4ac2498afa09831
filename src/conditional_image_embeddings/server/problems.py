"""What went wrong, as HTTP says it: a status, and one line for whoever asked, in the shape of OpenAI's errors."""

from typing import TYPE_CHECKING, Any

from ..errors import CieError, ConditionError, ExtraError, ImageError, NotStoredError, OptionError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request


class NotThereError(CieError):
    """What a request names is not there: a collection, an image, a file."""


def problem(message: str, kind: str, param: str | None = None) -> dict[str, Any]:
    """The body of an answer that says what was wrong.

    Args:
        message: One line: what was wrong, where, what to do.
        kind: A word for programs.
        param: The part of the request that it is about.
    """
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


def explain(app: "FastAPI") -> None:
    """Have an application answer what a user or the machine is the reason of as `problem` says it.

    400: the request; 404: what it names is not there; 409: the database; 422: it is no such request. `safety.Guard`
    answers what is a fault of this program.
    """
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(CieError)
    def of_user(_: "Request", error: CieError) -> JSONResponse:
        message = " ".join(str(error).split())
        if isinstance(error, NotThereError | NotStoredError):
            return JSONResponse(problem(message, "not_found"), 404)
        if isinstance(error, OptionError | ConditionError | ExtraError | ImageError):
            return JSONResponse(problem(message, "invalid_request"), 400)
        return JSONResponse(problem(message, type(error).__name__), 409)

    @app.exception_handler(RequestValidationError)
    def of_request(_: "Request", error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return JSONResponse(problem(f"{place}: {first['msg']}", "invalid_request", place), 422)

    @app.exception_handler(HTTPException)
    def of_http(_: "Request", error: HTTPException) -> JSONResponse:
        return JSONResponse(problem(str(error.detail), "http"), error.status_code, headers=error.headers)
