"""The functions that RQ calls. Each may be called more than once with the same arguments."""

from __future__ import annotations

from errata_worker.edit_job import EditJob
from errata_worker.equipment import Equipment
from errata_worker.evaluation_job import measure
from errata_worker.measurement_job import carry_out
from errata_worker.target_shard import TargetShard
from errata_worker.trace_job import trace

_equipment: Equipment | None = None


def equip(equipment: Equipment) -> None:
    """Give this process what its jobs work with; RQ hands a job nothing but its arguments."""
    global _equipment
    _equipment = equipment


def run_edit(edit_id: str) -> None:
    """Make a version of an edit; where it has many targets to search for, share that out and leave."""
    EditJob(edit_id, _equipped()).run()


def run_target_shard(edit_id: str, shard: int) -> None:
    """Find the targets of one shard of an edit."""
    TargetShard(edit_id, shard, _equipped()).run()


def run_evaluation(evaluation_id: str) -> None:
    """Measure a version."""
    carry_out(_equipped().registry.evaluations, evaluation_id, _equipped(), measure)


def run_trace(trace_id: str) -> None:
    """Trace a prompt or facts."""
    carry_out(_equipped().registry.traces, trace_id, _equipped(), trace)


def _equipped() -> Equipment:
    assert _equipment is not None, "the process was not equipped before its first job"
    return _equipment
