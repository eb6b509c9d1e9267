"""Every error that the service answers, as RFC 9457 problem documents.

A problem's `type` is `about:blank` where the status says all there is to say, else `urn:errata:problem:<kind>`. What
the library and the registry raise knows its status and kind (`errata.errors`). The routes that speak OpenAI's language
answer errors in OpenAI's form.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import redis
from errata_client.records import Described, Problem
from errata_client.records.wordings import fault_of
from errata_registry.problems import problem_of as _problem_of
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from errata.errors import ErrataError, Place, pointer
from errata.files import disk

MEDIA_TYPE = "application/problem+json"
QUEUE_RETRY_SECONDS = 10
BUSY_RETRY_SECONDS = 1
UNAVAILABLE_RETRY_SECONDS = 2
OPENAI_ROUTES = "/v1/"
MOST_NAMED = 1000  # faults of one body
NOT_SENT_AS_JSON = "is not sent as JSON, with the header `Content-Type: application/json`"

log = logging.getLogger(__name__)


class ProblemError(ErrataError):
    """A problem that is known as such where it arises, with headers to go with the answer."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        places: Sequence[Place] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.places = tuple(places)
        self.headers = headers

    @classmethod
    def of(cls, kind: type[ErrataError], detail: str, places: Sequence[Place] = ()) -> ProblemError:
        """Make a problem of the library's kind in words of its own."""
        return cls(kind.status, kind.kind, detail, places=places)


class NotReady(ProblemError):
    """The service cannot do this yet, or not at the moment."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "not-ready", detail, headers={"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)})


class Busy(ProblemError):
    """As many generations wait as may."""

    def __init__(self, detail: str) -> None:
        super().__init__(429, "busy", detail, headers={"Retry-After": str(BUSY_RETRY_SECONDS)})


class Overloaded(ProblemError):
    """As many clients as may are being served. Its answer ends the connection, which gives room to others."""

    def __init__(self, detail: str) -> None:
        headers = {"Retry-After": str(UNAVAILABLE_RETRY_SECONDS), "Connection": "close"}
        super().__init__(503, "overloaded", detail, headers=headers)


_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class OpenAIFault(Described):
    """What went wrong. `param` is the field of the body that is at fault, where one is.

    Attributes:
        message: what is wrong, in words.
        type: its kind, as OpenAI names it.
        param: the field that is at fault.
        code: its kind, as Errata names it.
    """

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Described):
    """An error in the form that clients of OpenAI's interface read.

    Attributes:
        error: what went wrong.
    """

    error: OpenAIFault


class _JsonLine(JSONResponse):
    """JSON that ends as a line does."""

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, on_http_exception)
    for foreseen in (ErrataError, redis.RedisError, OSError):
        app.add_exception_handler(foreseen, _on_error)
    app.add_exception_handler(Exception, _on_error)


def answer(error: ErrataError, path: str) -> JSONResponse:
    """Return the answer to a request for `path` that ended in `error`."""
    problem, headers = _described(error)
    return _answer(problem, path, headers)


def problem_of(error: Exception) -> Problem:
    """Tell of any error. One that was not foreseen is logged under a name that the problem gives."""
    return _described(error)[0]


def _described(error: Exception) -> tuple[Problem, Mapping[str, str] | None]:
    """Return the problem, and headers to go with it."""
    if outage := outage_of(error):
        log.warning("%s: %s", outage, error)
        error = NotReady(f"{outage}; generation under the active version goes on")
    if isinstance(error, ProblemError):
        return _problem_of(error), error.headers
    if isinstance(error, ErrataError):
        is_full = error.status == HTTPStatus.TOO_MANY_REQUESTS
        return _problem_of(error), {"Retry-After": str(QUEUE_RETRY_SECONDS)} if is_full else None
    name = uuid.uuid4().hex[:12]
    log.error("internal error %s: %s", name, type(error).__name__, exc_info=error)
    detail = f"something went wrong in the service; its log says what, under {name}"
    return Problem(title=HTTPStatus(500).phrase, status=500, detail=detail), None


def outage_of(error: Exception) -> str | None:
    """Say which part that the service works with failed for the moment; None if `error` is about something else."""
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return "Redis does not answer"
    if isinstance(error, redis.OutOfMemoryError):
        return "Redis is full"
    if isinstance(error, redis.ResponseError) and str(error).startswith("MISCONF"):
        return "Redis takes nothing, since it cannot write to its disk"
    if isinstance(error, redis.ReadOnlyError):
        return "Redis takes nothing, since it is a replica of another one"
    if isinstance(error, disk.Refused):
        return error.strerror
    if why := disk.refusal_of(error):
        return f"the home folder's disk takes nothing ({why})"
    return None


def _answer(problem: Problem, path: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    if path.startswith(OPENAI_ROUTES):
        return _JsonLine(openai_error(problem), openai_status(problem.status), headers)
    empty = {name for name in ("errors", "misses") if not getattr(problem, name)}
    body = problem.model_dump(mode="json", exclude=empty)
    return _JsonLine(body, problem.status, headers, media_type=MEDIA_TYPE)


def openai_error(problem: Problem) -> dict[str, Any]:
    """Return the problem in the form that clients of OpenAI's interface read."""
    status = openai_status(problem.status)
    place = problem.errors[0].pointer.removeprefix("/").partition("/")[0] if problem.errors else None
    fault = OpenAIFault(
        message=problem.detail.replace(", see errors)", ")"),
        type=_OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
        param=place or None,
        code=problem.type.rpartition(":")[2].replace("-", "_") if problem.type.startswith("urn:") else None,
    )
    return OpenAIError(error=fault).model_dump()


def openai_status(status: int) -> int:
    """Return the status that OpenAI's interface has for a problem of ours; for a body at fault it is 400."""
    return 400 if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


def _on_error(request: Request, error: Exception) -> JSONResponse:
    problem, headers = _described(error)
    return _answer(problem, request.url.path, headers)


def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    in_body, elsewhere = [], []
    for item in error.errors()[:MOST_NAMED]:
        where, *place = item["loc"]
        if item["type"] == "json_invalid":
            in_body.append(Place("", f"is not JSON: {item['ctx']['error']} at {place[0]}"))
            continue
        path, detail = fault_of({**item, "loc": tuple(place)}, _kind_of_given(request, where))
        if where == "body":
            is_json = not isinstance(item.get("input"), bytes)
            in_body.append(Place(pointer(*path), detail if is_json else NOT_SENT_AS_JSON))
        else:
            named = f"{where} parameter {'.'.join(map(str, path))}" if path else f"the {where}"
            elsewhere.append(f"{named}: {detail}")
    problem = ProblemError(422, "invalid-request", _summary(in_body, elsewhere), places=in_body)
    return answer(problem, request.url.path)


def _kind_of_given(request: Request, where: str) -> Any:
    """Return the record that was to be read from the body or the query of a request, where there is one."""
    route = request.scope["route"]
    fields = {"body": [route.body_field], "query": route.dependant.query_params}.get(where)
    return fields[0].field_info.annotation if fields else Any


def _summary(in_body: Sequence[Place], elsewhere: Iterable[str]) -> str:
    said = list(elsewhere)
    if in_body:
        first = f"{in_body[0].pointer or 'the body'}: {in_body[0].detail}"
        said.append(first + (f" (and {len(in_body) - 1} more, see errors)" if len(in_body) > 1 else ""))
    return "; ".join(said)


def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Return the answer for an error that is no more than its status and a detail."""
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = f"{request.method} {request.url.path}" if error.detail == title else error.detail
    return _answer(Problem(title=title, status=error.status_code, detail=detail), request.url.path, error.headers)
