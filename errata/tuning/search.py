"""The full search: successive halving over layers and clamps, then one setting after another, then a report.

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
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from errata.comparison.cells import Bench, Cell, OnProgress
from errata.comparison.plan import slices_for
from errata.errors import NotFinite
from errata.evaluation import Record
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.tuning.grid import KL_FACTORS, REFINEMENT_COSTS, REFINEMENT_STEPS, WEIGHT_DECAYS, Grid
from errata.tuning.trials import Stage, Trial, Trials, Tuned, Work, as_good_as_the_best, best, parts_of

KEEP = 3  # of so many pairs one goes on to the next rung
RUNGS = (4, 2, 1)  # the records of a rung are those of an edit over this
LEAST_ON_A_RUNG = 5
AtLast = Literal["moment_weight", "refinement_cost", "weight_decay", "kl_factor"]
AT_LAST: tuple[AtLast, ...] = ("moment_weight", "refinement_cost", "weight_decay", "kl_factor")
FEWER = 10  # of so many parts of the records
MOST_SLICES = slices_for(1)  # as many edits of one record as a comparison makes; a tenth at a time, there are fewer
MOST_ALIKE = 6  # of those as good as the best, the best ones


def tune(
    bench: Bench,
    reporting: Bench,
    records: Sequence[Record],
    starts: Sequence[MemitHyperparameters],
    grid: Grid,
    num_edits: int,
    *,
    known: MemitHyperparameters,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    within: Callable[[str], OnProgress] = lambda piece: lambda stage, done, total: None,
) -> Tuned:
    """Choose on the last `num_edits` records, report on the ones before; those at the beginning are left alone.

    Args:
        bench: with a store of targets, which makes the search take a fraction of the time.
        reporting: of the same model, for the report.
        starts: what is not searched for is taken from them, and weight_decay and kl_factor at first. All are tried.
        num_edits: facts that the model is to be edited with at once.
        known: what the model is edited with so far, reported beside the proposal.
        on_trial: called with each trial, measured now or found from an earlier search.

    Raises:
        InvalidHyperparameters: a value out of its bounds, or a layer that the model does not have.
        DataSetError: too few records, or one that no score can be made of.
        InvalidFacts: a prompt does not fit into the model's context.
        StatisticsError: the second moments cannot be had.
        NotFinite: none of the settings can be computed.
    """
    on, reported_on = parts_of(records, num_edits)
    candidates = _candidates(bench.model, starts, grid)
    bench.require_room([*on, *reported_on])
    trials = Trials(bench, on_trial, within)
    found = _Search(trials, on, grid).found(candidates)
    if found.cell.failed is not None:
        raise NotFinite(f"no setting that was tried can be computed: {found.cell.failed}")
    reports = Trials(reporting, on_trial, within)
    compared = dict.fromkeys((found.hyperparameters, known))
    report = tuple(reports.tried("report", hyperparameters, reported_on) for hyperparameters in compared)
    return Tuned(found.hyperparameters, tuple(trials.made), report)


@dataclass(frozen=True, slots=True)
class _Search:
    """A search on some records."""

    trials: Trials
    records: Sequence[Record]
    grid: Grid

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
            finds += [self.trials.tried(name, other, self.records) for other in others]
            found = best(finds)  # of all on these records, so that scores given up for drift do not add up
        if found.cell.failed is not None:
            return found
        alike = sorted(as_good_as_the_best(finds), key=lambda trial: -trial.score)[:MOST_ALIKE]
        return max(alike, key=self._score_at_all_sizes)

    def _over_lambdas(self, stage: Stage, settings: MemitHyperparameters, records: Sequence[Record]) -> Trial:
        with_lambda = (settings.overridden({"moment_weight": value}) for value in self.grid.lambdas)
        return best([self.trials.tried(stage, each, records) for each in with_lambda])

    def _score_at_all_sizes(self, trial: Trial) -> float:
        """Return the mean score of a trial's settings with all records at once, and with fewer at a time."""
        fewer = [self._over_slices(trial.hyperparameters, size) for size in _fewer(len(self.records))]
        return fmean(one.score for one in (trial, *fewer))

    def _over_slices(self, settings: MemitHyperparameters, size: int) -> Trial:
        """Edit in `size` of the records at a time, and join all slices."""
        slices = [self.records[start : start + size] for start in range(0, len(self.records), size)][:MOST_SLICES]
        cells = [self.trials.cell("few", settings, part) for part in slices]
        return self.trials.noted(Trial("few", settings, size, _together(cells)))


def most_work(grid: Grid, num_edits: int, num_starts: int) -> Work:
    """Return the most that a search does, with its report. Targets are searched for once for each last layer."""
    pairs = num_starts * len(grid.layer_ranges) * len(grid.clamps)
    last_layers = num_starts * len({layers[-1] for layers in grid.layer_ranges}) * len(grid.clamps)
    on_rungs = through = measured = searched = before = 0
    for size in _rungs(num_edits):
        on_rungs += pairs * len(grid.lambdas)
        measured += pairs * len(grid.lambdas) * size
        searched += min(pairs, last_layers) * (size - before)
        through, pairs, before = pairs, math.ceil(pairs / KEEP), size
    refined = through * len(grid.lambdas)
    of_search, others = len(WEIGHT_DECAYS) + len(KL_FACTORS), 2 + len(REFINEMENT_COSTS)
    few, reported = MOST_ALIKE * len(_fewer(num_edits)), 2
    return Work(
        trials=on_rungs + refined + of_search + others + few + reported,
        searched=searched + (of_search + reported) * num_edits,
        refined=(refined + of_search + others + few + reported) * num_edits * REFINEMENT_STEPS,
        measured=measured + (refined + of_search + others + few + reported) * num_edits,
    )


def _rungs(num_edits: int) -> list[int]:
    """Return how many records each rung edits, ascending; the last one edits all."""
    return sorted({min(num_edits, max(LEAST_ON_A_RUNG, num_edits // share)) for share in RUNGS})


def _fewer(num_edits: int) -> list[int]:
    """Return the numbers of records to edit in at a time to tell similar settings apart, ascending."""
    return sorted({1, max(1, num_edits // FEWER)})


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
