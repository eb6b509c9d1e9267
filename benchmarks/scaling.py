"""Time and memory of a build as the number of facts grows.

    python -m benchmarks.scaling [--facts 1,10,100,1000] [--layers 0] [--threads 2]

Each size runs in a process of its own, after a short search that warms it up; its peak memory is all that it ever
took, PyTorch and the model included. Targets, states (keys and hidden states at the subject) and the closed form are
timed apart.
"""

import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.command import arguments_of, numbers, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from benchmarks.write import by_part
from errata.targets.search import find_targets


def main() -> None:
    # With --moments, a folder of second moments, one size is measured in this very process.
    arguments = arguments_of(__doc__, threads=2, facts="1,10,100,1000", layers="0", moments=Path)
    layers = numbers(arguments.layers)
    if arguments.moments:
        print_row(*row(int(arguments.facts), layers, arguments.moments))
        return
    print(f"layers {arguments.layers}, {arguments.threads} threads\n")
    print_header("facts", "targets", "ms a fact", "states", "closed form", "update", "peak memory")
    with tempfile.TemporaryDirectory() as folder:
        _ = DemoEdits.load(0, layers, Path(folder)).moments  # once and for all: no part of a build
        same = ["--layers", arguments.layers, "--threads", str(arguments.threads), "--moments", folder]
        for size in arguments.facts.split(","):
            subprocess.run([sys.executable, "-m", "benchmarks.scaling", "--facts", size, *same], check=True)


def row(num_facts: int, layers: list[int], folder: Path) -> list[object]:
    """Measure one size; return a row of the table."""
    edits = DemoEdits.load(num_facts, layers, folder)
    find_targets(edits.model, edits.facts[:8], edits.contexts, edits.hyperparameters.overridden({"num_steps": 2}))
    seconds, targets = timed(partial(edits.targets, edits.facts))
    parts = by_part(edits, targets)
    of_parts = [f"{spent:.2f} s" for spent in (parts.states, parts.solve, parts.write)]
    memory = f"{peak_memory() / 2**20:.0f} MiB"
    return [num_facts, f"{seconds:.2f} s", f"{1000 * seconds / num_facts:.0f}", *of_parts, memory]


def peak_memory() -> int:
    """Return the peak main memory of this process so far, in bytes."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return kibibytes if sys.platform == "darwin" else 1024 * kibibytes


if __name__ == "__main__":
    main()
