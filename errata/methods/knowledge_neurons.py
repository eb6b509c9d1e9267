"""Knowledge neurons (Dai et al., ACL 2022; arXiv 2104.08696, sections 3 and 5.2).

A neuron is an entry w_i of what enters a down-projection, read where an object is predicted, at the prompt's last
token. Those that express what the model says now, with probability P, are found by integrated gradients (Eq. 2 of the
paper, whose sum has `num_steps` terms): with all neurons of a layer at a share a of their own values w,

    Attr(w_i) = w_i * mean over a = 1/m, 2/m, ..., 1 of dP(a w) / dw_i

and are refined over a fact's prompts: its own and its phrasings, bare and behind context prefixes. A neuron counts in a
prompt where its attribution is more than `threshold` of the largest one there. Those that count in a `share` of the
prompts are the fact's, but no fewer than two and no more than five of them, those that count in the most prompts first
(the paper moves the share until there are as many).

The column of W that is the value of such a neuron is changed (section 5.2), with e the rows of the output embedding:

    W[:, i] -= old_weight * e(old token),    W[:, i] += new_weight * e(new token).

There is no search and no gradient of the edit. Nothing keeps the rest in place but that neurons are few.

The paper fills one blank with one token. Here an object of several tokens is one such prediction for each, behind those
before it, and what is said already needs no change. Neurons of the paper's model are positive; where one is not (gated
MLPs), its value is changed the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.deltas import Delta
from errata.facts import Fact
from errata.hyperparameters import KnowledgeNeuronHyperparameters
from errata.methods.method import Inputs, Method
from errata.model import EditableModel
from errata.model.hidden_states import batches_by_length, tokens_per_batch
from errata.model.likelihood import likeliest_next
from errata.model.tokens import SubjectPrompt, object_ids, subject_prompt
from errata.targets.suffixes import Suffixes

LEAST_NEURONS, MOST_NEURONS = 2, 5  # of a prediction
PREDICTIONS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Prediction:
    """One token that a fact's object asks for, after each of the fact's prompts."""

    prompts: tuple[tuple[int, ...], ...]  # token ids; the bare prompt comes first
    old: int  # what the base says after that
    new: int


def find_updates(inputs: Inputs[KnowledgeNeuronHyperparameters]) -> dict[int, Delta]:
    """Return the change of each layer in which there are neurons of a fact. Its rank is their number.

    Second moments and `store` are not used.
    """
    model, settings = inputs.model, inputs.hyperparameters
    predictions = predictions_of(model, inputs.facts, inputs.contexts)
    changes: dict[tuple[int, int], Tensor] = {}  # of the value of each neuron, by its layer and number, (d_model,)
    for start in range(0, len(predictions), PREDICTIONS_AT_ONCE):
        part = predictions[start : start + PREDICTIONS_AT_ONCE]

        def still_here(done: int = start) -> None:
            inputs.on_progress("spread", done, len(predictions))

        for prediction, attributed in zip(part, attributions(model, part, settings, still_here), strict=True):
            moved = settings.new_weight * _embedding(model, prediction.new)
            moved -= settings.old_weight * _embedding(model, prediction.old)
            for place, neuron in attributed.neurons(settings):
                slot = settings.layers[place], neuron
                changes[slot] = changes.get(slot, 0) + moved * attributed.signs[place, neuron]
    inputs.on_progress("spread", len(predictions), len(predictions))
    return {layer: delta for layer in settings.layers if (delta := _delta(model, layer, changes)) is not None}


def predictions_of(model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str]) -> list[Prediction]:
    """Return what the facts' objects ask for and the base does not say.

    Wordings about one subject with one object are taken for those of one fact.
    """
    wordings: dict[tuple[str, tuple[int, ...]], list[Fact]] = {}
    for fact in facts:
        wordings.setdefault((fact.subject, object_ids(model.tokenizer, fact)), []).append(fact)
    asked: list[tuple[tuple[tuple[int, ...], ...], int]] = []
    for (subject, wanted), alike in wordings.items():
        prompts = [
            subject_prompt(model.tokenizer, fact.template, subject, context=context).token_ids
            for fact in alike
            for context in ("", *(contexts if fact.takes_context else ()))
        ]
        asked += [(tuple(ids + wanted[:place] for ids in prompts), new) for place, new in enumerate(wanted)]
    said = likeliest_next(model, [prompts[0] for prompts, _ in asked])
    return [Prediction(prompts, old, new) for (prompts, new), old in zip(asked, said, strict=True) if old != new]


@dataclass(frozen=True, slots=True)
class Attributed:
    """What the neurons of the layers do for one prediction."""

    attributions: Tensor  # (prompts, layers, d_in), float32, in main memory
    signs: Tensor  # of the neurons' mean values, (layers, d_in)

    def neurons(self, settings: KnowledgeNeuronHyperparameters) -> list[tuple[int, int]]:
        """Return the neurons to change, each by the place of its layer and its number there."""
        d_in = self.attributions.shape[-1]
        flat = self.attributions.flatten(1)
        counts = flat > settings.threshold * flat.amax(1, keepdim=True)
        shares, means = counts.float().mean(0), flat.mean(0)
        number = min(max(int((shares >= settings.share).sum()), LEAST_NEURONS), MOST_NEURONS)
        by_mean = means.argsort(descending=True, stable=True)
        first = by_mean[shares[by_mean].argsort(descending=True, stable=True)][:number]
        return [divmod(int(neuron), d_in) for neuron in first]


def attributions(
    model: EditableModel,
    predictions: Sequence[Prediction],
    settings: KnowledgeNeuronHyperparameters,
    before_each: Callable[[], None],
) -> list[Attributed]:
    """Attribute each prediction's old token to the neurons. `before_each` is called before each run of a layer."""
    rows = [(prompt, prediction.old) for prediction in predictions for prompt in prediction.prompts]
    by_layer = [_in_layer(model, rows, layer, settings.num_steps, before_each) for layer in settings.layers]
    attributed = torch.stack([attributions for attributions, _ in by_layer], dim=1)
    values = torch.stack([values for _, values in by_layer], dim=1)
    sizes = [len(prediction.prompts) for prediction in predictions]
    return [
        Attributed(of_one, values_of_one.mean(0).sign())
        for of_one, values_of_one in zip(torch.split(attributed, sizes), torch.split(values, sizes), strict=True)
    ]


