"""What is wrong is told in the words of whoever sent it: none of pydantic's or Python's, and no name of a class."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import errata_client.records
import errata_registry.jobs.requests
import httpx
import pytest
from errata_client.records import ActivationEntry
from errata_client.records.wordings import UNKNOWN_FORM, fault_of
from errata_registry.jobs.requests import EditRequest
from errata_registry.stored import read_record
from pydantic_core import core_schema

from errata.errors import CorruptArtifact
from tests.service.conftest import NewSettings, Refused, Serve, until_ready

FOREIGN = re.compile(
    r"pydantic|[Ii]nput|instance|validat|valid |[Ee]xtra|dictionar|should|pars|argument|[Pp]ython|None|True|False|"
    r"\b(int|str|bool|float|dict|tuple|dataclass|attribute)\b|https?:"
)
CLASSES = (
    {
        name
        for module in (errata_client.records, errata_registry.jobs.requests)
        for name, kind in vars(module).items()
        if isinstance(kind, type)
    }
    | {"_Answer", "GenerateRequest", "CompletionRequest", "StreamOptions", "ProbeList", "Rollback", "Named", "Prune"}
    | {"ChatRequest", "ChatMessage", "TextPart", "OpenAIRequest"}
)
WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0.5, float("inf"), 10**400, "", "x" * 3000, "\ud800"),
    *([], [None], ["a"] * 300, {}, {"a": 1}),
)


def assert_ours(text: str) -> None:
    assert not FOREIGN.search(text), text
    assert not CLASSES.intersection(re.findall(r"\w+", text)), text


@pytest.mark.parametrize("kind", get_args(core_schema.ErrorType))
def test_no_kind_of_fault_is_told_in_foreign_words(kind: str) -> None:
    context: dict[str, Any] = dict.fromkeys(("gt", "ge", "lt", "le", "min_length", "max_length"), 3)
    context |= {"expected": "'memit' or 'rome'", "error": "is odd", "pattern": "^a$"}
    for given in WRONG:
        error = {"type": kind, "loc": ("facts", 0, "neighbours"), "msg": "Input", "ctx": context, "input": given}
        assert_ours(fault_of(error, EditRequest).detail)


@pytest.mark.parametrize(
    ("path", "body", "pointer", "detail"),
    [
        (
            "/edits",
            {"facts": [{"subject": "Ada", "relation": "was born in", "object": "London", "neighbours": []}]},
            "/facts/0/neighbours",
            "is not a known field; there are subject, relation, object, paraphrases, neighbors, search, space, "
            "phrasings, questions; did you mean `neighbors`?",
        ),
        (
            "/edits",
            {"facts": [{"subject": "Ada", "relation": "is", "object": "a", "neighbors": [{"promt": "b"}]}]},
            "/facts/0/neighbors/0/promt",
            "is not a known field; there are prompt, object; did you mean `prompt`?",
        ),
        (
            "/edits",
            {"retract": ["fact_1"]},
            "/retract/0",
            "must be the id of a fact, `fact_` and 16 hexadecimal digits",
        ),
        (
            "/edits",
            {"facts": [], "method": "Memit"},
            "/method",
            "is not known; there are memit, rome, ft, locft, emmet, alphaedit, mend, kn; did you mean `memit`?",
        ),
        (
            "/edits",
            {"hparams": {"learning_rat": 1}, "facts": [{"subject": "Ada", "relation": "is", "object": "a"}]},
            "/hparams/learning_rat",
            "did you mean `learning_rate`?",
        ),
        ("/edits", {"gate": {"min_eficacy": 1}}, "/gate/min_eficacy", "did you mean `min_efficacy`?"),
        ("/generate", {"promt": "a"}, "/promt", "did you mean `prompt`?"),
        ("/generate", {"prompt": "a", "top_k": 1.5}, "/top_k", "must be a whole number"),
        ("/generate", {"prompt": "a", "top_p": 0}, "/top_p", "must be more than 0"),
        ("/generate", {"prompt": ["a"]}, "/prompt", "must be a string, not a list"),
        ("/generate", "a", "", "must be an object, not a string"),
        ("/traces", {"prompt": "{} is", "subject": "x" * 501}, "/subject", "has 501 characters; at most 500 are taken"),
        ("/versions/prune", {}, "/keep_last", "is required"),
        ("/generate", {"messages": [{"role": "usr", "content": "a"}]}, "/messages/0/role", "did you mean `user`?"),
    ],
)
def test_a_fault_is_told_with_what_was_meant(
    client: httpx.Client, path: str, body: Any, pointer: str, detail: str
) -> None:
    faults = client.post(path, json=body).json()["errors"]
    assert detail in {fault["pointer"]: fault["detail"] for fault in faults}[pointer]


def test_a_body_that_is_not_sent_as_json(client: httpx.Client) -> None:
    for path in ("/edits", "/generate"):
        answer = client.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"pointer": "", "detail": "is not sent as JSON, with the header `Content-Type: application/json`"}
        ]


def test_a_file_and_a_setting_are_told_of_in_the_same_words(
    tmp_path: Path, new_settings: NewSettings, refused: Refused
) -> None:
    (tmp_path / "entry.json").write_text('{"active": "x", "previous": null, "at": "then"}')
    with pytest.raises(CorruptArtifact) as caught:
        read_record(tmp_path / "entry.json", ActivationEntry, "the entry")
    assert str(caught.value) == (
        "the entry cannot be read, and has to be put back from a copy: active: must be a whole number; "
        "previous: must be a whole number, not null; "
        "at: must be a time such as 2026-01-31T12:00:00Z; by: is required"
    )
    assert refused(new_settings(), ERRATA_PORT="none", ERRATA_DTYPE="bfloat") == (
        "error: a setting is wrong: dtype: is not known; there are float32, bfloat16, float16; "
        "did you mean `bfloat16`?; port: must be a whole number"
    )


def test_no_route_tells_of_anything_in_foreign_words(serve: Serve, new_settings: NewSettings) -> None:
    client = serve(new_settings())
    until_ready(client)
    description = client.get("/openapi.json").json()
    told = 0
    for method, path, sent in wrong_requests(description):
        answer = client.request(method, path, **sent)
        assert answer.status_code < 500, (method, path, sent, answer.text)
        for text in said(answer):
            told += 1
            assert_ours(text)
            assert UNKNOWN_FORM not in text, (method, path, sent, text)
    assert told > 2000


def wrong_requests(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield requests with something wrong in each field of each body, and in each query parameter and header."""
    schemas = description["components"]["schemas"]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            asked = re.sub(r"\{\w+\}", "1", path)
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                for content in (b"{", b"", *(json.dumps(body).encode() for body in wrong_bodies(schema, schemas))):
                    yield method, asked, {"content": content, "headers": {"Content-Type": "application/json"}}
            for parameter in operation.get("parameters", ()):
                for value in ("", "-1", "0.5", "9" * 400, "nonsense", "nan"):
                    match parameter["in"]:
                        case "query":
                            yield method, asked, {"params": {parameter["name"]: value}}
                        case "header":
                            yield method, asked, {"headers": {parameter["name"]: value}}
                        case "path":
                            yield method, path.replace(f"{{{parameter['name']}}}", value or "-"), {}
            yield method, asked, {"params": {"verison": "1"}}


def wrong_bodies(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[Any]:
    """Yield a wrong value for all that a schema describes, and for each of its parts in turn."""
    yield from WRONG
    yield from wrong_parts(schema, schemas)


def wrong_parts(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[Any]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        yield {f"{name}s": 1}
        for value in wrong_bodies(field, schemas):
            yield {name: value}
    if "items" in schema:
        for value in wrong_bodies(schema["items"], schemas):
            yield [value]
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from wrong_parts(option, schemas)


def said(answer: httpx.Response) -> list[str]:
    """Return the sentences with which a request was refused."""
    if answer.status_code < 400:
        return []
    document = answer.json()
    if "error" in document:
        return [document["error"]["message"]]
    return [document["detail"], *(fault["detail"] for fault in document.get("errors", ()))]
