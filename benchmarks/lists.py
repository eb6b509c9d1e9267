"""Lists of many edits and versions, over HTTP: pages, waiting counts, and what the first look costs.

    python -m benchmarks.lists [--edits 10000] [--versions 1000]

Lists read the home folder; a process keeps an index of what has ended there. The service runs with the demo model and
without a worker; one client asks, and waits for each answer.
"""

import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client.records import Edit, JobStatus, Metrics
from errata_registry.jobs.folder import OUTCOME, REQUEST
from errata_registry.jobs.kinds import EDIT
from errata_registry.jobs.requests import EditRequest
from errata_registry.settings import Settings

from benchmarks.command import arguments_of, print_row
from benchmarks.fact_sets import TURNS, getting, maker_of_versions, milliseconds, print_medians
from errata.facts import Fact


def main() -> None:
    """Print how long each request takes."""
    arguments = arguments_of(__doc__, edits=10_000, versions=1_000)
    with tempfile.TemporaryDirectory(prefix="errata-lists-") as home:
        settings = Settings(home=Path(home), port=free_port())
        ids = _make_edits(settings.home, arguments.edits)
        add_version = maker_of_versions(settings)
        for _ in range(arguments.versions):
            add_version()
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


def _measure(client: httpx.Client, middle: str, version: int) -> None:
    get = partial(getting, client)
    print_row("the first count of edits by status", f"{milliseconds(get('/metrics')):.1f} ms")
    questions = {
        "a page of 20 edits": get("/edits"),
        "a page of 20 edits behind the middle": get("/edits", after=middle),
        "one edit": get(f"/edits/{middle}"),
        "a page of 20 versions": get("/versions"),
        "a page of 20 versions behind the middle": get("/versions", after=version),
        "edits by status (/metrics)": get("/metrics"),
    }
    print_medians(questions)


if __name__ == "__main__":
    main()
