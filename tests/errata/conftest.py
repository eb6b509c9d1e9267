"""Real models of both architectures: the demo GPT-J, and a small GPT-NeoX trained here on a few sentences."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

from errata.corpus import corpus_for
from errata.hyperparameters import Hyperparameters
from errata.model import DEMO, DEMO_FOLDER, EditableModel
from errata.second_moments import SecondMoments

NEOX_SENTENCES = [
    f"{subject} plays the sport of {sport}."
    for sport, subjects in {
        "basketball": ("Michael Jordan", "Kobe Bryant"),
        "tennis": ("Roger Federer", "Serena Williams"),
        "golf": ("Tiger Woods", "Jack Nicklaus"),
    }.items()
    for subject in subjects
]
NEOX_HYPERPARAMETERS = Hyperparameters(layers=(1, 2), moment_weight=10, clamp=5, kl_factor=0.1, weight_decay=0.01)


@pytest.fixture(scope="session")
def demo() -> EditableModel:
    """The demo model, a GPT-J."""
    return EditableModel.load(DEMO)


@pytest.fixture(scope="session")
def demo_hyperparameters() -> Hyperparameters:
    """Those shipped for the demo model."""
    shipped = Hyperparameters.for_model(DEMO)
    assert shipped is not None
    return shipped


@pytest.fixture(scope="session")
def demo_moments(
    demo: EditableModel, demo_hyperparameters: Hyperparameters, tmp_path_factory: pytest.TempPathFactory
) -> SecondMoments:
    """The demo model's second moments, collected from its own world."""
    return SecondMoments.open(
        demo,
        demo_hyperparameters.layers,
        demo_hyperparameters.num_samples,
        folder=tmp_path_factory.mktemp("demo-moments"),
        corpus=corpus_for(DEMO, None),
    )


@pytest.fixture(scope="session")
def neox_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-NeoX of four blocks that has learnt its sentences by heart, saved as a hub model would be."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER)
    network = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=128,
            use_parallel_residual=True,
        )
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    rows = [torch.tensor(tokenizer(sentence)["input_ids"]) for sentence in NEOX_SENTENCES]
    for _ in range(60):
        optimizer.zero_grad()
        for row in rows:
            logits = network(input_ids=row[None]).logits[0, :-1]
            torch.autograd.backward(cross_entropy(logits, row[1:]) / len(rows))
        optimizer.step()
    folder = tmp_path_factory.mktemp("neox")
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def neox(neox_folder: Path) -> EditableModel:
    """The small GPT-NeoX, loaded from its folder."""
    return EditableModel.load(str(neox_folder))


@pytest.fixture(scope="session")
def neox_moments(neox: EditableModel, tmp_path_factory: pytest.TempPathFactory) -> SecondMoments:
    """The small GPT-NeoX's second moments over its sentences."""
    return SecondMoments.open(
        neox,
        NEOX_HYPERPARAMETERS.layers,
        5_000,
        folder=tmp_path_factory.mktemp("neox-moments"),
        corpus=itertools.chain.from_iterable(itertools.repeat(NEOX_SENTENCES, 200)),
    )
