"""Constrained fine-tuning (Zhu et al. 2020, arXiv 2012.00363), on one matrix, as ROME's baseline FT-L uses it.

    minimise over W':   mean over facts of -log p(object | prompt) / tokens of the object
    subject to          |W'_ij - W_ij| <= epsilon for each weight

by Adam on the whole matrix and all facts at once, each step followed by a projection onto the bound. Nothing is asked
of where a fact lies in the model, and nothing but the bound keeps the rest in place. (The baseline's code asks for all
tokens of an object at the end of the prompt; here, each is asked for behind those before it.)

At each step the gradients of all batches of `errata/methods/object_losses.py` are summed.
"""

from functools import partial

import torch

from errata.deltas import Delta
from errata.errors import NotFinite
from errata.hyperparameters import FineTuningHyperparameters
from errata.methods.method import Inputs, Method
from errata.methods.object_losses import object_batches, summed_gradients


def find_updates(inputs: Inputs[FineTuningHyperparameters]) -> dict[int, Delta]:
    """Return the dense change of the one layer. Contexts, second moments and `store` are not used.

    Raises:
        NotFinite: the loss is no finite number.
    """
    model, facts, settings = inputs.model, inputs.facts, inputs.hyperparameters
    (layer,) = settings.layers
    batches = list(object_batches(model, facts, layer))
    base = model.weight(layer)
    change = torch.zeros(base.shape, device=base.device)
    adam = torch.optim.Adam([change], lr=settings.learning_rate, weight_decay=settings.weight_decay)

    for step in range(settings.num_steps):
        inputs.on_progress("spread", step, settings.num_steps)
        weights = {layer: (base + change).to(base.dtype)}
        loss, gradients = summed_gradients(model, weights, (partial(batch.loss, model) for batch in batches))
        change.grad = gradients[layer] / len(facts)  # not the loss, whose gradients would be too small for float16
        if not loss.isfinite():
            raise NotFinite(f"the loss of the fine-tuning left the finite numbers at step {step + 1}")
        if loss / len(facts) < settings.stop_loss:
            break
        adam.step()
        change.clamp_(-settings.norm_bound, settings.norm_bound)
    inputs.on_progress("spread", settings.num_steps, settings.num_steps)
    return {layer: Delta.of_change(change)}


build = Method(FineTuningHyperparameters, find_updates, one_after_another=False, searches_ahead=False)
