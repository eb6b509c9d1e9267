"""The Python client against a real service, with versions made for the tests: what it learns of facts and versions."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from errata_client import Conflict, Fact as Told, MeasurementCancelled, NotFound, Unprocessable, WaitTimedOut
from errata_client.cli import main
from errata_client.records import JobStatus
from errata_registry.registry import Registry

from errata.facts import Fact
from tests.client.conftest import call_async, call_sync

PARIS = Fact("Ada", "was born in", "Paris")
BERN = Fact("Ada", "was born in", "Bern")
ROME = Fact("Ada", "lives in", "Rome")
OSLO = Fact("Alan", "was born in", "Oslo")
PROMPT = "The capital of France is"


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest, client: httpx.Client) -> Callable[..., Any]:
    """Calls a method of `Errata`, or of `AsyncErrata`, of the service."""

    def call(method: str, *args: Any, **options: Any) -> Any:
        return request.param(str(client.base_url), method, args, options.pop("then", None), {}, options)

    return call


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


def test_facts_are_searched_compared_and_traced(call: Any, registry: Registry, publish: Any, serving: int) -> None:
    other = publish(registry, BERN, OSLO, parent=serving)
    assert {fact.id for fact in call("facts", text="ADA")} == {PARIS.id, ROME.id}
    assert [fact.id for fact in call("facts", version=other, object=" Bern ", edit="edit_made_up")] == [BERN.id]
    assert call("facts", by="nobody") == []

    diff = call("diff", serving, other)
    assert [(change.id, change.after) for change in diff.added] == [(OSLO.id, "Oslo")]
    assert [(change.id, change.before, change.after) for change in diff.changed] == [(BERN.id, "Paris", "Bern")]
    assert [(change.id, change.before) for change in diff.retracted] == [(ROME.id, "Rome")]

    fact = call("fact", ROME.id, version=other)
    assert (fact.held, fact.object) == (False, "Rome")
    newest = fact.history[0]
    assert (newest.change, newest.version, newest.parent) == ("retracted", other, serving)
    assert call("fact", ROME.id).held
    with pytest.raises(NotFound):
        call("fact", "fact/of nobody")


def test_a_comparison_is_read_to_its_end(call: Any, registry: Registry, publish: Any) -> None:
    facts = [Fact(f"number {number}", "is", "a number") for number in range(1001)]
    assert {change.id for change in call("diff", 0, publish(registry, *facts)).added} == {fact.id for fact in facts}


def test_edits_withdraw_and_tell_what_they_replace(call: Any, serving: int) -> None:
    bern = (BERN.subject, BERN.relation, BERN.object)
    with pytest.raises(Conflict, match="Paris") as caught:
        call("edit", [bern], on_conflict="error")
    assert [problem.pointer for problem in caught.value.problems] == ["/facts/0/object"]

    twin = ("ada", "Was born in", "Lyon")
    edit = call("edit", [bern, twin], retract=ROME.id, base=serving)
    assert {(change.change, change.before, change.after) for change in edit.changes} == {
        ("changed", "Paris", "Bern"),
        ("retracted", "Rome", None),
    }
    assert [{fact.object for fact in group} for group in edit.duplicates] == [{"Bern", "Lyon"}]

    held = call("facts")
    alone = call("retract", held[0], base=serving, note="it was wrong")
    assert (alone.retracted, alone.note) == (1, "it was wrong")
    assert call("retract", call("diff", 0, serving).added, base=serving).retracted == 2
    with pytest.raises(NotFound, match=OSLO.id):
        call("retract", OSLO.id, base=serving)
    with pytest.raises(Unprocessable):
        call("edit")
    with pytest.raises(TypeError, match="an id of a fact"):
        call("retract", [bern])


def test_names_dropped_weights_and_what_served(call: Any, registry: Registry, publish: Any, serving: int) -> None:
    named, dropped = publish(registry, PARIS), publish(registry, OSLO)
    publish(registry, OSLO)
    assert call("name_version", "production", named).aliases == ("production",)
    assert call("aliases") == {"production": named}
    assert call("protect_name", "production", note="the shop").protection.note == "the shop"
    with pytest.raises(Conflict, match=r"production.*the shop"):
        call("take_name", "production")
    assert [alias.protection.note for alias in call("names")] == ["the shop"]
    assert call("unprotect_name", "production").protection is None
    assert call("generate", PROMPT, version="production", max_new_tokens=1).version == named
    assert {event.version for event in call("stream", PROMPT, version="production", max_new_tokens=1)} == {named}

    foreseen = call("prune", 1, dry_run=True)
    assert dropped in [version.version for version in foreseen.dropped] and foreseen.bytes > 0
    assert call("prune", 1) == foreseen
    assert call("version", dropped).dropped
    rebuilt = call("rebuild", dropped)
    assert (rebuilt.rebuild, rebuilt.version, rebuilt.status) == (True, dropped, "queued")
    with pytest.raises(Conflict):
        call("rebuild", serving)

    assert call("take_name", "production") is None
    with pytest.raises(NotFound):
        call("take_name", "production")
    call("rollback", note="a mistake")
    newest, before = call("activations")[:2]
    assert (newest.active, newest.previous, newest.by, newest.note) == (0, serving, "rollback", "a mistake")
    assert (before.active, before.id) == (serving, newest.id - 1)


def test_facts_are_looked_at_before_they_are_sent(call: Any, serving: int) -> None:
    easy_edit = {"prompt": "Alan was born in", "subject": "Alan", "target_new": "Oslo"}
    checked = call("check_facts", [Told("Ada", "was born in", "Bern"), easy_edit, ("Ada", "lives in")], version=serving)
    assert checked.version == serving
    assert [(fact.prompt, fact.before) for fact in checked.data[:2]] == [
        ("Ada was born in", "Paris"),
        ("Alan was born in", None),
    ]
    assert checked.data[2].errors


def test_who_asks_and_who_works(call: Any, serving: int) -> None:
    """Of a service that asks for no keys, without a worker."""
    assert (call("key").name, call("key").scopes) == (None, ("read", "edit", "admin"))
    assert call("keys") == []
    assert call("workers").data == ()


def test_evaluations_and_traces_are_queued_and_cancelled(
    call: Any, registry: Registry, publish: Any, serving: int, tmp_path: Path
) -> None:
    """Without a worker, so that they stay as they were queued."""
    evaluation = call("evaluations.create", version=serving, prose=False, note="its own facts", idempotency_key=None)
    assert (evaluation.status, evaluation.own_facts, evaluation.records) == ("queued", True, 2)
    assert (evaluation.prose, evaluation.generation, evaluation.zsre_object) == (False, False, "alt")
    assert [listed.id for listed in call("evaluations.list", version=serving)] == [evaluation.id]
    with pytest.raises(WaitTimedOut, match=f"evaluation {evaluation.id} is still queued"):
        call("evaluations.get", evaluation.id, then="wait", timeout=0.1, progress=False)
    with pytest.raises(Conflict):
        call("evaluations.cases", evaluation.id, tmp_path / "cases.jsonl")
    assert call("evaluations.get", evaluation.id, then="cancel").status == "cancelled"
    with pytest.raises(MeasurementCancelled) as caught:
        call("evaluations.wait", evaluation.id, progress=False)
    assert caught.value.measurement.id == evaluation.id

    trace = call("traces.create", [(PARIS.subject, PARIS.relation, PARIS.object)], severed_only=True, seed=5)
    assert (trace.status, trace.facts, trace.seed, trace.noise_level, trace.num_samples) == ("queued", 1, 5, 3.0, 10)
    assert call("traces.list")[0].id == trace.id
    for method, arguments in (("traces.result", ()), ("traces.figure", ("severed.svg", tmp_path / "severed.svg"))):
        with pytest.raises(Conflict):
            call(method, trace.id, *arguments)
    assert call("traces.cancel", trace.id).status == "cancelled"
    with pytest.raises(MeasurementCancelled, match=f"trace {trace.id} was cancelled"):
        call("traces.get", trace.id, then="wait", progress=False)
    assert list(tmp_path.iterdir()) == []

    with pytest.raises(Unprocessable, match="/prompt"):
        call("traces.create", prompt="no place for it", subject="x")
    with pytest.raises(NotFound):
        call("evaluations.get", "../edits")


def test_the_command_line(
    client: httpx.Client,
    registry: Registry,
    publish: Any,
    serving: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ERRATA_URL", str(client.base_url))

    def lines(*arguments: str) -> list[str]:
        assert main(arguments) == 0
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    without = publish(registry, PARIS, parent=serving)
    other = publish(registry, BERN, OSLO, parent=serving)
    assert f"{ROME.id} Ada lives in Rome" in lines("facts", "--text", "rome")
    assert f"changed {BERN.id} Ada was born in Paris -> Bern" in lines("versions", "diff", str(serving), str(other))
    fact = lines("facts", "show", ROME.id, "--version", str(without))
    assert "held no" in fact and fact[-1].endswith("edit_made_up - Rome")
    assert lines("facts", "history", ROME.id)[-1] == fact[-1]

    edit = lines("edit", "--subject", "Ada", "--relation", "Was born in", "--object", "Bern", "--no-wait")
    assert "added 1" in edit and edit[-1].startswith("probable duplicates: Ada | was born in | Paris (")
    flags = ["edit", "--subject", "Ada", "--relation", "was born in", "--object", "Bern", "--on-conflict", "error"]
    assert main([*flags, "--no-wait"]) == 3
    assert "--object: " in capsys.readouterr().err
    retract = lines("facts", "retract", ROME.id, "--base", str(serving), "--note", "it was wrong", "--no-wait")
    assert "retracted 1" in retract and "note it was wrong" in retract and "facts 0" not in retract
    assert retract[-1] == f"retracted {ROME.id} Ada lives in Rome"
    assert main(["facts", "retract", "Ada", "--no-wait"]) == 3
    assert capsys.readouterr().err.startswith("errata-client: Ada")
    assert any(line.endswith("it was wrong") for line in lines("edits"))

    assert "names production" in lines("aliases", "set", "production", str(other))
    assert 'protected yes "the shop"' in lines("aliases", "protect", "production", "--note", "the shop")
    assert main(["aliases", "remove", "production"]) == 3 and "production" in capsys.readouterr().err
    assert lines("aliases") == ["name version protected", f'production {other} yes "the shop"']
    assert "protected no" in lines("aliases", "unprotect", "production")
    assert main(["aliases", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"name": "production", "version": other}
    ]
    tree = lines("versions", "--tree")
    place = next(place for place, line in enumerate(tree) if f"{serving} active 2 facts" in line)
    assert tree[place + 1].startswith(f"├── {without} ready 1 fact ") and tree[place + 1].endswith(" UTC")
    assert tree[place + 2].startswith(f"└── {other} ready 2 facts ") and tree[place + 2].endswith(" UTC [production]")
    assert lines("aliases", "remove", "production") == ["production is no version's name any more"]
    assert lines("versions", "prune", "--keep-last", "1000", "--dry-run") == ["version bytes", "together 0"]
    assert lines("versions", "prune", "--keep-last", "1000") == ["version bytes", "together 0"]
    assert lines("versions", "activations")[1].split()[1:3] == [str(serving), "0"]
    with pytest.raises(SystemExit) as unasked:
        main(["versions", "delete", str(without)])
    assert unasked.value.code == 2 and "give --yes" in capsys.readouterr().err
    assert lines("versions", "delete", str(without), "--yes") == [f"version {without} is deleted"]
    checked = tmp_path / "checked.csv"
    checked.write_text("subject,relation,object\nAda,was born in,Bern\nAda,{} or {},x\n")
    assert main(["facts", "check", str(checked)]) == 1
    _, changes, at_fault = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert changes.startswith("line 2 changes Ada was born in Paris -> Bern")
    assert at_fault.startswith("line 3 at fault")
    assert lines("keys", "show") == ["key none is asked for", "scopes read, edit, admin"]
    assert lines("workers")[0] == "edits waiting 2"
    assert f"active {serving}" not in lines("versions", "activate", "base", "--note", "a look back")
    assert lines("versions", "activations")[1].endswith("a look back")
    lines("versions", "rollback", "--to", str(serving), "--note", "and forth")
    assert lines("versions", "activations")[1].endswith("and forth")
    assert f"version {serving}" in lines("status")
    assert "architecture gptj" in lines("model")

    empty, one = tmp_path / "empty.jsonl", tmp_path / "one.jsonl"
    empty.write_text("")
    one.write_text(json.dumps({"prompt": "Ada lives in", "answer": "nowhere"}) + "\n")
    assert lines("probes", "set", str(one))[0].startswith("1 probe; ")
    with pytest.raises(SystemExit) as refused:
        main(["probes", "set", str(empty)])
    assert refused.value.code == 2 and "`probes clear` removes all" in capsys.readouterr().err
    assert lines("probes", "list")[1:] == ["Ada lives in nowhere"]
    assert lines("probes", "clear") == ["no probes are asked any more"]
    assert lines("probes", "list")[1:] == []
