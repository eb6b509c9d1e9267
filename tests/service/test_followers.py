"""Those who follow jobs or wait for their end, many of them too: what they hear, and what they cost."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from errata_client.records import JobStatus, Progress, Stage
from errata_registry.registry import Registry
from errata_registry.stored import now
from redis import RedisError

from tests.service.conftest import NewSettings, ProcessOf, Serve, figures, until_ready
from tests.service.test_edits import body, events
from tests.service.test_streaming import until

MANY = 300
THREADPOOL = 40  # of the framework, however many clients there are
EndOf = Callable[[httpx.AsyncClient, str], Awaitable[str]]
Alone = tuple[httpx.Client, Registry, str]


async def end_of_events(client: httpx.AsyncClient, edit: str) -> str:
    """Follow an edit; return the status that its events end with."""
    answer = await client.get(f"/edits/{edit}/events")
    return str(list(events(iter(answer.text.splitlines())))[-1][2]["status"])


async def end_of_wait(client: httpx.AsyncClient, edit: str) -> str:
    """Wait for an edit's end; return its status."""
    return str((await client.get(f"/edits/{edit}", params={"wait": 60})).json()["status"])


def followers(client: httpx.Client) -> float:
    return figures(client)["errata_followers"]


def end_without_telling(registry: Registry, edit: str) -> None:
    """Keep that an edit has failed, and die before anybody hears of it."""
    record = registry.edits.folder.first_record(registry.edits.folder.accepted(edit))
    registry.edits.folder.finish(record.model_copy(update={"status": JobStatus.FAILED, "finished_at": now()}))


@pytest.fixture
def edit(client: httpx.Client) -> Iterator[str]:
    """The id of an edit that is queued, and cancelled after the test."""
    edit_id = str(client.post("/edits", json=body()).json()["id"])
    yield edit_id
    client.post(f"/edits/{edit_id}/cancel")


@pytest.fixture
def alone(serve: Serve, new_settings: NewSettings) -> Iterator[Alone]:
    """A service with a Redis of its own, its registry, and the id of an edit that is queued."""
    settings = new_settings()
    client = serve(settings)
    until_ready(client)
    with closing(Registry(settings)) as registry:
        yield client, registry, str(client.post("/edits", json=body()).json()["id"])


@pytest.mark.parametrize("end_of", [end_of_events, end_of_wait])
def test_many_hear_the_end_and_cost_neither_threads_nor_questions_to_redis(
    client: httpx.Client, registry: Registry, process_of: ProcessOf, edit: str, end_of: EndOf
) -> None:
    def commands() -> int:
        return int(registry.redis.info("stats")["total_commands_processed"])

    async def follow() -> set[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=client.base_url, timeout=60, limits=limits) as many:
            following = [asyncio.ensure_future(end_of(many, edit)) for _ in range(MANY)]
            await asyncio.to_thread(until, lambda: followers(client) == MANY)
            before, began = commands(), time.monotonic()
            for done in range(4):
                registry.live.progress(edit, Progress(stage=Stage.TARGETS, done=done, total=4))
                await asyncio.sleep(0.3)
            assert (await asyncio.to_thread(client.get, "/versions")).status_code == 200
            # Some twenty a second come from the service's one reader and from keeping house.
            assert commands() - before < 100 + 50 * (time.monotonic() - began)
            if sys.platform == "linux":
                assert len(os.listdir(f"/proc/{process_of(client).pid}/task")) < THREADPOOL + 30
            registry.edits.update(edit, status=JobStatus.CANCELLED)
            return set(await asyncio.gather(*following))

    assert asyncio.run(follow()) == {"cancelled"}
    until(lambda: followers(client) == 0)


def test_followers_of_several_jobs_hear_each_its_own(client: httpx.Client, registry: Registry) -> None:
    edits = [str(client.post("/edits", json=body(str(number))).json()["id"]) for number in range(5)]
    heard: dict[str, list[Any]] = {}

    def follow(edit: str) -> None:
        answer = httpx.get(f"{client.base_url}/edits/{edit}/events", timeout=30)
        heard[edit] = [data for _, _, data in events(iter(answer.text.splitlines()))]

    threads = [threading.Thread(target=follow, args=(edit,)) for edit in edits]
    for thread in threads:
        thread.start()
    until(lambda: followers(client) == len(edits))
    for edit in edits:
        registry.live.log(edit, "info", edit)
        registry.edits.update(edit, status=JobStatus.CANCELLED)
    for thread in threads:
        thread.join()
    for edit in edits:
        assert [data.get("message") or (data["id"], data["status"]) for data in heard[edit]] == [
            (edit, "queued"),
            edit,
            (edit, "cancelled"),
        ]


def test_who_resumes_where_no_event_is_yet_takes_none_from_others(
    client: httpx.Client, registry: Registry, edit: str
) -> None:
    beyond = {"Last-Event-ID": f"{2**63}-7"}
    with (
        client.stream("GET", f"/edits/{edit}/events", headers=beyond) as first,
        httpx.stream("GET", f"{client.base_url}/edits/{edit}/events") as second,
    ):
        registry.live.log(edit, "info", "in words")
        registry.edits.update(edit, status=JobStatus.CANCELLED)
        assert [name for _, name, _ in events(second.iter_lines())] == ["status", "log", "status"]
        assert [data["status"] for _, _, data in events(first.iter_lines())] == ["cancelled"]
    assert client.get(f"/edits/{edit}/events", headers={"Last-Event-ID": "9" * 5000}).status_code == 422


def test_an_id_of_another_kind_is_unknown_also_while_it_is_followed(client: httpx.Client, edit: str) -> None:
    with client.stream("GET", f"/edits/{edit}/events"):
        assert client.get(f"/evaluations/{edit}/events").status_code == 404
        assert client.get(f"/evaluations/{edit}", params={"wait": 1}).status_code == 404


def test_an_end_whose_event_was_lost_is_heard(client: httpx.Client, registry: Registry, edit: str) -> None:
    with client.stream("GET", f"/edits/{edit}/events") as answer:
        told = events(answer.iter_lines())
        next(told)
        end_without_telling(registry, edit)
        assert [data["status"] for _, _, data in told] == ["failed"]


def test_an_end_is_heard_while_redis_is_away(alone: Alone) -> None:
    client, registry, edit = alone
    waited: list[httpx.Response] = []

    def wait() -> None:
        waited.append(httpx.get(f"{client.base_url}/edits/{edit}", params={"wait": 30}, timeout=60))

    waiting = threading.Thread(target=wait)
    with client.stream("GET", f"/edits/{edit}/events") as answer:
        told = events(answer.iter_lines())
        next(told)
        waiting.start()
        until(lambda: followers(client) == 2)
        registry.redis.shutdown(nosave=True, now=True, force=True)
        with pytest.raises(RedisError):
            registry.redis.ping()
        end_without_telling(registry, edit)
        assert [data["status"] for _, _, data in told] == ["failed"]
    waiting.join()
    assert (waited[0].status_code, waited[0].json()["status"]) == (200, "failed")


def test_followers_do_not_hold_up_a_service_that_ends(alone: Alone, process_of: ProcessOf) -> None:
    client, _, edit = alone
    with client.stream("GET", f"/edits/{edit}/events") as answer:
        told = events(answer.iter_lines())
        next(told)
        process_of(client).send_signal(signal.SIGTERM)
        assert list(told) == []  # the answer is brought to its end, and not cut off
    process_of(client).wait(20)
