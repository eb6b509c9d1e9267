"""Runs of a model: recorded ones, and ones that continue from a block with some modules' outputs replaced."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from errata.model import EditableModel

Module = Literal["mlp", "attention"]
MODULES: tuple[Module, ...] = ("mlp", "attention")


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run of rows of S tokens through all blocks."""

    # hidden states that enter each block, and those that leave the last one: num_layers + 1 tensors (rows, S, d_model)
    entering: Sequence[Tensor]
    # what the MLPs and the attentions give: for each a tensor (rows, S, d_model) by layer
    outputs: Mapping[Module, Sequence[Tensor]]
    next_token: Tensor  # probabilities of the token after each row, (rows, vocabulary), float32


@dataclass(frozen=True, slots=True)
class Replacement:
    """Vectors that stand in for n of those that a module gives."""

    rows: Tensor  # their rows, (n,)
    tokens: Tensor  # their tokens, (n,)
    values: Tensor  # the vectors, (n, d_model)


@torch.no_grad()
def recorded(model: EditableModel, embeddings: Tensor) -> Run:
    """Run token embeddings, (rows, S, d_model), through the model."""
    layers = range(model.num_layers)
    with ExitStack() as hooks:
        leaving = [hooks.enter_context(_seen(model.block(layer), embeddings)) for layer in layers]
        mlps = [hooks.enter_context(_seen(model.mlp(layer), embeddings)) for layer in layers]
        attentions = [hooks.enter_context(_seen(model.attention(layer), embeddings)) for layer in layers]
        next_token = _next_token(model, 0, embeddings)
    return Run(
        entering=[embeddings, *(seen[0] for seen in leaving)],
        outputs={"mlp": [seen[0] for seen in mlps], "attention": [seen[0] for seen in attentions]},
        next_token=next_token,
    )


@torch.no_grad()
def continued(
    model: EditableModel, first: int, hidden: Tensor, replaced: Mapping[tuple[Module, int], Replacement]
) -> Tensor:
    """Return probabilities of the token after each row, (rows, vocabulary), float32, from `hidden` at block `first`.

    Args:
        first: 0 to num_layers; the latter leaves nothing but the final norm and the head.
        hidden: (rows, S, d_model).
        replaced: for modules of these blocks, by layer, what stands in for a part of their outputs.
    """
    with ExitStack() as hooks:
        for (module, layer), replacement in replaced.items():
            part = model.mlp(layer) if module == "mlp" else model.attention(layer)
            hooks.enter_context(_replacing(part, replacement, hidden.shape))
        return _next_token(model, first, hidden)


def _next_token(model: EditableModel, first: int, hidden: Tensor) -> Tensor:
    final = model.run(first, model.num_layers, hidden)
    return model.logits(final[:, -1]).float().softmax(-1)


@contextmanager
def _seen(module: nn.Module, like: Tensor) -> Iterator[list[Tensor]]:
    """Collect a module's outputs, brought to the shape and the device of `like`, in runs inside this context."""
    seen: list[Tensor] = []

    def see(_: nn.Module, __: Any, output: Any) -> None:
        # Copied, since Falcon adds what the attention gives to its MLP's output in place.
        given = (output[0] if isinstance(output, tuple) else output).reshape(like.shape)
        seen.append(given.to(like.device, copy=True))

    with module.register_forward_hook(see):
        yield seen


@contextmanager
def _replacing(module: nn.Module, replacement: Replacement, shape: torch.Size) -> Iterator[None]:
    """Replace some of a module's outputs, (rows, S, d_model) if brought to `shape`, in runs inside this context."""

    def replaced(output: Tensor) -> Tensor:
        rows, tokens, values = (
            part.to(output.device) for part in (replacement.rows, replacement.tokens, replacement.values)
        )
        return output.reshape(shape).index_put((rows, tokens), values).view(output.shape)

    def replace(_: nn.Module, __: Any, output: Any) -> Any:
        return (replaced(output[0]), *output[1:]) if isinstance(output, tuple) else replaced(output)

    with module.register_forward_hook(replace):
        yield
