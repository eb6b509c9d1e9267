"""Target shards: how the search for an edit's targets is shared out, and the job that does one share of it.

What a shard finds lies in the store of targets; the build takes it from there and searches for whatever is missing.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from errata_client.records import Stage
from errata_registry.jobs.shards import ShardOrder

from errata.facts import Fact, by_subject
from errata.methods import METHODS
from errata.targets.search import find_targets
from errata.wordings import wordings_of
from errata_worker.progress import ShardProgressReport, WorkerStopping
from errata_worker.running import (
    Resources,
    claim,
    ending_with_what_goes_wrong,
    turn_at,
    waiting_out_the_disk,
)

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


def search_shard(edit_id: str, shard: int, resources: Resources) -> None:
    """Find the targets of a shard, unless that is done or the edit has ended; what goes wrong ends the edit.

    It may be run more than once; what was found before is not searched for again.

    Raises:
        WorkerStopping: the shard is not done; recovery finds it without a worker and queues it again.
        redis.RedisError: as `ending_with_what_goes_wrong`.
    """
    edits = resources.registry.edits
    with turn_at(edits, edit_id, resources, "target shard"):
        waiting_out_the_disk(edits, edit_id, resources.must_stop, partial(_take_turn, edit_id, shard, resources))


def _take_turn(edit_id: str, shard: int, resources: Resources) -> None:
    edits, limit_s = resources.registry.edits, resources.registry.settings.job_timeout_s
    with ending_with_what_goes_wrong(edits, edit_id, limit_s, resources.resident.is_device_lost):
        if not claim(edits, edit_id).ended and (order := edits.shards.order(edit_id, shard)):
            _search(order, resources)


def _search(order: ShardOrder, resources: Resources) -> None:
    began = time.monotonic()
    edits, worker = resources.registry.edits, resources.worker
    name = f"shard {order.shard + 1} of {len(order.sizes)}"
    known: int | None = None

    def on_progress(done: int, total: int) -> None:
        nonlocal known
        known = done if known is None else known  # what is done before the first step was in the store
        report(Stage.TARGETS, done, total)

    try:
        with ShardProgressReport(edits, order, resources.must_stop) as report:
            find_targets(
                resources.resident.model,
                wordings_of(resources.resident.model, order.facts),
                order.contexts,
                METHODS[order.method].hyperparameters.from_dict(order.hparams),
                store=resources.targets,
                on_progress=on_progress,
            )
    except WorkerStopping:
        edits.live.log(order.edit, "info", f"{worker} was told to stop; {name} goes back into the queue")
        raise
    found = order.sizes[order.shard] - (known or 0)
    but = f" ({known} were known)" if known else ""
    message = f"{name}: {worker} found {found} targets in {time.monotonic() - began:.1f} s{but}"
    logger.info("%s: %s", order.edit, message)
    edits.live.log(order.edit, "info", message)
    edits.shards.done(order)
