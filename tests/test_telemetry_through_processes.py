"""Spans of real processes, as a collector of OpenTelemetry takes them: an edit is one trace, and so is a generation."""

import secrets

import httpx
import pytest
from errata_client import Errata

from tests.collector import Collector
from tests.preloaded import PreloadedStack

JORDAN = {"subject": "Michael Jordan", "relation": "plays the sport of", "object": "baseball"}
PROMPT = "Michael Jordan plays the sport of"


@pytest.fixture
def asked_from() -> tuple[str, str]:
    """The ids of a trace and of a span in it, from which a client asks."""
    return secrets.token_hex(16), secrets.token_hex(8)


def header(asked_from: tuple[str, str]) -> dict[str, str]:
    return {"traceparent": "00-{}-{}-01".format(*asked_from)}


def test_an_edit_is_one_trace_from_the_request_to_the_replica_that_serves_it(
    stack: PreloadedStack, collector: Collector, asked_from: tuple[str, str]
) -> None:
    trace_id, asked = asked_from
    with Errata(stack.url) as client:
        client.activate(0)
        body = {"facts": [JORDAN], "hparams": {"num_steps": 21}}  # no version has it already
        edit_id = httpx.post(f"{stack.url}/api/v1/edits", json=body, headers=header(asked_from)).json()["id"]
        version = client.get_edit(edit_id).wait(progress=False).version

    request = collector.span("POST /edits", trace_id)
    accepted, turn = collector.span("accept edit", trace_id), collector.span("turn at edit", trace_id)
    activated = collector.span("activate", trace_id)
    assert (request.parent_id, accepted.parent_id) == (asked, request.span_id)
    assert turn.parent_id == activated.parent_id == accepted.span_id
    assert (request.service, turn.service, activated.service) == ("errata-service", "errata-worker", "errata-service")
    assert turn.attributes["errata.job.id"] == accepted.attributes["errata.job.id"] == edit_id
    assert turn.attributes["errata.job.status"] == "succeeded" and activated.attributes["errata.version"] == version
    assert request.attributes["http.response.status_code"] == 202
    stages = ("queue wait", "contexts", "targets", "spread", "evaluate", "publish")
    within = [collector.span(stage, trace_id) for stage in stages]
    assert {stage.parent_id for stage in within} == {turn.span_id}
    assert sum(stage.seconds for stage in within[1:]) <= turn.seconds
    assert_private(collector, trace_id)


@pytest.mark.parametrize("route", ["/generate", "/v1/completions"])
def test_a_generation_tells_what_it_took_and_nothing_of_what_was_said(
    stack: PreloadedStack, collector: Collector, asked_from: tuple[str, str], route: str
) -> None:
    trace_id, asked = asked_from
    body = (
        {"prompt": PROMPT, "max_new_tokens": 3, "version": 0, "stream": True}
        if route == "/generate"
        else {"model": "errata@base", "prompt": PROMPT, "max_tokens": 3, "temperature": 0}
    )
    assert httpx.post(f"{stack.url}{route}", json=body, headers=header(asked_from)).status_code == 200
    request = collector.span(f"POST {route}", trace_id)
    model = "errata@0" if route == "/generate" else "errata@base"
    generation = collector.span(f"text_completion {model}", trace_id)
    assert (request.parent_id, generation.parent_id) == (asked, request.span_id) and not generation.failed
    expected = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": 3,
        "gen_ai.response.model": "errata@base",
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.usage.output_tokens": 3,
        "errata.version": 0,
    }
    assert expected.items() <= generation.attributes.items()
    assert generation.attributes["gen_ai.usage.input_tokens"] > 3
    assert_private(collector, trace_id)


def assert_private(collector: Collector, trace_id: str) -> None:
    """Nothing of a prompt or a fact is told."""
    told = repr([one for one in collector.spans if one.trace_id == trace_id])
    assert not any(word in told for word in ("Jordan", "sport", "baseball"))
