"""MEMIT as the paper reads, one fact and one prompt at a time, through the whole model: slow and plain.

What ships computes the same in batches, on parts of the model; the tests hold it against this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from errata.facts import Fact
from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.prompts import KL_TEMPLATE, SubjectPrompt, subject_prompt, target_ids
from errata.second_moments import SecondMoments


def plain_target(model: EditableModel, fact: Fact, contexts: Sequence[str], settings: Hyperparameters) -> Tensor:
    """z = h + delta for one fact, (d_model)."""
    layer = settings.layers[-1]
    object_ids = target_ids(model.tokenizer, fact.object)
    prompts = [
        subject_prompt(model.tokenizer, fact.template, fact.subject, context=context) for context in ("", *contexts)
    ]
    kl_prompt = subject_prompt(model.tokenizer, KL_TEMPLATE, fact.subject)
    hidden = _output(model, layer, prompts[0])
    delta = torch.zeros_like(hidden, requires_grad=True)
    with torch.no_grad():
        before = _log_probabilities(model, layer, kl_prompt, delta)[kl_prompt.subject_last]
    adam = torch.optim.Adam([delta], lr=settings.learning_rate)
    for step in range(settings.num_steps):
        loss = torch.zeros(())
        for prompt in prompts:
            row = SubjectPrompt(prompt.token_ids + object_ids[:-1], prompt.subject_last)
            predicted = _log_probabilities(model, layer, row, delta)[len(prompt.token_ids) - 1 :]
            nll = -sum(predicted[place, token] for place, token in enumerate(object_ids)) / len(object_ids)
            loss = loss + nll / len(prompts)
        now = _log_probabilities(model, layer, kl_prompt, delta)[kl_prompt.subject_last]
        loss = loss + settings.kl_factor * (now.exp() * (now - before)).sum()
        loss = loss + settings.weight_decay * delta.norm() / hidden.norm() ** 2
        if loss < settings.stop_loss or step == settings.num_steps - 1:
            break
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        with torch.no_grad():
            delta *= min(1.0, float(settings.clamp * hidden.norm() / delta.norm()))
    return (hidden + delta).detach()


def plain_spread(
    model: EditableModel,
    facts: Sequence[Fact],
    targets: Tensor,
    contexts: Sequence[str],
    settings: Hyperparameters,
    moments: SecondMoments,
) -> dict[int, Tensor]:
    """The update of each layer, (d_model, d_in), float64; the model is edited and put back."""
    updates: dict[int, Tensor] = {}
    base = {layer: model.weight(layer).data.clone() for layer in settings.layers}
    try:
        for done, layer in enumerate(settings.layers):
            keys, outputs = [], []
            for fact in facts:
                bare, *others = (
                    subject_prompt(model.tokenizer, fact.template, fact.subject, context=context)
                    for context in ("", *contexts)
                )
                in_context = torch.stack([_key(model, layer, prompt) for prompt in others]).mean(0)
                keys.append((_key(model, layer, bare) + in_context) / 2)
                outputs.append(_output(model, settings.layers[-1], bare))
            k = torch.stack(keys).double().T  # (d_in, facts)
            residual = (targets - torch.stack(outputs)).double().T / (len(settings.layers) - done)
            a = torch.linalg.solve(settings.moment_weight * moments.moment(layer).double() + k @ k.T, k)
            updates[layer] = residual @ a.T
            model.weight(layer).data.add_(updates[layer].float())
    finally:
        for layer, weight in base.items():
            model.weight(layer).data.copy_(weight)
    return updates


def _log_probabilities(model: EditableModel, layer: int, row: SubjectPrompt, delta: Tensor) -> Tensor:
    """Of the next token at each position, with delta added at the subject: (tokens, vocabulary)."""

    def add(module: nn.Module, inputs: Any, output: Any) -> Any:
        hidden = _hidden(output).clone()
        hidden[0, row.subject_last] += delta
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    with _hooked(_block(model, layer), add):
        return model.network(torch.tensor([row.token_ids])).logits[0].log_softmax(-1)  # type: ignore[no-any-return]


@torch.no_grad()
def _output(model: EditableModel, layer: int, prompt: SubjectPrompt) -> Tensor:
    seen: list[Tensor] = []
    with _hooked(_block(model, layer), lambda module, inputs, output: seen.append(_hidden(output))):
        model.network(torch.tensor([prompt.token_ids]))
    return seen[0][0, prompt.subject_last]


@torch.no_grad()
def _key(model: EditableModel, layer: int, prompt: SubjectPrompt) -> Tensor:
    seen: list[Tensor] = []
    with _hooked(model.down_projection(layer), lambda module, inputs, output: seen.append(inputs[0])):
        model.network(torch.tensor([prompt.token_ids]))
    return seen[0][0, prompt.subject_last]


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _block(model: EditableModel, layer: int) -> nn.Module:
    names = model.architecture
    return model.network.get_submodule(f"{names.backbone}.{names.blocks}.{layer}")  # type: ignore[no-any-return]


@contextmanager
def _hooked(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
