"""Target vectors: for each fact the hidden state z that makes the model say the new object.

Section 4.2 and Eq. 16 of the MEMIT paper: z = h + delta, where delta is added to the output of the last edited
block L at the subject's last token and minimises

    mean over contexts of -log p(object | context, prompt) / object tokens
    + boundary_factor * the mean over contexts of the loss of the end of its last word (`errata.model.boundaries`)
    + kl_factor * KL(p_delta || p_0) of the next token after "{subject} is a", read at the subject
    + weight_decay * |delta| / |h|^2.

Where a norm N stands between the MLP and the residual stream (Gemma 2 and 3, OLMo 2), no weights may give what a delta
of the block's output asks for. There it is searched for at the MLP's own output v: with u = v / rms(v), the block adds
N(u + delta) in the place of N(v) = N(u), u stands for h in the last term and in the clamp, and z is what then leaves
the block.

A search ends when this loss is small (`stop_loss`) or, with `stop_margin`, once the object is the likeliest in all
prompts (ENCORE, arXiv 2502.01636, section 4).

(The KL runs from the edited to the unedited distribution, as in the authors' code.)

Facts about one subject have nearly one key, which can lead to one value only, so they share their delta: the first
term is then the mean over the facts, the search ends early when the worst of them is good enough, and for n
facts it may take sqrt(n) times the steps.

Many subjects are searched for at once, as many as there is memory for, and only what delta can change is computed
(`errata/targets/suffixes.py`). A subject leaves the batch when its search ends.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from errata.errors import NotFinite
from errata.facts import Fact, by_subject, search_of
from errata.hyperparameters import TargetHyperparameters
from errata.model import EditableModel
from errata.model.boundaries import losses_of, margins_of, weights_in, with_end
from errata.model.tokens import KL_TEMPLATE, SubjectPrompt, object_ids, subject_prompt
from errata.targets.batches import BatchLimits, Footprint, ran_out_of_memory
from errata.targets.store import BuildStore, target_key
from errata.targets.suffixes import SubjectOutputs, Suffixes


def find_targets(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: TargetHyperparameters,
    *,
    store: BuildStore | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Return the target of each fact, (facts, d_model), float32.

    Args:
        contexts: prefixes; the bare prompt is always searched over as well.
        store: where targets are taken from instead of being searched for, and kept as soon as they are found.
        on_progress: called after every step with (facts done, facts in all), where facts half through their steps
            count as half done; what it raises ends the search.

    A subject whose facts bring a `search` is searched for with that in place of what `hyperparameters` say.

    Raises:
        NotFinite: losses were no finite numbers; names the facts. All others have been searched for.
        InvalidHyperparameters: a fact brings for its search what cannot be used.
    """
    targets: dict[Fact, Tensor] = {}
    searches: dict[TargetHyperparameters, list[_Search]] = {}
    for about_one in by_subject(facts):
        settings = hyperparameters.for_search(search_of(about_one))
        key = target_key(model, about_one, contexts, settings)
        stored = store.load(key) if store else None
        if stored is None:
            searches.setdefault(settings, []).append(
                _Search.of(model, about_one, contexts, key, settings.boundary_factor)
            )
        else:
            targets.update(zip(about_one, stored.to(model.device), strict=True))
    on_progress(len(targets), len(facts))

    def on_step(facts_done: float) -> None:
        on_progress(int(len(targets) + facts_done), len(facts))

    lost: list[Fact] = []
    for settings, alike in searches.items():
        for search, found in _search_in_batches(model, alike, settings, on_step):
            if found is None:
                lost += search.facts
                continue
            targets.update(zip(search.facts, found, strict=True))
            if store:
                store.save(search.key, found)
    if lost:
        named = "; ".join(repr(fact.prompt) for fact in lost)
        raise NotFinite(f"the target search of {len(lost)} facts left the finite numbers: {named}")
    on_progress(len(facts), len(facts))
    return torch.stack([targets[fact] for fact in facts])


