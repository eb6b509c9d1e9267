"""A collector of OpenTelemetry for tests: it takes spans over HTTP as OTLP has them, and keeps them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Collected:
    """A span, and the process that sent it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    seconds: float
    failed: bool


@dataclass
class Collector:
    """What was sent so far, and where to."""

    url: str
    spans: list[Collected] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """What a process is told that is to send its spans here, soon after each has ended."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def span(self, name: str, trace_id: str | None = None, **attributes: Any) -> Collected:
        """Wait for the one span of a name that has these attributes."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := [one for one in list(self.spans) if self._is(one, name, trace_id, attributes)]):
            assert time.monotonic() < deadline, f"no span {name!r} came, but {sorted({one.name for one in self.spans})}"
            time.sleep(0.05)
        [one] = found
        return one

    @staticmethod
    def _is(one: Collected, name: str, trace_id: str | None, attributes: dict[str, Any]) -> bool:
        return one.name == name and trace_id in (None, one.trace_id) and attributes.items() <= one.attributes.items()

    def take(self, body: bytes) -> None:
        """Take what an exporter sent."""
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(of_process.resource.attributes)["service.name"]
            for scope in of_process.scope_spans:
                self.spans += [
                    Collected(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        _attributes(span.attributes),
                        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    )
                    for span in scope.spans
                ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        collector = Collector(f"http://127.0.0.1:{listening.server_port}")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield collector
        listening.shutdown()


def _attributes(told: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in told}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)
