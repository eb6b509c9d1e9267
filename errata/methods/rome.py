"""ROME, rank-one model editing (Meng, Bau, Andonian, Belinkov; NeurIPS 2022; arXiv 2202.05262): Eqs. 2 to 4.

One layer is an associative memory, W k = v. A fact is put into it exactly, with the least change to what it gives for
ordinary keys (weighed by C = E[k k^T]):

    W' = W + (v - W k) u^T,     u = C^-1 k / (k^T C^-1 k),     so that W' k = v.

k is the key at the subject's last token, one mean over contexts in all three places. (The authors' code takes the mean
in u and the bare prompt's key in the other two, which now and then disables a model: arXiv 2403.07175.) v is W k plus
the offset that the search of `errata.targets` finds; on a block's output it moves the same hidden state as on its
MLP's, which is where the paper adds it (for a norm between the two see `errata.methods.residuals`).

Several facts are put in one after another, as in the comparisons of the papers: the offset of each is searched for on
the model as edited so far. Nothing holds the earlier facts in place but C, so they wear off as more are put in. Facts
about one subject have nearly one key; as everywhere in Errata they share an offset, so that the last of them does not
undo the others. The keys depend on no block from the edited one on, and are read once.
"""

import torch
from torch import Tensor

from errata.deltas import Delta
from errata.facts import by_subject
from errata.hyperparameters import RomeHyperparameters
from errata.methods.closed_form import decorrelated_keys
from errata.methods.method import Inputs, Method
from errata.methods.residuals import of_down_projection
from errata.model.hidden_states import SubjectStates
from errata.targets.search import find_targets


def find_updates(inputs: Inputs[RomeHyperparameters]) -> dict[int, Delta]:
    """Return the sum of the facts' rank-one updates. Column i of `left` times row i of `right` is one fact's.

    `store` is not used: what is found on an edited model serves no other build.
    """
    model, contexts, settings = inputs.model, inputs.contexts, inputs.hyperparameters
    (layer,) = settings.layers
    subjects = by_subject(inputs.facts)
    ordered = [fact for about_one in subjects for fact in about_one]
    keys = SubjectStates(model, ordered, contexts).read(layer, layer)[0].double()
    decorrelated = decorrelated_keys(inputs.second_moments, layer, keys).T
    directions = decorrelated / (decorrelated * keys).sum(dim=1, keepdim=True)  # u of each fact, (facts, d_in)
    weight = model.weight(layer).float().clone()
    lefts: list[Tensor] = []
    for about_one in subjects:
        done, this = len(lefts), slice(len(lefts), len(lefts) + len(about_one))

        def of_all(done_of_subject: int, _: int, done: int = done) -> None:
            inputs.on_progress("targets", done + done_of_subject, len(inputs.facts))

        with model.using({layer: weight.to(model.weight(layer).dtype)}):
            targets = find_targets(model, about_one, contexts, settings, on_progress=of_all)
            _, outputs = SubjectStates(model, about_one, ()).read(layer, layer)
            offsets = of_down_projection(model, layer, keys[this], (targets.to(outputs.device) - outputs).double())
        written = _written(offsets, keys[this], directions[this])
        weight.addmm_(torch.stack(written, dim=1).float(), directions[this].float())
        lefts += written
    return {layer: Delta.of_factors(torch.stack(lefts, dim=1), directions)}


def _written(offsets: Tensor, keys: Tensor, directions: Tensor) -> list[Tensor]:
    """Return v - W k of each fact of one subject, where W holds the facts before it; in `offsets`, W holds none."""
    written: list[Tensor] = []
    for number, offset in enumerate(offsets):
        moved = [left * (directions[earlier] @ keys[number]) for earlier, left in enumerate(written)]
        written.append(offset - sum(moved, torch.zeros_like(offset)))
    return written


build = Method(RomeHyperparameters, find_updates, one_after_another=True, searches_ahead=False)
