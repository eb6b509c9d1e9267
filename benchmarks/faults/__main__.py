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
from pathlib import Path

import torch

from benchmarks.command import arguments_of
from benchmarks.faults import clock, disk
from benchmarks.faults.invariants import Invariants
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.rounds import planned, play, print_table
from benchmarks.faults.stack import Stack

WITH_SMALL_DISK = {"enospc", "readonly", "full-disk"}
WITH_MOVABLE_CLOCK = {"clock-jump", "skew"}


def main() -> None:
    """Run rounds or probes; print what they show."""
    arguments = arguments_of(__doc__, seed=1, rounds=len(KINDS), kinds="", probe="", list=False, limit=60.0)
    if arguments.list:
        print("kinds:", *KINDS)
        return
    torch.set_num_threads(1)
    kinds = _possible(arguments.kinds.split(",") if arguments.kinds else list(KINDS))
    root = Path(tempfile.mkdtemp(prefix="errata-faults-"))
    with Stack(
        root,
        limit_s=arguments.limit,
        small_disk=disk.can_mount(),
        movable_clock=clock.library() is not None,
    ) as stack:
        invariants = Invariants(stack)
        plan = planned(kinds, arguments.rounds, arguments.seed)
        rounds = [play(invariants, kind, arguments.seed, number) for number, kind in enumerate(plan)]
    print_table(rounds)
    if any(one.violated for one in rounds):
        sys.exit(f"the home folder and the logs are in {root}")
    shutil.rmtree(root)


def _possible(names: list[str]) -> list[str]:
    """Leave out, and say so, what this machine cannot do."""
    lacking = {
        "this user may not mount a small disk": WITH_SMALL_DISK if not disk.can_mount() else set(),
        "there is no gcc for a clock that can be moved": WITH_MOVABLE_CLOCK if clock.library() is None else set(),
    }
    for why, left_out in lacking.items():
        for name in left_out & set(names):
            print(f"{name} is left out: {why}")
    return [name for name in names if not any(name in left_out for left_out in lacking.values())]


if __name__ == "__main__":
    main()
