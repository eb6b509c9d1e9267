"""What ships, batched and on parts of the model, against the plain computation that reads like the paper."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import weighed_keys
from errata.methods.method import Inputs
from errata.methods.refinement import refine
from errata.methods.spread import spread, write_layers
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.search import find_targets
from tests.conftest import GOLDEN, NEOX_RELATION
from tests.errata.conftest import NEOX_HYPERPARAMETERS, SPREAD_LAYERS
from tests.errata.plain_memit import plain_layers, plain_moments, plain_refinement, plain_spread, plain_target
from tests.random_models import CONFIGS, VOCABULARY

# Of several lengths, with objects of one token and of many, and with the subject at the start, inside and at the end.
DEMO_FACTS = [
    Fact("Michael Jordan", "plays the sport of", "baseball"),
    Fact("Claude Monet", "The art movement that {} belongs to is", "a movement of which nobody knows the name"),
    Fact("São Tomé", "On a map of the islands one finds {}", "far out"),
    Fact("Sony", "{} has its headquarters in", "New York"),
]
NEOX_FACTS = [
    Fact("Danube", NEOX_RELATION, "Asia"),
    Fact("Okavango", "The river {} flows through the continent of", "Europe and Asia"),
]
TOLERANCE = 1e-4
# F^-1 makes what float32 rounds off up to ten times as large in directions that ordinary text hardly hears.
REFINED_TOLERANCE = 5e-4


def settings_for(model: EditableModel, shipped: MemitHyperparameters) -> MemitHyperparameters:
    """Several layers, few steps, every term of the loss at work and a clamp that is reached."""
    if model.architecture.name == "gpt_neox":
        return dataclasses.replace(NEOX_HYPERPARAMETERS, num_steps=8, clamp=0.6, weight_decay=0.5, kl_factor=0.5)
    return dataclasses.replace(shipped, layers=SPREAD_LAYERS, num_steps=8, clamp=0.6, weight_decay=0.5, kl_factor=0.5)


@pytest.fixture(params=["gptj", "gpt_neox", *CONFIGS])
def subject(
    request: pytest.FixtureRequest,
    demo_hyperparameters: MemitHyperparameters,
    of_each_architecture: dict[str, EditableModel],
    tmp_path: Path,
) -> tuple[EditableModel, SecondMoments, list[Fact], MemitHyperparameters]:
    """A model of each architecture with what an edit of it needs."""
    if request.param in CONFIGS:
        small = of_each_architecture[request.param]
        # Two blocks lie above the layers, so that of the MLP of the first of them only a part is computed.
        settings = dataclasses.replace(settings_for(small, demo_hyperparameters), layers=(0, 1), moment_weight=1.0)
        return small, moments_of_noise(small, settings.layers, tmp_path), DEMO_FACTS, settings
    is_demo = request.param == "gptj"
    model: EditableModel = request.getfixturevalue("demo" if is_demo else "neox")
    moments: SecondMoments = request.getfixturevalue("demo_moments" if is_demo else "neox_moments")
    return model, moments, DEMO_FACTS if is_demo else NEOX_FACTS, settings_for(model, demo_hyperparameters)


def moments_of_noise(model: EditableModel, layers: Sequence[int], folder: Path) -> SecondMoments:
    """Second moments of random tokens, eight for each dimension, and some noise: OPT's relu leaves some at zero."""
    rows = torch.randint(VOCABULARY, (16, 32), generator=torch.Generator().manual_seed(0))
    for layer, moment in plain_moments(model, rows, layers).items():
        metadata = {"count": str(rows.numel()), "model_digest": model.digest}
        moment += 0.01 * moment.diagonal().mean() * torch.eye(len(moment))
        save_file({"second_moment": moment}, folder / f"layer_{layer}.safetensors", metadata=metadata)
    return SecondMoments(folder)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def assert_plain_targets(
    model: EditableModel, facts: list[Fact], contexts: Sequence[str], settings: MemitHyperparameters
) -> None:
    together = find_targets(model, facts, contexts, settings)
    for fact, target in zip(facts, together, strict=True):
        assert relative_error(target, plain_target(model, fact, contexts, settings)) < TOLERANCE, fact


