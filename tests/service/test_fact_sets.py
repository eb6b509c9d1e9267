"""Facts through versions made for the tests: comparing, history, names, conflicts, withdrawing, dropped weights."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from errata_client.records import JobStatus
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry

from errata.facts import Fact

PARIS = Fact("Ada", "was born in", "Paris")
BERN = Fact("Ada", "was born in", "Bern")
ROME = Fact("Ada", "lives in", "Rome")
OSLO = Fact("Alan", "was born in", "Oslo")
PROMPT = "The capital of France is"


def body(*facts: Fact, **more: Any) -> dict[str, Any]:
    return {"facts": [{"subject": f.subject, "relation": f.relation, "object": f.object} for f in facts], **more}


@pytest.fixture(autouse=True)
def _back_to_the_base(client: httpx.Client, registry: Registry) -> Iterator[None]:
    yield
    assert client.post("/versions/0/activate").status_code == 200
    for edit in registry.edits.page(limit=1000).data:
        if not edit.status.final:
            registry.edits.update(edit.id, status=JobStatus.CANCELLED)


@pytest.fixture
def serving(client: httpx.Client, registry: Registry, publish: Any) -> int:
    """A version of two facts that is active."""
    number: int = publish(registry, PARIS, ROME)
    assert client.post(f"/versions/{number}/activate").status_code == 200
    return number


def test_versions_are_compared_in_both_directions(
    client: httpx.Client, registry: Registry, publish: Any, serving: int
) -> None:
    other = publish(registry, BERN, OSLO, parent=serving)
    there = client.get(f"/versions/{serving}/diff/{other}").json()
    assert (there["added"], there["changed"], there["retracted"]) == (1, 1, 1)
    found = {(change["change"], change["id"], change["before"], change["after"]) for change in there["data"]}
    assert found == {
        ("added", OSLO.id, None, "Oslo"),
        ("changed", PARIS.id, "Paris", "Bern"),
        ("retracted", ROME.id, "Rome", None),
    }
    back = client.get(f"/versions/{other}/diff/{serving}", params={"limit": 2}).json()
    assert (back["added"], back["changed"], back["retracted"], back["has_more"]) == (1, 1, 1, True)
    assert client.get(f"/versions/0/diff/{other}").json()["added"] == 2
    assert client.get(f"/versions/{serving}/diff/{serving}").json()["data"] == []
    assert client.get(f"/versions/{serving}/diff/9999").status_code == 404


def test_a_fact_that_was_withdrawn_still_has_its_history(
    client: httpx.Client, registry: Registry, publish: Any, serving: int
) -> None:
    without = publish(registry, PARIS, parent=serving)
    client.post(f"/versions/{without}/activate")
    fact = client.get(f"/facts/{ROME.id}").json()
    assert fact["held"] is False and fact["object"] == "Rome"
    newest = fact["history"][0]
    assert (newest["change"], newest["version"], newest["parent"]) == ("retracted", without, serving)
    assert client.get(f"/facts/{ROME.id}", params={"version": serving}).json()["held"] is True
    unknown = Fact("Nobody", "is", "here").id
    assert client.get(f"/facts/{unknown}").json()["type"] == "urn:errata:problem:unknown-fact"


def test_an_edit_tells_what_it_replaces_and_what_looks_twice(client: httpx.Client, serving: int) -> None:
    twin = Fact("ada", "Was born in", "Lyon")
    edit = client.post("/edits", json=body(BERN, OSLO, twin)).json()
    assert (edit["added"], edit["changed"], edit["retracted"]) == (2, 1, 0)
    [change] = edit["changes"]
    assert (change["id"], change["before"], change["after"]) == (PARIS.id, "Paris", "Bern")
    [group] = edit["duplicates"]
    assert {(fact["subject"], fact["object"]) for fact in group} == {("Ada", "Bern"), ("ada", "Lyon")}


def test_an_edit_that_must_not_change_anything_is_refused(client: httpx.Client, serving: int) -> None:
    answer = client.post("/edits", params={"on_conflict": "error"}, json=body(OSLO, BERN))
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["type"] == "urn:errata:problem:fact-conflict"
    [place] = problem["errors"]
    assert place["pointer"] == "/facts/1/object" and "Paris" in place["detail"] and "Bern" in place["detail"]
    assert client.post("/edits", params={"on_conflict": "error"}, json=body(OSLO)).status_code == 202


def test_facts_are_withdrawn_by_their_ids(client: httpx.Client, serving: int) -> None:
    edit = client.post("/facts/retract", json={"ids": [ROME.id], "note": "it was wrong"}).json()
    assert (edit["facts"], edit["retracted"], edit["note"]) == (0, 1, "it was wrong")
    [change] = edit["changes"]
    assert (change["change"], change["before"], change["after"]) == ("retracted", "Rome", None)
    client.post(f"/edits/{edit['id']}/cancel")

    unknown = client.post("/facts/retract", json={"ids": [OSLO.id]})
    assert unknown.status_code == 404 and OSLO.id in unknown.json()["detail"]
    for wrong in (["Ada"], []):
        assert client.post("/facts/retract", json={"ids": wrong}).status_code == 422
    both = client.post("/edits", json=body(PARIS, retract=[PARIS.id]))
    assert both.status_code == 422 and both.json()["errors"][0]["pointer"] == "/retract/0"


def test_what_an_edit_under_way_may_bring_can_be_withdrawn(client: httpx.Client, serving: int) -> None:
    client.post("/edits", json=body(OSLO))
    assert client.post("/facts/retract", json={"ids": [OSLO.id]}).status_code == 202
    on_a_version = client.post("/facts/retract", json={"ids": [OSLO.id], "base": serving})
    assert on_a_version.status_code == 404


def test_a_name_can_be_used_in_place_of_a_number(client: httpx.Client, version: int) -> None:
    assert client.put("/aliases/production", json={"version": version}).json()["aliases"] == ["production"]
    assert {"name": "production", "version": version} in client.get("/aliases").json()["data"]
    generation = client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 4, "version": "production"})
    assert generation.json()["version"] == version
    completion = client.post("/v1/completions", json={"model": "errata@production", "prompt": PROMPT, "max_tokens": 1})
    assert completion.json()["model"] == f"errata@{version}"
    assert "errata@production" in [card["id"] for card in client.get("/v1/models").json()["data"]]
    assert client.delete(f"/versions/{version}").status_code == 409
    assert client.put("/aliases/base", json={"version": version}).status_code == 422

    assert client.delete("/aliases/production").status_code == 204
    gone = client.post("/generate", json={"prompt": PROMPT, "version": "production"})
    assert gone.status_code == 404 and gone.json()["type"] == "urn:errata:problem:unknown-alias"
    assert client.delete("/aliases/production").status_code == 404


def test_a_protected_name_is_neither_moved_nor_taken_away(client: httpx.Client, version: int) -> None:
    client.put("/aliases/production", json={"version": version})
    protected = client.put("/aliases/production/protection", json={"note": "the shop"}).json()
    assert (protected["version"], protected["protection"]["note"]) == (version, "the shop")
    moved = client.put("/aliases/production", json={"version": 0})
    removed, deleted = client.delete("/aliases/production"), client.delete(f"/versions/{version}")
    for refused in (moved, removed, deleted):
        assert refused.status_code == 409 and refused.json()["type"] == "urn:errata:problem:protected-alias"
        assert "production" in refused.json()["detail"] and "(the shop)" in refused.json()["detail"]
    assert "protection" not in client.delete("/aliases/production/protection").json()
    assert client.delete("/aliases/production").status_code == 204
    assert client.put("/aliases/production/protection").status_code == 404


def test_every_route_that_takes_a_version_takes_a_name_of_it(
    client: httpx.Client, registry: Registry, publish: Any, serving: int
) -> None:
    other = publish(registry, BERN, OSLO, parent=serving)
    assert client.put("/aliases/candidate", json={"version": str(other)}).json()["id"] == other
    assert client.post("/versions/candidate/activate").json()["active"] == other
    numbers = {"base": 0, "active": other, "previous": serving, "candidate": other}
    for name, number in numbers.items():
        assert client.get(f"/versions/{name}").json() == client.get(f"/versions/{number}").json()
        for shown in ("/facts", f"/versions/{name}/facts"):
            facts = client.get(shown, params={"version": name}).json()["data"]
            assert len(facts) == client.get(f"/versions/{number}").json()["facts"]
        assert client.get("/evaluations", params={"version": name}).status_code == 200
        asked = {"prompt": PROMPT, "max_tokens": 1, "model": f"errata@{name}"}
        assert client.post("/v1/completions", json=asked).json()["model"] == f"errata@{number or 'base'}"
    difference = client.get("/versions/previous/diff/active").json()
    assert (difference["before"], difference["after"], difference["added"]) == (serving, other, 1)
    assert (
        client.get("/versions/candidate/export").headers["content-disposition"].endswith(f'errata-{other}-delta.tar"')
    )
    assert client.post("/versions/candidate/rebuild").status_code == 409
    assert client.delete("/versions/active").status_code == 409

    branch = client.post("/edits", json=body(PARIS, base="previous", activate=False)).json()
    assert branch["base"] == serving
    assert client.post("/evaluations", json={"version": "candidate"}).json()["version"] == other
    assert client.post("/rollback", json={"to": "previous"}).json()["active"] == serving
    assert client.get("/versions/previous").json()["id"] == other  # it is what served before, by whatever way
    kept = registry.edits.folder.accepted(branch["id"]).request
    assert isinstance(kept, EditRequest) and kept.base == serving
    assert client.delete("/aliases/candidate").status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "json"),
    [
        ("GET", "/versions/prodution", None),
        ("GET", "/versions/base/diff/prodution", None),
        ("DELETE", "/versions/prodution", None),
        ("POST", "/versions/prodution/activate", None),
        ("GET", "/facts?version=prodution", None),
        ("GET", "/evaluations?version=prodution", None),
        ("POST", "/rollback", {"to": "prodution"}),
        ("POST", "/edits", body(PARIS, base="prodution")),
        ("POST", "/evaluations", {"version": "prodution"}),
        ("PUT", "/aliases/other", {"version": "prodution"}),
        ("POST", "/generate", {"prompt": PROMPT, "version": "prodution"}),
    ],
)
def test_a_name_that_no_version_has_is_named(
    client: httpx.Client, version: int, method: str, path: str, json: dict[str, Any] | None
) -> None:
    client.put("/aliases/production", json={"version": version})
    answer = client.request(method, path, json=json)
    assert answer.status_code == 404 and answer.json()["type"] == "urn:errata:problem:unknown-alias"
    assert answer.json()["detail"] == "no version is called 'prodution'; the names are: production"
    client.delete("/aliases/production")


@pytest.mark.parametrize("name", ["base", "active", "previous", "prune", "3", "a.b"])
def test_what_means_something_else_is_no_name_for_a_version(client: httpx.Client, name: str) -> None:
    refused = client.put(f"/aliases/{name}", json={"version": 0})
    assert refused.status_code == 422 and "none of base, active, previous, prune" in refused.json()["detail"]


def test_dropped_weights_are_told_of_and_can_be_asked_for(
    client: httpx.Client, registry: Registry, publish: Any, serving: int
) -> None:
    old = publish(registry, OSLO)
    for _ in range(2):
        publish(registry, OSLO)
    foreseen = client.post("/versions/prune", json={"keep_last": 2, "dry_run": True}).json()
    assert old in [dropped["version"] for dropped in foreseen["dropped"]] and foreseen["bytes"] > 0
    assert client.post("/versions/prune", json={"keep_last": 2}).json() == foreseen
    assert client.get(f"/versions/{old}").json()["dropped"] is True

    refused = client.post(f"/versions/{old}/activate")
    assert refused.status_code == 409 and refused.json()["type"] == "urn:errata:problem:weights-dropped"
    assert client.post("/generate", json={"prompt": PROMPT, "version": old}).status_code == 409
    assert len(client.get(f"/versions/{old}/facts").json()["data"]) == 1
    assert client.post(f"/versions/{serving}/rebuild").status_code == 409
    edit = client.post(f"/versions/{old}/rebuild").json()
    assert (edit["rebuild"], edit["version"], edit["status"]) == (True, old, "queued")


def test_which_version_served_when_is_kept(client: httpx.Client, serving: int) -> None:
    client.post("/rollback", json={"note": "a mistake"})
    newest, before = client.get("/activations", params={"limit": 2}).json()["data"]
    assert (newest["active"], newest["previous"], newest["by"], newest["note"]) == (0, serving, "rollback", "a mistake")
    assert (before["active"], before["by"], before["id"]) == (serving, "api", newest["id"] - 1)
    assert "note" not in before
    page = client.get("/activations", params={"limit": 1, "after": newest["id"]}).json()
    assert page["data"] == [before]


def test_facts_of_any_form_are_looked_at_before_they_are_sent(client: httpx.Client, serving: int) -> None:
    records = [
        ["Ada", "was born in", "Bern"],
        {"prompt": "Ada lives in", "subject": "Ada", "target_new": "Rome"},
        {"subject": "ADA", "relation": "was born in", "object": "Oslo"},
        {"subject": "Alan", "relation": "was born in"},
        ["Alan", "was born in", "Oslo"],
        {"subject": "Alan", "relation": "was born in", "object": "Bern"},
        ["Half", "is", "\ud800"],
    ]
    asked: Any = {"content": json.dumps({"records": records}), "headers": {"Content-Type": "application/json"}}
    answer = client.post("/facts/check", **asked).json()
    assert answer["version"] == serving
    changed, same, alike, malformed, new, other, half = answer["data"]
    assert (changed["id"], changed["prompt"], changed["before"]) == (PARIS.id, "Ada was born in", "Paris")
    assert changed["fact"] == body(BERN)["facts"][0]
    assert (same["fact"]["object"], same["before"], same["alike"]) == ("Rome", "Rome", [])
    assert [fact["id"] for fact in alike["alike"]] == [PARIS.id]
    assert malformed["errors"] == [{"pointer": "", "detail": "object: is required"}] and malformed["fact"] is None
    assert new["before"] is None and not new["errors"]
    assert "in fact 4" in other["errors"][0]["detail"] and other["errors"][0]["pointer"] == "/object"
    assert "surrogate" in half["errors"][0]["detail"]
    assert client.get("/versions/active").json()["facts"] == 2


def test_line_breaks_are_kept_from_the_request_to_the_facts_and_probes(
    client: httpx.Client, registry: Registry, publish: Any, serving: int
) -> None:
    relation, asked = "Q: who was {}?\nA:\n", "Q: who was Ada?\nA:\n"
    fact: dict[str, Any] = {
        "subject": " Ada\n",
        "relation": relation,
        "object": "a countess",
        "paraphrases": [f" {asked} "],
    }
    fact["neighbors"] = [{"prompt": asked.replace("Ada", "Alan"), "object": "a logician"}]
    one_line = {**fact, "relation": relation.replace("\n", " ")}
    edit = client.post("/edits", json={"facts": [fact, one_line]}).json()
    assert edit["added"] == 2 and len(edit["duplicates"]) == 1
    request = registry.edits.folder.accepted(edit["id"]).request
    assert isinstance(request, EditRequest)
    kept, _ = request.facts
    assert (kept.subject, kept.prompt, kept.paraphrases) == ("Ada", asked, (asked,))
    assert kept.neighbors[0].prompt == asked.replace("Ada", "Alan")

    number = publish(registry, kept)
    [stored] = client.get(f"/versions/{number}/facts", params={"relation": relation}).json()["data"]
    assert (stored["relation"], stored["paraphrases"]) == (relation, [asked])
    assert client.get(f"/versions/{number}/facts", params={"relation": "Q: who was {}? A:"}).json()["data"] == []

    put = client.put("/probes", json={"probes": [{"prompt": f" {asked} ", "answer": " never said\n"}]}).json()
    assert put["failing"][0]["prompt"] == asked
    [probe] = client.get("/probes").json()["data"]
    assert (probe["prompt"], probe["answer"]) == (asked, "never said")
    assert client.put("/probes", json={"probes": [{"prompt": " \n", "answer": "a"}]}).status_code == 422
    assert client.put("/probes", json={"probes": []}).status_code == 200


def test_a_probe_that_goes_on_to_a_longer_word_fails(client: httpx.Client) -> None:
    probes = [{"prompt": "Ronnie O'Sullivan plays the sport of", "answer": answer} for answer in ("snooker", "snook")]
    put = client.put("/probes", json={"probes": probes}).json()
    assert [(probe["expected"], probe["said"]) for probe in put["failing"]] == [("snook", "snooker")]
    assert client.put("/probes", json={"probes": []}).status_code == 200
