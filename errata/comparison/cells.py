"""Cells: each measures one method on some records, edited in as one batch, and is kept in a file of its own.

The file's name is a digest of all that the figures depend on. A cell that is there is not computed again, and one that
was computed with other settings is not mistaken for it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errata.deltas import edited_weights, relative_norm
from errata.errors import InvalidHyperparameters, NotFinite, StatisticsError
from errata.evaluation import Estimate, Generation, Honest, InContext, Record, Which, evaluate
from errata.evaluation.generation import require_room_for_texts
from errata.evaluation.results import estimates_over
from errata.facts import FactSet
from errata.files import durable
from errata.files.checksums import checked, with_checksum
from errata.hyperparameters import Hyperparameters, MemitHyperparameters, MendHyperparameters, MomentHyperparameters
from errata.methods import METHODS
from errata.methods.mend.network import network_of
from errata.methods.refinement import REFINEMENT
from errata.model import EditableModel, digest_of
from errata.model.room import require_room
from errata.second_moments import SecondMoments, stored_origins
from errata.targets.contexts import sample_contexts
from errata.targets.store import SEARCH, BuildStore

MEASUREMENT = 2
"""Version of the measurement. Raise it with any change that gives a cell other figures."""

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement."""

    # of each record, those of `errata.evaluation.METRICS` that one record has
    metrics: tuple[Mapping[str, float], ...] = ()
    drift: float | None = None  # KL(base || edited) after unrelated prompts, in nats
    # of running text by the base and by the edited model, where there was any to measure on
    perplexities: tuple[float, float] | None = None
    norms: Mapping[int, float] | None = None  # of the update of each layer, over the norm of the base's matrix
    seconds: float = 0.0  # that the build took; 0 for the unedited model
    failed: str | None = None  # why there is no edited model, and so no figure; None where there is one

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Means over the records, with intervals; empty if the build failed."""
        return estimates_over(self.metrics) if self.metrics else {}


class Bench:
    """A base model, what its cells need, and the folder that they are kept in."""

    def __init__(
        self,
        model: EditableModel,
        folder: Path,
        second_moments: Callable[[Hyperparameters], SecondMoments],
        *,
        seed: int = 0,
        generation: Generation | None = None,
        texts: Sequence[str] = (),
        honest: Honest | None = None,
        store: BuildStore | None = None,
    ) -> None:
        """Sample the context prefixes. The folder is made when the first cell is kept.

        Args:
            second_moments: gives those that a method's hyperparameters ask for.
            seed: of the context prefixes, sampled once for all cells.
            generation: how to generate the texts for fluency and consistency; None for none.
            texts: running texts for perplexities.
            honest: what to ask as critics do; None for nothing.
            store: where targets are taken from and kept; None where the seconds are to be those of a whole build.
        """
        self.model = model
        self._folder = folder
        self._second_moments = second_moments
        self.contexts = sample_contexts(model, seed)
        self._generation = generation
        self._texts = texts
        self._honest = honest
        self._store = store
        self._of_all = {
            "measurement": MEASUREMENT,
            "search": SEARCH,
            "model": model.fingerprint,
            "device": model.device.type,
            "generation": _digest(asdict(generation)) if generation else None,
            "texts": _digest(list(texts)),
            "honest": _digest(asdict(honest)) if honest else None,
            "targets_kept": store is not None,
        }

    def require_room(self, records: Sequence[Record]) -> None:
        """Raise `InvalidFacts`, naming each record with a prompt that does not fit into the model's context."""
        require_room(self.model, [record.fact for record in records], self.contexts)
        if self._generation:
            require_room_for_texts(self.model, [record.case for record in records], self._generation)

    def find(
        self, hyperparameters: Hyperparameters | None, records: Sequence[Record], in_context: Which | None = None
    ) -> Cell | None:
        """Return the kept cell; None if there is none or it cannot be read. Takes the arguments of `measure`."""
        try:
            file = self._file(self._basis(hyperparameters, records, in_context))
            kept = json.loads(checked(file.read_bytes()))["cell"]
            perplexities, norms = kept.pop("perplexities"), kept.pop("norms")
            return Cell(
                **{**kept, "metrics": tuple(kept["metrics"])},
                perplexities=tuple(perplexities) if perplexities else None,
                norms=None if norms is None else {int(layer): norm for layer, norm in norms.items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def measure(
        self,
        hyperparameters: Hyperparameters | None,
        records: Sequence[Record],
        on_progress: OnProgress = lambda stage, done, total: None,
        *,
        in_context: Which | None = None,
    ) -> Cell:
        """Edit the records in as one batch, measure them, and keep the result.

        A build that leaves the finite numbers, or whose method does not suit the model, is a result like any other: the
        cell says so.

        Args:
            hyperparameters: of the method; None for the unedited model.
            on_progress: called with a stage, what is done of it and what it has in all.
            in_context: which of the records' facts stand before prompts; None for none.

        Raises:
            StatisticsError: the second moments that the method needs cannot be had.
            InvalidHyperparameters: a layer that the model does not have.
        """
        basis = self._basis(hyperparameters, records, in_context)
        try:
            cell = self._measured(hyperparameters, records, on_progress, in_context)
        except (NotFinite, InvalidHyperparameters, StatisticsError) as error:
            cell = Cell(failed=str(error))
        file = self._file(basis)
        file.parent.mkdir(parents=True, exist_ok=True)
        readable = {**basis, "records": [record.case.case_id for record in records]}
        durable.write(file, with_checksum(json.dumps({"of": readable, "cell": asdict(cell)})))
        return cell

    def _measured(
        self,
        hyperparameters: Hyperparameters | None,
        records: Sequence[Record],
        on_progress: OnProgress,
        in_context: Which | None,
    ) -> Cell:
        cases = [record.case for record in records]
        deltas, seconds = {}, 0.0
        if hyperparameters is not None:
            method, moments = METHODS[hyperparameters.method], self._second_moments(hyperparameters)
            facts = FactSet(record.fact for record in records)
            began = time.perf_counter()
            deltas = method(
                self.model,
                facts,
                hyperparameters,
                moments,
                contexts=self.contexts,
                store=self._store,
                on_progress=on_progress,
            ).deltas
            seconds = time.perf_counter() - began
        measured = evaluate(
            self.model,
            cases,
            edited_weights(self.model, deltas),
            lambda done, total: on_progress("measured", done, total),
            generation=self._generation,
            texts=self._texts,
            honest=self._honest,
            in_context=InContext(cases, in_context) if in_context else None,
        )
        norms = {layer: relative_norm(self.model, layer, delta) for layer, delta in deltas.items()}
        prose = measured.prose
        return Cell(
            metrics=tuple(result.metrics for result in measured.results),
            drift=measured.drift,
            perplexities=(prose.perplexity_before, prose.perplexity_after) if prose else None,
            norms=norms,
            seconds=seconds,
        )

    def _basis(
        self, hyperparameters: Hyperparameters | None, records: Sequence[Record], in_context: Which | None
    ) -> dict[str, Any]:
        """Return all that a cell depends on, as JSON values."""
        made_of: dict[str, Any] = {"second_moments": []}
        if isinstance(hyperparameters, MomentHyperparameters):
            moments = self._second_moments(hyperparameters)
            made_of["second_moments"] = [
                asdict(origin) for origin in stored_origins(moments.folder, hyperparameters.layers)
            ]
            if isinstance(hyperparameters, MemitHyperparameters) and hyperparameters.refinement_steps:
                made_of["refinement"] = REFINEMENT
            if isinstance(hyperparameters, MendHyperparameters):
                network = network_of(moments.folder, self.model.digest)
                made_of["network"] = digest_of(network.state_dict().items())
        return {
            **self._of_all,
            **made_of,
            "method": hyperparameters.method if hyperparameters else None,
            "hyperparameters": hyperparameters.as_dict() if hyperparameters else None,
            "in_context": in_context,
            "contexts": list(self.contexts) if hyperparameters else None,
            "records": [_digest(asdict(record)) for record in records],
        }

    def _file(self, basis: Mapping[str, Any]) -> Path:
        return self._folder / f"{_digest(basis)}.json"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
