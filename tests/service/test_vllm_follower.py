"""A real vLLM server that follows: what it says under each version is what our own engine says."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from errata_cli.processes import free_port
from errata_client.records import Replica
from errata_registry.home import BoundBase
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.versions.manifest import BaseModelName

from errata.deltas import Delta
from errata.model import EditableModel
from tests.errata.export.models import saved_for_vllm
from tests.made_up_versions import make_up_version
from tests.preloaded import Preloaded
from tests.service.conftest import NewSettings, Serve, until_ready
from tests.service.vllm_servers import ADAPTERS, NAME, WEIGHTS, answers, follower, num_computed, until, vllm_server
from tests.vllm_environment import needs_vllm

pytestmark = [needs_vllm, pytest.mark.processes]

PROMPT = "Michael Jordan plays the sport of"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Followed:
    """A service, a gateway, and a server that follows; versions of ranks 1 and 2, and one of rank 9."""

    settings: Settings
    service: httpx.Client
    gateway: httpx.Client
    server: httpx.Client
    process: Preloaded
    probes: httpx.Client
    versions: list[int]

    @property
    def replica(self) -> dict[str, Any] | None:
        """The server as `GET /model` has it."""
        replicas = self.service.get("/model").json()["replicas"]
        return next((one for one in replicas if one.get("engine") == "vllm"), None)

    def activate(self, version: int) -> None:
        """Activate a version, which is answered when the server serves it, too."""
        answer = self.service.post(f"/versions/{version}/activate")
        assert answer.status_code == 200, answer.text
        served = answer.json()["replicas"]
        assert [one["version"] for one in served] == [version] * 3, served
        assert all(one["load_ms"] >= 0 and one["swap_ms"] >= 0 for one in served)

    def says(self, version: int) -> "Said":
        """What the service's own engine says."""
        return said(self.service.post("/v1/completions", json=asked_for(f"errata@{version or 'base'}")))

    def completion(self, model: str = NAME, **headers: str) -> httpx.Response:
        """What the server says."""
        return self.server.post("/v1/completions", json=asked_for(model), headers=headers)


@dataclass(frozen=True)
class Said:
    """A greedy continuation, by the log probabilities of its tokens: texts of random models are hardly any."""

    logprobs: list[float]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Said) and other.logprobs == pytest.approx(self.logprobs, abs=1e-3)


