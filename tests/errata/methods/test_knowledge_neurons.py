"""Knowledge neurons: which are found, and what of them is changed."""

from typing import Any

import torch

from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.facts import Fact, FactSet
from errata.hyperparameters import KnowledgeNeuronHyperparameters
from errata.methods import METHODS
from errata.methods.knowledge_neurons import Prediction, attributions, predictions_of
from errata.model import EditableModel
from errata.model.tokens import object_ids

JORDAN = Fact("Michael Jordan", "plays the sport of", "baseball")
CONTEXTS = ("Therefore it was said. ", "The ")


def shipped() -> KnowledgeNeuronHyperparameters:
    hyperparameters = KnowledgeNeuronHyperparameters.for_model(DEMO)
    assert hyperparameters is not None
    return hyperparameters


def probability(
    model: EditableModel, prompt: tuple[int, ...], token_id: int, without_layer: int | None = None
) -> float:
    """p(token | prompt); with all neurons of a layer at 0 at the prompt's last token."""

    def at_zero(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        neurons = inputs[0].clone()
        neurons.view(len(prompt), -1)[-1] = 0
        return (neurons, *inputs[1:])

    module = model.down_projection(without_layer or 0)
    handle = module.register_forward_pre_hook(at_zero) if without_layer is not None else None
    logits = model.network(torch.tensor([prompt])).logits[0, -1]
    if handle:
        handle.remove()
    return float(logits.softmax(-1)[token_id])


def test_what_the_neurons_of_a_layer_are_said_to_do_adds_up_to_what_the_layer_does(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    """Integrated gradients are complete: their sum is the difference that the neurons make together.

    A sum over the ends of m steps is off by c / m + O(1 / m^2). Half of m and m together are off by O(1 / m^2) alone.
    """
    for model in of_each_architecture.values():
        if model.mlp_norm(0) is not None:  # of no length at 0, where the integral begins
            continue
        predictions, told = predictions_of(model, [JORDAN], CONTEXTS[:1])[:1], list[int]()
        coarse, fine = (sums_by_layer(model, predictions, num_steps, told) for num_steps in (20, 40))
        assert len(told) == 2 * (20 + 40), "each run of a layer is told"
        ((*prompts,), old) = predictions[0].prompts, predictions[0].old
        before = [probability(model, prompt, old) for prompt in prompts]
        without = [[probability(model, prompt, old, layer) for layer in (0, 1)] for prompt in prompts]
        made = torch.tensor(before)[:, None] - torch.tensor(without)
        torch.testing.assert_close(2 * fine - coarse, made, rtol=0.05, atol=0)


def sums_by_layer(model: EditableModel, predictions: list[Prediction], num_steps: int, told: list[int]) -> torch.Tensor:
    """The sum over the neurons of each of the layers 0 and 1, (prompts, 2)."""
    settings = KnowledgeNeuronHyperparameters(layers=(0, 1), num_steps=num_steps)
    (attributed,) = attributions(model, predictions, settings, lambda: told.append(1))
    return attributed.attributions.sum(-1)


def test_a_few_columns_are_changed_by_the_embeddings_of_both_objects(demo: EditableModel) -> None:
    no_moments: Any = None
    settings = shipped()
    deltas = METHODS["kn"](demo, FactSet([JORDAN]), settings, no_moments, contexts=CONTEXTS).deltas
    (prediction,) = predictions_of(demo, [JORDAN], CONTEXTS)
    assert prediction.new == object_ids(demo.tokenizer, JORDAN)[0]
    assert demo.tokenizer.decode([prediction.old]) == " basketball"
    embeddings = demo.network.get_output_embeddings().weight
    moved = settings.new_weight * embeddings[prediction.new] - settings.old_weight * embeddings[prediction.old]
    columns = torch.cat([delta.dense()[:, delta.dense().any(0)].T for delta in deltas.values()])
    assert 2 <= len(columns) <= 5
    torch.testing.assert_close(columns * columns[:, :1].sign() * moved[0].sign(), moved.expand_as(columns))
    before = [probability(demo, prediction.prompts[0], token) for token in (prediction.old, prediction.new)]
    with demo.using(edited_weights(demo, deltas)):
        after = [probability(demo, prediction.prompts[0], token) for token in (prediction.old, prediction.new)]
    assert after[0] < before[0] and after[1] > before[1]


def test_what_the_model_says_already_needs_no_change(demo: EditableModel) -> None:
    no_moments: Any = None
    known = FactSet([Fact("Kobe Bryant", "plays the sport of", "basketball")])
    assert METHODS["kn"](demo, known, shipped(), no_moments, contexts=CONTEXTS).deltas == {}
