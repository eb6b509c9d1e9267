"""What came back: the typed answer, or the error that it means."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from errata_client.errors import ConnectionFailed, RequestTimedOut, UnexpectedAnswer, status_error
from errata_client.records import Problem
from errata_client.records.wordings import describe
from errata_client.requests import EVENT_STREAM, Request

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@contextmanager
def connection_errors() -> Iterator[None]:
    """Turn what httpx raises where no answer came into `ConnectionFailed` or `RequestTimedOut`."""
    try:
        yield
    except httpx.RequestError as error:
        kind = RequestTimedOut if isinstance(error, httpx.TimeoutException) else ConnectionFailed
        may_have_arrived = not isinstance(error, _NEVER_SENT)
        raise kind(_no_answer(error), may_have_arrived=may_have_arrived) from error


def _no_answer(error: httpx.RequestError) -> str:
    """Say why no answer came, and what to look at."""
    url = error.request.url
    if not isinstance(error, httpx.ConnectError):
        return f"{url}: {str(error) or type(error).__name__}"
    reason = re.sub(r"^\[.*?\] | \(_ssl.*\)$", "", str(error)) or "no connection"
    hint = ""
    if "refused" in reason or "attempts failed" in reason:
        hint = "; is `errata up` running?"
    elif reason == "wrong version number":
        hint = "; it does not speak TLS: is the URL http://?"
    return f"no connection to {url.scheme}://{url.netloc.decode()}: {reason}{hint}"


def parse(kind: type[M], content: bytes | str) -> M:
    """Read a record tolerantly: what a newer service adds to it is kept. Raises `ValidationError`."""
    return kind.model_validate_json(content, extra="allow")


def read_answer(request: Request[T], response: httpx.Response) -> T:
    """Return the typed answer. Raises `StatusError`, or `UnexpectedAnswer` where it does not fit the contract."""
    check_status(response)
    try:
        return TypeAdapter(request.answer).validate_json(response.content or b"null", extra="allow")
    except ValidationError as error:
        what = describe(error, request.answer)
        raise UnexpectedAnswer(f"{response.url} answered what does not fit the contract: {what}") from error


def check_status(response: httpx.Response) -> None:
    """Raise the `StatusError` for an answer that is no success; its content must have been read."""
    if response.is_success:
        return
    raise status_error(_read_problem(response), _retry_after(response.headers.get("Retry-After")))


def check_kind(request: Request[Any], response: httpx.Response) -> None:
    """Raise `UnexpectedAnswer` for an answer of another media type than was asked for."""
    kind = response.headers.get("Content-Type", "")
    if not kind.startswith(request.accepts):
        wanted = "an event stream" if request.accepts == EVENT_STREAM else request.accepts
        raise UnexpectedAnswer(f"{response.url} answered {kind or 'no content type'}, not {wanted}")


def _read_problem(response: httpx.Response) -> Problem:
    try:
        problem = parse(Problem, response.content)
    except ValidationError:
        # Not ours: a proxy's page, for instance.
        return Problem(title=response.reason_phrase or "Error", status=response.status_code)
    # The status line decides, since it is what proxies and retries go by.
    return problem.model_copy(update={"status": response.status_code})


def _retry_after(value: str | None) -> float | None:
    """Return the seconds to wait, from either form of the header, or None where it cannot be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds)
