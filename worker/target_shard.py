"""Target shards: how the search for an edit's targets is shared out, and the job that does one share of it.

What a shard finds lies in the store of targets; the build takes it from there and searches for whatever is missing.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence

from errata.facts import Fact, by_subject
from errata.hyperparameters import Hyperparameters
from errata.registry.records import Stage
from errata.registry.shard_files import ShardOrder
from errata.targets import facts_to_search, find_targets
from worker.attempt import WorkerStopping, claim, ending_with_what_goes_wrong
from worker.equipment import Equipment
from worker.progress import ShardProgressReport

logger = logging.getLogger(__name__)


def cut(facts: Sequence[Fact], max_facts: int) -> list[tuple[Fact, ...]]:
    """Shards of nearly equal size, as few as can be with about `max_facts` each. Facts about one subject, which share
    one target, stay together."""
    num_shards = math.ceil(len(facts) / max_facts)
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
            redis.RedisError: so it may be here.
        """
        with ending_with_what_goes_wrong(self._registry, self._id):
            if claim(self._registry, self._id).status.final:
                self._registry.shards.drop(self._id)  # should it have ended just before it was cut
            elif order := self._registry.shards.order(self._id, self._shard):
                self._search(order)

    def _search(self, order: ShardOrder) -> None:
        began = time.monotonic()
        model, store, worker = self._equipment.resident.model, self._equipment.targets, self._equipment.worker
        facts = [body.to_fact() for body in order.facts]
        hyperparameters = Hyperparameters.from_dict(order.hparams)
        to_search = facts_to_search(model, facts, order.contexts, hyperparameters, store)
        report = ShardProgressReport(self._registry, order, self._equipment.must_stop)
        name = f"shard {order.shard + 1} of {len(order.sizes)}"
        try:
            find_targets(
                model,
                facts,
                order.contexts,
                hyperparameters,
                store=store,
                on_progress=lambda done, total: report(Stage.TARGETS, done, total),
            )
        except WorkerStopping:
            self._registry.log(self._id, "info", f"{worker} was told to stop; {name} goes back into the queue")
            raise
        self._registry.shards.done(order)
        known = f" ({len(facts) - len(to_search)} were known)" if len(to_search) < len(facts) else ""
        message = f"{name}: {worker} found {len(to_search)} targets in {time.monotonic() - began:.1f} s{known}"
        logger.info("%s: %s", self._id, message)
        self._registry.log(self._id, "info", message)
