"""Building the weights of a fact set by its method, whose targets several workers may search for."""

import importlib.metadata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from errata_client.records import BASE_VERSION, LayerChange, Stage
from errata_registry import telemetry
from errata_registry.jobs.shards import ShardOrder
from errata_registry.stored import now

from errata import deltas
from errata.facts import Fact, FactSet, by_subject
from errata.hyperparameters import Hyperparameters, TargetHyperparameters, of_method
from errata.methods import METHODS
from errata.methods.method import Built, Method
from errata.model.room import require_room
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.search import facts_to_search
from errata.wordings import wordings_of
from errata_worker.gate import Measured
from errata_worker.measure import measure, wrong_answers
from errata_worker.running import Turn
from errata_worker.target_shard import cut

LIBRARIES = ("errata", "torch", "transformers", "safetensors")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All that weights are built from, beside the base model.

    Attributes:
        wordings: the facts, in each of their wordings (`errata.wordings`); each has a target.
        to_search: those of them whose targets are searched for ahead of the build and not known from earlier searches.
    """

    facts: FactSet
    wordings: tuple[Fact, ...]
    contexts: tuple[str, ...]
    hyperparameters: Hyperparameters
    to_search: tuple[Fact, ...]

    @property
    def method(self) -> Method[Any]:
        """The method that builds them."""
        return METHODS[self.hyperparameters.method]

    @property
    def known(self) -> int:
        """Number of targets that are known."""
        return len(self.wordings) - len(self.to_search) if self.method.searches_ahead else 0


class Builder:
    """Builds weights in one turn at an edit, which is told how far it is. Any step may end with what ends the edit."""

    def __init__(self, turn: Turn[Any, Any]) -> None:
        self._turn = turn
        self._registry = turn.registry
        self._resident = turn.resident
        self._targets = turn.targets
        self.report = turn.report

    def contexts(self, base: int, seed: int) -> tuple[str, ...]:
        """Return the prefixes of a seed: those that all edits on this base use, so that what one found serves the next.

        Those that the base version was built with come first, should they be others.
        """
        if base != BASE_VERSION:
            manifest = self._registry.artifacts.manifest(base)
            if of_method(manifest.method, manifest.hparams).seed == seed:
                return manifest.contexts
        model, kept = self._resident.model, self._registry.contexts
        with telemetry.span("contexts"):
            if (contexts := kept.load(model.digest, seed, self._resident.note_damage)) is None:
                self._turn.tell_of_damage()
                self._turn.log("sampling the context prefixes of this model, once for all edits")
                contexts = kept.keep(model.digest, seed, sample_contexts(model, seed))
            return contexts

    def draw_up(self, facts: FactSet, contexts: Sequence[str], hyperparameters: Hyperparameters) -> Blueprint:
        """Say what is to be built. Raises `TooLong` where a prompt has no room in the model's context."""
        model = self._resident.model
        wordings = wordings_of(model, facts)
        require_room(model, list(facts), contexts)
        to_search: list[Fact] = []
        if isinstance(hyperparameters, TargetHyperparameters) and METHODS[hyperparameters.method].searches_ahead:
            to_search = facts_to_search(model, wordings, contexts, hyperparameters, self._targets)
        return Blueprint(facts, tuple(wordings), tuple(contexts), hyperparameters, tuple(to_search))

    def tell_of_shared_subjects(self, facts: FactSet, hyperparameters: Hyperparameters) -> None:
        """Tell those who follow the edit which subjects have one change of the model for several facts."""
        shared = [about_one[0].subject for about_one in by_subject(facts) if len(about_one) > 1]
        if shared and isinstance(hyperparameters, TargetHyperparameters):
            named = ", ".join(map(repr, shared[:5])) + (", …" if len(shared) > 5 else "")
            self._turn.log(f"several facts about one subject share one change of the model: {named}")

    def second_moments(self, blueprint: Blueprint) -> SecondMoments:
        """Return the second moments; first of all, since a search without them is in vain."""
        total, known = len(blueprint.wordings), blueprint.known
        if known:
            self._turn.log(f"{known} of {total} targets are known")

        def report(*_: int) -> None:
            self._turn.tell_of_damage()
            self.report(Stage.TARGETS, known, total)

        report()
        second_moments = self._resident.second_moments(blueprint.hyperparameters, on_progress=report)
        self._turn.tell_of_damage()
        return second_moments

    def share_out(self, blueprint: Blueprint) -> bool:
        """Let all workers search for the targets where they are many; return False where this task is to find them."""
        limit = self._resident.settings.shard_facts
        if len(blueprint.to_search) <= limit or not self._registry.commits.shares_a_folder:
            return False
        shards = cut(blueprint.to_search, limit)
        self._turn.log(f"{len(blueprint.to_search)} targets are searched for in {len(shards)} shards")
        cut_at = now()
        self._registry.edits.cut(
            [
                ShardOrder(
                    edit=self._turn.record.id,
                    shard=number,
                    facts=tuple(
                        replace(fact, paraphrases=(), neighbors=()) for fact in blueprint.facts if fact.subject in about
                    ),
                    contexts=blueprint.contexts,
                    method=blueprint.method.name,
                    hparams=blueprint.hyperparameters.as_dict(),
                    sizes=tuple(map(len, shards)),
                    total=len(blueprint.wordings),
                    cut_at=cut_at,
                )
                for number, about in enumerate({fact.subject for fact in shard} for shard in shards)
            ]
        )
        return True

    def build(self, blueprint: Blueprint, second_moments: SecondMoments) -> Built:
        """Build the update of each layer."""
        built = blueprint.method(
            self._resident.model,
            blueprint.facts,
            blueprint.hyperparameters,
            second_moments,
            contexts=blueprint.contexts,
            store=self._targets,
            on_progress=self.report,
        )
        self._turn.tell_of_damage()
        return built

    def measure(
        self,
        blueprint: Blueprint,
        built: Built,
        *,
        put_in: Collection[str],
        said_before: Collection[str],
        perplexity: bool,
    ) -> Measured:
        """Measure how the edited model answers about the facts and to the probes; its `perplexity` takes longer.

        `put_in` and `said_before` are as in `measure`.
        """
        self.report(Stage.EVALUATE, 0, len(blueprint.facts))
        return measure(
            self._resident.model,
            list(blueprint.facts),
            deltas.edited_weights(self._resident.model, built.deltas),
            put_in=put_in,
            said_before=said_before,
            probes=self._registry.probes.all(),
            perplexity=perplexity,
            on_progress=lambda done, total: self.report(Stage.EVALUATE, done, total),
        )

    def with_probes_as_they_are(self, measured: Measured, built: Built) -> Measured:
        """Return what was measured, with how the edited model answers to the probes that are there now."""
        model, probes, total = self._resident.model, self._registry.probes.all(), len(measured.facts)
        self.report(Stage.EVALUATE, total, total)
        wrong = wrong_answers(model, deltas.edited_weights(model, built.deltas), probes)
        return replace(measured, probes=probes, wrong_answers=wrong)

    def layers(self, built: Built) -> tuple[LayerChange, ...]:
        """Return the size of each layer's update."""
        model = self._resident.model
        return tuple(
            LayerChange(
                layer=layer,
                rank=delta.rank,
                norm=delta.norm,
                relative_norm=deltas.relative_norm(model, layer, delta),
            )
            for layer, delta in built.deltas.items()
        )


def libraries() -> dict[str, str]:
    """Return the versions of what decides a build's last digits."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}
