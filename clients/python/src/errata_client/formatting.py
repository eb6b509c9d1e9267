"""The service's records as text for people."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from errata_client import records
from errata_client.tables import GAP, cell, pairs, table
from errata_client.versions import Diff


def format_job(job: records.Job) -> str:
    """Show an edit, an evaluation or a trace."""
    match job:
        case records.Edit():
            return _format_edit(job)
        case records.Evaluation():
            return _format_evaluation(job)
        case records.Trace():
            return _format_trace(job)
    raise TypeError(f"{job.object} is no kind of job that is known here")


def _format_edit(edit: records.Edit) -> str:
    """Show what came of an edit, what it replaces, and what its version lacks."""
    values: dict[str, object] = {"edit": edit.id, "status": edit.status}
    values |= {"rebuild": "yes"} if edit.rebuild else {"facts": edit.facts}
    for name in ("added", "changed", "retracted", "base", "version", "note"):
        if getattr(edit, name) is not None:
            values[name] = getattr(edit, name)
    if edit.not_taken:
        values["not taken"] = f"{edit.not_taken} facts"
    parts = [pairs(values | _measured(edit.metrics))]
    parts += [_miss(miss) for miss in edit.error.misses if miss.prompts] if edit.error else []
    if edit.changes:
        parts.append(_changes(edit.changes))
        more = (edit.changed or 0) + (edit.retracted or 0) - len(edit.changes)
        if more > 0:
            parts[-1] += f"\nand {more} more"
    if edit.duplicates:
        parts.append("\n".join(f"probable duplicates: {_alike(group)}" for group in edit.duplicates))
    return "\n\n".join(parts)


def format_outcomes(outcomes: Iterable[records.FactOutcome]) -> str:
    """Show a line for each fact."""
    header = ["fact", "subject", "relation", "object", "took", "before", "after", "paraphrases", "neighbors lost"]
    shown = list(outcomes)
    rows = [
        [
            *(fact.id, fact.subject, fact.relation, fact.object, "yes" if fact.took else "lost" if fact.lost else "no"),
            *(fact.probability_before, fact.probability_after, fact.paraphrases_followed, len(fact.neighbors_lost)),
        ]
        for fact in shown
    ]
    if any(fact.said_in_chat is not None for fact in shown):
        header.append("in chat")
        rows = [[*row, fact.said_in_chat] for row, fact in zip(rows, shown, strict=True)]
    return table(header, rows)


def format_probes(probes: Iterable[records.Probe]) -> str:
    """Show a line for each probe."""
    return table(["prompt", "answer"], [[probe.prompt, probe.answer] for probe in probes])


def format_probes_put(put: records.ProbesPut) -> str:
    """Show how many there are, and those that fail already."""
    said = f"{put.probes} probes; version {put.version}, which serves, fails {len(put.failing)} of them"
    return f"{said}\n\n{_missed_prompts(put.failing)}" if put.failing else said


def format_versions(versions: Iterable[records.Version]) -> str:
    """Show a line for each version."""
    header = ["version", "parent", "status", "facts", "added", "changed", "retracted"]
    header += ["score", "efficacy", "specificity", "created", "names", "note"]
    rows = []
    for version in versions:
        counts = [version.facts, version.added, version.changed, version.retracted]
        measured = [version.metrics.score, version.metrics.efficacy, version.metrics.specificity]
        rest = [version.created_at, _names(version), version.note]
        rows.append([version.id, version.parent, _status(version), *counts, *measured, *rest])
    return table(header, rows)


def format_version_tree(versions: Iterable[records.Version]) -> str:
    """Show a line for each version, below the one that it was made from; an only child stands right below its parent.

    One whose parent is not there any more stands by itself.
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
        facts = "1 fact" if version.facts == 1 else f"{version.facts} facts"
        parts = [str(version.id), _status(version), facts, _names(version), version.note]
        lines.append(branch + GAP.join(cell(part) for part in parts if part))
        below = children[version.id]
        for child in reversed(below):
            if len(below) == 1:
                waiting.append((child, indent, indent))
            elif child is below[-1]:
                waiting.append((child, f"{indent}└── ", f"{indent}    "))
            else:
                waiting.append((child, f"{indent}├── ", f"{indent}│   "))
    return "\n".join(lines)


