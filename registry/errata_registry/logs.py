"""The logs of service and worker: lines for people, or JSON, an object a line. Times are UTC.

Whatever is logged about a request, or about the job that it asked for, names the request by its id; JSON also names the
trace that it belongs to, where there is one.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from errata_registry.telemetry import trace_ids

LogFormat = Literal["text", "json"]

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def set_up(form: LogFormat) -> None:
    """Write all logs of this process to its standard error in a form, from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if form == "json" else _Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else it tells of every request
    _tame_transformers()


@contextmanager
def about_request(request_id: str | None) -> Iterator[None]:
    """Whatever this thread or task logs meanwhile is about a request."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def request_id() -> str | None:
    """Return the id of the request that is being answered, or whose job is being done."""
    return _request_id.get()


def _tame_transformers() -> None:
    """Have transformers log as all others do, and draw no bars of progress, which are for terminals."""
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()  # type: ignore[no-untyped-call]
    of_transformers.disable_default_handler()
    of_transformers.enable_propagation()


class _Lines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _time_of(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return f"{line} [request {asked_by}]" if (asked_by := request_id()) else line


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": _time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id(),
            **dict(zip(("trace_id", "span_id"), trace_ids() or (), strict=False)),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
            **getattr(record, "fields", {}),
        }
        return json.dumps({name: value for name, value in told.items() if value is not None}, ensure_ascii=False)


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
