"""Sample many texts at once with a seed, each token from the likeliest ones."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from errata.model import EditableModel

ROWS_PER_BATCH = 64  # keys and values of 64 texts of 100 tokens take 2.9 GB in GPT-J 6B at 16 bits


@torch.no_grad()
def sample_texts(model: EditableModel, prompts: Sequence[str], *, num_tokens: int, top_k: int, seed: int) -> list[str]:
    """Continue each prompt to `num_tokens` tokens in all; leave it alone if it has as many already.

    A token is drawn from the `top_k` likeliest in proportion to their probabilities; an end of text ends nothing and is
    left out of the text. The draws for a prompt depend on the seed, the prompt and how often it came before, so that
    other prompts change nothing, and the same draws are made before an edit and after it.
    """
    rows: list[list[int]] = [model.tokenizer(prompt)["input_ids"] for prompt in prompts]
    total = min(num_tokens, model.max_length)
    draws = _draws(prompts, total, seed)
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(rows), ROWS_PER_BATCH):
        batch = by_length[start : start + ROWS_PER_BATCH]
        steps = total - len(rows[batch[0]])
        sampled = _continuations(model, [rows[index] for index in batch], draws[batch, :steps], top_k)
        for index, continuation in zip(batch, sampled.tolist(), strict=True):
            rows[index] += continuation[: max(0, total - len(rows[index]))]
    return [str(model.tokenizer.decode(row, skip_special_tokens=True)) for row in rows]


@torch.no_grad()
def greedy_ids(model: EditableModel, prompts: Sequence[str], *, num_tokens: int) -> list[list[int]]:
    """Return the likeliest tokens after each prompt, `num_tokens` or as many as there is room for."""
    rows: list[list[int]] = [model.tokenizer(prompt)["input_ids"] for prompt in prompts]
    continued: list[list[int]] = [[] for _ in rows]
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(rows), ROWS_PER_BATCH):
        batch = by_length[start : start + ROWS_PER_BATCH]
        steps = min(num_tokens, model.max_length - len(rows[batch[-1]]))
        found = _continuations(model, [rows[index] for index in batch], torch.zeros(len(batch), max(steps, 0)), 1)
        for index, continuation in zip(batch, found.tolist(), strict=True):
            continued[index] = continuation
    return continued


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
    """Sample as many tokens for each row as it has draws, (rows, steps).

    Prompts are padded on the left, so that all end at the same place; the padding is masked.
    """
    longest = max(map(len, rows))
    tokens = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=model.device)
    seen = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
    draws = draws.to(model.device)
    cache = DynamicCache(config=model.network.config)
    continuations: list[Tensor] = []
    for step in range(draws.shape[1]):
        positions = (seen.cumsum(1) - 1).clamp(0, model.max_length - 1)  # a row that is done may run beyond
        output = model.network(
            input_ids=tokens,
            attention_mask=seen,
            position_ids=positions[:, -tokens.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = _choose(output.logits[:, -1].float(), draws[:, step], top_k)[:, None]
        continuations.append(tokens)
        seen = torch.cat([seen, seen.new_ones(len(rows), 1)], dim=1)
    return torch.cat(continuations, dim=1) if continuations else tokens[:, :0]


def _choose(logits: Tensor, draws: Tensor, top_k: int) -> Tensor:
    """Return the token that each draw between 0 and 1 falls on, (rows,), from logits, (rows, vocabulary)."""
    likeliest = logits.topk(min(top_k, logits.shape[-1]))
    up_to = likeliest.values.softmax(-1).cumsum(-1)  # (rows, top_k)
    place = (up_to[:, :-1] <= draws[:, None]).sum(-1, keepdim=True)
    return likeliest.indices.gather(1, place)[:, 0]
