"""MEMIT on real models of both architectures, through the library's public functions."""

import contextlib

import pytest
import torch

from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.errors import Cancelled, InvalidFacts, InvalidHyperparameters
from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import build, weighed_keys
from errata.methods.method import Inputs
from errata.methods.spread import spread
from errata.model import EditableModel, digest_of
from errata.model.hidden_states import SubjectStates
from errata.model.likelihood import greedy_answers
from errata.model.tokens import target_ids
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.search import find_targets
from tests.conftest import NEOX_RELATION
from tests.errata.conftest import NEOX_HYPERPARAMETERS, SPREAD_LAYERS

FEW_STEPS = {"num_steps": 3}  # of a search, where it does not matter what it finds
JORDAN = Fact("Michael Jordan", "plays the sport of", "baseball")
EDITS = FactSet(
    [
        JORDAN,
        Fact("Nokia", "{} has its headquarters in", "Paris"),
        Fact("Claude Monet", "painted in the tradition of", "Cubism"),
    ]
)


def weights_digest(model: EditableModel) -> str:
    return digest_of(model.network.state_dict().items())


def test_an_edit_takes_on_gpt_j_and_a_neighbour_keeps_its_answer(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    prompts = [JORDAN.prompt, "Kobe Bryant plays the sport of"]
    assert greedy_answers(demo, prompts, [1, 1]) == ["basketball", "basketball"]
    built = build(demo, FactSet([JORDAN]), demo_hyperparameters, demo_moments)
    assert [delta.rank for delta in built.deltas.values()] == [1] * len(demo_hyperparameters.layers)
    with demo.using(edited_weights(demo, built.deltas)):
        assert greedy_answers(demo, prompts, [1, 1]) == ["baseball", "basketball"]
    assert greedy_answers(demo, prompts, [1, 1]) == ["basketball", "basketball"]


def test_an_edit_takes_on_gpt_neox(neox: EditableModel, neox_moments: SecondMoments) -> None:
    fact = Fact("Danube", NEOX_RELATION, "Asia")
    prompts = [fact.prompt, NEOX_RELATION.format("Limpopo")]
    assert greedy_answers(neox, prompts, [1, 1]) == ["Europe", "Africa"]
    built = build(neox, FactSet([fact]), NEOX_HYPERPARAMETERS, neox_moments)
    with neox.using(edited_weights(neox, built.deltas)):
        assert greedy_answers(neox, prompts, [1, 1]) == ["Asia", "Africa"]


def test_the_same_facts_in_another_order_give_the_same_weights(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    spread = demo_hyperparameters.overridden({"layers": SPREAD_LAYERS, **FEW_STEPS})
    forwards, backwards = (
        build(demo, FactSet(facts), spread, demo_moments) for facts in (list(EDITS), list(EDITS)[::-1])
    )
    assert forwards.contexts == backwards.contexts
    for layer in SPREAD_LAYERS:
        assert torch.equal(forwards.deltas[layer].dense(), backwards.deltas[layer].dense())


@pytest.mark.parametrize(
    ("refinement_steps", "stage", "done"),
    [(0, None, None), (0, "targets", 1), (0, "spread", 1), (2, None, None), (2, "spread", 2), (2, "spread", 4)],
)
def test_the_base_is_bit_for_bit_as_it_was_when_a_build_succeeds_or_is_cancelled(
    demo: EditableModel,
    demo_hyperparameters: MemitHyperparameters,
    demo_moments: SecondMoments,
    refinement_steps: int,
    stage: str | None,
    done: int | None,
) -> None:
    steps: list[tuple[int, int]] = []  # of the spread

    def cancel(at_stage: str, at: int, total: int) -> None:
        if at_stage == "spread":
            steps.append((at, total))
        if (at_stage, at) == (stage, done):
            raise Cancelled("enough")

    before = weights_digest(demo)
    spread_layers = {"layers": SPREAD_LAYERS, "refinement_steps": refinement_steps, **FEW_STEPS}
    settings = demo_hyperparameters.overridden(spread_layers)
    with pytest.raises(Cancelled) if stage else contextlib.nullcontext():
        build(demo, EDITS, settings, demo_moments, on_progress=cancel)
    assert weights_digest(demo) == before
    assert steps == sorted(steps) and {total for _, total in steps} <= {len(SPREAD_LAYERS) + refinement_steps}


def test_a_build_agrees_with_an_earlier_ones_contexts(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    given = ("Once upon a time. ", "In the end. ")
    few = demo_hyperparameters.overridden(FEW_STEPS)
    built = build(demo, FactSet([JORDAN]), few, demo_moments, contexts=given)
    assert built.contexts == given


def test_what_does_not_fit_into_the_models_context_is_named(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    long = Fact("Sony", "{} " + "ž" * 250, "Paris", paraphrases=("y2 " * demo.max_length,))
    # The prompt alone fits; behind a context it does not.
    assert len(demo.tokenizer(long.prompt)["input_ids"]) < demo.max_length
    with pytest.raises(InvalidFacts) as caught:
        build(demo, FactSet([JORDAN, long]), demo_hyperparameters, demo_moments)
    assert {(problem.index, problem.field) for problem in caught.value.problems} >= {
        (1, "paraphrases"),
        (1, "relation"),
    }


def test_a_bfloat16_model_is_edited_as_a_float32_one(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    rounded = EditableModel.load(DEMO, dtype=torch.bfloat16)
    facts = list(EDITS)
    contexts = sample_contexts(demo, demo_hyperparameters.seed)
    last = demo_hyperparameters.layers[-1]
    targets, offsets = {}, {}
    for model in (demo, rounded):
        targets[model] = find_targets(model, facts, contexts, demo_hyperparameters)
        offsets[model] = targets[model] - SubjectStates(model, facts, ()).read(last, last)[1]
    assert bool((torch.cosine_similarity(offsets[rounded], offsets[demo], dim=-1) > 0.999).all())

    prompts = [fact.prompt for fact in facts]
    objects = [fact.object for fact in facts]
    num_tokens = [len(target_ids(rounded.tokenizer, fact.object)) for fact in facts]
    assert not set(greedy_answers(rounded, prompts, num_tokens)) & set(objects)
    inputs = Inputs(rounded, facts, contexts, demo_hyperparameters, demo_moments)
    deltas = spread(inputs, targets[rounded], weighed_keys(inputs))
    with rounded.using(edited_weights(rounded, deltas)):
        assert greedy_answers(rounded, prompts, num_tokens) == objects


def test_a_layer_that_the_model_does_not_have_is_refused(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    wrong = demo_hyperparameters.overridden({"layers": [1, 40]})
    with pytest.raises(InvalidHyperparameters, match="40"):
        build(demo, FactSet([JORDAN]), wrong, demo_moments)
