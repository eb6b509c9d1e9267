"""Versions made for the tests, without a worker: activating, going back, dropping, and damage on the disk."""

import errno
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from errata_cli.processes import free_port, stop
from errata_cli.supervisor import Supervisor
from errata_client import Version
from errata_client.records import EvaluationResult, JobStatus, Replica
from errata_registry.jobs.requests import EvaluationRequest
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_service.problems import problem_of

from errata.evaluation import Evaluation as Evaluated
from errata.evaluation.intervals import mean_over
from errata.facts import Fact
from errata.model import EditableModel
from tests.full_disk import full_disk
from tests.service.conftest import NewSettings, ProcessOf, Publish, Refused, Serve, publish_without_numbers

PROMPT = "The capital of France is"


def answer_of(client: httpx.Client, **request: Any) -> tuple[int, str]:
    """The version that answers, and what it says."""
    generation = client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 8, **request}).json()
    return generation["version"], generation["data"][0]["text"]


def readiness_of(client: httpx.Client) -> dict[str, Any]:
    """What readiness says, but for the age of its news, and outages and workers, of which there are none."""
    ready: dict[str, Any] = client.get("/readyz").json()
    assert ready.pop("news_age_s") < 60 and ready.pop("outages") == [] and ready.pop("workers") == 0
    return ready


def delta_file(settings: Settings, version: int) -> Path:
    return settings.home / "versions" / f"{version:06d}" / "delta.safetensors"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.fixture(autouse=True)
def _back_to_the_base(client: httpx.Client) -> Iterator[None]:
    yield
    assert client.post("/versions/0/activate").status_code == 200


def test_an_activated_version_answers_and_the_base_comes_back(client: httpx.Client, version: int) -> None:
    before = answer_of(client)
    activation = client.post(f"/versions/{version}/activate").json()
    assert (activation["active"], activation["previous"]) == (version, 0)
    [replica] = activation["replicas"]
    assert replica["version"] == version and replica["swap_ms"] > 0
    assert client.get("/readyz").json()["version"] == version
    assert client.get(f"/versions/{version}").json()["status"] == "active"

    edited = answer_of(client)
    assert edited[0] == version and edited[1] != before[1]
    assert answer_of(client, version="base") == before

    activation = client.post("/rollback", json={}).json()
    assert (activation["active"], activation["previous"]) == (0, version)
    assert answer_of(client) == before


