"""What is noted of every request: its id, its span, its line in the log, and its count in the metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextlib import AbstractContextManager, nullcontext

from errata_registry import telemetry
from errata_registry.logs import about_request
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errata_service.metrics import Metrics

REQUEST_ID = "X-Request-ID"
ASKED_EVERY_FEW_SECONDS = {"/healthz", "/readyz", "/metrics"}
_TAKEN = re.compile(r"[\x20-\x7e]{1,128}")

logger = logging.getLogger(__name__)


class Access:
    """Gives each request an id, unless it comes with one, and returns it with whatever is answered.

    The route that a request took is known once it has taken it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id, began = _id_of(headers), time.monotonic()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
                self._note(scope, message["status"], time.monotonic() - began)
                _describe(span, scope, message["status"])
            await send(message)

        with about_request(request_id), _span_of(scope, headers) as span:
            await self._app(scope, receive, noted)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Note that an answer begins."""
        method, route = scope["method"], getattr(scope.get("route"), "path", "none")
        self._metrics.count_request(method, route, status)
        client = ":".join(map(str, scope["client"] or ("-",)))
        path = (scope.get("raw_path") or scope["path"].encode()).decode("ascii", "backslashreplace")
        fields = {"client": client, "method": method, "path": path, "status": status, "ms": round(1000 * seconds, 1)}
        logger.info("%s %s %s %d in %.1f ms", client, method, path, status, 1000 * seconds, extra={"fields": fields})


def _span_of(scope: Scope, headers: Headers) -> AbstractContextManager[Span]:
    """The span of a request, in the trace that it names. Who asks every few seconds how the process is has none."""
    if scope["path"] in ASKED_EVERY_FEW_SECONDS:
        return nullcontext(INVALID_SPAN)
    told = {"http.request.method": scope["method"], "url.scheme": scope["scheme"]}
    return telemetry.span(scope["method"], SpanKind.SERVER, told, parent=headers.get(telemetry.TRACEPARENT))


def _describe(span: Span, scope: Scope, status: int) -> None:
    """Say what became of a request. By its route, and not by its address, which may hold what is asked."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


def _id_of(headers: Headers) -> str:
    """Return the id that a request came with, or a new one where it has none, or none that could be written down."""
    given = headers.get(REQUEST_ID, "")
    return given if _TAKEN.fullmatch(given) else uuid.uuid4().hex
