"""Two service processes on one Redis and one home: both serve what is active, also when one of them was away."""

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from errata_cli.processes import free_port
from errata_client.records import Replica
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from tests.service.conftest import NewSettings, ProcessOf, Publish, Serve, until_ready

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def shared(new_settings: NewSettings) -> Settings:
    """Settings of the first of both; the other one has another port."""
    return new_settings(replica_ttl_s=2, activation_timeout_s=20)


@pytest.fixture(scope="module")
def both(serve: Serve, shared: Settings) -> list[httpx.Client]:
    clients = [serve(settings) for settings in (shared, shared.model_copy(update={"port": free_port()}))]
    for client in clients:
        until_ready(client)
    return clients


@pytest.fixture(scope="module")
def versions(both: list[httpx.Client], shared: Settings, publish: Publish) -> Iterator[list[int]]:
    """Three of them, the base first."""
    registry = Registry(shared)
    yield [0, publish(registry, size=30.0, seed=1), publish(registry, size=30.0, seed=2)]
    registry.close()


def answer(client: httpx.Client, **request: Any) -> tuple[int, str]:
    """The version that answers, and what it says."""
    generation = client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 12, **request}).json()
    return generation["version"], generation["data"][0]["text"]


def served(client: httpx.Client) -> list[int]:
    return [replica["version"] for replica in client.get("/model").json()["replicas"]]


def test_both_switch_before_the_activation_is_answered(both: list[httpx.Client], versions: list[int]) -> None:
    for number in (versions[1], versions[2], 0):
        activation = both[0].post(f"/versions/{number}/activate").json()
        assert [replica["version"] for replica in activation["replicas"]] == [number, number]
        assert all(replica["swap_ms"] >= 0 and replica["load_ms"] >= 0 for replica in activation["replicas"])
        assert [answer(client)[0] for client in both] == [number, number]
        assert [served(client) for client in both] == [[number, number]] * 2


def test_under_load_nothing_fails_and_nothing_mixes(both: list[httpx.Client], versions: list[int]) -> None:
    expected = {number: answer(both[0], version=number)[1] for number in versions}
    assert len(set(expected.values())) == len(versions)
    over, heard, turns = threading.Event(), list[tuple[int, str]](), list[tuple[int, bool]]()

    def ask(client: httpx.Client) -> None:
        while not over.is_set():
            heard.append(answer(client))

    threads = [threading.Thread(target=ask, args=(client,)) for client in both * 3]
    for thread in threads:
        thread.start()
    for number in versions * 4:
        before = len(heard)
        activated = both[number % 2].post(f"/versions/{number}/activate").status_code
        deadline = time.monotonic() + 30
        while number not in {version for version, _ in heard[before:]} and time.monotonic() < deadline:
            time.sleep(0.1)
        turns.append((activated, number in {version for version, _ in heard[before:]}))
    over.set()
    for thread in threads:
        thread.join()
    assert all(text == expected[number] for number, text in heard)
    assert turns == [(200, True)] * len(versions) * 4  # each activation was heard


def test_what_another_replica_has_given_up_is_not_waited_for(
    both: list[httpx.Client], versions: list[int], shared: Settings
) -> None:
    registry = Registry(shared.model_copy(update={"replica_ttl_s": 60}))
    registry.replicas.announce(Replica(id="stuck", version=0, given_up=versions[1]))
    behind = both[0].post(f"/versions/{versions[1]}/activate")
    assert behind.status_code == 504
    assert behind.json()["detail"].endswith(": stuck (serves 0, tried in vain)")  # and no other one
    assert [answer(client)[0] for client in both] == [versions[1]] * 2
    registry.replicas.withdraw("stuck")
    registry.close()


def test_a_replica_that_was_away_catches_up(
    both: list[httpx.Client], versions: list[int], process_of: ProcessOf
) -> None:
    both[0].post("/versions/0/activate")
    away = process_of(both[1])
    away.send_signal(signal.SIGSTOP)
    try:
        # It is waited for as long as it counts as alive, and no longer.
        activation = both[0].post(f"/versions/{versions[1]}/activate").json()
        assert [replica["version"] for replica in activation["replicas"]] == [versions[1]]
    finally:
        away.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 20
    while served(both[0]) != [versions[1]] * 2:
        assert time.monotonic() < deadline, served(both[0])
        time.sleep(0.05)
    assert answer(both[1]) == answer(both[0])
