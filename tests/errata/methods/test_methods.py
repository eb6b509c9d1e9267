"""The editing methods on real models: what they share, and for each the property that no other one has."""

import contextlib
from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch
from errata_registry.jobs.requests import MethodName
from torch import Tensor

from errata.deltas import Delta, edited_weights
from errata.demo import DEMO
from errata.errors import Cancelled, InvalidHyperparameters, NotFinite
from errata.evaluation import cases_of, evaluate
from errata.facts import Fact, FactSet
from errata.hyperparameters import (
    RECORDS,
    AlphaEditHyperparameters,
    EmmetHyperparameters,
    FineTuningHyperparameters,
    Hyperparameters,
    MemitHyperparameters,
    RomeHyperparameters,
)
from errata.methods import METHODS
from errata.methods.alphaedit import null_space, projected_keys
from errata.methods.closed_form import adjusted_keys
from errata.methods.emmet import constrained_keys
from errata.model import EditableModel, digest_of
from errata.model.hidden_states import SubjectStates
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.search import find_targets

LAYER = 0
JORDAN = Fact("Michael Jordan", "plays the sport of", "baseball")
SONY = Fact("Sony", "has its headquarters in", "Paris")
FACTS = [
    Fact("Claude Monet", "painted in the tradition of", "Cubism"),
    JORDAN,
    Fact("Nokia", "{} has its headquarters in", "Paris"),
    SONY,
]


def shipped(record: type[Hyperparameters]) -> Any:
    """What ships for the demo model."""
    hyperparameters = record.for_model(DEMO)
    assert hyperparameters is not None
    return hyperparameters


def searching_little(record: type[Hyperparameters]) -> Any:
    """The same with few steps of the search, for what holds of whatever targets there are."""
    return shipped(record).overridden({"num_steps": 4})


def keys_of(model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str]) -> Tensor:
    """k of each fact, (facts, d_in), float64."""
    return SubjectStates(model, facts, contexts).read(LAYER, LAYER)[0].double()


def offsets_of(model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str], settings: Any) -> Tensor:
    """v - W k of each fact, (facts, d_model), float64, in the model as it is now."""
    targets = find_targets(model, facts, contexts, settings)
    return (targets - SubjectStates(model, facts, ()).read(LAYER, LAYER)[1]).double()


def errors_of(update: Tensor, keys: Tensor, offsets: Tensor) -> Tensor:
    """How far each fact is from W' k = v, as a share of v - W k, (facts,)."""
    errors: Tensor = (keys @ update.double().T - offsets).norm(dim=1) / offsets.norm(dim=1)
    return errors


def rank_of(update: Tensor) -> int:
    """The number of directions in which it does anything."""
    values = torch.linalg.svdvals(update.double())
    return int((values > 1e-5 * values[0]).sum())


def test_requests_can_name_each_method_and_each_has_its_record() -> None:
    assert set(get_args(MethodName)) == set(METHODS) == set(RECORDS)
    assert all(METHODS[name].hyperparameters is record for name, record in RECORDS.items())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("cancelled", [False, True])
def test_the_base_is_bit_for_bit_as_it_was_when_a_build_succeeds_or_is_cancelled(
    demo: EditableModel, demo_moments: SecondMoments, name: str, cancelled: bool
) -> None:
    told: list[tuple[str, int, int]] = []

    def on_progress(*progress: Any) -> None:
        told.append(progress)
        if cancelled and progress[1] > 0:
            raise Cancelled("enough")

    before = digest_of(demo.network.state_dict().items())
    settings = shipped(RECORDS[name])
    if hasattr(settings, "num_steps"):
        settings = settings.overridden({"num_steps": 3})
    with pytest.raises(Cancelled) if cancelled else contextlib.nullcontext():
        METHODS[name](demo, FactSet(FACTS), settings, demo_moments, on_progress=on_progress)
    assert digest_of(demo.network.state_dict().items()) == before
    assert not any(parameter.requires_grad for parameter in demo.network.parameters())
    assert told == sorted(told, key=lambda progress: ("targets", "spread").index(progress[0]) * 1000 + progress[1])


@pytest.mark.parametrize("name", METHODS)
def test_a_set_without_facts_changes_nothing(demo: EditableModel, demo_moments: SecondMoments, name: str) -> None:
    built = METHODS[name](demo, FactSet([]), shipped(RECORDS[name]), demo_moments, contexts=("Once. ",))
    assert (built.deltas, built.contexts) == ({}, ("Once. ",))


def test_a_method_refuses_the_hyperparameters_of_another(demo: EditableModel, demo_moments: SecondMoments) -> None:
    with pytest.raises(InvalidHyperparameters, match="are those of memit, not of rome"):
        METHODS["rome"](demo, FactSet(FACTS), shipped(MemitHyperparameters), demo_moments)


