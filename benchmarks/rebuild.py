"""The cost of adding facts to a version: all facts are built anew, but only new targets are searched for.

    python -m benchmarks.rebuild [--facts 100,1000] [--new 1,20] [--layers 0] [--threads 1]

For n facts that were edited in before and k new ones: `build` of n + k with the store that `build` of the n left,
against `build` of n + k with an empty one. Contexts and second moments are there already. Parts are timed in runs of
their own: reading the stored targets, searching for the new ones, the states of all facts (keys and hidden states at
the subject: what the store saves of them), the closed form, and the update. Medians of three turns, each with a store
of its own; from nothing there is one. Beside them stands what the worker does next: it measures the version on the
prompts of all its facts.

Seconds are those of the processor, which others on a shared machine change little; of one thread unless told otherwise.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.command import arguments_of, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from benchmarks.write import by_part
from errata.evaluation import cases_of
from errata.targets.store import BuildStore

TURNS = 3


def main() -> None:
    arguments = arguments_of(__doc__, threads=1, facts=[100, 1000], new=[1, 20], layers=[0])
    layers, added = arguments.layers, arguments.new
    print(f"layers {','.join(map(str, layers))}, {arguments.threads} thread(s), seconds of the processor\n")
    columns = ("facts", "new", "stored targets", "search", "all states", "closed form", "update", "rebuild")
    print_header(*columns, "from nothing", "times as fast", "measuring")
    with tempfile.TemporaryDirectory() as folder:
        for num_facts in arguments.facts:
            edits = DemoEdits.load(num_facts + max(added), layers)
            known = Path(folder, f"what is known of {num_facts}")
            edits.build(edits.facts[:num_facts], BuildStore(known))
            for num_new in added:
                print_row(*row(edits, num_facts, num_new, known))


def row(edits: DemoEdits, num_facts: int, num_new: int, known: Path) -> list[object]:
    """Add new facts to the first ones, whose targets are `known`; return a row of the table."""
    facts = edits.facts[: num_facts + num_new]
    stored, search, whole, parts = [], [], [], []
    for _ in range(TURNS):
        with copied(known) as store:
            whole.append(timed(partial(edits.build, facts, store), process_time)[0])
        with copied(known) as store:
            stored.append(timed(partial(edits.targets, facts[:num_facts], store), process_time)[0])
            search.append(timed(partial(edits.targets, facts[num_facts:], store), process_time)[0])
            targets = edits.targets(facts, store)
        parts.append(by_part(edits, targets, process_time, facts))
    with tempfile.TemporaryDirectory() as empty:
        from_nothing, built = timed(partial(edits.build, facts, BuildStore(Path(empty))), process_time)
    measuring, _ = timed(lambda: edits.measure(built, cases_of(edits.model, facts)), process_time)
    rebuild = median(whole)
    of_parts = (median(getattr(part, name) for part in parts) for name in ("states", "solve", "write"))
    figures = [f"{seconds:.2f} s" for seconds in (median(stored), median(search), *of_parts, rebuild)]
    ratio = f"{from_nothing / rebuild:.0f}"
    return [num_facts, num_new, *figures, f"{from_nothing:.1f} s", ratio, f"{measuring:.1f} s"]


@contextmanager
def copied(folder: Path) -> Iterator[BuildStore]:
    """Copy a store's folder; remove the copy in the end."""
    with tempfile.TemporaryDirectory() as beside:
        yield BuildStore(Path(shutil.copytree(folder, Path(beside, "copy"))))


if __name__ == "__main__":
    main()
