"""Target vectors: for each fact the hidden state z that makes the model say the new object.

Section 4.2 and Eq. 16 of the MEMIT paper: z = h + delta, where delta is added to the output of the last edited
block L at the subject's last token and minimises

    mean over contexts of -log p(object | context, prompt) / object tokens
    + kl_factor * KL(p_delta || p_0) of the next token after "{subject} is a", read at the subject
    + weight_decay * |delta| / |h|^2.

(The KL runs from the edited to the unedited distribution, as in the authors' code.)

Many facts are searched at once, and only what delta can change is computed: blocks above L, on positions from
the subject's last token on; the keys and values of earlier positions are taken from one run of the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from errata.errors import NotFinite
from errata.facts import Fact
from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.prompts import KL_TEMPLATE, SubjectPrompt, padded, subject_prompt, target_ids

FACTS_PER_BATCH = 64


def find_targets(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: Hyperparameters,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """The target vector of each fact, (facts, d_model), float32.

    Args:
        contexts: prefixes; the bare prompt is always searched over as well.
        on_progress: called after every step with (facts done, facts in all), where a batch half through its steps
            counts as half done; what it raises ends the search.

    Raises:
        NotFinite: a loss is not a finite number.
    """
    searches = [_Search.of(model, fact, contexts) for fact in facts]
    targets: list[Tensor] = [torch.empty(0)] * len(facts)
    by_length = sorted(range(len(facts)), key=lambda index: (searches[index].length, index))
    for start in range(0, len(facts), FACTS_PER_BATCH):
        batch = by_length[start : start + FACTS_PER_BATCH]

        def on_step(step: int, start: int = start, size: int = len(batch)) -> None:
            on_progress(start + size * (step + 1) // hyperparameters.num_steps, len(facts))

        found = _search_batch(model, [searches[index] for index in batch], hyperparameters, on_step)
        for index, target in zip(batch, found, strict=True):
            targets[index] = target
        on_progress(start + len(batch), len(facts))
    return torch.stack(targets)


@dataclass(frozen=True, slots=True)
class _Search:
    """The token rows of one fact's search."""

    fact: Fact
    prompts: tuple[SubjectPrompt, ...]  # the bare prompt first
    object_ids: tuple[int, ...]
    kl_prompt: SubjectPrompt

    @classmethod
    def of(cls, model: EditableModel, fact: Fact, contexts: Sequence[str]) -> _Search:
        prompts = (subject_prompt(model.tokenizer, fact.template, fact.subject, context=c) for c in ("", *contexts))
        kl_prompt = subject_prompt(model.tokenizer, KL_TEMPLATE, fact.subject)
        return cls(fact, tuple(prompts), target_ids(model.tokenizer, fact.object), kl_prompt)

    @property
    def length(self) -> int:
        return len(self.prompts[0].token_ids) + len(self.object_ids)


@dataclass(frozen=True, slots=True)
class _Suffixes:
    """Rows that can be run on from the subject's last token: everything that delta cannot change, computed once.

    S is the longest suffix and P the longest prefix among the rows.

    Attributes:
        fact: which fact of the batch each row belongs to, (rows,).
        hidden: output of block L on suffix positions, (rows, S, d_model).
        position_ids: (rows, S).
        mask: added to attention scores, 0 or the lowest number, (rows, 1, S, P + S).
        prefix: per block above L, keys and values of the prefix, each (rows, heads, P, d_head).
    """

    fact: Tensor
    hidden: Tensor
    position_ids: Tensor
    mask: Tensor
    prefix: dict[int, tuple[Tensor, Tensor]]

    def select(self, rows: Tensor, fact: Tensor) -> _Suffixes:
        """Only `rows`, with new fact numbers."""
        prefix = {layer: (keys[rows], values[rows]) for layer, (keys, values) in self.prefix.items()}
        return _Suffixes(fact, self.hidden[rows], self.position_ids[rows], self.mask[rows], prefix)


class _PrefixCache:
    """Gives attention the keys and values of the prefix before those of the suffix, and keeps nothing."""

    def __init__(self, prefix: dict[int, tuple[Tensor, Tensor]]) -> None:
        self._prefix = prefix

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        before_keys, before_values = self._prefix[layer]
        return torch.cat([before_keys, keys], dim=2), torch.cat([before_values, values], dim=2)


class _RecordingCache:
    """Records the keys and values that a run over whole rows computes, by layer."""

    def __init__(self) -> None:
        self.recorded: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.recorded[layer] = (keys, values)
        return keys, values


