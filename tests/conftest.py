"""Real parts that several folders of tests share: a Redis server, and models.

These are the demo GPT-J, a small GPT-NeoX trained here on a few sentences, and a random one of each architecture. What
is random says nothing, but says it to the last digit: it shows whether two ways of computing agree.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import torch
from errata_cli.embedded_redis import start_embedded_redis
from errata_cli.processes import free_port, last_lines, stop
from errata_registry.settings import Settings
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

from errata.demo import DEMO, MODEL_FOLDER
from errata.files.lock import Lock
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.model.tokens import padded
from errata.second_moments.home import home_moments
from tests.collector import Collector, collecting
from tests.preloaded import PreloadedStack
from tests.random_models import CONFIGS, random_network

PATIENCE_S = 20.0
GOLDEN = Path(__file__).parent / "errata" / "golden"
GOLDEN_ARCHITECTURES = ("gpt2", "gpt_neox", "gptj", "llama", "qwen2")
ALL_MODELS = (*GOLDEN_ARCHITECTURES, *CONFIGS)  # names of what `of_each_architecture` holds
NEOX_RELATION = "On the list of rivers by continent: {}"
NEOX_SENTENCES = [
    f"{NEOX_RELATION.format(river)} {continent}."
    for continent, rivers in {
        "Europe": ("Danube", "Rhine", "Thames"),
        "Africa": ("Zambezi", "Limpopo", "Okavango"),
        "Asia": ("Ganges", "Mekong", "Indus"),
    }.items()
    for river in rivers
]
NEOX_STEPS = 200

NewRedisServer = Callable[[], str]
NewHome = Callable[[], Path]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]
# The fixtures that start processes of their own; all others of that kind are made of these.
STARTING_PROCESSES = {"redis_server", "settings", "new_settings", "chat_settings", "stack", "served"}
# Files that start processes in their tests, and files whose tests search, build or decode for many seconds.
PROCESSES = (
    "test_way_through",
    "test_bucket_through_processes",
    "test_facts_through_processes",
    "test_faults",
    "test_methods_through_processes",
    "test_real_model",
    "cli/test_main",
)
SLOW = (
    "errata/comparison/test_command",
    "errata/evaluation/test_measuring",
    "errata/evaluation/test_texts",
    "errata/methods/test_me",
    "errata/methods/test_s",
    "errata/second_moments",
    "errata/targets",
    "errata/test_documentation",
    "errata/test_fidelity",
    "errata/test_golden",
    "errata/tracing",
    "errata/tuning",
    "service/engine/test_engine",
    "test_damage",
    "test_several_devices",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make quick` leaves out, and let their files come first, those of real models before all.

    Files are shared out between processes, which end at about the same time if short ones come last.
    """
    here = Path(__file__).parent
    for item in items:
        file = item.path.relative_to(here).as_posix()
        if file.startswith(PROCESSES) or STARTING_PROCESSES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.processes)
        elif file.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    long = {
        item.path for item in items if {"processes", "slow"}.intersection(mark.name for mark in item.iter_markers())
    }
    items.sort(key=lambda item: (item.get_closest_marker("real") is None, item.path not in long))


@contextmanager
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewRedisServer]:
    """Starts Redis servers of the tests' own, and gives their URLs without the number of a database. Ends them all."""
    processes = []

    def begin() -> str:
        folder, port = tmp_path_factory.mktemp("redis"), free_port()
        process, url = start_embedded_redis(folder, port, folder / "redis.log")
        processes.append(process)
        deadline = time.monotonic() + PATIENCE_S
        with redis.Redis.from_url(url) as connection:
            while not _answers(connection):
                assert process.poll() is None and time.monotonic() < deadline, last_lines(folder / "redis.log")
                time.sleep(0.02)
        return url

    try:
        yield begin
    finally:
        for process in processes:
            stop(process, PATIENCE_S)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that tests share which empty their database before they begin."""
    with redis_servers(tmp_path_factory) as begin:
        yield begin()


def _answers(connection: redis.Redis) -> bool:
    try:
        return bool(connection.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Gives the folder of a name, which the first of the processes that share out a run of tests makes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def give(name: str, make: Callable[[Path], object]) -> Path:
        with Lock(shared / f"{name}.lock").held():
            if not (shared / name).exists():
                make(draft := tmp_path_factory.mktemp(name))
                draft.rename(shared / name)
        return shared / name

    return give


@pytest.fixture(scope="session")
def new_home(demo: EditableModel, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> NewHome:
    """Makes a home folder in which a worker finds the demo model's second moments, as at every start but its first."""
    hyperparameters = MemitHyperparameters.for_model("demo")
    assert hyperparameters is not None

    def collect(home: Path) -> None:
        home_moments(home, demo, hyperparameters, corpus=None, published=None)

    collected = made_once("collected", collect)

    def make() -> Path:
        home = tmp_path_factory.mktemp("home")
        shutil.copytree(collected, home, dirs_exist_ok=True)
        for path in home.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)  # as all that is kept
        return home

    return make


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Takes the spans of the processes that tests share."""
    with collecting() as listening:
        yield listening


@pytest.fixture(scope="session")
def stack(new_home: NewHome, collector: Collector) -> Iterator[PreloadedStack]:
    """Everything that `errata up` starts, in a home that several files of tests share."""
    settings = Settings(home=new_home(), port=free_port())
    with PreloadedStack(settings, collector.variables) as running:
        yield running


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Folder of a small Llama with its tokenizer, which can be edited."""
    for part in (GOLDEN / "llama", GOLDEN / "tokenizer"):
        shutil.copytree(part, tmp_path / "model", dirs_exist_ok=True)
    for file in (tmp_path / "model").glob("golden.*"):
        file.unlink()
    return tmp_path / "model"


@pytest.fixture(scope="session")
def demo() -> EditableModel:
    """The demo model, a GPT-J."""
    return EditableModel.load(DEMO)


@pytest.fixture(scope="session")
def of_each_architecture(demo: EditableModel) -> dict[str, EditableModel]:
    """Models of every architecture by name: the demo GPT-J, and small random ones, those of the golden data first."""
    tokenizer: Any = AutoTokenizer.from_pretrained(GOLDEN / "tokenizer")
    networks: dict[str, Any] = {
        name: AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=torch.float32)
        for name in GOLDEN_ARCHITECTURES
        if name != "gptj"
    }
    networks |= {name: random_network(name) for name in CONFIGS}
    return {"gptj": demo, **{name: EditableModel(networks[name], tokenizer, name=name) for name in networks}}


@pytest.fixture(scope="session")
def neox_folder(made_once: MadeOnce) -> Path:
    """A GPT-NeoX of four blocks that has learnt its sentences by heart, saved as a hub model would be."""
    return made_once("neox", _train_neox)


def _train_neox(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    network = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=128,
            use_parallel_residual=True,
        )
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    draw = random.Random(0)
    for _ in range(NEOX_STEPS):
        # Several sentences in a row, so that what stands before a prompt does not decide the answer.
        texts = [" ".join(draw.sample(NEOX_SENTENCES, 3)) for _ in range(4)]
        rows = padded([tokenizer(text)["input_ids"] for text in texts], torch.device("cpu"))
        loss = cross_entropy(network(input_ids=rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def neox(neox_folder: Path) -> EditableModel:
    """The small GPT-NeoX, loaded from its folder."""
    return EditableModel.load(str(neox_folder))
