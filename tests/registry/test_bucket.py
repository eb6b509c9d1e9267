"""Machines without a shared file system: each has a home folder of its own, and a bucket decides what counts.

The bucket is that of a real server, which is asked over HTTP through a network that fails.
"""

import errno
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from errata_client.records import JobStatus
from errata_registry import home as home_folder
from errata_registry.bucket import objects, patience
from errata_registry.bucket.log import Entry, Log
from errata_registry.bucket.objects import Bucket, NoConditionalPuts
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry
from errata_registry.verification import verify
from errata_registry.versions.folder import DELTA
from errata_worker.resident_model import ResidentModel

from benchmarks.faults.bucket import BucketServer
from errata.errors import NewerHome
from errata.files.checksums import with_checksum
from errata.files.disk import Refused
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from tests.conftest import NewHome
from tests.full_disk import full_disk
from tests.registry.conftest import BASE_DIGEST, MATRICES, NewMachine, failing, kept_by, log_of, publish_version


def test_what_one_machine_commits_is_there_on_the_others(new_machine: NewMachine, request_body: EditRequest) -> None:
    """An edit that one machine accepts is carried out on another one, activated, and rolled back on the first."""
    service, worker = new_machine(), new_machine()
    edit = service.edits.create_edit(request_body, idempotency_key="key")
    recover(worker)
    asked = worker.edits.folder.accepted(edit.id).request
    assert isinstance(asked, EditRequest) and asked.facts == request_body.facts
    # The same key on another machine stands for the same edit.
    assert worker.edits.create_edit(request_body, idempotency_key="key").id == edit.id

    version = publish_version(worker, edit=edit.id)
    (worker.edits.folder.of(edit.id) / "facts.jsonl").write_text('{"id": "left beside"}\n' * 3000)
    worker.activations.activate(version.id, by=edit.id)
    worker.edits.update(edit.id, status=JobStatus.SUCCEEDED, version=version.id)
    assert service.edits.record(edit.id).status is JobStatus.SUCCEEDED  # it looks again where Redis knows nothing
    assert service.activations.active() == version.id
    assert service.edits.folder.file(edit.id, "facts.jsonl").read_text().count("left") == 3000
    assert service.versions.get(version.id).bytes == version.files[DELTA].bytes + sum(
        version.files[name].bytes for name in ("facts.jsonl", "changes.jsonl")
    )

    assert service.activations.rollback().active == 0
    service.versions.name("best", version.id)
    worker.commits.catch_up()
    assert worker.activations.active() == 0 and worker.aliases.all() == {"best": version.id}


def test_weights_are_fetched_when_they_are_needed(new_machine: NewMachine, bucket: BucketServer) -> None:
    maker = new_machine()
    first, second = publish_version(maker), publish_version(maker)
    late = new_machine()
    assert late.artifacts.numbers() == [1, 2]
    delta = late.artifacts.folder(first.id).path / DELTA
    assert not delta.exists() and late.artifacts.delta_bytes(first.id) == first.files[DELTA].bytes
    assert late.artifacts.delta_file(first.id, BASE_DIGEST).read_bytes() == (
        maker.artifacts.delta_file(first.id, BASE_DIGEST).read_bytes()
    )
    assert verify(late.settings.home, late.commits).faults == ()

    # What one machine drops is gone on all of them, and in the bucket.
    stored = kept_by(bucket, late) / "files"
    assert len(list(stored.rglob(f"{DELTA}/*"))) == 2
    late.artifacts.drop(second.id)
    maker.commits.catch_up()
    assert maker.artifacts.folder(second.id).is_dropped and maker.artifacts.delta_bytes(second.id) == 0
    assert len(list(stored.rglob(f"{DELTA}/*"))) == 1
    assert verify(maker.settings.home, maker.commits).faults == ()


def test_what_is_made_once_is_shared(new_machine: NewMachine, bucket: BucketServer) -> None:
    """The first that is shared is fetched by who has none; whoever has made one meanwhile keeps it."""
    first, second, third = new_machine(), new_machine(), new_machine()
    made = [
        machine.settings.home / "second_moments" / "of a model" / "layer_3.safetensors"
        for machine in (first, second, third)
    ]
    for path, content in zip(made[:2], (b"first", b"second"), strict=True):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    first.commits.share(made[0])
    second.commits.share(made[1])
    first.commits.share(made[0])
    assert len(list((kept_by(bucket, first) / "files").rglob("layer_3.safetensors/*"))) == 1
    third.commits.catch_up()
    third.commits.fetch(made[2])
    assert [path.read_bytes() for path in made] == [b"first", b"second", b"first"]


