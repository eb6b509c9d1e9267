"""Two figures of a comparison: how each method does as edits grow, and what teacher forcing hides of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from errata.comparison.plan import RETRIEVED, RIGHT
from errata.comparison.results import Comparison, Row
from errata.evaluation import Estimate
from errata.figures import GREY, LOOKS, Axes, Figure, figure_of, panels_of, short_name, styled

ROWS = (
    ("score", "efficacy", "generalization", "specificity"),
    ("honest score", "said", "paraphrases said", "neighbours kept"),
)
LOOK_OF: Mapping[str, dict[str, Any]] = {
    "memit": LOOKS[0],
    "rome": LOOKS[1],
    "emmet": LOOKS[2],
    "alphaedit": LOOKS[3],
    "ft": LOOKS[4],
    "mend": LOOKS[5],
    "locft": LOOKS[6],
    "kn": LOOKS[7],
    RETRIEVED: {"color": GREY, "linestyle": "-", "marker": "x"},
}
OF_ALL_LOOKS: Mapping[str | None, dict[str, Any]] = {
    None: {"linestyle": ":", "label": "unedited"},
    RIGHT: {"linestyle": "--", "label": RIGHT},
}
BESIDE = 0.04  # of a number of edits, between the points of two methods, so that bands and markers can be told apart


@styled
def scaling_figure(comparison: Comparison) -> Figure:
    """Draw both scores and their three parts in percent against the number of edits, with 95 % bands.

    The upper row is by teacher forcing, the lower one, where it was measured, by free generation. A dotted line is the
    unedited model, a dashed one the same with the right fact before each prompt. A star is a figure that the authors
    publish. Where a method has no figure, the last line says why.
    """
    teacher_forced, free = ROWS
    rows = ROWS if comparison.is_measured(free[0]) else (teacher_forced,)
    figure = figure_of(
        1.6 + 2.2 * len(teacher_forced),
        1.1 + 2.2 * len(rows),
        title=f"{short_name(comparison.model)}: editing methods on {_records_of(comparison)}",
        reading=["bands: 95 % intervals over the records of all slices (the score's: normal; others: Wilson's)"],
    )
    titles = [title for row in rows for title in row]
    panels = panels_of(figure, titles, len(rows))
    sizes = sorted({*comparison.plan.slices, *(published.edits for published in comparison.published)})
    for axes, title in zip(panels, titles, strict=True):
        _draw(axes, comparison, title)
        axes.set_xscale("log")
        axes.set_xticks(sizes, list(map(str, sizes)))
        axes.set_xticks([], minor=True)
        axes.tick_params(labelleft=title in (teacher_forced[0], free[0]))
    for axes in panels[-len(free) :]:
        axes.set_xlabel("edits at once")
    for axes in panels[:: len(free)]:
        axes.set_ylabel("%")
    panels[0].set_ylim(-2, 102)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, handlelength=3.5)
    if missing := list(_missing(comparison)):
        figure.supxlabel("\n".join(missing), fontsize=7)
    return figure


@styled
def hidden_figure(comparison: Comparison) -> Figure:
    """Draw each figure by free generation against the same one by teacher forcing, in percent.

    A point is a method at one number of edits, larger where these are more. What lies below the diagonal is what
    teacher forcing promises and the model does not say.
    """
    figure = figure_of(
        9.4,
        3.6,
        title=f"{short_name(comparison.model)}: what teacher forcing hides, on {_records_of(comparison)}",
        reading=["each point: one method at one number of edits, the larger the more; lines join a method's numbers"],
    )
    pairs = list(zip(*ROWS, strict=True))[1:]
    sizes = sorted(comparison.plan.slices)
    panels = panels_of(figure, [free for _, free in pairs])
    for axes, (teacher_forced, free) in zip(panels, pairs, strict=True):
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, label="as much as teacher forcing says")
        columns = [comparison.columns[title] for title in (teacher_forced, free)]
        for method in (*comparison.plan.methods, RETRIEVED):
            look = LOOK_OF[method]
            rows = [row for row in comparison.rows if row.method == method and row.estimates.keys() >= set(columns)]
            across, up = ([100 * row.estimates[column].mean for row in rows] for column in columns)
            axes.plot(across, up, label=method, linewidth=0.6, markersize=3.5, **look)
            areas = [12 * (1 + 2 * sizes.index(row.edits)) for row in rows]
            axes.scatter(across, up, s=areas, c=look["color"], marker=look["marker"], alpha=0.6, linewidths=0.8)
        axes.set_xlabel(f"{teacher_forced} by teacher forcing, %")
        axes.set_xlim(-2, 102)
    panels[0].set_ylabel("by free generation, %")
    panels[0].set_ylim(-2, 102)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, handlelength=3.5)
    return figure


def _draw(axes: Axes, comparison: Comparison, title: str) -> None:
    """Draw one metric: all methods, the unedited model, and what the authors publish."""
    metric = comparison.columns[title]
    methods = (*comparison.plan.methods, RETRIEVED)
    for place, method in enumerate(methods):
        aside = 1 + BESIDE * (place - (len(methods) - 1) / 2)
        rows = [row for row in comparison.rows if row.method == method and metric in row.estimates]
        _draw_method(axes, method, [(row.edits * aside, row.estimates[metric]) for row in rows])
    for row in comparison.rows:
        if row.is_of_all and metric in row.estimates:
            axes.axhline(100 * row.estimates[metric].mean, color=GREY, linewidth=0.8, **OF_ALL_LOOKS[row.method])
    for published in comparison.published:
        method = published.method.lower()
        if method in comparison.plan.methods and method in LOOK_OF and title in published.metrics:
            axes.plot(
                published.edits,
                published.metrics[title],
                color=LOOK_OF[method]["color"],
                marker="*",
                linestyle="none",
                label=f"{published.method}, published",
            )


def _draw_method(axes: Axes, method: str, points: list[tuple[float, Estimate]]) -> None:
    """Draw the line of one method, with the band of its intervals where there are any."""
    edits, means = [size for size, _ in points], [100 * estimate.mean for _, estimate in points]
    look = LOOK_OF[method]
    axes.plot(edits, means, label=method, linewidth=1, markersize=3.5, markerfacecolor="white", **look)
    bounded = [(size, 100 * e.low, 100 * e.high) for size, e in points if e.low is not None and e.high is not None]
    sizes, lowest, highest = zip(*bounded, strict=True) if bounded else ((), (), ())
    axes.fill_between(sizes, lowest, highest, alpha=0.15, color=look["color"], linewidth=0)


def _records_of(comparison: Comparison) -> str:
    data = comparison.plan.data
    return f"{len(comparison.plan.records)} of {len(data.records)} {data.name} records of {short_name(data.source)}"


def _missing(comparison: Comparison) -> Iterator[str]:
    """Yield for each row that lacks figures which it is, and why."""
    for row in comparison.rows:
        if row.failures:
            yield f"{_name_of(row)}: {'; '.join(row.failures)}"


def _name_of(row: Row) -> str:
    return f"{row.method or 'unedited'}, {row.edits} {'edit' if row.edits == 1 else 'edits'}"
