"""The plot of `benchmarks/endurance.py`, from the figures that it wrote.

    python -m benchmarks.endurance_plot [docs/figures/endurance.json]

Beside the figures: an SVG, and a PNG of the same.
"""

import json
import sys
from pathlib import Path
from typing import Any

from errata.figures import BLACK, LOOKS, Axes, Figure, figure_of, letter, save, styled

PANELS = {
    "efficacy": "efficacy, %",
    "efficacy_accuracy": "efficacy accuracy, %",
    "generalization": "generalization, %",
    "specificity": "specificity, %",
    "drift": "drift, nats",
}
LOOK_OF: dict[str, dict[str, Any]] = {
    "rebuild": {**LOOKS[0], "label": "rebuild (Errata)", "markersize": 4},
    "stack": {**LOOKS[1], "label": "stack", "markersize": 4},
    "one_batch": {
        "label": "all facts in one batch",
        "color": BLACK,
        "linestyle": "none",
        "marker": "D",
        "markersize": 10,
        "fillstyle": "none",
    },
}


def main() -> None:
    file = Path(*(sys.argv[1:] or ["docs/figures/endurance.json"]))
    print("written:", *draw(file))


def draw(file: Path) -> tuple[Path, Path]:
    """Draw what `file` holds and save it beside it; return the files that were written."""
    return save(endurance_figure(json.loads(file.read_text())), file.parent, file.stem)


@styled
def endurance_figure(measured: dict[str, Any]) -> Figure:
    """Draw the shares of the first edit's facts and the drift, a panel for each."""
    facts = measured["facts_of_an_edit"]
    figure = figure_of(
        8.4,
        5.0,
        title=f"demo: the first {facts} facts after more and more edits of {facts} facts each",
        reading=[f"one run: a share is of {facts} facts, and there are no bands"],
    )
    *panels, beside = figure.subplots(2, 3).flat
    for place, (axes, (metric, title)) in enumerate(zip(panels, PANELS.items(), strict=True)):
        letter(axes, place, title)
        _draw_panel(axes, measured, metric)
    beside.axis("off")
    beside.legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False, handlelength=3.5)
    return figure


def _draw_panel(axes: Axes, measured: dict[str, Any], metric: str) -> None:
    is_share = metric != "drift"
    for name, look in LOOK_OF.items():
        points = measured[name] if name != "one_batch" else [measured[name]]
        edits = [point["edits"] for point in points]
        heights = [100 * point["first"][metric] if is_share else point["drift"] for point in points]
        axes.plot(edits, heights, **look)
    axes.set_xlabel("edits")
    axes.set_xlim(left=0)
    axes.set_ylim(*((-4, 104) if is_share else (0, 1.1 * axes.dataLim.ymax)))
    axes.grid(color="0.9")


if __name__ == "__main__":
    main()
