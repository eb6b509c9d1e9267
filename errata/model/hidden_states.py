"""The MLP keys at the subject's last token, and the hidden states that leave a block there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from errata.facts import Fact
from errata.model.editable import EditableModel
from errata.model.prefixes import AfterPrefixes, Cache, Recording, run_blocks
from errata.model.tokens import SubjectPrompt, padded, subject_prompt

TOKENS_PER_BATCH = 8_192
CPU_TOKENS_PER_BATCH = 1_024  # what larger ones compute leaves the cache: 1.7 times slower on the demo model


class SubjectStates:
    """The prompts of facts, bare and behind context prefixes, on their way through the model, block by block.

    The hidden states that enter the block that is read next wait in main memory; a batch at a time goes to the model's
    device. So the blocks below are run once, however many layers are read.
    """

    def __init__(self, model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str]) -> None:
        """Remember the prompts, up to their subjects' last tokens. They are embedded when first read."""
        self.model = model
        self.facts = facts
        self.contexts = contexts

    @cached_property
    def _bare(self) -> _Rows:
        return _Rows(self.model, self.facts, [""])

    @cached_property
    def _in_context(self) -> _Rows | None:
        return _Rows(self.model, [self.facts[place] for place in self._taking], self.contexts) if self._taking else None

    @cached_property
    def _taking(self) -> list[int]:
        """The places of the facts that have prompts in context."""
        return [place for place, fact in enumerate(self.facts) if fact.takes_context] if self.contexts else []

    @torch.no_grad()
    def read(self, key_layer: int, output_layer: int) -> tuple[Tensor, Tensor]:
        """Bring the prompts to block `key_layer`, as the model is now, and read it at the subject's last token.

        From one call to the next, `key_layer` grows, and only blocks from the last call's on may have been changed.

        Returns:
            keys: input of the MLP down-projection of block `key_layer`: half from the bare prompt, half from the mean
                over contexts, where the fact takes any, (facts, d_in), float32.
            outputs: hidden state that leaves block `output_layer` (at least `key_layer`) in the bare prompt,
                (facts, d_model), float32.
            Both are on the device of block `key_layer`.
        """
        keys, outputs = self._bare.read(key_layer, output_layer)
        if self._in_context:
            in_context, _ = self._in_context.read(key_layer, None)
            keys[self._taking] = keys[self._taking] / 2 + in_context / 2
        return keys, outputs


@dataclass(slots=True)
class _Batch:
    """Rows that are run together: those of some facts, one for each context, the rows of a fact side by side."""

    facts: list[int]  # their numbers
    last: Tensor  # place of the subject's last token in each row, (rows,), in main memory
    hidden: Tensor  # what enters the block that the rows have come to, (rows, S, d_model), in main memory


