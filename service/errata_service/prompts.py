"""Prompts as the engine takes them: token ids that leave room in the model's context."""

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream

from errata.errors import Place
from errata.model import EditableModel
from errata_service.problems import ProblemError

LONGEST_CHARACTER = 8  # in tokens, of which each is a byte at least


def prompt_ids(model: EditableModel, prompt: str | Sequence[int], place: str, room: int = 1) -> list[int]:
    """The tokens of a prompt that stands at `place`, a JSON pointer, in a body.

    Raises:
        ProblemError: it has none, or some that the model does not know, or leaves no room for `room` tokens more.
    """
    if isinstance(prompt, str):
        token_ids: list[int] = model.tokenizer(prompt, verbose=False)["input_ids"]
    else:
        token_ids = list(prompt)
    known = model.network.config.vocab_size
    if not token_ids:
        detail = "has no tokens"
    elif unknown := [token_id for token_id in token_ids if not 0 <= token_id < known]:
        detail = f"holds the token {unknown[0]}, and the model has tokens from 0 to {known - 1}"
    elif len(token_ids) + room > model.max_length:
        detail = f"has {len(token_ids)} tokens and leaves no room in a context of {model.max_length}"
    else:
        return token_ids
    raise ProblemError(422, "bad-prompt", f"the prompt {detail}", places=[Place(place, detail)])


def prompt_offsets(model: EditableModel, prompt: str | Sequence[int]) -> list[int]:
    """Where the text of each token begins, in characters of the prompt, or of the text that its tokens make."""
    if isinstance(prompt, str):
        mapping = model.tokenizer(prompt, verbose=False, return_offsets_mapping=True)["offset_mapping"]
        return [begin for begin, _ in mapping]
    places, length, broken = [], 0, 0
    stream = DecodeStream(skip_special_tokens=False)
    for token_id in prompt:
        places.append(length)
        text = stream.step(model.tokenizer.backend_tokenizer, token_id)
        broken = broken + 1 if text is None else 0
        length += len(text or "")
        if broken > LONGEST_CHARACTER:  # it never will be whole, and to go on waiting would take ever longer
            length, broken = length + broken, 0
            stream = DecodeStream(skip_special_tokens=False)
    return places


def prompt_text(model: EditableModel, prompt: str | Sequence[int]) -> str:
    """A prompt as text, with its special tokens."""
    if isinstance(prompt, str):
        return prompt
    return str(model.tokenizer.backend_tokenizer.decode(list(prompt), skip_special_tokens=False))
