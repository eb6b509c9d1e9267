"""A home folder that goes to a bucket with all that it has: users, jobs and history find everything on any machine."""

import os
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from errata_client.records import JobStatus, Probe
from errata_registry.bucket.home_copy import HomeCopy
from errata_registry.bucket.log import Entry, Log
from errata_registry.bucket.objects import Bucket
from errata_registry.bucket.to_bucket import to_bucket
from errata_registry.jobs.requests import EditRequest, TraceRequest
from errata_registry.registry import Registry
from errata_registry.verification import verify
from errata_registry.versions.folder import DELTA

from benchmarks.faults.bucket import BucketServer
from errata.errors import Conflict
from errata.files.disk import Refused
from tests.registry.conftest import BASE_DIGEST, NewMachine, publish_version
from tests.registry.test_measurements import RESULT, create as create_evaluation
from tests.registry.test_shards import orders as shard_orders

CACHES = ("bucket", "targets", "second_moments", "tmp")


@pytest.fixture
def filled(registry: Registry, request_body: EditRequest) -> Registry:
    """A home of its own at which nobody is at work: jobs of each kind that have ended and that wait, versions, names,
    activations, probes, orders of target shards, and caches."""
    ended = registry.edits.create_edit(request_body, idempotency_key="key")
    version = publish_version(registry, edit=ended.id)
    dropped = publish_version(registry)
    (registry.edits.folder.of(ended.id) / "facts.jsonl").write_text('{"id": "left beside"}\n' * 3000)
    registry.activations.activate(version.id, by=ended.id)
    registry.edits.update(ended.id, status=JobStatus.SUCCEEDED, version=version.id)
    waiting = registry.edits.create_edit(request_body)
    registry.edits.shards.write(shard_orders(waiting.id))
    measured, _ = create_evaluation(registry, version.id), create_evaluation(registry)
    registry.evaluations.update(measured.id, status=JobStatus.SUCCEEDED, result=RESULT)
    (registry.evaluations.folder.of(measured.id) / "cases.jsonl").write_text('{"case": 1}\n')
    traced = TraceRequest(prompt="{} was born in", subject="Ada")
    registry.traces.create(traced, {"noise_level": 3.0, "num_samples": 10})
    registry.artifacts.drop(dropped.id)
    registry.versions.name("best", version.id)
    registry.probes.replace([Probe(prompt="Two and two is", answer="four")])
    registry.contexts.keep(BASE_DIGEST, 0, ("The",))
    for cache in ("targets/found.safetensors", "second_moments/of a model/layer_3.safetensors"):
        (registry.settings.home / cache).parent.mkdir(parents=True)
        (registry.settings.home / cache).write_bytes(b"a cache that is damaged")
    registry.close()
    return registry


def contents(home: Path) -> Mapping[str, bytes]:
    """What counts in a home folder."""
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.relative_to(home).parts[0] not in CACHES and path.suffix != ".lock"
    }


def test_all_that_counts_is_on_every_machine(
    filled: Registry, new_machine: NewMachine, tmp_path: Path, request_body: EditRequest
) -> None:
    home, url = filled.settings.home, f"s3://errata/{tmp_path.name}"
    before = contents(home)
    with pytest.raises(ValueError, match="`errata to-bucket` takes it there"):
        Registry(filled.settings.model_copy(update={"bucket": url}))
    taken = to_bucket(home, url)
    assert contents(home) == (before := {name: held for name, held in before.items() if "/shards/" not in name})
    assert taken.updates == 1 and taken.files == len(before) - 1

    other = new_machine()
    ended, waiting = other.edits.folder.ids()
    assert other.edits.record(ended).status is JobStatus.SUCCEEDED
    assert other.edits.folder.unfinished() == [waiting] and other.edits.shards.pending(waiting) == []
    assert other.edits.create_edit(request_body, idempotency_key="key").id == ended
    assert [len(store.folder.unfinished()) for store in (other.evaluations, other.traces)] == [1, 1]
    assert [probe.answer for probe in other.probes.all()] == ["four"]
    assert not (other.artifacts.folder(1).path / DELTA).exists()
    assert verify(other.settings.home, other.commits).faults == ()  # which fetches the updates
    assert contents(other.settings.home) == before

    # The folder that it came from is a copy like any other, and nothing but that any more.
    other.activations.rollback()
    with closing(Registry(filled.settings.model_copy(update={"bucket": url}))) as at_home:
        assert at_home.activations.active() == 0 and at_home.aliases.all() == {"best": 1}
    with pytest.raises(ValueError, match=r"is a copy of the bucket s3://errata/.*: set ERRATA_BUCKET"):
        Registry(filled.settings)
    with pytest.raises(ValueError, match=r"is a copy of s3://errata/.* already"):
        to_bucket(home, url)