def format_version(version: records.Version) -> str:
    """Show all about one version, with its layers."""
    values: dict[str, object] = {"version": version.id, "status": _status(version), "names": _names(version)}
    for name in ("parent", "edit", "by", "method", "facts", "added", "changed", "retracted"):
        values[name] = getattr(version, name)
    values |= _measured(version.metrics)
    if version.evaluation is not None:
        values["evaluation"] = f"{version.evaluation.id}, {version.evaluation.records} records"
    values |= {"bytes": version.bytes, "digest": version.digest}
    values |= {"created": version.created_at, "note": version.note}
    if version.imported_from is not None:
        values["imported from"] = version.imported_from
    if not version.layers:
        return pairs(values)
    rows = [[layer.layer, layer.rank, layer.norm, layer.relative_norm] for layer in version.layers]
    return f"{pairs(values)}\n\n{table(['layer', 'rank', 'norm', 'relative norm'], rows)}"


def _format_evaluation(evaluation: records.Evaluation) -> str:
    """Show the status of an evaluation, and each metric with its interval."""
    values: dict[str, object] = {"evaluation": evaluation.id, "status": evaluation.status}
    values |= {"version": evaluation.version, "records": evaluation.records, "note": evaluation.note}
    return _with_result(values, evaluation.result)


def format_evaluations(evaluations: Iterable[records.Evaluation]) -> str:
    """Show a line for each evaluation."""
    header = ["evaluation", "status", "version", "records", "score", "efficacy", "specificity", "created", "note"]
    rows = []
    for e in evaluations:
        means = {name: estimate.mean for name, estimate in (e.result.estimates if e.result else {}).items()}
        measured = [means.get(name) for name in ("score", "efficacy", "specificity")]
        rows.append([e.id, e.status, e.version, e.records, *measured, e.created_at, e.note])
    return table(header, rows)


def _format_trace(trace: records.Trace) -> str:
    """Show the status of a trace, and the gist of it."""
    values: dict[str, object] = {"trace": trace.id, "status": trace.status}
    values |= {"facts": trace.facts} if trace.prompt is None else {"prompt": trace.prompt, "subject": trace.subject}
    if result := trace.result:
        values |= {"answer": result.answer} if result.answer is not None else {"known and traced": result.traced}
        values |= {"clean": result.clean, "corrupted": result.corrupted, "window": result.window}
        if result.layers is not None:
            values["layers to edit"] = ", ".join(map(str, result.layers)) or "none"
    return pairs(values | {"figures": ", ".join(trace.figures) or None, "note": trace.note})


def format_traces(traces: Iterable[records.Trace]) -> str:
    """Show a line for each trace."""
    header = ["trace", "status", "facts", "prompt", "subject", "layers", "created", "note"]
    rows = []
    for t in traces:
        layers = ", ".join(map(str, t.result.layers)) if t.result and t.result.layers is not None else None
        rows.append([t.id, t.status, t.facts, t.prompt, t.subject, layers, t.created_at, t.note])
    return table(header, rows)


def format_facts(facts: Iterable[records.StoredFact]) -> str:
    """Show a line for each fact."""
    return table(["fact", "subject", "relation", "object"], [[f.id, f.subject, f.relation, f.object] for f in facts])


def format_fact(fact: records.FactRecord) -> str:
    """Show all about one fact, with what became of it."""
    values: dict[str, object] = {"fact": fact.id}
    for name in ("subject", "relation", "object", "replaced", "edit", "by", "at"):
        values[name] = getattr(fact, name)
    values["held"] = "yes" if fact.held else "no"
    for name, texts in (("phrasing", fact.phrasings), ("question", fact.questions), ("paraphrase", fact.paraphrases)):
        values |= {f"{name} {number}": text for number, text in enumerate(texts, start=1)}
    for number, neighbor in enumerate(fact.neighbors, start=1):
        values[f"neighbor {number}"] = f"{neighbor.prompt} {neighbor.object}"
    header = ["version", "parent", "change", "at", "edit", "by", "object"]
    rows = [[e.version, e.parent, e.change, e.at, e.edit, e.by, _objects(e)] for e in fact.history]
    return f"{pairs(values)}\n\n{table(header, rows)}"


