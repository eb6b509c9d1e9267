"""The figures that MEMIT's authors publish, from the data file `published.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from errata.comparison.data_sets import DataSetName

_FILE = Path(__file__).parent / "published.json"
_METRICS = ("score", "efficacy", "generalization", "specificity", "fluency", "consistency")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of a published table."""

    method: str
    edits: int
    metrics: Mapping[str, float]  # by the title of its column, a hundred times what Errata measures, as printed
    seconds: float | None  # that the edit took the authors, where they say
    source: str


def published_rows(name: DataSetName, model: str) -> list[PublishedRow]:
    """Return the rows of a data set for a model of that hub name; none for any other model."""
    content = _content()
    return [
        PublishedRow(
            method=row["method"],
            edits=table["edits"],
            metrics={metric: row[metric] for metric in _METRICS if metric in row},
            seconds=3600 * row["hours"] if "hours" in row else None,
            source=content["source"],
        )
        for table in content["data_sets"][name]
        if model in table["models"]
        for row in table["rows"]
    ]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return content
