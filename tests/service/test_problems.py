"""Every error is a problem document, and none shows the service's insides."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

PROBLEM = "application/problem+json"
GOOD = {"subject": "Ada", "relation": "was born in", "object": "London"}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"] and document["type"] and document["detail"]
    return document


def faults(answer: httpx.Response) -> dict[str, str]:
    return {item["pointer"]: item["detail"] for item in problem(answer, 422)["errors"]}


def test_an_unknown_route(client: httpx.Client) -> None:
    assert problem(client.get("/nothing"), 404)["detail"] == "GET /nothing"


def test_a_method_that_a_route_does_not_have(client: httpx.Client) -> None:
    answer = client.put("/rollback", json={})
    problem(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/generate", "/edits"])
def test_a_body_that_is_not_json(client: httpx.Client, path: str) -> None:
    answer = client.post(path, content=b'{"prompt": ', headers={"Content-Type": "application/json"})
    assert "is not JSON" in faults(answer)[""]


def test_a_body_above_the_limit(client: httpx.Client) -> None:
    problem(client.post("/edits", content=b" " * (65 * 2**20), headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize(
    ("fault", "pointer", "says"),
    [
        ({**GOOD, "subject": ""}, "/facts/1/subject", "is empty"),
        ({**GOOD, "relation": " "}, "/facts/1/relation", "is empty"),
        ({**GOOD, "object": "x" * 501}, "/facts/1/object", "501 characters"),
        ({**GOOD, "relation": "{} is in {}"}, "/facts/1/relation", "exactly one {}"),
        ({**GOOD, "subject": "{}"}, "/facts/1/subject", "brace"),
        ({**GOOD, "object": "a\x00b"}, "/facts/1/object", "control character"),
        ({"subject": "Ada", "relation": "was born in"}, "/facts/1/object", "required"),
        ({**GOOD, "subject": 7}, "/facts/1/subject", "string"),
        ({**GOOD, "color": "red"}, "/facts/1/color", "not permitted"),
        ({**GOOD, "paraphrases": [""]}, "/facts/1/paraphrases/0", "at least 1"),
        ({**GOOD, "neighbors": [{"prompt": "x"}]}, "/facts/1/neighbors/0/object", "required"),
        ("a fact", "/facts/1", "object"),
    ],
)
def test_a_bad_fact_is_named(client: httpx.Client, fault: Any, pointer: str, says: str) -> None:
    other = {"subject": "Alan", "relation": "was born in", "object": "London"}
    named = faults(client.post("/edits", json={"facts": [other, fault]}))
    assert list(named) == [pointer]
    assert says in named[pointer]


def test_every_bad_fact_is_named_at_once(client: httpx.Client) -> None:
    facts = [GOOD, {**GOOD, "subject": ""}, {"subject": "Alan"}, {**GOOD, "relation": "{} {}"}]
    named = faults(client.post("/edits", json={"facts": facts}))
    assert set(named) == {"/facts/1/subject", "/facts/2/relation", "/facts/2/object", "/facts/3/relation"}


def test_two_objects_for_one_question(client: httpx.Client) -> None:
    again = {"subject": " Ada ", "relation": "{}  was born in", "object": "Paris"}
    named = faults(client.post("/edits", json={"facts": [GOOD, again]}))
    assert "'London' in fact 0" in named["/facts/1/object"]
    assert "'Paris'" in named["/facts/1/object"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"facts": []}, "/facts"),
        ({"colour": "red"}, "/colour"),
        ({"gate": {"min_efficacy": 2}}, "/gate/min_efficacy"),
        ({"gate": {"min_luck": 1}}, "/gate/min_luck"),
        ({"method": "rome"}, "/method"),
        ({"base": -1}, "/base"),
        ({"hparams": {"clamp": -1}}, "/hparams/clamp"),
        ({"hparams": {"momentum": 1}}, "/hparams/momentum"),
        ({"hparams": {"layers": [99]}}, "/hparams/layers"),
    ],
)
def test_a_fault_beside_the_facts(client: httpx.Client, changes: dict[str, Any], pointer: str) -> None:
    assert list(faults(client.post("/edits", json={"facts": [GOOD], **changes}))) == [pointer]


def test_an_edit_on_a_version_that_does_not_exist(client: httpx.Client) -> None:
    assert "999" in problem(client.post("/edits", json={"facts": [GOOD], "base": 999}), 404)["detail"]


@pytest.mark.parametrize(
    "path", ["/edits?limit=0", "/edits?limit=x", "/versions?after=x", "/facts?after=nothing", "/versions/x"]
)
def test_a_wrong_parameter(client: httpx.Client, path: str) -> None:
    problem(client.get(path), 422)


def test_the_description_declares_problems(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == [PROBLEM], (method, path, status)
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert schema["paths"]["/edits"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert "text/html" in client.get("/docs").headers["content-type"]