def facts_to_search(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: TargetHyperparameters,
    store: BuildStore,
) -> list[Fact]:
    """Return the facts whose targets `store` does not hold: all facts of a subject, or none."""
    return [
        fact
        for about_one in by_subject(facts)
        if store.load(target_key(model, about_one, contexts, hyperparameters.for_search(search_of(about_one)))) is None
        for fact in about_one
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    """A prompt of a fact, bare or behind a context prefix, followed by all but the last of what is wanted after it."""

    prompt: SubjectPrompt
    fact: int  # number of the fact among those of its subject
    first: int  # place in the suffix at which the first token of the object is predicted


@dataclass(frozen=True, slots=True)
class _Search:
    """The rows to run for one subject. The bare prompt comes first among a fact's rows."""

    facts: tuple[Fact, ...]
    key: str
    rows: tuple[_Row, ...]
    wanted: tuple[tuple[int, ...], ...]  # of each fact: the object's tokens, and the end of its word (`with_end`)
    kl_prompt: SubjectPrompt

    @classmethod
    def of(
        cls, model: EditableModel, facts: tuple[Fact, ...], contexts: Sequence[str], key: str, boundary_factor: float
    ) -> _Search:
        wanted = tuple(with_end(model, object_ids(model.tokenizer, fact), boundary_factor) for fact in facts)
        rows = []
        for number, fact in enumerate(facts):
            for context in ("", *contexts) if fact.takes_context else ("",):
                prompt = subject_prompt(model.tokenizer, fact.template, fact.subject, context=context)
                with_object = replace(prompt, token_ids=prompt.token_ids + wanted[number][:-1])
                rows.append(_Row(with_object, number, prompt.suffix_length - 1))
        whole = subject_prompt(model.tokenizer, KL_TEMPLATE, facts[0].subject)
        # Its distribution is read at the subject, so nothing after the subject is run.
        kl_prompt = replace(whole, token_ids=whole.up_to_subject)
        return cls(facts, key, tuple(rows), wanted, kl_prompt)

    @property
    def bare(self) -> list[int]:
        """The places of the facts' bare prompts among the rows."""
        return [place for place, row in enumerate(self.rows) if place == 0 or row.fact != self.rows[place - 1].fact]

    def num_steps(self, for_one: int) -> int:
        """Return the number of steps that the search may take if a search for one fact may take `for_one`."""
        return math.ceil(for_one * math.sqrt(len(self.facts)))

    @property
    def footprint(self) -> Footprint:
        return Footprint(
            rows=len(self.rows),
            suffix=max(row.prompt.suffix_length for row in self.rows),
            prefix=max(row.prompt.subject_last for row in self.rows),
            predictions=sum(len(self.wanted[row.fact]) for row in self.rows) + 1,
        )


def _search_in_batches(
    model: EditableModel,
    searches: Sequence[_Search],
    hyperparameters: TargetHyperparameters,
    on_step: Callable[[float], None],
) -> Iterator[tuple[_Search, Tensor | None]]:
    """Yield each search with its facts' targets, (facts of the subject, d_model), in the order in which they end.

    If memory runs out for a batch, it is done again in halves, and those that follow are no larger.
    """
    limits = BatchLimits.of(model, hyperparameters.target_layer)
    waiting = deque(sorted(searches, key=lambda search: search.footprint.order))
    while waiting:
        batch = [waiting.popleft() for _ in range(limits.fitting(search.footprint for search in waiting))]
        ended: set[str] = set()
        exhausted = False
        try:
            for search, found in _search_batch(model, batch, hyperparameters, on_step):
                ended.add(search.key)
                yield search, found
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error) or len(batch) == 1:
                raise
            exhausted = True
        if exhausted:  # only here, where the error is gone, whose frames hold what memory is short of
            limits = limits.halved(search.footprint for search in batch)
            waiting.extendleft(search for search in reversed(batch) if search.key not in ended)


