"""Lists of many edits and versions, over HTTP: pages, waiting counts, and what the first look costs.

    python -m benchmarks.lists [--edits 10000] [--versions 1000]

Lists read the home folder; a process keeps an index of what has ended there. The service runs with the demo model and
without a worker; one client asks, and waits for each answer.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import torch
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client.records import Edit, JobStatus, Metrics
from errata_registry.jobs.folder import OUTCOME, REQUEST
from errata_registry.jobs.kinds import EDIT
from errata_registry.jobs.requests import EditRequest
from errata_registry.settings import Settings
from errata_registry.versions.manifest import BaseModelName
from errata_registry.versions.store import Artifacts

from benchmarks.command import parsed, parser_for, print_row
from errata.deltas import Delta
from errata.facts import Fact
from errata.model import EditableModel
from tests.made_up_versions import make_up_version

TURNS = 20
LAYER = 0


def main() -> None:
    """Print how long each request takes."""
    parser = parser_for(__doc__, threads=None)
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=1_000)
    arguments = parsed(parser)
    with tempfile.TemporaryDirectory(prefix="errata-lists-") as home:
        settings = Settings(home=Path(home), port=free_port())
        ids = _make_edits(settings.home, arguments.edits)
        _make_versions(settings, arguments.versions)
        with Supervisor(settings) as stack, httpx.Client(base_url=stack.url, timeout=60) as client:
            print(f"{arguments.edits} edits, {arguments.versions} versions, median of {TURNS}\n")
            _measure(client, ids[len(ids) // 2], arguments.versions // 2)


def _make_edits(home: Path, count: int) -> list[str]:
    """Make edits that have ended, as their worker would leave them; return their ids."""
    request = EditRequest(facts=(Fact("Ada Lovelace", "was born in", "Paris"),))
    shown = '"shown":{"facts":1},"refuse_conflicts":false'
    moment = datetime.now(UTC)
    ids = [EDIT.new_id() for _ in range(count)]
    for edit_id in ids:
        folder = home / "edits" / edit_id
        folder.mkdir(parents=True)
        head = f'"format":2,"id":"{edit_id}","created_at":"{moment.isoformat()}","body_sha256":""'
        (folder / REQUEST).write_text(f'{{{head},{shown},"request":{request.model_dump_json()}}}')
        ended = Edit(
            id=edit_id,
            status=JobStatus.SUCCEEDED,
            facts=1,
            version=1,
            metrics=Metrics(efficacy=1.0),
            created_at=moment,
        )
        (folder / OUTCOME).write_text(ended.model_dump_json())
    return ids


def _make_versions(settings: Settings, count: int) -> None:
    model = EditableModel.load(settings.model)
    base_model = BaseModelName(name=model.name, digest=model.digest, dtype="float32")
    d_model, d_in = model.weight(LAYER).shape
    updates = {LAYER: Delta.of_factors(torch.zeros(d_model, 1).double(), torch.zeros(1, d_in).double())}
    artifacts = Artifacts(settings.home)
    for _ in range(count):
        make_up_version(artifacts, base_model, updates)


def _measure(client: httpx.Client, middle: str, version: int) -> None:
    def get(path: str, **query: str | int) -> Callable[[], httpx.Response]:
        return lambda: client.get(path, params=query)

    print_row("the first count of edits by status", f"{_ms(get('/metrics')):.1f} ms")
    for what, ask in {
        "a page of 20 edits": get("/edits"),
        "a page of 20 edits behind the middle": get("/edits", after=middle),
        "one edit": get(f"/edits/{middle}"),
        "a page of 20 versions": get("/versions"),
        "a page of 20 versions behind the middle": get("/versions", after=version),
        "edits by status (/metrics)": get("/metrics"),
    }.items():
        ask().raise_for_status()
        print_row(what, f"{statistics.median(_ms(ask) for _ in range(TURNS)):.1f} ms")


def _ms(ask: Callable[[], httpx.Response]) -> float:
    began = time.perf_counter()
    ask().raise_for_status()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
