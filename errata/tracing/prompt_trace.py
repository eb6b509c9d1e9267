"""The causal trace of one prompt.

All states of the corrupted runs are kept. So a run with something restored begins at the first block that it changes,
from the states of a corrupted run. All noise samples and all tokens of a layer run together, in batches.

What lies before the subject is the same in clean and corrupted runs. Restoring it changes nothing and is not computed.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from errata.errors import TracingError
from errata.files.json_figures import with_nulls
from errata.model import EditableModel, hidden_states
from errata.tracing.noise import Noise
from errata.tracing.prompts import TracedPrompt
from errata.tracing.runs import MODULES, Module, Replacement, Run, continued, recorded

Kind = Literal["hidden", "mlp", "attention"]
KINDS: tuple[Kind, ...] = ("hidden", "mlp", "attention")
Severing = Literal["neither", "mlp", "attention"]
SEVERINGS: tuple[Severing, ...] = ("neither", *MODULES)
WIDEST_WINDOW = 10


@dataclass(frozen=True, eq=False)
class PromptTrace:
    """Probabilities of the answer's first token, all of them means over the corrupted runs."""

    model: str  # name of the model
    digest: str  # its `EditableModel.digest`
    prompt: TracedPrompt  # what was traced, with the answer's token
    tokens: tuple[str, ...]  # the prompt's tokens as texts, S of them
    answer: str  # the answer's token as text
    noise: Noise  # how the subject was corrupted
    window: int  # how many layers of MLP or attention outputs are restored together
    clean: float  # the probability in the clean run
    is_likeliest: bool  # whether the answer's token is the likeliest one there
    corrupted: float  # the probability with nothing restored
    # for each kind (S, num_layers), float32, in main memory: with the token's hidden state restored that leaves the
    # layer; or the token's MLP (attention) outputs in a window of layers around it
    restored: Mapping[Kind, Tensor]
    # (num_layers + 1,), float32: with the hidden state of the subject's last token restored that enters the layer (the
    # last entry: that leaves the last layer), while nothing, its MLP outputs or its attention outputs stay as they are
    # in the corrupted run, in this layer and all later ones
    severed: Mapping[Severing, Tensor]

    def effects(self, kind: Kind) -> Tensor:
        """Return indirect effects, P(restored) - P(corrupted), (S, num_layers)."""
        return self.restored[kind] - self.corrupted

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "model": self.model,
            "digest": self.digest,
            "template": self.prompt.template,
            "subject": self.prompt.subject,
            "tokens": list(self.tokens),
            "token_ids": list(self.prompt.token_ids),
            "subject_tokens": list(self.prompt.subject_tokens),
            "answer": self.answer,
            "answer_id": self.prompt.answer_id,
            "noise": with_nulls(self.noise),
            "window": self.window,
            "clean": self.clean,
            "is_likeliest": self.is_likeliest,
            "corrupted": self.corrupted,
            "restored": {kind: table.tolist() for kind, table in self.restored.items()},
            "severed": {severing: row.tolist() for severing, row in self.severed.items()},
        }


def default_window(num_layers: int) -> int:
    """Return a third of the layers, rounded up, but at most ten: the paper's ten for the 28 layers of GPT-J."""
    return min(WIDEST_WINDOW, math.ceil(num_layers / 3))


