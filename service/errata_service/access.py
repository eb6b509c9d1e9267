"""What is noted of every request: its id, its line in the log, and its count in the metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid

from errata_registry.logs import about_request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errata_service.metrics import Metrics

REQUEST_ID = "X-Request-ID"
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
        request_id, began = _id_of(Headers(scope=scope)), time.monotonic()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
                self._note(scope, message["status"], time.monotonic() - began)
            await send(message)

        with about_request(request_id):
            await self._app(scope, receive, noted)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Note that an answer begins."""
        method, route = scope["method"], getattr(scope.get("route"), "path", "none")
        self._metrics.count_request(method, route, status)
        client = ":".join(map(str, scope["client"] or ("-",)))
        path = (scope.get("raw_path") or scope["path"].encode()).decode("ascii", "backslashreplace")
        fields = {"client": client, "method": method, "path": path, "status": status, "ms": round(1000 * seconds, 1)}
        logger.info("%s %s %s %d in %.1f ms", client, method, path, status, 1000 * seconds, extra={"fields": fields})


def _id_of(headers: Headers) -> str:
    """Return the id that a request came with, or a new one where it has none, or none that could be written down."""
    given = headers.get(REQUEST_ID, "")
    return given if _TAKEN.fullmatch(given) else uuid.uuid4().hex
