"""What the authors publish: their figures beside ours, and their data sets from a server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from matplotlib.text import Text

from errata.comparison import plots
from errata.comparison.cells import Cell
from errata.comparison.data_sets import PUBLISHED_FILES, from_file, published
from errata.comparison.plan import RETRIEVED, RIGHT, plan
from errata.comparison.results import compared
from errata.comparison.table import table
from errata.demo.records import counterfactual_records
from errata.demo.shipped import data_set
from errata.demo.world import load_world
from errata.errors import DataSetError
from errata.hyperparameters import for_model

GPTJ = "EleutherAI/gpt-j-6b"
RECORDS = [*(records := counterfactual_records(load_world())[:3]), records[0]]
WHOLE = json.dumps(RECORDS).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An address with a folder of each kind: whole files, files that break off, and pages in their place."""
    bodies = {"whole": WHOLE, "broken": WHOLE[:-100], "page": b"<html>moved</html>"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = self.path.split("/")[1]
            if kind not in bodies:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(WHOLE if kind == "broken" else bodies[kind])))
            self.end_headers()
            self.wfile.write(bodies[kind])

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def test_a_data_set_is_fetched_once_and_what_asks_the_same_is_left_out(server: str, tmp_path: Path) -> None:
    first = published("counterfact", tmp_path, with_references=False, address=f"{server}/whole")
    assert (len(first.records), first.left_out) == (3, 1)
    assert [file.name for file in tmp_path.iterdir()] == [PUBLISHED_FILES["counterfact"]]
    assert published("counterfact", tmp_path, with_references=False, address="http://nowhere.invalid") == first


@pytest.mark.parametrize(("kind", "fault"), [("broken", "of"), ("page", "cannot be read"), ("missing", "404")])
def test_what_does_not_come_whole_is_refused_and_not_kept(server: str, tmp_path: Path, kind: str, fault: str) -> None:
    with pytest.raises(DataSetError, match=f"{kind}/multi_counterfact.json cannot be fetched .*{fault}.*put it at"):
        published("counterfact", tmp_path, with_references=False, address=f"{server}/{kind}")
    assert list(tmp_path.iterdir()) == []


def test_published_figures_stand_beside_ours_where_the_model_is_the_authors() -> None:
    planned = plan(data_set("counterfact"), ["memit"], for_model(GPTJ), [1], [1])
    shares = {"efficacy": 1.0, "generalization": 0.5, "specificity": 0.8}
    measured = [(step, Cell(metrics=(shares,), drift=0.1, norms={3: 0.5}, seconds=2.0)) for step in planned.steps()]
    beside = compared(planned, GPTJ, measured)
    lines = table(beside).splitlines()
    ours, published = lines[5], next(line for line in lines if "MEMIT, published" in line)
    assert ours.startswith("| 1 (1) | memit | 70.6 | 100.0 (")
    assert "| 10000 | MEMIT, published | 85.8 | 98.9 | 88.6 | 73.7 |" in table(beside) and "26784" in published
    assert any("arXiv 2210.07229" in line for line in lines)
    labels = plots.scaling_figure(beside).axes[0].get_legend_handles_labels()[1]
    assert labels == ["memit", RETRIEVED, "unedited", RIGHT, "MEMIT, published"]
    assert "published" not in table(compared(planned, "demo", measured))


def test_slices_that_change_different_layers_are_one_row() -> None:
    planned = plan(data_set("counterfact"), ["kn"], for_model("demo"), [1], [2])
    edited = [step for step in planned.steps() if step.method == "kn"]
    cells = [Cell(metrics=({"efficacy": 0.0},), drift=0.1, norms=norms) for norms in ({0: 0.4}, {0: 0.2, 5: 0.6})]
    row = compared(planned, "demo", list(zip(edited, cells, strict=True))).rows[-1]
    assert row.norms == pytest.approx({0: 0.3, 5: 0.3})


def test_a_build_without_figures_says_why() -> None:
    planned = plan(data_set("counterfact"), ["memit"], for_model(GPTJ), [1], [1])
    *unedited, edited = planned.steps()
    measured = [(step, Cell(metrics=({"efficacy": 0.0},))) for step in unedited]
    failed = compared(planned, "demo", [*measured, (edited, Cell(failed="why"))])
    assert "memit (failed)" in table(failed) and "memit, 1 edits: why" in table(failed)
    assert "memit, 1 edit: why" in {text.get_text() for text in plots.scaling_figure(failed).findobj(Text)}
    titles = [axes.get_title() for axes in plots.hidden_figure(failed).axes]  # there is nothing to draw in them
    assert titles == ["(a) said", "(b) paraphrases said", "(c) neighbours kept"]


def test_cases_of_several_facts_are_not_cut_into_slices(tmp_path: Path) -> None:
    rewrites = [
        {
            "prompt": "{} is in",
            "subject": subject,
            "target_new": {"str": "Peru"},
            "target_true": {"str": "Chad"},
            "question": "Where?",
        }
        for subject in ("Oda", "Renn")
    ]
    file = tmp_path / "mquake.json"
    file.write_text(json.dumps([{"case_id": 1, "requested_rewrite": rewrites, "questions": [], "new_answer": "Peru"}]))
    with pytest.raises(
        DataSetError, match=r"mquake.json has records of several facts.*`errata evaluate` measures them"
    ):
        from_file(None, file)
