"""The functions that RQ calls. Each may be called more than once with the same arguments."""

from errata_worker.running import Resources, run_job
from errata_worker.target_shard import search_shard

_resources: Resources | None = None


def provide(resources: Resources) -> None:
    """Give this process what its tasks work with; RQ hands a task nothing but its arguments."""
    global _resources
    _resources = resources


def run(job_id: str) -> None:
    """Take a turn at a job: an edit, an evaluation or a trace."""
    run_job(job_id, _provided())


def run_shard(edit_id: str, shard: int) -> None:
    """Find the targets of one shard of an edit."""
    search_shard(edit_id, shard, _provided())


def _provided() -> Resources:
    assert _resources is not None, "the process was given nothing to work with before its first task"
    return _resources
