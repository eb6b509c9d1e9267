"""A real service process over TCP, and versions made for it without a worker."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from errata_cli.processes import environment, free_port, last_lines, start, stop
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.stored import now
from errata_registry.versions.facts import Origin, stored_fact
from errata_registry.versions.manifest import BaseModelName

from errata.deltas import Delta
from errata.facts import Fact
from errata.model import EditableModel
from tests.conftest import NewRedisServer
from tests.made_up_versions import make_up_version

PATIENCE_S = 60.0
EDITED_LAYERS = (0, 1)

NewSettings = Callable[..., Settings]
Serve = Callable[[Settings], httpx.Client]
ProcessOf = Callable[[httpx.Client], subprocess.Popen[bytes]]
Publish = Callable[..., int]


@pytest.fixture(scope="session")
def model() -> EditableModel:
    """The model that the services of these tests serve."""
    return EditableModel.load(Settings().model)


@pytest.fixture(scope="session")
def new_settings(new_redis_server: NewRedisServer, tmp_path_factory: pytest.TempPathFactory) -> NewSettings:
    """Makes settings with a home, a Redis server and a port of their own."""

    def make(**changes: Any) -> Settings:
        home = tmp_path_factory.mktemp("home")
        return Settings(home=home, redis_url=f"{new_redis_server()}/0", port=free_port(), **changes)

    return make


@pytest.fixture(scope="session")
def _processes() -> dict[httpx.Client, subprocess.Popen[bytes]]:
    return {}


@pytest.fixture(scope="session")
def process_of(_processes: dict[httpx.Client, subprocess.Popen[bytes]]) -> ProcessOf:
    """The service process that a client speaks with."""
    return _processes.__getitem__


@pytest.fixture(scope="session")
def serve(_processes: dict[httpx.Client, subprocess.Popen[bytes]]) -> Iterator[Serve]:
    """Starts a service process, which need not be ready when it is returned. Ends them all."""

    def begin(settings: Settings) -> httpx.Client:
        log = settings.home / "logs" / "service.log"
        command = [sys.executable, "-m", "errata_service"]
        process = start(command, environment={**environment(settings), "OMP_NUM_THREADS": "1"}, log=log)
        client = httpx.Client(base_url=f"http://{settings.host}:{settings.port}", timeout=30)
        _processes[client] = process
        _wait_until(lambda: _answers(client), process, log)
        return client

    yield begin
    for client, process in _processes.items():
        client.close()
        stop(process, 10)


@pytest.fixture(scope="session")
def settings(new_settings: NewSettings) -> Settings:
    """Settings of the service that most tests share."""
    return new_settings()


@pytest.fixture(scope="session")
def client(serve: Serve, settings: Settings) -> httpx.Client:
    """A client of the service that most tests share; it is ready, and no worker is at its side."""
    client = serve(settings)
    until_ready(client)
    return client


@pytest.fixture(scope="session")
def registry(settings: Settings, client: httpx.Client) -> Iterator[Registry]:
    """The registry of the service that most tests share."""
    registry = Registry(settings)
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def publish(model: EditableModel) -> Publish:
    """Makes a version of a random update of rank 1, `size` times as large as the weights it is added to."""

    def make(registry: Registry, *facts: Fact, size: float = 1.0, seed: int = 0, parent: int = 0) -> int:
        random = torch.Generator().manual_seed(seed)
        updates = {}
        for layer in EDITED_LAYERS:
            weight = model.weight(layer).data
            left = torch.randn(weight.shape[0], 1, generator=random)
            right = torch.randn(1, weight.shape[1], generator=random)
            scale = size * float(weight.norm() / (left.norm() * right.norm()))
            updates[layer] = Delta.of_factors(left * scale, right)
        stored = [stored_fact(fact, Origin("edit_made_up", None, now())) for fact in facts]
        made_up = make_up_version(registry.artifacts, _named(model), updates, stored, parent=parent)
        return made_up.id

    return make


def _named(model: EditableModel) -> BaseModelName:
    """The model, as manifests name it."""
    return BaseModelName(name=model.name, digest=model.digest, dtype="float32")


def publish_without_numbers(registry: Registry, model: EditableModel) -> int:
    """A version whose update is whole and holds infinities, as no worker writes it."""
    update = Delta(torch.full(tuple(model.weight(1).shape), torch.inf), None, rank=1)
    return make_up_version(registry.artifacts, _named(model), {1: update}).id


@pytest.fixture
def version(registry: Registry, publish: Publish) -> int:
    """A version of its own for a test, which answers otherwise than the base."""
    return publish(registry, size=30.0)


def until_ready(client: httpx.Client) -> None:
    """Wait until the service serves what it should."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := client.get("/readyz")).status_code != httpx.codes.OK:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def _wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert process.poll() is None, last_lines(log)
        assert time.monotonic() < deadline, last_lines(log)
        time.sleep(0.05)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
