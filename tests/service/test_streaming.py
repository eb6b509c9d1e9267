"""Generation as it comes: server-sent events, who goes away, who is refused, and how a service ends."""

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from errata_registry.registry import Registry
from errata_worker.resident_worker import ResidentWorker

from tests.service.conftest import NewSettings, ProcessOf, Publish, Serve, figures, until_ready

PROMPTS = ["The capital of France is", "The mother tongue of Napoleon is"]
NUM_LONG = 450


@pytest.fixture
def long(version: int) -> dict[str, Any]:
    """A request that takes seconds: the version goes on and on, where the base would end its text."""
    return {"prompt": PROMPTS[0], "max_new_tokens": NUM_LONG, "version": version}


@pytest.fixture
def serve_long(serve: Serve, new_settings: NewSettings, publish: Publish) -> Callable[..., httpx.Client]:
    """Starts a service of its own, whose active version goes on and on."""

    def make(**changes: Any) -> httpx.Client:
        settings = new_settings(**changes)
        client = serve(settings)
        until_ready(client)
        with closing(Registry(settings)) as registry:
            client.post(f"/versions/{publish(registry, size=30.0)}/activate")
        return client

    return make


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Name and data of each event."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@contextmanager
def stream(client: httpx.Client, **request: Any) -> Iterator[Iterator[tuple[str, Any]]]:
    """The events of a generation, while its connection is open."""
    with client.stream("POST", "/generate", json={"stream": True, **request}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def until(is_so: Any, patience_s: float = 20) -> None:
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.02)


def test_a_stream_tells_each_token_and_then_the_end(client: httpx.Client) -> None:
    request: dict[str, Any] = {"prompts": PROMPTS, "max_new_tokens": 12, "version": "base"}
    whole = client.post("/generate", json=request).json()
    with stream(client, **request) as told:
        heard = list(told)
    for index, completion in enumerate(whole["data"]):
        own = [(name, data) for name, data in heard if data["index"] == index]
        assert [name for name, _ in own] == ["token"] * 12 + ["end"]
        assert "".join(data["text"] for _, data in own) == completion["text"]
        assert all(data["version"] == 0 for _, data in own)
        end = own[-1][1]
        assert (end["finish_reason"], end["usage"]) == (completion["finish_reason"], completion["usage"])


def test_get_streams_as_well(client: httpx.Client) -> None:
    query: dict[str, Any] = {"prompt": PROMPTS[0], "max_new_tokens": 3, "stream": True}
    heard = list(events(iter(client.get("/generate", params=query).text.splitlines())))
    assert [name for name, _ in heard] == ["token", "token", "token", "end"]


def test_a_stream_holds_back_what_may_become_a_stop_text(client: httpx.Client) -> None:
    whole = client.post("/generate", json={"prompt": PROMPTS[0], "max_new_tokens": 12, "version": "base"}).json()
    text = whole["data"][0]["text"]
    stop = text[4:11]
    with stream(client, prompt=PROMPTS[0], max_new_tokens=12, version="base", stop=stop) as told:
        heard = list(told)
    assert "".join(data["text"] for _, data in heard) == text[: text.index(stop)]
    assert heard[-1][1]["finish_reason"] == "stop"


def test_what_is_refused_is_refused_before_the_stream_begins(client: httpx.Client) -> None:
    answer = client.post("/generate", json={"prompt": "a", "version": 999, "stream": True})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_tokens_come_while_others_are_made(client: httpx.Client, long: dict[str, Any]) -> None:
    with stream(client, **long) as told:
        next(told)
        short = client.post("/generate", json={"prompt": PROMPTS[1], "max_new_tokens": 4, "version": "base"})
        assert short.json()["data"][0]["usage"]["completion_tokens"] == 4
        rest = list(told)
    assert len(rest) > 400  # of them nearly all were still to come


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_goes_away_frees_its_place(client: httpx.Client, long: dict[str, Any], streamed: bool) -> None:
    before = figures(client)
    with httpx.Client(base_url=client.base_url) as leaving:
        if streamed:
            with stream(leaving, **long) as told:
                next(told)
                assert figures(client)["errata_completions_running,here"] == 1
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaving.post("/generate", json=long, timeout=0.2)
    until(lambda: figures(client)["errata_completions_running,here"] == 0)
    after = figures(client)
    assert (
        after["errata_completions_total,here,cancelled"] == before.get("errata_completions_total,here,cancelled", 0) + 1
    )
    assert after["errata_generated_tokens_total,here"] - before["errata_generated_tokens_total,here"] < 400


