"""MemitHyperparameters: shipped records, overrides and their bounds."""

import json
from pathlib import Path
from typing import Any

import pytest

from errata.errors import InvalidHyperparameters
from errata.hyperparameters import (
    RECORDS,
    AlphaEditHyperparameters,
    Basis,
    FineTuningHyperparameters,
    MemitHyperparameters,
    RomeHyperparameters,
    for_model,
    known_for,
)


def test_the_papers_settings_are_shipped() -> None:
    gptj = MemitHyperparameters.for_model("EleutherAI/gpt-j-6b")
    neox = MemitHyperparameters.for_model("EleutherAI/gpt-neox-20b")
    assert gptj is not None and neox is not None
    assert (gptj.layers, gptj.moment_weight, gptj.clamp) == ((3, 4, 5, 6, 7, 8), 15_000, 0.75)
    assert (neox.layers, neox.moment_weight, neox.clamp, neox.num_steps) == ((6, 7, 8, 9, 10), 20_000, 0.3, 20)
    assert gptj.num_samples is None and neox.num_samples is None


def test_each_method_has_what_its_papers_publish() -> None:
    gptj, neox = for_model("EleutherAI/gpt-j-6b"), for_model("EleutherAI/gpt-neox-20b")
    assert set(for_model("demo")) == set(RECORDS)
    assert set(gptj) == set(neox) == set(RECORDS) - {"mend"}
    assert (gptj["rome"].layers, neox["rome"].layers, gptj["emmet"].layers) == ((5,), (15,), (5,))
    alphaedit, ft = gptj["alphaedit"], gptj["ft"]
    assert isinstance(alphaedit, AlphaEditHyperparameters) and isinstance(ft, FineTuningHyperparameters)
    assert (alphaedit.null_threshold, alphaedit.regularization) == (0.02, 10)
    assert (ft.norm_bound, ft.learning_rate, ft.num_steps) == (5e-5, 5e-4, 25)


def test_the_record_of_each_method_survives_json() -> None:
    for method, record in for_model("demo").items():
        assert RECORDS[method].from_dict(json.loads(json.dumps(record.as_dict()))) == record


def test_a_file_may_be_of_several_methods_or_of_memit_alone(tmp_path: Path) -> None:
    file = tmp_path / "hyperparameters.json"
    memit = {"hyperparameters": {"layers": [1], "moment_weight": 5}}
    file.write_text(json.dumps(memit))
    assert for_model("mine", file) == {"memit": MemitHyperparameters(layers=(1,), moment_weight=5)}
    file.write_text(json.dumps({"methods": {"memit": memit, "rome": {"hyperparameters": {"layers": [2]}}}}))
    assert for_model("mine", file).keys() == {"memit", "rome"}
    assert RomeHyperparameters.for_model("mine", file) == RomeHyperparameters(layers=(2,))
    assert FineTuningHyperparameters.for_model("mine", file) is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"methods": {"serac": {"hyperparameters": {"layers": [1]}}}}, "serac"),
        ({"methods": {"rome": {"layers": [1]}}}, "cannot be read"),
        ({"methods": ["rome"]}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_a_file_of_another_form_is_refused(content: Any, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "hyperparameters.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InvalidHyperparameters, match=complaint):
        for_model("mine", file)


@pytest.mark.parametrize(
    ("method", "change", "name"),
    [
        ("rome", {"moment_weight": 300}, "moment_weight"),
        ("rome", {"layers": [1, 2]}, "layers"),
        ("ft", {"layers": [0, 1]}, "layers"),
        ("ft", {"norm_bound": 0}, "norm_bound"),
        ("ft", {"clamp": 1}, "clamp"),
        ("emmet", {"damping": -1}, "damping"),
        ("alphaedit", {"null_threshold": None}, "null_threshold"),
    ],
)
def test_what_a_method_does_not_take_is_named(method: str, change: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidHyperparameters) as caught:
        for_model("demo")[method].overridden(change)
    assert caught.value.name == name


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


WIDE = {"hidden_size": 2048, "intermediate_size": 8192}
LLAMA = {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336}


def test_what_a_model_is_decides_and_not_its_name() -> None:
    known = known_for("a/copy", None, LLAMA)
    assert known["memit"].basis is Basis.PUBLISHED and "Llama-3-8B" in known["memit"].source
    assert known["memit"].hyperparameters.overridden({"clamp": 0.75}) == known["memit"].hyperparameters
    assert known["emmet"].basis is Basis.DERIVED
    assert known_for("demo")["memit"].basis is Basis.MEASURED
    gemma = {"model_type": "gemma3_text", "num_hidden_layers": 18, "hidden_size": 640, "intermediate_size": 2048}
    assert known_for("a/fine-tuned/folder", None, gemma)["memit"].basis is Basis.MEASURED


@pytest.mark.parametrize(
    ("config", "layers", "clamp"),
    [
        ({**LLAMA, "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536}, (4, 5, 6, 7, 8), 4),
        ({**LLAMA, "model_type": "gemma2", "num_hidden_layers": 18}, (2, 3, 4), 4),
        ({"model_type": "gemma3", "text_config": {**LLAMA, "model_type": "gemma3_text"}}, (0, 1, 2, 3, 4, 5), 4),
        ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_inner": None}, (0, 1, 2), 1.5),
        ({"model_type": "opt", "num_hidden_layers": 2, "hidden_size": 64, "ffn_dim": 256}, (0,), 1.5),
        ({"model_type": "gpt_neox", "num_hidden_layers": 24, **WIDE}, (3, 4, 5, 6), 0.75),
    ],
)
def test_settings_are_derived_from_kind_and_depth(
    config: dict[str, Any], layers: tuple[int, ...], clamp: float
) -> None:
    known = known_for("mine", None, config)
    assert {one.basis for one in known.values()} == {Basis.DERIVED}
    assert set(known) == set(RECORDS) - {"mend"}
    memit = known["memit"].hyperparameters
    assert isinstance(memit, MemitHyperparameters) and (memit.layers, memit.clamp) == (layers, clamp)


def test_a_config_without_dimensions_is_named() -> None:
    with pytest.raises(InvalidHyperparameters, match="hidden_size"):
        known_for("mine", None, {"model_type": "llama"})
    assert known_for("mine") == {}
