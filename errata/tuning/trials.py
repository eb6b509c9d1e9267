"""Trials: one setting each, edited in on some records and measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from errata.comparison.cells import Bench, Cell, OnProgress
from errata.errors import DataSetError
from errata.evaluation import Record
from errata.files.json_figures import finite_or_none, with_nulls
from errata.hyperparameters import MemitHyperparameters

ALIKE = 0.0025  # scores as near as that, a paraphrase or two of a hundred records, are told apart by drift

QuickStage = Literal["default", "layers", "lambda", "clamp", "refinement", "report"]
FullStage = Literal[
    "rung", "refinement", "moment_weight", "refinement_cost", "weight_decay", "kl_factor", "few", "report"
]
Stage = QuickStage | FullStage


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting, and its result."""

    stage: Stage
    hyperparameters: MemitHyperparameters
    num_records: int
    cell: Cell

    @property
    def score(self) -> float:
        """The figure to maximise: `score`, or `token_score` if records have no old object; -1 if the build failed."""
        for name in ("score", "token_score"):
            if name in self.cell.estimates:
                return self.cell.estimates[name].mean
        return -1.0

    @property
    def drift(self) -> float:
        """Drift in nats; infinite if there is no edited model, or it has left the finite numbers."""
        return math.inf if (drift := finite_or_none(self.cell.drift)) is None else drift

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "stage": self.stage,
            "records": self.num_records,
            "hyperparameters": self.hyperparameters.as_dict(),
            "estimates": with_nulls(self.cell.estimates),
            "drift": finite_or_none(self.cell.drift),
            "perplexities": with_nulls(self.cell.perplexities),
            "norms": self.cell.norms or {},
            "seconds": self.cell.seconds,
            "failed": self.cell.failed,
        }


@dataclass(frozen=True, slots=True)
class Tuned:
    """The proposal of a search."""

    chosen: MemitHyperparameters
    trials: tuple[Trial, ...]  # all that was tried to find it, on the records to choose on
    # the proposal first, then what else was measured, on other records
    report: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Trials:
    """Makes trials, and notes each."""

    bench: Bench
    on_trial: Callable[[Trial], None]  # called with each trial, measured now or found from an earlier search
    within: Callable[[str], OnProgress]
    made: list[Trial] = field(default_factory=list)

    def tried(self, stage: Stage, hyperparameters: MemitHyperparameters, records: Sequence[Record]) -> Trial:
        """Make one trial."""
        return self.noted(Trial(stage, hyperparameters, len(records), self.cell(stage, hyperparameters, records)))

    def cell(self, stage: Stage, settings: MemitHyperparameters, records: Sequence[Record]) -> Cell:
        """Return the kept cell, or measure it."""
        return self.bench.find(settings, records) or self.bench.measure(settings, records, self.within(stage))

    def noted(self, trial: Trial) -> Trial:
        """Note a trial, and return it."""
        self.made.append(trial)
        self.on_trial(trial)
        return trial


@dataclass(frozen=True, slots=True)
class Work:
    """The most that a search has to do."""

    trials: int
    searched: int = 0  # facts whose targets are searched for
    refined: int = 0  # steps of refinement, each for every fact that it is of
    measured: int = 0  # records


def parts_of(records: Sequence[Record], num_edits: int) -> tuple[Sequence[Record], Sequence[Record]]:
    """Return the last `num_edits` records, to choose on, and those before them, to report on.

    Raises `DataSetError` if there are too few, or one has no score.
    """
    if num_edits < 1 or len(records) < 2 * num_edits:
        raise DataSetError(
            f"there are {len(records)} records; {num_edits} edits take as many to choose on and as many to report on"
        )
    for place, record in list(enumerate(records))[-2 * num_edits :]:
        if not record.case.paraphrases or not record.case.neighbors:
            raise DataSetError(f"record {place} has no score: it needs paraphrases and prompts about other subjects")
    return records[-num_edits:], records[-2 * num_edits : -num_edits]


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the least drift among those whose score is the best, or nearly so."""
    return min(as_good_as_the_best(trials), key=lambda trial: trial.drift)


def as_good_as_the_best(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials whose score is within `ALIKE` of the highest."""
    highest = max(trial.score for trial in trials)
    return [trial for trial in trials if trial.score >= highest - ALIKE]
