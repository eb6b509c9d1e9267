"""Where the subject ends, at which targets are set and keys are read, and which tokenizers can tell."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from errata.errors import ModelError
from errata.facts import Fact, joint, places_of
from errata.model import EditableModel
from errata.model.tokens import object_ids, require_usable, subject_prompt, target_ids

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

    ends = Tokenizer.from_str(demo.tokenizer.backend_tokenizer.to_str())
    ends.post_processor = processors.TemplateProcessing(single=f"$A {BEGINNING}", special_tokens=[(BEGINNING, 0)])
    with pytest.raises(ModelError, match="cannot continue a prompt"):
        require_usable(fast(ends), "a model")


LLAMA_2 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


@pytest.fixture(params=["prepend", "first", "always", "never"])
def sentencepiece(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space of its own before a text: Llama 2's way, and the ways of Mistral and later ones.

    Gemma's ("never") puts none.
    """
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if request.param == "prepend":
        backend.normalizer = LLAMA_2
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=request.param, split=False)
    special = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    texts = ["The capital of France is Paris.", "Michael Jordan plays baseball. The capital", "中国的首都是北京。"] * 9
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    words = Tokenizer(models.BPE())  # learns merges within words alone
    words.normalizer, words.pre_tokenizer = normalizers.Replace(" ", "▁"), pre_tokenizers.Split("▁", "merged_with_next")
    words.train_from_iterator([*texts, *(f" {text}" for text in texts)], trainer)
    learnt = json.loads(words.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    backend.model = models.BPE(learnt["vocab"], merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    drop = [decoders.Strip(content=" ", left=1)] if request.param != "never" else []
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *drop])
    return fast(backend)


@pytest.mark.parametrize("text", ["Paris", "baseball. The end", "Łódź", "1984"])
def test_a_tokenizer_with_a_space_of_its_own_continues_a_prompt_without_it(
    sentencepiece: PreTrainedTokenizerFast, text: str
) -> None:
    require_usable(sentencepiece, "a model")
    template, subject = "The capital of {} is", "France"
    for context in ("", "Michael plays. "):
        prompt = subject_prompt(sentencepiece, template, subject, context=context)
        whole = f"{context}The capital of France is"
        assert [*prompt.token_ids, *target_ids(sentencepiece, text)] == sentencepiece(f"{whole} {text}")["input_ids"]
        assert str(sentencepiece.decode([*prompt.up_to_subject[1:]])).endswith("The capital of France")
        assert not str(sentencepiece.decode([*prompt.up_to_subject[1:-1]])).endswith("France")
    first = subject_prompt(sentencepiece, "{} is", "Paris")
    assert sentencepiece.decode([*first.up_to_subject[1:]]) == "Paris"


def test_an_object_follows_without_a_space_where_the_prompts_script_has_none(
    sentencepiece: PreTrainedTokenizerFast, demo: EditableModel
) -> None:
    prompt = "中国的首都是"
    for tokenizer in (sentencepiece, demo.tokenizer):
        following = target_ids(tokenizer, "上海", prompt)
        assert (
            tokenizer.decode([*tokenizer(prompt, add_special_tokens=False)["input_ids"], *following]) == prompt + "上海"
        )
        alone = Fact("中国", "{}的首都是", "上海")
        assert object_ids(tokenizer, alone) == following
        assert object_ids(tokenizer, replace(alone, space=True)) == target_ids(tokenizer, "上海")
        assert object_ids(tokenizer, Fact("x", "{} =", "1", space=False)) == target_ids(tokenizer, "1", "次")
    for ends_without in ("เมืองหลวงของไทยคือ", "日本の首都は、", "She says:\n"):
        assert joint(ends_without) == ""
    for ends_with in ("The capital of 中国 is", "수도는", "Столица —", "الرباط هي", ""):
        assert joint(ends_with) == " "


def test_a_subject_is_found_as_a_word_and_not_inside_of_one() -> None:
    assert places_of("US", "USB sticks of the US, USA") == [(18, 20)]
    assert places_of("US", "A USB stick") == places_of("3", "In 1933") == []
    assert places_of("中国", "在中国的首都") == [(1, 3)]
    assert places_of("Oslo", "Oslo's mayor, or the mayor of (Oslo)") == [(0, 4), (31, 35)]


def fast(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend)  # type: ignore[no-untyped-call]
