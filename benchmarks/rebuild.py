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

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time

from torch import Tensor

from benchmarks.command import numbers, parsed, parser_for, print_header, print_row
from benchmarks.demo_edits import DemoEdits
from benchmarks.write import Parts, by_part, timed
from errata.deltas import edited_weights
from errata.evaluation import Evaluation, cases_of, evaluate
from errata.facts import Fact, FactSet
from errata.methods.memit import build
from errata.methods.method import Built
from errata.second_moments import SecondMoments
from errata.targets.search import find_targets
from errata.targets.store import BuildStore

TURNS = 3


def main() -> None:
    parser = parser_for(__doc__, threads=1)
    parser.add_argument(
        "--facts", type=numbers, default="100,1000", help="numbers of facts before, separated by commas"
    )
    parser.add_argument("--new", type=numbers, default="1,20", help="numbers of new facts, separated by commas")
    parser.add_argument("--layers", type=numbers, default="0", help="edited layers, separated by commas")
    arguments = parsed(parser)
    layers, added = arguments.layers, arguments.new
    print(f"layers {','.join(map(str, layers))}, {arguments.threads} thread(s), seconds of the processor\n")
    columns = ("facts", "new", "stored targets", "search", "all states", "closed form", "update", "rebuild")
    print_header(*columns, "from nothing", "times as fast", "measuring")
    with tempfile.TemporaryDirectory() as folder:
        for num_facts in arguments.facts:
            edits = DemoEdits.load(num_facts + max(added), layers)
            moments = edits.second_moments(Path(folder, "moments"))
            known = Path(folder, f"what is known of {num_facts}")
            build_all(replace(edits, facts=edits.facts[:num_facts]), moments, known)
            for num_new in added:
                both = replace(edits, facts=edits.facts[: num_facts + num_new])
                print_row(*row(both, num_new, known, moments))


def found(edits: DemoEdits, facts: Sequence[Fact], store: Path) -> Tensor:
    """Return the targets of facts, from `store` or else searched for and kept there."""
    return find_targets(edits.model, facts, edits.contexts, edits.hyperparameters, store=BuildStore(store))


def row(edits: DemoEdits, num_new: int, known: Path, moments: SecondMoments) -> list[object]:
    """Add the last facts to the others, whose targets are `known`; return a row of the table."""
    num_facts = len(edits.facts) - num_new
    stored, search, whole = [], [], []
    parts: list[Parts] = []
    for _ in range(TURNS):
        with copied(known) as store:
            whole.append(timed(partial(build_all, edits, moments, store), process_time)[0])
        with copied(known) as store:
            stored.append(timed(partial(found, edits, edits.facts[:num_facts], store), process_time)[0])
            search.append(timed(partial(found, edits, edits.facts[num_facts:], store), process_time)[0])
            targets = found(edits, edits.facts, store)
        parts.append(by_part(edits, targets, moments, process_time))
    with tempfile.TemporaryDirectory() as empty:
        from_nothing, built = timed(partial(build_all, edits, moments, Path(empty)), process_time)
    measuring, _ = timed(partial(measure, edits, built), process_time)
    rebuild, states = median(whole), median(part.states for part in parts)
    solve, write = median(part.solve for part in parts), median(part.write for part in parts)
    figures = [f"{seconds:.2f} s" for seconds in (median(stored), median(search), states, solve, write, rebuild)]
    ratio = f"{from_nothing / rebuild:.0f}"
    return [num_facts, num_new, *figures, f"{from_nothing:.1f} s", ratio, f"{measuring:.1f} s"]


def build_all(edits: DemoEdits, moments: SecondMoments, store: Path) -> Built:
    """Build all facts at once."""
    facts, kept = FactSet(edits.facts), BuildStore(store)
    return build(edits.model, facts, edits.hyperparameters, moments, contexts=edits.contexts, store=kept)


def measure(edits: DemoEdits, built: Built) -> Evaluation:
    """Measure what the worker measures of a version: how many of its facts hold, and its drift."""
    return evaluate(edits.model, cases_of(edits.model, edits.facts), edited_weights(edits.model, built.deltas))


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """Copy a folder; remove the copy in the end."""
    with tempfile.TemporaryDirectory() as beside:
        yield Path(shutil.copytree(folder, Path(beside, "copy")))


if __name__ == "__main__":
    main()
