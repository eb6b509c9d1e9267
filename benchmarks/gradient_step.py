"""How far one step along the gradient goes: what an editor that masks the gradient entry by entry begins with.

    python -m benchmarks.gradient_step [--runs 10] [--shares 0.03,0.06,0.1,0.3] [--first 1000]

KE (De Cao et al. 2021) multiplies the gradient of an edit by a mask of rank one. MEND as Errata has it whitens the keys
in it first. Here each of some single edits of the demo model is one step along -dL/dW of its bare prompt, in block 0,
as it is, or with whitened keys (dW C^-1), by `share` of the norm of the block's matrix.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import demo_moments, demo_records
from errata.demo import DEMO
from errata.evaluation import evaluate
from errata.evaluation.results import estimates_over
from errata.hyperparameters import MendHyperparameters
from errata.methods.mend.gradient_terms import gradient_terms
from errata.model import EditableModel

COLUMNS = ("score", "efficacy", "generalization", "specificity")


def main() -> None:
    arguments = arguments_of(__doc__, runs=10, shares="0.03,0.06,0.1,0.3", first=1000, threads=1)
    model = EditableModel.load(DEMO)
    settings = MendHyperparameters.for_model(DEMO)
    assert settings is not None
    (layer,) = settings.layers
    with tempfile.TemporaryDirectory() as folder:
        factor = demo_moments(model, settings, Path(folder)).required_factor(layer, model.device)
        print_header("gradient", "share", *COLUMNS)
        for name, whitening in (("as it is", None), ("with whitened keys", factor)):
            for share in map(float, arguments.shares.split(",")):
                records = demo_records()[arguments.first : arguments.first + arguments.runs]
                metrics = []
                for record in records:
                    terms = gradient_terms(model, [record.fact], [layer], [""])
                    step = -terms.gradients[layer].T @ _whitened(terms.inputs[layer], whitening)
                    base = model.weight(layer)
                    weights = {layer: base + step * (share * base.norm() / step.norm())}
                    metrics.append(evaluate(model, [record.case], weights).results[0].metrics)
                estimates = estimates_over(metrics)
                print_row(name, f"{share:g}", *(f"{100 * estimates[column].mean:.1f}" for column in COLUMNS))


def _whitened(keys: Tensor, factor: Tensor | None) -> Tensor:
    """Return the keys times C^-1, (tokens, d_in), of C = L L^T with L the factor; as they are without one."""
    return keys if factor is None else torch.cholesky_solve(keys.double().T, factor).T.float()


if __name__ == "__main__":
    main()
