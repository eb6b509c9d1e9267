"""Every name that Errata uses in Redis; the queues' own keys are RQ's.

Redis holds what is under way, and nothing that the home folder does not bring back. What RQ calls a job is called a
task here: one worker's turn at a job, or at a target shard of an edit.
"""

from __future__ import annotations

EDIT_QUEUE = "errata-edits"
"""RQ queue in which edits wait to be begun or gone on with."""

SHARD_QUEUE = "errata-target-shards"
"""RQ queue of target shards, which workers turn to when no edit waits."""

MEASUREMENT_QUEUE = "errata-measurements"
"""RQ queue of evaluations and traces, which workers turn to when there is nothing to edit."""

RUN = "errata_worker.tasks.run"
"""Dotted name of the function that a worker runs for a job's id."""

RUN_SHARD = "errata_worker.tasks.run_shard"
"""The function that finds the targets of one shard, for an edit's id and the shard's number."""

HOME = "errata:home"
"""Id of the home folder that this Redis works for; missing in a new one."""

JOBS = "errata:jobs"
"""Set of the ids of the jobs that have a live state here."""

ACTIVATIONS = "errata:activations"
"""Stream that wakes serving replicas: one entry for each activation."""

REPLICAS = "errata:replicas"
"""Set of the ids of serving replicas, live and gone."""

SWEPT = "errata:swept"
"""Set for an hour when idempotency keys that have had their day were looked for."""

RECOVERY_LOCK = "errata:recovery"
"""Held by the one process that looks for lost jobs."""


def job(job_id: str) -> str:
    """The record of a job that has not ended, as JSON."""
    return f"errata:job:{job_id}"


def progress(job_id: str) -> str:
    """How far a running job is, as JSON."""
    return f"errata:job:{job_id}:progress"


def told(job_id: str) -> str:
    """Set for a moment when those who follow a job were told of its progress."""
    return f"errata:job:{job_id}:told"


def cancel(job_id: str) -> str:
    """Set when a job is to stop at its next step."""
    return f"errata:job:{job_id}:cancel"


def searching(job_id: str) -> str:
    """Hash: how many facts of each target shard of an edit, by its number, have no target yet."""
    return f"errata:job:{job_id}:searching"


def queued(job_id: str) -> str:
    """Set of the ids of the tasks that were queued for a job."""
    return f"errata:job:{job_id}:queued"


def missing(job_id: str) -> str:
    """Hash: when each task that is needed was first seen to be neither queued nor in a live worker's hands."""
    return f"errata:job:{job_id}:missing"


def losses(job_id: str) -> str:
    """Hash: how many workers each task of a job has lost."""
    return f"errata:job:{job_id}:losses"


def live_state(job_id: str) -> tuple[str, ...]:
    """All that goes when a job ends; its events stay for a while, and so does what tells its worker to stop."""
    return tuple(name(job_id) for name in (job, progress, told, searching, missing, losses))


def events(job_id: str) -> str:
    """Stream of what happened to a job."""
    return f"errata:job:{job_id}:events"


def replica(replica_id: str) -> str:
    """The Replica record, as JSON; it expires when the replica falls silent."""
    return f"errata:replica:{replica_id}"
