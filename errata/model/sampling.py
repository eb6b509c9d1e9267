"""Sample many texts at once with a seed, each token from the likeliest ones."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from errata.model import EditableModel
from errata.model.decoding import ROWS_PER_BATCH, Decoding


def sample_texts(model: EditableModel, prompts: Sequence[str], *, num_tokens: int, top_k: int, seed: int) -> list[str]:
    """Continue each prompt to `num_tokens` tokens in all; leave it alone if it has as many already.

    A token is drawn from the `top_k` likeliest in proportion to their probabilities; an end of text ends nothing and is
    left out of the text. The draws for a prompt depend on the seed, the prompt and how often it came before, so that
    other prompts change nothing, and the same draws are made before an edit and after it.
    """
    rows, _ = _sampled(model, prompts, num_tokens, top_k, seed)
    return [_text(model, row) for row in rows]


def sample_continuations(
    model: EditableModel, prompts: Sequence[str], *, num_tokens: int, top_k: int, seed: int
) -> list[str]:
    """Return what `sample_texts` adds to each prompt."""
    rows, starts = _sampled(model, prompts, num_tokens, top_k, seed)
    return [_text(model, row[start:]) for row, start in zip(rows, starts, strict=True)]


@torch.no_grad()
def _sampled(
    model: EditableModel, prompts: Sequence[str], num_tokens: int, top_k: int, seed: int
) -> tuple[list[list[int]], list[int]]:
    """Return each prompt's tokens with those that were sampled behind them, and how many are the prompt's."""
    rows: list[list[int]] = [list(model.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    starts = [len(row) for row in rows]
    total = min(num_tokens, model.max_length)
    draws = _draws(prompts, total, seed)
    by_length = sorted(range(len(rows)), key=lambda index: starts[index])
    for start in range(0, len(rows), ROWS_PER_BATCH):
        batch = by_length[start : start + ROWS_PER_BATCH]
        steps = total - starts[batch[0]]
        sampled = _continuations(model, [rows[index] for index in batch], draws[batch, :steps], top_k)
        for index, continuation in zip(batch, sampled.tolist(), strict=True):
            rows[index] += continuation[: max(0, total - starts[index])]
    return rows, starts


def _text(model: EditableModel, token_ids: list[int]) -> str:
    return str(model.tokenizer.decode(token_ids, skip_special_tokens=True))


def _draws(prompts: Sequence[str], num_draws: int, seed: int) -> Tensor:
    """Draw numbers between 0 and 1, (prompts, num_draws), on the CPU, with one generator for each prompt."""
    came_before: Counter[str] = Counter()
    draws = torch.empty(len(prompts), num_draws)
    for row, prompt in zip(draws, prompts, strict=True):
        digest = hashlib.sha256(f"{seed}\x1f{came_before[prompt]}\x1f{prompt}".encode()).digest()
        came_before[prompt] += 1
        row.uniform_(generator=torch.Generator().manual_seed(int.from_bytes(digest[:7])))
    return draws


def _continuations(model: EditableModel, rows: Sequence[Sequence[int]], draws: Tensor, top_k: int) -> Tensor:
    """Sample as many tokens for each row as it has draws, (rows, steps)."""
    decoding = Decoding(model, rows)
    draws = draws.to(model.device)
    continuations = torch.empty(draws.shape, dtype=torch.long, device=model.device)
    for step in range(draws.shape[1]):
        continuations[:, step] = _choose(decoding.next_logits(), draws[:, step], top_k)
        decoding.append(continuations[:, step])
    return continuations


def _choose(logits: Tensor, draws: Tensor, top_k: int) -> Tensor:
    """Return the token that each draw between 0 and 1 falls on, (rows,), from logits, (rows, vocabulary)."""
    likeliest = logits.topk(min(top_k, logits.shape[-1]))
    up_to = likeliest.values.softmax(-1).cumsum(-1)  # (rows, top_k)
    place = (up_to[:, :-1] <= draws[:, None]).sum(-1, keepdim=True)
    return likeliest.indices.gather(1, place)[:, 0]