def answered(client: httpx.Client, version: int) -> list[tuple[int, str]]:
    """The version that answers and what it says, by each route on which text is continued, whole and streamed."""
    asked: dict[str, Any] = {"prompt": PROMPT, "max_new_tokens": 12, "version": version}
    whole_answer = client.post("/generate", json=asked).json()
    heard = [(whole_answer["version"], whole_answer["data"][0]["text"])]
    events = [
        json.loads(line.removeprefix("data: "))
        for line in client.post("/generate", json={**asked, "stream": True}).text.splitlines()
        if line.startswith("data: ")
    ]
    assert {event["version"] for event in events} == {version}
    heard.append((version, "".join(event["text"] for event in events)))
    openai = {"model": f"errata@{version or 'base'}", "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    completion = client.post("/v1/completions", json=openai).json()
    heard.append((0 if completion["model"] == "errata@base" else version, completion["choices"][0]["text"]))
    return heard


def asked_for(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": PROMPT, "max_tokens": 12, "temperature": 0, "logprobs": 5}


def said(answer: httpx.Response) -> Said:
    return Said(answer.json()["choices"][0]["logprobs"]["token_logprobs"])


def made_up(registry: Registry, model: EditableModel, *, rank: int, size: float, seed: int) -> int:
    """A version of a random update of two layers."""
    draw = torch.Generator().manual_seed(seed)
    updates = {}
    for layer in (0, 1):
        weight = model.weight(layer).data
        left = torch.randn(weight.shape[0], rank, generator=draw)
        right = torch.randn(rank, weight.shape[1], generator=draw)
        updates[layer] = Delta.of_factors(left * (size * weight.norm() / (left @ right).norm()), right)
    named = BaseModelName(name=model.name, digest=model.digest, dtype="float32")
    return make_up_version(registry.artifacts, named, updates).id


def followed(
    serve: Serve, settings: Settings, model: EditableModel, route: tuple[str, ...], *, size: float
) -> Iterator[Followed]:
    service = serve(settings)
    until_ready(service)
    gateway = serve(settings.model_copy(update={"gateway": True, "port": free_port()}))
    until_ready(gateway)
    registry = Registry(settings)
    versions = [0, *(made_up(registry, model, rank=rank, size=size, seed=rank) for rank in (1, 2, 9))]
    registry.close()
    with (
        vllm_server(settings.model, route, settings.home / "vllm.log") as server,
        follower(settings, server) as (process, probes),
    ):
        until(lambda: answers(probes, "/readyz"), PATIENCE_S)
        yield Followed(settings, service, gateway, server, process, probes, versions)


@pytest.fixture(scope="module")
def gptj(serve: Serve, new_settings: NewSettings, chat_model: EditableModel) -> Iterator[Followed]:
    """A GPT-J, for which vLLM has no LoRA; it has a chat template."""
    settings = new_settings(model=chat_model.name, replica_ttl_s=3, activation_timeout_s=10)
    yield from followed(serve, settings, chat_model, WEIGHTS, size=30.0)


@pytest.fixture(scope="module")
def llama(
    serve: Serve,
    new_settings: NewSettings,
    of_each_architecture: dict[str, EditableModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Followed]:
    """A Llama, for which it has."""
    small = saved_for_vllm(of_each_architecture["llama"], tmp_path_factory.mktemp("llama"))
    settings = new_settings(model=small.name, replica_ttl_s=3, activation_timeout_s=10)
    yield from followed(serve, settings, small, ADAPTERS, size=1.0)


def test_weights_are_what_ours_are_and_the_base_comes_back_bit_for_bit(gptj: Followed) -> None:
    before = gptj.completion().json()["choices"]
    assert said(gptj.completion()) == gptj.says(0)
    for version in [*gptj.versions[1:], gptj.versions[1]]:
        gptj.activate(version)
        answer = gptj.completion()
        assert answer.headers["X-Errata-Version"] == str(version)
        assert said(answer) == gptj.says(version) != gptj.says(0)
    gptj.activate(0)
    assert gptj.completion().json()["choices"] == before  # its log probabilities, too


def test_a_request_for_another_version_than_is_in_place_is_refused(gptj: Followed) -> None:
    gptj.activate(gptj.versions[1])
    assert gptj.completion(**{"X-Errata-Version": str(gptj.versions[2])}).status_code == 409
    assert gptj.completion(**{"X-Errata-Version": str(gptj.versions[1])}).status_code == 200


def test_a_follower_that_was_away_catches_up(gptj: Followed) -> None:
    gptj.activate(0)
    gptj.process.send_signal(signal.SIGSTOP)
    try:
        # It is waited for as long as it counts as alive, and no longer.
        assert gptj.service.post(f"/versions/{gptj.versions[2]}/activate").status_code == 200
        assert gptj.completion().headers["X-Errata-Version"] == "0"
    finally:
        gptj.process.send_signal(signal.SIGCONT)
    until(lambda: (gptj.replica or {}).get("version") == gptj.versions[2], PATIENCE_S)
    assert gptj.completion().headers["X-Errata-Version"] == str(gptj.versions[2])
    assert answers(gptj.probes, "/readyz")


def test_adapters_say_what_ours_say_and_several_are_there_at_once(llama: Followed) -> None:
    first, second = llama.versions[1:3]
    for version in (second, 0, first, second):  # a rollback would go to the first
        llama.activate(version)
    replica = llama.replica
    assert replica is not None and replica["models"].keys() == {"0", str(first), str(second)}
    heard = {int(version): said(llama.completion(name)) for version, name in replica["models"].items()}
    assert all(one == llama.says(version) for version, one in heard.items())
    assert heard[0] != heard[first] != heard[second] != heard[0]


def test_a_rank_that_the_server_does_not_take_leaves_what_was_there_and_is_said(llama: Followed) -> None:
    llama.activate(llama.versions[1])
    answer = llama.service.post(f"/versions/{llama.versions[3]}/activate")
    assert answer.status_code == 504 and "vllm-" in answer.json()["detail"]
    readiness = llama.probes.get("/readyz")
    assert readiness.status_code == 503 and "rank" in readiness.json()["detail"]
    assert llama.replica is not None and llama.replica["version"] == llama.versions[1]
    assert llama.replica["ready"] is False and llama.replica["given_up"] == llama.versions[3]
    llama.activate(llama.versions[2])
    assert answers(llama.probes, "/readyz")


def test_adapters_that_nothing_uses_are_unloaded_and_their_files_removed(llama: Followed) -> None:
    llama.activate(llama.versions[1])
    llama.activate(0)
    llama.activate(llama.versions[2])  # a rollback would go to 0

    def loaded() -> set[str]:
        return set(llama.replica["models"])  # type: ignore[index]

    until(lambda: loaded() == {"0", str(llama.versions[2])}, PATIENCE_S)
    [server_folder] = (llama.settings.home / "adapters").iterdir()

    def written() -> list[str]:
        return [folder.name.split("-")[1] for folder in server_folder.glob("errata-*")]

    until(lambda: written() == [str(llama.versions[2])], 30)
    shutil.rmtree(server_folder)  # as where the follower was away for a day; vLLM may read the files again
    until(lambda: written() == [str(llama.versions[2])], 30)
    os.utime(server_folder, (0, 0))
    until(lambda: server_folder.stat().st_mtime > 0, 30)


@pytest.mark.parametrize("place", ["gptj", "llama"])
def test_a_server_of_another_model_of_the_same_shape_is_not_followed(
    place: str, request: pytest.FixtureRequest, new_settings: NewSettings, tmp_path: Path
) -> None:
    there: Followed = request.getfixturevalue(place)
    there.activate(there.versions[1])
    base = BoundBase.of(there.settings.home)
    assert base.values is not None
    fine_tuned = tuple((layer, row, column, 1.01 * value) for layer, row, column, value in base.values)
    shutil.copy(Path(there.settings.model) / "config.json", tmp_path)
    settings = new_settings(model=str(tmp_path))
    with closing(Registry(settings)) as registry:
        registry.bind_base(settings.model, "f" * 64, base.matrix_shapes(), fine_tuned)
    with follower(settings, there.server) as (_, probes):
        until(lambda: " serves " in probes.get("/readyz").json()["detail"], PATIENCE_S)
        assert probes.get("/readyz").status_code == 503
    assert answers(there.probes, "/readyz")
    assert there.replica is not None and there.replica["version"] == there.versions[1]


@pytest.mark.parametrize("place", ["gptj", "llama"])
def test_a_gateway_passes_on_what_the_server_serves_and_computes_the_rest(
    place: str, request: pytest.FixtureRequest
) -> None:
    there: Followed = request.getfixturevalue(place)
    active, other = there.versions[1], there.versions[2]
    there.activate(active)
    before = num_computed(there.server)
    assert answered(there.gateway, active) == answered(there.service, active)
    assert num_computed(there.server) - before == 3
    assert answered(there.gateway, other) == answered(there.service, other)
    asked = {"prompt": PROMPT, "max_new_tokens": 12}
    answers_now = [client.post("/generate", json=asked).json() for client in (there.gateway, there.service)]
    assert answers_now[0] == answers_now[1] and answers_now[0]["version"] == active


def test_log_probabilities_stops_and_several_prompts_are_passed_on(gptj: Followed) -> None:
    gptj.activate(0)
    before = num_computed(gptj.server)
    asked = {"model": "errata", "prompt": [PROMPT, "The capital of France is"], "max_tokens": 8, "temperature": 0}
    theirs, ours = (
        client.post("/v1/completions", json={**asked, "logprobs": 3, "stop": [" The", "."]}).json()
        for client in (gptj.gateway, gptj.service)
    )
    assert num_computed(gptj.server) - before == 2
    for one, other in zip(theirs["choices"], ours["choices"], strict=True):
        assert one["text"] == other["text"] and one["finish_reason"] == other["finish_reason"]
        assert one["logprobs"]["tokens"] == other["logprobs"]["tokens"]
        assert one["logprobs"]["token_logprobs"] == pytest.approx(other["logprobs"]["token_logprobs"], abs=1e-3)
    assert theirs["usage"] == ours["usage"]


def test_chat_is_passed_on(gptj: Followed) -> None:
    gptj.activate(0)
    before = num_computed(gptj.server)
    asked = {"model": "errata", "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
    theirs, ours = (client.post("/v1/chat/completions", json=asked).json() for client in (gptj.gateway, gptj.service))
    assert num_computed(gptj.server) - before == 1
    assert (
        theirs["choices"] == ours["choices"] and theirs["usage"] == ours["usage"] and theirs["model"] == "errata@base"
    )


def test_what_a_lost_server_does_not_take_goes_to_another(gptj: Followed) -> None:
    gptj.activate(0)
    with closing(Registry(gptj.settings)) as registry:
        url = f"http://127.0.0.1:{free_port()}"
        registry.replicas.announce(Replica(id="lost", version=0, engine="vllm", url=url, models={0: NAME}))
        before = num_computed(gptj.server)
        for _ in range(6):
            asked = {"prompt": PROMPT, "max_new_tokens": 4}
            assert gptj.gateway.post("/generate", json=asked).json()["version"] == 0
        registry.replicas.withdraw("lost")
    assert num_computed(gptj.server) - before == 6
