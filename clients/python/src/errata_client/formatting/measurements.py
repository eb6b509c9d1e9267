"""Evaluations and traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from errata_client.formatting.words import why
from errata_client.tables import Extra, Free, Look, pairs, table

if TYPE_CHECKING:
    from errata_client import records


def format_evaluation(evaluation: records.Evaluation, look: Look) -> str:
    """Show the status of an evaluation, and each metric with its interval."""
    values: dict[str, object] = {"evaluation": evaluation.id, "status": evaluation.status}
    values |= {"version": evaluation.version, "records": evaluation.records, "note": evaluation.note}
    return _with_result(values | why(evaluation), evaluation.result, look)


def format_evaluations(evaluations: Iterable[records.Evaluation], look: Look) -> str:
    """Show a line for each evaluation."""
    header = ["evaluation", "status", "version", Extra("records"), Extra("score"), Extra("efficacy")]
    header += [Extra("specificity"), "created (UTC)", Free("note")]
    rows = []
    for e in evaluations:
        means = {name: estimate.mean for name, estimate in (e.result.estimates if e.result else {}).items()}
        figures = [means.get(name) for name in ("score", "efficacy", "specificity")]
        rows.append([e.id, e.status, e.version, e.records, *figures, e.created_at, e.note])
    return table(header, rows, look)


def format_trace(trace: records.Trace, look: Look) -> str:
    """Show the status of a trace, and the gist of it."""
    values: dict[str, object] = {"trace": trace.id, "status": trace.status}
    values |= {"facts": trace.facts} if trace.prompt is None else {"prompt": trace.prompt, "subject": trace.subject}
    if result := trace.result:
        values |= {"answer": result.answer} if result.answer is not None else {"known and traced": result.traced}
        values |= {"clean": result.clean, "corrupted": result.corrupted, "window": result.window}
        if result.layers is not None:
            values["layers to edit"] = ", ".join(map(str, result.layers)) or "none"
    values |= {"figures": ", ".join(trace.figures) or None, "note": trace.note}
    return pairs(values | why(trace), look)


def format_traces(traces: Iterable[records.Trace], look: Look) -> str:
    """Show a line for each trace."""
    header = ["trace", "status", Extra("facts"), Free("prompt"), Extra("subject"), Extra("layers"), "created (UTC)"]
    rows = []
    for t in traces:
        layers = ", ".join(map(str, t.result.layers)) if t.result and t.result.layers is not None else None
        rows.append([t.id, t.status, t.facts, t.prompt, t.subject, layers, t.created_at, t.note])
    return table([*header, Extra("note")], rows, look)


def _with_result(values: Mapping[str, object], result: records.EvaluationResult | None, look: Look) -> str:
    if result is None:
        return pairs(values, look)
    figures: dict[str, object] = {"drift": result.drift}
    if prose := result.prose:
        figures |= {"perplexity before": prose.perplexity_before, "perplexity after": prose.perplexity_after}
    rows = [[name.replace("_", " "), e.mean, e.low, e.high, e.count] for name, e in result.estimates.items()]
    estimates = table(["metric", "mean", "low", "high", "records"], rows, look)
    return f"{pairs({**values, **figures}, look)}\n\n{estimates}"
