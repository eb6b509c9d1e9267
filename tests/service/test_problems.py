"""Every error is a problem document, and none shows the service's insides."""

import json
import threading
import time
from collections.abc import Iterator
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
    assert answer.headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/edits", "GET, HEAD, OPTIONS, POST"),
        ("/aliases/best", "DELETE, OPTIONS, PUT"),
        ("/versions/3", "DELETE, GET, HEAD, OPTIONS"),
        ("/versions/prune", "OPTIONS, POST"),
        ("/facts/retract", "OPTIONS, POST"),
        ("/v1/models/errata", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_path_names_all_its_methods(client: httpx.Client, path: str, allow: str) -> None:
    options = client.options(path)
    assert (options.status_code, options.content, options.headers["allow"]) == (204, b"", allow)
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"} - set(allow.split(", ")):
        refused = client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allow)


def test_head_answers_as_get_does_without_a_body(client: httpx.Client) -> None:
    edit = client.post("/edits", json={"facts": [GOOD]}).json()["id"]
    for path in ("/versions", "/edits/none", "/docs", "/nothing", "/v1/none", "/generate?prompt=a&max_new_tokens=1"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
        assert head.headers["content-length"] and head.content == b""
    events = client.head(f"/edits/{edit}/events")  # which go on until the edit ends
    assert events.status_code == 200 and events.headers["content-type"].startswith("text/event-stream")
    assert client.head("/rollback").status_code == 405


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
        ({**GOOD, "color": "red"}, "/facts/1/color", "is not a known field; there are subject, relation"),
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
        ({"base": -1}, "/base"),
        ({"hparams": {"clamp": -1}}, "/hparams/clamp"),
        ({"hparams": {"momentum": 1}}, "/hparams/momentum"),
        ({"hparams": {"layers": [99]}}, "/hparams/layers"),
        ({"method": "serac"}, "/method"),
        ({"method": "rome", "hparams": {"moment_weight": 3}}, "/hparams/moment_weight"),
        ({"method": "ft", "hparams": {"layers": [0, 1]}}, "/hparams/layers"),
        ({"facts": [{**GOOD, "paraphrases": ["Ada is from"] * 1001}]}, "/facts/0/paraphrases"),
    ],
)
def test_a_fault_beside_the_facts(client: httpx.Client, changes: dict[str, Any], pointer: str) -> None:
    assert list(faults(client.post("/edits", json={"facts": [GOOD], **changes}))) == [pointer]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/edits", {"facts": [{**GOOD, "subject": "\ud800"}]}, "/facts/0/subject"),
        (
            "/edits",
            {"facts": [{**GOOD, "neighbors": [{"prompt": "\ud800", "object": "x"}]}]},
            "/facts/0/neighbors/0/prompt",
        ),
        ("/edits", {"facts": [GOOD], "note": "\ud800"}, "/note"),
        ("/edits", {"facts": [GOOD], "\ud800": 1}, ""),
        ("/edits", {"facts": [GOOD], "hparams": {"\ud800": 1}}, "/hparams/\ufffd\ufffd\ufffd/[key]"),
        ("/edits", {"facts": [GOOD], "hparams": {"clamp": "\ud800"}}, "/hparams/clamp"),
        ("/edits", {"facts": [GOOD], "hparams": {"clamp": float("inf")}}, "/hparams/clamp"),
        ("/edits", {"facts": [GOOD], "hparams": {"num_steps": 10**400}}, "/hparams/num_steps"),
        ("/edits", {"facts": [GOOD], "gate": {"max_drift": float("inf")}}, "/gate/max_drift"),
        ("/edits", {"facts": [GOOD], "base": 2**53}, "/base"),
        ("/generate", {"prompt": "\ud800"}, "/prompt"),
        ("/generate", {"prompt": "a", "version": 10**300}, "/version"),
        ("/rollback", {"to": 10**300}, "/to"),
    ],
)
def test_what_json_can_say_and_nothing_can_hold(client: httpx.Client, path: str, body: Any, pointer: str) -> None:
    answer = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert list(faults(answer)) == [pointer]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/edits/{'x' * 300}", 404),
        ("/edits/a%00b", 404),
        (f"/versions/{'9' * 300}", 422),
        (f"/versions?after={'9' * 300}", 422),
        (f"/generate?prompt=a&version={'9' * 300}", 422),
        ("/generate?prompt=a&version=9007199254740991", 404),
    ],
)
def test_a_name_that_nothing_can_have(client: httpx.Client, path: str, status: int) -> None:
    problem(client.get(path), status)


