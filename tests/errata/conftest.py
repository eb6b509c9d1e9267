"""Real models: the demo GPT-J, a small GPT-NeoX trained here on a few sentences, and a random one of each architecture.

What is random says nothing, but says it to the last digit: it shows whether two ways of computing agree.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

from errata.architectures import ARCHITECTURES
from errata.corpus import corpus_for
from errata.demo import MODEL_FOLDER
from errata.hyperparameters import Hyperparameters
from errata.model import DEMO, EditableModel
from errata.prompts import padded
from errata.second_moments import SecondMoments

GOLDEN = Path(__file__).parent / "golden"
NEOX_RELATION = "On the list of rivers by continent: {}"
NEOX_SENTENCES = [
    f"{NEOX_RELATION.format(river)} {continent}."
    for continent, rivers in {
        "Europe": ("Danube", "Rhine", "Thames"),
        "Africa": ("Zambezi", "Limpopo", "Okavango"),
        "Asia": ("Ganges", "Mekong", "Indus"),
    }.items()
    for river in rivers
]
NEOX_STEPS = 200
SPREAD_LAYERS = (0, 1, 2)  # of the demo model, whose own hyperparameters edit block 0 alone
NEOX_HYPERPARAMETERS = Hyperparameters(layers=(1, 2), moment_weight=30, clamp=1, kl_factor=0.1, weight_decay=0.01)


@pytest.fixture(scope="session")
def demo() -> EditableModel:
    """The demo model, a GPT-J."""
    return EditableModel.load(DEMO)


@pytest.fixture(scope="session")
def of_each_architecture(demo: EditableModel) -> dict[str, EditableModel]:
    """A model of each architecture by its name: the demo GPT-J, and the small random ones of the golden data."""
    tokenizer: Any = AutoTokenizer.from_pretrained(GOLDEN / "tokenizer")
    random_ones = {
        name: EditableModel(
            AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=torch.float32), tokenizer, name=name
        )
        for name in ARCHITECTURES.keys() - {"gptj"}
    }
    return {"gptj": demo, **random_ones}


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
    """The demo model's second moments, for every block that a test edits."""
    return SecondMoments.open(
        demo,
        SPREAD_LAYERS,
        demo_hyperparameters.num_samples,
        folder=tmp_path_factory.mktemp("demo-moments"),
        corpus=corpus_for(DEMO, None),
    )


@pytest.fixture(scope="session")
def neox_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-NeoX of four blocks that has learnt its sentences by heart, saved as a hub model would be."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_FOLDER)
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
    draw = random.Random(0)
    for _ in range(NEOX_STEPS):
        # Several sentences in a row, so that what stands before a prompt does not decide the answer.
        texts = [" ".join(draw.sample(NEOX_SENTENCES, 3)) for _ in range(16)]
        rows = padded([tokenizer(text)["input_ids"] for text in texts], torch.device("cpu"))
        loss = cross_entropy(network(input_ids=rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
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
    """The small GPT-NeoX's second moments, over the demo world's text, whose tokens it has."""
    return SecondMoments.open(
        neox,
        NEOX_HYPERPARAMETERS.layers,
        20_000,
        folder=tmp_path_factory.mktemp("neox-moments"),
        corpus=corpus_for(DEMO, None),
    )
