"""Context prefixes: short texts sampled from the model itself, put before a prompt so that an edit holds in context.

Targets and keys depend on them, so the sampling is seeded and a version stores the strings.
"""

import torch

from errata.model import EditableModel

OPENINGS = ("The", "Therefore", "Because", "I", "You")
LENGTH_TOKENS = 10
ROOM_FOR_CONTEXT = 16  # tokens that a prefix takes at most: those sampled, its full stop, and a few to spare
TOP_K = 5


@torch.no_grad()
def sample_contexts(model: EditableModel, seed: int) -> tuple[str, ...]:
    """Sample one context prefix for each opening word, "<text>. ", of ten tokens, from the five likeliest each time.

    The draw is made on the CPU from a generator of its own: no global random state is read or changed.
    """
    generator = torch.Generator().manual_seed(seed)
    return tuple(_sample(model, opening, generator) for opening in OPENINGS)


def _sample(model: EditableModel, opening: str, generator: torch.Generator) -> str:
    token_ids: list[int] = model.tokenizer(opening)["input_ids"]
    while len(token_ids) < LENGTH_TOKENS:
        logits = model.network(torch.tensor([token_ids], device=model.device)).logits[0, -1]
        likeliest = logits.float().cpu().topk(TOP_K)
        choice = torch.multinomial(likeliest.values.softmax(-1), 1, generator=generator)
        token_ids.append(int(likeliest.indices[choice]))
    text = str(model.tokenizer.decode(token_ids, skip_special_tokens=True))
    return text.replace("{", " ").replace("}", " ") + ". "
