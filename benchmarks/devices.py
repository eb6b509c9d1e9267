"""The same edits of the demo model on the CPU and on a GPU, and in bfloat16: how far what comes of them differs.

python -m benchmarks.devices [--facts 20] [--layers 0,1,2] [--refinement-steps 0]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.command import numbers, parsed, parser_for, print_header, print_row
from benchmarks.demo_edits import DemoEdits, demo_records
from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.evaluation import Record, evaluate
from errata.evaluation.results import estimates_of
from errata.facts import FactSet
from errata.methods.memit import build
from errata.model import EditableModel
from errata.second_moments import SecondMoments

COLUMNS = ("score", "efficacy", "generalization", "specificity")


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--facts", type=int, default=20)
    parser.add_argument("--layers", type=numbers, default="0,1,2")
    parser.add_argument("--refinement-steps", type=int, default=0)
    arguments = parsed(parser)
    edits = DemoEdits.load(arguments.facts, arguments.layers)
    records = demo_records(arguments.facts)
    places = [("cpu", torch.float32), ("cpu", torch.bfloat16)]
    if torch.cuda.is_available():
        places += [("cuda", torch.float32), ("cuda", torch.bfloat16)]
    print_header("", "largest relative difference of an update", *COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        moments = edits.second_moments(Path(folder))
        first: dict[int, torch.Tensor] = {}
        for device, dtype in places:
            updates, figures = _edited(device, dtype, edits, arguments.refinement_steps, moments, records)
            first = first or updates
            difference = max(float((updates[layer] - first[layer]).norm() / first[layer].norm()) for layer in first)
            print_row(f"{device}, {str(dtype).removeprefix('torch.')}", f"{difference:.1e}", *figures)


def _edited(
    device: str,
    dtype: torch.dtype,
    edits: DemoEdits,
    refinement_steps: int,
    moments: SecondMoments,
    records: list[Record],
) -> tuple[dict[int, torch.Tensor], list[str]]:
    """Edit the records in; return the update of each layer, float64, and the figures in percent."""
    model = EditableModel.load(DEMO, dtype=dtype, device=device)
    settings = edits.hyperparameters.overridden({"refinement_steps": refinement_steps})
    built = build(model, FactSet(edits.facts), settings, moments, contexts=edits.contexts)
    measured = evaluate(model, [record.case for record in records], edited_weights(model, built.deltas))
    estimates = estimates_of(measured.results)
    figures = [f"{100 * estimates[name].mean:.1f}" for name in COLUMNS]
    return {layer: delta.dense().double().cpu() for layer, delta in built.deltas.items()}, figures


if __name__ == "__main__":
    main()
