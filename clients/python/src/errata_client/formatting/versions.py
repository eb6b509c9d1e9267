"""Versions, which of them serves, and what they are called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING

from errata_client.formatting.words import counted
from errata_client.tables import GAP, Extra, Free, Look, cell, cut, pairs, table

if TYPE_CHECKING:
    from errata_client import records


def format_versions(versions: Iterable[records.Version], look: Look) -> str:
    """Show a line for each version."""
    header = ["version", Extra("parent"), "status", "facts", Extra("added"), Extra("changed"), Extra("retracted")]
    header += ["score", Extra("efficacy"), Extra("specificity"), "created (UTC)", Free("names"), Free("note")]
    rows = []
    for version in versions:
        counts = [version.facts, version.added, version.changed, version.retracted]
        figures = [version.metrics.score, version.metrics.efficacy, version.metrics.specificity]
        rest = [version.created_at, _names(version), version.note]
        rows.append([version.id, version.parent, _status(version), *counts, *figures, *rest])
    return table(header, rows, look)


def format_version_tree(versions: Iterable[records.Version], look: Look) -> str:
    """Show a line for each version, below the one that it was made from; an only child stands right below its parent.

    One whose parent is not there any more stands by itself. Names are in brackets, notes in quotation marks.
    """
    oldest_first = sorted(versions, key=lambda version: version.id)
    known = {version.id for version in oldest_first}
    children: dict[int | None, list[records.Version]] = defaultdict(list)
    for version in oldest_first:
        children[version.parent if version.parent in known else None].append(version)

    lines = []
    waiting = [(root, "", "") for root in reversed(children[None])]
    while waiting:
        version, branch, indent = waiting.pop()
        lines.append(branch + _in_tree(version))
        below = children[version.id]
        for child in reversed(below):
            if len(below) == 1:
                waiting.append((child, indent, indent))
            elif child is below[-1]:
                waiting.append((child, f"{indent}└── ", f"{indent}    "))
            else:
                waiting.append((child, f"{indent}├── ", f"{indent}│   "))
    return "\n".join(lines if look.width is None else [cut(line, look.width) for line in lines])


def _in_tree(version: records.Version) -> str:
    parts = [str(version.id), _status(version), counted(version.facts, "fact")]
    parts.append(f"{version.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    parts += [f"[{_names(version)}]"] if version.aliases else []
    parts += [f'"{cell(version.note)}"'] if version.note else []
    return GAP.join(parts)


def format_version(version: records.Version, look: Look) -> str:
    """Show all about one version, with its layers."""
    values: dict[str, object] = {"version": version.id, "status": _status(version), "names": _names(version)}
    for name in ("parent", "edit", "by", "method", "facts", "added", "changed", "retracted"):
        values[name] = getattr(version, name)
    if version.not_taken:
        values["not taken"] = f"{counted(version.not_taken, 'fact')} that the version does not say"
    values |= measured(version.metrics)
    if version.evaluation is not None:
        values["evaluation"] = f"{version.evaluation.id}, {counted(version.evaluation.records, 'record')}"
    values |= {"bytes": f"{version.bytes:,}", "digest": version.digest}
    values |= {"created": version.created_at, "note": version.note}
    if version.problem is not None:
        values["why rejected"] = version.problem.detail or version.problem.title
    if version.imported_from is not None:
        values["imported from"] = version.imported_from
    if not version.layers:
        return pairs(values, look)
    rows = [[layer.layer, layer.rank, layer.norm, layer.relative_norm] for layer in version.layers]
    return f"{pairs(values, look)}\n\n{table(['layer', 'rank', 'norm', 'relative norm'], rows, look)}"


def format_activation(activation: records.Activation, look: Look) -> str:
    """Show what serves now, and on which replicas."""
    said = f"version {activation.active} serves; before it was {activation.previous}"
    if not activation.replicas:
        return said
    rows = [[replica.id, replica.version, replica.swap_ms] for replica in activation.replicas]
    return f"{said}\n\n{table(['replica', 'version', 'swap ms'], rows, look)}"


def format_activations(activations: Iterable[records.PastActivation], look: Look) -> str:
    """Show a line for each activation."""
    rows = [[a.id, a.active, a.previous, a.at, a.who, a.by, a.note] for a in activations]
    return table(["number", "version", "before", "at (UTC)", Extra("who"), "by", Free("note")], rows, look)


def format_aliases(aliases: Iterable[records.Alias], look: Look) -> str:
    """Show a line for each name."""
    rows = [[alias.name, alias.version, _protection(alias)] for alias in aliases]
    return table(["name", "version", Free("protected")], rows, look)


def format_alias(alias: records.Alias, look: Look) -> str:
    """Show what a name stands for, and what protects it."""
    return pairs({"name": alias.name, "version": alias.version, "protected": _protection(alias) or "no"}, look)


def format_pruned(pruned: records.Pruned, look: Look) -> str:
    """Show a line for each version whose weights were dropped, or would be, and all of them together."""
    rows: list[list[object]] = [[str(dropped.version), f"{dropped.bytes:,}"] for dropped in pruned.dropped]
    return table(["version", "bytes"], [*rows, ["together", f"{pruned.bytes:,}"]], look)


def measured(metrics: records.Metrics | None) -> dict[str, object]:
    """Return the figures that there are, by what they are called in text."""
    values = metrics.model_dump() if metrics else {}
    return {name.replace("_", " "): value for name, value in values.items() if value is not None}


def _status(version: records.Version) -> str:
    return f"{version.status}, dropped" if version.dropped else version.status


def _names(version: records.Version) -> str | None:
    return ", ".join(version.aliases) or None


def _protection(alias: records.Alias) -> str | None:
    if alias.protection is None:
        return None
    by, note = alias.protection.who, alias.protection.note
    return " ".join(["yes", *([f"by {by}"] if by else []), *([f'"{cell(note)}"'] if note else [])])
