"""Second moments of a model that nobody gave a corpus for."""

import copy
from itertools import islice
from pathlib import Path

import pytest
import torch

from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.default_text import default_text
from errata.second_moments.home import home_moments
from errata.second_moments.local_text import local_texts, with_conversations
from errata.second_moments.own_text import AT_ONCE, own_texts
from tests.errata.conftest import NEOX_HYPERPARAMETERS

WANTED = NEOX_HYPERPARAMETERS.overridden({"num_samples": 2_000})
LARGEST_KEY = 14_336  # of an 8B model, whose second moments want ten key vectors for each dimension


def test_a_model_without_a_corpus_has_them_of_text_that_is_there(
    neox: EditableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errata.second_moments.default_text.SMALL", 1)
    found = home_moments(tmp_path / "home", neox, WANTED, corpus=None, published=None)
    texts = list(islice(local_texts(), 500))
    expected = SecondMoments.open(neox, WANTED.layers, 2_000, folder=tmp_path / "expected", corpus=texts)
    for layer in WANTED.layers:
        torch.testing.assert_close(found.moment(layer), expected.moment(layer), rtol=0, atol=0)


def test_a_small_one_has_them_of_what_it_writes_itself(demo: EditableModel, tmp_path: Path) -> None:
    small = EditableModel(demo.network, demo.tokenizer, name="small", digest=demo.digest)
    found = home_moments(tmp_path / "home", small, WANTED, corpus=None, published=None)
    texts = list(islice(own_texts(small), AT_ONCE + 1))
    assert len(set(texts)) == len(texts) and all(len(text.split()) > 10 for text in texts)
    expected = SecondMoments.open(small, WANTED.layers, 2_000, folder=tmp_path / "expected", corpus=texts)
    for layer in WANTED.layers:
        torch.testing.assert_close(found.moment(layer), expected.moment(layer), rtol=0, atol=0)


def test_there_is_enough_of_it_and_always_the_same() -> None:
    texts, words = [], 0
    for text in local_texts():
        texts.append(text)
        words += len(text.split())
        if words > 10 * LARGEST_KEY:
            break
    assert words > 10 * LARGEST_KEY
    assert list(islice(local_texts(), len(texts))) == texts
    assert all(len(text) > 100 and "\n" not in text for text in texts)


def test_a_model_with_a_template_sees_every_second_text_as_an_assistants_words(demo: EditableModel) -> None:
    tokenizer = copy.deepcopy(demo.tokenizer)
    tokenizer.chat_template = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}{% endfor %}"
    talking = EditableModel(demo.network, tokenizer, name="talking", digest=demo.digest)
    texts = [f"One two three four five six seven {number}" for number in range(4)]
    said = list(with_conversations(talking, texts))
    assert said[1::2] == texts[1::2]
    assert [text.rpartition(">")[2] for text in said[::2]] == texts[::2]
    assert said[0].startswith("<user>One two three four five six")
    assert list(with_conversations(demo, texts)) == texts


def test_gemma_3_reads_what_it_writes_of_well_known_things_between_documentation(
    of_each_architecture: dict[str, EditableModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errata.second_moments.default_text.SMALL", 1)
    gemma = of_each_architecture["gemma3_text"]
    _, texts = default_text(gemma)
    first = list(islice(texts, 6))
    assert first[::2] == list(islice(local_texts(), 3))
    assert first[1::2] == list(islice(own_texts(gemma), 3))
    assert list(islice(default_text(of_each_architecture["llama"])[1], 6)) == list(islice(local_texts(), 6))