def format_diff(diff: Diff) -> str:
    """Show how many facts differ in which way, and a line for each of them."""
    counts = pairs({"added": len(diff.added), "changed": len(diff.changed), "retracted": len(diff.retracted)})
    changes = (*diff.added, *diff.changed, *diff.retracted)
    return f"{counts}\n\n{_changes(changes)}" if changes else counts


def format_generation(generation: records.Generation) -> str:
    """Show a line for each prompt, with the version that continued it."""
    rows = [[c.prompt, c.text, c.finish_reason, str(generation.version)] for c in generation.data]
    return table(["prompt", "text", "finish", "version"], rows)


def format_activation(activation: records.Activation) -> str:
    """Show what serves now, and on which replicas."""
    said = f"version {activation.active} serves; before it was {cell(activation.previous)}"
    if not activation.replicas:
        return said
    rows = [[replica.id, replica.version, replica.swap_ms] for replica in activation.replicas]
    return f"{said}\n\n{table(['replica', 'version', 'swap ms'], rows)}"


def format_activations(activations: Iterable[records.PastActivation]) -> str:
    """Show a line for each activation."""
    rows = [[a.id, a.active, a.previous, a.at, a.who, a.by] for a in activations]
    return table(["number", "version", "before", "at", "who", "by"], rows)


def format_aliases(aliases: Mapping[str, int]) -> str:
    """Show a line for each name."""
    return table(["version", "name"], [[number, name] for name, number in aliases.items()])


def format_pruned(pruned: records.Pruned, *, is_dry_run: bool = False) -> str:
    """Show a line for each version whose weights were dropped, or would be, and all of them together."""
    rows: list[list[object]] = [[str(dropped.version), dropped.bytes] for dropped in pruned.dropped]
    return table(["would be dropped" if is_dry_run else "dropped", "bytes"], [*rows, ["together", pruned.bytes]])


def _miss(miss: records.Miss) -> str:
    return f"missed {miss.figure}:\n{_missed_prompts(miss.prompts)}"


def _missed_prompts(prompts: Iterable[records.MissedPrompt]) -> str:
    rows = [[one.prompt, one.expected, one.said, one.fact] for one in prompts]
    return table(["prompt", "expected", "said", "fact"], rows)


def _status(version: records.Version) -> str:
    return f"{version.status}, dropped" if version.dropped else version.status


def _names(version: records.Version) -> str | None:
    return ", ".join(version.aliases) or None


def _changes(changes: Iterable[records.FactChange]) -> str:
    rows = [[change.change, change.id, change.subject, change.relation, _objects(change)] for change in changes]
    return table(["change", "fact", "subject", "relation", "object"], rows)


def _objects(change: records.FactChange) -> str:
    """Return the object of a fact, with an arrow where another took its place."""
    return " -> ".join(text for text in (change.before, change.after) if text is not None)


def _alike(group: Iterable[records.FactName]) -> str:
    return ", ".join(cell(f"{fact.subject} | {fact.relation} | {fact.object} ({fact.id})") for fact in group)


def _with_result(values: Mapping[str, object], result: records.EvaluationResult | None) -> str:
    if result is None:
        return pairs(values)
    measured: dict[str, object] = {"drift": result.drift}
    if prose := result.prose:
        measured |= {"perplexity before": prose.perplexity_before, "perplexity after": prose.perplexity_after}
    rows = [[name.replace("_", " "), e.mean, e.low, e.high, e.count] for name, e in result.estimates.items()]
    estimates = table(["metric", "mean", "low", "high", "records"], rows)
    return f"{pairs({**values, **measured})}\n\n{estimates}"


def _measured(metrics: records.Metrics | None) -> dict[str, object]:
    values = metrics.model_dump() if metrics else {}
    return {name.replace("_", " "): value for name, value in values.items() if value is not None}
