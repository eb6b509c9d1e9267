"""The rows of the table: the cells of all slices of one size, joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from errata.comparison.cells import Cell
from errata.comparison.data_sets import DataSetName
from errata.comparison.plan import OF_ALL, Plan, Step
from errata.comparison.published import PublishedRow, published_rows
from errata.evaluation import Estimate
from errata.evaluation.results import estimates_over
from errata.files.json_figures import with_nulls
from errata.model import EditableModel

COLUMNS: Mapping[DataSetName, Mapping[str, str]] = {
    "counterfact": {
        "score": "score",
        "efficacy": "efficacy",
        "generalization": "generalization",
        "specificity": "specificity",
        "fluency": "fluency",
        "consistency": "consistency",
    },
    "zsre": {
        "score": "token_score",
        "efficacy": "efficacy_token_accuracy",
        "generalization": "generalization_token_accuracy",
        "specificity": "specificity_token_accuracy",
    },
}
"""The columns of the paper's tables, and which of `errata.evaluation.METRICS` each of them is."""
FREE_COLUMNS: Mapping[str, str] = {
    "honest score": "honest_score",
    "said": "said_freely",
    "paraphrases said": "paraphrases_freely",
    "neighbours kept": "neighbors_freely",
}
"""The same by free generation."""
FURTHER_COLUMNS: Mapping[str, str] = {
    "after a prefix": "said_after_prefix",
    "in chat": "in_chat",
    "yes to new": "yes_to_new",
    "no to old": "no_to_old",
    "no to negated": "no_to_negated",
    'unsaid after "not"': "unsaid_after_not",
    "choice of new": "choice_of_new",
    "choice of old": "choice_of_old",
    "two hops": "two_hops",
    "reversal": "reversal",
    "aliases": "aliases",
    "logic": "logic",
}
"""What else critics ask, in a table of its own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one number of edits, over all its slices."""

    # None for the unedited model; one of `plan.IN_CONTEXT` where facts stand before its prompts
    method: str | None
    edits: int  # at once; of the rows that are of all numbers of edits, the records that they were measured on
    slices: int
    estimates: Mapping[str, Estimate]  # of the metrics, over the records of all slices
    drift: float | None  # mean over slices; None where nothing is edited
    seconds: float | None  # the same
    norms: Mapping[int, float]  # of each layer's update, over the base's matrix, mean over slices
    failures: tuple[str, ...]  # what became of the slices that have no figures

    @property
    def is_of_all(self) -> bool:
        """True of what one row shows for all numbers of edits."""
        return self.method in OF_ALL

    @classmethod
    def of(cls, step: Step, cells: Sequence[Cell]) -> Row:
        """Join the cells of all slices of one step."""
        done = [cell for cell in cells if cell.failed is None]
        metrics = [of_one for cell in done for of_one in cell.metrics]
        is_edit = step.hyperparameters is not None and bool(done)
        # Which layers are changed is a matter of the facts for some methods (knowledge neurons).
        layers = sorted({layer for cell in done for layer in cell.norms or {}})
        return cls(
            method=step.method,
            edits=len(step.records),
            slices=len(cells),
            estimates=estimates_over(metrics) if metrics else {},
            drift=fmean(cell.drift or 0.0 for cell in done) if is_edit else None,
            seconds=fmean(cell.seconds for cell in done) if is_edit else None,
            norms={layer: fmean((cell.norms or {}).get(layer, 0.0) for cell in done) for layer in layers},
            failures=tuple(dict.fromkeys(cell.failed for cell in cells if cell.failed is not None)),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan, and its measurements."""

    plan: Plan
    model: str
    rows: tuple[Row, ...]

    @property
    def columns(self) -> Mapping[str, str]:
        """The titles of the table's columns, and the metric that each shows."""
        return {**COLUMNS[self.plan.data.name], **FREE_COLUMNS, **FURTHER_COLUMNS}

    def is_measured(self, title: str) -> bool:
        """Return True if a row has a figure in a column."""
        return any(self.columns[title] in row.estimates for row in self.rows)

    @property
    def published(self) -> list[PublishedRow]:
        """The authors' published rows for the same model and data set."""
        return published_rows(self.plan.data.name, self.model)

    def as_dict(self, model: EditableModel) -> dict[str, Any]:
        """Return plain JSON values of everything but the single records, which the cells hold."""
        data = self.plan.data
        return {
            "data_set": {"name": data.name, "source": data.source, "records": len(data.records)},
            "model": {
                "name": self.model,
                "digest": model.digest,
                "dtype": str(model.network.dtype).removeprefix("torch."),
                "device": str(model.device),
            },
            "hyperparameters": {method: record.as_dict() for method, record in self.plan.methods.items()},
            "columns": dict(self.columns),
            "rows": with_nulls(self.rows),
            "published": with_nulls(self.published),
        }


def compared(plan: Plan, model: str, measured: Iterable[tuple[Step, Cell]]) -> Comparison:
    """Join the measurements of a plan, or of a part of it, into rows."""
    groups: dict[tuple[str | None, int], list[tuple[Step, Cell]]] = {}
    for step, cell in measured:
        groups.setdefault((step.method, len(step.records)), []).append((step, cell))
    rows = [Row.of(group[0][0], [cell for _, cell in group]) for group in groups.values()]
    return Comparison(plan, model, tuple(rows))
