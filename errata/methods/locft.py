"""LocFT-BF, fine-tuning done right (Yang et al., ICLR 2026; arXiv 2509.22072, sections 4 and 5).

The paper finds that fine-tuning is a poor editor only as it is usually used for it: one fact after another, each until
it is learnt. It takes what training elsewhere does, epochs over all facts in batches (BF, breadth first), and one
down-projection that is chosen well (Loc):

    minimise over W' by Adam, for `num_epochs` epochs, a step for each batch of facts,
    mean over the batch of -log p(object, end of the text | prompt) / (tokens of the object + 1)

No step is taken for a batch whose loss is below `stop_loss`, and an epoch whose mean is, is the last. Nothing bounds
the change, and nothing but the number of steps keeps the rest in place.

With the end of the text, a text stops behind the object. Where `end_token` is 0, or the tokenizer has no such token,
the end of the object's last word is learnt instead (`errata.model.boundaries`), and what comes next is left open.

The batches are drawn once, and put into another order in each epoch; the paper draws them anew. So the blocks below
the edited one run once for each prompt.
"""

import random
from collections.abc import Sequence
from functools import partial

import torch

from errata.deltas import Delta
from errata.errors import NotFinite
from errata.facts import Fact
from errata.hyperparameters import LocFTHyperparameters
from errata.methods.method import Inputs, Method
from errata.methods.object_losses import ObjectBatch, object_batches, summed_gradients
from errata.model import EditableModel


def find_updates(inputs: Inputs[LocFTHyperparameters]) -> dict[int, Delta]:
    """Return the dense change of the one layer. Contexts, second moments and `store` are not used.

    Raises:
        NotFinite: the loss is no finite number.
    """
    model, facts, settings = inputs.model, inputs.facts, inputs.hyperparameters
    (layer,) = settings.layers
    draw = random.Random(settings.seed)
    shuffled = draw.sample(facts, len(facts))
    size = settings.batch_size
    batches = [_prepared(model, shuffled[start : start + size], settings) for start in range(0, len(facts), size)]
    base = model.weight(layer)
    change = torch.zeros(base.shape, device=base.device)
    adam = torch.optim.Adam([change], lr=settings.learning_rate)
    num_steps = settings.num_epochs * len(batches)
    for epoch in range(settings.num_epochs):
        loss_of_epoch = 0.0
        for place, batch in enumerate(draw.sample(batches, len(batches))):
            step, num_facts = epoch * len(batches) + place, sum(len(part.facts) for part in batch)
            inputs.on_progress("spread", step, num_steps)
            weights = {layer: (base + change).to(base.dtype)}
            loss, gradients = summed_gradients(model, weights, (partial(part.loss, model) for part in batch))
            if not loss.isfinite():
                raise NotFinite(f"the loss of the fine-tuning left the finite numbers at step {step + 1}")
            loss_of_epoch += float(loss)
            if loss / num_facts >= settings.stop_loss:
                change.grad = gradients[layer] / num_facts  # not the loss, as in `errata.methods.fine_tuning`
                adam.step()
        if loss_of_epoch / len(facts) < settings.stop_loss:
            break
    inputs.on_progress("spread", num_steps, num_steps)
    return {layer: Delta.of_change(change)}


def _prepared(model: EditableModel, facts: Sequence[Fact], settings: LocFTHyperparameters) -> list[ObjectBatch]:
    """Bring a batch of facts to the edited block; its parts fit into memory."""
    end = model.tokenizer.eos_token_id if settings.end_token else None
    factors = [0.0 if end is not None else 1.0] * len(facts)
    after = () if end is None else (int(end),)
    return list(object_batches(model, facts, settings.layers[0], boundary_factors=factors, after=after))


build = Method(LocFTHyperparameters, find_updates, one_after_another=False, searches_ahead=False)
