"""The same edits of the demo model on the CPU and on a GPU, and in bfloat16: how far what comes of them differs.

python -m benchmarks.devices [--facts 20] [--layers 0,1,2] [--refinement-steps 0]
"""

from dataclasses import replace

import torch

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import DemoEdits
from errata.demo import DEMO
from errata.model import EditableModel

COLUMNS = ("score", "efficacy", "generalization", "specificity")


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, facts=20, layers=[0, 1, 2], refinement_steps=0)
    edits = DemoEdits.load(arguments.facts, arguments.layers)
    settings = edits.hyperparameters.overridden({"refinement_steps": arguments.refinement_steps})
    places = [("cpu", torch.float32), ("cpu", torch.bfloat16)]
    if torch.cuda.is_available():
        places += [("cuda", torch.float32), ("cuda", torch.bfloat16)]
    print_header("", "largest relative difference of an update", *COLUMNS)
    first: dict[int, torch.Tensor] = {}
    for device, dtype in places:
        there = replace(edits, model=EditableModel.load(DEMO, dtype=dtype, device=device), hyperparameters=settings)
        built = there.build(there.facts, moments=edits.moments)
        estimates = there.measure(built, [record.case for record in there.records]).estimates
        updates = {layer: delta.dense().double().cpu() for layer, delta in built.deltas.items()}
        first = first or updates
        difference = max(float((updates[layer] - first[layer]).norm() / first[layer].norm()) for layer in first)
        figures = (f"{100 * estimates[name].mean:.1f}" for name in COLUMNS)
        print_row(f"{device}, {str(dtype).removeprefix('torch.')}", f"{difference:.1e}", *figures)


if __name__ == "__main__":
    main()