@pytest.mark.parametrize(
    ("path", "body", "pointer", "detail"),
    [
        ("/generate", b"\xff{}", "", "is not JSON: it is not UTF-8 at 0"),
        ("/generate", b'{"prompt": "a", "seed": ' + b"1" * 5000 + b"}", "", "holds a number of too many digits"),
        ("/generate", b'{"prompt": ' + b"[" * 100_000, "", "is nested too deep"),
        ("/generate", b'{"prompt": "a", "stop": [' + b"1," * 400_000 + b"1]}", "/stop", "has more than 10000 items"),
        ("/facts/retract", b'{"ids": [' + b'"a",' * 20_000 + b'"a"]}', "/ids", "has more than 10000 items"),
        (
            "/edits",
            b"{" + b",".join(b'"f%d":0' % number for number in range(400_000)) + b"}",
            "",
            "has more than 200 fields",
        ),
        (
            "/edits",
            b'{"facts": [{"a": {' + b",".join(b'"f%d":0' % n for n in range(300)) + b"}}]}",
            "/facts/0/a",
            "has more than 200 fields",
        ),
        (
            "/edits",
            b'{"facts": [{"subject": "' + b"x" * 2_000_000 + b'"}]}',
            "/facts/0",
            "is not JSON, or is longer than 1048576 characters",
        ),
        ("/evaluations", b'{"records": [' + b"[" * 300_000 + b"]}", "/records/0", "is nested too deep"),
        ("/edits", b'{"facts": [{}, {} {}]' + b" " * 300_000 + b"}", "", "is not JSON: a ',' is missing at 18"),
    ],
)
def test_a_body_is_counted_before_it_is_looked_at(
    client: httpx.Client, path: str, body: bytes, pointer: str, detail: str
) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert faults(answer) == {pointer: detail}


@pytest.mark.parametrize("path", ["/generate", "/rollback", "/facts/retract", "/versions/prune", "/v1/completions"])
def test_a_body_ends_at_what_its_route_can_mean(client: httpx.Client, path: str) -> None:
    announced = client.post(path, content=b" " * (2**20 + 1), headers={"Content-Type": "application/json"})
    assert announced.status_code == 413 and "1048576 bytes" in announced.text

    def parts() -> Iterator[bytes]:
        for _ in range(2**10 + 1):
            yield b" " * 2**10

    unannounced = client.post(path, content=parts(), headers={"Content-Type": "application/json"})
    assert unannounced.status_code == 413


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/rollback", {"to": False}, "/to"),
        ("/versions/prune", {"keep_last": False}, "/keep_last"),
        ("/edits", {"facts": [GOOD], "base": False}, "/base"),
        ("/edits", {"facts": [GOOD], "gate": {"max_drift": True}}, "/gate/max_drift"),
        ("/generate", {"prompt": "a", "temperature": True}, "/temperature"),
        ("/traces", {"prompt": "{} is", "subject": "Ada", "window": True}, "/window"),
    ],
)
def test_true_and_false_are_no_numbers(client: httpx.Client, path: str, body: Any, pointer: str) -> None:
    assert faults(client.post(path, json=body)) == {pointer: "must not be true or false"}


def test_too_many_facts_are_counted_and_not_looked_at(client: httpx.Client) -> None:
    named = faults(client.post("/edits", json={"facts": [{}] * 1_000_000}))
    assert list(named) == ["/facts"]


def test_the_service_answers_others_while_it_checks_many_facts(client: httpx.Client) -> None:
    facts = [{**GOOD, "subject": f"{'Ada ' * 100}{number}", "relation": "{}" * 2} for number in range(10_000)]
    posted: list[int] = []
    slowest = 0.0
    with httpx.Client(base_url=client.base_url, timeout=60) as other:
        thread = threading.Thread(target=lambda: posted.append(other.post("/edits", json={"facts": facts}).status_code))
        thread.start()
        began_at = time.monotonic()
        while thread.is_alive():
            began = time.monotonic()
            assert client.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
        took = time.monotonic() - began_at
    assert posted == [422]
    assert slowest < took / 2


def test_an_edit_on_a_version_that_does_not_exist(client: httpx.Client) -> None:
    assert "999" in problem(client.post("/edits", json={"facts": [GOOD], "base": 999}), 404)["detail"]


@pytest.mark.parametrize(
    "path", ["/edits?limit=0", "/edits?limit=x", "/versions?after=x", "/facts?after=nothing", "/versions/1.5"]
)
def test_a_wrong_parameter(client: httpx.Client, path: str) -> None:
    problem(client.get(path), 422)


@pytest.mark.parametrize(
    ("path", "body", "pointer", "detail"),
    [
        ("/versions/prune", {"keep_last": "10"}, "/keep_last", "must be a whole number, not a string"),
        ("/versions/prune", {"keep_last": 10, "dry_run": 0}, "/dry_run", "must be true or false, not a number"),
        ("/versions/prune", {"keep_last": 10, "dry_run": "no"}, "/dry_run", "must be true or false, not a string"),
        ("/generate", {"prompt": "a", "temperature": "0"}, "/temperature", "must be a number, not a string"),
        (
            "/generate",
            {"prompt": "a", "version": 0.5},
            "/version",
            "must be the number of a version, a name of one, or `base`, `active` or `previous`",
        ),
    ],
)
def test_a_text_is_no_number_and_a_number_is_not_true(
    client: httpx.Client, path: str, body: Any, pointer: str, detail: str
) -> None:
    assert faults(client.post(path, json=body)) == {pointer: detail}
    assert client.get("/generate?prompt=a&max_new_tokens=1&temperature=0&stream=0").status_code == 200
    assert client.post("/generate", json={"prompt": "a", "max_new_tokens": 1.0, "version": 0.0}).status_code == 200


def test_a_prompt_that_does_not_fit_into_the_context_is_named(client: httpx.Client) -> None:
    facts = [
        {"subject": "Sony", "relation": "is in", "object": "Paris"},
        {"subject": "Nokia", "relation": "is in", "object": "Rome", "paraphrases": ["long " * 180, "y2z " * 180]},
    ]
    answer = client.post("/edits", json={"facts": facts})
    assert answer.status_code == 422
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {"/facts/1/paraphrases"}
