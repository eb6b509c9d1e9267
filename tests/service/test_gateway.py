"""What a gateway makes of servers that err, as a real vLLM does not at will: a small server says what a test wants."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from errata_client.records import Replica
from errata_registry.registry import Registry

from tests.service.conftest import NewSettings, ProcessOf, Serve, figures, until_ready

pytestmark = pytest.mark.processes

PROMPTS = ["The capital of France is", "The mother tongue of Napoleon is"]
TOKEN = 5


@dataclass
class Scripted:
    """A server that answers each request with `events`, as soon as it may go on."""

    events: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    is_asked: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                scripted.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                scripted.is_asked.set()
                scripted.goes_on.wait(20)
                self.send_response(200)
                self.end_headers()
                for event in scripted.events:
                    self.wfile.write(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@dataclass(frozen=True)
class Place:
    """A gateway, and the server that it knows."""

    gateway: httpx.Client
    server: Scripted
    registry: Registry
    url: str

    def announce(self, version: int) -> None:
        models = {version: "served"}
        self.registry.replicas.announce(
            Replica(id="scripted", version=version, engine="vllm", url=self.url, models=models)
        )


@pytest.fixture
def scripted() -> Iterator[tuple[Scripted, str]]:
    server = Scripted()
    server.goes_on.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), server.handler()) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield server, f"http://127.0.0.1:{listening.server_port}"
        server.goes_on.set()
        listening.shutdown()


@pytest.fixture(scope="module")
def gateway(serve: Serve, new_settings: NewSettings) -> Iterator[tuple[httpx.Client, Registry]]:
    settings = new_settings(gateway=True, replica_ttl_s=60, server_silence_s=5, max_queued_generations=2)
    client = serve(settings)
    until_ready(client)
    with closing(Registry(settings)) as registry:
        yield client, registry


@pytest.fixture
def place(gateway: tuple[httpx.Client, Registry], scripted: tuple[Scripted, str]) -> Iterator[Place]:
    found = Place(gateway[0], scripted[0], gateway[1], scripted[1])
    found.announce(0)
    yield found
    found.registry.replicas.withdraw("scripted")


def event(index: int = 0, text: str = "") -> dict[str, Any]:
    """One token that is the end, too."""
    logprobs = {"token_logprobs": [-0.5], "top_logprobs": [{"token_id:9": -2.0, f"token_id:{TOKEN}": -0.5}]}
    choice = {"index": index, "text": text, "token_ids": [TOKEN], "finish_reason": "length", "logprobs": logprobs}
    return {"choices": [choice]}


def test_an_answer_with_odd_line_ends_is_taken_and_no_more_log_probabilities_than_asked_for(place: Place) -> None:
    place.server.events = [event(text="a\u2028b\u0085c")]
    asked = {"model": "errata", "prompt": PROMPTS[0], "max_tokens": 1, "temperature": 0.5, "logprobs": 1}
    [choice] = place.gateway.post("/v1/completions", json=asked).json()["choices"]
    assert choice["logprobs"]["token_logprobs"] == [-0.5]
    assert [len(likeliest) for likeliest in choice["logprobs"]["top_logprobs"]] == [1]
    [sent] = place.server.asked
    assert sent["top_k"] == 0 and sent["min_p"] == 0 and sent["top_p"] == 1  # not as generation_config.json says


def test_what_a_server_began_and_lost_is_computed_here(place: Place) -> None:
    asked = {"prompts": PROMPTS, "max_new_tokens": 4}
    place.server.events = [event(index=1)]
    answer = place.gateway.post("/generate", json=asked)
    assert answer.status_code == 200 and len(place.server.asked) == 1
    place.registry.replicas.withdraw("scripted")
    assert answer.json() == place.gateway.post("/generate", json={**asked, "version": 0}).json()


def test_a_server_that_lags_is_not_asked_for_the_active_version(place: Place) -> None:
    place.announce(7)
    threading.Event().wait(0.5)  # longer than a gateway goes without a look
    answer = place.gateway.post("/generate", json={"prompt": PROMPTS[0], "max_new_tokens": 2})
    assert answer.json()["version"] == 0 and not place.server.asked


def test_what_a_server_computes_is_counted_and_more_than_it_may_have_is_refused(place: Place) -> None:
    place.server.events, answers = [event(index=0), event(index=1)], []
    place.server.goes_on.clear()
    before, asked = figures(place.gateway), {"prompts": PROMPTS, "max_new_tokens": 1}
    waiting = threading.Thread(target=lambda: answers.append(place.gateway.post("/generate", json=asked)))
    waiting.start()
    assert place.server.is_asked.wait(20)
    assert figures(place.gateway)["errata_completions_running,server"] == 2
    refused = place.gateway.post("/generate", json={"prompt": PROMPTS[0], "max_new_tokens": 1})
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    place.server.goes_on.set()
    waiting.join(20)
    assert [answer.status_code for answer in answers] == [200] and len(place.server.asked) == 1
    after = figures(place.gateway)
    for name in (
        "errata_generated_tokens_total,server",
        "errata_completions_total,server,length",
        "errata_time_to_first_token_seconds_count,server",
    ):
        assert after[name] - before.get(name, 0) == 2
    assert after["errata_prompt_tokens_total,server"] > before.get("errata_prompt_tokens_total,server", 0)
    assert after["errata_completions_running,server"] == 0


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_it_may_be_silent(place: Place) -> None:
    place.registry.replicas.withdraw("scripted")
    place.server.events, asked = [event()], {"prompt": PROMPTS[0], "max_new_tokens": 1}
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and that is all
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        place.registry.replicas.announce(Replica(id="silent", version=0, engine="vllm", url=url, models={0: "served"}))
        threading.Event().wait(0.5)  # longer than a gateway goes without a look
        assert place.gateway.post("/generate", json=asked).status_code == 200  # by the gateway's own engine
        assert figures(place.gateway)["errata_server_failures_total,silent"] == 1
        place.announce(0)
        threading.Event().wait(0.5)
        for _ in range(3):
            assert place.gateway.post("/generate", json=asked).status_code == 200
        place.registry.replicas.withdraw("silent")
    assert len(place.server.asked) == 3


def test_a_gateway_that_ends_waits_for_servers_and_takes_nothing_more(place: Place, process_of: ProcessOf) -> None:
    place.server.events, answers = [event()], []
    place.server.goes_on.clear()
    asked = {"prompt": PROMPTS[0], "max_new_tokens": 1}
    waiting = threading.Thread(target=lambda: answers.append(place.gateway.post("/generate", json=asked)))
    waiting.start()
    assert place.server.is_asked.wait(20)
    process_of(place.gateway).send_signal(signal.SIGTERM)
    while place.gateway.get("/readyz").status_code != 503:
        pass
    refused = place.gateway.post("/generate", json=asked)
    assert refused.status_code == 503 and "stopping" in refused.json()["detail"]
    place.server.goes_on.set()
    waiting.join(20)
    assert [answer.status_code for answer in answers] == [200] and len(place.server.asked) == 1