def _in_layer(
    model: EditableModel,
    rows: Sequence[tuple[tuple[int, ...], int]],
    layer: int,
    num_steps: int,
    before_each: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """Return the neurons' attributions and values after each row's prompt, both (rows, d_in), in main memory.

    All neurons at a share of their values is the output of the down-projection at that share. So what is moved is that,
    at the last token alone, and the gradient to the neurons is the one to the output, taken through W.
    """
    weight = model.weight(layer).to(model.device).float()
    attributed = torch.empty(len(rows), weight.shape[1])
    values = torch.empty_like(attributed)
    for batch in batches_by_length([len(prompt) for prompt, _ in rows], tokens_per_batch(model.device)):
        prompts = [SubjectPrompt(rows[row][0], len(rows[row][0]) - 1) for row in batch]
        suffixes, entering = _suffixes(model, layer, prompts)
        last = torch.tensor([prompt.subject_last for prompt in prompts], device=model.device)
        places = torch.arange(len(batch), device=model.device)
        neurons = entering.view(len(batch), -1, weight.shape[1])[places, last].float()
        old = torch.tensor([rows[row][1] for row in batch], device=model.device)
        given = neurons @ weight.T
        gradients = torch.zeros_like(given)
        for step in range(1, num_steps + 1):
            before_each()
            offsets = ((step / num_steps - 1) * given).requires_grad_()
            hidden = suffixes.run(model, offsets)[:, 0]
            probabilities = model.logits(hidden).float().softmax(-1)[places, old]
            gradients += torch.autograd.grad(probabilities.sum(), offsets)[0]
        attributed[batch] = (neurons * (gradients / num_steps @ weight)).cpu()
        values[batch] = neurons.cpu()
    return attributed, values


def _suffixes(model: EditableModel, layer: int, prompts: Sequence[SubjectPrompt]) -> tuple[Suffixes, Tensor]:
    """Return the prompts' last tokens, ready to be run from `layer` on, and what enters its down-projection."""
    entering: list[Tensor] = []
    with model.down_projection(layer).register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0])):
        return Suffixes.of(model, layer, prompts, range(len(prompts))), entering[0].to(model.device)


def _embedding(model: EditableModel, token_id: int) -> Tensor:
    """Return a token's row of the output embedding, (d_model,), float32: what adds to its logit in the stream."""
    return model.network.get_output_embeddings().weight[token_id].float().clone()  # type: ignore[no-any-return]


def _delta(model: EditableModel, layer: int, changes: dict[tuple[int, int], Tensor]) -> Delta | None:
    """Return the change of a layer, a column for each of its neurons; None where it has none."""
    columns = {neuron: change for (of_layer, neuron), change in changes.items() if of_layer == layer}
    if not columns:
        return None
    left = torch.stack(list(columns.values()), dim=1).double()
    right = torch.nn.functional.one_hot(torch.tensor(list(columns)), model.weight(layer).shape[1]).double()
    return Delta.of_factors(left, right.to(left.device))


build = Method(KnowledgeNeuronHyperparameters, find_updates, one_after_another=False, searches_ahead=False)
