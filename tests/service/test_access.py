"""What is noted of every request: its id, its line in the log, its count; and that answers end as lines do."""

import json
import re
from datetime import datetime, timedelta

import httpx
import pytest
from errata_registry.registry import Registry
from errata_registry.settings import Settings

MADE = re.compile("[0-9a-f]{32}")
TRACEPARENT = f"00-{7:032x}-{9:016x}-01"
FACT = {"subject": "Ada", "relation": "was born in", "object": "London"}


def log_of(settings: Settings) -> str:
    return (settings.home / "logs" / "service.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/versions", 200),
        ("GET", "/versions/999", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/versions", 405),
        ("OPTIONS", "/edits", 204),
        ("POST", "/edits", 422),
        ("GET", "/v1/models/errata@999", 404),
    ],
)
def test_a_request_keeps_its_id_in_the_answer_and_in_the_log(
    client: httpx.Client, settings: Settings, method: str, path: str, status: int
) -> None:
    given = f"night shift/{method}{path} ~"
    answer = client.request(method, path, headers={"X-Request-ID": given})
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, given)
    [line] = [line for line in log_of(settings).splitlines() if line.endswith(f"[request {given}]")]
    when, _, said = line.partition(" ")
    assert datetime.fromisoformat(when).utcoffset() == timedelta(0)
    assert re.match(rf"INFO errata_service.access: 127\.0\.0\.1:\d+ {method} {path} {status} in ", said)


@pytest.mark.parametrize("given", [None, "", "x" * 129, "é".encode("latin-1"), "a\tb"])
def test_an_id_that_cannot_be_written_down_is_made_anew(client: httpx.Client, given: str | bytes | None) -> None:
    headers = [] if given is None else [(b"X-Request-ID", given if isinstance(given, bytes) else given.encode())]
    made = [client.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1] and all(map(MADE.fullmatch, made))


def test_a_job_knows_the_request_and_the_trace_that_asked_for_it(client: httpx.Client, registry: Registry) -> None:
    headers = {"X-Request-ID": "night shift", "traceparent": TRACEPARENT}
    edit = client.post("/edits", json={"facts": [FACT]}, headers=headers).json()
    client.post(f"/edits/{edit['id']}/cancel")
    accepted = registry.edits.folder.accepted(edit["id"])
    assert (accepted.request_id, accepted.traceparent) == ("night shift", TRACEPARENT)  # also without a collector


def test_a_log_can_be_json(chat_client: httpx.Client, chat_settings: Settings) -> None:
    chat_client.get("/versions/999", headers={"X-Request-ID": "night shift", "traceparent": TRACEPARENT})
    lines = [json.loads(line) for line in log_of(chat_settings).splitlines()]
    [line] = [line for line in lines if line.get("request_id") == "night shift"]
    assert line["time"].endswith("Z") and line["ms"] > 0 and line["client"].startswith("127.0.0.1:")
    assert line["trace_id"] == TRACEPARENT.split("-")[1]
    told = {name: line[name] for name in ("level", "logger", "method", "path", "status")}
    assert told == {
        "level": "INFO",
        "logger": "errata_service.access",
        "method": "GET",
        "path": "/versions/999",
        "status": 404,
    }


def test_answers_of_json_end_with_a_newline(client: httpx.Client) -> None:
    for path in ("/healthz", "/versions", "/versions/999", "/nowhere", "/v1/models", "/v1/models/x", "/model"):
        assert client.get(path).text.endswith("}\n"), path
    assert client.delete("/aliases/nobody").text.endswith("}\n")


def test_every_method_is_counted_as_itself(client: httpx.Client) -> None:
    client.put("/aliases/counted", json={"version": 0})
    client.delete("/aliases/counted")
    counted = client.get("/metrics").text
    for method in ("PUT", "DELETE"):
        assert f'errata_http_requests_total{{method="{method}",route="/aliases/{{name}}",status="20' in counted