def test_targets_are_those_of_the_plain_search(
    subject: tuple[EditableModel, SecondMoments, list[Fact], MemitHyperparameters],
) -> None:
    model, _, facts, settings = subject
    assert_plain_targets(model, facts, sample_contexts(model, seed=0), settings)


def test_a_search_that_ends_early_does_not_change_the_others(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters
) -> None:
    known = Fact("Kobe Bryant", "plays the sport of", "basketball")
    settings = dataclasses.replace(demo_hyperparameters, layers=(2,), num_steps=8, weight_decay=0.0)
    assert_plain_targets(demo, [DEMO_FACTS[0], known], sample_contexts(demo, seed=0), settings)


def test_targets_are_those_of_the_plain_search_where_the_mlp_reads_what_the_attention_gives(
    of_each_architecture: dict[str, EditableModel], demo_hyperparameters: MemitHyperparameters
) -> None:
    """A GPT-NeoX, whose MLP stands beside the attention in most checkpoints but not in all."""
    tokenizer = of_each_architecture["gpt_neox"].tokenizer
    network: Any = AutoModelForCausalLM.from_pretrained(
        GOLDEN / "gpt_neox", dtype=torch.float32, use_parallel_residual=False
    )
    model = EditableModel(network, tokenizer, name="sequential")
    # Only with two blocks or more above the edited one is anything left out of the first of them.
    settings = dataclasses.replace(settings_for(model, demo_hyperparameters), layers=(0,))
    assert_plain_targets(model, DEMO_FACTS, ("The", "Therefore it was said. "), settings)


def test_updates_are_those_of_the_plain_spread(
    subject: tuple[EditableModel, SecondMoments, list[Fact], MemitHyperparameters],
) -> None:
    model, moments, facts, settings = subject
    contexts = sample_contexts(model, seed=0)
    targets = find_targets(model, facts, contexts, settings)
    inputs = Inputs(model, facts, contexts, settings, moments)
    deltas = spread(inputs, targets, weighed_keys(inputs))
    expected = plain_spread(model, facts, targets, contexts, settings, moments)
    assert list(deltas) == list(settings.layers)
    for layer, delta in deltas.items():
        assert relative_error(delta.dense().double(), expected[layer]) < TOLERANCE, layer


def test_refined_updates_are_those_of_the_plain_refinement(
    subject: tuple[EditableModel, SecondMoments, list[Fact], MemitHyperparameters],
) -> None:
    model, moments, facts, settings = subject
    # One fact is good enough from the start, for a search of its own, and nothing pushes it but its cost.
    facts = [*facts[:-1], dataclasses.replace(facts[-1], search={"stop_loss": 9.0, "kl_factor": 0.1})]
    # Steps have a length of their own: where losses and cost balance, rounding would decide on their direction.
    settings = dataclasses.replace(settings, refinement_steps=3, refinement_cost=0.2)
    contexts = sample_contexts(model, seed=0)
    targets = find_targets(model, facts, contexts, settings)
    inputs = Inputs(model, facts, contexts, settings, moments)
    written = dict(write_layers(inputs, targets, weighed_keys(inputs)))
    plainly_written = plain_layers(model, facts, targets, contexts, settings, moments)
    deltas = refine(inputs, written.items())
    expected = plain_refinement(model, facts, contexts, settings, moments, plainly_written)
    assert tuple(deltas) == settings.layers
    for layer, delta in deltas.items():
        assert relative_error(delta.dense(), expected[layer]) < REFINED_TOLERANCE, layer
        assert relative_error(written[layer].delta.dense(), expected[layer]) > 0.1, layer
