"""The demo model, its hyperparameters and second moments, and counterfactual edits of its world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from errata.evaluation import Case, Evaluation, Record, evaluate, read_records
from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters, MomentHyperparameters
from errata.methods.memit import build
from errata.methods.method import Built
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.corpora import corpus_for
from errata.targets.contexts import sample_contexts
from errata.targets.search import find_targets
from errata.targets.store import BuildStore

_scratch = TemporaryDirectory(prefix="errata-moments-")  # as long as the process


@dataclass(frozen=True)
class DemoEdits:
    """Edits of the demo model, and what they need."""

    model: EditableModel
    hyperparameters: MemitHyperparameters
    contexts: tuple[str, ...]
    records: tuple[Record, ...]
    folder: Path

    @classmethod
    def load(cls, num_facts: int, layers: Sequence[int] | None = None, folder: Path = Path(_scratch.name)) -> DemoEdits:
        """Load the first `num_facts` edits; edit `layers` instead of the shipped ones."""
        model = EditableModel.load(DEMO)
        hyperparameters = MemitHyperparameters.for_model(DEMO)
        assert hyperparameters is not None
        if layers:
            hyperparameters = hyperparameters.overridden({"layers": list(layers)})
        contexts = sample_contexts(model, hyperparameters.seed)
        return cls(model, hyperparameters, contexts, tuple(demo_records(num_facts)), folder)

    @property
    def facts(self) -> tuple[Fact, ...]:
        return tuple(record.fact for record in self.records)

    @cached_property
    def moments(self) -> SecondMoments:
        """Second moments, collected into `folder` when they are first needed, with the edited layers' factors."""
        moments = demo_moments(self.model, self.hyperparameters, self.folder)
        moments.compute_factors(self.hyperparameters.layers, self.model)
        return moments

    def targets(self, facts: Sequence[Fact], store: BuildStore | None = None) -> Tensor:
        """Return the targets of facts, from `store` or else searched for and kept there."""
        return find_targets(self.model, facts, self.contexts, self.hyperparameters, store=store)

    def build(
        self, facts: Iterable[Fact], store: BuildStore | None = None, moments: SecondMoments | None = None
    ) -> Built:
        """Build the facts at once, by the second moments given or else these."""
        given = (FactSet(facts), self.hyperparameters, moments or self.moments)
        return build(self.model, *given, contexts=self.contexts, store=store)

    def measure(self, built: Built, cases: Sequence[Case]) -> Evaluation:
        """Measure the edited model."""
        return evaluate(self.model, cases, edited_weights(self.model, built.deltas))


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
