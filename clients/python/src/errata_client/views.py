"""The service's records as text for people."""

from collections.abc import Iterable

from errata_client.models import Activation, EditRecord, Generation, Metrics, StoredFact, Version
from errata_client.tables import cell, pairs, table


def edit_view(edit: EditRecord) -> str:
    """What came of an edit."""
    values: dict[str, object] = {"edit": edit.id, "status": edit.status, "facts": edit.facts}
    for name in ("added", "changed", "retracted", "base", "version", "note"):
        if getattr(edit, name) is not None:
            values[name] = getattr(edit, name)
    return pairs(values | _measured(edit.metrics))


def versions_view(versions: Iterable[Version]) -> str:
    """A line for each version."""
    header = [
        "version",
        "status",
        "facts",
        "added",
        "changed",
        "score",
        "efficacy",
        "specificity",
        "created",
        "note",
    ]
    rows = []
    for version in versions:
        metrics = version.metrics or Metrics()
        measured = [metrics.score, metrics.efficacy, metrics.specificity]
        counts = [version.facts, version.added, version.changed]
        rows.append([version.id, version.status, *counts, *measured, version.created_at, version.note])
    return table(header, rows)


def version_view(version: Version) -> str:
    """All about one version, with its layers."""
    values: dict[str, object] = {"version": version.id}
    for name in ("status", "parent", "edit", "method", "facts", "added", "changed", "retracted"):
        values[name] = getattr(version, name)
    values |= _measured(version.metrics)
    values |= {"bytes": version.bytes, "digest": version.digest}
    values |= {"created": version.created_at, "note": version.note}
    if not version.layers:
        return pairs(values)
    rows = [[layer.layer, layer.rank, layer.norm, layer.relative_norm] for layer in version.layers]
    return f"{pairs(values)}\n\n{table(['layer', 'rank', 'norm', 'relative norm'], rows)}"


def facts_view(facts: Iterable[StoredFact]) -> str:
    """A line for each fact."""
    return table(["subject", "relation", "object"], [[f.subject, f.relation, f.object] for f in facts])


def generation_view(generation: Generation) -> str:
    """A line for each prompt, with the version that continued it."""
    rows = [[c.prompt, c.text, c.finish_reason, str(generation.version)] for c in generation.data]
    return table(["prompt", "text", "finish", "version"], rows)


def activation_view(activation: Activation) -> str:
    """What serves now, and on which replicas."""
    said = f"version {activation.active} serves; before it was {cell(activation.previous)}"
    if not activation.replicas:
        return said
    rows = [[replica.id, replica.version, replica.swap_ms] for replica in activation.replicas]
    return f"{said}\n\n{table(['replica', 'version', 'swap ms'], rows)}"


def _measured(metrics: Metrics | None) -> dict[str, object]:
    values = metrics.model_dump() if metrics else {}
    return {name.replace("_", " "): value for name, value in values.items() if value is not None}
