"""Facts, what became of them, and how two sets of them differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from errata_client.tables import Extra, Free, Look, pairs, table

if TYPE_CHECKING:
    from errata_client import records
    from errata_client.versions import Diff


def format_facts(facts: Iterable[records.StoredFact], look: Look) -> str:
    """Show a line for each fact."""
    header = ["fact", Free("subject"), Free("relation"), Free("object")]
    return table(header, [[f.id, f.subject, f.relation, f.object] for f in facts], look)


def format_fact(fact: records.FactRecord, look: Look) -> str:
    """Show all about one fact, with what became of it."""
    values: dict[str, object] = {"fact": fact.id}
    for name in ("subject", "relation", "object", "replaced", "edit", "by", "at"):
        values[name] = getattr(fact, name)
    values["held"] = "yes" if fact.held else "no"
    for name, texts in (("phrasing", fact.phrasings), ("question", fact.questions), ("paraphrase", fact.paraphrases)):
        values |= {f"{name} {number}": text for number, text in enumerate(texts, start=1)}
    for number, neighbor in enumerate(fact.neighbors, start=1):
        values[f"neighbor {number}"] = f"{neighbor.prompt} {neighbor.object}"
    return f"{pairs(values, look)}\n\n{format_history(fact.history, look)}"


def format_history(history: Iterable[records.FactEvent], look: Look) -> str:
    """Show a line for each version that changed a fact."""
    header = ["version", "parent", "change", "at (UTC)", Extra("edit"), Extra("by"), Free("object")]
    return table(header, [[e.version, e.parent, e.change, e.at, e.edit, e.by, _objects(e)] for e in history], look)


def format_checked(checked: records.CheckedFacts, places: Iterable[str], look: Look) -> str:
    """Show a line for each record that was looked at, behind its place in the file: its fault, or what it would do."""
    rows = [[place, *_checked(fact, checked.version)] for place, fact in zip(places, checked.data, strict=True)]
    return table(["where", "finding", Free("prompt"), Free("object"), Free("more")], rows, look)


def _checked(fact: records.CheckedFact, version: int) -> list[str | None]:
    if fact.errors or fact.fact is None:
        told = "; ".join(f"{error.pointer} {error.detail}".lstrip() for error in fact.errors)
        return ["at fault", None, None, told]
    alike = ", ".join(f"{one.subject} | {one.relation} | {one.object}" for one in fact.alike)
    more = f"looks like {alike}" if alike else None
    after = str(fact.fact["object"])
    if fact.before is None:
        return ["new", fact.prompt, after, more]
    if fact.before == after:
        return [f"is in version {version}", fact.prompt, after, more]
    return ["changes", fact.prompt, f"{fact.before} -> {after}", more]


def format_diff(diff: Diff, look: Look) -> str:
    """Show how many facts differ in which way, and a line for each of them."""
    values: dict[str, object] = {"versions": f"{diff.before} -> {diff.after}", "added": len(diff.added)}
    counts = pairs(values | {"changed": len(diff.changed), "retracted": len(diff.retracted)}, look)
    changes = (*diff.added, *diff.changed, *diff.retracted)
    return f"{counts}\n\n{format_changes(changes, look)}" if changes else counts


def format_changes(changes: Iterable[records.FactChange], look: Look) -> str:
    """Show a line for each fact that changed."""
    rows = [[change.change, change.id, change.subject, change.relation, _objects(change)] for change in changes]
    return table(["change", Extra("fact"), Free("subject"), Free("relation"), Free("object")], rows, look)


def _objects(change: records.FactChange) -> str:
    """Return the object of a fact, with an arrow where another took its place."""
    return " -> ".join(text for text in (change.before, change.after) if text is not None)
