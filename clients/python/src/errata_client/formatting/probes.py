"""Probes, and prompts that count against a version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from errata_client.formatting.words import counted
from errata_client.tables import Extra, Free, Look, table

if TYPE_CHECKING:
    from errata_client import records


def format_probes(probes: Iterable[records.Probe], look: Look) -> str:
    """Show a line for each probe."""
    return table([Free("prompt"), Free("answer")], [[probe.prompt, probe.answer] for probe in probes], look)


def format_probes_put(put: records.ProbesPut, look: Look) -> str:
    """Show how many there are, and those that fail already."""
    if not put.probes:
        return "no probes are asked any more"
    failing = f"{len(put.failing)} of them" if put.failing else "none of them"
    said = f"{counted(put.probes, 'probe')}; version {put.version}, which serves, fails {failing}"
    return f"{said}\n\n{format_missed_prompts(put.failing, look)}" if put.failing else said


def format_missed_prompts(prompts: Iterable[records.MissedPrompt], look: Look) -> str:
    """Show a line for each prompt, with what should be said and, where that was looked at, what is."""
    rows = [[one.prompt, one.expected, one.said, one.fact] for one in prompts]
    return table([Free("prompt"), Free("expected"), Free("said"), Extra("fact")], rows, look)
