"""A home folder with every kind of file that one holds, and what becomes of a flipped bit and of a lost end."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from errata_client.records import FactOutcome, JobStatus, Probe
from errata_registry.home import BoundBase, bind
from errata_registry.jobs.folder import JobFolder
from errata_registry.jobs.idempotency import IdempotencyKeys
from errata_registry.jobs.kinds import EDIT, EVALUATION, TRACE, JobKind
from errata_registry.jobs.requests import EditRequest, EvaluationRequest, TraceRequest
from errata_registry.jobs.shards import ShardOrder, ShardOrders
from errata_registry.serving.aliases import Aliases
from errata_registry.serving.journal import Journal
from errata_registry.serving.probes import Probes
from errata_registry.stored import now
from errata_registry.verification import verify
from errata_registry.versions.contexts import ContextFiles
from errata_registry.versions.facts import Origin, stored_fact
from errata_registry.versions.manifest import BaseModelName
from errata_registry.versions.store import Artifacts
from safetensors import safe_open
from safetensors.torch import save_file

from errata.deltas import Delta
from errata.errors import CorruptArtifact, StatisticsError
from errata.facts import Fact
from errata.files import durable
from errata.files.checksums import checked
from errata.hyperparameters import MemitHyperparameters
from errata.methods.mend.network import FILE_NAME, MendNetwork
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.collection import Collection
from errata.second_moments.home import home_moments, moments_folder
from errata.second_moments.own_text import own_texts
from errata.targets.contexts import sample_contexts
from errata.targets.store import BuildStore
from tests.made_up_versions import make_up_version

WANTED = MemitHyperparameters(layers=(1, 2), moment_weight=30, num_samples=1_000)
ADA = Fact("Ada Lovelace", "was born in", "Paris")
TARGET = "ab" * 32

Read = Callable[[Path, EditableModel, list[str]], Any]
"""Reads what a kind of file holds, with a list for what is said of damage."""


def moments_of(home: Path, model: EditableModel, said: list[str]) -> SecondMoments:
    return home_moments(home, model, WANTED, corpus=None, published=None, tell=said.append)


def collected(home: Path, model: EditableModel, said: list[str]) -> list[Any]:
    folder = moments_folder(home, model)
    run = Collection(model, WANTED.layers, folder, said.append).run(own_texts(model), 1_000, lambda *_: None)
    return [part for origin, moment in run for part in (origin, moment)]


def contexts_of(home: Path, model: EditableModel, said: list[str]) -> tuple[str, ...]:
    kept = ContextFiles(home / "contexts")
    found = kept.load(model.digest, 0, said.append)
    return found or kept.keep(model.digest, 0, sample_contexts(model, 0))


def target_of(home: Path, model: EditableModel, said: list[str]) -> torch.Tensor:
    store = BuildStore(home / "targets", said.append)
    found = store.load(TARGET)
    return torch.arange(64.0) if found is None else found


def file_of(kind: JobKind[Any, Any], name: str) -> Read:
    return lambda home, *_: (jobs := JobFolder(kind, home)).file(jobs.ids()[0], name).read_bytes()


def of_first_job(read: Callable[[JobFolder[Any, Any], str], object]) -> Read:
    return lambda home, *_: read(jobs := JobFolder(EDIT, home), jobs.ids()[0])


def of_version(read: Callable[[Any], object]) -> Read:
    return lambda home, *_: read(Artifacts(home).folder(1))


CANNOT_BE_MADE_AGAIN: dict[str, Read] = {
    "base.json": lambda home, *_: BoundBase.of(home),
    "aliases.json": lambda home, *_: Aliases(home).all(),
    "probes.json": lambda home, *_: Probes(home).all(),
    "activations.jsonl": lambda home, *_: Journal(home).entries(),
    "edits/*/request.json": of_first_job(JobFolder.accepted),
    "edits/*/outcome.json": of_first_job(JobFolder.outcome),
    "edits/*/facts.jsonl": file_of(EDIT, "facts.jsonl"),
    "edits/*/shards/0.json": lambda home, *_: ShardOrders(home / "edits").order(JobFolder(EDIT, home).ids()[1], 0),
    "evaluations/*/request.json": lambda home, *_: (jobs := JobFolder(EVALUATION, home)).accepted(jobs.ids()[0]),
    "evaluations/*/outcome.json": lambda home, *_: (jobs := JobFolder(EVALUATION, home)).outcome(jobs.ids()[0]),
    "evaluations/*/cases.jsonl": file_of(EVALUATION, "cases.jsonl"),
    "traces/*/request.json": lambda home, *_: (jobs := JobFolder(TRACE, home)).accepted(jobs.ids()[0]),
    "traces/*/outcome.json": lambda home, *_: (jobs := JobFolder(TRACE, home)).outcome(jobs.ids()[0]),
    "traces/*/trace.json": file_of(TRACE, "trace.json"),
    "traces/*/restored.svg": file_of(TRACE, "restored.svg"),
    "versions/000001/manifest.json": of_version(lambda folder: folder.manifest),
    "versions/000001/facts.jsonl": of_version(lambda folder: (folder.facts(), folder.fact(ADA.id))),
    "versions/000001/changes.jsonl": of_version(lambda folder: folder.change(ADA.id)),
    "versions/000001/delta.safetensors": lambda home, *_: Artifacts(home).delta_file(1, "b" * 64).read_bytes(),
    f"second_moments/*/{FILE_NAME}": lambda home, model, _: (
        MendNetwork.read(moments_folder(home, model) / FILE_NAME, model.digest).log_alpha
    ),
}
MADE_AGAIN: dict[str, Read] = {
    "contexts/*/0.json": contexts_of,
    "second_moments/*/layer_1.safetensors": lambda *given: moments_of(*given).moment(1),
    "second_moments/*/layer_1.cholesky.safetensors": lambda *given: moments_of(*given).factor(1),
    "second_moments/*/layer_1.eigenvectors.safetensors": lambda *given: moments_of(*given).eigenvectors(1),
    "second_moments/*/collecting-1-2.safetensors": collected,
    "targets/*/*.safetensors": target_of,
}
HARMLESS: dict[str, Read] = {  # that the file is there is all that is asked of it, or it is only compared with
    "activations.checksum.json": lambda home, *_: Journal(home).entries(),
    "versions/000002/dropped.json": lambda home, *_: Artifacts(home).folder(2).is_dropped,
    "versions/000003/deleted.json": lambda home, *_: Artifacts(home).folder(3).is_deleted,
    "idempotency/*.json": lambda home, *_: len(list((home / "idempotency").iterdir())),
}
KINDS = {**CANNOT_BE_MADE_AGAIN, **MADE_AGAIN, **HARMLESS}


@pytest.fixture(scope="module")
def llama(of_each_architecture: dict[str, EditableModel]) -> EditableModel:
    """A small random Llama, for which no corpus is shipped."""
    return of_each_architecture["llama"]


@pytest.fixture(scope="module")
def whole_home(llama: EditableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder in which all of this lies."""
    home = tmp_path_factory.mktemp("whole") / "home"
    home.mkdir()
    bind(home, "base", "b" * 64, ((64, 256),) * 4, ())
    lay_out_versions(home)
    lay_out_jobs(home)
    Aliases(home).put("best", 1)
    Probes(home).replace([Probe(prompt="The capital of France is", answer="Paris")])
    said: list[str] = []
    moments = moments_of(home, llama, said)
    moments.eigenvectors(1)
    assert moments.factor(1) is not None
    collected(home, llama, said)
    contexts_of(home, llama, said)
    BuildStore(home / "targets").save(TARGET, torch.arange(64.0))
    MendNetwork(WANTED.layers, 128, 32, rank=4).store(moments_folder(home, llama) / FILE_NAME, llama.digest, {})
    assert not said
    return home


