"""Figures of traces, as in the papers: heat maps of one prompt, lines and bars of averages over facts."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from errata.facts import PLACEHOLDER
from errata.figures import (
    BLUE,
    COLOUR_MAP,
    GREY,
    LOOKS,
    ORANGE,
    VERMILION,
    Axes,
    Figure,
    figure_of,
    panels_of,
    short_name,
    styled,
)
from errata.tracing.averages import POSITIONS, Average, Position
from errata.tracing.fact_trace import FactsTrace
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import Kind, PromptTrace, Severing

COLOURS: Mapping[Severing, str] = {"neither": BLUE, "attention": ORANGE, "mlp": VERMILION}
HATCHES: Mapping[Severing, str] = {"neither": "", "attention": "....", "mlp": "////"}
LABELS: Mapping[Severing, str] = {"neither": "nothing severed", "attention": "attention severed", "mlp": "MLP severed"}
POSITION_LABELS: Mapping[Position, str] = {
    "first_subject": "first subject token",
    "middle_subject": "middle subject tokens",
    "last_subject": "last subject token",
    "first_subsequent": "first subsequent token",
    "further": "further tokens",
    "last": "last token",
}
BAR_WIDTH = 0.28
SHIFT = 0.06  # of a layer, between the lines of two positions, so that those at zero lie beside one another
INVISIBLE = 0.005  # of the largest bar: what is lower cannot be seen


@styled
def prompt_figure(trace: PromptTrace) -> Figure:
    """Draw a heat map of tokens and layers for each kind of restored output, all on one scale of colours."""
    subject, answer = trace.prompt.subject_tokens, trace.answer.strip()
    prompt = trace.prompt.template.replace(PLACEHOLDER, trace.prompt.subject)
    figure = figure_of(
        1.4 + 2.6 * len(trace.restored),
        1.7 + 0.2 * len(trace.tokens),
        title=f"{short_name(trace.model)}: “{prompt}” → “{answer}”",
        reading=[f"probability of the answer; {_corruption(trace.noise)}", "* tokens of the subject"],
    )
    tokens = [f"{token.strip()}{'*' if place in subject else ''}" for place, token in enumerate(trace.tokens)]
    lowest = min(trace.corrupted, *(float(table.min()) for table in trace.restored.values()))
    highest = max(trace.clean, *(float(table.max()) for table in trace.restored.values()))
    panels = panels_of(figure, [_restored(kind, trace.window) for kind in trace.restored])
    panels[0].set_yticks([place + 0.5 for place in range(len(tokens))], tokens)
    panels[0].invert_yaxis()
    for axes, table in zip(panels, trace.restored.values(), strict=True):
        cells = axes.pcolormesh(table.numpy(), cmap=COLOUR_MAP, vmin=lowest, vmax=highest)
        axes.tick_params(labelleft=axes is panels[0])
        ticks = _ticks(table.shape[1])
        axes.set_xticks([layer + 0.5 for layer in ticks], _names(ticks))
        axes.set_xlabel("layer")
    bar = figure.colorbar(cells, ax=panels, label=f"p({answer})")
    for name, probability in (("clean", trace.clean), ("corrupted", trace.corrupted)):
        bar.ax.axhline(probability, color=VERMILION, linewidth=1.5)
        bar.ax.text(-0.3, probability, name, color=VERMILION, ha="right", va="center")
    return figure


@styled
def effects_figure(trace: FactsTrace) -> Figure:
    """Draw the AIE by layer and by the token's place in its prompt, one panel for each kind of restored output."""
    figure = figure_of(
        1.8 + 2.8 * len(trace.effects),
        3.5,
        title=_facts_title(trace, "what restoring one state brings back"),
        reading=[_corruption(trace.noise), _intervals(trace, "bands")],
    )
    panels = panels_of(figure, [_restored(kind, trace.window) for kind in trace.effects])
    for axes, by_position in zip(panels, trace.effects.values(), strict=True):
        _mark_ends(axes, trace)
        for position, average in by_position.items():
            _draw_line(axes, position, average)
        axes.set_xticks(_ticks(len(trace.gaps["mlp"].mean) - 1))
        axes.set_xlabel("layer")
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel("average indirect effect")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, handlelength=3.5)
    return figure


