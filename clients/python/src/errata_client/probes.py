"""Probes as they are sent: a `Probe`, a mapping with the same names, or a (prompt, answer) tuple."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from errata_client.errors import FactProblem, InvalidFacts
from errata_client.facts import check_each
from errata_client.models import Probe

ProbeInput: TypeAlias = Probe | Mapping[str, Any] | tuple[str, str]


def to_probe(given: ProbeInput) -> Probe:
    """The probe that is given in one of its three shapes. Raises `ValueError` where it has none of them."""
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise ValueError(f"has {len(given)} parts, not prompt and answer")
        return Probe(prompt=given[0], answer=given[1])
    return Probe.model_validate(given)


def probe_bodies(inputs: Iterable[ProbeInput]) -> list[dict[str, Any]]:
    """The probes as the service takes them. Raises `InvalidFacts`, naming every bad one by its index."""
    probes, faults = check_each(enumerate(inputs), to_probe)
    if faults:
        raise InvalidFacts([FactProblem(f"probe {index}", detail) for index, detail in faults.items()])
    return [probe.model_dump() for probe in probes.values()]