def test_what_changes_while_it_is_shared_is_not(new_machine: NewMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its object would be one thing and its checksum another, for all machines and for good."""
    machine, other = new_machine(), new_machine()
    made = machine.settings.home / "second_moments" / "layer_3.safetensors"
    made.parent.mkdir()
    made.write_bytes(b"before")
    upload = Bucket.upload

    def upload_and_replace(bucket: Bucket, name: str, content: bytes | Path) -> None:
        upload(bucket, name, content)
        made.write_bytes(b"afterwards")

    with monkeypatch.context() as meanwhile, pytest.raises(Refused, match="changed while it was shared"):
        meanwhile.setattr(Bucket, "upload", upload_and_replace)
        machine.commits.share(made)
    machine.commits.share(made)
    other.commits.catch_up()
    fetched = other.settings.home / "second_moments" / "layer_3.safetensors"
    other.commits.fetch(fetched)
    assert fetched.read_bytes() == b"afterwards"


def test_a_damaged_second_moment_gives_way_to_the_shared_one(
    new_machine: NewMachine, new_home: NewHome, demo: EditableModel
) -> None:
    wanted = MemitHyperparameters.for_model("demo")
    assert wanted is not None
    contents = []
    for damage in (False, True):
        machine, collected = new_machine(), new_home() / "second_moments"
        shutil.copytree(collected, machine.settings.home / "second_moments", dirs_exist_ok=True)
        [layer] = (machine.settings.home / "second_moments").glob("*/layer_0.safetensors")
        if damage:
            layer.write_bytes(layer.read_bytes()[:-1])
        contents.append(layer)
        resident = ResidentModel(machine.settings, demo, {}, machine.commits)
        resident.second_moments(wanted)
        assert [str(layer) in said for said in resident.damage] == [True] * damage
    assert contents[0].read_bytes() == contents[1].read_bytes()


def test_a_large_object_takes_as_many_requests_as_it_needs(
    new_machine: NewMachine, bucket: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = new_machine()
    monkeypatch.setattr(objects, "PART", 100_000)
    assert machine.settings.bucket is not None
    of_files, content = Bucket(machine.settings.bucket), os.urandom(2_000_000)
    of_files.upload("files/large", content)
    bucket.network.longest_answers = 200_000  # after which the client goes on, but not for ever
    assert of_files.download("files/large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == content
    assert not of_files.download("files/none", tmp_path / "none")


def test_what_no_commit_names_goes_from_the_bucket(new_machine: NewMachine, bucket: BucketServer) -> None:
    """A removal that was not answered leaves an object, which is swept away after a week.

    What that is, the log says and the store's clock: a machine may have lost notes of its own, and its clock be wrong.
    """
    maker, other = new_machine(), new_machine()
    dropped, kept = publish_version(maker), publish_version(maker)
    with failing(bucket, replaces=(b"DELETE /", b"DELATE /")):
        maker.artifacts.drop(dropped.id)
    updates = kept_by(bucket, maker) / "files" / "versions"
    assert len(list(updates.rglob(f"{DELTA}/*"))) == 2
    other.commits.remove_unnamed()
    assert len(list(updates.rglob(f"{DELTA}/*"))) == 2  # somebody might be about to commit it
    long_ago = time.time() - 8 * 86_400
    assert maker.settings.bucket is not None
    Bucket(maker.settings.bucket).upload("files/home/of-an-attempt-that-was-given-up", b"")
    for path in updates.parent.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    other.commits.remove_unnamed()
    assert len(list(updates.rglob(f"{DELTA}/*"))) == 2  # by the store's clock it may still be that day
    newest = publish_version(maker)
    other.commits.catch_up()
    notes = other.settings.home / "bucket" / "objects"
    notes.rename(lost := notes.with_name("lost"))
    other.commits.remove_unnamed()
    lost.rename(notes)
    assert {path.parent.parent.name for path in updates.rglob(f"{DELTA}/*")} == {
        f"{version.id:06d}" for version in (kept, newest)
    }
    assert list((updates.parent / "home").rglob("*")) == []
    assert verify(other.settings.home, other.commits).faults == ()


def test_machines_that_publish_at_once_get_numbers_of_their_own(new_machine: NewMachine) -> None:
    machines = [new_machine(), new_machine(), new_machine()]
    together = threading.Barrier(len(machines))

    def publish(machine: Registry) -> list[int]:
        together.wait()
        return [publish_version(machine, edit=f"edit_{machine.settings.home.name}").id for _ in range(4)]

    with ThreadPoolExecutor() as threads:
        published = list(threads.map(publish, machines))
    assert sorted(number for numbers in published for number in numbers) == list(range(1, 13))
    for machine, numbers in zip(machines, published, strict=True):
        machine.commits.catch_up()
        assert machine.artifacts.numbers() == list(range(1, 13))
        made_by = {number: machine.artifacts.manifest(number).edit for number in machine.artifacts.numbers()}
        assert [number for number, edit in made_by.items() if edit == f"edit_{machine.settings.home.name}"] == numbers


def test_who_decides_on_what_does_not_hold_any_more_is_refused(new_machine: NewMachine) -> None:
    """Two services activate at the same moment: one of them is told to try again, and nobody's line is lost."""
    one, other = new_machine(), new_machine()
    first, second = publish_version(one).id, publish_version(one).id
    other.commits.catch_up()
    with one.activations.deciding() as active:
        assert active == 0
        other.activations.activate(second)
        with pytest.raises(Refused, match="another machine decided"):
            one.activations.activate(first)
    assert one.activations.activate(first).previous == second
    other.commits.catch_up()
    for machine in (one, other):
        assert [entry.active for entry in machine.activations.journal.entries()] == [second, first]

    def activate(machine: Registry) -> int:
        done = 0
        while done < 5:
            try:
                machine.activations.activate(first if done % 2 else second)
                done += 1
            except Refused:
                pass
        return done

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(activate, (one, other))) == [5, 5]
    journals = set()
    for machine in (one, other):
        machine.commits.catch_up()
        entries = machine.activations.journal.entries()
        journals.add(tuple(entries))
        assert all(entry.previous == before.active for before, entry in pairwise(entries))
    assert len(journals) == 1


