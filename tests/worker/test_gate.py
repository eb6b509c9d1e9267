from __future__ import annotations

import pytest

from errata.registry.records import Gate, Metrics
from worker.gate import misses


@pytest.mark.parametrize(
    ("gate", "metrics", "expected"),
    [
        (Gate(), Metrics(efficacy=0.9), []),
        (Gate(min_efficacy=None), Metrics(), []),
        (Gate(), Metrics(efficacy=0.5), ["efficacy is 0.5, and at least 0.9 is asked for"]),
        (
            Gate(min_efficacy=None, min_specificity=0.8, max_drift=0.1),
            Metrics(specificity=None, drift=0.2),
            [
                "specificity was not measured, and at least 0.8 is asked for",
                "drift is 0.2 nats, and at most 0.1 is asked for",
            ],
        ),
        (Gate(max_drift=0.1), Metrics(efficacy=1.0, drift=0.1), []),
    ],
)
def test_a_missed_bound_is_named_with_its_figure(gate: Gate, metrics: Metrics, expected: list[str]) -> None:
    assert misses(gate, metrics, num_facts=1) == expected


def test_a_version_without_facts_passes_any_gate() -> None:
    assert misses(Gate(), Metrics(), num_facts=0) == []
