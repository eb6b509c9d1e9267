"""Text out of tokens: whole characters, and no part of a stop text."""

from collections.abc import Sequence

import pytest
from errata_service.engine.detokenizer import BROKEN, Detokenizer
from errata_service.prompts import prompt_offsets

from errata.model import EditableModel

TEXTS = [" plain words, and more", " Pelé 😀 中文, ½ naïve", "\n\nTwo lines\n", " 👩‍👩‍👧‍👦 family"]


def grown(
    model: EditableModel, prompt: str, token_ids: Sequence[int], stop: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """The text, and the pieces in which it came."""
    text = Detokenizer(model.tokenizer, model.tokenizer(prompt)["input_ids"], stop)
    pieces = []
    for token_id in token_ids:
        pieces.append(text.add(token_id))
        if text.stopped:
            break
    pieces.append(text.finish())
    return text.text, pieces


@pytest.mark.parametrize("written", TEXTS)
def test_characters_come_whole(demo: EditableModel, written: str) -> None:
    token_ids = demo.tokenizer(written)["input_ids"]
    text, pieces = grown(demo, "The text is", token_ids)
    assert text == "".join(pieces) == written
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)


def test_a_character_that_stays_broken_is_told_at_the_end(demo: EditableModel) -> None:
    first, *others = demo.tokenizer("中")["input_ids"]
    assert others  # the character is several tokens
    text, pieces = grown(demo, "The text is", [first])
    assert text == "".join(pieces) == "\N{REPLACEMENT CHARACTER}"
    assert pieces[0] == ""


@pytest.mark.parametrize("stop", ["words, a", "s", "plain", " and", "d m"])
def test_a_stop_text_may_lie_across_tokens(demo: EditableModel, stop: str) -> None:
    written = TEXTS[0]
    text, pieces = grown(demo, "The text is", demo.tokenizer(written)["input_ids"], ["never said", stop])
    assert text == "".join(pieces) == written[: written.index(stop)]


def test_what_only_looks_like_a_stop_text_is_told_later(demo: EditableModel) -> None:
    written = TEXTS[0]
    text, pieces = grown(demo, "The text is", demo.tokenizer(written)["input_ids"], ["words, but", "more!"])
    assert text == "".join(pieces) == written


@pytest.mark.parametrize("prompt", ["The text is 中", "The secret word \N{REPLACEMENT CHARACTER}"])
def test_a_prompt_that_ends_inside_a_character_is_not_repeated(demo: EditableModel, prompt: str) -> None:
    prompt_ids = demo.tokenizer(prompt)["input_ids"]
    cut, rest = (prompt_ids[:-1], prompt_ids[-1:]) if prompt.endswith("中") else (prompt_ids, [])
    text = Detokenizer(demo.tokenizer, cut, ["text", "word"])
    written = "".join(text.add(token_id) for token_id in [*rest, *demo.tokenizer(" plain one")["input_ids"]])
    written += text.finish()
    assert written.endswith(" plain one") and not text.stopped
    assert len(written) <= len(" plain one") + len(rest)


@pytest.mark.parametrize("text", ["Paris is in France", "<|endoftext|>中 is Pelé"])
def test_offsets_count_the_characters_before_a_token(demo: EditableModel, text: str) -> None:
    token_ids = demo.tokenizer(text)["input_ids"]
    for places in (prompt_offsets(demo, text), prompt_offsets(demo, token_ids)):
        for place, token_id in zip(places, token_ids, strict=True):
            token = str(demo.tokenizer.decode([token_id]))
            assert BROKEN in token or text[place:].startswith(token)