@pytest.mark.parametrize("fault", ["loses_answers", "is_busy"])
def test_a_bucket_that_fails_leaves_a_known_state(
    new_machine: NewMachine, bucket: BucketServer, request_body: EditRequest, fault: str
) -> None:
    """What was answered by nothing is refused; whether it was done all see alike, and asking again does it once."""
    machine, other = new_machine(), new_machine()
    version = publish_version(machine).id
    begun = len(log_of(bucket, machine))
    with failing(bucket, **{fault: True}):
        with pytest.raises(Refused, match="does not do its part"):
            machine.edits.create_edit(request_body, idempotency_key="key")
        with pytest.raises(Refused):
            machine.activations.activate(version)
    edit = machine.edits.create_edit(request_body, idempotency_key="key")
    assert machine.activations.activate(version).previous == 0
    for one in (machine, other):
        one.commits.catch_up()
        assert one.edits.folder.ids() == [edit.id]
        assert [entry.active for entry in one.activations.journal.entries()] == [version]
    # Each was committed once: the key, the request under its own name, the line of the journal and its checksum.
    assert len(log_of(bucket, machine)) == begun + 4


def test_an_answer_that_was_lost_is_found_in_the_bucket(
    new_machine: NewMachine, bucket: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network fails for a moment: what was committed meanwhile is known as one's own, and nobody notices."""
    monkeypatch.setattr(patience, "PATIENCE_S", 20.0)
    machine, other = new_machine(), new_machine()
    begun = len(log_of(bucket, machine))
    for number in (1, 2, 3):
        with failing(bucket, loses_answers=True):
            healed = threading.Timer(0.1, bucket.network.heal)
            healed.start()
            assert publish_version(machine).id == number
            healed.join()
    assert len(log_of(bucket, machine)) == begun + 3
    other.commits.catch_up()
    assert other.artifacts.numbers() == [1, 2, 3]
    assert verify(other.settings.home, other.commits).faults == ()


def test_a_request_that_comes_late_may_have_been_ones_own(
    new_machine: NewMachine, bucket: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put that got no answer arrives before it is tried again, and then the bucket is away: nobody knows."""
    machine, other = new_machine(), new_machine()
    put, on_its_way = Log.put, list[tuple[int, Entry]]()

    def late(log: Log, number: int, entry: Entry) -> bool:
        if not on_its_way:
            on_its_way.append((number, entry))
            raise Refused(errno.EIO, "no answer")
        assert put(log, *on_its_way[0])
        is_new = put(log, number, entry)
        bucket.network.is_busy = True
        return is_new

    monkeypatch.setattr(Log, "put", late)
    with pytest.raises(Refused, match="whether this was done is not known"):
        publish_version(machine)
    bucket.network.heal()
    other.commits.catch_up()
    assert other.artifacts.numbers() == [1]
    assert verify(other.settings.home, other.commits).faults == ()


def test_what_is_committed_stands_though_the_disk_here_is_full(
    new_machine: NewMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, other = new_machine(), new_machine()
    version = publish_version(machine).id
    with pytest.raises(OSError, match="it is committed, and only this folder lags behind"), full_disk(os.getpid()):
        machine.versions.name("best", version)
    other.commits.catch_up()
    assert other.aliases.all() == {"best": version}
    machine.commits.catch_up()
    assert machine.aliases.all() == {"best": version}

    def fail() -> None:
        raise OSError("out of paper")

    # A disk that fails without a number has words, too.
    monkeypatch.setattr("errata_registry.commits.FOLDER.write", lambda *_: fail())
    with pytest.raises(Refused, match="out of paper; it is committed"):
        machine.versions.name("good", version)


def test_lists_and_counts_go_on_while_the_bucket_is_away(
    new_machine: NewMachine, bucket: BucketServer, request_body: EditRequest
) -> None:
    machine = new_machine()
    edit = machine.edits.create_edit(request_body)
    machine.redis.flushdb()
    with failing(bucket, is_busy=True):
        assert [one.id for one in machine.edits.page().data] == [edit.id]
        assert machine.edits.count()[JobStatus.QUEUED] == 1


def test_a_slow_bucket_is_waited_for(new_machine: NewMachine, bucket: BucketServer) -> None:
    machine = new_machine()
    bucket.network.delay_s = 0.1
    version = publish_version(machine).id
    assert machine.activations.activate(version).active == version


def test_keys_and_jobs_that_have_had_their_day_go_everywhere(
    new_machine: NewMachine, request_body: EditRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = new_machine(), new_machine()
    edit = one.edits.create_edit(request_body, idempotency_key="key")
    other.commits.catch_up()
    (other.edits.folder.of(edit.id) / "facts.jsonl").write_text("left by a worker there")
    one.commits.remove_folder(one.edits.folder.of(edit.id), one.settings.home / "tmp" / edit.id)
    [key] = (one.settings.home / "idempotency").iterdir()
    one.commits.remove_if(key, lambda path: path.exists())
    other.commits.catch_up()
    assert other.edits.folder.ids() == [] and list((other.settings.home / "idempotency").iterdir()) == []


def test_a_folder_that_is_no_copy_of_the_bucket_is_refused(new_machine: NewMachine) -> None:
    machine = new_machine()
    settings = machine.settings
    with pytest.raises(ValueError, match=r"is a copy of s3://errata/.*, not of s3://errata/another"):
        Registry(settings.model_copy(update={"bucket": "s3://errata/another"}))
    own = settings.home.with_name("own")
    own.mkdir()
    home_folder.bind(own, "base", BASE_DIGEST, MATRICES, ())
    with pytest.raises(ValueError, match="is a home of its own and no copy"):
        Registry(settings.model_copy(update={"home": own}))
    with pytest.raises(ValueError, match="names no bucket"):
        Registry(settings.model_copy(update={"home": own, "bucket": "http://example.com/bucket"}))


def test_a_store_that_knows_no_conditional_puts_is_refused(new_machine: NewMachine, bucket: BucketServer) -> None:
    machine = new_machine()
    unknown_header = b"if-none-match", b"if-some-match"
    with failing(bucket, replaces=unknown_header), pytest.raises(NoConditionalPuts, match="cannot hold a home"):
        new_machine()
    machine.commits.catch_up()


def test_what_a_newer_program_commits_is_not_passed_over(new_machine: NewMachine) -> None:
    machine = new_machine()
    assert machine.settings.bucket is not None
    bucket = Bucket(machine.settings.bucket)
    assert bucket.put_new(
        "log/000000000002", with_checksum('{"format": 2, "changes": "in a shape of its own"}').encode()
    )
    with pytest.raises(NewerHome, match="has form 2, and this program knows forms up to 1"):
        machine.commits.catch_up()


def test_the_log_tells_what_was_committed(new_machine: NewMachine, bucket: BucketServer) -> None:
    machine = new_machine()
    number = publish_version(machine).id
    path = kept_by(bucket, machine) / "log" / log_of(bucket, machine)[-1]
    entry = json.loads(path.read_text())
    assert entry["folder"] == f"versions/{number:06d}"
    assert [Path(change["path"]).name for change in entry["changes"]] == [
        "changes.jsonl",
        DELTA,
        "facts.jsonl",
        "manifest.json",
    ]
