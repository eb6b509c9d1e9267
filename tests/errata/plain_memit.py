"""MEMIT as the paper reads: one fact at a time, every step and every layer through the whole model.

It follows the authors' code (github.com/kmeng01/memit) in what it computes and in how often it runs the model, so
that what ships can be held against it for its results and for its time.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.model.tokens import KL_TEMPLATE, SubjectPrompt, object_ids, padded, subject_prompt
from errata.second_moments import SecondMoments

PROMPTS_PER_RUN = 128  # of those that keys and hidden states are read from


def plain_target(
    model: EditableModel, fact: Fact, contexts: Sequence[str], hyperparameters: MemitHyperparameters
) -> Tensor:
    """z = h + delta for one fact, (d_model), float32: Eq. 16, with the KL term and the clamp of the authors' code."""
    layer = hyperparameters.layers[-1]
    wanted = object_ids(model.tokenizer, fact)
    prompts = in_contexts(model, fact, contexts)
    about = subject_prompt(model.tokenizer, KL_TEMPLATE, fact.subject)
    rows = [prompt.token_ids + wanted[:-1] for prompt in prompts] + [about.token_ids]
    subject_last = [prompt.subject_last for prompt in (*prompts, about)]

    said = torch.tensor(  # where each token of the object is predicted: row, position and token id
        [
            (row, len(prompt.token_ids) - 1 + place, token)
            for row, prompt in enumerate(prompts)
            for place, token in enumerate(wanted)
        ],
        device=model.device,
    ).unbind(1)

    delta = torch.zeros(model.weight(layer).shape[0], device=model.device, requires_grad=True)
    hidden: list[Tensor] = []  # h, or u where a norm follows the MLP; seen by the first run
    found: list[Tensor] = []  # what leaves the block with delta added in the bare prompt, of each run

    def add_delta(module: nn.Module, inputs: Any, output: Any) -> None:
        states = _states(output)  # (rows, tokens, d_model)
        if not hidden:
            hidden.append(states[0, subject_last[0]].detach().clone().float())
        states[torch.arange(len(rows)), subject_last] += delta.to(states.dtype)

    def add_delta_before_norm(module: nn.Module, inputs: Any) -> Any:
        states = inputs[0].clone()
        own = states[0, subject_last[0]].detach().clone()
        rms = own.square().mean().sqrt()
        if not hidden:
            hidden.append(own / rms)
        states[torch.arange(len(rows)), subject_last] += rms * delta
        return (states,)

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        found.append(_states(output)[0, subject_last[0]].detach().float())

    norm = _mlp_norm(model, layer)
    if norm is None:
        adding = partial(_hooked, _block(model, layer), add_delta)
    else:
        adding = partial(_hooked_before, norm, add_delta_before_norm)

    last: list[Tensor] = []  # output of the last block, (rows, tokens, d_model)
    adam = torch.optim.Adam([delta], lr=hyperparameters.learning_rate)
    for step in range(hyperparameters.num_steps):
        with (
            adding(),
            _hooked(_block(model, layer), see),
            _hooked(_block(model, model.num_layers - 1), lambda *seen: last.append(_states(seen[-1]))),
        ):
            logits = _run(model, rows)
        # The head goes over the prompts a second time, as in the authors' code, whose loss may be set at any block.
        log_probabilities = model.logits(_final_norm(model)(last.pop()[:-1])).float().log_softmax(-1)
        now = logits[-1, about.subject_last].float().log_softmax(-1)
        if step == 0:
            before = now.detach()
        loss = -log_probabilities[said].mean()
        loss = loss + hyperparameters.kl_factor * (now.exp() * (now - before)).sum()
        loss = loss + hyperparameters.weight_decay * delta.norm() / hidden[0].norm() ** 2
        if loss < hyperparameters.stop_loss or step == hyperparameters.num_steps - 1:
            break
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        largest = hyperparameters.clamp * hidden[0].norm()
        if delta.norm() > largest:
            delta.data *= largest / delta.norm()
    return found[-1]


