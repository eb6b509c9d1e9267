"""How long a search will take on this machine, told by small pieces of it that are timed first."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from errata.evaluation import Record, outcomes_of
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.targets.search import find_targets
from errata.tuning.trials import Work

NUM_RECORDS = 4
NUM_TOKENS = 256
ROWS_PER_REFINED_FACT = 2  # the bare prompt and one behind a context


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that the pieces of a search take, none of which ends before its last step."""

    search: float  # for the target of a fact
    refinement_step: float  # for each fact
    measurement: float  # of a record
    moment: float  # for each key vector, and the second moments of all layers

    def seconds(self, work: Work, key_vectors: int = 0) -> float:
        """Return how long all of it takes."""
        return (
            work.searched * self.search
            + work.refined * self.refinement_step
            + work.measured * self.measurement
            + key_vectors * self.moment
        )


def pace_of(
    model: EditableModel,
    records: Sequence[Record],
    contexts: Sequence[str],
    settings: MemitHyperparameters,
    layers: Sequence[int],
) -> Pace:
    """Time a few steps of a target search, a measurement, and the keys and second moments of a text of some tokens.

    Args:
        layers: those that second moments are collected of, ascending.
    """
    some = records[:NUM_RECORDS]
    facts = [record.fact for record in some]

    def search(num_steps: int) -> float:
        hyperparameters = settings.overridden({"num_steps": num_steps, "stop_loss": 0.0})
        return _seconds(lambda: find_targets(model, facts, contexts, hyperparameters)) / len(facts)

    search(1)  # what runs first is slow
    forward, with_a_step = search(1), search(2)
    step = max(with_a_step - forward, forward)
    after_first, after_last = (model.num_layers - layer for layer in (settings.layers[0], settings.layers[-1]))
    rows = ROWS_PER_REFINED_FACT / (1 + len(contexts))
    return Pace(
        search=forward + step * (settings.num_steps - 1),
        refinement_step=step * rows * after_first / after_last,
        measurement=_seconds(lambda: outcomes_of(model, [record.case for record in some])) / len(some),
        moment=_seconds(lambda: _like_a_collection(model, layers)) / NUM_TOKENS,
    )


@torch.no_grad()
def _like_a_collection(model: EditableModel, layers: Sequence[int]) -> None:
    """Run a text through the blocks up to the last layer, and multiply as many keys of each layer by themselves."""
    length = min(NUM_TOKENS, model.max_length)
    for _ in range(NUM_TOKENS // length):
        model.run(0, layers[-1] + 1, model.embed(torch.zeros(1, length, dtype=torch.long, device=model.device)))
    for layer in layers:
        keys = torch.ones(NUM_TOKENS, model.matrix_shapes[layer][1], device=model.weight(layer).device)
        torch.mm(keys.T, keys)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
