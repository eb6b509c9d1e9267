"""The demo model, its hyperparameters and second moments, and counterfactual edits of its world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from errata.demo import DEMO
from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from errata.evaluation import Record, read_records
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters, MomentHyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.corpora import corpus_for
from errata.targets.contexts import sample_contexts


@dataclass(frozen=True, slots=True)
class DemoEdits:
    """Edits of the demo model, and what they need."""

    model: EditableModel
    hyperparameters: MemitHyperparameters
    contexts: tuple[str, ...]
    facts: tuple[Fact, ...]

    @classmethod
    def load(cls, num_facts: int, layers: Sequence[int] | None = None) -> DemoEdits:
        """Load the first `num_facts` edits; edit `layers` instead of the shipped ones."""
        model = EditableModel.load(DEMO)
        hyperparameters = MemitHyperparameters.for_model(DEMO)
        assert hyperparameters is not None
        if layers:
            hyperparameters = hyperparameters.overridden({"layers": list(layers)})
        facts = tuple(record.fact for record in demo_records(num_facts))
        return cls(model, hyperparameters, sample_contexts(model, hyperparameters.seed), facts)

    def second_moments(self, folder: Path) -> SecondMoments:
        """Collect the second moments into `folder`, with the factors of the edited layers."""
        moments = demo_moments(self.model, self.hyperparameters, folder)
        moments.compute_factors(self.hyperparameters.layers, self.model.device)
        return moments


def demo_records(num_records: int | None = None) -> list[Record]:
    """Return the first counterfactual edits of the demo world, or all of them."""
    records = counterfactual_records(load_world())
    if num_records is not None and num_records > len(records):
        raise SystemExit(f"there are {len(records)} records, too few for {num_records} facts")
    return read_records(records[:num_records])


def demo_moments(model: EditableModel, hyperparameters: MomentHyperparameters, folder: Path) -> SecondMoments:
    """Collect the demo model's second moments into `folder`."""
    layers, num_samples = hyperparameters.layers, hyperparameters.num_samples
    return SecondMoments.open(model, layers, num_samples, folder=folder, corpus=corpus_for(DEMO, None))