@dataclass(frozen=True, slots=True)
class _Predictions:
    """The places at which what is wanted is predicted, one entry for each token of each row."""

    row: Tensor  # of the suffix rows, (tokens,)
    position: Tensor  # in its row, (tokens,)
    token_id: Tensor  # what should be predicted there, or `END_OF_WORD`, (tokens,)
    fact: Tensor  # fact of the batch that it belongs to, (tokens,)
    weight: Tensor  # `weights_in` what is wanted / rows of the fact, float32, (tokens,)
    subject: Tensor  # subject of the batch that each fact belongs to, (facts,)
    share: Tensor  # 1 / facts of its subject, float32, (facts,)

    @classmethod
    def of(cls, searches: Sequence[_Search], device: torch.device, boundary_factor: float) -> _Predictions:
        entries: list[tuple[int, int, int, int, float]] = []
        subject: list[int] = []
        row_number = 0
        for number, search in enumerate(searches):
            rows_of = Counter(row.fact for row in search.rows)
            for row in search.rows:
                wanted = search.wanted[row.fact]
                entries += [
                    (row_number, row.first + place, token_id, len(subject) + row.fact, weight / rows_of[row.fact])
                    for place, (token_id, weight) in enumerate(
                        zip(wanted, weights_in(wanted, boundary_factor), strict=True)
                    )
                ]
                row_number += 1
            subject += [number] * len(search.facts)
        rows, positions, token_ids, facts, weights = (
            torch.tensor(c, device=device) for c in zip(*entries, strict=True)
        )
        share = torch.tensor([1 / len(searches[number].facts) for number in subject], device=device)
        return cls(rows, positions, token_ids, facts, weights, torch.tensor(subject, device=device), share)

    def log_probabilities(self, model: EditableModel, hidden: Tensor) -> Tensor:
        """Return them from final hidden states, (tokens, vocabulary), float32."""
        return log_softmax(model.logits(hidden[self.row, self.position]).float(), dim=-1)

    def losses(self, model: EditableModel, log_probabilities: Tensor) -> Tensor:
        """Return the mean over a fact's rows of -log p(object) / object tokens, (facts,).

        The loss of the end of its word is added.
        """
        losses = losses_of(model, log_probabilities, self.token_id) * self.weight
        return _summed(losses, self.fact, len(self.share))

    def mean_by_subject(self, losses: Tensor, num_subjects: int) -> Tensor:
        """Reduce (facts,) to (subjects,)."""
        return _summed(losses * self.share, self.subject, num_subjects)

    def largest_by_subject(self, losses: Tensor, num_subjects: int) -> Tensor:
        """Reduce (facts,) to (subjects,)."""
        return losses.new_full((num_subjects,), -torch.inf).scatter_reduce(0, self.subject, losses, "amax")

    def least_margin_by_subject(self, model: EditableModel, log_probabilities: Tensor, num_subjects: int) -> Tensor:
        """Return by how much what is wanted is likelier than all else, where it is so the least, (subjects,)."""
        margins = margins_of(model, log_probabilities, self.token_id)
        return margins.new_full((num_subjects,), torch.inf).scatter_reduce(0, self.subject[self.fact], margins, "amin")


