"""Choosing the next token of many rows at once.

A row's choices depend on its own logits and its own seed alone, whatever other rows are in the batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from errata_service.engine.tasks import Sampling

NOT_FINITE = -1
COLDEST = 1e-4  # below it a draw is greedy, and the quotient leaves the finite numbers


class Sampler:
    """The choices of one row; with the same seed and logits they are the same choices, on every device."""

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int], vocabulary: int, device: torch.device) -> None:
        self.sampling = sampling
        self._random = random.Random(sampling.seed)
        self._seen: Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self._seen[torch.tensor(list(prompt_ids), device=device)] = True

    @property
    def is_narrow(self) -> bool:
        """Whether it draws from some of the tokens only."""
        return self.sampling.top_k is not None or self.sampling.top_p < 1.0

    def draw(self) -> float:
        """The next random number, from 0 to below 1."""
        return self._random.random()

    def penalised(self, scores: Tensor) -> Tensor:
        """Make tokens that were seen less likely, as CTRL does: (vocabulary,)."""
        assert self._seen is not None
        penalty = self.sampling.repetition_penalty
        return torch.where(self._seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)

    def see(self, token_id: int) -> None:
        """Remember a token that was chosen."""
        if self._seen is not None:
            self._seen[token_id] = True


def choose(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of each row from its logits, (rows, vocabulary); `NOT_FINITE` where those are no numbers."""
    scores = logits.float()
    repeated = [row for row, sampler in enumerate(samplers) if sampler.sampling.repetition_penalty != 1.0]
    if repeated:
        scores = scores.clone()
        for row in repeated:
            scores[row] = samplers[row].penalised(scores[row])
    best, chosen = scores.max(dim=-1)
    drawn = [row for row, sampler in enumerate(samplers) if sampler.sampling.temperature >= COLDEST]
    # Apart from one another: the order of the tokens decides which one a random number means.
    for rows, draw in (
        ([row for row in drawn if not samplers[row].is_narrow], _drawn_from_all),
        ([row for row in drawn if samplers[row].is_narrow], _drawn_from_some),
    ):
        if rows:
            chosen[rows] = draw(scores[rows], [samplers[row] for row in rows])
    ids: list[int] = chosen.masked_fill(~best.isfinite(), NOT_FINITE).tolist()
    for sampler, token_id in zip(samplers, ids, strict=True):
        if token_id != NOT_FINITE:
            sampler.see(token_id)
    return ids


def logprobs(logits: Tensor, token_ids: Sequence[int], count: int) -> list[tuple[float, tuple[tuple[int, float], ...]]]:
    """For each row of logits, (rows, vocabulary): the log probability of its token, and the `count` likeliest tokens
    with theirs."""
    log_probabilities = log_softmax(logits.float(), dim=-1)
    own = log_probabilities.gather(1, torch.tensor(token_ids, device=logits.device)[:, None])[:, 0].tolist()
    likeliest = log_probabilities.topk(min(count, logits.shape[-1]))
    return [
        (logprob, tuple(zip(ids, values, strict=True)))
        for logprob, ids, values in zip(own, likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    ]


def _drawn_from_all(scores: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    return _at_random((scores / _column(scores, [s.sampling.temperature for s in samplers])).softmax(-1), samplers)


def _drawn_from_some(scores: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """From the k likeliest, and of these from the fewest that hold `top_p` of the probability."""
    vocabulary = scores.shape[-1]
    tempered = scores / _column(scores, [s.sampling.temperature for s in samplers])
    ordered, places = tempered.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(vocabulary, device=scores.device)
    ordered = ordered.masked_fill(
        rank >= _column(scores, [min(s.sampling.top_k or vocabulary, vocabulary) for s in samplers]), -torch.inf
    )
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    kept = (before < _column(scores, [s.sampling.top_p for s in samplers])) | (rank == 0)
    return places.gather(1, _at_random(probabilities * kept, samplers)[:, None])[:, 0]


def _at_random(weights: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """An index for each row, as likely as its weight: (rows, n) -> (rows,)."""
    reached = weights.double().cumsum(-1)
    drawn = torch.tensor([[sampler.draw()] for sampler in samplers], dtype=torch.float64, device=weights.device)
    return torch.searchsorted(reached, drawn * reached[:, -1:], right=True)[:, 0].clamp(max=weights.shape[-1] - 1)


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
