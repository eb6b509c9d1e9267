"""What several of the records are told with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errata_client import records


def counted(number: int, noun: str) -> str:
    """Return "1 fact", "2 facts"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def why(job: records.Job) -> dict[str, object]:
    """Return why a job did not succeed, or what else is to be said of it, where that is told."""
    told: dict[str, object] = {"why": job.error.detail or job.error.title} if job.error else {}
    message = getattr(job, "message", None)  # not of every kind of job
    return told | ({"message": message} if message else {})
