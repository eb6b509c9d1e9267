"""A real service process over TCP, and versions made for it without a worker.

Two services are shared by all tests, and one of each file's own ends with the file: idle ones would take their part of
a core, with their Redis servers, until the last test.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from errata_cli.processes import environment, free_port, last_lines, stop
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.stored import now
from errata_registry.versions.facts import Origin, stored_fact
from errata_registry.versions.manifest import BaseModelName
from prometheus_client.parser import text_string_to_metric_families
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from errata.deltas import Delta
from errata.demo import MODEL_FOLDER
from errata.facts import Fact
from errata.model import EditableModel
from tests.conftest import redis_servers
from tests.made_up_versions import make_up_version
from tests.preloaded import Preloaded

PATIENCE_S = 60.0
EDITED_LAYERS = (0, 1)

NewSettings = Callable[..., Settings]
Serve = Callable[[Settings], httpx.Client]
Refused = Callable[..., str]
ProcessOf = Callable[[httpx.Client], Preloaded]
Publish = Callable[..., int]


@pytest.fixture(scope="session")
def model() -> EditableModel:
    """The model that the services of these tests serve."""
    return EditableModel.load(Settings().model)


@contextmanager
def settings_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewSettings]:
    """Makes settings with a home, a Redis server and a port of their own. Ends the servers."""
    with redis_servers(tmp_path_factory) as new_redis_server:

        def make(**changes: Any) -> Settings:
            home = tmp_path_factory.mktemp("home")
            return Settings(home=home, redis_url=f"{new_redis_server()}/0", port=free_port(), **changes)

        yield make


@pytest.fixture(scope="module")
def new_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewSettings]:
    """Makes settings with a home, a Redis server and a port of their own."""
    with settings_of_their_own(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def _processes() -> dict[httpx.Client, Preloaded]:
    return {}


@pytest.fixture(scope="session")
def process_of(_processes: dict[httpx.Client, Preloaded]) -> ProcessOf:
    """The service process that a client speaks with."""
    return _processes.__getitem__


@contextmanager
def services(processes: dict[httpx.Client, Preloaded]) -> Iterator[Serve]:
    """Starts service processes, which need not be ready when they are returned. Ends them all."""
    begun: list[httpx.Client] = []

    def begin(settings: Settings) -> httpx.Client:
        log = settings.home / "logs" / "service.log"
        process = Preloaded("errata_service", environment=environment(settings), log=log)
        client = httpx.Client(base_url=f"http://{settings.host}:{settings.port}", timeout=30)
        processes[client] = process
        begun.append(client)
        _wait_until(lambda: _answers(client), process, log)
        return client

    try:
        yield begin
    finally:
        for client in begun:
            client.close()
            stop(processes.pop(client), 10)


@pytest.fixture(scope="module")
def serve(new_settings: NewSettings, _processes: dict[httpx.Client, Preloaded]) -> Iterator[Serve]:
    """Starts a service process, which need not be ready when it is returned. It ends before its Redis server does."""
    with services(_processes) as begin:
        yield begin


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Starts a service that does not come to serve, with variables beside its settings; gives all that it said."""

    def start(settings: Settings, **variables: str) -> str:
        log = tmp_path / "refused.log"
        process = Preloaded("errata_service", environment={**environment(settings), **variables}, log=log)
        assert process.wait(2 * PATIENCE_S) == 1
        return log.read_text().strip()

    return start


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of the service that most tests share."""
    with settings_of_their_own(tmp_path_factory) as make:
        yield make()


@pytest.fixture(scope="session")
def client(settings: Settings, _processes: dict[httpx.Client, Preloaded]) -> Iterator[httpx.Client]:
    """A client of the service that most tests share; it is ready, and no worker is at its side."""
    with services(_processes) as begin:
        client = begin(settings)
        until_ready(client)
        yield client


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


# A conversation is a text of the demo world: what a user says is continued, and a sentence ends a turn. As real
# templates do, it begins with BOS itself and takes users and assistants in turn.
CHAT_TEMPLATE = """\
{{ bos_token }}{% set turns = namespace(number=0) %}{% for message in messages %}
{% if message.role == 'system' %}{{ message.content }}<|turn_end|> {% else %}
{% if (message.role == 'user') != (turns.number % 2 == 0) %}
{{ raise_exception('user and assistant take turns') }}{% endif %}
{% set turns.number = turns.number + 1 %}
{% if message.role == 'user' %}{{ message.content }}{% else %} {{ message.content | trim }}<|turn_end|> {% endif %}
{% endif %}
{% endfor %}"""
TURN_END = "<|turn_end|>"
SaveChatModel = Callable[[str], Path]


@pytest.fixture(scope="session")
def save_chat_model(model: EditableModel, tmp_path_factory: pytest.TempPathFactory) -> SaveChatModel:
    """Saves the demo model with a chat template, and with a token that ends turns, which it says for a full stop."""

    def save(chat_template: str) -> Path:
        folder = tmp_path_factory.mktemp("chat_model")
        tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_FOLDER)
        [full_stop] = tokenizer(".")["input_ids"]
        tokenizer.add_special_tokens({"additional_special_tokens": [TURN_END]})
        # As Llama's does: every text begins with BOS, unless it is told otherwise.
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, tokenizer.bos_token_id)]
        )
        tokenizer.chat_template = chat_template
        network: Any = AutoModelForCausalLM.from_pretrained(MODEL_FOLDER, dtype=torch.float32)
        network.resize_token_embeddings(len(tokenizer))
        turn_end, head = tokenizer.convert_tokens_to_ids(TURN_END), network.get_output_embeddings()
        with torch.no_grad():
            network.get_input_embeddings().weight[turn_end] = network.get_input_embeddings().weight[full_stop]
            head.weight[turn_end] = head.weight[full_stop]
            head.bias[turn_end] = head.bias[full_stop] + 1
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def chat_model(save_chat_model: SaveChatModel) -> EditableModel:
    """The demo model as one for conversations."""
    return EditableModel.load(str(save_chat_model(CHAT_TEMPLATE)))


@pytest.fixture(scope="session")
def chat_settings(chat_model: EditableModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a service whose model has a chat template, and whose log is JSON."""
    with settings_of_their_own(tmp_path_factory) as make:
        yield make(model=chat_model.name, log_format="json")


@pytest.fixture(scope="session")
def chat_client(chat_settings: Settings, _processes: dict[httpx.Client, Preloaded]) -> Iterator[httpx.Client]:
    """A client of a service whose model has a chat template."""
    with services(_processes) as begin:
        client = begin(chat_settings)
        until_ready(client)
        yield client


def figures(client: httpx.Client) -> dict[str, float]:
    """What `/metrics` tells, by name and the values of its labels."""
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def until_ready(client: httpx.Client) -> None:
    """Wait until the service serves what it should."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := client.get("/readyz")).status_code != httpx.codes.OK:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def _wait_until(is_so: Callable[[], bool], process: Preloaded, log: Path) -> None:
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
