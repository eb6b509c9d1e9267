"""Figures for JSON, which cannot express NaN and infinities: they become null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite_or_none(figure: float | None) -> float | None:
    """Return the figure; None if it is infinite or NaN."""
    return figure if figure is not None and math.isfinite(figure) else None


def with_nulls(value: Any) -> Any:
    """Copy mappings and lists, with None in place of every float that is not finite."""
    if isinstance(value, float):
        return finite_or_none(value)
    if isinstance(value, Mapping):
        return {name: with_nulls(of_name) for name, of_name in value.items()}
    if isinstance(value, list | tuple):
        return [with_nulls(item) for item in value]
    return value
