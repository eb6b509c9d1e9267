"""What goes from a home folder by itself: what was left half written, and by settings what is old."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import torch
from errata_client.records import JobStatus, Progress, Stage
from errata_registry import keys
from errata_registry.jobs.folder import OUTCOME
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.requests import EditRequest, EvaluationRequest
from errata_registry.leftovers import AGE_S, remove_leftovers
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.stored import now

from errata.files.checksums import checked, with_checksum
from errata.targets.store import BuildStore
from tests.registry.conftest import Publish


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_what_was_left_half_written_goes_after_a_day(registry: Registry, request_body: EditRequest) -> None:
    home = registry.settings.home
    edit = registry.edits.create_edit(request_body)
    draft = registry.artifacts.draft([], [], lambda path: path.write_bytes(b"delta")).folder
    of_edit = registry.edits.folder.of(edit.id)
    scratch = of_edit / ".outcome.json.0a1b2c3d"
    of_safetensors = home / "second_moments" / ".tmpAb3dE9"
    orders = of_edit / ".shards-abc123"
    empty = registry.edits.folder.of(registry.edits.kind.new_id())
    of_safetensors.parent.mkdir()
    for file in (scratch, of_safetensors):
        file.write_text("half")
    for folder in (orders, empty):
        folder.mkdir()
    left = [draft, scratch, of_safetensors, orders, empty]

    remove_leftovers(home)
    assert all(path.exists() for path in left)
    for path in [*left, of_edit, of_edit / "request.json"]:
        age(path, AGE_S + 60)
    remove_leftovers(home)
    assert not any(path.exists() for path in left)
    assert registry.edits.record(edit.id).status is JobStatus.QUEUED


def test_adapters_go_once_no_follower_has_touched_their_folder_for_a_day(registry: Registry) -> None:
    home = registry.settings.home
    followed, of_a_lost_pod = home / "adapters" / "0a1b2c3d4e5f", home / "adapters" / "5f4e3d2c1b0a"
    for server in (followed, of_a_lost_pod):
        (server / "errata-1-0a1b2c3d").mkdir(parents=True)
        age(server / "errata-1-0a1b2c3d", AGE_S + 60)
    age(followed, AGE_S - 60)
    age(of_a_lost_pod, AGE_S + 60)
    remove_leftovers(home)
    assert [*home.glob("adapters/*/*")] == [followed / "errata-1-0a1b2c3d"]


def ended_long_ago(registry: Registry, job_id: str, days: float, **changes: object) -> str:
    """Let a job have been created and have ended days ago; return the id that it then has."""
    store = registry.store_of(job_id)
    store.update(job_id, status=JobStatus.SUCCEEDED, **changes)
    made = time.time_ns() - int((days + 0.1) * 86_400e9)
    new_id = f"{store.kind.prefix}_{made:016x}{job_id[-8:]}"
    folder = store.folder.of(job_id).rename(store.folder.of(new_id))
    for name in ("request.json", OUTCOME):
        record = json.loads(checked((folder / name).read_bytes()))
        record["id"] = new_id
        if name == OUTCOME:
            record["finished_at"] = (now() - timedelta(days=days)).isoformat()
        (folder / name).write_text(with_checksum(json.dumps(record)))
    return new_id


def test_jobs_that_ended_long_ago_go_but_for_those_that_versions_are_told_of_with(
    settings: Settings, registry: Registry, publish: Publish, request_body: EditRequest
) -> None:
    edits = [registry.edits.create_edit(request_body).id for _ in range(3)]
    _, young, of_version = (ended_long_ago(registry, edit, days) for edit, days in zip(edits, (8, 6, 8), strict=True))
    version = publish(edit=of_version).id
    evaluations = []
    for _ in range(2):
        shown = {"version": version, "records": 1}
        evaluation = registry.evaluations.create(EvaluationRequest(version=version), shown)
        evaluations.append(ended_long_ago(registry, evaluation.id, 30))
    waiting = registry.edits.create_edit(request_body).id

    keeping = Registry(settings.model_copy(update={"keep_jobs_days": 7}))
    for store in keeping.stores:
        assert store.count()[JobStatus.SUCCEEDED] == len(store.folder.ids()) - (store is keeping.edits)
    keeping.redis.delete(keys.SWEPT)
    recover(keeping)

    assert keeping.edits.folder.ids() == sorted([young, of_version, waiting])
    assert keeping.evaluations.folder.ids() == [max(evaluations)]
    assert [edit.id for edit in keeping.edits.page().data] == [waiting, *sorted([young, of_version], reverse=True)]
    assert keeping.edits.count()[JobStatus.SUCCEEDED] == 2
    assert not list((settings.home / "tmp").iterdir())
    keeping.close()


def test_targets_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    store = BuildStore(tmp_path)
    names = [f"{digit}" * 64 for digit in "abc"]
    for name in names:
        store.save(name, torch.ones(100))
    files = [next(tmp_path.rglob(f"{name}.safetensors")) for name in names]
    for days, file in zip((3, 2, 1), files, strict=True):
        age(file, days * 86_400)
    assert store.load(names[0]) is not None  # and so it was used now
    size = files[0].stat().st_size
    store.shrink(2 * size)
    assert [file.exists() for file in files] == [True, False, True]
    store.shrink(0)
    assert not any(file.exists() for file in files)


def test_progress_that_is_told_after_the_end_leaves_nothing(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)
    registry.edits.update(edit.id, status=JobStatus.RUNNING)
    registry.edits.live.progress(edit.id, Progress(stage=Stage.TARGETS, done=1, total=2))
    assert registry.edits.record(edit.id).progress is not None
    registry.edits.cancel(edit.id)
    registry.edits.live.progress(edit.id, Progress(stage=Stage.TARGETS, done=2, total=2))
    assert not registry.redis.exists(keys.progress(edit.id), keys.told(edit.id))
