"""Worker processes over a real Redis, with the demo model."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from errata_cli.processes import environment, last_lines, stop
from errata_client.records import Edit, Gate
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from errata.facts import Fact
from tests.conftest import NewHome
from tests.preloaded import Preloaded

DATABASE = 14
PATIENCE_S = 120.0


class Crew:
    """The workers of one home, and what they make of the edits that they are given."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.settings = settings
        self.registry = registry
        self._processes: list[Preloaded] = []
        rewrites = [record["requested_rewrite"] for record in counterfactual_records(load_world())]
        self._facts = iter(
            Fact(subject=rewrite["subject"], relation=rewrite["prompt"], object=rewrite["target_new"]["str"])
            for rewrite in rewrites
        )

    def grow_to(self, count: int) -> None:
        """Start workers until there are `count`, and wait until they are ready."""
        self._processes = [process for process in self._processes if process.poll() is None]
        while len(self._processes) < count:
            self._processes.append(Preloaded("errata_worker", environment=environment(self.settings), log=self._log))
        self.wait(lambda: self.registry.queue.num_workers() >= count, f"not all of {count} workers got ready")

    def signal_one(self, number: signal.Signals) -> str:
        """Send a signal to the worker that started first, and wait until it has ended; gives a part of its name."""
        process = self._processes.pop(0)
        process.send_signal(number)
        process.wait(PATIENCE_S)
        return f"-{process.pid}-"

    def pid_of_first(self) -> int:
        """The process id of the worker that started first."""
        return self._processes[0].pid

    def stop(self) -> None:
        """End all workers."""
        for process in self._processes:
            stop(process, 5)

    def edit(self, num_facts: int, hparams: dict[str, Any], dry_run: bool = False) -> Edit:
        """Send an edit of facts that no edit before it had."""
        request = EditRequest(
            facts=tuple(next(self._facts) for _ in range(num_facts)),
            base=0,
            activate=False,
            gate=Gate(min_efficacy=None),
            partial=True,
            tries=1,
            hparams=hparams,
            dry_run=dry_run,
        )
        return self.registry.edits.create_edit(request)

    def again(self, edit: Edit) -> Edit:
        """Send the same edit once more."""
        return self.registry.edits.create_edit(self.registry.edits.folder.accepted(edit.id).request)

    def ended(self, edit: Edit) -> Edit:
        """The edit when it has ended."""
        self.wait(lambda: self.registry.edits.record(edit.id).status.final, "the edit did not end")
        return self.registry.edits.record(edit.id)

    def messages(self, edit: Edit) -> list[str]:
        """What the edit's events say in words."""
        return [event.data["message"] for event in self.registry.edits.events(edit.id) if event.name == "log"]

    def found(self) -> dict[str, int]:
        """The files of the targets that were found up to now, and their inodes: one that is made anew has another."""
        return {path.name: path.stat().st_ino for path in self.settings.home.glob("targets/*/*.safetensors")}

    def wait(self, condition: Callable[[], object], complaint: str) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{complaint}; the workers' log ends with\n{last_lines(self._log)}"
            time.sleep(0.02)

    @property
    def _log(self) -> Path:
        return self.settings.home / "logs" / "worker.log"


@pytest.fixture(scope="module")
def crew(redis_server: str, new_home: NewHome) -> Iterator[Crew]:
    """Workers that share out edits of more than three facts, and soon notice that one of them is gone."""
    settings = Settings(
        home=new_home(),
        redis_url=f"{redis_server}/{DATABASE}",
        shard_facts=3,
        lease_s=4,
        heartbeat_s=0.5,
        maintenance_s=0.5,
        stop_grace_s=0,
    )
    with closing(Registry(settings)) as registry:
        registry.redis.flushdb()
        crew = Crew(settings, registry)
        try:
            yield crew
        finally:
            crew.stop()
