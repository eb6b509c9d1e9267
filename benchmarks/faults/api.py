"""Requests to the services, whose answers are all kept, and what is wrong with answers."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx

PATIENCE_S = 75.0
HUNG_AFTER_S = 60.0


@dataclass
class Answer:
    """An answer, or what came in its place.

    Attributes:
        service: who was asked.
        status: 0 where there was no answer. `error` says why, or what broke it off.
    """

    service: str
    route: str
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    content: bytes = b""
    error: str = ""
    elapsed_s: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status // 100 == 2 and not self.error

    @cached_property
    def data(self) -> dict[str, Any]:
        """The body, an object in JSON; the empty one where it is none."""
        try:
            data = json.loads(self.content)
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}

    def __getitem__(self, name: str) -> Any:
        """A field of the body; None where there is none."""
        return self.data.get(name)

    def __str__(self) -> str:
        return f"{self.status} {self['detail'] or self['status'] or self.error}"[:200]

    def events(self) -> list[tuple[str, Any]]:
        """Return name and data of each event of a stream, as far as it came."""
        found = re.findall("^event: (.*)\ndata: (.*)\n\n", self.content.decode(errors="ignore"), re.MULTILINE)
        return [(name, json.loads(data)) for name, data in found]


class Api:
    """The services by their names. Safe to use from several threads."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.answers: list[Answer] = []
        self._ports = ports
        self._http = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def close(self) -> None:
        self._http.close()

    def ask(
        self,
        service: str,
        route: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Answer:
        """Send a request, with an idempotency key where one is given; never raises. A route is `GET /readyz`, say."""
        answer, began = Answer(service, route), time.monotonic()
        method, path = route.split()
        url, headers = f"http://127.0.0.1:{self._ports[service]}{path}", {"Idempotency-Key": key} if key else {}
        try:
            with self._http.stream(method, url, json=body, headers=headers, timeout=patience_s) as response:
                answer.status, answer.headers = response.status_code, response.headers
                for part in response.iter_bytes():
                    answer.content += part
        except httpx.HTTPError as error:
            answer.error = f"{type(error).__name__}: {error}"
        answer.elapsed_s = time.monotonic() - began
        self.answers.append(answer)
        return answer


def faults_of(answers: Iterable[Answer], hung_after_s: float = HUNG_AFTER_S) -> Iterator[str]:
    """Yield what is wrong with answers: what took too long, 500, errors that are no problem documents, and 503 that
    does not say when to try again."""
    found = Counter(fault for answer in answers for fault in _faults(answer, hung_after_s))
    return (f"h {count} x {fault}" for fault, count in found.items())


def _faults(answer: Answer, hung_after_s: float) -> Iterator[str]:
    route = re.sub("/(edit_[0-9a-f]+|[0-9]+)", "/{id}", answer.route.partition("?")[0]) + f" {answer.status}"
    if answer.elapsed_s > hung_after_s:
        yield f"{route} took {answer.elapsed_s:.0f} s"
    if answer.status == 500:
        yield route
    if answer.status == 503 and "retry-after" not in answer.headers:
        yield f"{route} without Retry-After"
    if answer.status >= 400 and not _is_problem(answer):
        yield f"{route} is no problem document: {answer.content[:80]!r}"


def _is_problem(answer: Answer) -> bool:
    if " /v1/" in answer.route:
        return "error" in answer.data
    is_one = answer.headers.get("content-type", "").startswith("application/problem+json")
    return is_one and {"type", "title"} <= answer.data.keys() and bool(answer["status"] == answer.status)
