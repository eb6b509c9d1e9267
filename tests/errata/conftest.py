"""What the models are edited with: hyperparameters and second moments."""

from pathlib import Path

import pytest

from errata.demo import DEMO
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.corpora import corpus_for
from tests.conftest import MadeOnce

SPREAD_LAYERS = (0, 1, 2)  # of the demo model, whose own hyperparameters edit block 0 alone
NEOX_HYPERPARAMETERS = MemitHyperparameters(layers=(1, 2), moment_weight=30, clamp=1, kl_factor=0.1, weight_decay=0.01)


@pytest.fixture(scope="session")
def demo_hyperparameters() -> MemitHyperparameters:
    """Those shipped for the demo model."""
    shipped = MemitHyperparameters.for_model(DEMO)
    assert shipped is not None
    return shipped


@pytest.fixture(scope="session")
def demo_moments(demo: EditableModel, demo_hyperparameters: MemitHyperparameters, made_once: MadeOnce) -> SecondMoments:
    """The demo model's second moments, for every block that a test edits."""

    def collect(folder: Path) -> SecondMoments:
        num_samples, corpus = demo_hyperparameters.num_samples, corpus_for(DEMO, None)
        return SecondMoments.open(demo, SPREAD_LAYERS, num_samples, folder=folder, corpus=corpus)

    return SecondMoments(made_once("demo-moments", collect))


@pytest.fixture(scope="session")
def neox_moments(neox: EditableModel, made_once: MadeOnce) -> SecondMoments:
    """The small GPT-NeoX's second moments, over the demo world's text, whose tokens it has."""

    def collect(folder: Path) -> SecondMoments:
        layers, corpus = NEOX_HYPERPARAMETERS.layers, corpus_for(DEMO, None)
        return SecondMoments.open(neox, layers, 20_000, folder=folder, corpus=corpus)

    return SecondMoments(made_once("neox-moments", collect))
