"""The causal traces of many facts, averaged: the average indirect effect (AIE)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errata.errors import TracingError
from errata.facts import Fact
from errata.files.json_figures import with_nulls
from errata.model import EditableModel
from errata.model.likelihood import likelihoods
from errata.tracing.averages import POSITIONS, Average, Position, tokens_by_position
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import KINDS, SEVERINGS, Kind, PromptTrace, Severing, trace_prompt
from errata.tracing.prompts import TracedPrompt
from errata.tracing.proposal import Proposal, propose_layers
from errata.tracing.runs import MODULES, Module


@dataclass(frozen=True, slots=True)
class TracedFact:
    """A fact in the averages, with the probability of its object's first token, clean and corrupted."""

    subject: str
    template: str
    object: str
    clean: float
    corrupted: float


@dataclass(frozen=True, eq=False)
class FactsTrace:
    """Average indirect effects, P(restored) - P(corrupted), over the facts that the model knows.

    Attributes:
        model: name of the model.
        digest: its `EditableModel.digest`.
        noise: how subjects were corrupted.
        window: how many layers of MLP or attention outputs were restored together.
        num_given: facts that were given; those in `facts` are the ones that the model knows.
        facts: what was traced.
        effects: the AIE by layer of each kind of restored output, by the token's place in its prompt; a fact's
            tokens at one place are averaged first.
        severed: the AIE of the hidden state of the subject's last token, by the layer that it enters (one more than
            the model has), with nothing, the MLPs or the attentions severed (see `PromptTrace.severed`).
        gaps: what severing costs: AIE(nothing severed) - AIE(module severed), with the interval of the facts' own
            differences.
        proposal: layers to edit.
    """

    model: str
    digest: str
    noise: Noise
    window: int
    num_given: int
    facts: tuple[TracedFact, ...]
    effects: Mapping[Kind, Mapping[Position, Average]]
    severed: Mapping[Severing, Average]
    gaps: Mapping[Module, Average]
    proposal: Proposal

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(with_nulls(self))


def known_facts(model: EditableModel, facts: Sequence[Fact]) -> list[Fact]:
    """Return the facts that the model knows: it says the object, and no longer word."""
    answers = likelihoods(model, [(fact.prompt, fact.object) for fact in facts], [fact.space for fact in facts])
    return [fact for fact, answer in zip(facts, answers, strict=True) if answer.is_said]


def trace_facts(
    model: EditableModel,
    facts: Sequence[Fact],
    noise: Noise,
    *,
    kinds: Collection[Kind] = KINDS,
    window: int | None = None,
    tokens_per_batch: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FactsTrace:
    """Trace the facts that the model knows, and propose layers to edit; the model is left as it was.

    Args:
        kinds: what to restore, besides the hidden states with modules severed, which alone decide the proposal.
        window, tokens_per_batch: as for `trace_prompt`.
        on_progress: called with (facts done, facts in all). What it raises ends the trace.

    Raises:
        TracingError: the model knows none of the facts, or `window` is out of its bounds.
    """
    known = known_facts(model, facts)
    if not known:
        raise TracingError(f"the model knows none of {len(facts)} facts, so there is nothing to trace")
    traces: list[PromptTrace] = []
    for fact in known:
        on_progress(len(traces), len(known))
        prompt = TracedPrompt.of(model, fact.template, fact.subject, fact.object)
        traces.append(trace_prompt(model, prompt, noise, kinds=kinds, window=window, tokens_per_batch=tokens_per_batch))
    on_progress(len(traces), len(known))
    gaps = {
        module: Average.of([trace.severed["neither"] - trace.severed[module] for trace in traces]) for module in MODULES
    }
    return FactsTrace(
        model=model.name,
        digest=model.digest,
        noise=noise,
        window=traces[0].window,
        num_given=len(facts),
        facts=tuple(
            TracedFact(fact.subject, fact.template, fact.object, trace.clean, trace.corrupted)
            for fact, trace in zip(known, traces, strict=True)
        ),
        effects={kind: _by_position(traces, kind) for kind in traces[0].restored},
        severed={
            severing: Average.of([trace.severed[severing] - trace.corrupted for trace in traces])
            for severing in SEVERINGS
        },
        gaps=gaps,
        proposal=propose_layers(gaps["mlp"]),
    )


def _by_position(traces: Sequence[PromptTrace], kind: Kind) -> dict[Position, Average]:
    """Return the AIE by layer for each position that some prompt has."""
    averages: dict[Position, Average] = {}
    for position in POSITIONS:
        values = [
            trace.effects(kind)[list(tokens[position])].mean(dim=0)
            for trace in traces
            if position in (tokens := tokens_by_position(trace.prompt))
        ]
        if values:
            averages[position] = Average.of(values)
    return averages
