"""A home folder that goes to a bucket with all that it has: users, jobs and history find everything on any machine."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from errata_client.records import JobStatus
from errata_registry.bucket.to_bucket import to_bucket
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry
from errata_registry.verification import verify
from errata_registry.versions.folder import DELTA

from benchmarks.faults.bucket import BucketServer
from errata.files.disk import Refused
from tests.registry.conftest import BASE_DIGEST, NewMachine, failing, publish_version

CACHES = ("bucket", "targets", "second_moments", "tmp")


@pytest.fixture
def filled(registry: Registry, request_body: EditRequest) -> Registry:
    """A home of its own: an edit that has ended and one that waits, versions, names, activations, and caches."""
    ended = registry.edits.create_edit(request_body, idempotency_key="key")
    version = publish_version(registry, edit=ended.id)
    dropped = publish_version(registry)
    (registry.edits.folder.of(ended.id) / "facts.jsonl").write_text('{"id": "left beside"}\n' * 3000)
    registry.activations.activate(version.id, by=ended.id)
    registry.edits.update(ended.id, status=JobStatus.SUCCEEDED, version=version.id)
    registry.edits.create_edit(request_body)
    registry.artifacts.drop(dropped.id)
    registry.versions.name("best", version.id)
    registry.contexts.keep(BASE_DIGEST, 0, ("The",))
    (registry.settings.home / "targets").mkdir()
    (registry.settings.home / "targets" / "found.safetensors").write_bytes(b"a cache")
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
    assert taken.updates == 1 and taken.files == len(before) - 1 and contents(home) == before

    other = new_machine()
    ended, waiting = other.edits.folder.ids()
    assert other.edits.record(ended).status is JobStatus.SUCCEEDED
    assert other.edits.folder.unfinished() == [waiting]
    assert other.edits.create_edit(request_body, idempotency_key="key").id == ended
    assert not (other.artifacts.folder(1).path / DELTA).exists()
    assert verify(other.settings.home, other.commits).faults == ()  # which fetches the updates
    assert contents(other.settings.home) == before

    # The folder that it came from is a copy like any other, and nothing but that any more.
    other.activations.rollback()
    at_home = Registry(filled.settings.model_copy(update={"bucket": url}))
    assert at_home.activations.active() == 0 and at_home.aliases.all() == {"best": 1}
    at_home.close()
    with pytest.raises(ValueError, match=r"is a copy of the bucket s3://errata/.*: set ERRATA_BUCKET"):
        Registry(filled.settings)
    with pytest.raises(ValueError, match=r"is a copy of s3://errata/.* already"):
        to_bucket(home, url)


def test_what_was_cut_off_is_ended_by_doing_it_again(
    filled: Registry, new_machine: NewMachine, bucket: BucketServer, tmp_path: Path
) -> None:
    """`new_machine` is there for the environment of the bucket."""
    home, url = filled.settings.home, f"s3://errata/{tmp_path.name}"
    with failing(bucket, loses_answers=True), pytest.raises(Refused, match="does not do its part"):
        to_bucket(home, url)
    (home / "bucket").mkdir(exist_ok=True)
    first = to_bucket(home, url)
    (home / "bucket" / "position.json").unlink()  # as if it had been killed before the end
    assert to_bucket(home, url) == first
    assert new_machine().artifacts.numbers() == [1, 2]


def test_no_home_is_put_over_another_one(filled: Registry, new_machine: NewMachine, tmp_path: Path) -> None:
    publish_version(new_machine())
    home, url = filled.settings.home, f"s3://errata/{tmp_path.name}"
    with pytest.raises(ValueError, match="holds a home already"):
        to_bucket(home, url)
    assert filled.artifacts.numbers() == [1, 2]
    (home / "versions" / "000001" / "facts.jsonl").write_text("torn")
    with pytest.raises(ValueError, match="is not whole"):
        to_bucket(home, f"{url}/another")