def window_around(layer: int, window: int, num_layers: int) -> range:
    """Return the layers restored together for `layer`: it and those around it, fewer at both ends of the model.

    An even window has one more layer below than above.
    """
    return range(max(0, layer - window // 2), min(num_layers, layer + (window + 1) // 2))


@torch.no_grad()
def trace_prompt(
    model: EditableModel,
    prompt: TracedPrompt,
    noise: Noise,
    *,
    kinds: Collection[Kind] = KINDS,
    window: int | None = None,
    tokens_per_batch: int | None = None,
) -> PromptTrace:
    """Trace one prompt; the model is left as it was.

    Args:
        kinds: what to restore, besides the hidden states with modules severed.
        window: layers of MLP or attention outputs that are restored together; unset, `default_window`.
        tokens_per_batch: how many tokens are run at once; unset, as many as suit the model's device.

    Raises:
        TracingError: `window` is not between 1 and the number of layers.
    """
    window = default_window(model.num_layers) if window is None else window
    if not 1 <= window <= model.num_layers:
        raise TracingError(f"a window of {window} layers; the model has {model.num_layers}")
    embeddings = model.embed(torch.tensor([prompt.token_ids], device=model.device))
    clean = recorded(model, embeddings)
    likeliest = int(clean.next_token[0].argmax())
    answer_id = likeliest if prompt.answer_id is None else prompt.answer_id
    corrupted = recorded(model, _corrupted(embeddings, prompt, noise))
    if tokens_per_batch is None:
        tokens_per_batch = hidden_states.tokens_per_batch(model.device)
    runs = _Runs(model, prompt.subject_tokens, answer_id, clean, corrupted, tokens_per_batch)
    return PromptTrace(
        model=model.name,
        digest=model.digest,
        prompt=replace(prompt, answer_id=answer_id),
        tokens=tuple(str(model.tokenizer.decode([token])) for token in prompt.token_ids),
        answer=str(model.tokenizer.decode([answer_id])),
        noise=noise,
        window=window,
        clean=float(clean.next_token[0, answer_id]),
        is_likeliest=answer_id == likeliest,
        corrupted=runs.probability_corrupted,
        restored={kind: runs.restored(kind, window) for kind in KINDS if kind in kinds},
        severed=runs.severed(),
    )


def _corrupted(embeddings: Tensor, prompt: TracedPrompt, noise: Noise) -> Tensor:
    """Return the embeddings of the corrupted runs, (num_samples, S, d_model), from those of the clean one."""
    corrupted = embeddings.repeat(noise.num_samples, 1, 1)
    first, stop = prompt.subject_tokens.start, prompt.subject_tokens.stop
    corrupted[:, first:stop] += noise.draw(prompt, embeddings.shape[-1]).to(corrupted)
    return corrupted


@dataclass(frozen=True, slots=True)
class _Runs:
    """The clean run (one row) and the corrupted ones of a prompt, from which runs with something restored start."""

    model: EditableModel
    subject_tokens: range
    answer_id: int
    clean: Run
    corrupted: Run
    tokens_per_batch: int

    @property
    def probability_corrupted(self) -> float:
        return float(self.corrupted.next_token[:, self.answer_id].mean())

    def restored(self, kind: Kind, window: int) -> Tensor:
        """Return the mean probability for each restored token and layer, (S, num_layers)."""
        num_layers, length = self.model.num_layers, self._length
        table = torch.full((length, num_layers), self.probability_corrupted)
        tokens = torch.arange(self.subject_tokens.start, length, device=self.model.device)
        for layer in range(num_layers):
            by_row = [
                self._restored_hidden(layer + 1, token, sample)
                if kind == "hidden"
                else self._restored_outputs(kind, window_around(layer, window, num_layers), token, sample)
                for token, sample in self._batches(tokens)
            ]
            table[tokens.cpu(), layer] = torch.cat(by_row).view(len(tokens), -1).mean(1).cpu()
        return table

    def severed(self) -> dict[Severing, Tensor]:
        """Return the mean probability for each severing and layer that the restored state enters, (num_layers + 1,)."""
        last = torch.tensor([self.subject_tokens[-1]], device=self.model.device)
        by_layer: dict[Severing, list[Tensor]] = {severing: [] for severing in SEVERINGS}
        for layer in range(self.model.num_layers + 1):
            for severing in SEVERINGS:
                frozen = None if severing == "neither" else severing
                by_row = [self._restored_hidden(layer, token, sample, frozen) for token, sample in self._batches(last)]
                by_layer[severing].append(torch.cat(by_row).mean().cpu())
        return {severing: torch.stack(by_layer[severing]) for severing in SEVERINGS}

    def _restored_hidden(self, layer: int, token: Tensor, sample: Tensor, frozen: Module | None = None) -> Tensor:
        """Return each row's probability with `token`'s state that enters `layer` restored in corrupted run `sample`.

        The outputs of the `frozen` modules at that token stay corrupted from there on.
        """
        row = torch.arange(len(sample), device=sample.device)
        hidden = self.corrupted.entering[layer][sample]
        hidden[row, token] = self.clean.entering[layer][0, token]
        frozen_outputs = {
            (frozen, later): Replacement(row, token, self.corrupted.outputs[frozen][later][sample, token])
            for later in range(layer, self.model.num_layers)
            if frozen
        }
        return continued(self.model, layer, hidden, frozen_outputs)[:, self.answer_id]

    def _restored_outputs(self, module: Module, layers: range, token: Tensor, sample: Tensor) -> Tensor:
        """Return each row's probability with `token`'s MLP or attention outputs restored in corrupted run `sample`."""
        row = torch.arange(len(sample), device=sample.device)
        outputs = {
            (module, layer): Replacement(row, token, self.clean.outputs[module][layer][0, token]) for layer in layers
        }
        return continued(self.model, layers.start, self.corrupted.entering[layers.start][sample], outputs)[
            :, self.answer_id
        ]

    def _batches(self, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows of every one of `tokens` with every corrupted run, tokens first, in batches: (rows,) of each."""
        num_samples = len(self.corrupted.next_token)
        rows = torch.cartesian_prod(tokens, torch.arange(num_samples, device=tokens.device))
        for batch in torch.split(rows, max(1, self.tokens_per_batch // self._length)):
            yield batch[:, 0], batch[:, 1]

    @property
    def _length(self) -> int:
        return self.clean.entering[0].shape[1]
