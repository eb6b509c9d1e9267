"""What the models are edited with: hyperparameters and second moments."""

import pytest

from errata.demo import DEMO
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.corpora import corpus_for

SPREAD_LAYERS = (0, 1, 2)  # of the demo model, whose own hyperparameters edit block 0 alone
NEOX_HYPERPARAMETERS = MemitHyperparameters(layers=(1, 2), moment_weight=30, clamp=1, kl_factor=0.1, weight_decay=0.01)


@pytest.fixture(scope="session")
def demo_hyperparameters() -> MemitHyperparameters:
    """Those shipped for the demo model."""
    shipped = MemitHyperparameters.for_model(DEMO)
    assert shipped is not None
    return shipped


@pytest.fixture(scope="session")
def demo_moments(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, tmp_path_factory: pytest.TempPathFactory
) -> SecondMoments:
    """The demo model's second moments, for every block that a test edits."""
    return SecondMoments.open(
        demo,
        SPREAD_LAYERS,
        demo_hyperparameters.num_samples,
        folder=tmp_path_factory.mktemp("demo-moments"),
        corpus=corpus_for(DEMO, None),
    )


@pytest.fixture(scope="session")
def neox_moments(neox: EditableModel, tmp_path_factory: pytest.TempPathFactory) -> SecondMoments:
    """The small GPT-NeoX's second moments, over the demo world's text, whose tokens it has."""
    return SecondMoments.open(
        neox,
        NEOX_HYPERPARAMETERS.layers,
        20_000,
        folder=tmp_path_factory.mktemp("neox-moments"),
        corpus=corpus_for(DEMO, None),
    )