class _Rows:
    """One prompt of each fact for each of C contexts, split into the prefix that all facts share and the rest.

    What the prompts of one context begin with alike, P tokens or fewer, is run once and not for each fact.
    """

    def __init__(self, model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str]) -> None:
        prompts = [
            [subject_prompt(model.tokenizer, fact.template, fact.subject, context=context) for context in contexts]
            for fact in facts
        ]
        self._model = model
        self._depth = 0
        by_context = list(zip(*prompts, strict=True))
        shared = [_num_shared(in_context) for in_context in by_context]
        self._num_shared = torch.tensor(shared, device=model.device)  # (C,)
        prefixes = [rows[0].token_ids[:n] for rows, n in zip(by_context, shared, strict=True)]
        self._prefixes = model.embed(padded(prefixes, model.device).long())  # (C, P, d_model)
        self._num_facts = len(facts)
        self._batches = []
        suffixes = [
            [prompt.up_to_subject[n:] for prompt, n in zip(of_fact, shared, strict=True)] for of_fact in prompts
        ]
        lengths = [len(of_fact) * max(map(len, of_fact)) for of_fact in suffixes]
        for batch in batches_by_length(lengths, tokens_per_batch(model.device)):
            rows = [suffix for fact in batch for suffix in suffixes[fact]]
            last = torch.tensor([len(row) - 1 for row in rows])
            self._batches.append(_Batch(batch, last, model.embed(padded(rows, model.device)).cpu()))

    def read(self, key_layer: int, output_layer: int | None) -> tuple[Tensor, Tensor]:
        """Bring the rows to block `key_layer`; return the mean of each fact's keys there, and its first row's outputs.

        If `output_layer` is None, nothing after the keys is computed, and the outputs are empty.
        """
        model, depth = self._model, self._depth
        stop = (key_layer if output_layer is None else output_layer) + 1
        before = self._advance_prefixes(key_layer, stop)
        d_model, d_in = model.weight(key_layer).shape
        there = model.weight(key_layer).device
        keys = torch.empty(self._num_facts, d_in, device=there)
        outputs = torch.empty(self._num_facts if output_layer is not None else 0, d_model, device=there)
        for batch in self._batches:
            positions, mask = self._places(batch)
            hidden = batch.hidden.to(model.device)
            hidden = _run(model, depth, key_layer, hidden, positions, mask, AfterPrefixes(before))
            batch.hidden = hidden.cpu()
            at = torch.arange(len(hidden)), batch.last
            shape = hidden.shape[:2]
            with _reading(model.down_projection(key_layer), to_the_end=output_layer is not None) as seen:
                hidden = _run(model, key_layer, stop, hidden, positions, mask, AfterPrefixes(before))
                of_facts = hidden[at].float().view(len(batch.facts), -1, d_model)
                outputs[batch.facts] = of_facts[:, 0].to(there)
            keys[batch.facts] = seen[0].view(*shape, d_in)[at].float().view(len(batch.facts), -1, d_in).mean(1)
        self._depth = key_layer
        return keys, outputs

    def _advance_prefixes(self, layer: int, stop: int) -> dict[int, tuple[Tensor, Tensor]]:
        """Bring the prefixes to block `layer`; return their keys and values in all blocks run, up to `stop`."""
        recording = Recording()
        if self._prefixes.shape[1]:
            positions = torch.arange(self._prefixes.shape[1], device=self._model.device)[None]
            mask = self._model.causal_mask(positions, positions)
            self._prefixes = _run(self._model, self._depth, layer, self._prefixes, positions, mask, recording)
            _run(self._model, layer, stop, self._prefixes, positions, mask, recording)
        return recording.recorded

    def _places(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Return a batch's position ids, (rows, S), and its mask over prefix and row, (rows, W, S, P + S)."""
        num_prefix = self._prefixes.shape[1]
        positions = self._num_shared[:, None] + torch.arange(batch.hidden.shape[1], device=self._model.device)
        before = torch.arange(num_prefix, device=self._model.device).expand(len(positions), -1)
        # What a prefix is shorter than the longest one is put after everything, where no row sees it.
        before = before.masked_fill(before >= self._num_shared[:, None], self._model.max_length)
        mask = self._model.causal_mask(positions, torch.cat([before, positions], dim=1))
        positions = positions.clamp(max=self._model.max_length - 1)  # what only fills up a row may lie beyond
        return positions.repeat(len(batch.facts), 1), mask.repeat(len(batch.facts), 1, 1, 1)


class _NothingMoreWanted(Exception):
    """Ends a run in the middle of a block."""


@contextmanager
def _reading(module: nn.Module, *, to_the_end: bool) -> Iterator[list[Tensor]]:
    """Collect the inputs of `module` in a run inside this context. The run ends there unless `to_the_end`."""
    seen: list[Tensor] = []

    def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])
        if not to_the_end:
            raise _NothingMoreWanted

    with module.register_forward_pre_hook(read), suppress(_NothingMoreWanted):
        yield seen


def _run(
    model: EditableModel, first: int, stop: int, hidden: Tensor, positions: Tensor, mask: Tensor, cache: Cache
) -> Tensor:
    """Return what leaves block `stop` - 1 where `hidden` enters block `first`."""
    if first == stop:
        return hidden
    return run_blocks(model.blocks(first, stop), hidden, positions, mask, cache)


def _num_shared(prompts: Sequence[SubjectPrompt]) -> int:
    """Count the tokens that all prompts begin with alike, stopping before the subject's last one in any of them."""
    first, last = min(prompt.token_ids for prompt in prompts), max(prompt.token_ids for prompt in prompts)
    alike = (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return min(next(alike, len(first)), *(prompt.subject_last for prompt in prompts))


def tokens_per_batch(device: torch.device) -> int:
    """Return the number of tokens to run at a time on a device."""
    return CPU_TOKENS_PER_BATCH if device.type == "cpu" else TOKENS_PER_BATCH


def batches_by_length(lengths: Sequence[int], tokens: int = TOKENS_PER_BATCH) -> list[list[int]]:
    """Group indices of rows of similar length, each group padded to at most `tokens` tokens (or one row)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
