"""Giving a version back the weights that were dropped: they are built again from its facts."""

from __future__ import annotations

from errata_client.records import Edit, Stage
from errata_registry.jobs.requests import EditRequest, RebuildRequest
from errata_registry.versions.facts import fact_of
from errata_registry.versions.folder import DELTA
from errata_registry.versions.manifest import Manifest

from errata import deltas
from errata.errors import Cancelled
from errata.facts import FactSet
from errata.hyperparameters import of_method
from errata_worker.build import Builder, libraries
from errata_worker.running import Turn


class RebuiltVersion:
    """One turn at building a version again."""

    def __init__(self, turn: Turn[EditRequest | RebuildRequest, Edit], number: int) -> None:
        self._turn = turn
        self._number = number
        self._registry = turn.registry
        self._builder = Builder(turn)

    def carry_out(self) -> None:
        """Build with the method, hyperparameters and contexts that the manifest tells, unless the weights are there.

        Raises:
            UnknownVersion: the version was deleted.
        """
        manifest = self._registry.artifacts.manifest(self._number)
        if not self._registry.artifacts.folder(self._number).is_dropped:
            self._end(manifest)
            return
        facts = FactSet(map(fact_of, self._registry.versions.facts(self._number)))
        hyperparameters = of_method(manifest.method, manifest.hparams)
        blueprint = self._builder.draw_up(facts, manifest.contexts, hyperparameters)
        second_moments = self._builder.second_moments(blueprint)
        if self._builder.share_out(blueprint):
            return
        built = self._builder.build(blueprint, second_moments)
        with self._registry.artifacts.draft((), (), lambda path: deltas.write(path, built.deltas)) as draft:
            if draft.files[DELTA].sha256 != manifest.files[DELTA].sha256:
                message = (
                    "the weights are equal to those that were dropped up to rounding, not bit for bit (built with "
                    f"{_named(manifest.libraries)}, and now with {_named(libraries())}); they are measured anew"
                )
                self._turn.log(message)
                perplexity = manifest.metrics.perplexity_after is not None
                metrics, not_taken = self._builder.measure_figures(blueprint, built, perplexity=perplexity)
                # Its status and problem stay as they were decided when the version was made: a rebuild gives weights
                # back, and is no second trial of a version that may be serving under an alias or by hand.
                changes = {
                    "metrics": metrics,
                    "not_taken": not_taken,
                    "layers": self._builder.layers(built),
                    "libraries": libraries(),
                }
                manifest = manifest.model_copy(update=changes)
            self._builder.report(Stage.PUBLISH, 0, 1)
            with self._registry.activations.deciding():
                if self._registry.edits.folder.outcome(self._turn.record.id):
                    raise Cancelled
                if self._registry.artifacts.folder(self._number).is_dropped:  # nobody was quicker
                    self._registry.artifacts.restore(manifest, draft)
        self._end(manifest)

    def _end(self, version: Manifest) -> None:
        self._turn.end(method=version.method, metrics=version.metrics)


def _named(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
