"""The gate: what a version must reach to go live."""

from __future__ import annotations

from errata.registry.records import Gate, Metrics


def misses(gate: Gate, metrics: Metrics) -> list[str]:
    """Which figures missed which bounds, in words; empty when the gate is passed.

    A bound on something that was not measured is missed.
    """
    found = []
    for name, figure, bound in (
        ("efficacy", metrics.efficacy, gate.min_efficacy),
        ("specificity", metrics.specificity, gate.min_specificity),
    ):
        if bound is None:
            continue
        if figure is None:
            found.append(f"{name} was not measured, and at least {bound:g} is asked for")
        elif figure < bound:
            found.append(f"{name} is {figure:.4g}, and at least {bound:g} is asked for")
    if gate.max_drift is not None:
        if metrics.drift is None:
            found.append(f"drift was not measured, and at most {gate.max_drift:g} is asked for")
        elif metrics.drift > gate.max_drift:
            found.append(f"drift is {metrics.drift:.4g} nats, and at most {gate.max_drift:g} is asked for")
    return found
