"""Time and memory of a build as the number of facts grows.

    python -m benchmarks.scaling [--facts 1,10,100,1000] [--layers 0] [--threads 2]

Each size runs in a process of its own, after a short search that warms it up; its peak memory is all that it ever
took, PyTorch and the model included. Targets, states (keys and hidden states at the subject) and the closed form are
timed apart.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import numbers, parsed, parser_for, print_header, print_row
from benchmarks.demo_edits import DemoEdits
from benchmarks.write import by_part
from errata.targets.search import find_targets


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--facts", default="1,10,100,1000", help="sizes, separated by commas")
    parser.add_argument("--layers", default="0", help="edited layers, separated by commas")
    parser.add_argument("--moments", type=Path, help="folder of second moments: measure in this very process")
    arguments = parsed(parser)
    layers = numbers(arguments.layers)
    if arguments.moments:
        print_row(*row(int(arguments.facts), layers, arguments.moments))
        return
    print(f"layers {arguments.layers}, {arguments.threads} threads\n")
    print_header("facts", "targets", "ms a fact", "states", "closed form", "update", "peak memory")
    with tempfile.TemporaryDirectory() as folder:
        DemoEdits.load(0, layers).second_moments(Path(folder))  # once and for all: no part of a build
        same = ["--layers", arguments.layers, "--threads", str(arguments.threads), "--moments", folder]
        for size in arguments.facts.split(","):
            subprocess.run([sys.executable, "-m", "benchmarks.scaling", "--facts", size, *same], check=True)


def row(num_facts: int, layers: list[int], folder: Path) -> list[object]:
    """Measure one size; return a row of the table."""
    edits = DemoEdits.load(num_facts, layers)
    moments = edits.second_moments(folder)
    find_targets(edits.model, edits.facts[:8], edits.contexts, edits.hyperparameters.overridden({"num_steps": 2}))
    began = time.perf_counter()
    targets = find_targets(edits.model, edits.facts, edits.contexts, edits.hyperparameters)
    seconds = time.perf_counter() - began
    parts = by_part(edits, targets, moments)
    of_parts = [f"{spent:.2f} s" for spent in (parts.states, parts.solve, parts.write)]
    memory = f"{peak_memory() / 2**20:.0f} MiB"
    return [num_facts, f"{seconds:.2f} s", f"{1000 * seconds / num_facts:.0f}", *of_parts, memory]


def peak_memory() -> int:
    """Return the peak main memory of this process so far, in bytes."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return kibibytes if sys.platform == "darwin" else 1024 * kibibytes


if __name__ == "__main__":
    main()
