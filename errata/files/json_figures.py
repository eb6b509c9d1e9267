"""Figures for JSON, which cannot express NaN and infinities: they become null."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def finite_or_none(figure: float | None) -> float | None:
    """Return the figure; None if it is infinite or NaN."""
    return figure if figure is not None and math.isfinite(figure) else None


def with_nulls(value: Any) -> Any:
    """Copy records, mappings and lists as JSON values, with None in place of every float that is not finite."""
    if isinstance(value, float):
        return finite_or_none(value)
    if is_dataclass(value):
        return {field.name: with_nulls(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: with_nulls(of_name) for name, of_name in value.items()}
    if isinstance(value, list | tuple):
        return [with_nulls(item) for item in value]
    return value
