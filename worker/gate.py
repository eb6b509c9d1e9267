"""The gate: what a version must reach to go live."""

from __future__ import annotations

from errata.registry.records import Gate, Metrics


def misses(gate: Gate, metrics: Metrics, num_facts: int) -> list[str]:
    """Which figures missed which bounds, in words; empty when the gate is passed.

    A bound on something that was not measured is missed. A version without facts is the base, which asks nothing.
    """
    found: list[str] = []
    if not num_facts:
        return found
    for name, figure, unit, side, bound in (
        ("efficacy", metrics.efficacy, "", "least", gate.min_efficacy),
        ("specificity", metrics.specificity, "", "least", gate.min_specificity),
        ("drift", metrics.drift, " nats", "most", gate.max_drift),
    ):
        if bound is None:
            continue
        asked = f"and at {side} {bound:g} is asked for"
        if figure is None:
            found.append(f"{name} was not measured, {asked}")
        elif (figure < bound) if side == "least" else (figure > bound):
            found.append(f"{name} is {figure:.4g}{unit}, {asked}")
    return found