@torch.no_grad()
def plain_moments(model: EditableModel, rows: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
    """C = E[k k^T] of each layer over every position of `rows` (rows, tokens), summed in float64: (d_in, d_in)."""
    seen: dict[int, Tensor] = {}  # (positions, d_in)
    with ExitStack() as hooks:
        for layer in layers:

            def see(module: nn.Module, inputs: Any, output: Any, layer: int = layer) -> None:
                seen[layer] = inputs[0].flatten(end_dim=-2).double()

            hooks.enter_context(_hooked(model.down_projection(layer), see))
        model.network(input_ids=rows, logits_to_keep=1)
    return {layer: (keys.T @ keys / len(keys)).float() for layer, keys in seen.items()}


def plain_spread(
    model: EditableModel,
    facts: Sequence[Fact],
    targets: Tensor,
    contexts: Sequence[str],
    hyperparameters: MemitHyperparameters,
    moments: SecondMoments,
) -> dict[int, Tensor]:
    """The update of each layer, (d_model, d_in), float64: Eqs. 14, 15 and 20. The model is edited and put back."""
    written = plain_layers(model, facts, targets, contexts, hyperparameters, moments)
    return {layer: residuals @ adjusted.T for layer, (_, residuals, adjusted) in written.items()}


def plain_layers(
    model: EditableModel,
    facts: Sequence[Fact],
    targets: Tensor,
    contexts: Sequence[str],
    hyperparameters: MemitHyperparameters,
    moments: SecondMoments,
) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    """K, (d_in, facts), R, (d_model, facts), and A, (d_in, facts), of each layer, float64."""
    layers = hyperparameters.layers
    prompts = [prompt for fact in facts for prompt in in_contexts(model, fact, contexts)]
    bare = [in_contexts(model, fact, ())[0] for fact in facts]
    written: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    base = {layer: model.weight(layer).clone() for layer in layers}
    try:
        for done, layer in enumerate(layers):
            keys = plain_keys(model, prompts, layer, len(facts)).double().T
            _, outputs = _at_subject(model, bare, _block(model, layers[-1]))
            residuals = (targets - outputs).double().T / (len(layers) - done)
            if (gains := _gains(model, layer)) is not None:
                ridge = 0.01 * gains.square().median()
                rms = plain_rms(model, layer, keys)
                for number in range(len(facts)):
                    residuals[:, number] *= rms[number] * gains / (gains * gains + ridge)
            moment = moments.moment(layer).double().to(model.device)
            adjusted = torch.linalg.solve(hyperparameters.moment_weight * moment + keys @ keys.T, keys)
            written[layer] = keys, residuals, adjusted
            model.weight(layer).copy_(base[layer].float() + (residuals @ adjusted.T).float())
    finally:
        for layer, weight in base.items():
            model.weight(layer).copy_(weight)
    return written


def plain_refinement(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: MemitHyperparameters,
    moments: SecondMoments,
    written: dict[int, tuple[Tensor, Tensor, Tensor]],
) -> dict[int, Tensor]:
    """The update of each layer, (d_model, d_in), float32, by the gradients of the whole network for one fact at a time.

    Every fact must be about a subject of its own.
    """
    own = {layer: (keys * adjusted).sum(0) for layer, (keys, _, adjusted) in written.items()}
    # In a model with a norm after the MLP, residuals are measured in the root mean square of what the MLP gives.
    normed = _mlp_norm(model, 0) is not None
    units = {
        layer: float(plain_rms(model, layer, keys).mean()) if normed else 1.0 for layer, (keys, _, _) in written.items()
    }
    moved = {
        layer: (residuals * own[layer] / units[layer]).float().requires_grad_()
        for layer, (_, residuals, _) in written.items()
    }
    directions = {layer: (adjusted / own[layer]).T.float() for layer, (_, _, adjusted) in written.items()}
    names = {id(parameter): name for name, parameter in model.network.named_parameters()}

    def logits(token_ids: Sequence[int]) -> Tensor:
        stored = {}
        for layer in written:
            weight = model.weight(layer) + units[layer] * moved[layer] @ directions[layer]
            name = names[id(model.down_projection(layer).weight)]
            stored[name] = weight.T if model.architecture.transposed else weight
        given = torch.tensor([token_ids], device=model.device)
        found: Tensor = torch.func.functional_call(model.network, stored, (given,)).logits[0].log_softmax(-1)
        return found

    about = [subject_prompt(model.tokenizer, KL_TEMPLATE, fact.subject) for fact in facts]
    with torch.no_grad():
        before = [
            model.network(torch.tensor([prompt.token_ids])).logits[0, prompt.subject_last].log_softmax(-1)
            for prompt in about
        ]
    moments.collect_gradients(written, model)
    in_units = {layer: units[layer] ** 2 * moments.gradients(layer) for layer in written}
    mean = sum(in_units[layer].trace() / len(in_units[layer]) for layer in written) / len(written)
    sensitivity = {layer: 0.9 * in_units[layer] / mean + 0.1 * torch.eye(len(in_units[layer])) for layer in written}

    def moved_text() -> Tensor:
        change = {layer: moved[layer] @ directions[layer] for layer in written}
        parts = [(sensitivity[layer] @ change[layer] @ moments.moment(layer) @ change[layer].T) for layer in written]
        return torch.stack([part.trace() for part in parts]).sum()

    of_spread = moved_text().item()
    num_steps = hyperparameters.refinement_steps
    averages = {layer: (torch.zeros_like(moved[layer]), torch.zeros(len(facts))) for layer in written}
    with torch.no_grad():
        for residuals in moved.values():
            residuals *= 0.5
    for step in range(num_steps):
        loss = torch.zeros(())
        for fact, prompt, base in zip(facts, about, before, strict=True):
            settings = hyperparameters.for_search(fact.search)
            wanted = object_ids(model.tokenizer, fact)
            for asked in in_contexts(model, fact, (contexts[step % len(contexts)],)):
                said = logits(asked.token_ids + wanted[:-1])[len(asked.token_ids) - 1 :]
                missing = -torch.stack([said[place, token] for place, token in enumerate(wanted)]).mean()
                if missing >= settings.stop_loss:
                    loss = loss + missing / 2
            now = logits(prompt.token_ids)[prompt.subject_last]
            loss = loss + settings.kl_factor * (now.exp() * (now - base)).sum()
        loss = loss / len(facts) + hyperparameters.refinement_cost * moved_text() / of_spread
        gradients = torch.autograd.grad(loss, list(moved.values()))
        rate = hyperparameters.learning_rate / len(written) * (1 - step / num_steps)
        for (layer, residuals), gradient in zip(moved.items(), gradients, strict=True):
            natural = torch.linalg.solve(sensitivity[layer].double(), gradient.double()).float()
            mean_step, square = averages[layer]
            mean_step.copy_(0.9 * mean_step + 0.1 * natural)
            square.copy_(0.99 * square + 0.01 * natural.square().mean(0))
            with torch.no_grad():
                for column in range(len(facts)):
                    length = (square[column] / (1 - 0.99 ** (step + 1))).sqrt() + 1e-12
                    residuals[:, column] -= rate * mean_step[:, column] / (1 - 0.9 ** (step + 1)) / length
    return {layer: (units[layer] * moved[layer] @ directions[layer]).detach() for layer in written}


def plain_rms(model: EditableModel, layer: int, keys: Tensor) -> Tensor:
    """The root mean square of what the down-projection gives for K, (d_in, facts): (facts,), float64."""
    module: Any = model.network.get_submodule(model.architecture.down_projection_of(layer))
    given: Tensor = module.weight.double() @ keys
    return given.square().mean(0).sqrt()


def plain_keys(model: EditableModel, prompts: Sequence[SubjectPrompt], layer: int, num_facts: int) -> Tensor:
    """k of each fact, (facts, d_in): half its first prompt's, which is the bare one, half the mean over the others."""
    inputs, _ = _at_subject(model, prompts, model.down_projection(layer))
    by_fact = inputs.view(num_facts, -1, inputs.shape[-1])
    return (by_fact[:, 0] + by_fact[:, 1:].mean(1)) / 2


def in_contexts(model: EditableModel, fact: Fact, contexts: Sequence[str]) -> list[SubjectPrompt]:
    """The bare prompt, then the same behind each context."""
    return [
        subject_prompt(model.tokenizer, fact.template, fact.subject, context=context) for context in ("", *contexts)
    ]


@torch.no_grad()
def _at_subject(model: EditableModel, prompts: Sequence[SubjectPrompt], module: nn.Module) -> tuple[Tensor, Tensor]:
    """What enters a module and what leaves it at the subject's last token, each (prompts, ...), float32."""
    seen: list[tuple[Tensor, Tensor]] = []

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        place = torch.arange(len(batch)), [prompt.subject_last for prompt in batch]
        entering, leaving = (
            states.view(len(batch), -1, states.shape[-1])[place].float() for states in (inputs[0], _states(output))
        )
        seen.append((entering, leaving))

    with _hooked(module, see):
        for start in range(0, len(prompts), PROMPTS_PER_RUN):
            batch = prompts[start : start + PROMPTS_PER_RUN]
            _run(model, [prompt.token_ids for prompt in batch])
    entering, leaving = zip(*seen, strict=True)
    return torch.cat(entering), torch.cat(leaving)


def _run(model: EditableModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Logits at every position of the padded rows, (rows, tokens, vocabulary)."""
    attention_mask = padded([[1] * len(row) for row in rows], model.device)
    logits: Tensor = model.network(input_ids=padded(rows, model.device), attention_mask=attention_mask).logits
    return logits


def _states(output: Any) -> Tensor:
    """The hidden states in what a module gives, which is a tuple in some architectures."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


def _block(model: EditableModel, layer: int) -> nn.Module:
    names = model.architecture
    block: nn.Module = model.network.get_submodule(f"{names.backbone}.{names.blocks}.{layer}")
    return block


def _mlp_norm(model: EditableModel, layer: int) -> nn.Module | None:
    return getattr(_block(model, layer), "post_feedforward_layernorm", None)


def _gains(model: EditableModel, layer: int) -> Tensor | None:
    """What the norm after the MLP multiplies by, (d_model,), float64."""
    norm: Any = _mlp_norm(model, layer)
    if norm is None:
        return None
    weight: Tensor = norm.weight.double()
    return 1 + weight if model.architecture.name.startswith("gemma") else weight


def _final_norm(model: EditableModel) -> nn.Module:
    names = model.architecture
    norm: nn.Module = model.network.get_submodule(f"{names.backbone}.{names.final_norm}")
    return norm


@contextmanager
def _hooked(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _hooked_before(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
