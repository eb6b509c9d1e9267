"""The search: successive halving over layers and clamps, then one setting after another, then a report.

A rung edits more records than the one before, and a third of its pairs of layers and clamp go on. A pair is worth its
best score over all lambdas. These are tried anew on every rung, since what suits few facts does not suit many. That is
cheap: targets depend on the last layer and the clamp, not on lambda. Refinement uses the same targets, too; what passes
the last rung is tried with it, once more over all lambdas.

Many settings end with nearly the same score on all records at once. Whoever edits a hundred facts has edited one and
ten before. So the proposal is the setting with the best mean of its scores with all records at once, with a tenth of
them at a time, and with one. The report is on other records.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from errata.comparison.cells import Bench, Cell, OnProgress
from errata.comparison.plan import slices_for
from errata.errors import DataSetError, NotFinite
from errata.evaluation import Record
from errata.files.json_figures import finite_or_none, with_nulls
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.tuning.grid import KL_FACTORS, REFINEMENT_COSTS, REFINEMENT_STEPS, WEIGHT_DECAYS, Grid

KEEP = 3  # of so many pairs one goes on to the next rung
RUNGS = (4, 2, 1)  # the records of a rung are those of an edit over this
LEAST_ON_A_RUNG = 5
AtLast = Literal["moment_weight", "refinement_cost", "weight_decay", "kl_factor"]
AT_LAST: tuple[AtLast, ...] = ("moment_weight", "refinement_cost", "weight_decay", "kl_factor")
ALIKE = 0.0025  # scores as near as that, a paraphrase or two of a hundred records, are told apart by drift
FEWER = 10  # of so many parts of the records
MOST_SLICES = slices_for(1)  # as many edits of one record as a comparison makes; a tenth at a time, there are fewer
MOST_ALIKE = 6  # of those as good as the best, the best ones

Stage = Literal["rung", "refinement", "moment_weight", "refinement_cost", "weight_decay", "kl_factor", "few", "report"]


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
    # the proposal first, then the settings that the model was edited with so far, if any, on other records
    report: tuple[Trial, ...]


def tune(
    bench: Bench,
    reporting: Bench,
    records: Sequence[Record],
    starts: Sequence[MemitHyperparameters],
    grid: Grid,
    num_edits: int,
    *,
    known: MemitHyperparameters | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    within: Callable[[str], OnProgress] = lambda piece: lambda stage, done, total: None,
) -> Tuned:
    """Choose on the last `num_edits` records, report on the ones before; those at the beginning are left alone.

    Args:
        bench: with a store of targets, which makes the search take a fraction of the time.
        reporting: of the same model, for the report.
        starts: what is not searched for is taken from them, and weight_decay and kl_factor at first. All are tried.
        num_edits: facts that the model is to be edited with at once.
        known: reported beside the proposal.
        on_trial: called with each trial, measured now or found from an earlier search.

    Raises:
        InvalidHyperparameters: a value out of its bounds, or a layer that the model does not have.
        DataSetError: too few records, or one that no score can be made of.
        InvalidFacts: a prompt does not fit into the model's context.
        StatisticsError: the second moments cannot be had.
        NotFinite: none of the settings can be computed.
    """
    on, reported_on = _parts(records, num_edits)
    candidates = _candidates(bench.model, starts, grid)
    bench.require_room([*on, *reported_on])
    trying = _Trying(bench, on, grid, on_trial, within)
    found = trying.found(candidates)
    searched = tuple(trying.trials)
    if found.cell.failed is not None:
        raise NotFinite(f"no setting that was tried can be computed: {found.cell.failed}")
    compared = [found.hyperparameters, *([known] if known and known != found.hyperparameters else [])]
    reports = _Trying(reporting, reported_on, grid, on_trial, within)
    report = tuple(reports.tried("report", hyperparameters, reported_on) for hyperparameters in compared)
    return Tuned(found.hyperparameters, searched, report)


@dataclass(frozen=True, slots=True)
class _Trying:
    """Makes trials on some records, and notes each."""

    bench: Bench
    records: Sequence[Record]
    grid: Grid
    on_trial: Callable[[Trial], None]
    within: Callable[[str], OnProgress]
    trials: list[Trial] = field(default_factory=list)

    def found(self, candidates: Sequence[MemitHyperparameters]) -> Trial:
        """Search from pairs of layers and clamp; return the best trial on all records."""
        num_edits = len(self.records)
        for size in _rungs(num_edits):
            finds = [self._over_lambdas("rung", candidate, self.records[:size]) for candidate in candidates]
            if size < num_edits:
                finds = sorted(finds, key=lambda trial: -trial.score)[: math.ceil(len(finds) / KEEP)]
            candidates = [find.hyperparameters for find in finds]
        refined = [candidate.overridden({"refinement_steps": REFINEMENT_STEPS}) for candidate in candidates]
        finds += [self._over_lambdas("refinement", candidate, self.records) for candidate in refined]
        found = best(finds)
        for name in AT_LAST:
            others = [found.hyperparameters.overridden({name: value}) for value in _others(name, found.hyperparameters)]
            finds += [self.tried(name, other, self.records) for other in others]
            found = best(finds)  # of all on these records, so that scores given up for drift do not add up
        if found.cell.failed is not None:
            return found
        alike = sorted(_as_good_as_the_best(finds), key=lambda trial: -trial.score)[:MOST_ALIKE]
        return max(alike, key=self._score_at_all_sizes)

    def tried(self, stage: Stage, hyperparameters: MemitHyperparameters, records: Sequence[Record]) -> Trial:
        """Make one trial."""
        return self._noted(Trial(stage, hyperparameters, len(records), self._cell(stage, hyperparameters, records)))

    def _over_lambdas(self, stage: Stage, settings: MemitHyperparameters, records: Sequence[Record]) -> Trial:
        with_lambda = (settings.overridden({"moment_weight": value}) for value in self.grid.lambdas)
        return best([self.tried(stage, each, records) for each in with_lambda])

    def _score_at_all_sizes(self, trial: Trial) -> float:
        """Return the mean score of a trial's settings with all records at once, and with fewer at a time."""
        fewer = [self._over_slices(trial.hyperparameters, size) for size in _fewer(len(self.records))]
        return fmean(one.score for one in (trial, *fewer))

    def _over_slices(self, settings: MemitHyperparameters, size: int) -> Trial:
        """Edit in `size` of the records at a time, and join all slices."""
        slices = [self.records[start : start + size] for start in range(0, len(self.records), size)][:MOST_SLICES]
        cells = [self._cell("few", settings, part) for part in slices]
        return self._noted(Trial("few", settings, size, _together(cells)))

    def _cell(self, stage: Stage, settings: MemitHyperparameters, records: Sequence[Record]) -> Cell:
        return self.bench.find(settings, records) or self.bench.measure(settings, records, self.within(stage))

    def _noted(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        self.on_trial(trial)
        return trial


def most_trials(grid: Grid, num_edits: int, num_starts: int) -> int:
    """Return the largest number of trials that a search makes, with its report."""
    pairs = num_starts * len(grid.layer_ranges) * len(grid.clamps)
    on_rungs = through = 0
    for _ in _rungs(num_edits):
        on_rungs += pairs * len(grid.lambdas)
        through, pairs = pairs, math.ceil(pairs / KEEP)
    with_refinement = through * len(grid.lambdas)
    at_last, reported = 2 + len(REFINEMENT_COSTS) + len(WEIGHT_DECAYS) + len(KL_FACTORS), 2
    return on_rungs + with_refinement + at_last + MOST_ALIKE * len(_fewer(num_edits)) + reported


def _rungs(num_edits: int) -> list[int]:
    """Return how many records each rung edits, ascending; the last one edits all."""
    return sorted({min(num_edits, max(LEAST_ON_A_RUNG, num_edits // share)) for share in RUNGS})


def _fewer(num_edits: int) -> list[int]:
    """Return the numbers of records to edit in at a time to tell similar settings apart, ascending."""
    return sorted({1, max(1, num_edits // FEWER)})


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the least drift among those whose score is the best, or nearly so."""
    return min(_as_good_as_the_best(trials), key=lambda trial: trial.drift)


def _as_good_as_the_best(trials: Sequence[Trial]) -> list[Trial]:
    highest = max(trial.score for trial in trials)
    return [trial for trial in trials if trial.score >= highest - ALIKE]


def _together(cells: Sequence[Cell]) -> Cell:
    """Join edits of some records each into one cell over all records; return the first that failed, if one did."""
    for cell in cells:
        if cell.failed is not None:
            return cell
    return Cell(
        metrics=tuple(metrics for cell in cells for metrics in cell.metrics),
        drift=fmean(math.nan if cell.drift is None else cell.drift for cell in cells),
        seconds=fmean(cell.seconds for cell in cells),
    )


def _parts(records: Sequence[Record], num_edits: int) -> tuple[Sequence[Record], Sequence[Record]]:
    """Return the records to choose on, and those to report on."""
    if num_edits < 1 or len(records) < 2 * num_edits:
        raise DataSetError(
            f"there are {len(records)} records; {num_edits} edits take as many to choose on and as many to report on"
        )
    for place, record in list(enumerate(records))[-2 * num_edits :]:
        if not record.case.paraphrases or not record.case.neighbors:
            raise DataSetError(f"record {place} has no score: it needs paraphrases and prompts about other subjects")
    return records[-num_edits:], records[-2 * num_edits : -num_edits]


def _candidates(model: EditableModel, starts: Sequence[MemitHyperparameters], grid: Grid) -> list[MemitHyperparameters]:
    """Combine all starts, layers and clamps, without refinement; check each with every lambda."""
    candidates = [
        start.overridden({"layers": layers, "clamp": clamp, "refinement_steps": 0})
        for start in starts
        for layers in grid.layer_ranges
        for clamp in grid.clamps
    ]
    for candidate in candidates:
        model.require_editable(candidate.layers)
        for value in grid.lambdas:
            candidate.overridden({"moment_weight": value})
    return candidates


def _others(name: AtLast, found: MemitHyperparameters) -> list[float]:
    """Return the other values to try of one setting."""
    if name == "moment_weight":
        bounds = MemitHyperparameters.bounds(name)
        near = (float(f"{found.moment_weight * factor:.2g}") for factor in (10**-0.5, 10**0.5))
        return [value for value in near if bounds.low <= value <= bounds.high]
    if name == "refinement_cost" and not found.refinement_steps:
        return []
    values = {"refinement_cost": REFINEMENT_COSTS, "weight_decay": WEIGHT_DECAYS, "kl_factor": KL_FACTORS}[name]
    return [value for value in values if value != getattr(found, name)]
