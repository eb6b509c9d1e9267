"""Figures on their way into JSON, which has no words for those that are no finite numbers: they become null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite_or_none(figure: float | None) -> float | None:
    """The figure itself; None for infinities, and for what is no number."""
    return figure if figure is not None and math.isfinite(figure) else None


def with_nulls(value: Any) -> Any:
    """The same mappings and lists with None in place of every float that is no finite number."""
    if isinstance(value, float):
        return finite_or_none(value)
    if isinstance(value, Mapping):
        return {name: with_nulls(of_name) for name, of_name in value.items()}
    if isinstance(value, list | tuple):
        return [with_nulls(item) for item in value]
    return value
