"""Constrained fine-tuning (Zhu et al. 2020, arXiv 2012.00363), on one matrix, as ROME's baseline FT-L uses it.

    minimise over W':   mean over facts of -log p(object | prompt) / tokens of the object
    subject to          |W'_ij - W_ij| <= epsilon for each weight

by Adam on the whole matrix and all facts at once, each step followed by a projection onto the bound. Nothing is asked
of where a fact lies in the model, and nothing but the bound keeps the rest in place. (The baseline's code asks for all
tokens of an object at the end of the prompt; here, each is asked for behind those before it.)

At each step the gradients of all batches of `errata/methods/object_losses.py` are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from errata.deltas import Delta
from errata.errors import NotFinite
from errata.facts import Fact
from errata.hyperparameters import FineTuningHyperparameters
from errata.methods.method import Method, OnProgress
from errata.methods.object_losses import ObjectBatch, object_batches, summed_gradients
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.targets.store import BuildStore


def find_updates(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: FineTuningHyperparameters,
    second_moments: SecondMoments,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """Return the dense change of the one layer. Contexts, second moments and `store` are not used.

    Raises:
        NotFinite: the loss is no finite number.
    """
    (layer,) = hyperparameters.layers
    batches = list(object_batches(model, facts, layer))
    base = model.weight(layer)
    change = torch.zeros(base.shape, device=base.device)
    adam = torch.optim.Adam([change], lr=hyperparameters.learning_rate, weight_decay=hyperparameters.weight_decay)

    def lost(batch: ObjectBatch) -> Tensor:
        return batch.losses(model).sum()

    bound, num_steps = hyperparameters.norm_bound, hyperparameters.num_steps
    for step in range(num_steps):
        on_progress("spread", step, num_steps)
        weights = {layer: (base + change).to(base.dtype)}
        loss, gradients = summed_gradients(model, weights, (partial(lost, batch) for batch in batches))
        change.grad = gradients[layer] / len(facts)  # not the loss, whose gradients would be too small for float16
        if not loss.isfinite():
            raise NotFinite(f"the loss of the fine-tuning left the finite numbers at step {step + 1}")
        if loss / len(facts) < hyperparameters.stop_loss:
            break
        adam.step()
        change.clamp_(-bound, bound)
    on_progress("spread", num_steps, num_steps)
    return {layer: Delta.of_change(change)}


build = Method(FineTuningHyperparameters, find_updates, one_after_another=False, searches_ahead=False)
