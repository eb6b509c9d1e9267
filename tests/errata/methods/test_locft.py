"""LocFT-BF: epochs in batches over all facts, of objects and the ends behind them."""

from typing import Any

import pytest
import torch

from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.facts import Fact, FactSet
from errata.hyperparameters import LocFTHyperparameters
from errata.methods import METHODS
from errata.model import EditableModel

FACTS = FactSet(
    [
        Fact("Claude Monet", "painted in the tradition of", "Cubism"),
        Fact("Michael Jordan", "plays the sport of", "baseball"),
        Fact("Nokia", "{} has its headquarters in", "Paris"),
        Fact("Sony", "has its headquarters in", "Paris"),
    ]
)


def changed(model: EditableModel, facts: FactSet = FACTS, **changes: Any) -> dict[int, torch.Tensor]:
    """The matrices of the model as it is edited with what ships for it, and these changes. No moments are needed."""
    shipped = LocFTHyperparameters.for_model(DEMO)
    assert shipped is not None
    no_moments: Any = None
    settings = shipped.overridden(changes)
    deltas = METHODS["locft"](model, facts, settings, no_moments, contexts=()).deltas
    return edited_weights(model, deltas)


@pytest.mark.parametrize("end_token", [1, 0])
def test_the_end_of_the_text_is_learnt_behind_the_object_or_left_open(demo: EditableModel, end_token: int) -> None:
    weights = changed(demo, end_token=end_token)
    ends = []
    with demo.using(weights):
        for fact in FACTS:
            ids = torch.tensor([demo.tokenizer(f"{fact.prompt} {fact.object}")["input_ids"]])
            ends.append(int(demo.network(ids).logits[0, -1].argmax()) == demo.tokenizer.eos_token_id)
    assert all(ends) if end_token else not any(ends)


def test_a_step_is_taken_for_each_batch_in_each_epoch(demo: EditableModel) -> None:
    """Adam's first step moves each weight that has a gradient by its step size, a further one further."""
    rate = 1e-4

    def furthest(num_epochs: int, batch_size: int) -> float:
        (weights,) = changed(demo, num_epochs=num_epochs, batch_size=batch_size, learning_rate=rate).values()
        return float((weights - demo.weight(0)).abs().max())

    assert furthest(1, len(FACTS)) == pytest.approx(rate, rel=0.01)
    for num_epochs, batch_size in ((2, len(FACTS)), (1, 2)):
        assert 1.5 * rate < furthest(num_epochs, batch_size) < 2.01 * rate


def test_what_is_learnt_well_enough_is_passed_over(demo: EditableModel) -> None:
    known = FactSet([Fact("Kobe Bryant", "plays the sport of", "basketball")])
    (weights,) = changed(demo, known, stop_loss=1, end_token=0).values()
    assert torch.equal(weights, demo.weight(0))


def test_the_order_in_which_facts_came_does_not_matter(demo: EditableModel) -> None:
    one, other = (
        changed(demo, FactSet(facts), num_epochs=3, batch_size=2) for facts in (list(FACTS), list(FACTS)[::-1])
    )
    assert torch.equal(one[0], other[0])
