"""Records in the forms that the field's data sets and tools have: what they become, and how bad ones are named."""

import json
from pathlib import Path
from typing import Any

import pytest
from errata_client import Fact, InvalidFacts, Neighbor, facts_of_records, read_facts

COUNTERFACT: dict[str, Any] = {
    "case_id": 7,
    "pararel_idx": 70,
    "requested_rewrite": {
        "prompt": "The harbour of {} lies on",
        "relation_id": "P206",
        "target_new": {"str": "the Tarn", "id": "Q1"},
        "target_true": {"str": "the Ouse", "id": "Q2"},
        "subject": "Lower Wick",
    },
    "paraphrase_prompts": ["A storm came up. Lower Wick lies on"],
    "neighborhood_prompts": ["The harbour of Selm lies on", "The harbour of Thorne lies on"],
    "attribute_prompts": [],
    "generation_prompts": ["Ships reach Lower Wick by"],
}
ZSRE: dict[str, Any] = {
    "subject": "Ilse Varn",
    "src": "What did Ilse Varn teach?",
    "pred": "law",
    "rephrase": "Which subject was taught by Ilse Varn?",
    "alt": "botany",
    "answers": ["history"],
    "loc": "nq question: who painted the east window of selm church",
    "loc_ans": "Oda Renn",
    "cond": "law >> botany || What did Ilse Varn teach?",
}
EASYEDIT: dict[str, Any] = {
    "prompt": "Who founded the Selm Gazette?",
    "subject": "Selm Gazette",
    "target_new": "Oda Renn",
    "ground_truth": "Piet Harl",
    "rephrase_prompt": "The Selm Gazette was founded by",
}
EASYEDIT_FACT = Fact(
    "Selm Gazette",
    "Who founded the {}?",
    "Oda Renn",
    ("The Selm Gazette was founded by",),
    (Neighbor("Thorne is in", "Wick"),),
)


def test_counterfact_and_zsre_records_become_facts() -> None:
    assert facts_of_records([COUNTERFACT, ZSRE, ("s", "r", "o")]) == [
        Fact(
            "Lower Wick",
            "The harbour of {} lies on",
            "the Tarn",
            ("A storm came up. Lower Wick lies on",),
            (
                Neighbor("The harbour of Selm lies on", "the Ouse"),
                Neighbor("The harbour of Thorne lies on", "the Ouse"),
            ),
        ),
        Fact(
            "Ilse Varn",
            "What did {} teach?",
            "botany",
            ("Which subject was taught by Ilse Varn?",),
            (Neighbor("nq question: who painted the east window of selm church?", "Oda Renn"),),
        ),
        Fact("s", "r", "o"),
    ]


@pytest.mark.parametrize(
    "locality",
    [
        {"locality": {"neighborhood": {"prompt": "Thorne is in", "ground_truth": "Wick"}}},
        {"locality": {"neighborhood": {"prompt": ["Thorne is in"], "ground_truth": ["Wick"]}}, "portability": {}},
        {"locality_prompt": "Thorne is in", "locality_ground_truth": "Wick"},
        {  # KnowEdit: the accepted spellings of each answer, and prompts that have none.
            "locality": {
                "Relation_Specificity": [
                    {"prompt": "Thorne is in", "ground_truth": [["Wick", "County Wick"]]},
                    {"prompt": "Thorne has twins in", "ground_truth": []},
                ],
                "Forgetfulness": [{"prompt": "Thorne was", "ground_truth": [[""]]}],
            }
        },
    ],
)
def test_easyedit_requests_become_facts(locality: dict[str, Any]) -> None:
    template = {"prompt": "Who founded the {}?"}
    assert facts_of_records([EASYEDIT | locality, EASYEDIT | template | locality]) == [EASYEDIT_FACT] * 2


def test_an_easyedit_request_need_not_be_measured() -> None:
    bare: dict[str, Any] = {
        "prompt": "a is",
        "subject": "a",
        "target_new": "b",
        "rephrase_prompt": None,
        "locality": {},
    }
    assert facts_of_records([bare]) == [Fact("a", "{} is", "b")]


def test_bad_records_are_all_named_with_the_form_they_were_read_as() -> None:
    rewrite = COUNTERFACT["requested_rewrite"]
    records = [
        COUNTERFACT,
        COUNTERFACT | {"requested_rewrite": {**rewrite, "target_true": {"id": "Q2"}, "subject": ""}},
        COUNTERFACT | {"requested_rewrite": {**rewrite, "prompt": "It lies on"}},
        ZSRE | {"src": "Is Ilse Varn Ilse Varn?"},
        EASYEDIT | {"locality": {"neighborhood": {"prompt": ["a", "b"], "ground_truth": ["c"]}}},
        {"subject": "s", "relation": "r"},
        "nonsense",
        ZSRE | {"src": "USB is sold by", "subject": "US"},
    ]
    with pytest.raises(InvalidFacts) as caught:
        facts_of_records(records)
    assert [str(problem) for problem in caught.value.problems] == [
        "record 1: read as a CounterFact record, requested_rewrite.subject: is empty, and takes at least 1 character; "
        "requested_rewrite.target_true.str: is required",
        "record 2: read as a CounterFact record, 'It lies on' holds its subject 'Lower Wick' 0 times, not once",
        "record 3: read as a zsRE record, 'Is Ilse Varn Ilse Varn?' holds its subject 'Ilse Varn' 2 times, not once",
        "record 4: read as an EasyEdit request, locality.neighborhood.0: prompt holds 2, but ground_truth 1",
        "record 5: object: is required",
        "record 6: must be an object, not a string",
        "record 7: read as a zsRE record, 'USB is sold by' holds its subject 'US' 0 times, not once",
    ]


def test_files_may_mix_the_forms(tmp_path: Path) -> None:
    records = [COUNTERFACT, ["s", "r", "o"], ZSRE]
    facts = facts_of_records(records)
    array = tmp_path / "records.json"
    for indent in (None, 1):
        array.write_text(json.dumps(records, indent=indent), encoding="utf-8-sig")
        assert read_facts(array) == dict(enumerate(facts))
    lines = tmp_path / "records.jsonl"
    lines.write_text("\n\n".join(json.dumps(record) for record in records))
    assert read_facts(lines) == dict(zip((1, 3, 5), facts, strict=True))
