"""Generated texts: how they are sampled, and what is measured of them."""

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch

from errata.errors import InvalidFacts
from errata.evaluation import Case, Generation, evaluate
from errata.evaluation.consistency import TfIdf
from errata.evaluation.fluency import ngram_entropy
from errata.model import EditableModel
from errata.model.sampling import sample_texts

PROMPTS = ("Kobe Bryant plays the sport of", "The", "In the morning the fishermen went down to", "The")


def test_the_likeliest_token_each_time_is_what_the_whole_text_run_anew_gives(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    for model in of_each_architecture.values():
        expected = []
        for prompt in PROMPTS:
            ids = model.tokenizer(prompt)["input_ids"]
            while len(ids) < 16:
                ids.append(int(model.network(torch.tensor([ids])).logits[0, -1].argmax()))
            expected.append(model.tokenizer.decode(ids, skip_special_tokens=True))
        assert sample_texts(model, PROMPTS, num_tokens=16, top_k=1, seed=0) == expected


def test_texts_depend_on_seed_and_prompt_and_not_on_other_prompts(demo: EditableModel) -> None:
    texts = sample_texts(demo, PROMPTS, num_tokens=30, top_k=5, seed=0)
    assert sample_texts(demo, PROMPTS, num_tokens=30, top_k=5, seed=0) == texts
    assert sample_texts(demo, PROMPTS[2:3], num_tokens=30, top_k=5, seed=0) == [texts[2]]
    assert texts[1] != texts[3]  # one prompt, drawn twice
    assert sample_texts(demo, PROMPTS, num_tokens=30, top_k=5, seed=1) != texts
    assert all(text.startswith(prompt) for text, prompt in zip(texts, PROMPTS, strict=True))


def test_tokens_are_drawn_from_the_likeliest_in_proportion(demo: EditableModel) -> None:
    prompt, draws = "The old bridge was closed because the", 500
    ids = demo.tokenizer(prompt)["input_ids"]
    likeliest = demo.network(torch.tensor([ids])).logits[0, -1].topk(3)
    texts = sample_texts(demo, [prompt] * draws, num_tokens=len(ids) + 1, top_k=3, seed=0)
    counts = Counter(texts)
    expected = [str(demo.tokenizer.decode([*ids, token])) for token in likeliest.indices.tolist()]
    assert set(counts) <= set(expected)
    for text, probability in zip(expected, likeliest.values.softmax(-1).tolist(), strict=True):
        deviation = math.sqrt(probability * (1 - probability) / draws)
        assert counts[text] / draws == pytest.approx(probability, abs=4 * deviation)


def test_fluency_is_the_weighted_entropy_of_bigrams_and_trigrams() -> None:
    # Bigrams: (a, b) twice, (b, a) once. Trigrams: (a, b, a) and (b, a, b), once each.
    bigrams = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert ngram_entropy("a b a b") == pytest.approx((2 / 3 * bigrams + 4 / 3 * 1) / 2)
    assert ngram_entropy("no no no no no no") == ngram_entropy("no") == ngram_entropy("") == 0
    # Six words: "It", "'s", "n't" and the full stop are words of their own.
    assert ngram_entropy("It's true, isn't it.") == ngram_entropy("a b c d e f g h")


def test_consistency_is_the_cosine_of_tf_idf_vectors() -> None:
    documents = ["The dog barks at the cat.", "A cat sleeps.", "The bird sings; the dog listens."]
    one, other = "The dog sleeps and the DOG dreams.", "the bird and the dog"

    def words(text: str) -> list[str]:
        return [word for word in re.split(r"\W+", text.lower()) if len(word) > 1]

    vocabulary = sorted({word for document in documents for word in words(document)})
    holding = np.array([sum(word in words(document) for document in documents) for word in vocabulary])
    idf = np.log((1 + len(documents)) / (1 + holding)) + 1
    a, b = (np.array([words(text).count(word) for word in vocabulary]) * idf for text in (one, other))
    assert TfIdf(documents).cosine(one, other) == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert TfIdf(documents).cosine(one, "nothing known") == 0


def test_an_evaluation_judges_the_texts_of_each_case(demo: EditableModel) -> None:
    references = ("Kobe Bryant trained for years.", "He plays the sport of basketball.")
    openings = ("Kobe Bryant is", "The sport of Kobe Bryant is")
    judged = Case(PROMPTS[0], "tennis", "basketball", generation_prompts=openings, references=references)
    silent = Case(PROMPTS[0], "tennis", "basketball")
    measured = evaluate(demo, [judged, silent], {}, generation=Generation(seed=3, num_tokens=20))
    texts = sample_texts(demo, openings, num_tokens=20, top_k=5, seed=3)
    fluency = sum(map(ngram_entropy, texts)) / 2
    consistency = TfIdf(references).cosine(" ".join(texts), " ".join(references))
    assert measured.results[0].as_dict()["texts"] == texts
    assert (measured.mean("fluency"), measured.mean("consistency")) == pytest.approx((fluency, consistency))
    assert measured.estimates["fluency"].count == 1
    assert evaluate(demo, [judged], {}).mean("fluency") is None


def test_an_opening_that_leaves_no_room_is_named_before_anything_is_measured(demo: EditableModel) -> None:
    case = Case(PROMPTS[0], "tennis", "basketball", generation_prompts=("one two", "word " * 20))
    told: list[int] = []
    with pytest.raises(InvalidFacts, match=r"fact 1, generation_prompts: .* tokens; a text has 12 in all"):
        plain = Case(PROMPTS[0], "tennis", "basketball")
        evaluate(demo, [plain, case], {}, lambda done, _: told.append(done), generation=Generation(num_tokens=12))
    assert not told
