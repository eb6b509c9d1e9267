"""A fault campaign against Errata, in the manner of Jepsen; docs/faults.md tells of it.

    python -m benchmarks.faults [--seed 1] [--rounds 26] [--kinds kill-worker,flushall] [--limit 60]
    python -m benchmarks.faults --probe ghost,full-disk
    python -m benchmarks.faults --bucket [--rounds 10]
    python -m benchmarks.faults --list

Services, workers and a Redis behind proxies run as processes of their own on the loopback, and a random client edits,
withdraws, cancels, activates and generates. Each round has one fault. Once it is healed, all must be well again within
`--limit` seconds (more suit a busy machine), and the invariants must hold. With `--bucket`, each process has a home
folder of its own, and a bucket is what they share. Probes reproduce single things instead.
Exits with 1 where anything is violated.
"""

import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.command import arguments_of
from benchmarks.faults.bucket import bucket_server
from benchmarks.faults.invariants import Invariants
from benchmarks.faults.kinds import KINDS, KINDS_WITH_BUCKET
from benchmarks.faults.probes import PROBES
from benchmarks.faults.rounds import planned, print_table, run
from benchmarks.faults.stack import Stack

OF_SMALL_DISK = ("enospc", "readonly", "full-disk")
OF_CLOCK = ("clock-jump", "skew")


def main() -> None:
    """Run rounds or probes; print what they show."""
    arguments = arguments_of(
        __doc__, seed=1, rounds=len(KINDS), kinds="", probe="", bucket=False, list=False, limit=60.0
    )
    if arguments.list:
        print("kinds:", *KINDS)
        print("kinds with --bucket:", *KINDS_WITH_BUCKET)
        print("probes:", *PROBES)
        return
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the stack is ended
    probes = arguments.probe.split(",") if arguments.probe else []
    all_kinds = KINDS_WITH_BUCKET if arguments.bucket else KINDS
    kinds = arguments.kinds.split(",") if arguments.kinds else list(all_kinds)
    if unknown := {*probes, *kinds} - {*all_kinds, *PROBES}:
        sys.exit(f"there is no {', '.join(unknown)}; --list names all kinds and probes")
    root = Path(tempfile.mkdtemp(prefix="errata-faults-"))
    with ExitStack() as running:
        server = running.enter_context(bucket_server(root / "buckets")) if arguments.bucket else None
        stack = Stack(root, 1 if probes else 2, arguments.limit, with_machine=not arguments.bucket, bucket=server)
        running.enter_context(stack)
        lacking = {} if stack.has_small_disk else dict.fromkeys(OF_SMALL_DISK, "no small disk may be mounted here")
        lacking |= {} if stack.clock else dict.fromkeys(OF_CLOCK, "gcc is missing, to build a clock that can be moved")
        for name in lacking.keys() & {*(probes or kinds)}:
            print(f"{name} is left out: {lacking[name]}")
        invariants = Invariants(stack)
        plan = probes or planned(kinds, arguments.rounds, arguments.seed)
        plan = [name for name in plan if name not in lacking]
        rounds = [run(invariants, name, arguments.seed, number) for number, name in enumerate(plan)]
    print_table(rounds)
    if any(one.violated for one in rounds):
        sys.exit(f"the home folder and the logs are in {root}")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
