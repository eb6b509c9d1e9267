"""A fault campaign against Errata, in the manner of Jepsen; docs/faults.md tells of it.

    python -m benchmarks.faults [--seed 1] [--rounds 26] [--kinds kill-worker,flushall] [--limit 60]
    python -m benchmarks.faults --probe ghost,full-disk
    python -m benchmarks.faults --list

Services, workers and a Redis behind proxies run as processes of their own on the loopback, and a random client edits,
withdraws, cancels, activates and generates. Each round has one fault. Once it is healed, all must be well again within
`--limit` seconds (more suit a busy machine), and the invariants must hold. Probes reproduce single things instead.
Exits with 1 where anything is violated.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.command import arguments_of
from benchmarks.faults import clock, disk
from benchmarks.faults.invariants import Invariants
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.probes import PROBES
from benchmarks.faults.rounds import planned, play, print_table, probe
from benchmarks.faults.stack import Stack

WITH_SMALL_DISK = ("enospc", "readonly", "full-disk")
WITH_MOVABLE_CLOCK = ("clock-jump", "skew")


def main() -> None:
    """Run rounds or probes; print what they show."""
    arguments = arguments_of(__doc__, seed=1, rounds=len(KINDS), kinds="", probe="", list=False, limit=60.0)
    if arguments.list:
        print("kinds:", *KINDS)
        print("probes:", *PROBES)
        return
    torch.set_num_threads(1)
    probes = arguments.probe.split(",") if arguments.probe else []
    kinds = [] if probes else arguments.kinds.split(",") if arguments.kinds else list(KINDS)
    plan = planned(_possible(kinds), arguments.rounds, arguments.seed)
    root = Path(tempfile.mkdtemp(prefix="errata-faults-"))
    with Stack(
        root,
        workers=1 if probes else 2,
        limit_s=arguments.limit,
        small_disk=disk.can_mount(),
        movable_clock=clock.library() is not None,
    ) as stack:
        invariants = Invariants(stack)
        rounds = [probe(invariants, name) for name in _possible(probes)]
        rounds += [play(invariants, kind, arguments.seed, number) for number, kind in enumerate(plan)]
    print_table(rounds)
    if any(one.violated for one in rounds):
        sys.exit(f"the home folder and the logs are in {root}")
    shutil.rmtree(root)


def _possible(names: Sequence[str]) -> list[str]:
    """Leave out, and say so, what this machine cannot do."""
    left_out = dict.fromkeys([] if disk.can_mount() else WITH_SMALL_DISK, "this user may not mount a small disk")
    if clock.library() is None:
        left_out |= dict.fromkeys(WITH_MOVABLE_CLOCK, "there is no gcc to build a clock with that can be moved")
    for name in left_out.keys() & set(names):
        print(f"{name} is left out: {left_out[name]}")
    return [name for name in names if name not in left_out]


if __name__ == "__main__":
    main()
