"""Second moments of a model that nobody gave a corpus for."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.home import home_moments, moments_folder
from errata.second_moments.sampled_text import sampled_texts
from tests.conftest import NEOX_SENTENCES
from tests.errata.conftest import NEOX_HYPERPARAMETERS

WANTED = NEOX_HYPERPARAMETERS.overridden({"num_samples": 2_000})


class Interrupted(Exception):
    """What a progress callback raises."""


def test_a_model_without_a_corpus_writes_its_own(neox: EditableModel, tmp_path: Path) -> None:
    found = home_moments(tmp_path / "home", neox, WANTED, corpus=None, published=None)
    texts = sampled_texts(neox, tmp_path / "texts", seed=0)
    expected = SecondMoments.open(neox, WANTED.layers, 2_000, folder=tmp_path / "expected", corpus=texts)
    for layer in WANTED.layers:
        torch.testing.assert_close(found.moment(layer), expected.moment(layer), rtol=0, atol=0)


def test_texts_are_the_models_own_and_drawn_with_the_seed(neox: EditableModel, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    first, again, other = (
        list(islice(sampled_texts(neox, tmp_path / name, seed), 3))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again != other
    learnt = {word for sentence in NEOX_SENTENCES for word in sentence.split()}
    words = [word for text in first for word in text.split()]
    assert sum(word in learnt for word in words) > len(words) / 2
    assert torch.equal(torch.get_rng_state(), state)


def test_what_was_drawn_is_not_drawn_again_and_an_interruption_loses_little(
    neox: EditableModel, tmp_path: Path
) -> None:
    def stop_after_the_first_batch(done: int, total: int) -> None:
        if done:
            raise Interrupted

    with pytest.raises(Interrupted):
        home_moments(tmp_path, neox, WANTED, corpus=None, published=None, on_progress=stop_after_the_first_batch)
    texts = moments_folder(tmp_path, neox) / "sampled_texts"
    drawn = list(islice(sampled_texts(neox, texts), 3))

    def never() -> None:
        raise AssertionError("a token is drawn again")

    assert list(islice(sampled_texts(neox, texts, before_each_token=never), 3)) == drawn
    home_moments(tmp_path, neox, WANTED, corpus=None, published=None)


def test_drawing_can_be_interrupted(neox: EditableModel, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert (done, total) == (0, 2_000)
        raise Interrupted

    with pytest.raises(Interrupted):
        home_moments(tmp_path, neox, WANTED, corpus=None, published=None, on_progress=stop)
