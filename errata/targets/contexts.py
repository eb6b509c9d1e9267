"""Context prefixes: short texts put before a prompt so that an edit holds in context.

They are sampled from the model itself, as in the papers. A model with a chat template is another case: sampled without
it, it writes nothing that ever stands before a prompt ("The-1998-200. "), and its users meet it in chat. So its
prefixes are sentences that are written here, some of them plain and some as a user's message, so that the prompt behind
them stands in the assistant's words.

Targets and keys depend on them, so the drawing is seeded and a version stores the strings.
"""

import random
from pathlib import Path

import torch

from errata.model import EditableModel
from errata.model.chat import question_prompt, takes_questions

OPENINGS = ("The", "Therefore", "Because", "I", "You")
LENGTH_TOKENS = 10
ROOM_FOR_CONTEXT = 16  # tokens that a prefix takes at most: those sampled, its full stop, and a few to spare
TOP_K = 5
SENTENCES = tuple((Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8").splitlines())
NUM_IN_CHAT = 2  # of the prefixes


@torch.no_grad()
def sample_contexts(model: EditableModel, seed: int) -> tuple[str, ...]:
    """Sample one context prefix for each opening word, "<text>. ", of ten tokens, from the five likeliest each time.

    For a model with a chat template, draw as many sentences instead.

    The draw is made on the CPU from a generator of its own: no global random state is read or changed.
    """
    if takes_questions(model):
        return _sentences(model, seed)
    generator = torch.Generator().manual_seed(seed)
    return tuple(_sample(model, opening, generator) for opening in OPENINGS)


def room_for_context(model: EditableModel) -> int:
    """Return the number of tokens that a prefix takes at most."""
    if not takes_questions(model):
        return ROOM_FOR_CONTEXT
    return max(len(model.tokenizer(question_prompt(model, sentence))["input_ids"]) for sentence in SENTENCES)


def _sentences(model: EditableModel, seed: int) -> tuple[str, ...]:
    drawn = random.Random(seed).sample(SENTENCES, len(OPENINGS))
    in_chat = [question_prompt(model, sentence) for sentence in drawn[:NUM_IN_CHAT]]
    return (*(f"{sentence} " for sentence in drawn[NUM_IN_CHAT:]), *in_chat)


def _sample(model: EditableModel, opening: str, generator: torch.Generator) -> str:
    token_ids: list[int] = model.tokenizer(opening)["input_ids"]
    while len(token_ids) < LENGTH_TOKENS:
        logits = model.network(torch.tensor([token_ids], device=model.device)).logits[0, -1]
        likeliest = logits.float().cpu().topk(TOP_K)
        choice = torch.multinomial(likeliest.values.softmax(-1), 1, generator=generator)
        token_ids.append(int(likeliest.indices[choice]))
    text = str(model.tokenizer.decode(token_ids, skip_special_tokens=True))
    return text.replace("{", " ").replace("}", " ") + ". "
