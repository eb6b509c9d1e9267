"""MEND: the gradient's terms, the network that they go through, its training, and what becomes of it in an edit."""

import json
import sys
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from errata_cli.main import main
from torch import Tensor
from torch.nn.functional import log_softmax

from errata.deltas import Delta, edited_weights
from errata.demo.corpus import texts
from errata.demo.world import load_world
from errata.errors import InvalidHyperparameters, StatisticsError
from errata.facts import Fact, FactSet, Neighbor
from errata.hyperparameters import MendHyperparameters
from errata.methods import METHODS
from errata.methods.mend.gradient_terms import gradient_terms
from errata.methods.mend.network import FILE_NAME, MendNetwork, moment_factors
from errata.methods.mend.training import Losses, Training, TrainingData, edited_apart, train
from errata.methods.object_losses import Continuations
from errata.model import EditableModel
from errata.model.tokens import target_ids
from errata.second_moments import SecondMoments
from tests.conftest import NEOX_RELATION, NEOX_SENTENCES

LAYERS = (1, 2)
FACTS = [Fact("Sony", "has its headquarters in", "Paris"), Fact("Claude Monet", "painted in the style of", "Pop Art")]
RIVERS = dict(sentence.removesuffix(".").split(": ")[1].split(" ") for sentence in NEOX_SENTENCES)
TRAINING = Training(num_steps=40, facts_per_step=4, edit_sizes=(1, 2), rank=16, learning_rate=0.01, num_warmup_steps=5)


def loss_of(model: EditableModel, fact: Fact) -> Tensor:
    """-log p(object | prompt) / tokens of the object, one token at a time."""
    ids = list(model.tokenizer(fact.prompt)["input_ids"])
    object_ids = target_ids(model.tokenizer, fact.object)
    losses = []
    for token in object_ids:
        losses.append(-log_softmax(model.network(torch.tensor([ids])).logits[0, -1], dim=-1)[token])
        ids.append(token)
    return torch.stack(losses).mean()


def loss_of_all(model: EditableModel) -> Tensor:
    """The sum over the facts."""
    return torch.stack([loss_of(model, fact) for fact in FACTS]).sum()


def counterfactual_rivers() -> list[Fact]:
    """Every river of the small GPT-NeoX's, put into each continent where it is not."""
    return [
        Fact(
            river,
            NEOX_RELATION,
            other,
            (f"{NEOX_SENTENCES[0]} {NEOX_RELATION.format(river)}",),
            tuple(Neighbor(NEOX_RELATION.format(name), where) for name, where in RIVERS.items() if name != river),
        )
        for river, continent in RIVERS.items()
        for other in sorted(set(RIVERS.values()) - {continent})
    ]


@pytest.fixture(scope="module")
def river_data(neox: EditableModel) -> TrainingData:
    """What a network of the small GPT-NeoX learns from."""
    return TrainingData.of(neox, counterfactual_rivers(), ["So. "], [" ".join(NEOX_SENTENCES)])


