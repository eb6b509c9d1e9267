"""Tracing a prompt or facts, with everything that is found in a file, and figures of it."""

import json
from collections.abc import Mapping
from statistics import fmean

from errata_client.records import Stage, Trace, TraceResult
from errata_registry.jobs.requests import TraceRequest

from errata.figures import Figure, save
from errata.files import durable
from errata.files.json_figures import with_nulls
from errata.model import EditableModel
from errata.tracing import plots
from errata.tracing.fact_trace import FactsTrace, trace_facts
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import KINDS, PromptTrace, trace_prompt
from errata.tracing.prompts import TracedPrompt
from errata_worker.running import Turn

TRACED = "trace.json"


def carry_out(turn: Turn[TraceRequest, Trace]) -> None:
    """Trace the base model as `errata.tracing` does, with everything that is found in a file, and figures of it.

    Raises:
        TracingError: what was asked for cannot be traced: the model knows none of the facts, say.
    """
    traced = _trace_prompt(turn) if turn.accepted.request.facts is None else _trace_facts(turn)
    figures = _figures(traced)
    for name, figure in figures.items():
        for path in save(figure, turn.folder, name):
            durable.sync(path)
    durable.write(turn.folder / TRACED, json.dumps(with_nulls(traced.as_dict()), ensure_ascii=False))
    files = tuple(f"{name}.{form}" for name in figures for form in ("svg", "png"))
    turn.end(result=_gist(traced), figures=files)


def _trace_prompt(turn: Turn[TraceRequest, Trace]) -> PromptTrace:
    request, model = turn.accepted.request, turn.resident.model
    assert request.prompt is not None and request.subject is not None
    turn.report(Stage.TRACE, 0, 1)
    prompt = TracedPrompt.of(model, request.prompt, request.subject, request.answer)
    traced = trace_prompt(model, prompt, _noise(model, [prompt.subject], request), window=request.window)
    turn.report(Stage.TRACE, 1, 1)
    return traced


def _trace_facts(turn: Turn[TraceRequest, Trace]) -> FactsTrace:
    request, model = turn.accepted.request, turn.resident.model
    facts = list(request.facts or ())
    turn.report(Stage.TRACE, 0, len(facts))
    return trace_facts(
        model,
        facts,
        _noise(model, [fact.subject for fact in facts], request),
        kinds=() if request.severed_only else KINDS,
        window=request.window,
        on_progress=lambda done, total: turn.report(Stage.TRACE, done, total),
    )


def _noise(model: EditableModel, subjects: list[str], request: TraceRequest) -> Noise:
    return Noise.for_subjects(
        model, subjects, level=request.noise_level, num_samples=request.num_samples, seed=request.seed
    )


def _figures(traced: PromptTrace | FactsTrace) -> Mapping[str, Figure]:
    """By their names."""
    if isinstance(traced, PromptTrace):
        return {"restored": plots.prompt_figure(traced)}
    severed = {"severed": plots.severed_figure(traced)}
    return {"effects": plots.effects_figure(traced), **severed} if traced.effects else severed


def _gist(traced: PromptTrace | FactsTrace) -> TraceResult:
    if isinstance(traced, PromptTrace):
        return TraceResult(
            answer=traced.answer.strip(),
            clean=traced.clean,
            corrupted=traced.corrupted,
            traced=1,
            window=traced.window,
        )
    return TraceResult(
        clean=fmean(fact.clean for fact in traced.facts),
        corrupted=fmean(fact.corrupted for fact in traced.facts),
        traced=len(traced.facts),
        window=traced.window,
        layers=traced.proposal.layers,
        peak=traced.proposal.peak,
    )
