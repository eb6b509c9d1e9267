"""Drift, against a plain loop over the tokens of each text."""

import math

import pytest
import torch

from errata.evaluation import PROSE, evaluate, prose_drift
from errata.model import EditableModel

TEXTS = ("The bakery on the corner opens at six.", "When you plant a young tree, dig the hole twice as wide.", "Go on")


def test_prose_drift_is_over_every_place_and_perplexity_over_every_token(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    for model in of_each_architecture.values():
        weights = {1: 1.5 * model.weight(1).flip(0)}  # with a norm behind it, a factor alone would change nothing
        divergences, before, after = [], [], []
        for text in TEXTS:
            ids = torch.tensor([model.tokenizer(text)["input_ids"]])
            base = model.network(ids).logits[0].log_softmax(-1)
            with model.using(weights):
                edited = model.network(ids).logits[0].log_softmax(-1)
            divergences.append((base.exp() * (base - edited)).sum(-1).mean().item())
            for place, token in enumerate(ids[0, 1:].tolist()):
                before.append(-base[place, token].item())
                after.append(-edited[place, token].item())
        drifted = prose_drift(model, weights, TEXTS)
        assert drifted.kl.mean == pytest.approx(sum(divergences) / 3, rel=1e-4)
        assert drifted.kl.count == 3
        assert drifted.perplexity_before == pytest.approx(math.exp(sum(before) / len(before)), rel=1e-4)
        assert drifted.perplexity_after == pytest.approx(math.exp(sum(after) / len(after)), rel=1e-4)


def test_an_evaluation_has_it_where_texts_are_given(demo: EditableModel) -> None:
    unedited = evaluate(demo, [], {}, texts=PROSE[:2]).prose
    assert unedited is not None
    assert unedited.kl.mean == pytest.approx(0, abs=1e-6)
    assert unedited.perplexity_before == unedited.perplexity_after
    assert evaluate(demo, [], {}).prose is None


def test_texts_with_nothing_to_predict_are_refused(demo: EditableModel) -> None:
    with pytest.raises(ValueError, match="two tokens or more"):
        prose_drift(demo, {}, ["Go on", ""])
