"""What the benchmarks on the demo model work with: the model, its hyperparameters, and counterfactual edits."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from errata.demo import DEMO
from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from errata.evaluation import read_records
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
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
        """The first `num_facts` counterfactual edits of the demo world; `layers` instead of the shipped ones."""
        model = EditableModel.load(DEMO)
        hyperparameters = MemitHyperparameters.for_model(DEMO)
        assert hyperparameters is not None
        if layers:
            hyperparameters = hyperparameters.overridden({"layers": list(layers)})
        records = counterfactual_records(load_world())
        if num_facts > len(records):
            raise SystemExit(f"there are {len(records)} records, too few for {num_facts} facts")
        facts = tuple(record.fact for record in read_records(records[:num_facts]))
        return cls(model, hyperparameters, sample_contexts(model, hyperparameters.seed), facts)

    def second_moments(self, folder: Path) -> SecondMoments:
        """The demo model's, collected into `folder`, with the factors of the edited layers."""
        layers = self.hyperparameters.layers
        moments = SecondMoments.open(
            self.model, layers, self.hyperparameters.num_samples, folder=folder, corpus=corpus_for(DEMO, None)
        )
        moments.compute_factors(layers, self.model.device)
        return moments


def parser_for(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows `--threads` and shows a module's docstring."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="CPU cores to use")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with PyTorch told its number of threads."""
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments


def layer_numbers(text: str) -> list[int]:
    """`0,1,2` as numbers."""
    return [int(layer) for layer in text.split(",")]
