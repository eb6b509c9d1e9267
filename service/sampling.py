"""Choosing the next token from a model's logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from service.generation import GenerateRequest


class Sampler:
    """The choices of one completion; with the same seed and logits they are the same choices."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        # On the CPU whatever the model's device is: a seed means the same draws everywhere.
        self._random = torch.Generator()
        if request.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(request.seed)

    def choose(self, logits: Tensor, seen: Sequence[int]) -> int:
        """The next token's id, from logits (vocabulary,) and the ids of prompt and completion so far."""
        request = self._request
        scores = logits.float().cpu()
        if request.repetition_penalty != 1.0:
            scores = _penalised(scores, seen, request.repetition_penalty)
        if request.temperature == 0.0:
            return int(scores.argmax())
        scores = scores / request.temperature
        if request.top_k is not None:
            scores = _best_k(scores, request.top_k)
        if request.top_p < 1.0:
            scores = _nucleus(scores, request.top_p)
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))


def _penalised(scores: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Make tokens that were seen less likely, as CTRL does: (vocabulary,)."""
    places = torch.tensor(sorted(set(seen)))
    of_seen = scores[places]
    return scores.index_put((places,), torch.where(of_seen > 0, of_seen / penalty, of_seen * penalty))


def _best_k(scores: Tensor, k: int) -> Tensor:
    """Leave out all but the k best: (vocabulary,)."""
    if k >= len(scores):
        return scores
    return scores.masked_fill(scores < scores.topk(k).values[-1], -torch.inf)


def _nucleus(scores: Tensor, mass: float) -> Tensor:
    """Leave out all but the fewest tokens that hold `mass` of the probability: (vocabulary,)."""
    ordered, places = scores.sort(descending=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    return scores.index_fill(0, places[before >= mass], -torch.inf)
