"""Evaluations and traces over real parts: Redis, a worker and the service as their own processes, the SDK over HTTP."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from errata_cli.main import main as errata_command
from errata_client import (
    AsyncErrata,
    Errata,
    Evaluation,
    MeasurementCancelled,
    MeasurementFailed,
    NotFound,
    Unprocessable,
    facts_of_records,
)
from errata_client.cli import main
from errata_registry.versions.store import Artifacts

from errata import deltas
from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from errata.evaluation import PROSE, Generation, Honest, InContext, evaluate, read_records
from errata.facts import Fact
from errata.model import EditableModel
from errata.tracing.fact_trace import trace_facts
from errata.tracing.noise import Noise
from tests.preloaded import PreloadedStack

RECORDS = list(counterfactual_records(load_world()))
MANY = RECORDS[:80]
EDITED = [{**record, "generation_prompts": record["generation_prompts"][:1]} for record in RECORDS[:3]]
TEMPLATE, SUBJECT = "{} has its headquarters in", "Sony"
KNOWN, UNKNOWN = (SUBJECT, TEMPLATE, "Tokyo"), ("Michael Jordan", "{} plays the sport of", "Mars")
PATIENCE_S = 60


@pytest.fixture(scope="module")
def client(stack: PreloadedStack) -> Iterator[Errata]:
    """The SDK, with the base model serving, so that what is edited here stands alone."""
    with Errata(stack.url) as connected:
        connected.activate(0)
        yield connected


@pytest.fixture(scope="module")
def version(client: Errata) -> int:
    """A version in which some records' facts are edited."""
    edit = client.edit(facts_of_records(EDITED), partial=True, tries=1).wait(progress=False)
    assert edit.version is not None
    return edit.version


def until_running(client: Errata, evaluation: Evaluation) -> None:
    """Wait until a worker has it in hand."""
    deadline = time.monotonic() + PATIENCE_S
    while client.evaluations.get(evaluation.id).progress is None:
        assert time.monotonic() < deadline, "the evaluation did not begin"
        time.sleep(0.05)


