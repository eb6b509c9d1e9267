"""Rows of tokens that are run again and again from the subject's last token on, with an offset added there.

The offset is added to the output of block L at that position (see `SubjectOutputs`). So it changes nothing in the
blocks up to L, and nothing at earlier positions, and all of that is computed once: the output of block L, and the keys
and values of the earlier positions in the blocks above L.

Two MLPs are computed only in part. The MLP of block L + 1, if it does not read the attention's output, has a new input
only at the subject. The MLP of the last block is needed only at positions from which something is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from errata.model import EditableModel
from errata.model.prefixes import AfterPrefixes, Recording, run_blocks
from errata.model.tokens import SubjectPrompt, padded


@dataclass(frozen=True, slots=True)
class SubjectOutputs:
    """What block L gives at the subjects' last tokens of n rows, and what it gives where its MLP gives more.

    An offset is added to the block's output. Where a norm stands between the MLP and the residual stream, it is added
    before the norm, since only the MLP's own output is linear in its weights.
    """

    hidden: Tensor  # output of block L, (n, d_model)
    norm: nn.Module | None
    normed: Tensor | None  # what enters the norm, (n, d_model)

    def __getitem__(self, rows: Tensor | slice) -> SubjectOutputs:
        return replace(self, hidden=self.hidden[rows], normed=None if self.normed is None else self.normed[rows])

    @property
    def lengths(self) -> tuple[Tensor, Tensor]:
        """The unit of each row's offset, and the length in that unit of what it is added to: (n,) each, float32.

        The unit is 1 where the offset is added to the hidden state. A norm leaves the length of what enters it without
        effect, so that its root mean square is the unit there.
        """
        added_to = (self.hidden if self.normed is None else self.normed).float().norm(dim=-1)
        if self.normed is None:
            return torch.ones_like(added_to), added_to
        unit = added_to / math.sqrt(self.normed.shape[-1])
        return unit, added_to / unit

    def moved(self, offsets: Tensor) -> Tensor:
        """Return what leaves block L with offsets, (n, d_model), added: (n, d_model); all of it float32."""
        if self.norm is None or self.normed is None:
            return self.hidden.float() + offsets
        normed, there = self.normed.float(), next(self.norm.parameters()).device
        more: Tensor = self.norm((normed + offsets).to(there)) - self.norm(normed.to(there))
        return self.hidden.float() + more.to(self.hidden.device)


@dataclass(frozen=True, slots=True)
class Suffixes:
    """R rows of tokens. S is the longest suffix, which begins with the subject's last token; P the longest prefix."""

    layer: int  # L
    owner: Tensor  # number of the offset that a row gets, (R,)
    hidden: Tensor  # output of block L on suffix positions, (R, S, d_model)
    subject: SubjectOutputs  # at the first of them
    # Of the suffix, (1, S), the same for all rows, which are moved along for that: blocks above L see distances
    # between positions alone. (R, S) where there is no room for it.
    positions: Tensor
    mask: Tensor  # added to attention scores, 0 or the lowest number, (R, W, S, P + S)
    prefix: dict[int, tuple[Tensor, Tensor]]  # keys and values by block above L, each (R, heads, P, d_head)
    first_read: int  # the first suffix position that final hidden states are read from
    unmoved: (
        Tensor | None
    )  # what the MLP of block L + 1 gives after the subject, (R, S - 1, d_model), if nothing moves it

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        model: EditableModel,
        layer: int,
        prompts: Sequence[SubjectPrompt],
        owner: Sequence[int],
        *,
        first_read: int = 0,
    ) -> Suffixes:
        """Run the rows once: up to block `layer`, and their prefixes through the blocks above."""
        device = model.device
        token_ids = padded([prompt.token_ids for prompt in prompts], device)
        norm, entering = model.mlp_norm(layer), []
        with norm.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0])) if norm else nullcontext():
            hidden = model.run(0, layer + 1, model.embed(token_ids))

        subject = torch.tensor([prompt.subject_last for prompt in prompts], device=device)  # the prefix's length, too
        num_prefix = int(subject.max())
        num_suffix = max(prompt.suffix_length for prompt in prompts)
        inside = (subject[:, None] + torch.arange(num_suffix, device=device)).clamp(max=token_ids.shape[1] - 1)
        source = torch.arange(num_prefix, device=device) - (num_prefix - subject[:, None])  # (R, P)
        # Where all suffixes can begin at one position they do: it is cheaper.
        fits = num_prefix + num_suffix <= model.max_length
        begin = torch.tensor([num_prefix], device=device) if fits else subject
        positions = begin[:, None] + torch.arange(num_suffix, device=device)
        prefix_positions = begin[:, None] + torch.arange(-num_prefix, 0, device=device)
        # What is not a part of a row's prefix is put after everything, where no query sees it.
        seen_as = prefix_positions.expand_as(source).masked_fill(source < 0, num_prefix + num_suffix)
        all_positions = torch.cat([seen_as, positions.expand(len(prompts), -1)], dim=1)
        normed = entering[0].to(device)[torch.arange(len(prompts), device=device), subject] if entering else None
        in_suffix = _gathered(hidden, inside)
        suffixes = cls(
            layer=layer,
            owner=torch.tensor(owner, device=device),
            hidden=in_suffix,
            subject=SubjectOutputs(in_suffix[:, 0], norm, normed),
            positions=positions.clamp(max=model.max_length - 1),
            mask=model.causal_mask(positions, all_positions),
            prefix=_keys_and_values(model, layer, _gathered(hidden, source.clamp(min=0)), prefix_positions, seen_as),
            first_read=first_read,
            unmoved=None,
        )
        # The last block's MLP is cut short already.
        return replace(suffixes, unmoved=suffixes._unmoved(model)) if layer + 2 < model.num_layers else suffixes

    def run(self, model: EditableModel, offsets: Tensor) -> Tensor:
        """Return final hidden states with each row's offset added at its subject, (R, S, d_model).

        Those before `first_read` must not be used.

        Args:
            offsets: (owners, d_model), float32; see `SubjectOutputs`.
        """
        at_subject = self.subject.moved(offsets[self.owner]).to(self.hidden.dtype)
        moved = torch.cat([at_subject[:, None], self.hidden[:, 1:]], dim=1)
        last = model.num_layers - 1
        mlps: dict[int, nn.Module] = {}
        if self.first_read and model.architecture.has_whole_mlp:
            mlps[last] = _FromPosition(model.mlp(last), self.first_read)
        if self.unmoved is not None:
            mlps[self.layer + 1] = _AtSubject(model.mlp(self.layer + 1), self.unmoved)
        return self._run_blocks(model, last + 1, moved, mlps)

    def without(self, done: Tensor) -> Suffixes:
        """Return the rows of the owners that are not `done`, (owners,), with the owners numbered anew."""
        rows = (~done)[self.owner].nonzero()[:, 0]
        number = (~done).cumsum(0) - 1
        return replace(
            self,
            owner=number[self.owner[rows]],
            hidden=self.hidden[rows],
            subject=self.subject[rows],
            positions=self.positions if len(self.positions) == 1 else self.positions[rows],
            mask=self.mask[rows],
            prefix={block: (_taken(keys, rows), _taken(values, rows)) for block, (keys, values) in self.prefix.items()},
            unmoved=None if self.unmoved is None else _taken(self.unmoved, rows),
        )

    def _unmoved(self, model: EditableModel) -> Tensor | None:
        if not model.is_parallel or self.hidden.shape[1] == 1:
            return None
        outputs: list[Tensor] = []
        with model.mlp(self.layer + 1).register_forward_hook(lambda *call: outputs.append(call[-1].clone())):
            self._run_blocks(model, self.layer + 2, self.hidden, {})
        return outputs[0][:, 1:].contiguous()

    def _run_blocks(self, model: EditableModel, stop: int, hidden: Tensor, mlps: dict[int, nn.Module]) -> Tensor:
        """Run blocks L + 1 to `stop` - 1 on the suffixes, which see their prefixes."""
        part = model.blocks(self.layer + 1, stop, mlps=mlps)
        return run_blocks(part, hidden, self.positions, self.mask, AfterPrefixes(self.prefix))