def test_metrics_tell_what_happened(client: httpx.Client) -> None:
    before = figures(client)
    with stream(client, prompts=PROMPTS, max_new_tokens=6, version="base") as told:
        list(told)
    client.get("/versions/999")
    after = figures(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("errata_generated_tokens_total,here") == 12
    assert grown("errata_prompt_tokens_total,here") > 8
    assert grown("errata_completions_total,here,length") == 2
    assert grown("errata_time_to_first_token_seconds_count,here") == 2
    assert grown("errata_inter_token_seconds_count,here") == 10
    assert grown("errata_batch_size_sum") == 10
    assert grown("errata_http_requests_total,POST,/generate,200") == 1
    assert grown("errata_http_requests_total,GET,/versions/{version},404") == 1
    assert after["errata_version_served"] == client.get("/readyz").json()["version"]
    assert after["errata_swap_seconds_count"] >= 1 and after["errata_swap_load_seconds_count"] >= 1
    assert (after["errata_completions_waiting"], after["errata_completions_running,here"]) == (0, 0)
    assert after["errata_edits,queued"] == sum(
        edit["status"] == "queued" for edit in client.get("/edits?limit=1000").json()["data"]
    )
    assert "errata_edits_running,targets" in after
    assert after["errata_evaluations,running"] == after["errata_traces,running"] == 0
    assert (after["errata_workers,busy"], after["errata_workers,idle"]) == (0, 0)


def test_what_waits_without_a_worker_is_counted_and_the_worker_once_it_is_there(
    serve: Serve, new_settings: NewSettings
) -> None:
    settings = new_settings()  # in a shared one, what other tests queued waits, too
    client = serve(settings)
    until_ready(client)
    fact = {"subject": "Ada", "relation": "was born in", "object": "London"}
    edit = client.post("/edits", json={"facts": [fact]}).json()["id"]
    until(lambda: figures(client)["errata_wait_seconds,errata-edits"] > 0)
    assert figures(client)["errata_tasks_waiting,errata-edits"] >= 1
    assert figures(client)["errata_tasks_waiting,errata-measurements"] == 0
    until(lambda: client.get("/readyz").json()["workers"] == 0)
    client.post(f"/edits/{edit}/cancel")
    worker = ResidentWorker(settings)
    worker.register_birth()
    try:
        until(lambda: client.get("/readyz").json()["workers"] == 1)
        assert figures(client)["errata_workers,idle"] == 1
    finally:
        worker.register_death()  # type: ignore[no-untyped-call]
        worker.connection.close()
    until(lambda: client.get("/readyz").json()["workers"] == 0)


def test_a_full_queue_is_answered_429_and_is_no_failure_of_those_in_it(
    serve_long: Callable[..., httpx.Client],
) -> None:
    client = serve_long(max_batch=1, max_queued_generations=2)
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(client.post("/generate", json={"prompt": PROMPTS[0], "max_new_tokens": 60}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    served = [answer for answer in answers if answer.status_code == 200]
    assert refused and len(served) >= 2 and len(refused) + len(served) == 8
    assert all(re.fullmatch(r"[1-9]\d*", answer.headers["retry-after"]) for answer in refused)
    assert refused[0].json()["type"] == "urn:errata:problem:busy"


def test_what_takes_too_long_is_told_so(serve_long: Callable[..., httpx.Client]) -> None:
    client = serve_long(generation_timeout_s=0.5)
    endless = {"prompt": PROMPTS[0], "max_new_tokens": NUM_LONG}
    answer = client.post("/generate", json=endless)
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:errata:problem:timed-out")
    with stream(client, **endless) as told:
        heard = list(told)
    assert heard[0][0] == "token"
    assert (heard[-1][0], heard[-1][1]["status"]) == ("error", 504)


def test_told_to_stop_a_service_is_not_ready_ends_what_it_accepted_and_exits(
    serve_long: Callable[..., httpx.Client], process_of: ProcessOf
) -> None:
    client = serve_long(drain_s=60)
    endless = {"prompt": PROMPTS[0], "max_new_tokens": NUM_LONG}
    whole = client.post("/generate", json=endless, timeout=180).json()["data"][0]["text"]
    with stream(client, **endless) as told:
        heard = [next(told)]
        process_of(client).send_signal(signal.SIGTERM)
        with httpx.Client(base_url=client.base_url) as other:
            until(lambda: other.get("/readyz").status_code == 503)
            assert "stopping" in other.get("/readyz").json()["detail"]
            refused = other.post("/generate", json=endless)
            assert (refused.status_code, "stopping" in refused.json()["detail"]) == (503, True)
            assert "retry-after" in refused.headers
            assert other.get("/healthz").status_code == 200
        heard += told
    assert "".join(data["text"] for _, data in heard) == whole
    assert heard[-1][0] == "end"
    assert process_of(client).wait(20) == 0


def test_what_is_not_over_in_time_is_told_so_when_a_service_ends(
    serve_long: Callable[..., httpx.Client], process_of: ProcessOf
) -> None:
    client = serve_long(drain_s=0.3)
    with stream(client, prompt=PROMPTS[0], max_new_tokens=NUM_LONG) as told:
        heard = [next(told)]
        process_of(client).send_signal(signal.SIGTERM)
        heard += told
    assert (heard[-1][0], heard[-1][1]["status"]) == ("error", 503)
    assert "stopping" in heard[-1][1]["detail"]
    assert process_of(client).wait(20) == 0
