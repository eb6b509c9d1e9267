"""Spans for OpenTelemetry: an edit's way through service, queue, worker and replicas is one trace, so is a generation.

A process imports OpenTelemetry's SDK only where its environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`). In
any other, spans are those of OpenTelemetry's interface, which record nothing. What spans say is how much was done, and
never what was said: no prompt, no fact, and of an error its kind alone, since its words may quote them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from errata.errors import ErrataError

TRACEPARENT = "traceparent"
# Of OpenTelemetry's own variables, the more special one first.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"

_tracer = trace.get_tracer("errata")
_w3c = TraceContextTextMapPropagator()


def set_up(service: str) -> None:
    """Send this process's spans to the collector that the environment names, if it names one.

    Args:
        service: what the process is called there, unless `OTEL_SERVICE_NAME` says otherwise.

    Raises:
        ValueError: OpenTelemetry's SDK is not installed, or another protocol than OTLP over HTTP is asked for.
    """
    if (endpoint := _first_of(ENDPOINTS)) is None:
        return
    if (protocol := _first_of(PROTOCOLS) or SPOKEN) != SPOKEN:
        raise ValueError(f"spans are sent by {SPOKEN} alone, and OTEL_EXPORTER_OTLP_PROTOCOL says {protocol}")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ValueError(
            f"spans are to be sent to {endpoint}, as OTEL_EXPORTER_OTLP_ENDPOINT says, and {error.name} is not "
            "installed: install Errata as `errata[otel]`, or unset the variable"
        ) from error
    told = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or service,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    provider = TracerProvider(resource=Resource.create(told))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def traceparent() -> str | None:
    """Return what names the present span for another process, as W3C's Trace Context writes it; None without one."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get(TRACEPARENT)


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    parent: str | None = None,
) -> Iterator[Span]:
    """The block is a span of the present trace, or of the one that `parent` names, another process's `traceparent`."""
    with _tracer.start_as_current_span(
        name, _context_of(parent), kind, attributes, record_exception=False, set_status_on_exception=False
    ) as begun:
        try:
            yield begun
        except Exception as error:
            note_failure(error, begun)
            raise


def begin(name: str) -> Span:
    """Begin a span that is ended by hand, within the present one. It does not become the present one."""
    return _tracer.start_span(name)


def note_past(name: str, began: datetime) -> None:
    """Note a span within the present one that ends now."""
    _tracer.start_span(name, start_time=int(began.timestamp() * 1e9)).end()


def note_failure(error: BaseException, failed: Span | None = None) -> None:
    """Note that a span failed, the present one by default."""
    failed = failed or trace.get_current_span()
    failed.set_status(StatusCode.ERROR)
    kind = error.kind if isinstance(error, ErrataError) else None
    failed.set_attribute("error.type", kind or type(error).__name__)


def trace_ids() -> tuple[str, str] | None:
    """Return the ids of the present trace and span in hexadecimal digits; None without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


class Stages:
    """Spans of the stages of a piece of work within the present span, each until the next one begins."""

    def __init__(self) -> None:
        self._span: Span | None = None

    def begin(self, name: str) -> None:
        """End the stage before, and begin one."""
        self.end()
        self._span = begin(name)

    def end(self, error: BaseException | None = None) -> None:
        """End the last stage, which failed with `error` if there is one."""
        if self._span is not None:
            if error is not None:
                note_failure(error, self._span)
            self._span.end()
            self._span = None


def _context_of(parent: str | None) -> Context | None:
    return None if parent is None else _w3c.extract({TRACEPARENT: parent})


def _first_of(variables: tuple[str, ...]) -> str | None:
    return next((value for name in variables if (value := os.environ.get(name))), None)
