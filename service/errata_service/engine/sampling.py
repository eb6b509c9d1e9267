"""Choosing the next token of many sequences at once.

A sequence's choices depend on its own logits and its own seed alone, whatever else is in the batch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

NOT_FINITE = -1
COLDEST = 1e-4  # below it a draw is greedy, and dividing by it could overflow

# A token's log probability, and (token id, log probability) of the likeliest tokens in its place.
Logprobs = tuple[float, tuple[tuple[int, float], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose tokens: greedily if `temperature` is 0. With `seed` None, each run draws anew."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None


GREEDY = SamplingParams()


class Sampler:
    """The choices of one sequence. The same seed and logits give the same choices, on every device."""

    def __init__(
        self, params: SamplingParams, prompt_ids: Sequence[int], vocabulary: int, device: torch.device
    ) -> None:
        self.params = params
        self._random = random.Random(params.seed)
        self._seen: Tensor | None = None
        if params.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self._seen[torch.tensor(list(prompt_ids), device=device)] = True

    @property
    def is_narrow(self) -> bool:
        """Return True if it draws from a part of the vocabulary only."""
        return self.params.top_k is not None or self.params.top_p < 1.0

    def draw(self) -> float:
        """Draw the next random number, from 0 to below 1."""
        return self._random.random()

    def penalised(self, scores: Tensor) -> Tensor:
        """Return scores, (vocabulary,), with tokens that occurred made less likely, as CTRL does (arXiv:1909.05858)."""
        assert self._seen is not None
        penalty = self.params.repetition_penalty
        return torch.where(self._seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)

    def see(self, token_id: int) -> None:
        """Remember a chosen token."""
        if self._seen is not None:
            self._seen[token_id] = True


def choose(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """Choose the next token of each row of logits, (rows, vocabulary); `NOT_FINITE` if they are not finite."""
    scores = logits.float()
    repeated = [row for row, sampler in enumerate(samplers) if sampler.params.repetition_penalty != 1.0]
    if repeated:
        scores = scores.clone()
        for row in repeated:
            scores[row] = samplers[row].penalised(scores[row])
    best, chosen = scores.max(dim=-1)
    drawn = [row for row, sampler in enumerate(samplers) if sampler.params.temperature >= COLDEST]
    # Kept apart, since the order of the tokens decides which one a random number means.
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


def logprobs(logits: Tensor, token_ids: Sequence[int], count: int) -> list[Logprobs]:
    """Return, for each row of logits, (rows, vocabulary), those of its token and of the `count` likeliest tokens."""
    log_probabilities = log_softmax(logits.float(), dim=-1)
    own = log_probabilities.gather(1, torch.tensor(token_ids, device=logits.device)[:, None])[:, 0].tolist()
    likeliest = log_probabilities.topk(min(count, logits.shape[-1]))
    return [
        (logprob, tuple(zip(ids, values, strict=True)))
        for logprob, ids, values in zip(own, likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    ]


def _drawn_from_all(scores: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    return _at_random((scores / _column(scores, [s.params.temperature for s in samplers])).softmax(-1), samplers)


def _drawn_from_some(scores: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Draw from the k likeliest tokens, and of these from the fewest that hold `top_p` of the probability."""
    vocabulary = scores.shape[-1]
    tempered = scores / _column(scores, [s.params.temperature for s in samplers])
    ordered, places = tempered.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(vocabulary, device=scores.device)
    ordered = ordered.masked_fill(
        rank >= _column(scores, [min(s.params.top_k or vocabulary, vocabulary) for s in samplers]), -torch.inf
    )
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    kept = (before < _column(scores, [s.params.top_p for s in samplers])) | (rank == 0)
    return places.gather(1, _at_random(probabilities * kept, samplers)[:, None])[:, 0]


def _at_random(weights: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Draw an index for each row in proportion to its weights: (rows, n) -> (rows,)."""
    reached = weights.double().cumsum(-1)
    drawn = torch.tensor([[sampler.draw()] for sampler in samplers], dtype=torch.float64, device=weights.device)
    return torch.searchsorted(reached, drawn * reached[:, -1:], right=True)[:, 0].clamp(max=weights.shape[-1] - 1)


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
