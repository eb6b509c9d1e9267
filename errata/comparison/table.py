"""The table of a comparison, in Markdown."""

from collections.abc import Iterator, Mapping, Sequence

from errata.comparison.data_sets import DataSetName
from errata.comparison.published import PublishedRow
from errata.comparison.results import FURTHER_COLUMNS, Comparison, Row
from errata.evaluation import Estimate

NONE = "–"  # noqa: RUF001 - as tables have it
TEACHER_FORCED: Mapping[DataSetName, str] = {
    "counterfact": "Score, efficacy, generalization, specificity are by teacher forcing: the likelier of two objects.",
    "zsre": "Score, efficacy, generalization, specificity are by teacher forcing: token accuracies.",
}


def table(comparison: Comparison) -> str:
    """Return the table: our rows, then the published ones; below it another one of what else was asked.

    All figures but drift and seconds are times 100, as in the paper.
    """
    measured = [title for title in comparison.columns if comparison.is_measured(title)]
    titles = [title for title in measured if title not in FURTHER_COLUMNS]
    lines = [
        *_header([*titles, "drift", "seconds"]),
        *(line([*_cells(row, comparison, titles), *_costs(row)]) for row in comparison.rows),
        *(line(_published_cells(row, titles)) for row in comparison.published),
    ]
    if further := [title for title in measured if title in FURTHER_COLUMNS]:
        rows = (line(_cells(row, comparison, further)) for row in comparison.rows)
        lines += ["", *_header(further), *rows]
    return "\n".join([*lines, *_notes(comparison)]) + "\n"


def _header(titles: Sequence[str]) -> list[str]:
    return [line(["edits (slices)", "method", *titles]), line(["---"] * (len(titles) + 2))]


def _cells(row: Row, comparison: Comparison, titles: Sequence[str]) -> list[str]:
    edits = f"0 (on {row.edits} records)" if row.is_of_all else f"{row.edits} ({row.slices})"
    figures = [percent(row.estimates.get(comparison.columns[title])) for title in titles]
    failed = " (failed)" if row.failures else ""
    return [edits, (row.method or "unedited") + failed, *figures]


def _costs(row: Row) -> list[str]:
    return [
        NONE if row.drift is None else f"{row.drift:.4f}",
        NONE if row.seconds is None else f"{row.seconds:.2f}",
    ]


def _published_cells(row: PublishedRow, titles: Sequence[str]) -> list[str]:
    figures = [f"{row.metrics[title]:.1f}" if title in row.metrics else NONE for title in titles]
    seconds = NONE if row.seconds is None else f"{row.seconds:.0f}"
    return [str(row.edits), f"{row.method}, published", *figures, NONE, seconds]


def percent(estimate: Estimate | None) -> str:
    """Write an estimate in percent, with its interval if it has one."""
    if estimate is None:
        return NONE
    mean = f"{100 * estimate.mean:.1f}"
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} ({100 * estimate.low:.1f}–{100 * estimate.high:.1f})"  # noqa: RUF001 - a range


def _notes(comparison: Comparison) -> Iterator[str]:
    yield f"\n{TEACHER_FORCED[comparison.plan.data.name]}"
    for row in comparison.rows:
        for failure in row.failures:
            yield f"\n{row.method}, {row.edits} edits: {failure}"
    for source in dict.fromkeys(row.source for row in comparison.published):
        yield f"\nPublished: {source}"


def line(cells: Sequence[str]) -> str:
    """Write a row of a table."""
    return f"| {' | '.join(cells)} |"
