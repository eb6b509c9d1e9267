"""MemitHyperparameters: shipped records, overrides and their bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from errata.errors import InvalidHyperparameters
from errata.hyperparameters import MemitHyperparameters


def test_the_papers_settings_are_shipped() -> None:
    gptj = MemitHyperparameters.for_model("EleutherAI/gpt-j-6b")
    neox = MemitHyperparameters.for_model("EleutherAI/gpt-neox-20b")
    assert gptj is not None and neox is not None
    assert (gptj.layers, gptj.moment_weight, gptj.clamp) == ((3, 4, 5, 6, 7, 8), 15_000, 0.75)
    assert (neox.layers, neox.moment_weight, neox.clamp, neox.num_steps) == ((6, 7, 8, 9, 10), 20_000, 0.3, 20)
    assert gptj.num_samples is None and neox.num_samples is None
    assert MemitHyperparameters.for_model("unknown/model") is None


def test_a_record_survives_json(demo_hyperparameters: MemitHyperparameters) -> None:
    for record in (demo_hyperparameters, demo_hyperparameters.overridden({"num_samples": None})):
        assert MemitHyperparameters.from_dict(json.loads(json.dumps(record.as_dict()))) == record


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"lambda": 3}, "lambda"),
        ({"layers": [3, 2]}, "layers"),
        ({"layers": []}, "layers"),
        ({"layers": "3"}, "layers"),
        ({"num_steps": 2.5}, "num_steps"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"moment_weight": float("nan")}, "moment_weight"),
        ({"clamp": -1}, "clamp"),
        ({"num_steps": float("nan")}, "num_steps"),
        ({"seed": float("inf")}, "seed"),
        ({"seed": None}, "seed"),
        ({"num_samples": 10}, "num_samples"),
        ({"kl_factor": True}, "kl_factor"),
    ],
)
def test_a_bad_override_is_named(change: dict[str, Any], name: str, demo_hyperparameters: MemitHyperparameters) -> None:
    with pytest.raises(InvalidHyperparameters) as caught:
        demo_hyperparameters.overridden(change)
    assert caught.value.name == name
