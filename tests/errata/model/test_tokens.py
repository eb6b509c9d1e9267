"""Where the subject ends, at which targets are set and keys are read, and which tokenizers can tell."""

from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from errata.errors import ModelError
from errata.model import EditableModel
from errata.model.tokens import require_usable, subject_prompt, target_ids

BEGINNING = "<|endoftext|>"


@pytest.mark.parametrize(
    ("template", "subject", "context"),
    [
        ("{} plays the sport of", "Michael Jordan", ""),
        ("The mother tongue of {} is", "Danielle Darrieux", ""),
        ("{}, who lives in", "Sammy Davis Jr.", ""),
        ("{} is the capital of", "São Tomé", ""),
        ("In {}'s country they speak", "Łódź", "The story of {0} goes on. "),
        ("{} is in", "東京", ""),
        ("{} is in", "Yahoo!", "I think so. "),
        ("The answer to {}", "why", ""),
        ("They call it {}", "Sacré-Cœur", "Once. "),
        ("{}'s capital is", "St. Kitts & Nevis", ""),
    ],
)
def test_the_subjects_last_token_is_the_last_that_holds_a_part_of_it(
    demo: EditableModel, template: str, subject: str, context: str
) -> None:
    prompt = subject_prompt(demo.tokenizer, template, subject, context=context)
    text = context + template.replace("{}", subject)
    assert list(prompt.token_ids) == demo.tokenizer(text)["input_ids"]
    end = len(context) + template.index("{}") + len(subject)
    up_to_subject = str(demo.tokenizer.decode(list(prompt.up_to_subject)))
    before_its_last_token = str(demo.tokenizer.decode(list(prompt.up_to_subject[:-1])))
    assert up_to_subject.startswith(text[:end])
    assert not before_its_last_token.startswith(text[:end])


@pytest.mark.parametrize("text", ["baseball", "the Château d'If", "what?!", "東京", "1984"])
def test_an_object_continues_its_prompt_as_the_whole_text_would(demo: EditableModel, text: str) -> None:
    prompt = subject_prompt(demo.tokenizer, "The one thing that {} likes is", "Yahoo!")
    whole = demo.tokenizer(f"The one thing that Yahoo! likes is {text}")["input_ids"]
    assert [*prompt.token_ids, *target_ids(demo.tokenizer, text)] == whole
    assert target_ids(demo.tokenizer, f"  {text} ") == target_ids(demo.tokenizer, text)


def test_a_token_that_begins_every_text_stands_before_the_prompt_and_not_before_the_object(
    demo: EditableModel,
) -> None:
    plain = demo.tokenizer
    backend = Tokenizer.from_str(plain.backend_tokenizer.to_str())
    begins = [(BEGINNING, plain.convert_tokens_to_ids(BEGINNING))]
    backend.post_processor = processors.TemplateProcessing(single=f"{BEGINNING} $A", special_tokens=begins)
    beginning = fast(backend)
    require_usable(beginning, "a model")
    without, prompt = (
        subject_prompt(tokenizer, "In {}'s country", "Łódź", context="So. ") for tokenizer in (plain, beginning)
    )
    assert prompt.token_ids == (begins[0][1], *without.token_ids)
    assert prompt.subject_last == without.subject_last + 1
    assert target_ids(beginning, "New York") == target_ids(plain, "New York")
    bare = subject_prompt(beginning, "{} is in", "Oslo")
    assert beginning.decode(list(bare.up_to_subject)) == f"{BEGINNING}Oslo"


def test_a_tokenizer_that_cannot_tell_where_a_subject_ends_or_continue_a_prompt_is_refused(
    demo: EditableModel,
) -> None:
    slow: Any = ByT5Tokenizer()
    with pytest.raises(ModelError, match="slow tokenizer"):
        EditableModel(demo.network, slow, name="a model")

    # As SentencePiece does in older models: one space of its own before every text.
    words = ["?", "▁", "▁The", "▁capital", "▁of", "▁France", "▁is", "▁Paris"]
    own_space = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="?"))
    own_space.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    own_space.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    assert own_space.encode("The capital").tokens == ["▁The", "▁capital"]
    with pytest.raises(ModelError, match="cannot continue a prompt"):
        require_usable(fast(own_space), "a model")

    ends = Tokenizer.from_str(demo.tokenizer.backend_tokenizer.to_str())
    ends.post_processor = processors.TemplateProcessing(single=f"$A {BEGINNING}", special_tokens=[(BEGINNING, 0)])
    with pytest.raises(ModelError, match="cannot continue a prompt"):
        require_usable(fast(ends), "a model")


def fast(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend)  # type: ignore[no-untyped-call]
