"""Edits, and how their facts took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from errata_client.formatting.facts import format_changes
from errata_client.formatting.probes import format_missed_prompts
from errata_client.formatting.versions import measured
from errata_client.formatting.words import counted, why
from errata_client.tables import Extra, Free, Look, cell, pairs, table

if TYPE_CHECKING:
    from errata_client import records


def format_edits(edits: Iterable[records.Edit], look: Look) -> str:
    """Show a line for each edit."""
    header = ["edit", "status", Extra("facts"), Extra("retracted"), "version", Extra("not taken"), "created (UTC)"]
    header += [Extra("by"), Free("note")]
    rows = [
        [e.id, e.status, e.facts, e.retracted, e.version, e.not_taken, e.created_at, e.by, _what_for(e)] for e in edits
    ]
    return table(header, rows, look)


def format_edit(edit: records.Edit, look: Look) -> str:
    """Show what came of an edit, what it replaces, and what its version lacks."""
    values: dict[str, object] = {"edit": edit.id, "status": edit.status}
    if edit.dry_run:
        values["dry run"] = "yes: nothing was kept" if edit.ended else "yes: nothing will be kept"
    if edit.rebuild:
        values["rebuild"] = "yes"
    elif edit.facts or not edit.retracted:
        values["facts"] = edit.facts
    for name in ("added", "changed", "retracted"):
        if (count := getattr(edit, name)) is not None and (count or edit.facts):
            values[name] = count
    for name in ("base", "version", "retries", "note"):
        if getattr(edit, name) is not None:
            values[name] = getattr(edit, name)
    if edit.not_taken:
        values["not taken"] = _not_taken(edit, edit.not_taken)
    parts = [pairs(values | measured(edit.metrics) | why(edit), look)]
    parts += [_miss(miss, look) for miss in edit.error.misses if miss.prompts] if edit.error else []
    if edit.changes:
        parts.append(format_changes(edit.changes, look))
        more = (edit.changed or 0) + (edit.retracted or 0) - len(edit.changes)
        if more > 0:
            parts[-1] += f"\nand {more} more"
    if edit.duplicates:
        parts.append("\n".join(f"probable duplicates: {_alike(group)}" for group in edit.duplicates))
    return "\n\n".join(parts)


def format_outcomes(outcomes: Iterable[records.FactOutcome], look: Look) -> str:
    """Show a line for each fact."""
    header = [Extra("fact"), Free("subject"), Free("relation"), Free("object"), "took", Extra("likelier")]
    header += [Extra("before"), "after", Extra("paraphrases"), Extra("neighbors lost")]
    shown = list(outcomes)
    rows = [
        [
            *(fact.id, fact.subject, fact.relation, fact.object),
            "yes" if fact.took else "lost" if fact.lost else "no",
            "yes" if fact.likelier else "no",
            *(fact.probability_before, fact.probability_after, fact.paraphrases_followed, len(fact.neighbors_lost)),
        ]
        for fact in shown
    ]
    if any(fact.said_in_chat is not None for fact in shown):
        header.append(Extra("in chat"))
        rows = [[*row, fact.said_in_chat] for row, fact in zip(rows, shown, strict=True)]
    return table(header, rows, look)


def _what_for(edit: records.Edit) -> str | None:
    kinds = [name for name, is_so in (("dry run", edit.dry_run), ("rebuild", edit.rebuild)) if is_so]
    return ": ".join(filter(None, [", ".join(kinds), edit.note])) or None


def _not_taken(edit: records.Edit, count: int) -> str:
    """Say how many facts the version does not say, and why efficacy may be 1 all the same."""
    facts = counted(count, "fact")
    if edit.metrics and edit.metrics.efficacy == 1:
        return f"{facts}: likelier than the old object, but not what is said"
    return f"{facts} that the version does not say"


def _miss(miss: records.Miss, look: Look) -> str:
    return f"missed {miss.figure}:\n{format_missed_prompts(miss.prompts, look)}"


def _alike(group: Iterable[records.FactName]) -> str:
    return ", ".join(cell(f"{fact.subject} | {fact.relation} | {fact.object} ({fact.id})") for fact in group)
