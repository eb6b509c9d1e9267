"""Figures of traces, as in the papers: heat maps of one prompt, lines and bars of averages over facts."""

from collections.abc import Mapping, Sequence

from errata.figures import Figure, figure_of, panels_of, styled
from errata.tracing.averages import Average, Position
from errata.tracing.fact_trace import FactsTrace
from errata.tracing.prompt_trace import Kind, PromptTrace, Severing

COLOURS: Mapping[Severing, str] = {"neither": "#6a51a3", "attention": "#cb181d", "mlp": "#238b45"}
COLOUR_MAPS: Mapping[Kind, str] = {"hidden": "Purples", "mlp": "Greens", "attention": "Reds"}
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


@styled
def prompt_figure(trace: PromptTrace) -> Figure:
    """Draw a heat map of tokens and layers for each kind of restored output. The subject's tokens are starred."""
    figure = figure_of(3.6 * len(trace.restored), 0.9 + 0.2 * len(trace.tokens))
    subject = trace.prompt.subject_tokens
    tokens = [f"{token.strip()}{'*' if place in subject else ''}" for place, token in enumerate(trace.tokens)]
    highest = max(trace.clean, *(float(table.max()) for table in trace.restored.values()))
    panels = panels_of(figure, len(trace.restored))
    panels[0].invert_yaxis()
    for axes, (kind, table) in zip(panels, trace.restored.items(), strict=True):
        cells = axes.pcolormesh(table.numpy(), cmap=COLOUR_MAPS[kind], vmin=trace.corrupted, vmax=highest)
        axes.set_yticks([place + 0.5 for place in range(len(tokens))], tokens)
        axes.set_xticks([layer + 0.5 for layer in _ticks(table.shape[1])], _names(_ticks(table.shape[1])))
        axes.set_xlabel(_restored_at(kind, trace.window))
        figure.colorbar(cells, ax=axes, label=f"p({trace.answer.strip()})")
    return figure


@styled
def effects_figure(trace: FactsTrace) -> Figure:
    """Draw the AIE by layer and by the token's place in its prompt, one panel for each kind of restored output."""
    figure = figure_of(1.6 + 2.8 * len(trace.effects), 2.6)
    panels = panels_of(figure, len(trace.effects))
    for axes, (kind, by_position) in zip(panels, trace.effects.items(), strict=True):
        for position, average in by_position.items():
            layers = range(len(average.mean))
            (line,) = axes.plot(layers, average.mean, label=POSITION_LABELS[position], linewidth=1)
            if average.half_width:
                lowest, highest = _interval(average)
                axes.fill_between(layers, lowest, highest, alpha=0.25, color=line.get_color(), linewidth=0)
        axes.set_xticks(_ticks(len(layers)))
        axes.set_xlabel(_restored_at(kind, trace.window))
    panels[0].set_ylabel("average indirect effect")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


@styled
def severed_figure(trace: FactsTrace) -> Figure:
    """Draw the AIE of the state that enters each layer at the subject's last token, also with modules severed."""
    figure = figure_of(6.4, 2.6)
    (axes,) = panels_of(figure, 1)
    for shift, severing in zip((-BAR_WIDTH, 0.0, BAR_WIDTH), COLOURS, strict=True):
        average = trace.severed[severing]
        axes.bar(
            [layer + shift for layer in range(len(average.mean))],
            average.mean,
            BAR_WIDTH,
            yerr=average.half_width or None,
            error_kw={"linewidth": 0.6},
            color=COLOURS[severing],
            label=LABELS[severing],
        )
    num_layers = len(trace.severed["neither"].mean) - 1
    axes.set_xticks([*_ticks(num_layers), num_layers], [*_names(_ticks(num_layers)), "head"])
    axes.set_xlabel("layer that the restored hidden state of the subject's last token enters")
    axes.set_ylabel("average indirect effect")
    axes.legend(frameon=False)
    return figure


def _restored_at(kind: Kind, window: int) -> str:
    if kind == "hidden":
        return "layer whose hidden state is restored"
    name = "MLP" if kind == "mlp" else "attention"
    return f"centre of {window} layers of restored {name} outputs"


def _ticks(num_layers: int) -> list[int]:
    return list(range(0, num_layers, 1 if num_layers <= 12 else 5))


def _names(layers: Sequence[int]) -> list[str]:
    return [str(layer) for layer in layers]


def _interval(average: Average) -> tuple[list[float], list[float]]:
    pairs = list(zip(average.mean, average.half_width, strict=True))
    return [mean - half for mean, half in pairs], [mean + half for mean, half in pairs]
