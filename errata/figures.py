"""The style of all figures, and the files that they are saved in. Modules that draw import this one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure

# Text stays text and ids follow from the content, so that an SVG is small and the same every time.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "errata", "font.size": 8}
DOTS_PER_INCH = 150

styled = rc_context(STYLE)


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure of that many inches."""
    return Figure(figsize=(width, height), layout="constrained")


def panels_of(figure: Figure, number: int) -> Sequence[Axes]:
    """Return panels side by side, all with the first one's vertical axis."""
    first = figure.add_subplot(1, number, 1)
    return [first, *(figure.add_subplot(1, number, place, sharey=first) for place in range(2, number + 1))]


@styled
def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure into `folder` as `name`.png and `name`.svg; return both paths."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, dpi=DOTS_PER_INCH)
    figure.savefig(svg, metadata={"Date": None})
    return png, svg
