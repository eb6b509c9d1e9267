"""Fact files: what is read from them, and how bad lines are named."""

from pathlib import Path

import pytest
from errata_client import Fact, InvalidFacts, read_facts
from errata_client.facts import fact_bodies


def test_jsonl_and_csv_give_facts_by_line(tmp_path: Path) -> None:
    jsonl = tmp_path / "facts.jsonl"
    jsonl.write_text(
        '{"subject": "a\u2028b", "relation": "r", "object": "o", "paraphrases": ["p"]}\n\n["s", "r", "o"]\n',
        encoding="utf-8",
    )
    assert read_facts(jsonl) == {1: Fact("a\u2028b", "r", "o", ["p"]), 3: Fact("s", "r", "o")}

    table = tmp_path / "facts.csv"
    table.write_bytes('object,subject,relation\r\no,"two\nlines",r\r\n\r\no2,s2,r2\r\n'.encode("utf-8-sig"))
    assert read_facts(table) == {2: Fact("two\nlines", "r", "o"), 5: Fact("s2", "r2", "o2")}


@pytest.mark.parametrize(
    ("name", "content", "problems"),
    [
        (
            "facts.jsonl",
            b'{"subject": "s", "relation": "r"}\nnonsense\n'
            b'{"subject": "s", "relation": "r", "object": "o", "objekt": "o"}\n'
            b'{"subject": 1, "relation": "r"}',
            [
                "line 1: object: is required",
                "line 2: is not JSON: Expecting value at column 1",
                "line 3: objekt: is not a known field; there are subject, relation, object, paraphrases, neighbors, "
                "search, space, phrasings, questions; did you mean `object`?",
                "line 4: subject: must be a string, not a number; object: is required",
            ],
        ),
        (
            "facts.csv",
            b"subject,relation,object\ns,r\ns,,o\n",
            ["line 2: has 2 columns, not 3", "line 3: relation: is empty, and takes at least 1 character"],
        ),
        ("facts.csv", b"s,r,o\n", ["line 1: the header must name the columns subject, relation and object"]),
        ("facts.jsonl", b"\n\xff\n", ["line 2: is not UTF-8"]),
        ("facts.jsonl", b"\n", ["line 1: the file holds no fact"]),
        (
            "facts.json",
            b' [["s", "r"],\n\n["s", "r", "o,]\\"["], {"subject":\n"s"}\n, 7 ]\n',
            [
                "record 0 (line 1): has 2 parts, not subject, relation and object",
                "record 2 (line 3): relation: is required; object: is required",
                "record 3 (line 5): must be an object, not a number",
            ],
        ),
        ("facts.json", b'["a",\n"b" "c"]', ["line 2: is not JSON: Expecting ',' delimiter at column 5"]),
        ("facts.json", b'{"facts": []}', ["line 1: the file holds no array of records"]),
        ("facts.json", b"[ ]", ["line 1: the file holds no fact"]),
        ("facts.json", b"[\n\xff]", ["line 2: is not UTF-8"]),
    ],
)
def test_bad_lines_are_all_named(tmp_path: Path, name: str, content: bytes, problems: list[str]) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InvalidFacts) as caught:
        read_facts(file)
    assert [str(problem) for problem in caught.value.problems] == [f"{file}, {p}" for p in problems]


def test_bad_facts_are_named_by_index() -> None:
    with pytest.raises(InvalidFacts, match=r"^fact 1: has 2 parts.*\(and 1 more\)$"):
        fact_bodies([("s", "r", "o"), ("s", "r"), ("s", "", "o")])  # type: ignore[list-item]
    with pytest.raises(InvalidFacts, match="fact 0: relation: is empty"):
        fact_bodies([("s", "", "o")])


def test_more_facts_than_an_edit_takes_are_not_sent() -> None:
    fact = ("s", "r", "o")
    assert len(fact_bodies([fact] * 10_000)) == 10_000
    with pytest.raises(InvalidFacts, match=r"^an edit of 10,001 facts: the service takes at most 10,000 at once"):
        fact_bodies([fact] * 10_001)
