"""Drawing: as often as the probabilities say, from the tokens that transformers would leave."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from errata_service.engine.sampling import NOT_FINITE, Sampler, SamplingParams, choose
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

DRAWS = 20_000
SEEN = [3, 5]


def scores() -> torch.Tensor:
    return torch.randn(1, 12, generator=torch.Generator().manual_seed(5)) * 2


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.5),
        SamplingParams(temperature=1.5, top_k=4),
        SamplingParams(temperature=1.5, top_p=0.7),
        SamplingParams(temperature=2.0, top_k=6, top_p=0.8, repetition_penalty=1.7),
    ],
)
def test_tokens_are_drawn_as_often_as_transformers_would_draw_them(params: SamplingParams) -> None:
    expected = RepetitionPenaltyLogitsProcessor(params.repetition_penalty)(torch.tensor([SEEN]), scores())
    expected = TemperatureLogitsWarper(params.temperature)(SEEN, expected)
    if params.top_k is not None:
        expected = TopKLogitsWarper(params.top_k)(SEEN, expected)
    if params.top_p < 1:
        expected = TopPLogitsWarper(params.top_p)(SEEN, expected)
    probabilities = expected.softmax(-1)[0]

    samplers = [Sampler(replace(params, seed=seed), SEEN, 12, torch.device("cpu")) for seed in range(DRAWS)]
    drawn = Counter(choose(scores().expand(DRAWS, -1), samplers))
    for token_id, probability in enumerate(probabilities.tolist()):
        spread = (probability * (1 - probability) / DRAWS) ** 0.5
        assert drawn[token_id] / DRAWS == pytest.approx(probability, abs=4.5 * spread), token_id


def test_sequences_do_not_see_each_other() -> None:
    params = [SamplingParams(), SamplingParams(temperature=1, seed=1), SamplingParams(temperature=1, seed=1, top_k=3)]
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))

    def chosen(rows: list[int]) -> list[int]:
        samplers = [Sampler(params[row], [0], 50, torch.device("cpu")) for row in rows]
        return choose(logits[rows], samplers)

    alone = [chosen([row])[0] for row in range(3)]
    assert chosen([0, 1, 2]) == alone
    assert chosen([2, 0, 1]) == [alone[2], alone[0], alone[1]]


def test_what_is_no_number_is_told() -> None:
    logits = torch.zeros(3, 8)
    logits[1, 2] = torch.nan
    logits[2, 2] = torch.inf
    samplers = [Sampler(SamplingParams(temperature=1), [0], 8, torch.device("cpu")) for _ in range(3)]
    assert [token_id == NOT_FINITE for token_id in choose(logits, samplers)] == [False, True, True]
