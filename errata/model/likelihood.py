"""The likelihood of given continuations, and greedy answers, in batches; whether there are any, for edited weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from errata.errors import DeviceFailed
from errata.model.editable import EditableModel
from errata.model.hidden_states import batches_by_length, tokens_per_batch
from errata.model.tokens import PROBE, goes_on_in_word, padded, target_ids


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The likelihood of one continuation after one prompt.

    Attributes:
        nll: mean negative log probability of its tokens, in nats; NaN where the model has left the finite numbers.
        token_accuracy: the share of its tokens that are the likeliest at their place, those before them given;
            none is where the model has left the finite numbers.
        is_said: whether the model says the continuation by itself: each token is the likeliest one, and what is
            likeliest to follow makes no longer word of it ("Astanaq" is not "Astana").
    """

    nll: float
    token_accuracy: float
    is_said: bool


@torch.no_grad()
def likelihoods(
    model: EditableModel, pairs: Sequence[tuple[str, str]], spaces: Sequence[bool | None] | None = None
) -> list[Likelihood]:
    """Return the likelihood of each (prompt, continuation), teacher-forced.

    Args:
        spaces: whether a space stands between the two, for each pair (see `errata.facts.joint`).
    """
    prompt_ids: list[list[int]] = [model.tokenizer(prompt)["input_ids"] for prompt, _ in pairs]
    object_ids = [
        target_ids(model.tokenizer, continuation, prompt, space)
        for (prompt, continuation), space in zip(pairs, spaces or [None] * len(pairs), strict=True)
    ]
    # Nothing follows a continuation's last token. So continuations of one token share the row of their prompt.
    asked: dict[tuple[int, ...], list[int]] = {}
    for index, (prompt, continuation) in enumerate(zip(prompt_ids, object_ids, strict=True)):
        asked.setdefault((*prompt, *continuation[:-1]), []).append(index)
    rows = list(asked)
    found_at: dict[int, tuple[float, float]] = {}
    for batch in batches_by_length([len(row) for row in rows], tokens_per_batch(model.device)):
        hidden = final_hidden_states(model, padded([rows[row] for row in batch], model.device))
        for states, row in zip(hidden, batch, strict=True):
            for index in asked[rows[row]]:
                wanted = torch.tensor(object_ids[index], device=model.device)
                first = len(prompt_ids[index]) - 1
                logits = model.logits(states[first : first + len(wanted)]).float()
                found = log_softmax(logits, dim=-1).gather(1, wanted[:, None])[:, 0]
                # Among logits that are no numbers, argmax takes the first.
                num_likeliest = int(((logits.argmax(-1) == wanted) & found.isfinite()).sum())
                found_at[index] = -float(found.mean()), num_likeliest / len(wanted)
    likeliest = [index for index, (_, accuracy) in found_at.items() if accuracy == 1]
    following = likeliest_next(model, [[*prompt_ids[index], *object_ids[index]] for index in likeliest])
    said = {
        index
        for index, token_id in zip(likeliest, following, strict=True)
        if not goes_on_in_word(model.tokenizer, object_ids[index], token_id)
    }
    return [Likelihood(*found_at[index], index in said) for index in range(len(pairs))]


@torch.no_grad()
def next_token_log_probabilities(model: EditableModel, prompts: Sequence[str]) -> Tensor:
    """Return log probabilities of the token after each prompt, (prompts, vocabulary), float32."""
    rows = [model.tokenizer(prompt)["input_ids"] for prompt in prompts]
    return log_softmax(_next_logits(model, rows).float(), dim=-1)


def gives_finite_numbers(model: EditableModel, weights: Mapping[int, Tensor]) -> bool:
    """Return True if the model with `weights`, layer -> edited matrix, can choose a token after an ordinary prompt."""
    with model.using(weights):
        return bool(next_token_log_probabilities(model, PROBE[:1]).max().isfinite())


@torch.no_grad()
def greedy_answers(model: EditableModel, prompts: Sequence[str], num_tokens: Sequence[int]) -> list[str]:
    """Continue each prompt greedily by the given number of tokens; return the continuations."""
    rows: list[list[int]] = [list(model.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    starts = [len(row) for row in rows]
    for step in range(max(num_tokens, default=0)):
        growing = [index for index, wanted in enumerate(num_tokens) if step < wanted]
        for index, token in zip(growing, likeliest_next(model, [rows[index] for index in growing]), strict=True):
            rows[index].append(token)
    return [str(model.tokenizer.decode(row[start:])).strip() for row, start in zip(rows, starts, strict=True)]


@torch.no_grad()
def likeliest_next(model: EditableModel, rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the likeliest token after each row of token ids."""
    chosen: dict[int, int] = {}
    for batch in batches_by_length([len(row) for row in rows], tokens_per_batch(model.device)):
        tokens = _next_logits(model, [rows[index] for index in batch]).argmax(-1).tolist()
        chosen |= dict(zip(batch, tokens, strict=True))
    return [chosen[index] for index in range(len(rows))]


def _next_logits(model: EditableModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits after each row, (rows, vocabulary)."""
    hidden = final_hidden_states(model, padded(rows, model.device))
    return model.logits(hidden[torch.arange(len(rows)), [len(row) - 1 for row in rows]])


@torch.no_grad()
def require_device(model: EditableModel) -> None:
    """Run one token. Raises `DeviceFailed` where the device does not do even that."""
    try:
        final_hidden_states(model, torch.zeros(1, 1, dtype=torch.long, device=model.device)).cpu()
    except RuntimeError as error:
        raise DeviceFailed(f"{model.device} runs nothing any more: {str(error).splitlines()[0]}") from error


@torch.no_grad()
def final_hidden_states(model: EditableModel, token_ids: Tensor) -> Tensor:
    """Return the input of `model.logits` for right-padded rows of token ids, (rows, S): (rows, S, d_model)."""
    return model.run(0, model.num_layers, model.embed(token_ids))
