"""Which ended jobs stay, where a setting bounds how long.

Those stay that a version was made by, and the newest evaluation of each version: both are told of with the version.
"""

from datetime import timedelta

from errata.errors import CorruptArtifact, UnknownVersion
from errata_registry.jobs.kinds import EVALUATION
from errata_registry.registry import Registry
from errata_registry.stored import now


def forget_old_jobs(registry: Registry, keep_days: int) -> int:
    """Remove the jobs that ended more than `keep_days` days ago, but for those that stay. Return how many went."""
    before, kept, removed = now() - timedelta(days=keep_days), _kept(registry), 0
    for store in registry.stores:
        for job_id in store.folder.ids():
            if job_id in kept or store.kind.created_at(job_id) >= before:
                continue
            try:
                outcome = store.folder.outcome(job_id)
            except CorruptArtifact:  # `errata verify` tells of it
                continue
            if outcome and outcome.finished_at and outcome.finished_at < before:
                # At once for those who look: a folder without its outcome would be of a job that has yet to be done.
                gone = registry.settings.home / "tmp" / job_id
                registry.commits.remove_folder(store.folder.of(job_id), gone)
                removed += 1
    return removed


def _kept(registry: Registry) -> set[str]:
    kept, evaluations = set(), registry.store(EVALUATION).folder
    evaluations.unfinished()  # which takes in those that ended since
    for number in registry.artifacts.numbers():
        try:
            kept.add(registry.artifacts.manifest(number).edit)
        except (CorruptArtifact, UnknownVersion):
            continue
        if newest := evaluations.newest_success_of(number):
            kept.add(newest.id)
    return {job_id for job_id in kept if job_id}
