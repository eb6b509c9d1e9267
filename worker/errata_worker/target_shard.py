"""Target shards: how the search for an edit's targets is shared out, and the job that does one share of it.

What a shard finds lies in the store of targets; the build takes it from there and searches for whatever is missing.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence

from errata_registry.jobs.shards import ShardOrder
from errata_registry.records import Stage

from errata.facts import Fact, by_subject
from errata.methods import METHODS
from errata.targets.search import find_targets
from errata_worker.attempt import WorkerStopping, claim, ending_with_what_goes_wrong
from errata_worker.equipment import Equipment
from errata_worker.progress import ShardProgressReport
from errata_worker.work import EditWork

MAX_SHARDS = 256

logger = logging.getLogger(__name__)


def cut(facts: Sequence[Fact], max_facts: int) -> list[tuple[Fact, ...]]:
    """Shards of nearly equal size, as few as can be with about `max_facts` each, and at most `MAX_SHARDS`, which are
    then larger. Facts about one subject, which share one change of the model, stay together."""
    num_shards = min(math.ceil(len(facts) / max_facts), MAX_SHARDS)
    shards: dict[int, list[Fact]] = defaultdict(list)
    before = 0
    for about_one in by_subject(facts):
        shards[before * num_shards // len(facts)] += about_one
        before += len(about_one)
    return [tuple(shard) for shard in shards.values()]


class TargetShard:
    """One worker's turn at a shard. It may be run more than once; what was found before is not searched for again."""

    def __init__(self, edit_id: str, shard: int, equipment: Equipment) -> None:
        self._id = edit_id
        self._shard = shard
        self._equipment = equipment
        self._registry = equipment.registry

    def run(self) -> None:
        """Find the targets, unless that is done or the edit has ended; what goes wrong ends the edit.

        Raises:
            WorkerStopping: the shard is not done; recovery finds it without a worker and queues it again.
            redis.RedisError, OSError: as `ending_with_what_goes_wrong`.
        """
        work = EditWork(self._registry, self._id)
        with ending_with_what_goes_wrong(work, self._registry.settings.job_timeout_s):
            if claim(work).status.final:
                return
            if order := self._registry.shards.order(self._id, self._shard):
                self._search(order)

    def _search(self, order: ShardOrder) -> None:
        began = time.monotonic()
        worker = self._equipment.worker
        report = ShardProgressReport(self._registry, order, self._equipment.must_stop)
        name = f"shard {order.shard + 1} of {len(order.sizes)}"
        known: int | None = None

        def on_progress(done: int, total: int) -> None:
            nonlocal known
            known = done if known is None else known  # what is done before the first step was in the store
            report(Stage.TARGETS, done, total)

        try:
            find_targets(
                self._equipment.resident.model,
                [body.to_fact() for body in order.facts],
                order.contexts,
                METHODS[order.method].hyperparameters.from_dict(order.hparams),
                store=self._equipment.targets,
                on_progress=on_progress,
            )
        except WorkerStopping:
            self._registry.log(self._id, "info", f"{worker} was told to stop; {name} goes back into the queue")
            raise
        found = len(order.facts) - (known or 0)
        but = f" ({known} were known)" if known else ""
        message = f"{name}: {worker} found the targets of {found} facts in {time.monotonic() - began:.1f} s{but}"
        logger.info("%s: %s", self._id, message)
        self._registry.log(self._id, "info", message)
        self._registry.shards.done(order)
