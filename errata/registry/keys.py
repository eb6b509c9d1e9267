"""Every name that Errata uses in Redis; the queue's own keys are RQ's."""

from __future__ import annotations

import hashlib

QUEUE = "errata-edits"
"""Name of the RQ queue that edits wait in, to be begun or gone on with."""

SHARD_QUEUE = "errata-target-shards"
"""Name of the RQ queue of target shards, which workers turn to when no edit waits."""

EDIT_JOB = "worker.jobs.run_edit"
"""Dotted name of the function that a worker runs for an edit id."""

SHARD_JOB = "worker.jobs.run_target_shard"
"""The function that finds the targets of one shard, for an edit id and the shard's number."""

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


def edit_jobs(edit_id: str) -> str:
    """Set of the ids of RQ's jobs that were queued for an edit."""
    return f"errata:edit:{edit_id}:jobs"


def edit_missing(edit_id: str) -> str:
    """Hash: when each job that is needed was first seen to be neither queued nor in the hands of a live worker."""
    return f"errata:edit:{edit_id}:missing"


def edit_losses(edit_id: str) -> str:
    """Hash: how many workers each job of the edit has lost."""
    return f"errata:edit:{edit_id}:losses"


def idempotency(key: str) -> str:
    """The edit that was made for a client's Idempotency-Key, of any length and alphabet."""
    return f"errata:idempotency:{hashlib.sha256(key.encode()).hexdigest()}"


def version(number: int) -> str:
    """The Version record, as JSON."""
    return f"errata:version:{number}"


def replica(replica_id: str) -> str:
    """The Replica record, as JSON; it expires when the replica falls silent."""
    return f"errata:replica:{replica_id}"
