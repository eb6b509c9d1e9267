"""Second moments of a model that nobody gave a corpus for."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch

from errata.home_moments import home_moments
from errata.model import EditableModel
from errata.sampled_text import sampled_texts
from errata.second_moments import SecondMoments
from tests.conftest import NEOX_SENTENCES
from tests.errata.conftest import NEOX_HYPERPARAMETERS


def test_a_model_without_a_corpus_writes_its_own(neox: EditableModel, tmp_path: Path) -> None:
    wanted = NEOX_HYPERPARAMETERS.overridden({"num_samples": 2_000})
    found = home_moments(tmp_path / "home", neox, wanted, corpus=None, published=None)
    expected = SecondMoments.open(
        neox, wanted.layers, 2_000, folder=tmp_path / "expected", corpus=sampled_texts(neox, seed=0)
    )
    for layer in wanted.layers:
        torch.testing.assert_close(found.moment(layer), expected.moment(layer), rtol=0, atol=0)


def test_texts_are_the_models_own_and_drawn_with_the_seed(neox: EditableModel) -> None:
    state = torch.get_rng_state()
    first, again, other = (list(islice(sampled_texts(neox, seed), 3)) for seed in (0, 0, 1))
    assert first == again != other
    learnt = {word for sentence in NEOX_SENTENCES for word in sentence.split()}
    words = [word for text in first for word in text.split()]
    assert sum(word in learnt for word in words) > len(words) / 2
    assert torch.equal(torch.get_rng_state(), state)