def lay_out_versions(home: Path) -> None:
    artifacts, base = Artifacts(home), BaseModelName(name="base", digest="b" * 64, dtype="float32")
    update = {1: Delta.of_factors(torch.ones(64, 1).double(), torch.ones(1, 256).double())}
    facts = [stored_fact(ADA, Origin("edit_1", None, now()))]
    for _ in range(3):
        make_up_version(artifacts, base, update, facts)
    artifacts.drop(2)
    artifacts.delete(3)
    for number in (1, 2, 1):
        Journal(home).append(number, by="api")


def lay_out_jobs(home: Path) -> None:
    edit, ended = accept(home, EDIT, EditRequest(facts=(ADA,)), idempotency_key="key")
    outcome: dict[str, Any] = {"took": True, "known": False, "likelier": True}
    outcome |= {"probability_before": 0.1, "probability_after": 0.9}
    took = FactOutcome(id=ADA.id, subject=ADA.subject, relation=ADA.relation, object=ADA.object, **outcome)
    durable.write(edit / "facts.jsonl", took.model_dump_json() + "\n")
    ended({"facts": 1, "version": 1})
    evaluation, ended = accept(home, EVALUATION, EvaluationRequest(version=1))
    durable.write(evaluation / "cases.jsonl", '{"case": 1}\n{"case": 2}\n')
    ended({"version": 1, "records": 1})
    trace, ended = accept(home, TRACE, TraceRequest(prompt="Sony is based in", subject="Sony"))
    durable.write(trace / "trace.json", json.dumps({"kind": "prompt", "tokens": ["Sony"] * 9}))
    durable.write(trace / "restored.svg", "<svg>" + "<g/>" * 99 + "</svg>")
    ended({"noise_level": 3.0, "num_samples": 10})
    accept(home, EDIT, EditRequest(facts=(ADA,)))  # it is still under way, in shards
    order = ShardOrder(
        edit=JobFolder(EDIT, home).ids()[1],
        shard=0,
        facts=(ADA,),
        contexts=(),
        hparams=WANTED.as_dict(),
        sizes=(1,),
        total=1,
        cut_at=now(),
    )
    ShardOrders(home / "edits").write([order])


