"""Every error that the service answers, as RFC 9457 problem documents.

A problem's `type` is `about:blank` where the status says all there is to say, else `urn:errata:problem:<kind>`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from errata import errors
from errata.registry.records import Problem, ProblemItem

MEDIA_TYPE = "application/problem+json"
QUEUE_RETRY_SECONDS = 10
UNAVAILABLE_RETRY_SECONDS = 2

log = logging.getLogger(__name__)


class ProblemError(Exception):
    """A problem that is known as such where it arises; `kind` ends the problem's type URN."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        at: Sequence[ProblemItem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(
            type=f"urn:errata:problem:{kind}",
            title=kind.replace("-", " ").capitalize(),
            status=status,
            detail=detail,
            errors=tuple(at),
        )
        self.headers = headers


class NotReady(ProblemError):
    """The service cannot do this yet, or not at the moment."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "not-ready", detail, headers={"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)})


# What the library and the registry raise, and how it is answered.
_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    errors.UnknownEdit: (404, "unknown-edit"),
    errors.UnknownVersion: (404, "unknown-version"),
    errors.Conflict: (409, "conflict"),
    errors.CorruptArtifact: (409, "corrupt-artifact"),
    errors.WrongBaseModel: (409, "wrong-base-model"),
    errors.IdempotencyMismatch: (422, "idempotency-mismatch"),
    errors.QueueFull: (429, "queue-full"),
}

_EXAMPLE = Problem(
    type="urn:errata:problem:invalid-request",
    title="Invalid request",
    status=422,
    detail="/facts/3/object: is empty",
    errors=(ProblemItem(pointer="/facts/3/object", detail="is empty"),),
)


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem document, in its answers and in its OpenAPI description."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(errors.ErrataError, _on_errata_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(redis.ConnectionError, _on_redis_away)
    app.add_exception_handler(redis.TimeoutError, _on_redis_away)
    app.add_exception_handler(Exception, _on_unexpected)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that may answer with these problems."""
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}


def pointer(*path: str | int) -> str:
    """The RFC 6901 JSON pointer of a place in the body."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def answer(error: ProblemError) -> JSONResponse:
    """The answer to a request that ended in `error`."""
    return _answer(error.problem, error.headers)


def _answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = problem.model_dump(mode="json", exclude={"errors"} if not problem.errors else None)
    return JSONResponse(body, problem.status, headers, media_type=MEDIA_TYPE)


def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return answer(error)


def _on_errata_error(request: Request, error: Exception) -> JSONResponse:
    for kind_of_error, (status, kind) in _ANSWERS.items():
        if isinstance(error, kind_of_error):
            headers = {"Retry-After": str(QUEUE_RETRY_SECONDS)} if status == HTTPStatus.TOO_MANY_REQUESTS else None
            return _on_problem(request, ProblemError(status, kind, str(error), headers=headers))
    # Raising it again would end in the same handler; the log gets the traceback here instead of from the server.
    log.error("unexpected %s", type(error).__name__, exc_info=error)
    return _on_unexpected(request, error)


def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    in_body, elsewhere = [], []
    for item in error.errors():
        place, *path = item["loc"]
        if item["type"] == "json_invalid":
            in_body.append(ProblemItem(pointer="", detail=f"is not JSON: {item['ctx']['error']} at {path[0]}"))
        elif place == "body":
            in_body.append(ProblemItem(pointer=pointer(*path), detail=item["msg"]))
        else:
            elsewhere.append(f"{place} parameter {'.'.join(map(str, path))}: {item['msg']}")
    return _on_problem(request, ProblemError(422, "invalid-request", _summary(in_body, elsewhere), at=in_body))


def _summary(in_body: Sequence[ProblemItem], elsewhere: Iterable[str]) -> str:
    said = list(elsewhere)
    if in_body:
        first = f"{in_body[0].pointer or 'the body'}: {in_body[0].detail}"
        said.append(first + (f" (and {len(in_body) - 1} more, see errors)" if len(in_body) > 1 else ""))
    return "; ".join(said)


def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = f"{request.method} {request.url.path}" if error.detail == title else error.detail
    return _answer(Problem(title=title, status=error.status_code, detail=detail), error.headers)


def _on_redis_away(request: Request, error: Exception) -> JSONResponse:
    log.warning("Redis does not answer: %s", error)
    return _on_problem(request, NotReady("Redis does not answer; generation under the active version goes on"))


def _on_unexpected(_: Request, error: Exception) -> JSONResponse:
    # The server logs the traceback; the client gets only the means to find it there.
    name = uuid.uuid4().hex[:12]
    log.error("internal error %s: %s", name, type(error).__name__)
    detail = f"something went wrong in the service; its log says what, under {name}"
    return _answer(Problem(title=HTTPStatus(500).phrase, status=500, detail=detail))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with problem documents where it would put its own error bodies."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in schema["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= HTTPStatus.BAD_REQUEST:
                    response["content"] = content
    schema["components"]["schemas"]["Problem"]["examples"] = [_EXAMPLE.model_dump(mode="json")]
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
    app.openapi_schema = schema
    return schema
