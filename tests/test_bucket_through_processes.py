"""The way through on machines that share no file system: a worker and two services, each with a folder of its own."""

import threading
import time
from collections.abc import Iterator

import pytest
from errata_cli.processes import environment, free_port, last_lines, stop
from errata_client import Errata
from errata_registry.settings import Settings

from benchmarks.faults.bucket import BucketServer, bucket_server
from tests.conftest import NewHome, redis_servers
from tests.preloaded import Preloaded

JORDAN = ("Michael Jordan", "plays the sport of", "baseball")
SONY = ("Sony", "has its headquarters in", "Paris")
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with bucket_server(tmp_path_factory.mktemp("buckets") / "all") as server:
        yield server


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_servers(tmp_path_factory) as begin:
        yield f"{begin()}/0"


@pytest.fixture(scope="module")
def services(
    bucket: BucketServer, redis_url: str, new_home: NewHome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Errata]]:
    """Clients of the two services, which are ready."""
    homes = [tmp_path_factory.mktemp("service"), tmp_path_factory.mktemp("service"), new_home()]
    settings = [Settings(home=home, port=free_port(), redis_url=redis_url, bucket="s3://errata/home") for home in homes]
    modules = ["errata_service", "errata_service", "errata_worker"]
    logs = [home / "logs" / "process.log" for home in homes]
    processes = [
        Preloaded(module, environment={**environment(one), **bucket.environment}, log=log)
        for module, one, log in zip(modules, settings, logs, strict=True)
    ]
    clients = [Errata(f"http://{one.host}:{one.port}") for one in settings[:2]]
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not all(client.ready() for client in clients):
            ended = [
                last_lines(log) for process, log in zip(processes, logs, strict=True) if process.poll() is not None
            ]
            assert not ended and time.monotonic() < deadline, ended
            time.sleep(0.2)
        yield clients
    finally:
        for client in clients:
            client.close()
        for process in processes:
            stop(process, 20)


def said(client: Errata) -> tuple[int, str]:
    """The version that answers, and its first word about Michael Jordan's sport."""
    answer = client.generate("Michael Jordan plays the sport of", max_new_tokens=1)
    return answer.version, answer.text.strip()


def test_edits_are_made_served_and_rolled_back_on_all_machines(services: list[Errata], bucket: BucketServer) -> None:
    one, other = services
    first = one.edit([JORDAN]).wait(timeout=PATIENCE_S)
    assert first.version == 1
    shared = (bucket.folder / "home" / "files" / "second_moments").rglob("*.safetensors")
    assert [path.name for path in shared] == ["layer_0.safetensors"]
    assert [said(client) for client in services] == [(1, "baseball")] * 2
    assert other.get_edit(first.id).status == "succeeded"

    # While the bucket is too busy, all that serves goes on, and says so; answers that are lost are nobody's loss.
    bucket.network.is_busy = True
    deadline = time.monotonic() + PATIENCE_S
    while not (outages := one.status().outages):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "the bucket s3://errata/home does not do its part" in outages[0]
    assert [said(client) for client in services] == [(1, "baseball")] * 2
    bucket.network.heal()
    bucket.network.loses_answers = True
    healed = threading.Timer(1, bucket.network.heal)
    healed.start()
    second = other.edit([SONY]).wait(timeout=PATIENCE_S)
    healed.join()
    assert second.version == 2 and second.base == 1
    assert [said(client) for client in services] == [(2, "baseball")] * 2

    assert other.rollback().active == 1
    assert one.rollback(to=0).active == 0
    assert [said(client) for client in services] == [(0, "basketball")] * 2
    assert [version.id for version in one.versions()] == [2, 1, 0]
