"""Text sampled from a model itself: what it was trained on as far as it has learnt it, for second moments."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from errata.model import EditableModel

TEXTS_AT_ONCE = 32
LENGTH_TOKENS = 128


def sampled_texts(model: EditableModel, seed: int = 0) -> Iterator[str]:
    """Texts without end, each of so many tokens, drawn from the model's own distribution.

    A text begins where the model's documents do, with what it says after the end-of-text token; where there is none,
    with a token drawn from the vocabulary. The draw is made on the CPU from a generator of its own: no global random
    state is read or changed.
    """
    generator = torch.Generator().manual_seed(seed)
    length = min(LENGTH_TOKENS, model.max_length)
    while True:
        for token_ids in _sample(model, length, generator):
            text = model.tokenizer.decode(token_ids, skip_special_tokens=True)
            yield " ".join(str(text).split())


@torch.no_grad()
def _sample(model: EditableModel, length: int, generator: torch.Generator) -> Tensor:
    """Token ids, (texts, length)."""
    end_of_text = model.tokenizer.eos_token_id
    if end_of_text is None:
        latest = torch.randint(len(model.tokenizer), (TEXTS_AT_ONCE, 1), generator=generator)
    else:
        latest = torch.full((TEXTS_AT_ONCE, 1), end_of_text)
    sampled, before = [latest], None
    for _ in range(length - 1):
        output = model.network(latest.to(model.device), past_key_values=before, use_cache=True)
        before = output.past_key_values
        probabilities = output.logits[:, -1].float().cpu().softmax(-1)
        latest = torch.multinomial(probabilities, 1, generator=generator)
        sampled.append(latest)
    return torch.cat(sampled, dim=1)
