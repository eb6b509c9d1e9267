"""The scaling plot: how each method does as the number of edits grows."""

from collections.abc import Mapping
from typing import Any

from errata.comparison.results import Comparison, Row
from errata.figures import Axes, Figure, figure_of, panels_of, styled

PANELS = ("score", "efficacy", "generalization", "specificity")
LOOKS: Mapping[str, dict[str, Any]] = {  # lines differ in dash and marker as well as in colour
    "memit": {"color": "#6a51a3", "linestyle": "-", "marker": "o"},
    "rome": {"color": "#cb181d", "linestyle": "--", "marker": "s"},
    "emmet": {"color": "#238b45", "linestyle": "-.", "marker": "^"},
    "alphaedit": {"color": "#2171b5", "linestyle": ":", "marker": "D"},
    "ft": {"color": "#d94801", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    "mend": {"color": "#525252", "linestyle": (0, (3, 1)), "marker": "P"},
}


@styled
def scaling_figure(comparison: Comparison) -> Figure:
    """Draw the score and its three parts in percent against the number of edits, with 95 % bands.

    A dotted line is the unedited model. A star is a figure that the authors publish.
    """
    figure = figure_of(1.4 + 2.2 * len(PANELS), 2.6)
    panels = panels_of(figure, len(PANELS))
    published_sizes = (published.edits for published in comparison.published)
    sizes = sorted({*comparison.plan.slices, *published_sizes})
    for axes, title in zip(panels, PANELS, strict=True):
        for method in comparison.plan.methods:
            _draw(axes, method, [row for row in comparison.rows if row.method == method], comparison.columns[title])
        for row in comparison.rows:
            if row.method is None and comparison.columns[title] in row.estimates:
                unedited = 100 * row.estimates[comparison.columns[title]].mean
                axes.axhline(unedited, color="#737373", linestyle=":", linewidth=0.8, label="unedited")
        for published in comparison.published:
            if (look := LOOKS.get(published.method.lower())) and published.method.lower() in comparison.plan.methods:
                axes.plot(
                    published.edits,
                    published.metrics[title],
                    color=look["color"],
                    marker="*",
                    linestyle="none",
                    label=f"{published.method}, published",
                )
        axes.set_xscale("log")
        axes.set_xticks(sizes, list(map(str, sizes)))
        axes.set_xticks([], minor=True)
        axes.set_title(title)
        axes.set_xlabel("edits at once")
    panels[0].set_ylabel("%")
    panels[0].set_ylim(-2, 102)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def _draw(axes: Axes, method: str, rows: list[Row], metric: str) -> None:
    """Draw the line of one method, with the band of its intervals where there are any."""
    points = [(row.edits, row.estimates[metric]) for row in rows if metric in row.estimates]
    edits = [size for size, _ in points]
    axes.plot(
        edits, [100 * estimate.mean for _, estimate in points], label=method, linewidth=1, markersize=3, **LOOKS[method]
    )
    bounded = [(size, e.low, e.high) for size, e in points if e.low is not None and e.high is not None]
    axes.fill_between(
        [size for size, _, _ in bounded],
        [100 * low for _, low, _ in bounded],
        [100 * high for _, _, high in bounded],
        alpha=0.15,
        color=LOOKS[method]["color"],
        linewidth=0,
    )