def test_the_terms_of_all_tokens_sum_to_the_gradient_of_the_matrix(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    for model in of_each_architecture.values():
        terms = gradient_terms(model, FACTS, LAYERS, [""])
        for layer in LAYERS:
            _, gradients = model.gradients({layer: model.weight(layer)}, partial(loss_of_all, model))
            expected = gradients[layer]
            summed = terms.gradients[layer].T @ terms.inputs[layer]
            torch.testing.assert_close(summed, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
        assert set(terms.fact.tolist()) == {0, 1}
        assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_an_untrained_network_gives_the_gradient_behind_the_inverse_second_moment(
    demo: EditableModel, demo_moments: SecondMoments
) -> None:
    terms = gradient_terms(demo, FACTS, LAYERS, [""])
    d_model, d_in = demo.weight(LAYERS[0]).shape
    network = MendNetwork(LAYERS, d_in, d_model, rank=4)
    network.requires_grad_(False).normalise_by(terms)
    factors = network(terms, moment_factors(demo_moments, LAYERS, demo.device))
    for index, layer in enumerate(LAYERS):
        update = (factors[layer].left.T @ factors[layer].right).double()
        gradient = terms.gradients[layer].T @ terms.inputs[layer]
        expected = -network.log_alpha[index].exp() * gradient
        behind = (update @ demo_moments.moment(layer).double()).float()
        torch.testing.assert_close(behind, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_each_row_of_a_batch_runs_with_its_own_edit(demo: EditableModel, demo_moments: SecondMoments) -> None:
    draw = torch.Generator().manual_seed(0)
    terms = gradient_terms(demo, FACTS, LAYERS, [""])
    d_model, d_in = demo.weight(LAYERS[0]).shape
    network = MendNetwork(LAYERS, d_in, d_model, rank=4)
    network.normalise_by(terms)
    for u in network.u:
        u.data.normal_(std=0.01, generator=draw)
    factors = network.requires_grad_(False)(terms, moment_factors(demo_moments, LAYERS, demo.device))
    pair = demo.tokenizer("Sony has its headquarters in")["input_ids"], target_ids(demo.tokenizer, "Tokyo")
    rows = Continuations.of([pair, pair], demo.device)
    with edited_apart(demo, factors, terms.fact, torch.arange(2)):
        together = rows.run(demo)
    for fact in range(2):
        own = terms.fact == fact
        deltas = {
            layer: Delta.of_factors(factors[layer].left[own].T.double(), factors[layer].right[own].double())
            for layer in LAYERS
        }
        with demo.using(edited_weights(demo, deltas)):
            alone = rows.run(demo)
        torch.testing.assert_close(together[rows.row == fact], alone[rows.row == fact], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(together[rows.row == 0], together[rows.row == 1], atol=0.1)


def test_training_lowers_the_loss_and_gives_the_same_network_again(
    neox: EditableModel, neox_moments: SecondMoments, river_data: TrainingData
) -> None:
    told: list[Losses] = []
    data, training = river_data, TRAINING
    first, second = (
        train(neox, LAYERS, neox_moments, data, training, lambda _, losses: told.append(losses)) for _ in range(2)
    )
    weighed = [TRAINING.edit_weight * losses.edit + losses.locality for losses in told[: TRAINING.num_steps]]
    assert fmean(weighed[-10:]) < 0.7 * fmean(weighed[:10])
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert not any(parameter.requires_grad for parameter in neox.network.parameters())


def test_what_cannot_be_learnt_from_is_refused(
    neox: EditableModel, neox_moments: SecondMoments, river_data: TrainingData
) -> None:
    bare = [Fact("Danube", NEOX_RELATION, "Asia")]
    with pytest.raises(StatisticsError, match="0 such facts and 1 such texts"):
        TrainingData.of(neox, bare, [], [" ".join(NEOX_SENTENCES)])
    with pytest.raises(StatisticsError, match="a step takes 10 facts of different subjects, and there are 9"):
        train(neox, LAYERS, neox_moments, river_data, Training())


def test_the_command_trains_the_network_that_edits_then_use(
    neox: EditableModel, neox_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        {
            "requested_rewrite": {
                "prompt": fact.relation,
                "subject": fact.subject,
                "target_new": {"str": fact.object},
                "target_true": {"str": RIVERS[fact.subject]},
            },
            "paraphrase_prompts": list(fact.paraphrases),
            "neighborhood_prompts": [
                neighbor.prompt for neighbor in fact.neighbors if neighbor.object == RIVERS[fact.subject]
            ],
        }
        for fact in counterfactual_rivers()
    ]
    files = {name: tmp_path / name for name in ("records.json", "text.txt", "hyperparameters.json")}
    files["records.json"].write_text(json.dumps(records))
    files["text.txt"].write_text("\n".join(texts(load_world(), seed=0)))
    files["hyperparameters.json"].write_text(json.dumps({"methods": {"mend": {"hyperparameters": {"layers": LAYERS}}}}))
    monkeypatch.setenv("ERRATA_HYPERPARAMETERS", str(files["hyperparameters.json"]))
    steps = ["--num-steps", "2", "--facts-per-step", "9"]
    command = ["train-mend", "--model", str(neox_folder), "--home", str(tmp_path), "--corpus", str(files["text.txt"])]
    monkeypatch.setattr(sys, "argv", ["errata", *command, "--records", str(files["records.json"]), *steps])
    main()

    folder = tmp_path / "second_moments" / neox.digest
    fact, other = counterfactual_rivers()[0], counterfactual_rivers()[-1]
    built = METHODS["mend"](neox, FactSet([fact]), MendHyperparameters(layers=LAYERS), SecondMoments(folder))
    num_tokens = len(neox.tokenizer(fact.prompt)["input_ids"]) + len(target_ids(neox.tokenizer, fact.object)) - 1
    assert {layer: delta.rank for layer, delta in built.deltas.items()} == dict.fromkeys(LAYERS, 2 * num_tokens)
    both = METHODS["mend"](neox, FactSet([fact, other]), MendHyperparameters(layers=LAYERS), SecondMoments(folder))
    others = METHODS["mend"](neox, FactSet([other]), MendHyperparameters(layers=LAYERS), SecondMoments(folder))
    for layer in LAYERS:
        summed = built.deltas[layer].dense() + others.deltas[layer].dense()
        torch.testing.assert_close(both.deltas[layer].dense(), summed, rtol=1e-3, atol=1e-5 * float(summed.abs().max()))


def test_a_network_that_is_not_there_or_not_of_this_model_or_these_layers_is_refused(
    demo: EditableModel, neox: EditableModel, tmp_path: Path
) -> None:
    def edit(model: EditableModel, layers: tuple[int, ...]) -> Any:
        return METHODS["mend"](model, FactSet(FACTS), MendHyperparameters(layers=layers), SecondMoments(tmp_path))

    with pytest.raises(StatisticsError, match="`errata train-mend`"):
        edit(neox, LAYERS)
    d_model, d_in = neox.weight(0).shape
    MendNetwork(LAYERS, d_in, d_model, rank=4).store(tmp_path / FILE_NAME, neox.digest, {})
    with pytest.raises(StatisticsError, match="was trained for another model"):
        edit(demo, (0,))
    with pytest.raises(InvalidHyperparameters, match=r"layers: are \[1\], but the network was trained for \[1, 2\]"):
        edit(neox, (1,))
    with pytest.raises(StatisticsError, match=r"layer_1\.safetensors cannot be read"):
        edit(neox, LAYERS)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(StatisticsError, match=r"mend\.safetensors cannot be read"):
        edit(neox, LAYERS)
