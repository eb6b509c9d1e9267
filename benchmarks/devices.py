"""The same edits of the demo model on the CPU, on a GPU, over several devices, and in bfloat16: how far they differ.

python -m benchmarks.devices [--facts 20] [--layers 0,1,2] [--refinement-steps 0]
"""

from dataclasses import replace

import torch

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import DemoEdits
from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.model import EditableModel
from errata.model.likelihood import greedy_answers

NUM_TOKENS = 12  # of each answer
COLUMNS = ("score", "efficacy", "generalization", "specificity")


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, facts=20, layers=[0, 1, 2], refinement_steps=0)
    edits = DemoEdits.load(arguments.facts, arguments.layers)
    settings = edits.hyperparameters.overridden({"refinement_steps": arguments.refinement_steps})
    places = [("cpu", torch.float32), ("cpu", torch.bfloat16)]
    if torch.cuda.is_available():
        places += [("cuda", torch.float32), ("cuda", torch.bfloat16), ("cuda:0=1,cpu=1", torch.float32)]
    if torch.cuda.device_count() > 1:
        places += [("cuda:0=1,cuda:1=1", torch.float32)]
    print_header("", "largest relative difference of an update", "answers alike", *COLUMNS)
    first: dict[int, torch.Tensor] = {}
    first_said: list[str] = []
    for device, dtype in places:
        there = replace(edits, model=EditableModel.load(DEMO, dtype=dtype, device=device), hyperparameters=settings)
        built = there.build(there.facts, moments=edits.moments)
        estimates = there.measure(built, [record.case for record in there.records]).estimates
        updates = {layer: delta.dense().double().cpu() for layer, delta in built.deltas.items()}
        first = first or updates
        with there.model.using(edited_weights(there.model, built.deltas)):
            said = greedy_answers(there.model, [fact.prompt for fact in there.facts], [NUM_TOKENS] * len(there.facts))
        first_said = first_said or said
        alike = sum(one == other for one, other in zip(said, first_said, strict=True))
        difference = max(float((updates[layer] - first[layer]).norm() / first[layer].norm()) for layer in first)
        figures = (f"{100 * estimates[name].mean:.1f}" for name in COLUMNS)
        where = f"{there.model.placement}, {str(dtype).removeprefix('torch.')}"
        print_row(where, f"{difference:.1e}", f"{alike} of {len(said)}", *figures)


if __name__ == "__main__":
    main()
