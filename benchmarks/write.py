"""Writing found targets into the layers: Errata's spread against a loop that reruns everything, on the same facts.

    python -m benchmarks.write [--facts 100] [--layers "0;0,1,2"] [--threads 2]

The loop (tests/errata/plain_memit.py) follows the computation of MEMIT's authors: for every layer, every prompt in
every context goes through the whole model, and a general solver takes lambda C + K K^T. The two take turns; a row gives
the median of each. Targets are the facts' own hidden states, moved in random directions as far as the clamp allows.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from benchmarks.command import Clock, arguments_of, numbers, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from errata.deltas import Delta, edited_weight
from errata.facts import Fact
from errata.methods.closed_form import adjusted_keys
from errata.methods.memit import weighed_keys
from errata.methods.method import Inputs
from errata.methods.spread import spread
from errata.model.hidden_states import SubjectStates
from tests.errata.plain_memit import plain_spread

TURNS = 3


@dataclass(slots=True)
class Parts:
    """Seconds on `clock` that the parts of a spread take, summed over the layers."""

    clock: Clock = time.perf_counter
    states: float = 0.0
    solve: float = 0.0
    write: float = 0.0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        before, self._began = self._began, self.clock()
        return self._began - before


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, facts=100, layers="0;0,1,2")
    print(f"{arguments.facts} facts, median of {TURNS} turns, {arguments.threads} threads\n")
    columns = ("layers", "plain loop", "Errata", "times as fast", "of it states", "solve", "write")
    print_header(*columns, "largest relative error")
    for layers in arguments.layers.split(";"):
        print_row(*row(layers, DemoEdits.load(arguments.facts, numbers(layers))))


def moved(edits: DemoEdits) -> Tensor:
    """Return each fact's hidden state plus an offset of the largest norm that a search may give it."""
    last = edits.hyperparameters.layers[-1]
    _, hidden = SubjectStates(edits.model, edits.facts, ()).read(last, last)
    offsets: Tensor = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    largest: Tensor = edits.hyperparameters.clamp * hidden.norm(dim=1, keepdim=True)
    scale: Tensor = largest / offsets.norm(dim=1, keepdim=True)
    return hidden + offsets * scale


def row(layers: str, edits: DemoEdits) -> list[str]:
    """Time the two loops in turns; return a row of the table."""
    targets = moved(edits)
    moments = edits.moments
    inputs = Inputs(edits.model, edits.facts, edits.contexts, edits.hyperparameters, moments)

    def of_ours() -> dict[int, Delta]:
        return spread(inputs, targets, weighed_keys(inputs))

    def of_plain() -> dict[int, Tensor]:
        return plain_spread(edits.model, edits.facts, targets, edits.contexts, edits.hyperparameters, moments)

    of_ours()  # to warm up
    of_plain()
    ours, plain, parts = [], [], []
    for _ in range(TURNS):
        seconds, deltas = timed(of_ours)
        ours.append(seconds)
        parts.append(by_part(edits, targets))
        seconds, updates = timed(of_plain)
        plain.append(seconds)
    error = max(
        float((delta.dense().double() - updates[layer]).norm() / updates[layer].norm())
        for layer, delta in deltas.items()
    )
    figures = [median(getattr(part, name) for part in parts) for name in ("states", "solve", "write")]
    seconds_of_both = [f"{median(plain):.2f} s", f"{median(ours):.2f} s"]
    ratio = median(one / other for one, other in zip(plain, ours, strict=True))
    return [layers, *seconds_of_both, f"{ratio:.1f}", *(f"{figure:.3f} s" for figure in figures), f"{error:.1e}"]


def by_part(
    edits: DemoEdits, targets: Tensor, clock: Clock = time.perf_counter, facts: Sequence[Fact] | None = None
) -> Parts:
    """Take the steps of `errata.methods.spread.spread`, with a clock between them."""
    layers, moments = edits.hyperparameters.layers, edits.moments
    parts = Parts(clock)
    states = SubjectStates(edits.model, facts or edits.facts, edits.contexts)
    edited: dict[int, Tensor] = {}
    for done, layer in enumerate(layers):
        with edits.model.using(edited):
            keys, outputs = states.read(layer, layers[-1])
        parts.states += parts.lap()
        adjusted = adjusted_keys(moments, layer, keys, edits.hyperparameters.moment_weight)
        parts.solve += parts.lap()
        residuals = (targets - outputs).double() / (len(layers) - done)
        edited[layer] = edited_weight(layer, edits.model.weight(layer), Delta.of_factors(residuals.T, adjusted.T))
        parts.write += parts.lap()
    return parts


if __name__ == "__main__":
    main()
