"""The whole service on a model of real size: `errata up`, edits over HTTP, requests beside them.

    python -m benchmarks.whole_service [--model gpt-j-6b] [--device cuda] [--facts 10,100,1000] [--clients 1,4,16,64]
                                       [--small]

The model has random weights, as in `benchmarks.real_size`, and lies in a checkpoint that service and worker load. Each
edit is posted with the published hyperparameters, while one client asks for text all the while.
"""

import argparse
import asyncio
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client import Errata
from errata_client.events import ProgressEvent
from errata_registry.settings import Settings

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.real_size import MODELS, RANDOM_MODEL, numbered_facts, publish_made_up_moments, random_model
from benchmarks.serving import load
from errata.hyperparameters import SHIPPED, MemitHyperparameters

WAIT_S = 3600.0
REST_S = 3.0


def main() -> None:
    sizes = {"facts": [10, 100, 1000], "clients": [1, 4, 16, 64], "tokens": 64}
    arguments = arguments_of(__doc__, **RANDOM_MODEL, **sizes)
    with tempfile.TemporaryDirectory(prefix="errata-whole-service-") as folder:
        settings = _prepare(arguments, Path(folder))
        began = time.perf_counter()
        with Supervisor(settings) as stack:
            print(f"service and worker ready in {time.perf_counter() - began:.0f} s\n", flush=True)
            _measure_requests(stack.url, arguments.clients, arguments.tokens)
            _measure_edits(stack.url, arguments.facts)


def _prepare(arguments: argparse.Namespace, folder: Path) -> Settings:
    """Make up a checkpoint and published second moments."""
    began = time.perf_counter()
    model = random_model(arguments)
    model.network.generation_config.eos_token_id = None  # random weights end no text by themselves
    model.network.config.eos_token_id = None
    model.network.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    hyperparameters = MemitHyperparameters.for_model(MODELS[arguments.model])
    assert hyperparameters is not None
    publish_made_up_moments(model, hyperparameters.layers, folder / "published")
    print(f"{arguments.model}, {model.num_layers} blocks: made up in {time.perf_counter() - began:.0f} s", flush=True)
    del model
    torch.cuda.empty_cache()  # nothing where there is none
    return Settings(
        home=folder / "home",
        model=str(folder / "model"),
        port=free_port(),
        device=arguments.device,
        dtype=arguments.dtype,
        hyperparameters=SHIPPED / f"{arguments.model}.json",
        published_moments=folder / "published",
        # On random weights an edit shows how fast it is, not how good.
        gate_min_said=0,
        gate_min_kept=0,
        gate_min_efficacy=0,
        gate_max_drift=1e6,
    )


def _measure_requests(url: str, clients: list[int], tokens: int) -> None:
    """Print tokens a second by the number of clients."""
    prompts = [fact.prompt for fact in numbered_facts(200)]
    asyncio.run(load(url, prompts, 1, tokens))  # to warm up
    print_header("clients", "tokens/s")
    for number in clients:
        print_row(number, f"{asyncio.run(load(url, prompts, number, tokens)):.0f}")


def _measure_edits(url: str, sizes: list[int]) -> None:
    """Time edits from the POST to the first answer of their versions, and the gaps of a stream meanwhile."""
    print()
    print_header("facts", "until served", "of it, by stage", "longest gap of a stream", "without")
    with Errata(url, timeout=WAIT_S) as client:
        for size in sizes:
            facts = [(fact.subject, fact.relation, fact.object) for fact in numbered_facts(size)]
            with _streaming(client) as resting:
                time.sleep(REST_S)
            with _streaming(client) as meanwhile:
                began = time.perf_counter()
                edit = client.edit(facts, tries=1)
                by_part = stages(client, edit.id)
                edit.wait(progress=False)
                answer = client.generate(numbered_facts(1)[0].prompt, max_new_tokens=3)
                seconds = time.perf_counter() - began
            assert answer.version == edit.wait(progress=False).version
            by_stage = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in by_part.items())
            gaps = [f"{_longest_ms(requests):.0f} ms" for requests in (meanwhile, resting)]
            print_row(size, f"{seconds:.1f} s", by_stage, *gaps)


def stages(client: Errata, edit_id: str) -> dict[str, float]:
    """Follow an edit until it ends; return the seconds in each stage."""
    spent: dict[str, float] = {}
    stage, began = "queued", time.perf_counter()
    for event in client.events(edit_id):
        if isinstance(event, ProgressEvent) or event.kind == "status":
            now = time.perf_counter()
            spent[stage] = spent.get(stage, 0.0) + now - began
            began = now
            if isinstance(event, ProgressEvent):
                stage = event.progress.stage
    return spent


@contextmanager
def _streaming(client: Errata) -> Iterator[list[list[float]]]:
    """Ask for text again and again until the end; collect for each request when its tokens came."""
    requests: list[list[float]] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            times: list[float] = []
            requests.append(times)
            with closing(client.stream("The capital of France is", max_new_tokens=500)) as events:
                for _ in events:
                    times.append(time.perf_counter())
                    if ended.is_set():
                        return

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        while not asking.done() and not any(requests):
            time.sleep(0.01)
        try:
            yield requests
        finally:
            ended.set()
        asking.result()


def _longest_ms(requests: list[list[float]]) -> float:
    """Return the longest gap between two tokens of a request."""
    return 1000 * max(later - earlier for times in requests for earlier, later in itertools.pairwise(times))


if __name__ == "__main__":
    main()
