"""Whether a process sends spans, and what it costs one that does not."""

import subprocess
import sys

import pytest
from errata_registry import telemetry

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize("endpoint", (None, ""))  # Compose passes on what is not set as an empty text
def test_without_a_collector_the_sdk_is_not_imported(endpoint: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    if endpoint is not None:
        monkeypatch.setenv(ENDPOINT, endpoint)
    look = (
        "import sys; from errata_registry import telemetry; telemetry.set_up('errata-worker')\n"
        "with telemetry.span('one') as span: assert not span.is_recording() and telemetry.traceparent() is None\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]"
    )
    subprocess.run([sys.executable, "-c", look], check=True)


def test_a_collector_without_the_sdk_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ValueError, match=r"http://127.0.0.1:4318.*errata\[otel\]"):
        telemetry.set_up("errata-worker")


def test_a_protocol_that_is_not_spoken_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ValueError, match="http/protobuf alone"):
        telemetry.set_up("errata-worker")
