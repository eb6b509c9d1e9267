"""`errata trace`: the causal trace of one prompt or of many facts, as JSON and figures in a folder."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import errata_client
import torch
from errata_registry.settings import Settings

from errata import figures
from errata.demo import DEMO
from errata.demo.world import load_world
from errata.errors import TracingError
from errata.facts import Fact
from errata.files import durable
from errata.files.json_figures import with_nulls
from errata.model import EditableModel
from errata.tracing import plots
from errata.tracing.fact_trace import FactsTrace, trace_facts
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import KINDS, trace_prompt
from errata.tracing.prompts import TracedPrompt

DEMO_FACTS = 100


def trace(arguments: argparse.Namespace, settings: Settings) -> None:
    """Trace what the command line names, and write the results into its folder.

    Raises:
        ErrataError: the model cannot be loaded, what is named cannot be traced, or the folder cannot be written to.
    """
    if bool(arguments.prompt) != bool(arguments.subject):
        raise TracingError("--prompt and --subject are given together")
    facts = [] if arguments.prompt else _facts(arguments, settings)
    model = EditableModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
    if arguments.prompt:
        _trace_prompt(model, arguments)
    else:
        _trace_facts(model, facts, arguments)


def _facts(arguments: argparse.Namespace, settings: Settings) -> list[Fact]:
    """The facts of the file, or for the demo model those of its world; a draw of them where fewer are asked for."""
    if arguments.facts:
        facts, wanted = _read(arguments.facts), None
    elif settings.model == DEMO:
        facts = [Fact(fact.subject, fact.relation.edit_phrasing, fact.object) for fact in load_world().facts]
        wanted = DEMO_FACTS
    else:
        raise TracingError("--facts or --prompt must say what to trace; only the demo model brings facts of its own")
    wanted = wanted if arguments.num_facts is None else arguments.num_facts
    if wanted is None or wanted >= len(facts):
        return facts
    if wanted < 1:
        raise TracingError(f"--num-facts {wanted}: there must be a fact to trace")
    return random.Random(arguments.seed).sample(facts, wanted)


def _read(file: Path) -> list[Fact]:
    try:
        return [Fact(fact.subject, fact.relation, fact.object) for fact in errata_client.read_facts(file).values()]
    except (OSError, ValueError) as error:
        raise TracingError(f"{file} cannot be read: {error}") from error


def _trace_prompt(model: EditableModel, arguments: argparse.Namespace) -> None:
    prompt = TracedPrompt.of(model, arguments.prompt, arguments.subject, arguments.answer)
    noise = _noise(model, [prompt.subject], arguments)
    _make(arguments.out)
    traced = trace_prompt(model, prompt, noise, window=arguments.window)
    print(f"p({traced.answer.strip()}): {traced.clean:.3f} clean, {traced.corrupted:.3f} corrupted")
    figures.save(plots.prompt_figure(traced), arguments.out, "restored")
    _write(arguments.out, traced.as_dict())


def _trace_facts(model: EditableModel, facts: list[Fact], arguments: argparse.Namespace) -> None:
    noise = _noise(model, [fact.subject for fact in facts], arguments)
    _make(arguments.out)
    kinds = () if arguments.severed_only else KINDS
    traced = trace_facts(model, facts, noise, kinds=kinds, window=arguments.window, on_progress=_show_progress)
    print(_summary(traced))
    if traced.effects:
        figures.save(plots.effects_figure(traced), arguments.out, "effects")
    figures.save(plots.severed_figure(traced), arguments.out, "severed")
    _write(arguments.out, traced.as_dict())


def _noise(model: EditableModel, subjects: list[str], arguments: argparse.Namespace) -> Noise:
    return Noise.for_subjects(
        model, subjects, level=arguments.noise_level, num_samples=arguments.num_samples, seed=arguments.seed
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TracingError(f"the folder for the results cannot be made: {error}") from error


def _summary(traced: FactsTrace) -> str:
    """AIE by layer with and without modules severed, and the layers that it speaks for."""
    lines = [
        f"{len(traced.facts)} of {traced.num_given} facts known and traced",
        f"{'layer entered':<14}{'neither':>16}{'attention severed':>20}{'MLP severed':>16}{'MLP gap':>16}",
    ]
    columns = [*(traced.severed[severing] for severing in ("neither", "attention", "mlp")), traced.gaps["mlp"]]
    num_layers = len(traced.gaps["mlp"].mean) - 1
    for layer in range(num_layers + 1):
        cells = [
            f"{average.mean[layer]:z.3f}" + (f" ± {average.half_width[layer]:.3f}" if average.half_width else "")
            for average in columns
        ]
        name = str(layer) if layer < num_layers else "head"
        lines.append(f"{name:<14}{cells[0]:>16}{cells[1]:>20}{cells[2]:>16}{cells[3]:>16}")
    layers = ", ".join(map(str, traced.proposal.layers)) or "none: severing the MLPs costs nothing that can be told"
    return "\n".join([*lines, f"layers to edit: {layers}"])


def _show_progress(done: int, total: int) -> None:
    print(f"{done}/{total} facts", end="\n" if done == total else "\r", file=sys.stderr, flush=True)


def _write(folder: Path, traced: dict[str, Any]) -> None:
    durable.write(folder / "trace.json", json.dumps(with_nulls(traced), indent=1, ensure_ascii=False))
    print(f"trace.json and figures are in {folder}")