@dataclass(frozen=True, slots=True)
class _ObjectTokens:
    """Where the tokens of the objects are predicted, one entry for each token of each row.

    Attributes:
        row, position: of the suffix rows, (tokens,).
        token_id: what should be predicted there, (tokens,).
        fact: fact of the batch it belongs to, (tokens,).
        weight: 1 / (rows of the fact * tokens of its object), float32, (tokens,).
    """

    row: Tensor
    position: Tensor
    token_id: Tensor
    fact: Tensor
    weight: Tensor


def _search_batch(
    model: EditableModel, searches: Sequence[_Search], hyperparameters: Hyperparameters, on_step: Callable[[int], None]
) -> Tensor:
    """Gradient descent on the offsets of all facts of a batch at once, (facts, d_model)."""
    layer = hyperparameters.layers[-1]
    device = model.device
    rows, kl_rows = _object_rows(model, searches, layer), _kl_rows(model, searches, layer)
    bare = torch.arange(len(searches), device=device) * len(searches[0].prompts)
    base = rows.hidden[bare, 0].float()  # h, (facts, d_model)
    base_norm = base.norm(dim=-1)
    with torch.no_grad():
        kl_before = _kl_log_probabilities(model, layer, kl_rows, torch.zeros_like(base))

    offsets = torch.zeros_like(base, requires_grad=True)
    found = torch.full_like(base, torch.nan)
    adam = torch.optim.Adam([offsets], lr=hyperparameters.learning_rate)
    searching = torch.arange(len(searches), device=device)
    for step in range(hyperparameters.num_steps):
        at_work = [searches[index] for index in searching.tolist()]
        delta = offsets[searching]
        loss = _object_loss(model, layer, rows, _object_tokens(at_work, device), delta)
        now = _kl_log_probabilities(model, layer, kl_rows, delta)
        kl = kl_div(kl_before[searching], now, log_target=True, reduction="none").sum(-1)
        norm_cost = delta.norm(dim=-1) / base_norm[searching] ** 2
        loss = loss + hyperparameters.kl_factor * kl + hyperparameters.weight_decay * norm_cost
        _require_finite(loss, at_work)

        last_step = step == hyperparameters.num_steps - 1
        done = torch.full_like(searching, True, dtype=torch.bool) if last_step else loss < hyperparameters.stop_loss
        found[searching[done]] = (base + offsets).detach()[searching[done]]
        on_step(step)
        if done.all():
            break
        if done.any():
            searching = searching[~done]
            rows, kl_rows = _without(rows, done), _without(kl_rows, done)
            # The gradient of the facts that are done no longer matters: their targets are taken.
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
        _clamp(offsets, hyperparameters.clamp * base_norm)
    return found


def _object_rows(model: EditableModel, searches: Sequence[_Search], layer: int) -> _Suffixes:
    """Each fact's prompts, followed by the object's tokens but the last; rows of a fact lie together."""
    prompts = [
        replace(prompt, token_ids=prompt.token_ids + search.object_ids[:-1])
        for search in searches
        for prompt in search.prompts
    ]
    return _suffixes(model, prompts, [len(search.prompts) for search in searches], layer)


def _kl_rows(model: EditableModel, searches: Sequence[_Search], layer: int) -> _Suffixes:
    """One row a fact. Its distribution is read at the subject, so nothing after the subject is run."""
    prompts = [replace(search.kl_prompt, token_ids=search.kl_prompt.up_to_subject) for search in searches]
    return _suffixes(model, prompts, [1] * len(searches), layer)


@torch.no_grad()
def _suffixes(
    model: EditableModel, prompts: Sequence[SubjectPrompt], rows_per_fact: Sequence[int], layer: int
) -> _Suffixes:
    """Run whole rows through the model once and keep what a run from the subject on needs."""
    device = model.device
    token_ids = padded([prompt.token_ids for prompt in prompts], device)
    cache = _RecordingCache()
    below = model.blocks(0, layer + 1)
    hidden = below(inputs_embeds=model.embed(token_ids), use_cache=False).last_hidden_state
    positions = torch.arange(token_ids.shape[1], device=device).expand_as(token_ids)
    above = model.blocks(layer + 1, model.num_layers)
    above(
        inputs_embeds=hidden,
        position_ids=positions,
        attention_mask=_causal(positions[:1], positions[:1], hidden.dtype),
        past_key_values=cache,
        use_cache=True,
    )

    subject = torch.tensor([prompt.subject_last for prompt in prompts], device=device)  # also the prefix's length
    lengths = torch.tensor([len(prompt.token_ids) for prompt in prompts], device=device)
    num_prefix, num_suffix = int(subject.max()), int((lengths - subject).max())
    position_ids = subject[:, None] + torch.arange(num_suffix, device=device)  # (rows, S)
    inside = position_ids.clamp(max=token_ids.shape[1] - 1)
    prefix_positions = torch.arange(num_prefix, device=device).expand(len(prompts), -1)  # (rows, P)
    # A prefix position that a row does not have is put after everything, where no query sees it.
    prefix_positions = prefix_positions.masked_fill(prefix_positions >= subject[:, None], model.max_length)
    return _Suffixes(
        fact=torch.repeat_interleave(torch.tensor(rows_per_fact, device=device)),
        hidden=hidden.gather(1, inside[..., None].expand(-1, -1, hidden.shape[-1])),
        position_ids=inside,
        mask=_causal(position_ids, torch.cat([prefix_positions, position_ids], dim=1), hidden.dtype),
        prefix={
            block: (keys[:, :, :num_prefix].contiguous(), values[:, :, :num_prefix].contiguous())
            for block, (keys, values) in cache.recorded.items()
        },
    )


