"""`errata tune`, as it is typed."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from errata_cli.main import main

from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import build
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from tests.conftest import GOLDEN, NEOX_RELATION

START = {"layers": [0], "moment_weight": 300, "num_steps": 3, "num_samples": 4096}
KNOWN = {"Danube": "Europe", "Zambezi": "Africa", "Ganges": "Asia", "Thames": "Europe"}
FACT = Fact("Danube", NEOX_RELATION, "Asia")

Tune = Callable[..., None]


@pytest.fixture
def random_neox(tmp_path: Path) -> str:
    """Folder of a small GPT-NeoX with random weights, which takes a fraction of the demo model's time."""
    folder = tmp_path / "model"
    for part in (GOLDEN / "gpt_neox", GOLDEN / "tokenizer"):
        shutil.copytree(part, folder, dirs_exist_ok=True)
    return str(folder)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A file of records about rivers and their continents."""
    file = tmp_path / "records.json"
    others = {"Danube": "Asia", "Zambezi": "Europe", "Ganges": "Africa", "Thames": "Asia"}
    file.write_text(
        json.dumps(
            [
                {
                    "requested_rewrite": {
                        "prompt": NEOX_RELATION,
                        "subject": river,
                        "target_new": {"str": continent},
                        "target_true": {"str": KNOWN[river]},
                    },
                    "paraphrase_prompts": [f"A river and its continent. {NEOX_RELATION.format(river)}"],
                    "neighborhood_prompts": [NEOX_RELATION.format("Rhine" if KNOWN[river] == "Europe" else "Indus")],
                }
                for river, continent in others.items()
            ]
        )
    )
    return file


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tune:
    """Types `errata tune` with these arguments; what it writes is `tmp_path / "found.json"`, and beside it."""
    start = tmp_path / "start.json"
    start.write_text(json.dumps({"hyperparameters": START}))

    def typed(*arguments: str) -> None:
        shared = ["--home", str(tmp_path), "--hyperparameters", str(start), "--out", str(tmp_path / "found.json")]
        monkeypatch.setattr(sys, "argv", ["errata", "tune", *arguments, *shared])
        main()

    return typed


def test_what_is_found_is_written_as_a_build_takes_it(
    tune: Tune,
    random_neox: str,
    records: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny = (
        str(records),
        "--model",
        random_neox,
        *["--layers", "0,0-1", "--lambdas", "300", "--clamps", "1", "--edits", "2"],
    )
    tune(*tiny)
    first = capsys.readouterr()
    found = MemitHyperparameters.for_model("mine", tmp_path / "found.json")
    assert found is not None and found.layers in ((0,), (0, 1)) and found.num_steps == 3
    model = EditableModel.load(random_neox)
    moments = SecondMoments(tmp_path / "second_moments" / model.digest)
    assert build(model, FactSet([FACT]), found, moments).deltas.keys() == set(found.layers)

    search = json.loads((tmp_path / "found-search.json").read_text())
    chosen, known = search["report"]
    assert "trials of 2 facts from" in first.err and "about a minute on this machine" in first.err
    assert chosen["hyperparameters"] == found.as_dict() and known["hyperparameters"]["moment_weight"] == 300
    assert chosen["perplexities"][0] > 0
    assert {trial["hyperparameters"]["moment_weight"] for trial in search["trials"]} == {95, 300, 950}
    refined = [trial for trial in search["trials"] if trial["hyperparameters"]["refinement_steps"]]
    assert "refinement" in {trial["stage"] for trial in refined} and "rung" not in {trial["stage"] for trial in refined}
    few = [trial for trial in search["trials"] if trial["stage"] == "few"]
    assert {trial["records"] for trial in few} == {1} and found.as_dict() in [trial["hyperparameters"] for trial in few]
    assert all(trial["estimates"]["score"]["count"] == 2 for trial in few)
    tables = (tmp_path / "found-search.md").read_text()
    assert (
        "| 0-1 | 1 | 300 |" in tables and "| 30 steps, cost 6 |" in tables and tables.startswith("**On other records**")
    )
    assert first.out.startswith("**On other records**")

    cells = {file: file.stat().st_mtime_ns for file in (tmp_path / "found-search" / "cells").iterdir()}
    tune(*tiny)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "found-search" / "cells").iterdir()} == cells
    assert (tmp_path / "found-search.md").read_text() == tables


def test_the_quick_search_varies_one_thing_after_another_and_keeps_what_nothing_is_better_than(
    tune: Tune, random_neox: str, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(str(records), "--model", random_neox, "--edits", "2")
    said = capsys.readouterr().out
    search = json.loads((tmp_path / "found-search.json").read_text())
    stages = [trial["stage"] for trial in search["trials"]]
    assert stages == ["default", "layers", "layers", "lambda", "lambda", "clamp", "refinement"]
    tried = [trial["hyperparameters"] for trial in search["trials"]]
    assert tried[0] == tried[0] | START and [one["layers"] for one in tried[1:3]] == [[1], [0, 1]]
    assert {one["moment_weight"] for one in tried[3:5]} == {30, 3000}
    assert (tried[5]["clamp"], tried[6]["refinement_steps"]) == (3, 20)
    assert len(search["trials"]) + len(search["report"]) <= 10
    # Of a random model's two records, nothing is told apart from chance.
    assert "nothing that was tried is better by more than chance" in said
    found = MemitHyperparameters.for_model("mine", tmp_path / "found.json")
    assert found is not None and found.as_dict() == search["report"][0]["hyperparameters"] == tried[0]


def test_a_model_that_knows_too_little_is_told_how_much_it_knows_and_what_to_give(
    tune: Tune, random_neox: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=r"knows \d+ of 120 well-known facts, which make \d records, and 20 are "):
        tune("--model", random_neox)
    assert not (tmp_path / "found.json").exists()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--layers", "3-1"], "'3-1' is no range of layers such as 3-8"),
        (["--layers", "6-7"], "layer 7 cannot be edited"),
        (["--lambdas", "1e9"], "moment_weight: must be between"),
        (["--edits", "1000"], "there are 1916 records; 1000 edits take as many to choose on and as many to report on"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_one_line(
    tune: Tune, tmp_path: Path, arguments: list[str], fault: str
) -> None:
    with pytest.raises(SystemExit, match=fault):
        tune(*arguments)
    assert not (tmp_path / "found.json").exists()
