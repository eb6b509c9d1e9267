"""Drift: how far an edited model is from its base on text that has nothing to do with the edit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from errata.evaluation.intervals import Estimate, mean_over
from errata.model import EditableModel
from errata.model.hidden_states import CPU_TOKENS_PER_BATCH, batches_by_length
from errata.model.likelihood import final_hidden_states, next_token_log_probabilities
from errata.model.tokens import padded

_FOLDER = Path(__file__).parent
UNRELATED_PROMPTS = tuple((_FOLDER / "unrelated_prompts.txt").read_text(encoding="utf-8").splitlines())
PROSE = tuple((_FOLDER / "prose.txt").read_text(encoding="utf-8").splitlines())


def drift(model: EditableModel, weights: Mapping[int, Tensor], prompts: Sequence[str] = UNRELATED_PROMPTS) -> float:
    """Return the mean KL(base || edited) of the next token after `prompts`, in nats."""
    base = next_token_log_probabilities(model, prompts)
    with model.using(weights):
        edited = next_token_log_probabilities(model, prompts)
    return float(kl_div(edited, base, log_target=True, reduction="batchmean"))


@dataclass(frozen=True, slots=True)
class ProseDrift:
    """The difference between an edited model and its base on running text."""

    kl: Estimate  # KL(base || edited) of the next token in nats, over all places of a text, then over texts
    # of the base: exp of the mean negative log probability of all tokens but each text's first
    perplexity_before: float
    perplexity_after: float  # of the edited model


@torch.no_grad()
def prose_drift(model: EditableModel, weights: Mapping[int, Tensor], texts: Sequence[str] = PROSE) -> ProseDrift:
    """Compare the edited model with its base at every place of running texts, each read as far as the model can.

    Raises:
        ValueError: a text has fewer than two tokens, or there is none.
    """
    rows: list[list[int]] = [model.tokenizer(text)["input_ids"][: model.max_length] for text in texts]
    if not rows or min(map(len, rows)) < 2:
        raise ValueError("drift is measured on texts, each of two tokens or more")
    kl, nll_before, nll_after = [0.0] * len(rows), 0.0, 0.0
    for batch in batches_by_length(list(map(len, rows)), CPU_TOKENS_PER_BATCH):  # each with a whole vocabulary
        ids = padded([rows[index] for index in batch], model.device)
        base = _log_probabilities(model, ids)
        with model.using(weights):
            edited = _log_probabilities(model, ids)
        divergences = kl_div(edited, base, log_target=True, reduction="none").sum(-1)  # (rows, S)
        for row, index in enumerate(batch):
            length = len(rows[index])
            kl[index] = float(divergences[row, :length].mean())
            nll_before += _nll(base[row], ids[row, :length])
            nll_after += _nll(edited[row], ids[row, :length])
    num_predicted = sum(len(row) - 1 for row in rows)
    return ProseDrift(mean_over(kl), _perplexity(nll_before / num_predicted), _perplexity(nll_after / num_predicted))


def _perplexity(nll: float) -> float:
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def _log_probabilities(model: EditableModel, ids: Tensor) -> Tensor:
    """Return log probabilities of the next token at every place of rows of ids, (rows, S, vocabulary), float32."""
    return log_softmax(model.logits(final_hidden_states(model, ids)).float(), dim=-1)


def _nll(log_probabilities: Tensor, ids: Tensor) -> float:
    """Sum the negative log probabilities of all ids but the first."""
    return -float(log_probabilities[: len(ids) - 1].gather(1, ids[1:, None]).sum())
