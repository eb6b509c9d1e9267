"""The metrics, on cases whose outcome follows from what the demo model knows."""

from __future__ import annotations

import pytest
import torch

from errata.evaluation import Case, cases_of, evaluate
from errata.facts import Fact, Neighbor
from errata.model import EditableModel

KOBE, FEDERER, DJOKOVIC = (f"{name} plays the sport of" for name in ("Kobe Bryant", "Roger Federer", "Novak Djokovic"))
# The model says: Kobe basketball, Federer tennis, Djokovic tennis. The paraphrase is of another player, to fail.
TAKES = Case(KOBE, "basketball", "tennis", (FEDERER,), (Neighbor(DJOKOVIC, "tennis"),))
DOES_NOT = Case(FEDERER, "golf", "tennis", (), (Neighbor(KOBE, "soccer"), Neighbor(DJOKOVIC, "tennis")))


def test_each_metric_is_of_its_own_prompts(demo: EditableModel) -> None:
    measured = evaluate(demo, [TAKES], {})
    assert (measured.efficacy, measured.efficacy_accuracy) == (1, 1)
    assert (measured.generalization, measured.generalization_accuracy) == (0, 0)
    assert (measured.specificity, measured.specificity_accuracy) == (1, 1)
    assert measured.score == 0
    assert measured.drift == pytest.approx(0, abs=1e-6)


def test_means_are_over_cases_and_what_has_no_prompts_is_not_measured(demo: EditableModel) -> None:
    measured = evaluate(demo, [TAKES, DOES_NOT], {})
    assert (measured.efficacy, measured.generalization) == (0.5, 0)
    assert measured.specificity_accuracy == pytest.approx(0.75)  # (1 + 1/2) / 2
    alone = evaluate(demo, [DOES_NOT], {})
    assert alone.generalization is None and alone.score is None


def test_a_destroyed_model_does_not_pass_for_one_that_knew_it_all(demo: EditableModel) -> None:
    (known,) = cases_of(demo, [Fact("Kobe Bryant", "plays the sport of", "basketball")])
    assert known.new == known.old == "basketball"
    assert evaluate(demo, [known], {}).efficacy == 1
    zeros = {layer: torch.zeros_like(demo.weight(layer)) for layer in range(demo.num_layers)}
    destroyed = evaluate(demo, [known], zeros)
    assert destroyed.efficacy == 0
    assert destroyed.drift > 1


def test_the_old_object_is_what_the_base_says_up_to_the_sentences_end(demo: EditableModel) -> None:
    (case,) = cases_of(demo, [Fact("Kobe Bryant", "plays the sport of", "a game that nobody else has heard of")])
    assert case.old == "basketball"