def accept(
    home: Path, kind: JobKind[Any, Any], request: Any, idempotency_key: str | None = None
) -> tuple[Path, Callable[[dict[str, Any]], object]]:
    """Accept a job; return its folder, and what ends it as succeeded."""
    jobs = JobFolder(kind, home)
    shown = dict(kind.blank)
    sent: dict[str, Any] = {"created_at": now(), "idempotency_key": idempotency_key, "body_sha256": "c" * 64}
    accepted = jobs.form(id=kind.new_id(), shown=shown, request=request, **sent)
    if idempotency_key:
        IdempotencyKeys(jobs, home).accept(accepted)
    else:
        jobs.accept(accepted)

    def end(shown: dict[str, Any]) -> object:
        changes = {"status": JobStatus.SUCCEEDED, "finished_at": now(), **shown}
        return jobs.finish(jobs.first_record(accepted).model_copy(update=changes))

    return jobs.of(accepted.id), end


@pytest.fixture
def home(whole_home: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(whole_home, tmp_path / "home"))


def test_all_that_a_home_holds_has_a_checksum_and_is_here(whole_home: Path) -> None:
    verified = verify(whole_home)
    assert verified.faults == () and "checksum" not in str(verified)
    left = {path for path in whole_home.rglob("*") if path.is_file()}
    left -= {path for pattern in KINDS for path in whole_home.glob(pattern)}
    alike = ("versions/00000[23]/*", "second_moments/*/layer_2.*")
    others = {path.name for path in left if not any(map(path.match, alike))}
    assert others == {"activations.lock", "lock"}  # which hold nothing


