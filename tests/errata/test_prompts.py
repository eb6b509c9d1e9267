"""Where the subject ends: the one place at which targets are set and keys are read."""

from __future__ import annotations

import pytest

from errata.model import EditableModel
from errata.prompts import subject_prompt, target_ids


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


def test_a_target_gets_one_leading_space(demo: EditableModel) -> None:
    assert target_ids(demo.tokenizer, "baseball") == target_ids(demo.tokenizer, "  baseball ")
    assert demo.tokenizer.decode(list(target_ids(demo.tokenizer, "baseball"))) == " baseball"
