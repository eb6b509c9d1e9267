"""Averages over facts, by layer and by the place of a token in its prompt, grouped as in the papers' figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from errata.tracing.prompts import TracedPrompt

Position = Literal["first_subject", "middle_subject", "last_subject", "first_subsequent", "further", "last"]
POSITIONS: tuple[Position, ...] = (
    "first_subject",
    "middle_subject",
    "last_subject",
    "first_subsequent",
    "further",
    "last",
)
NORMAL_QUANTILE = 1.96  # of a two-sided interval of 95 %


@dataclass(frozen=True, slots=True)
class Average:
    """A mean over facts for each layer."""

    num_facts: int  # how many facts have a value
    mean: tuple[float, ...]  # by layer
    # of the mean's 95 % interval, by layer: 1.96 standard errors over facts. Empty for fewer than two.
    half_width: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[Tensor]) -> Average:
        """Average rows of values by layer, (layers,), of one or more facts."""
        table = torch.stack(list(values)).double()
        num_facts = len(table)
        standard_error = table.std(dim=0) / math.sqrt(num_facts) if num_facts > 1 else table.new_empty(0)
        half_width = NORMAL_QUANTILE * standard_error
        return cls(num_facts, tuple(table.mean(dim=0).tolist()), tuple(half_width.tolist()))


def tokens_by_position(prompt: TracedPrompt) -> dict[Position, range]:
    """Group the places of a prompt's tokens from the subject on; leave out empty groups.

    A subject of one token is a last one, and one token after the subject is the prompt's last.
    """
    subject, stop, end = prompt.subject_tokens, prompt.subject_tokens.stop, len(prompt.token_ids)
    places: dict[Position, range] = {
        "first_subject": subject[:1] if len(subject) > 1 else range(0),
        "middle_subject": subject[1:-1],
        "last_subject": subject[-1:],
        "first_subsequent": range(stop, min(stop + 1, end - 1)),
        "further": range(stop + 1, end - 1),
        "last": range(max(stop, end - 1), end),
    }
    return {position: tokens for position, tokens in places.items() if len(tokens) > 0}
