"""What the model said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from errata_client.tables import Extra, Free, Look, table

if TYPE_CHECKING:
    from errata_client import records


def format_generation(generation: records.Generation, look: Look) -> str:
    """Show a line for each prompt, with the version that continued it."""
    rows = [[c.prompt, c.text, c.finish_reason, str(generation.version)] for c in generation.data]
    return table([Free("prompt"), Free("text"), Extra("finish"), "version"], rows, look)
