"""Every name that Errata uses in Redis; the queue's own keys are RQ's."""

from __future__ import annotations

import hashlib

QUEUE = "errata-edits"
"""Name of the RQ queue that edits wait in, to be begun or gone on with."""

SHARD_QUEUE = "errata-target-shards"
"""Name of the RQ queue of target shards, which workers turn to when no edit waits."""

MEASUREMENT_QUEUE = "errata-measurements"
"""Name of the RQ queue of evaluations and traces, which workers turn to when there is nothing to edit."""

EDIT_JOB = "errata_worker.jobs.run_edit"
"""Dotted name of the function that a worker runs for an edit id."""

SHARD_JOB = "errata_worker.jobs.run_target_shard"
"""The function that finds the targets of one shard, for an edit id and the shard's number."""

EVALUATION_JOB = "errata_worker.jobs.run_evaluation"
"""The function that measures a version, for an evaluation's id."""

TRACE_JOB = "errata_worker.jobs.run_trace"
"""The function that traces prompts or facts, for a trace's id."""

HOME = "errata:home"
"""Id of the home folder that this Redis was indexed from; missing after a loss of Redis."""

EDITS = "errata:edits"
"""Sorted set of edit ids, all of score 0: ids begin with their time, so byte order is age."""

UNFINISHED = "errata:edits:unfinished"
"""Set of the edits that are queued or running."""

STATUSES = "errata:edits:statuses"
"""Hash: the status of every edit."""

VERSIONS = "errata:versions"
"""Sorted set of version numbers, scored by themselves."""

ACTIVE = "errata:active"
"""Number of the version that serves; the journal in the home folder is the truth."""

ACTIVATIONS = "errata:activations"
"""Stream that serving replicas follow: one entry for each activation."""

REPLICAS = "errata:replicas"
"""Set of the ids of serving replicas, live and gone."""

RECOVERY_LOCK = "errata:recovery"
"""Held by the one process that looks for lost edits or rebuilds Redis."""


def edit(edit_id: str) -> str:
    """The Edit record, as JSON."""
    return f"errata:edit:{edit_id}"


def edit_events(edit_id: str) -> str:
    """Stream of what happened to an edit."""
    return f"errata:edit:{edit_id}:events"


def edit_progress(edit_id: str) -> str:
    """How far a running edit is, as JSON."""
    return f"errata:edit:{edit_id}:progress"


def edit_told(edit_id: str) -> str:
    """Set, for a moment, when those who follow the edit were told of its progress."""
    return f"errata:edit:{edit_id}:told"


def edit_cancel(edit_id: str) -> str:
    """Set when the edit is to stop at its next step."""
    return f"errata:edit:{edit_id}:cancel"


def edit_searching(edit_id: str) -> str:
    """Hash: how many facts of each target shard, by its number, have no target yet."""
    return f"errata:edit:{edit_id}:searching"


def jobs(work_id: str) -> str:
    """Set of the ids of RQ's jobs that were queued for an edit, an evaluation or a trace."""
    return f"errata:work:{work_id}:jobs"


def missing_jobs(work_id: str) -> str:
    """Hash: when each job that is needed was first seen to be neither queued nor in the hands of a live worker."""
    return f"errata:work:{work_id}:missing"


def losses(work_id: str) -> str:
    """Hash: how many workers each job has lost of an edit, an evaluation or a trace."""
    return f"errata:work:{work_id}:losses"


def measurements(kind: str) -> str:
    """Sorted set of the ids of evaluations, or of traces, all of score 0, as `EDITS`."""
    return f"errata:{kind}s"


def measurements_of(kind: str, version: int) -> str:
    """The same of those that measure one version."""
    return f"errata:{kind}s:of:{version}"


def succeeded_measurements_of(kind: str, version: int) -> str:
    """The same of those of them that have succeeded."""
    return f"errata:{kind}s:succeeded:{version}"


def unfinished_measurements(kind: str) -> str:
    """Set of the evaluations, or traces, that are queued or running."""
    return f"errata:{kind}s:unfinished"


def measurement(measurement_id: str) -> str:
    """The record of an evaluation or a trace, as JSON."""
    return f"errata:measurement:{measurement_id}"


def measurement_progress(measurement_id: str) -> str:
    """How far a running one is, as JSON."""
    return f"errata:measurement:{measurement_id}:progress"


def measurement_cancel(measurement_id: str) -> str:
    """Set when it is to stop at its next step."""
    return f"errata:measurement:{measurement_id}:cancel"


def idempotency(kind: str, key: str) -> str:
    """What was made for a client's Idempotency-Key, of any length and alphabet: an edit, an evaluation or a trace."""
    return f"errata:idempotency:{kind}:{hashlib.sha256(key.encode()).hexdigest()}"


def version(number: int) -> str:
    """The Version record, as JSON."""
    return f"errata:version:{number}"


def replica(replica_id: str) -> str:
    """The Replica record, as JSON; it expires when the replica falls silent."""
    return f"errata:replica:{replica_id}"