def test_an_evaluation_gives_what_the_library_gives_and_its_version_shows_it(
    client: Errata,
    stack: PreloadedStack,
    version: int,
    demo: EditableModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {"version": version, "generation": True, "honest": True, "seed": 3, "note": "from a test"}
    evaluation = client.evaluations.create(EDITED, **asked, idempotency_key="once")
    assert client.evaluations.create(EDITED, **asked, idempotency_key="once").id == evaluation.id
    with pytest.raises(Unprocessable, match="another body"):
        client.evaluations.create(EDITED[:1], **asked, idempotency_key="once")
    done = client.evaluations.wait(evaluation.id, progress=False)

    file = Artifacts(stack.log_folder.parent).delta_file(version, demo.digest)
    expected = evaluate(
        demo,
        [record.case for record in read_records(EDITED)],
        deltas.edited_weights(demo, deltas.read(file)),
        generation=Generation(seed=3),
        texts=PROSE,
        honest=Honest(seed=3),
    )
    assert "honest_score" in expected.estimates and "said_after_prefix" in expected.estimates
    assert done.result is not None and (done.records, done.note, done.attempts) == (len(EDITED), "from a test", 1)
    assert {"num_cases": len(EDITED), **done.result.model_dump()} == expected.as_dict()
    cases = client.evaluations.cases(evaluation.id, tmp_path / "cases.jsonl")
    assert cases.read_text(encoding="utf-8").splitlines() == list(expected.json_lines())

    local = tmp_path / "summary.json"
    (tmp_path / "records.json").write_text(json.dumps(EDITED), encoding="utf-8")
    command = ["evaluate", str(tmp_path / "records.json"), "--home", str(stack.log_folder.parent), "--no-prose"]
    flags = ["--honest", "--seed", "3", "--version", str(version), "--json", str(local)]
    monkeypatch.setattr("sys.argv", ["errata", *command, *flags])
    errata_command()
    without_texts = {name: found for name, found in expected.as_dict()["estimates"].items() if name != "fluency"}
    assert json.loads(local.read_text())["estimates"] == without_texts
    monkeypatch.setattr("sys.argv", ["errata", *command, "--in-context", "retrieved", "--json", str(local)])
    errata_command()
    cases_of_records = [record.case for record in read_records(EDITED)]
    told = evaluate(demo, cases_of_records, {}, in_context=InContext(cases_of_records, "retrieved"))
    assert json.loads(local.read_text()) == {"version": version, "in_context": "retrieved", **told.as_dict()}

    shown = client.version(version).evaluation
    assert shown is not None and (shown.id, shown.records) == (evaluation.id, len(EDITED))
    assert shown.estimates == done.result.estimates and client.version(0).evaluation is None
    assert [listed.id for listed in client.evaluations.list(version=version)] == [evaluation.id]
    assert list(client.evaluations.list(version=0)) == []


def test_the_command_line_measures_a_versions_own_facts(
    stack: PreloadedStack, version: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tmp_path / "cases.jsonl"
    flags = ["--version", str(version), "--no-prose", "--cases", str(cases)]
    assert main(["--url", stack.url, "evaluate", *flags]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["records", str(len(EDITED))] in said and ["metric", "mean", "low", "high", "records"] in said
    assert len(cases.read_text().splitlines()) == len(EDITED)

    broken = tmp_path / "records.json"
    broken.write_text(json.dumps([EDITED[0], {"src": "Who?", "subject": "x"}]))
    assert main(["--url", stack.url, "evaluate", str(broken)]) == 3
    assert f"{broken}, record 1 (line 1), src: " in capsys.readouterr().err


def test_what_is_wrong_with_a_request_is_named(client: Errata) -> None:
    blank = {"requested_rewrite": {**EDITED[1]["requested_rewrite"], "target_new": {"str": " "}}}
    with pytest.raises(Unprocessable) as caught:
        client.evaluations.create([EDITED[0], blank, "no record", {**EDITED[2], "paraphrase_prompts": ["fine", 3]}])  # type: ignore[list-item]
    assert [(problem.pointer, problem.detail) for problem in caught.value.problems] == [
        ("/records/1/requested_rewrite/target_new/str", "is blank"),
        ("/records/2", "is a string, not an object"),
        ("/records/3/paraphrase_prompts/1", "is a number, not text"),
    ]
    with pytest.raises(Unprocessable, match="no facts of its own"):
        client.evaluations.create(version=0)
    with pytest.raises(NotFound, match="no version 99"):
        client.evaluations.create(EDITED, version=99)
    with pytest.raises(Unprocessable, match="/prompt"):
        client.traces.create(prompt="no place for it", subject="x")
    with pytest.raises(Unprocessable, match="/facts/0/object"):
        client.traces.create([{"subject": "a", "relation": "b", "object": " "}])
    with pytest.raises(NotFound):
        client.evaluations.get("../edits")


def test_a_trace_gives_what_the_library_gives_with_figures(client: Errata, demo: EditableModel, tmp_path: Path) -> None:
    queued = client.traces.create([KNOWN, UNKNOWN], severed_only=True, num_samples=2, seed=1)
    trace = client.traces.wait(queued.id, progress=False)
    noise = Noise.for_subjects(demo, [KNOWN[0], UNKNOWN[0]], num_samples=2, seed=1)
    expected = trace_facts(demo, [Fact(*KNOWN), Fact(*UNKNOWN)], noise, kinds=())
    assert client.traces.result(trace.id) == json.loads(json.dumps(expected.as_dict()))
    assert trace.result is not None and (trace.facts, trace.result.traced, trace.result.layers) == (2, 1, ())
    assert trace.figures == ("severed.svg", "severed.png")
    with pytest.raises(NotFound, match="has the figures"):
        client.traces.figure(trace.id, "restored.svg", tmp_path / "restored.svg")

    one = client.traces.wait(client.traces.create(prompt=TEMPLATE, subject=SUBJECT, num_samples=2).id, progress=False)
    assert one.result is not None and one.result.answer == "Tokyo"
    assert one.result.clean is not None and one.result.corrupted is not None
    assert one.result.clean > one.result.corrupted
    assert client.traces.figure(one.id, "restored.png", tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in client.traces.figure(one.id, "restored.svg", tmp_path / "a.svg").read_text(encoding="utf-8")
    assert [listed.id for listed in client.traces.list()] == [one.id, trace.id]

    unknown = client.traces.create([UNKNOWN])
    with pytest.raises(MeasurementFailed, match="knows none"):
        client.traces.wait(unknown.id, progress=False)


def test_evaluations_and_traces_for_asyncio(stack: PreloadedStack, version: int, tmp_path: Path) -> None:
    async def measure() -> None:
        async with AsyncErrata(stack.url) as errata:
            evaluation = await errata.evaluations.create(EDITED[:1], version=version, prose=False)
            trace = await errata.traces.create(prompt=TEMPLATE, subject=SUBJECT, num_samples=2)
            evaluation, trace = await asyncio.gather(evaluation.wait(progress=False), trace.wait(progress=False))
            assert evaluation.result is not None and evaluation.result.estimates["efficacy"].count == 1
            assert await errata.evaluations.wait(evaluation.id, progress=False) == evaluation
            cases = await errata.evaluations.cases(evaluation.id, tmp_path / "cases.jsonl")
            assert len(cases.read_text(encoding="utf-8").splitlines()) == 1

            assert trace.result is not None and trace.result.answer == "Tokyo"
            assert "restored" in await errata.traces.result(trace.id) and "restored.svg" in trace.figures
            figure = await errata.traces.figure(trace.id, "restored.svg", tmp_path / "a.svg")
            assert "<svg" in figure.read_text(encoding="utf-8")

    asyncio.run(measure())


def test_a_killed_workers_evaluation_is_done_by_another_one_after_the_edits_that_wait(
    client: Errata, stack: PreloadedStack, version: int
) -> None:
    begun = client.evaluations.create(MANY, version=version, prose=False)
    until_running(client, begun)
    os.kill(stack.pid("worker"), signal.SIGKILL)
    while not stack.has_ended("worker"):
        time.sleep(0.01)
    waiting, unwanted = (client.evaluations.create(EDITED, version=0, prose=False) for _ in range(2))
    edit = client.edit([("Sony", "has its headquarters in", "Paris")], activate=False)
    assert client.evaluations.cancel(unwanted.id).status == "cancelled"
    stack.revive()

    ended = client.evaluations.wait(begun.id, progress=False)
    assert (ended.status, ended.attempts) == ("succeeded", 2)
    assert ended.result is not None and ended.result.estimates["efficacy"].count == len(MANY)
    edited, measured = edit.wait(progress=False), client.evaluations.wait(waiting.id, progress=False)
    assert edited.finished_at is not None and measured.started_at is not None
    assert edited.finished_at <= measured.started_at
    assert client.evaluations.get(unwanted.id).status == "cancelled"

    running = client.evaluations.create(MANY, version=version, prose=False)
    until_running(client, running)
    client.evaluations.cancel(running.id)
    with pytest.raises(MeasurementCancelled):
        client.evaluations.wait(running.id, progress=False)
