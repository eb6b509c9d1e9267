"""How likely a model finds given continuations, and what it would say by itself, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from errata.hidden_states import batches_by_length
from errata.model import EditableModel
from errata.prompts import padded, target_ids


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of one continuation after one prompt.

    Attributes:
        nll: mean negative log probability of its tokens, in nats.
        is_argmax: whether each of its tokens is the likeliest one at its place.
    """

    nll: float
    is_argmax: bool


@torch.no_grad()
def likelihoods(model: EditableModel, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
    """The likelihood of each (prompt, continuation), teacher-forced. A continuation gets one leading space."""
    prompt_ids: list[list[int]] = [model.tokenizer(prompt)["input_ids"] for prompt, _ in pairs]
    object_ids = [target_ids(model.tokenizer, continuation) for _, continuation in pairs]
    rows = [(*prompt, *continuation) for prompt, continuation in zip(prompt_ids, object_ids, strict=True)]
    results: list[Likelihood] = [Likelihood(0.0, True)] * len(rows)
    for batch in batches_by_length([len(row) for row in rows]):
        hidden = _final_hidden_states(model, padded([rows[index] for index in batch], model.device))
        for row, index in enumerate(batch):
            continuation = torch.tensor(object_ids[index], device=model.device)
            first = len(prompt_ids[index]) - 1
            log_probabilities = log_softmax(
                model.logits(hidden[row, first : first + len(continuation)]).float(), dim=-1
            )
            nll = -log_probabilities.gather(1, continuation[:, None]).mean()
            is_argmax = bool((log_probabilities.argmax(-1) == continuation).all())
            results[index] = Likelihood(float(nll), is_argmax)
    return results


@torch.no_grad()
def next_token_log_probabilities(model: EditableModel, prompts: Sequence[str]) -> Tensor:
    """Log probabilities of the token after each prompt, (prompts, vocabulary), float32."""
    rows = [model.tokenizer(prompt)["input_ids"] for prompt in prompts]
    hidden = _final_hidden_states(model, padded(rows, model.device))
    last = torch.tensor([len(row) - 1 for row in rows], device=model.device)
    return log_softmax(model.logits(hidden[torch.arange(len(rows), device=model.device), last]).float(), dim=-1)


@torch.no_grad()
def greedy_answers(model: EditableModel, prompts: Sequence[str], num_tokens: Sequence[int]) -> list[str]:
    """What the model says after each prompt, greedily, for the given number of tokens."""
    rows: list[list[int]] = [list(model.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    starts = [len(row) for row in rows]
    for step in range(max(num_tokens, default=0)):
        growing = [index for index, wanted in enumerate(num_tokens) if step < wanted]
        for group in batches_by_length([len(rows[index]) for index in growing]):
            batch = [growing[member] for member in group]
            hidden = _final_hidden_states(model, padded([rows[index] for index in batch], model.device))
            last = torch.tensor([len(rows[index]) - 1 for index in batch], device=model.device)
            chosen = model.logits(hidden[torch.arange(len(batch), device=model.device), last]).argmax(-1)
            for index, token in zip(batch, chosen.tolist(), strict=True):
                rows[index].append(token)
    return [str(model.tokenizer.decode(row[start:])).strip() for row, start in zip(rows, starts, strict=True)]


def _final_hidden_states(model: EditableModel, token_ids: Tensor) -> Tensor:
    everything = model.blocks(0, model.num_layers)
    return everything(  # type: ignore[no-any-return]
        inputs_embeds=model.embed(token_ids), use_cache=False
    ).last_hidden_state
