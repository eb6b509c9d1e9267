"""A worker whose disk takes nothing for a while: it waits, says so, and no accepted job is lost by it."""

import signal
import sys

import pytest
from errata_client.records import Edit, JobStatus

from tests.full_disk import full_disk
from tests.worker.conftest import Crew

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")

SEARCH = {"num_steps": 3}


def waits(crew: Crew, edit: Edit) -> None:
    def said() -> bool:
        return any("disk takes nothing (File too large)" in message for message in crew.messages(edit))

    crew.wait(said, "nobody said that the disk takes nothing")


@pytest.mark.parametrize("num_facts", [2, 7])  # seven are searched for in shards
def test_an_edit_is_done_once_there_is_room(crew: Crew, num_facts: int) -> None:
    crew.grow_to(1)
    with full_disk(crew.pid_of_first()):
        edit = crew.edit(num_facts, SEARCH)
        waits(crew, edit)
        assert crew.registry.edits.record(edit.id).status is JobStatus.RUNNING
    ended = crew.ended(edit)
    assert (ended.status, ended.attempts, ended.error) == (JobStatus.SUCCEEDED, 1, None)
    home = crew.settings.home
    assert not list((home / "tmp").iterdir())
    assert not [path for path in home.rglob(".*") if path.name != ".lock"]


def test_a_worker_that_waits_can_be_stopped_and_a_job_that_waits_cancelled(crew: Crew) -> None:
    crew.grow_to(1)
    with full_disk(crew.pid_of_first()):
        edit, cancelled = crew.edit(2, SEARCH), crew.edit(2, SEARCH)
        waits(crew, edit)
        crew.registry.edits.cancel(cancelled.id)
        crew.signal_one(signal.SIGTERM)
    assert crew.registry.edits.record(edit.id).status is JobStatus.QUEUED
    crew.grow_to(1)
    assert crew.ended(edit).status is JobStatus.SUCCEEDED
    assert crew.ended(cancelled).status is JobStatus.CANCELLED