@styled
def severed_figure(trace: FactsTrace) -> Figure:
    """Draw the AIE of the state that enters each layer at the subject's last token, also with modules severed."""
    figure = figure_of(
        7.2,
        3.5,
        title=_facts_title(trace, "what the subject's last token brings back, and through what"),
        reading=[_corruption(trace.noise), _intervals(trace, "whiskers")],
    )
    (axes,) = panels_of(figure, [f"layers proposed for edits: {', '.join(_names(trace.proposal.layers)) or 'none'}"])
    _mark_ends(axes, trace)
    for shift, severing in zip((-BAR_WIDTH, 0.0, BAR_WIDTH), COLOURS, strict=True):
        average = trace.severed[severing]
        axes.bar(
            [layer + shift for layer in range(len(average.mean))],
            average.mean,
            BAR_WIDTH,
            yerr=average.half_width or None,
            error_kw={"linewidth": 0.6},
            color=COLOURS[severing],
            edgecolor="white",
            linewidth=0,
            hatch=HATCHES[severing],
            label=LABELS[severing],
        )
    _say_why_there_are_no_bars(axes, trace)
    num_layers = len(trace.severed["neither"].mean) - 1
    axes.set_xticks([*_ticks(num_layers), num_layers], [*_names(_ticks(num_layers)), "head"])
    axes.set_xlabel("layer that the restored hidden state of the subject's last token enters")
    axes.set_ylabel("average indirect effect")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def _draw_line(axes: Axes, position: Position, average: Average) -> None:
    """Draw the AIE of one position, a little beside the others'; markers of many layers take turns."""
    place = POSITIONS.index(position)
    layers = [layer + SHIFT * (place - (len(POSITIONS) - 1) / 2) for layer in range(len(average.mean))]
    step = 1 if len(layers) <= 12 else len(POSITIONS) // 2
    axes.plot(
        layers,
        average.mean,
        label=POSITION_LABELS[position],
        linewidth=1,
        markersize=3.5,
        markerfacecolor="white",
        markevery=(place % step, step),
        **LOOKS[place],
    )
    if average.half_width:
        pairs = list(zip(average.mean, average.half_width, strict=True))
        lowest, highest = [mean - half for mean, half in pairs], [mean + half for mean, half in pairs]
        axes.fill_between(layers, lowest, highest, alpha=0.2, color=LOOKS[place]["color"], linewidth=0)


def _mark_ends(axes: Axes, trace: FactsTrace) -> None:
    """Draw where nothing is restored, and where everything is."""
    clean = fmean(fact.clean for fact in trace.facts)
    corrupted = fmean(fact.corrupted for fact in trace.facts)
    axes.axhline(clean - corrupted, color=GREY, linewidth=0.8, linestyle="--", label=f"clean: p = {clean:.3f}")
    axes.axhline(0, color=GREY, linewidth=0.8, label=f"corrupted: p = {corrupted:.3f}")


def _say_why_there_are_no_bars(axes: Axes, trace: FactsTrace) -> None:
    averages = list(trace.severed.values())
    largest = max(max(average.mean) for average in averages)
    head = len(averages[0].mean) - 1
    for layer in range(head + 1):
        if max(abs(average.mean[layer]) for average in averages) < INVISIBLE * largest:
            why = "no bar: no later layer reads it" if layer == head else "no bar: about 0"
            axes.text(layer, INVISIBLE * largest * 4, why, rotation=90, ha="center", va="bottom", color=GREY)


def _facts_title(trace: FactsTrace, what: str) -> str:
    number = len(trace.facts)
    return f"{short_name(trace.model)}, {number} {'fact' if number == 1 else 'facts'}: {what}"


def _corruption(noise: Noise) -> str:
    return f"corrupted: noise of {noise.level:g} standard deviations on the subject, {noise.num_samples} times"


def _intervals(trace: FactsTrace, what: str) -> str:
    if len(trace.facts) == 1:
        return "one fact has no interval"
    return f"{what}: 95 % intervals (1.96 standard errors over facts)"


def _restored(kind: Kind, window: int) -> str:
    if kind == "hidden":
        return "hidden state that leaves the layer"
    name = "MLP" if kind == "mlp" else "attention"
    return f"{name} outputs of {window} layers around it" if window > 1 else f"{name} output of the layer"


def _ticks(num_layers: int) -> list[int]:
    return list(range(0, num_layers, 1 if num_layers <= 12 else 5))


def _names(layers: Sequence[int]) -> list[str]:
    return [str(layer) for layer in layers]
