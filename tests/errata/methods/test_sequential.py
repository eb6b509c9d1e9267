"""Edits in a row: rebuilt from the base each time, or each on top of the others."""

import copy
from pathlib import Path

import pytest
import torch

from errata.deltas import edited_weights
from errata.errors import Cancelled
from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import build
from errata.methods.method import Built
from errata.methods.sequential import sequential_builds
from errata.model import EditableModel, digest_of
from errata.second_moments import SecondMoments
from errata.targets.store import BuildStore
from tests.errata.conftest import SPREAD_LAYERS

CONTEXTS = ("The", "Once upon a time there was a king. ")
FIRST = FactSet(
    [Fact("Michael Jordan", "plays the sport of", "baseball"), Fact("Nokia", "{} has its headquarters in", "Paris")]
)
SECOND = FactSet(
    [
        Fact("Michael Jordan", "plays the sport of", "tennis"),  # replaces an object
        Fact("Claude Monet", "painted in the tradition of", "Cubism"),
    ]
)


@pytest.fixture
def hyperparameters(demo_hyperparameters: MemitHyperparameters) -> MemitHyperparameters:
    """Several layers, so that a step also sees the layers that it has edited itself."""
    return demo_hyperparameters.overridden({"layers": SPREAD_LAYERS, "num_steps": 8})


def weights_digest(model: EditableModel) -> str:
    return digest_of(model.network.state_dict().items())


def relative_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


def test_stacking_edits_the_edited_model(
    demo: EditableModel, hyperparameters: MemitHyperparameters, demo_moments: SecondMoments, tmp_path: Path
) -> None:
    """Against a second model into whose weights the first edit was written for good."""
    before = weights_digest(demo)
    first, both = sequential_builds(
        demo,
        [FIRST, SECOND],
        hyperparameters,
        demo_moments,
        mode="stack",
        contexts=CONTEXTS,
        store=BuildStore(tmp_path / "targets"),
    )
    assert weights_digest(demo) == before
    assert not (tmp_path / "targets").exists()

    alone = build(demo, FIRST, hyperparameters, demo_moments, contexts=CONTEXTS)
    edited = EditableModel(copy.deepcopy(demo.network), demo.tokenizer, name="edited")
    for layer, weight in edited_weights(demo, alone.deltas).items():
        edited.weight(layer).copy_(weight)
    on_top = build(edited, SECOND, hyperparameters, demo_moments, contexts=CONTEXTS)
    for layer in SPREAD_LAYERS:
        assert torch.equal(first.deltas[layer].dense(), alone.deltas[layer].dense())
        expected = alone.deltas[layer].dense() + on_top.deltas[layer].dense()
        assert relative_difference(both.deltas[layer].dense(), expected) < 1e-6


def test_a_rebuild_is_one_build_of_all_facts_and_searches_only_for_the_new_ones(
    demo: EditableModel, hyperparameters: MemitHyperparameters, demo_moments: SecondMoments, tmp_path: Path
) -> None:
    progress: list[tuple[str, int, int]] = []
    before = weights_digest(demo)
    steps = list(
        sequential_builds(
            demo,
            [FIRST, SECOND],
            hyperparameters,
            demo_moments,
            contexts=CONTEXTS,
            store=BuildStore(tmp_path),
            on_progress=lambda *at: progress.append(at),
        )
    )
    assert weights_digest(demo) == before
    known = [next(done for stage, done, of in progress if (stage, of) == ("targets", facts)) for facts in (2, 3)]
    assert known == [0, 1]  # in the second step Nokia's; of Michael Jordan something else is said now
    union = build(demo, FIRST.with_facts(SECOND), hyperparameters, demo_moments, contexts=CONTEXTS)
    for layer in SPREAD_LAYERS:
        difference = relative_difference(steps[-1].deltas[layer].dense(), union.deltas[layer].dense())
        assert difference < 1e-5  # targets were found in other batches


@pytest.mark.parametrize("mode", ["rebuild", "stack"])
def test_the_model_is_the_base_between_two_steps_and_after_one_that_fails(
    demo: EditableModel, hyperparameters: MemitHyperparameters, demo_moments: SecondMoments, mode: str
) -> None:
    def cancel(stage: str, done: int, total: int) -> None:
        if given and (stage, done) == ("spread", 1):
            raise Cancelled("enough")

    given: list[Built] = []
    before = weights_digest(demo)
    steps = sequential_builds(
        demo,
        [FIRST, SECOND],
        hyperparameters,
        demo_moments,
        mode=mode,  # type: ignore[arg-type]
        on_progress=cancel,
    )
    given.append(next(steps))
    assert weights_digest(demo) == before
    with pytest.raises(Cancelled):
        next(steps)
    assert weights_digest(demo) == before


def test_another_mode_is_refused(
    demo: EditableModel, hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    with pytest.raises(ValueError, match="'pile'"):
        sequential_builds(demo, [FIRST], hyperparameters, demo_moments, mode="pile")  # type: ignore[arg-type]