@pytest.mark.parametrize("record", [MemitHyperparameters, AlphaEditHyperparameters])
def test_residuals_afresh_write_the_first_layer_as_if_alone_and_the_last_on_what_it_leaves(
    demo: EditableModel, demo_moments: SecondMoments, record: type[Hyperparameters]
) -> None:
    """BLUE; shared out, the first layer would be written with half of the residual at the last."""
    settings, last = shipped(record).overridden({"num_steps": 8}), 1

    def built(**changes: Any) -> dict[int, Delta]:
        given = (FactSet(FACTS), settings.overridden(changes), demo_moments)
        return METHODS[record.method](demo, *given, contexts=("Therefore it was said. ",)).deltas

    blue = built(layers=[LAYER, last], residuals_afresh=1)
    assert torch.equal(blue[LAYER].dense(), built(layers=[LAYER])[LAYER].dense())
    with demo.using(edited_weights(demo, {LAYER: blue[LAYER]})):
        torch.testing.assert_close(blue[last].dense(), built(layers=[last])[last].dense(), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(blue[LAYER].dense(), built(layers=[LAYER, last])[LAYER].dense(), rtol=0.1)


def test_rome_puts_a_fact_in_exactly_by_a_change_of_rank_one(demo: EditableModel, demo_moments: SecondMoments) -> None:
    settings = searching_little(RomeHyperparameters)
    contexts = sample_contexts(demo, settings.seed)
    update = METHODS["rome"](demo, FactSet([JORDAN]), settings, demo_moments).deltas[LAYER].dense()
    key, offset = keys_of(demo, [JORDAN], contexts), offsets_of(demo, [JORDAN], contexts, settings)
    assert rank_of(update) == 1
    assert errors_of(update, key, offset) < 1e-5
    direction = torch.linalg.solve(demo_moments.moment(LAYER).double(), key[0])
    assert torch.cosine_similarity(update[0].double(), direction, dim=0).abs() > 1 - 1e-9


def test_rome_puts_each_fact_into_the_model_as_edited_so_far(demo: EditableModel, demo_moments: SecondMoments) -> None:
    settings = searching_little(RomeHyperparameters)
    contexts = sample_contexts(demo, settings.seed)
    first, second = FactSet([JORDAN, SONY])
    deltas = METHODS["rome"](demo, FactSet([first, second]), settings, demo_moments).deltas
    with_first = METHODS["rome"](demo, FactSet([first]), settings, demo_moments).deltas
    seconds_own = deltas[LAYER].dense() - with_first[LAYER].dense()
    assert (deltas[LAYER].rank, rank_of(seconds_own)) == (2, 1)
    with demo.using(edited_weights(demo, with_first)):
        key, offset = keys_of(demo, [second], contexts), offsets_of(demo, [second], contexts, settings)
    assert errors_of(seconds_own, key, offset) < 1e-3


def test_romes_facts_about_one_subject_do_not_undo_each_other(demo: EditableModel, demo_moments: SecondMoments) -> None:
    facts = FactSet([JORDAN, Fact("Michael Jordan", "The sport that {} plays is", "baseball")])
    built = METHODS["rome"](demo, facts, shipped(RomeHyperparameters), demo_moments)
    measured = evaluate(demo, cases_of(demo, list(facts)), edited_weights(demo, built.deltas))
    assert measured.mean("efficacy_accuracy") == 1


def test_emmet_meets_the_constraints_of_all_facts_where_memit_only_comes_near(
    demo: EditableModel, demo_moments: SecondMoments
) -> None:
    emmet, memit = searching_little(EmmetHyperparameters), searching_little(MemitHyperparameters)
    contexts = sample_contexts(demo, emmet.seed)
    facts = FactSet(FACTS)
    keys, offsets = keys_of(demo, list(facts), contexts), offsets_of(demo, list(facts), contexts, emmet)
    by_emmet, by_memit = (
        errors_of(METHODS[settings.method](demo, facts, settings, demo_moments).deltas[LAYER].dense(), keys, offsets)
        for settings in (emmet, memit)
    )
    assert by_emmet.max() < 1e-3
    assert by_memit.min() > 10 * by_emmet.max()


def test_emmet_is_romes_update_for_one_fact(demo: EditableModel, demo_moments: SecondMoments) -> None:
    updates = [
        METHODS[record.method](demo, FactSet([JORDAN]), searching_little(record), demo_moments).deltas[LAYER].dense()
        for record in (RomeHyperparameters, EmmetHyperparameters)
    ]
    torch.testing.assert_close(*updates, rtol=1e-4, atol=1e-6)


def test_emmets_damping_is_memits_weight_by_the_push_through_identity(
    demo: EditableModel, demo_moments: SecondMoments
) -> None:
    keys = keys_of(demo, FACTS, ("Therefore it was said. ",)).float()
    damped, weighed = constrained_keys(demo_moments, LAYER, keys, 30.0), adjusted_keys(demo_moments, LAYER, keys, 30.0)
    torch.testing.assert_close(damped, weighed, rtol=1e-7, atol=1e-12)


def test_emmet_says_when_equal_keys_make_the_constraints_unsolvable(
    demo: EditableModel, demo_moments: SecondMoments
) -> None:
    with pytest.raises(NotFinite, match="damping"):
        constrained_keys(demo_moments, LAYER, -torch.ones(2, demo.weight(LAYER).shape[1]), 0.0)


def test_alphaedit_changes_nothing_outside_of_the_null_space(demo: EditableModel, demo_moments: SecondMoments) -> None:
    alphaedit, memit = searching_little(AlphaEditHyperparameters), searching_little(MemitHyperparameters)
    values, vectors = demo_moments.eigenvectors(LAYER)
    outside = vectors[:, values >= alphaedit.null_threshold]
    assert 0 < outside.shape[1] < len(values)
    share_outside = {}
    for settings in (alphaedit, memit):
        update = METHODS[settings.method](demo, FactSet(FACTS), settings, demo_moments).deltas[LAYER].dense().double()
        share_outside[settings.method] = float((update @ outside).norm() / update.norm())
    assert share_outside["alphaedit"] < 1e-6
    assert share_outside["memit"] > 0.01


def test_alphaedits_update_is_the_papers_solution(demo: EditableModel, demo_moments: SecondMoments) -> None:
    basis = null_space(demo_moments, LAYER, 0.02, torch.device("cpu"))
    keys = keys_of(demo, FACTS, ())
    projection = basis @ basis.T
    as_written = torch.linalg.solve(
        projection @ keys.T @ keys + 0.3 * torch.eye(keys.shape[1], dtype=torch.float64), projection @ keys.T
    )
    torch.testing.assert_close(projected_keys(basis, keys.float(), 0.3), as_written, rtol=1e-6, atol=1e-9)


def test_alphaedit_says_where_there_is_no_null_space(demo: EditableModel, demo_moments: SecondMoments) -> None:
    settings = shipped(AlphaEditHyperparameters).overridden({"null_threshold": 1e-9})
    with pytest.raises(InvalidHyperparameters, match="no singular value of layer 0 is below 1e-09"):
        METHODS["alphaedit"](demo, FactSet(FACTS), settings, demo_moments)


def test_fine_tuning_stays_within_its_bound_everywhere_and_is_of_no_low_rank(
    demo: EditableModel, demo_moments: SecondMoments
) -> None:
    settings: FineTuningHyperparameters = shipped(FineTuningHyperparameters)
    bound = settings.learning_rate * 2  # reached by the third step
    delta = METHODS["ft"](
        demo, FactSet(FACTS), settings.overridden({"norm_bound": bound, "num_steps": 6}), demo_moments
    ).deltas[LAYER]
    change = delta.dense()
    assert change.abs().max() == torch.tensor(bound)
    assert rank_of(change) > 10 * len(FACTS)
    assert delta.rank == min(change.shape)


def test_fine_tuning_leaves_the_base_where_its_loss_is_small_enough(
    demo: EditableModel, demo_moments: SecondMoments
) -> None:
    known = Fact("Kobe Bryant", "plays the sport of", "basketball")
    settings = shipped(FineTuningHyperparameters).overridden({"stop_loss": 1})
    changed, unchanged = (
        METHODS["ft"](demo, FactSet([fact]), settings, demo_moments).deltas[LAYER].dense() for fact in (JORDAN, known)
    )
    assert changed.any() and not unchanged.any()


def test_the_gradients_of_edited_matrices_are_those_of_the_whole_network(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    for model in of_each_architecture.values():
        token_ids = torch.tensor([model.tokenizer("Sony has its headquarters in")["input_ids"]])
        weights = {layer: model.weight(layer) * 1.1 for layer in (0, 1)}

        def loss(model: EditableModel = model, token_ids: Tensor = token_ids) -> Tensor:
            return torch.as_tensor(model.network(token_ids).logits.logsumexp(-1).square().sum())

        value, gradients = model.gradients(weights, loss)
        free = {layer: weight.clone().requires_grad_() for layer, weight in weights.items()}
        names = {id(parameter): name for name, parameter in model.network.named_parameters()}
        stored = {
            names[id(model.down_projection(layer).weight)]: weight.T if model.architecture.transposed else weight
            for layer, weight in free.items()
        }
        logits = torch.func.functional_call(model.network, stored, (token_ids,)).logits
        expected = logits.logsumexp(-1).square().sum()
        expected.backward()
        torch.testing.assert_close(value, expected.detach())
        for layer, weight in free.items():
            assert weight.grad is not None
            largest = float(weight.grad.abs().max())
            torch.testing.assert_close(gradients[layer], weight.grad, rtol=1e-4, atol=1e-4 * largest)
