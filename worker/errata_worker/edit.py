"""What an edit asks for: a new version of its facts, or the dropped weights of a version again."""

from contextlib import suppress

from errata_client.records import Edit, Stage
from errata_registry.jobs.requests import EditRequest, RebuildRequest
from errata_registry.registry import Registry
from errata_registry.versions.facts import fact_of
from errata_registry.versions.folder import DELTA
from errata_registry.versions.manifest import Manifest

from errata import deltas
from errata.errors import Cancelled, CorruptArtifact, UnknownJob
from errata.facts import FactSet
from errata.hyperparameters import of_method
from errata_worker.build import Builder, libraries
from errata_worker.new_version import NewVersion
from errata_worker.running import Turn


def carry_out(turn: Turn[EditRequest | RebuildRequest, Edit]) -> None:
    """Do what an edit asks for."""
    match turn.accepted.request:
        case EditRequest() as request:
            NewVersion(turn, request).carry_out()
        case RebuildRequest(rebuild=number):
            if rebuilt := _rebuild(turn, number):
                turn.end(method=rebuilt.method, metrics=rebuilt.metrics)


def _rebuild(turn: Turn[EditRequest | RebuildRequest, Edit], number: int) -> Manifest | None:
    """Build dropped weights with the method, hyperparameters and contexts that the manifest tells, unless they are
    there; return the manifest, None where the targets are searched for first. Raises `UnknownVersion`."""
    registry, artifacts, builder = turn.registry, turn.registry.artifacts, Builder(turn)
    manifest = artifacts.manifest(number)
    if not artifacts.folder(number).is_dropped:
        return manifest
    facts = FactSet(map(fact_of, registry.versions.facts(number)))
    hyperparameters = of_method(manifest.method, manifest.hparams)
    builder.tell_of_shared_subjects(facts, hyperparameters)
    blueprint = builder.draw_up(facts, manifest.contexts, hyperparameters)
    second_moments = builder.second_moments(blueprint)
    if builder.share_out(blueprint):
        return None
    built = builder.build(blueprint, second_moments)
    with artifacts.draft((), (), lambda path: deltas.write(path, built.deltas)) as draft:
        if draft.files[DELTA].sha256 != manifest.files[DELTA].sha256:
            turn.log(
                "the weights are equal to those that were dropped up to rounding, not bit for bit (built with "
                f"{_named(manifest.libraries)}, and now with {_named(libraries())}); they are measured anew"
            )
            perplexity = manifest.metrics.perplexity_after is not None
            measured = builder.measure(
                blueprint,
                built,
                put_in=_put_in(registry, manifest),
                said_before=registry.edits.facts_said(manifest.parent),
                perplexity=perplexity,
            )
            # Its status and problem stay as they were decided when the version was made: a rebuild gives weights
            # back, and is no second trial of a version that may be serving under an alias or by hand.
            changes = {
                "metrics": measured.metrics,
                "not_taken": measured.num_not_taken,
                "layers": builder.layers(built),
                "libraries": libraries(),
            }
            manifest = manifest.model_copy(update=changes)
        turn.report(Stage.PUBLISH, 0, 1)
        with registry.activations.deciding():
            if registry.edits.folder.outcome(turn.record.id):
                raise Cancelled
            if artifacts.folder(number).is_dropped:  # nobody was quicker
                artifacts.restore(manifest, draft)
    return manifest


def _put_in(registry: Registry, manifest: Manifest) -> frozenset[str]:
    """Return the ids of the facts that a version's edit put in: none where that is not known here."""
    if manifest.edit is not None:
        with suppress(CorruptArtifact, UnknownJob):
            request = registry.edits.folder.accepted(manifest.edit).request
            return frozenset(fact.id for fact in request.facts) if isinstance(request, EditRequest) else frozenset()
    return frozenset()


def _named(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
