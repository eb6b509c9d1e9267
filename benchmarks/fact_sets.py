"""Looking through a version of ten thousand facts, over HTTP: pages, filters, one fact's history, a comparison.

    python -m benchmarks.fact_sets [--facts 10000] [--versions 100]

Made-up facts in a chain of versions, each of which changes one fact of the one before. The service runs with the demo
model; one client asks, and waits for each answer.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import httpx
import torch
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_registry.settings import Settings
from errata_registry.stored import now
from errata_registry.versions.facts import Origin, stored_fact
from errata_registry.versions.manifest import BaseModelName
from errata_registry.versions.store import Artifacts

from benchmarks.command import arguments_of, print_row, timed
from errata.deltas import Delta
from errata.facts import Fact
from errata.model import EditableModel
from tests.made_up_versions import make_up_version

TURNS = 20
LAYER = 0


def main() -> None:
    """Print how long each request takes."""
    arguments = arguments_of(__doc__, facts=10_000, versions=100)
    with tempfile.TemporaryDirectory(prefix="errata-facts-") as home:
        settings = Settings(home=Path(home), port=free_port())
        changed = _make_versions(settings, arguments.facts, arguments.versions)
        with Supervisor(settings) as stack, httpx.Client(base_url=stack.url, timeout=60) as client:
            print(f"{arguments.versions} versions of {arguments.facts} facts, median of {TURNS}\n")
            _measure(client, arguments.versions, changed)


def _make_versions(settings: Settings, num_facts: int, num_versions: int) -> Fact:
    """Make the versions; return the fact that each but the first changes."""
    facts = [Fact(f"Subject {number:06}", "was born in", f"Place {number % 100}") for number in range(num_facts)]
    stored = [stored_fact(fact, Origin("edit_of_a_benchmark", None, now())) for fact in facts]
    add_version = maker_of_versions(settings)
    add_version(stored)
    place = num_facts // 2
    for version in range(2, num_versions + 1):
        stored[place] = stored[place].model_copy(update={"object": f"Place of version {version}"})
        add_version(stored, parent=version - 1)
    return facts[place]


def maker_of_versions(settings: Settings) -> Callable[..., object]:
    """Return `make_up_version` for the home of the settings, with updates that change nothing."""
    model = EditableModel.load(settings.model)
    base_model = BaseModelName(name=model.name, digest=model.digest, dtype="float32")
    d_model, d_in = model.weight(LAYER).shape
    updates = {LAYER: Delta.of_factors(torch.zeros(d_model, 1).double(), torch.zeros(1, d_in).double())}
    return partial(make_up_version, Artifacts(settings.home), base_model, updates)


def _measure(client: httpx.Client, num_versions: int, changed: Fact) -> None:
    get = partial(getting, client)

    def post_one_fact() -> httpx.Response:
        fact = {"subject": changed.subject, "relation": changed.relation, "object": "Rome"}
        return client.post("/edits", json={"facts": [fact], "base": num_versions})

    begun = time.perf_counter()
    client.post(f"/versions/{num_versions}/activate").raise_for_status()
    print_row("the first page after an activation", f"{milliseconds(get('/facts', limit=100)):.1f} ms")
    questions = {
        "a page of 100": get("/facts", limit=100),
        "a page of 100 behind the middle": get("/facts", limit=100, after=f"{num_versions}:{changed.id}"),
        "a page of 1,000": get("/facts", limit=1000),
        "facts about one subject": get("/facts", subject=changed.subject),
        "facts with one object": get("/facts", object="Place 7"),
        "facts that hold a text": get("/facts", text="place 77"),
        f"one fact, changed by {num_versions} versions": get(f"/facts/{changed.id}"),
        "what is other in the next version": get(f"/versions/{num_versions - 1}/diff/{num_versions}"),
        "an edit of one fact, accepted": post_one_fact,
    }
    print_medians(questions)
    for edit in client.get("/edits", params={"limit": 1000}).json()["data"]:
        client.post(f"/edits/{edit['id']}/cancel")
    print(f"\n{time.perf_counter() - begun:.1f} s in all")


Question = Callable[[], httpx.Response]


def getting(client: httpx.Client, path: str, **query: str | int) -> Question:
    """Return a function that gets the path."""
    return lambda: client.get(path, params=query)


def print_medians(questions: Mapping[str, Question]) -> None:
    """Print how long each question takes."""
    for what, ask in questions.items():
        ask().raise_for_status()
        print_row(what, f"{statistics.median(milliseconds(ask) for _ in range(TURNS)):.1f} ms")


def milliseconds(ask: Question) -> float:
    """Return how long the answer takes."""
    return 1000 * timed(lambda: ask().raise_for_status())[0]


if __name__ == "__main__":
    main()
