"""Target shards: how the search for an edit's targets is shared out, and the job that does one share of it.

What a shard finds lies in the store of targets; the build takes it from there and searches for whatever is missing.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence

from errata_client.records import Stage
from errata_registry.jobs.shards import ShardOrder

from errata.facts import Fact, by_subject
from errata.methods import METHODS
from errata.targets.search import find_targets
from errata_worker.progress import ShardProgressReport, WorkerStopping
from errata_worker.resources import Resources
from errata_worker.running import claim, ending_with_what_goes_wrong

MAX_SHARDS = 256

logger = logging.getLogger(__name__)


def cut(facts: Sequence[Fact], max_facts: int) -> list[tuple[Fact, ...]]:
    """Cut facts into shards of nearly equal size, as few as can be with about `max_facts` each, at most `MAX_SHARDS`.

    Facts about one subject, which share one change of the model, stay together.
    """
    num_shards = min(math.ceil(len(facts) / max_facts), MAX_SHARDS)
    shards: dict[int, list[Fact]] = defaultdict(list)
    before = 0
    for about_one in by_subject(facts):
        shards[before * num_shards // len(facts)] += about_one
        before += len(about_one)
    return [tuple(shard) for shard in shards.values()]


class TargetShard:
    """One worker's turn at a shard. It may be run more than once; what was found before is not searched for again."""

    def __init__(self, edit_id: str, shard: int, resources: Resources) -> None:
        self._id = edit_id
        self._shard = shard
        self._resources = resources
        self._edits = resources.registry.edits

    def run(self) -> None:
        """Find the targets, unless that is done or the edit has ended; what goes wrong ends the edit.

        Raises:
            WorkerStopping: the shard is not done; recovery finds it without a worker and queues it again.
            redis.RedisError, OSError: as `ending_with_what_goes_wrong`.
        """
        limit_s = self._resources.registry.settings.job_timeout_s
        with ending_with_what_goes_wrong(self._edits, self._id, limit_s):
            if claim(self._edits, self._id).ended:
                return
            if order := self._edits.shards.order(self._id, self._shard):
                self._search(order)

    def _search(self, order: ShardOrder) -> None:
        began = time.monotonic()
        worker = self._resources.worker
        report = ShardProgressReport(self._edits, order, self._resources.must_stop)
        name = f"shard {order.shard + 1} of {len(order.sizes)}"
        known: int | None = None

        def on_progress(done: int, total: int) -> None:
            nonlocal known
            known = done if known is None else known  # what is done before the first step was in the store
            report(Stage.TARGETS, done, total)

        try:
            find_targets(
                self._resources.resident.model,
                order.facts,
                order.contexts,
                METHODS[order.method].hyperparameters.from_dict(order.hparams),
                store=self._resources.targets,
                on_progress=on_progress,
            )
        except WorkerStopping:
            self._edits.live.log(self._id, "info", f"{worker} was told to stop; {name} goes back into the queue")
            raise
        found = len(order.facts) - (known or 0)
        but = f" ({known} were known)" if known else ""
        message = f"{name}: {worker} found the targets of {found} facts in {time.monotonic() - began:.1f} s{but}"
        logger.info("%s: %s", self._id, message)
        self._edits.live.log(self._id, "info", message)
        self._edits.shards.done(order)