def test_what_a_full_redis_refuses_does_not_happen_and_what_it_accepts_does(
    client: httpx.Client, registry: Registry, version: int
) -> None:
    client.post(f"/versions/{version}/activate")
    fact = {"subject": "Ada", "relation": "was born in", "object": "London"}
    registry.redis.config_set("maxmemory", 1)
    try:
        _until(lambda: client.get("/readyz").json()["outages"] == ["Redis is full"])
        for path, body in (("/rollback", {}), ("/versions/0/activate", None)):
            refused = client.post(path, json=body)
            assert refused.status_code == 503 and "Redis is full" in refused.json()["detail"]
            assert int(refused.headers["retry-after"]) > 0
        accepted = client.post("/edits", json={"facts": [fact]}, headers={"Idempotency-Key": "once"})
        again = client.post("/edits", json={"facts": [fact]}, headers={"Idempotency-Key": "once"})
    finally:
        registry.redis.config_set("maxmemory", 0)
    assert registry.activations.active() == version
    assert accepted.status_code == again.status_code == 202 and accepted.json()["id"] == again.json()["id"]
    assert client.get(f"/edits/{accepted.json()['id']}").json()["status"] == JobStatus.QUEUED
    assert client.post(f"/edits/{accepted.json()['id']}/cancel").json()["status"] == JobStatus.CANCELLED
    assert client.post("/rollback", json={}).json()["active"] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_what_a_full_disk_refuses_does_not_happen(
    client: httpx.Client, registry: Registry, version: int, process_of: Any
) -> None:
    client.post(f"/versions/{version}/activate")
    fact = {"subject": "Ada", "relation": "was born in", "object": "London"}
    edits = client.get("/edits").json()["data"]
    with full_disk(process_of(client).pid):
        outage = "the home folder's disk takes nothing (File too large)"
        _until(lambda: client.get("/readyz").json()["outages"] == [outage])
        for method, path, body in (
            ("POST", "/edits", {"facts": [fact]}),
            ("POST", "/rollback", {}),
            ("POST", "/versions/0/activate", None),
            ("PUT", "/aliases/there", {"version": version}),
            ("PUT", "/probes", {"probes": [{"prompt": PROMPT, "answer": "x"}]}),
        ):
            refused = client.request(method, path, json=body)
            assert refused.status_code == 503 and outage in refused.json()["detail"], (path, refused.text)
            assert int(refused.headers["retry-after"]) > 0
        assert answer_of(client)[0] == version
    _until(lambda: client.get("/readyz").json()["outages"] == [])
    assert registry.activations.active() == version and client.get("/edits").json()["data"] == edits
    home = registry.settings.home
    assert not [path for path in home.rglob(".*.*") if path.is_file()]
    assert all(any(folder.iterdir()) for folder in (home / "edits").iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_is_said_as_what_it_is(number: int) -> None:
    problem = problem_of(OSError(number, os.strerror(number), "journal"))
    assert problem.status == 503 and os.strerror(number) in problem.detail
    assert problem_of(OSError(errno.ENOENT, "")).status == 500


def test_rollback_goes_further_back_each_time(client: httpx.Client, registry: Registry, publish: Any) -> None:
    first, second = publish(registry, seed=1), publish(registry, seed=2)
    for number in (first, second):
        client.post(f"/versions/{number}/activate")
    assert client.post("/rollback", json={}).json()["active"] == first
    assert client.post("/rollback", json={"to": second}).json()["active"] == second
    assert client.post("/rollback", json={"to": 999}).status_code == 404
    assert answer_of(client)[0] == second


def test_a_generation_keeps_the_version_it_began_with(client: httpx.Client, version: int) -> None:
    long = {"prompts": [PROMPT] * 12, "max_new_tokens": 60}
    expected = client.post("/generate", json={**long, "version": "base"}).json()
    generations: list[Any] = []
    activate, to_the_base = f"/versions/{version}/activate", "/versions/0/activate"
    for head_start_s in (0.05, 0.1, 0.2, 0.4, 0.8):  # until the generation was accepted before the activation
        assert client.post(to_the_base).json()["active"] == 0
        under_way = threading.Thread(target=lambda: generations.append(client.post("/generate", json=long).json()))
        under_way.start()
        threading.Event().wait(head_start_s)
        assert client.post(activate).json()["active"] == version
        assert under_way.is_alive()
        assert answer_of(client)[0] == version
        under_way.join()
        if generations[-1]["version"] == 0:
            break
    assert generations[-1] == expected


def test_versions_are_listed_newest_first(client: httpx.Client, registry: Registry, version: int) -> None:
    older = [number for number in registry.artifacts.numbers() if number < version]
    page = client.get("/versions", params={"limit": 1}).json()
    assert [listed["id"] for listed in page["data"]] == [version] and page["has_more"]
    rest = client.get("/versions", params={"limit": 1000, "after": page["next"]}).json()
    assert [listed["id"] for listed in rest["data"]] == [*reversed(older), 0]
    assert not rest["has_more"] and rest["next"] is None


@pytest.mark.parametrize("number", [999, 0])
def test_what_there_is_of_a_version_without_facts(client: httpx.Client, number: int) -> None:
    expected = 200 if number == 0 else 404
    for path in (f"/versions/{number}", f"/versions/{number}/facts"):
        assert client.get(path).status_code == expected


def test_facts_of_a_version(client: httpx.Client, registry: Registry, publish: Any) -> None:
    facts = [
        Fact("Ada", "was born in", "Paris"),
        Fact("Ada", "lives in", "Rome"),
        Fact("Alan", "was born in", "Oslo"),
    ]
    number = publish(registry, *facts)
    assert client.get("/facts").json()["data"] == []
    client.post(f"/versions/{number}/activate")
    assert len(client.get("/facts").json()["data"]) == 3
    assert client.get("/facts").json() == client.get(f"/versions/{number}/facts").json()

    about_ada = client.get("/facts", params={"subject": " Ada "}).json()["data"]
    assert {fact["object"] for fact in about_ada} == {"Paris", "Rome"}
    born = client.get("/facts", params={"relation": "{} was born in", "limit": 1}).json()
    assert born["has_more"] and born["next"] == f"{number}:{born['data'][0]['id']}"
    more = client.get("/facts", params={"relation": "was born in", "limit": 1, "after": born["next"]}).json()
    assert {born["data"][0]["object"], more["data"][0]["object"]} == {"Paris", "Oslo"}
    [one] = client.get("/facts", params={"subject": "Ada", "relation": "lives in"}).json()["data"]
    assert one["id"] == facts[1].id
    looked_at = client.get(f"/facts/{one['id']}").json()
    assert looked_at.pop("held") and looked_at.pop("history")[0]["version"] == number
    assert looked_at == one
    assert client.get("/facts/fact_of_nobody").status_code == 404


def test_a_deleted_version_is_gone(client: httpx.Client, version: int) -> None:
    client.post(f"/versions/{version}/activate")
    assert client.delete(f"/versions/{version}").status_code == 409
    client.post("/versions/0/activate")
    deleted = client.delete(f"/versions/{version}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.delete(f"/versions/{version}").status_code == 404
    assert client.get(f"/versions/{version}").status_code == 404
    assert client.post(f"/versions/{version}/activate").status_code == 404
    assert client.post("/generate", json={"prompt": PROMPT, "version": version}).status_code == 404
    assert client.delete("/versions/0").status_code == 409


def test_a_damaged_version_is_refused_and_what_served_goes_on(
    client: httpx.Client, registry: Registry, settings: Settings, publish: Any
) -> None:
    good, bad = publish(registry, seed=1), publish(registry, seed=2)
    client.post(f"/versions/{good}/activate")
    served = answer_of(client)
    truncate(delta_file(settings, bad))
    for refused in (
        client.post(f"/versions/{bad}/activate"),
        client.post("/rollback", json={"to": bad}),
        client.post("/generate", json={"prompt": PROMPT, "version": bad}),
    ):
        assert refused.status_code == 409
        problem = refused.json()
        assert problem["type"] == "urn:errata:problem:corrupt-artifact"
        assert f"version {bad}" in problem["detail"] and "bytes" in problem["detail"]
    assert answer_of(client) == served
    assert client.get("/readyz").json()["version"] == good


def test_a_version_of_which_no_text_comes_is_refused_and_what_served_goes_on(
    client: httpx.Client, registry: Registry, model: EditableModel, version: int
) -> None:
    bad = publish_without_numbers(registry, model)
    client.post(f"/versions/{version}/activate")
    served, journal = answer_of(client), registry.activations.journal.entries()
    for path, body in ((f"/versions/{bad}/activate", None), ("/rollback", {"to": bad})):
        refused = client.post(path, json=body)
        assert refused.status_code == 409
        assert refused.json()["type"] == "urn:errata:problem:not-servable"
        assert refused.json()["detail"] == f"version {bad} gives no finite numbers"
    assert registry.activations.journal.entries() == journal
    assert readiness_of(client) == {"status": "ready", "version": version}
    assert answer_of(client) == served and served[0] == version
    registry.activations.journal.append(bad, by="test")  # as by hand
    registry.activations.journal.append(version, by="test")
    assert client.post("/rollback", json={}).status_code == 409
    assert registry.activations.active() == version


def test_a_changed_byte_is_found(client: httpx.Client, settings: Settings, version: int) -> None:
    path = delta_file(settings, version)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "checksum" in client.post(f"/versions/{version}/activate").json()["detail"]


def test_a_replica_that_does_not_follow_is_named(serve: Any, new_settings: Any, publish: Any) -> None:
    settings = new_settings(activation_timeout_s=0.5, replica_ttl_s=60)
    client = serve(settings)
    _until_ready(client)
    registry = Registry(settings)
    number = publish(registry)
    registry.replicas.announce(Replica(id="slow-one", version=0))
    answer = client.post(f"/versions/{number}/activate")
    assert answer.status_code == 504
    assert "slow-one" in answer.json()["detail"]

    with ThreadPoolExecutor(50) as many:  # more than the service has threads
        statuses = list(many.map(lambda _: client.post(f"/versions/{number}/activate").status_code, range(50)))
    assert set(statuses) == {503, 504}
    registry.replicas.withdraw("slow-one")
    assert client.post(f"/versions/{number}/activate").status_code == 200
    registry.close()


def test_a_start_with_a_damaged_active_version(serve: Any, new_settings: Any, publish: Any, model: Any) -> None:
    settings = new_settings()
    registry = Registry(settings)
    registry.bind_base(model.name, model.digest, model.matrix_shapes, model.matrix_values)
    number = publish(registry)
    registry.activations.activate(number)
    truncate(delta_file(settings, number))

    client = serve(settings)
    _until_ready(client)
    assert client.get("/healthz").status_code == 200
    ready = readiness_of(client)
    assert "bytes" in ready.pop("reason")
    assert ready == {"status": "ready", "version": 0, "should_serve": number}
    base = answer_of(client, version="base")
    assert answer_of(client) == base and base[0] == 0

    assert client.post("/versions/0/activate").status_code == 200
    assert answer_of(client) == base
    assert readiness_of(client) == {"status": "ready", "version": 0}
    registry.close()


def test_the_last_version_that_can_be_served_serves_until_the_active_one_can(
    serve: Serve, new_settings: NewSettings, process_of: ProcessOf, publish: Publish, model: EditableModel
) -> None:
    settings = new_settings()
    client = serve(settings)
    _until_ready(client)
    registry = Registry(settings)
    good = publish(registry, size=30.0, seed=1)
    without_numbers, damaged, active = (publish_without_numbers(registry, model) for _ in range(3))
    whole = delta_file(settings, good).read_bytes()
    client.post(f"/versions/{good}/activate")
    served = answer_of(client)
    for number in (without_numbers, damaged, active):  # as by a program that did not try them
        registry.activations.activate(number)
    truncate(delta_file(settings, damaged))

    instead = {
        "status": "ready",
        "version": good,
        "should_serve": active,
        "reason": f"version {active} gives no finite numbers",
    }
    _until(lambda: readiness_of(client) == instead)  # it went on
    stop(process_of(client), 20)
    again = serve(settings.model_copy(update={"port": free_port()}))
    _until_ready(again)
    assert readiness_of(again) == instead  # it went back, past two that it cannot serve
    told = Supervisor(settings.model_copy(update={"port": again.base_url.port})).passed_over()
    assert told == f"version {good} serves in place of version {active}: {instead['reason']}"
    assert answer_of(again) == served
    log = (settings.home / "logs" / "service.log").read_text()
    assert f"version {active} cannot be served, {good} serves: version {active} gives no finite numbers" in log

    _until(lambda: registry.replicas.live()[0].given_up == active)

    folder, manifest = registry.artifacts.folder(active).path, registry.artifacts.manifest(good)
    (folder / "delta.safetensors").write_bytes(whole)  # and now it can be served
    (folder / "manifest.json").write_text(manifest.model_copy(update={"id": active}).model_dump_json())
    assert again.post(f"/versions/{active}/activate").json()["replicas"][0]["version"] == active
    assert readiness_of(again) == {"status": "ready", "version": active}
    assert answer_of(again) == (active, served[1])
    registry.close()


def test_a_journal_that_cannot_be_read_is_a_reason_not_to_be_ready_until_it_can(
    serve: Any, new_settings: Any, publish: Any
) -> None:
    settings = new_settings()
    client = serve(settings)
    _until_ready(client)
    registry = Registry(settings)
    number = publish(registry)
    client.post(f"/versions/{number}/activate")
    journal = settings.home / "activations.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(b"{\n" + content)
    _until(lambda: "journal" in client.get("/readyz").json().get("detail", ""))
    assert client.get("/readyz").status_code == 503
    assert answer_of(client)[0] == number  # what was served goes on

    journal.write_bytes(content)
    _until_ready(client)
    assert client.post("/versions/0/activate").status_code == 200
    registry.close()


def test_a_replica_counts_while_it_loads_a_version(serve: Any, new_settings: Any, publish: Any) -> None:
    settings = new_settings(replica_ttl_s=2)
    client = serve(settings)
    _until_ready(client)
    registry = Registry(settings)
    number = publish(registry)
    manifest = delta_file(settings, number).with_name("manifest.json")
    content = manifest.read_text()
    manifest.unlink()
    os.mkfifo(manifest)  # who opens it to read waits for what is written to it
    registry.activations.journal.append(number, by="test")
    deadline = time.monotonic() + 2 * settings.replica_ttl_s
    while time.monotonic() < deadline:
        assert [replica.version for replica in registry.replicas.live()] == [0]
        time.sleep(0.05)
    manifest.write_text(content)
    assert [replica.version for replica in registry.replicas.wait_for(number, 20)] == [number]
    registry.close()


def test_a_home_of_another_model_is_refused(new_settings: Any, refused: Refused) -> None:
    settings = new_settings()
    registry = Registry(settings)
    registry.bind_base("another model", "0" * 64, ((8, 16),), ())
    registry.close()
    assert "give it a home folder of its own" in refused(settings).splitlines()[-1]


def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it never was so")


def _until_ready(client: httpx.Client) -> None:
    _until(lambda: client.get("/readyz").status_code == 200)


def test_an_evaluation_is_known_by_its_key_after_its_version_is_gone(
    client: httpx.Client, registry: Registry, publish: Publish
) -> None:
    version = publish(registry, Fact("Michael Jordan", "plays the sport of", "baseball"))
    asked: dict[str, Any] = {"json": {"version": version}, "headers": {"Idempotency-Key": "of a version that goes"}}
    accepted = client.post("/evaluations", **asked)
    assert accepted.status_code == 202, accepted.text
    assert client.delete(f"/versions/{version}").is_success
    again = client.post("/evaluations", **asked)
    assert (again.status_code, again.json()["id"]) == (202, accepted.json()["id"])
    assert again.headers["Location"] == accepted.headers["Location"]
    client.post(f"{accepted.headers['Location']}/cancel")


@pytest.mark.parametrize("depth", [10, 199, 220, 300])
def test_a_record_that_could_not_be_read_again_is_refused(client: httpx.Client, depth: int) -> None:
    nested: Any = 0
    for _ in range(depth):
        nested = [nested]
    record = {
        "requested_rewrite": {
            "prompt": "{} plays the sport of",
            "subject": "Michael Jordan",
            "target_new": {"str": "baseball"},
            "target_true": {"str": "basketball"},
        },
        "nobody_reads_this": nested,
    }
    answer = client.post("/evaluations", json={"version": 0, "records": [record]})
    if depth == 10:
        assert answer.status_code == 202
        client.post(f"{answer.headers['Location']}/cancel")
    else:
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/records/0"
        assert "nested too deeply" in answer.json()["errors"][0]["detail"]


def test_figures_that_are_no_finite_numbers_are_shown_as_null(
    client: httpx.Client, registry: Registry, version: int
) -> None:
    shown = {"version": version, "records": 1, "own_facts": False, "seed": 0}
    evaluation = registry.evaluations.create(EvaluationRequest(), shown)
    measured = Evaluated(results=(), estimates={"fluency": mean_over([math.nan])}, drift=math.nan, prose=None)
    result = EvaluationResult.model_validate(measured.as_dict())
    registry.evaluations.update(evaluation.id, status=JobStatus.SUCCEEDED, result=result)
    listed = client.get(f"/evaluations?version={version}").json()["data"][0]
    assert listed["result"]["drift"] is None and listed["result"]["estimates"]["fluency"]["mean"] is None
    for path in ("/versions", f"/versions/{version}", f"/evaluations/{evaluation.id}"):
        assert client.get(path).status_code == 200
    assert client.get(f"/versions/{version}").json()["evaluation"]["drift"] is None
    typed = Version.model_validate_json(client.get(f"/versions/{version}").text)
    assert typed.evaluation is not None and typed.evaluation.drift is None