class _FromPosition(nn.Module):
    """An MLP that computes only positions from `first` on; before them it gives zeros."""

    def __init__(self, mlp: nn.Module, first: int) -> None:
        super().__init__()
        self._mlp, self._first = mlp, first

    def forward(self, hidden: Tensor) -> Tensor:
        computed: Tensor = self._mlp(hidden[:, self._first :].contiguous())
        return torch.cat([computed.new_zeros(*hidden.shape[:1], self._first, hidden.shape[2]), computed], dim=1)


class _AtSubject(nn.Module):
    """An MLP that computes only the first position; its outputs after it are known."""

    def __init__(self, mlp: nn.Module, after: Tensor) -> None:
        super().__init__()
        self._mlp, self._after = mlp, after

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.cat([self._mlp(hidden[:, :1].contiguous()), self._after], dim=1)


def _keys_and_values(
    model: EditableModel, layer: int, hidden: Tensor, positions: Tensor, seen_as: Tensor
) -> dict[int, tuple[Tensor, Tensor]]:
    """Return the keys and values of prefixes, (R, P, d_model), in the blocks above `layer`; {} if all are empty.

    Where a row has no such position, `positions`, (R or 1, P), is negative, and `seen_as`, (R, P), after every query.
    """
    cache = Recording()
    if hidden.shape[1]:
        above = model.blocks(layer + 1, model.num_layers)
        run_blocks(above, hidden, positions.clamp(min=0), model.causal_mask(seen_as, seen_as), cache)
    return cache.recorded


def _taken(tensor: Tensor, rows: Tensor) -> Tensor:
    """Take rows of what was kept within a block, on whatever device."""
    return tensor[rows.to(tensor.device)]


def _gathered(hidden: Tensor, positions: Tensor) -> Tensor:
    """Gather each row's hidden states at its own positions: (R, T, d_model), (R, N) -> (R, N, d_model)."""
    return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