def _causal(query_positions: Tensor, key_positions: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention scores so that no query sees a later key: (rows, 1, queries, keys)."""
    hidden = key_positions[:, None, None, :] > query_positions[:, None, :, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill(hidden, torch.finfo(dtype).min)


def _run(model: EditableModel, layer: int, rows: _Suffixes, delta: Tensor) -> Tensor:
    """Final hidden states of the rows with each fact's delta added at the subject: (rows, S, d_model)."""
    at_subject = rows.hidden[:, :1] + delta[rows.fact, None].to(rows.hidden.dtype)
    hidden = torch.cat([at_subject, rows.hidden[:, 1:]], dim=1)
    above = model.blocks(layer + 1, model.num_layers)
    output = above(
        inputs_embeds=hidden,
        position_ids=rows.position_ids,
        attention_mask=rows.mask,
        past_key_values=_PrefixCache(rows.prefix),
        use_cache=True,
    )
    return output.last_hidden_state  # type: ignore[no-any-return]


def _object_loss(model: EditableModel, layer: int, rows: _Suffixes, tokens: _ObjectTokens, delta: Tensor) -> Tensor:
    """Mean over a fact's rows of -log p(object) / object tokens, (facts,)."""
    hidden = _run(model, layer, rows, delta)[tokens.row, tokens.position]
    log_probabilities = log_softmax(model.logits(hidden).float(), dim=-1)
    losses = -log_probabilities.gather(1, tokens.token_id[:, None])[:, 0] * tokens.weight
    return torch.zeros(len(delta), device=delta.device).index_add(0, tokens.fact, losses)


def _kl_log_probabilities(model: EditableModel, layer: int, rows: _Suffixes, delta: Tensor) -> Tensor:
    """Log probabilities of the next token at the subject, (facts, vocabulary)."""
    return log_softmax(model.logits(_run(model, layer, rows, delta)[:, 0]).float(), dim=-1)


def _object_tokens(searches: Sequence[_Search], device: torch.device) -> _ObjectTokens:
    entries: list[tuple[int, int, int, int, float]] = []
    row = 0
    for fact, search in enumerate(searches):
        for prompt in search.prompts:
            first = len(prompt.token_ids) - 1 - prompt.subject_last  # suffix position that predicts the object
            weight = 1 / (len(search.prompts) * len(search.object_ids))
            entries += [(row, first + i, token, fact, weight) for i, token in enumerate(search.object_ids)]
            row += 1
    rows, positions, token_ids, facts, weights = (torch.tensor(c, device=device) for c in zip(*entries, strict=True))
    return _ObjectTokens(rows, positions, token_ids, facts, weights)


def _without(rows: _Suffixes, done: Tensor) -> _Suffixes:
    """The rows of the facts that are still searched for, their facts numbered anew."""
    keep = (~done)[rows.fact].nonzero()[:, 0]
    renumbered = (~done).cumsum(0) - 1
    return rows.select(keep, renumbered[rows.fact[keep]])


@torch.no_grad()
def _clamp(offsets: Tensor, largest: Tensor) -> None:
    """Project each offset, in place, to a norm of at most `largest`, (facts,)."""
    norms = offsets.norm(dim=-1)
    offsets.mul_(torch.where(norms > largest, largest / norms, 1)[:, None])


def _require_finite(loss: Tensor, searches: Sequence[_Search]) -> None:
    if bool(loss.isfinite().all()):
        return
    bad = [search.fact for search, finite in zip(searches, loss.isfinite().tolist(), strict=True) if not finite]
    named = "; ".join(repr(fact.prompt) for fact in bad)
    raise NotFinite(f"the target search of {len(bad)} facts left the finite numbers: {named}")
