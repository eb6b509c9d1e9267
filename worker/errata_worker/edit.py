"""What an edit asks for: a new version of its facts, or the dropped weights of a version again."""

from __future__ import annotations

from errata_client.records import Edit
from errata_registry.jobs.requests import EditRequest, RebuildRequest

from errata_worker.new_version import NewVersion
from errata_worker.rebuilt_version import RebuiltVersion
from errata_worker.running import Turn


def carry_out(turn: Turn[EditRequest | RebuildRequest, Edit]) -> None:
    """Do what an edit asks for."""
    match turn.accepted.request:
        case EditRequest() as request:
            NewVersion(turn, request).carry_out()
        case RebuildRequest(rebuild=number):
            RebuiltVersion(turn, number).carry_out()