def flip_a_bit_in_the_middle(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def cut_off(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


@pytest.mark.parametrize("damage", [flip_a_bit_in_the_middle, cut_off])
@pytest.mark.parametrize("pattern", KINDS)
def test_damage_is_named_and_mended_or_refused(
    home: Path, whole_home: Path, llama: EditableModel, pattern: str, damage: Callable[[bytes], bytes]
) -> None:
    expected = KINDS[pattern](shutil.copytree(whole_home, home.with_name("whole")), llama, [])
    path = sorted(home.glob(pattern))[0]
    durable_replace(path, damage(path.read_bytes()))

    try:
        verified = verify(home)
        faults = verified.damaged_targets if "targets" in pattern else verified.faults
        assert set(faults) < set(verified.lines)
    except CorruptArtifact as error:  # of `base.json`, without which nothing can be looked at
        faults = (str(error),)
    assert any(path.name in fault for fault in faults), faults

    said: list[str] = []
    if pattern in CANNOT_BE_MADE_AGAIN:
        called = "the order of shard 0" if "shards" in pattern else path.name
        with pytest.raises((CorruptArtifact, StatisticsError), match=called) as refused:
            KINDS[pattern](home, llama, said)
        assert "copy" in str(refused.value) or "train the network anew" in str(refused.value)
        return
    assert equal(KINDS[pattern](home, llama, said), expected)
    if pattern in MADE_AGAIN:
        assert any(path.name in line and "damaged" in line for line in said), said
        assert equal(KINDS[pattern](home, llama, said), expected)


def test_a_home_of_before_is_read_as_it_is_and_gets_checksums_as_it_is_written(
    home: Path, whole_home: Path, llama: EditableModel
) -> None:
    expected = {pattern: read(whole_home, llama, []) for pattern, read in KINDS.items() if "second" not in pattern}
    (home / "activations.checksum.json").unlink()
    for path in home.rglob("*.json"):
        if path.name != "trace.json":
            content = json.loads(checked(path.read_bytes()))
            if path.name == "outcome.json":
                del content["files"]
            path.write_text(json.dumps(content))
    moment = next(home.glob("second_moments/*/layer_1.safetensors"))
    factor = moment.with_name("layer_1.cholesky.safetensors")
    digest = hashlib.sha256(stored_in(moment)[0]["second_moment"].numpy().tobytes()).hexdigest()
    about = {**stored_in(moment)[1], "sha256": digest}
    save_file(stored_in(moment)[0], moment, about)
    identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    save_file(stored_in(factor)[0], factor, {"moment": identity})

    assert verify(home).faults == ()
    assert all(equal(KINDS[pattern](home, llama, []), before) for pattern, before in expected.items())
    said: list[str] = []
    made = factor.stat().st_mtime_ns
    moments = moments_of(home, llama, said)
    assert not said and moments.factor(1) is not None and factor.stat().st_mtime_ns == made

    without = num_without_checksum(home)
    Aliases(home).put("best", 1)
    Probes(home).replace(Probes(home).all())
    Journal(home).append(1, by="api")
    assert num_without_checksum(home) == without - 3


def stored_in(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file, and what its header says of them beside the checksum."""
    with safe_open(path, framework="pt") as stored:
        about = {name: value for name, value in stored.metadata().items() if name != "checksum"}
        return {name: stored.get_tensor(name).clone() for name in stored.keys()}, about  # noqa: SIM118


def num_without_checksum(home: Path) -> int:
    said = re.search(r"\((\d+) files have no checksum", str(verify(home)))
    assert said is not None
    return int(said[1])


def durable_replace(path: Path, content: bytes) -> None:
    """Not in place: a process that has a file mapped which is cut short dies of it."""
    scratch = durable.scratch_beside(path)
    scratch.write_bytes(content)
    scratch.replace(path)


def equal(found: Any, expected: Any) -> bool:
    """Compare to the last bit."""
    if isinstance(expected, torch.Tensor):
        return torch.equal(found, expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(equal, found, expected))
    return bool(found == expected)
