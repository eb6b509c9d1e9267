"""The style of all figures, and the files that they are saved in. Modules that draw import this one.

Every figure has a title that says of what it is, lines that say how to read it, and a letter on each panel.
Colours are told apart by colour-blind readers, too; lines also differ in dash and marker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure

# Text stays text and ids follow from the content, so that an SVG is small and the same every time.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "errata",
    "font.size": 8,
    "figure.titlesize": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a dollar in a prompt is a dollar
}
DOTS_PER_INCH = 150

# Okabe and Ito's colours ("Color Universal Design", 2008), and a colour map whose lightness rises steadily.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY_BLUE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
BLACK, GREY = "#000000", "#737373"
COLOUR_MAP = "cividis"

LOOKS: Sequence[dict[str, Any]] = [  # of lines in one panel
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILION, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": PURPLE, "linestyle": ":", "marker": "D"},
    {"color": ORANGE, "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    {"color": BLACK, "linestyle": (0, (3, 1)), "marker": "P"},
    {"color": SKY_BLUE, "linestyle": "-", "marker": "X"},
    {"color": GREY, "linestyle": "--", "marker": "<"},
]

styled = rc_context(STYLE)


def figure_of(width: float, height: float, *, title: str, reading: Sequence[str]) -> Figure:
    """Return an empty figure of that many inches; the lines of `reading` tell how to read it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle("\n".join([title, *reading]))
    return figure


def panels_of(figure: Figure, titles: Sequence[str], num_rows: int = 1) -> Sequence[Axes]:
    """Return panels side by side, in rows of as many, lettered from a, all with the first one's vertical axis."""
    grid = num_rows, len(titles) // num_rows
    first = figure.add_subplot(*grid, 1)
    others = (figure.add_subplot(*grid, place, sharey=first) for place in range(2, len(titles) + 1))
    panels = [first, *others]
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        letter(axes, place, title)
    return panels


def letter(axes: Axes, place: int, title: str) -> None:
    """Give the panel at `place`, from 0, its letter and its title."""
    axes.set_title(f"({'abcdefgh'[place]}) {title}")


def short_name(name: str) -> str:
    """Return the last part of a path; anything else, such as a name on the hub, as it is."""
    return Path(name).name if Path(name).is_absolute() else name


@styled
def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure into `folder` as `name`.png and `name`.svg; return both paths."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, dpi=DOTS_PER_INCH)
    figure.savefig(svg, metadata={"Date": None})
    return png, svg