def test_a_home_at_which_somebody_is_at_work_stays(
    filled: Registry, new_machine: NewMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody begins to work there while it is on its way. `new_machine` brings the environment of the bucket."""
    home, url = filled.settings.home, f"s3://errata/{tmp_path.name}"
    before = contents(home)
    with closing(Registry(filled.settings)), pytest.raises(Conflict, match=r"processes of .* run"):
        to_bucket(home, url)
    assert contents(home) == before

    put = Log.put

    def put_beside_a_start(log: Log, number: int, entry: Entry) -> bool:
        with pytest.raises(Conflict, match="is on its way to a bucket"):
            Registry(filled.settings)
        return put(log, number, entry)

    monkeypatch.setattr(Log, "put", put_beside_a_start)
    assert to_bucket(home, url).updates == 1


@pytest.mark.parametrize("cut_off", ["as its answer was lost", "before the folder knew of it"])
def test_what_was_cut_off_is_ended_by_doing_it_again(
    filled: Registry,
    new_machine: NewMachine,
    bucket: BucketServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cut_off: str,
) -> None:
    home, url = filled.settings.home, f"s3://errata/{tmp_path.name}"
    put = Log.put

    def lost(log: Log, number: int, entry: Entry) -> bool:
        bucket.network.loses_answers = True
        return put(log, number, entry)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as fault:
        if cut_off == "as its answer was lost":
            fault.setattr(Log, "put", lost)
            with pytest.raises(Refused, match="whether this was done is not known until it answers; run this again"):
                to_bucket(home, url)
        else:
            fault.setattr(HomeCopy, "move_to", killed)
            with pytest.raises(KeyboardInterrupt):
                to_bucket(home, url)
    bucket.network.heal()

    # What may be in the bucket is no home of its own any more, nor one for another bucket.
    for settings in (filled.settings, filled.settings.model_copy(update={"bucket": url})):
        with pytest.raises(ValueError, match="is on its way to the bucket"):
            Registry(settings)
    with pytest.raises(ValueError, match="go on with that first"):
        to_bucket(home, f"{url}/another")
    for key in (home / "idempotency").iterdir():  # and time goes on
        os.utime(key, (time.time() - 2 * 86_400,) * 2)
    assert to_bucket(home, url).updates == 1
    other = new_machine()
    assert other.artifacts.numbers() == [1, 2] and other.edits.folder.ids() == filled.edits.folder.ids()
    assert verify(other.settings.home, other.commits).faults == ()


def test_what_an_attempt_has_uploaded_the_next_one_finds(
    filled: Registry, new_machine: NewMachine, bucket: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`new_machine` brings the environment of the bucket."""
    home, url = filled.settings.home, f"s3://errata/{tmp_path.name}"
    upload = Bucket.upload

    def uploads_no_archive(self: Bucket, name: str, content: bytes | Path) -> None:
        upload(self, name, content)
        bucket.network.is_busy = True

    with monkeypatch.context() as fault:
        fault.setattr(Bucket, "upload", uploads_no_archive)
        with pytest.raises(Refused, match="does not do its part"):
            to_bucket(home, url)
    bucket.network.heal()
    Registry(filled.settings).close()  # the bucket cannot have it yet
    to_bucket(home, url)
    files = bucket.folder / tmp_path.name / "files"
    assert sorted(path.relative_to(files).parts[0] for path in files.rglob("*") if path.is_file()) == [
        "home",
        "versions",
    ]


def test_no_home_is_put_over_another_one(filled: Registry, new_machine: NewMachine, tmp_path: Path) -> None:
    publish_version(new_machine())
    home, url = filled.settings.home, f"s3://errata/{tmp_path.name}"
    with pytest.raises(ValueError, match="holds a home already"):
        to_bucket(home, url)
    Registry(filled.settings).close()
    assert filled.artifacts.numbers() == [1, 2] and len(list((home / "edits").glob("*/shards/*"))) == 3
    (home / "versions" / "000001" / "facts.jsonl").write_text("torn")
    with pytest.raises(ValueError, match="is not whole"):
        to_bucket(home, f"{url}/another")