def _summed(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Sum each group's values. (Unlike `index_add`, it adds in one order on a GPU, too.)"""
    return values.new_zeros(num_groups).index_put((group,), values, accumulate=True)


def _search_batch(
    model: EditableModel,
    searches: Sequence[_Search],
    hyperparameters: TargetHyperparameters,
    on_step: Callable[[float], None],
) -> Iterator[tuple[_Search, Tensor | None]]:
    """Search for all subjects of a batch at once, by gradient descent on their offsets.

    Yield None in place of the targets if a loss is not finite.
    """
    layer = hyperparameters.target_layer
    device = model.device
    rows = Suffixes.of(
        model,
        layer,
        [row.prompt for search in searches for row in search.rows],
        [number for number, search in enumerate(searches) for _ in search.rows],
        first_read=min(row.first for search in searches for row in search.rows),
    )
    kl_rows = Suffixes.of(model, layer, [search.kl_prompt for search in searches], range(len(searches)))
    bare = _bare_prompts(rows, searches)
    unit, base_norm = (
        torch.stack([length.mean() for length in lengths])
        for lengths in zip(*(outputs.lengths for outputs in bare), strict=True)
    )  # of delta, and |h| or |u|, each (subjects,)
    offsets = torch.zeros(len(searches), rows.hidden.shape[-1], device=device, requires_grad=True)
    adam = torch.optim.Adam([offsets], lr=hyperparameters.learning_rate)
    with torch.no_grad():
        kl_before = _kl_log_probabilities(model, kl_rows, offsets)

    def target_of(number: int) -> Tensor:
        return bare[number].moved((offsets[number] * unit[number]).detach())

    num_steps = torch.tensor([search.num_steps(hyperparameters.num_steps) for search in searches], device=device)
    at_work, searching = list(searches), torch.arange(len(searches), device=device)
    predictions = _Predictions.of(at_work, device, hyperparameters.boundary_factor)
    for step in itertools.count(1):
        delta = offsets[searching]
        added = delta * unit[searching, None]
        log_probabilities = predictions.log_probabilities(model, rows.run(model, added))
        object_losses = predictions.losses(model, log_probabilities)
        kl = kl_div(
            kl_before[searching], _kl_log_probabilities(model, kl_rows, added), log_target=True, reduction="none"
        ).sum(-1)
        norm_cost = delta.norm(dim=-1) / base_norm[searching] ** 2
        cost = hyperparameters.kl_factor * kl + hyperparameters.weight_decay * norm_cost
        loss = predictions.mean_by_subject(object_losses, len(at_work)) + cost
        lost = ~loss.isfinite()
        largest = predictions.largest_by_subject(object_losses.detach(), len(at_work))
        done = (largest + cost < hyperparameters.stop_loss) | (step >= num_steps[searching]) | lost
        if hyperparameters.stop_margin is not None:
            margins = predictions.least_margin_by_subject(model, log_probabilities.detach(), len(at_work))
            done |= margins >= hyperparameters.stop_margin
        for number, is_lost in zip(searching[done].tolist(), lost[done].tolist(), strict=True):
            yield searches[number], None if is_lost else target_of(number)
        at_work = [search for search, is_done in zip(at_work, done.tolist(), strict=True) if not is_done]
        on_step(sum(len(search.facts) * step / search.num_steps(hyperparameters.num_steps) for search in at_work))
        if not at_work:
            return
        adam.zero_grad()
        loss[~done].sum().backward()
        adam.step()
        _clamp(offsets, hyperparameters.clamp * base_norm)
        if bool(done.any()):
            searching = searching[~done]
            rows, kl_rows = rows.without(done), kl_rows.without(done)
            predictions = _Predictions.of(at_work, device, hyperparameters.boundary_factor)


def _bare_prompts(rows: Suffixes, searches: Sequence[_Search]) -> list[SubjectOutputs]:
    """Return what the block gives for the bare prompt of each fact of each search."""
    stops = list(itertools.accumulate(len(search.rows) for search in searches))
    device = rows.hidden.device
    return [
        rows.subject[torch.tensor([stop - len(search.rows) + place for place in search.bare], device=device)]
        for stop, search in zip(stops, searches, strict=True)
    ]


def _kl_log_probabilities(model: EditableModel, rows: Suffixes, offsets: Tensor) -> Tensor:
    """Return log probabilities of the next token at the subject, (subjects, vocabulary)."""
    return log_softmax(model.logits(rows.run(model, offsets)[:, 0]).float(), dim=-1)


@torch.no_grad()
def _clamp(offsets: Tensor, largest: Tensor) -> None:
    """Project each offset, in place, to a norm of at most `largest`, (subjects,)."""
    norms = offsets.norm(dim=-1)
    offsets.mul_(torch.where(norms > largest, largest / norms, 1)[:, None])
