"""The plot of `benchmarks/endurance.py`, from the figures that it wrote.

    python -m benchmarks.endurance_plot [docs/figures/endurance.json]

Beside the figures: an SVG, and a PNG of the same. Lines differ in dash and marker as well as in colour.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PANELS = {
    "efficacy": "Efficacy, %",
    "efficacy_accuracy": "Efficacy accuracy, %",
    "generalization": "Generalization, %",
    "specificity": "Specificity, %",
    "drift": "Drift, nats",
}
LOOKS: dict[str, dict[str, Any]] = {
    "rebuild": {"label": "rebuild (Errata)", "color": "#1b4f8a", "linestyle": "-", "marker": "o", "markersize": 4},
    "stack": {"label": "stack", "color": "#c8552b", "linestyle": "--", "marker": "s", "markersize": 4},
    "one_batch": {
        "label": "all facts in one batch",
        "color": "black",
        "linestyle": "none",
        "marker": "D",
        "markersize": 10,
        "fillstyle": "none",
    },
}


def main() -> None:
    print("written:", *draw(Path(*(sys.argv[1:] or ["docs/figures/endurance.json"]))))


def draw(figures: Path) -> tuple[Path, Path]:
    """Draw the shares of the first edit's facts and the drift, a panel for each; return the files that were written."""
    measured = json.loads(figures.read_text())
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    grid = figure.subplots(2, 3)
    *panels, beside = grid.flat
    for axes, (metric, title) in zip(panels, PANELS.items(), strict=True):
        _panel(axes, measured, metric, title)
    beside.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    beside.legend(handles, labels, loc="center", frameon=False, handlelength=3)
    facts = measured["facts_of_an_edit"]
    figure.suptitle(f"The first {facts} facts after more and more edits of {facts} facts each", fontsize=12)
    svg, png = figures.with_suffix(".svg"), figures.with_suffix(".png")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "errata"}):  # text stays text; no random names
        figure.savefig(svg, metadata={"Date": None})
    figure.savefig(png, dpi=110)
    return svg, png


def _panel(axes: Axes, measured: dict[str, Any], metric: str, title: str) -> None:
    is_share = metric != "drift"
    for name in LOOKS:
        points = measured[name] if name != "one_batch" else [measured[name]]
        edits = [point["edits"] for point in points]
        heights = [100 * point["first"][metric] if is_share else point["drift"] for point in points]
        axes.plot(edits, heights, **LOOKS[name])
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("edits", fontsize=9)
    axes.set_xlim(left=0)
    axes.set_ylim(*((-4, 104) if is_share else (0, None)))
    axes.grid(color="0.9")
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
