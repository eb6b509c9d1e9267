"""`errata bench`, as it is typed."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from errata.demo.records import counterfactual_records
from errata.demo.world import load_world

from .conftest import Bench


def test_methods_are_compared_and_only_what_is_missing_or_changed_is_measured_again(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    bench("counterfact", "--edits", "1,2", "--slices", "2,1")
    said = capsys.readouterr()
    assert "11 cells, 0 of them measured before" in said.err
    assert said.err.count("built in") == 6  # and the unedited model, without facts in context and with them
    results = json.loads((out / "results.json").read_text())
    rows = [(row["method"], row["edits"], row["slices"]) for row in results["rows"]]
    assert rows == [
        (None, 2, 1),
        ("right fact in context", 2, 1),
        *[("retrieved in context", 1, 2), ("memit", 1, 2), ("ft", 1, 2)],
        *[("retrieved in context", 2, 1), ("memit", 2, 1), ("ft", 2, 1)],
    ]
    assert results["published"] == []
    unedited, right, *_, retrieved, memit, _ = results["rows"]
    base, right, retrieved = (row["estimates"] for row in (unedited, right, retrieved))
    assert right["efficacy_magnitude"] == retrieved["efficacy_magnitude"] != base["efficacy_magnitude"]
    # No neighbour is named.
    assert right["specificity_magnitude"] != retrieved["specificity_magnitude"] == base["specificity_magnitude"]
    assert base["neighbors_freely"]["mean"] == 1 and memit["estimates"]["honest_score"]["count"] == 2
    assert memit["estimates"]["efficacy"]["count"] == 2 and memit["norms"]["0"] > 0 and memit["seconds"] > 0
    table = (out / "table.md").read_text()
    score = memit["estimates"]["score"]["mean"]
    assert f"| 2 (1) | memit | {100 * score:.1f}" in table and "fluency" not in table
    assert "| 0 (on 2 records) | right fact in context |" in table and "| 2 (1) | retrieved in context |" in table
    assert "| honest score | said | paraphrases said | neighbours kept |" in table
    texts, of_hidden = (
        {e.text for e in ElementTree.parse(out / f"{name}.svg").iter("{http://www.w3.org/2000/svg}text")}
        for name in ("scaling", "hidden")
    )
    drawn = {"(a) score", "(d) specificity", "(e) honest score", "(h) neighbours kept"}
    assert {"memit", "ft", "unedited", "right fact in context", "retrieved in context", *drawn} <= texts
    assert {"memit", "ft", "(c) neighbours kept", "specificity by teacher forcing, %"} <= of_hidden
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")

    cells = {file: file.stat().st_mtime_ns for file in (out / "cells").iterdir()}
    of_memit = [file for file in cells if '"method": "memit"' in file.read_text()]
    of_memit[0].write_text("{")  # damaged
    bench("counterfact", "--edits", "1,2", "--slices", "2,1", norm_bound=0.03)
    said = capsys.readouterr()
    assert "11 cells, 7 of them measured before" in said.err
    assert said.err.count("ft, ") == 3 and said.err.count("memit, ") == 1
    rewritten = {file for file, written in cells.items() if file.stat().st_mtime_ns != written}
    assert rewritten == {of_memit[0]} and len(list((out / "cells").iterdir())) == 14
    again = json.loads((out / "results.json").read_text())["rows"]
    assert [row["estimates"] for row in again if row["method"] == "memit"] == [
        row["estimates"] for row in results["rows"] if row["method"] == "memit"
    ]


def test_texts_are_generated_and_all_is_asked_where_that_is_wanted(bench: Bench, tmp_path: Path) -> None:
    bench("counterfact", "--edits", "1", "--slices", "1", "--methods", "ft", "--generation", "--honest")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert all({"fluency", "consistency"} <= row["estimates"].keys() for row in rows)
    first, further, note = (tmp_path / "out" / "table.md").read_text().split("\n\n")
    assert "honest score" in first and "after a prefix" not in first
    assert further.startswith("| edits (slices) | method | after a prefix | yes to new | no to old |")
    assert "| 1 (1) | ft | " in further and "by teacher forcing" in note


def test_zsre_is_scored_by_tokens(bench: Bench, tmp_path: Path) -> None:
    bench("zsre", "--edits", "2", "--slices", "1", "--methods", "ft")
    unedited, _, _, ft = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert unedited["estimates"]["specificity_token_accuracy"]["mean"] == 1
    assert "token_score" in ft["estimates"] and "score" not in ft["estimates"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ["--methods", "serac"],
            "there is no method 'serac'; there are memit, rome, ft, locft, emmet, alphaedit, mend, kn",
        ),
        (["--methods", "rome"], "nothing is known of how to edit this model by rome, but by memit, ft"),
        (["--edits", "2000"], "the demo world has 1916 records, too few for 2000"),
        (["--edits", "1000", "--slices", "2"], "too few for 2000"),
        (["--edits", "0"], "there must be something to measure"),
        (["--edits", "1,10", "--slices", "3"], "1 numbers of slices are given for 2 numbers of edits"),
        (["--records", "nowhere.json"], r"nowhere\.json cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line_before_anything_is(
    bench: Bench, tmp_path: Path, arguments: list[str], fault: str
) -> None:
    with pytest.raises(SystemExit, match=fault):
        bench("counterfact", *arguments)
    assert not (tmp_path / "out").exists()


def test_records_of_another_form_are_refused(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    file.write_text(json.dumps(counterfactual_records(load_world())[:1]))
    with pytest.raises(SystemExit, match=r"record 0 is not of zsre's form"):
        bench("zsre", "--records", str(file))
