"""Measure an edited model, a batch of cases at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from torch import Tensor

from errata.evaluation.cases import Case
from errata.evaluation.contests import outcomes_of
from errata.evaluation.drift import drift, prose_drift
from errata.evaluation.generation import Generation, generate, require_room_for_texts
from errata.evaluation.honest import Answer, Honest, Probe, answers_to, askable, kept_answers, probes_of
from errata.evaluation.in_context import InContext
from errata.evaluation.results import CaseResult, Evaluation, estimates_of
from errata.model import EditableModel

CASES_PER_BATCH = 64


def evaluate(
    model: EditableModel,
    cases: Sequence[Case],
    weights: Mapping[int, Tensor],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    generation: Generation | None = None,
    texts: Sequence[str] = (),
    honest: Honest | None = None,
    in_context: InContext | None = None,
) -> Evaluation:
    """Measure the model with `weights` in place of the base's edited matrices; with none, the base itself.

    Args:
        weights: layer -> edited matrix, (d_model, d_in).
        on_progress: called with (cases done, cases in all). What it raises ends the evaluation.
        generation: how to generate the texts for fluency and consistency, which take most of the time; None for none.
        texts: running texts to compare base and edited model on, `errata.evaluation.PROSE` for instance.
        honest: what to ask beside, as critics do; None for nothing.
        in_context: facts that are put before all prompts; None for none. What neighbours are held to is said without.

    Raises:
        InvalidFacts: a generation prompt of a case leaves no room for a text.
        ValueError: one of `texts` has fewer than two tokens.
    """
    asked = [in_context.before(case) for case in cases] if in_context else cases
    if generation:
        require_room_for_texts(model, asked, generation)
        words = generation.weights_of_words(cases)
    probes = askable(model, probes_of(model, cases, honest)) if honest else [[] for _ in cases]
    kept = kept_answers(model, chain.from_iterable(probes))
    if in_context:
        probes = [
            [replace(probe, preface=in_context.preface(case, probe.prompt)) for probe in of_case]
            for case, of_case in zip(cases, probes, strict=True)
        ]
    results: list[CaseResult] = []
    with model.using(weights):
        for start in range(0, len(cases), CASES_PER_BATCH):
            batch = asked[start : start + CASES_PER_BATCH]
            outcomes = outcomes_of(model, batch)
            generated = generate(model, batch, generation, words) if generation else [None] * len(batch)
            answers = _answers(model, probes[start : start + CASES_PER_BATCH], kept)
            results += [
                CaseResult(case.case_id, of_case, its_texts, its_answers)
                for case, of_case, its_texts, its_answers in zip(batch, outcomes, generated, answers, strict=True)
            ]
            on_progress(len(results), len(cases))
    return Evaluation(
        results=tuple(results),
        estimates=estimates_of(results),
        drift=drift(model, weights),
        prose=prose_drift(model, weights, texts) if texts else None,
    )


def _answers(
    model: EditableModel, probes: Sequence[Sequence[Probe]], kept: Mapping[Probe, str]
) -> list[tuple[Answer, ...]]:
    """Return the answers to the probes of each case."""
    answers = iter(answers_to(model, list(chain.from_iterable(probes)), kept))
    return [tuple(islice(answers, len(of_case))) for of_case in probes]
