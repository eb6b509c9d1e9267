"""Edits of a real model, as it comes: how right they are, and what they leave alone, beside MEMIT as in the paper.

    python -m benchmarks.real_edits --records FILE [--model .real-models/smollm2] [--edits 1x30,10x5,100x2]
                                    [--settings default] [--first 0] [--hparams '{"refinement_steps": 10}'] [--chat]
                                    [--edited-alone]

FILE holds records of CounterFact in EasyEdit's request form. Those whose true object the model finds likelier than the
new one are edited, in disjoint slices: `10x5` are five edits of ten facts. `--settings default` are what Errata edits
the model with by itself, `published` those of Llama 2 and 3, Mistral and Qwen 2 (layers 4 to 8, lambda 15,000, clamp
4). `--chat` learns each fact with a question, and asks another one. What was found (second moments, targets) is kept
beside the model's folder. A record's own neighbour alone counts as specificity; beside it stand up to four more that
have the same object. The honest score and its parts are by what the model says of itself, with all of these neighbours
(docs/evaluation.md). Below each edit stand the same facts in the unedited model's context, unless `--edited-alone`.
"""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean, harmonic_mean
from typing import Any

import torch

from benchmarks.command import arguments_of, print_header, print_row
from errata import edited_weights
from errata.checkpoint.folder import read_config
from errata.comparison.plan import IN_CONTEXT
from errata.evaluation import FREELY, PROSE, Case, Honest, InContext, case_of, evaluate, outcomes_of
from errata.evaluation.chat import answers_of
from errata.facts import PLACEHOLDER, Fact, FactSet, Neighbor, places_of
from errata.hyperparameters import MemitHyperparameters, known_for
from errata.methods import METHODS
from errata.methods.method import Built
from errata.model import EditableModel
from errata.second_moments.home import home_moments
from errata.targets.store import BuildStore

PUBLISHED = {"layers": (4, 5, 6, 7, 8), "moment_weight": 15_000, "clamp": 4, "weight_decay": 0.001}
MOST_NEIGHBORS = 5
ANSWER_TOKENS = 30
ASKED_AT_ONCE = 50  # records
COLUMNS = (
    "score",
    "efficacy",
    "said",
    "generalization",
    "paraphrases said",
    "specificity",
    "unedited",
    "of more neighbours",
    "these unedited",
    "perplexity +%",
    "honest score",
    "said freely",
    "paraphrases freely",
    "neighbours kept",
)
# The parts of the honest score, by their columns.
SPOKEN = {
    "said freely": "said_freely",
    "paraphrases freely": "paraphrases_freely",
    "neighbours kept": "neighbors_freely",
}
# From prompts of CounterFact: what a user would ask, and in other words.
QUESTIONS = (
    (
        r"the (?:mother tongue|native language) of {} is|{} (?:is a native speaker of|natively speaks)",
        "What is the mother tongue of {}?",
        "Which language did {} learn first?",
    ),
    (
        r"{} (?:speaks|spoke)(?: the language)?|{}, speaker of|the language used by {} is",
        "Which language does {} speak?",
        "What language is used by {}?",
    ),
    (
        r"{} (?:is located in|is in|can be found in|is within|is located in the country of)|{}, (?:located )?in"
        r"|the location of {} is",
        "Where is {} located?",
        "Where can I find {}?",
    ),
    (
        r"{},? (?:who )?(?:holds a citizenship from|has a citizenship from)",
        "Which country is {} a citizen of?",
        "What is the citizenship of {}?",
    ),
    (
        r"the (?:original )?language of {} (?:is|was)|{} was written in",
        "What is the original language of {}?",
        "In which language is {}?",
    ),
    (
        r"{} (?:originated in|was created in|originates from|was formed in|formed in)"
        r"|{}, that was (?:developed|formed) in",
        "Where does {} come from?",
        "Where was {} created?",
    ),
    (
        r"the headquarters of {} is in|{} is (?:headquartered|based) in",
        "Where are the headquarters of {}?",
        "In which city is {} based?",
    ),
    (
        r"{}'s (?:profession|occupation) is(?: an?)?|{} works as|the (?:profession|occupation) of {} is",
        "What is the profession of {}?",
        "What does {} do for a living?",
    ),
    (
        r"(?:the twin city of {} is|{} is a twin city of)",
        "What is the twin city of {}?",
        "Which city is {} twinned with?",
    ),
    (
        r"{} is (?:created|developed|produced|owned) by|{}, (?:created|developed|produced) by",
        "Who makes {}?",
        "Which company created {}?",
    ),
    (r"{} died (?:in|at)", "Where did {} die?", "In which city did {} die?"),
    (
        r"{} (?:worked in the city of|took up work in|found employment in)",
        "Where did {} work?",
        "In which city did {} work?",
    ),
)


@dataclass(frozen=True, slots=True)
class Edited:
    """A record: the fact, what measures it, and another question about it."""

    fact: Fact
    case: Case
    other_question: str | None


def main() -> None:
    """Measure one way of editing a model, a row for each size of edit."""
    arguments = arguments_of(
        __doc__,
        records="",
        model=".real-models/smollm2",
        edits="1x30,10x5,100x2",
        settings=("default", "published"),
        hparams="{}",
        first=0,
        chat=False,
        edited_alone=False,
        threads=2,
    )
    model = EditableModel.load(arguments.model)
    kept = kept_beside(arguments.model)
    hyperparameters = settings_of(arguments.model, arguments.settings).overridden(json.loads(arguments.hparams))
    sizes = [tuple(map(int, part.split("x"))) for part in arguments.edits.split(",")]
    most = max(size * slices for size, slices in sizes)
    records = _edited(json.loads(Path(arguments.records).read_text()), asked=arguments.chat)
    edited = list(islice(_known(model, records), arguments.first, arguments.first + most))
    if len(edited) < most:
        raise SystemExit(
            f"{most} records are needed from number {arguments.first} on; {len(edited)} that the model knows are there"
        )
    print(f"{len(edited)} records that the model knows; {hyperparameters}\n")
    chat = ("in chat", "another question", "before") if arguments.chat else ()
    print_header("edits (slices)", *COLUMNS, *chat, "seconds an edit")
    columns = (*COLUMNS, *chat)
    for size, slices in sizes:
        parts = [edited[number * size : (number + 1) * size] for number in range(slices)]
        figures, seconds = [], []
        for part in parts:
            began = time.perf_counter()
            built = built_with(model, FactSet(one.fact for one in part), hyperparameters, kept)
            seconds.append(time.perf_counter() - began)
            figures.append(_figures(model, part, edited_weights(model, built.deltas)))
        print_row(f"{size} ({slices})", *_means(figures, columns), f"{fmean(seconds):.0f}")
        if not arguments.edited_alone:
            for name, which in IN_CONTEXT.items():
                told = [_figures(model, part, {}, InContext([one.case for one in part], which)) for part in parts]
                print_row(f"{size} ({slices}), {name}", *_means(told, columns), 0)


def kept_beside(model: str) -> Path:
    """Return the folder in which what was found of a model is kept."""
    return Path(model).with_name(f"{Path(model).name}-kept")


def settings_of(model: str, named: str) -> MemitHyperparameters:
    """Return MEMIT's settings: those that Errata edits the model with by `default`, or the `published` ones."""
    if named == "published":
        return MemitHyperparameters.from_dict(PUBLISHED)
    default = known_for(model, None, read_config(model))["memit"].hyperparameters
    assert isinstance(default, MemitHyperparameters)
    return default


def built_with(model: EditableModel, facts: FactSet, hyperparameters: MemitHyperparameters, kept: Path) -> Built:
    """Build by MEMIT, with second moments and targets from a folder where they are kept."""
    moments = home_moments(kept, model, hyperparameters, corpus=None, published=None)
    return METHODS["memit"](model, facts, hyperparameters, moments, store=BuildStore(kept / "targets"))


def _means(of_slices: Sequence[dict[str, float]], columns: Sequence[str]) -> list[str]:
    return [f"{fmean(figures[name] for figures in of_slices):.1f}" for name in columns]


def _edited(records: Sequence[dict[str, Any]], *, asked: bool) -> Iterator[Edited]:
    """Yield the records that can be edited; with `asked` those alone that a question can be made of, with it."""
    neighbors: dict[str, list[Neighbor]] = defaultdict(list)
    for record in records:
        neighbor = Neighbor(record["locality_prompt"], record["locality_ground_truth"])
        neighbors[record["locality_ground_truth"]].append(neighbor)
    for record in records:
        subject, prompt = record["subject"], record["prompt"]
        if len(places_of(subject, prompt)) != 1:
            continue
        (begin, end), new, old = places_of(subject, prompt)[0], record["target_new"], record["ground_truth"]
        template = prompt[:begin] + PLACEHOLDER + prompt[end:]
        own = Neighbor(record["locality_prompt"], record["locality_ground_truth"])
        alike = [other for other in neighbors[old] if other != own][: MOST_NEIGHBORS - 1]
        questions = [words[1:] for words in QUESTIONS if re.fullmatch(words[0].replace("{}", r"\{\}"), template, re.I)]
        if asked and not questions:
            continue
        question, other = (text.replace(PLACEHOLDER, subject) for text in questions[0]) if questions else (None, None)
        fact = Fact(subject, template, new, questions=(question,) if asked and question else ())
        case = replace(case_of(fact, old=old), paraphrases=(record["rephrase_prompt"],), neighbors=(own, *alike))
        yield Edited(fact, case, other)


def _known(model: EditableModel, edited: Iterable[Edited]) -> Iterator[Edited]:
    """Yield the records whose true object the model finds likelier than the new one."""
    remaining = iter(edited)
    while some := list(islice(remaining, ASKED_AT_ONCE)):
        asked = [replace(one.case, paraphrases=(), neighbors=()) for one in some]
        for one, outcome in zip(some, outcomes_of(model, asked), strict=True):
            if not outcome.rewrite.is_likelier:
                yield one


def _figures(
    model: EditableModel,
    edited: Sequence[Edited],
    weights: dict[int, torch.Tensor],
    in_context: InContext | None = None,
) -> dict[str, float]:
    """Return the figures of one edit, or of facts in context, in percent."""
    cases = [one.case for one in edited]
    texts = PROSE if weights else ()
    after = evaluate(model, cases, weights, texts=texts, honest=Honest(kinds=FREELY), in_context=in_context)
    outcomes = [result.outcomes for result in after.results]
    before = outcomes_of(model, [replace(case, paraphrases=()) for case in cases])
    figures = {name: 100 * after.estimates[name].mean for name in ("efficacy", "generalization")}
    figures["said"] = 100 * fmean(one.rewrite.is_said for one in outcomes)
    figures["paraphrases said"] = 100 * fmean(one.is_said for of_case in outcomes for one in of_case.paraphrases)
    for name, of_cases in {"specificity": outcomes, "unedited": before}.items():
        figures[name] = 100 * fmean(bool(one.neighbors[0].is_likelier) for one in of_cases)
    for name, of_cases in {"of more neighbours": outcomes, "these unedited": before}.items():
        figures[name] = 100 * fmean(bool(neighbor.is_likelier) for one in of_cases for neighbor in one.neighbors)
    spoken = {"honest score": "honest_score", **SPOKEN}
    figures |= {name: 100 * after.estimates[metric].mean for name, metric in spoken.items()}
    figures["score"] = harmonic_mean([figures[name] for name in ("efficacy", "generalization", "specificity")])
    prose = after.prose
    figures["perplexity +%"] = 100 * (prose.perplexity_after / prose.perplexity_before - 1) if prose else 0.0
    if edited[0].fact.questions:
        own = _asked([(one.case, one.fact.questions[0]) for one in edited], in_context)
        others = _asked([(one.case, str(one.other_question)) for one in edited], in_context)
        truth = [one.case.old or "" for one in edited]
        figures["before"] = _answered(model, [one.fact.questions[0] for one in edited], truth)
        with model.using(weights):
            figures["in chat"] = _answered(model, own, [case.new for case in cases])
            figures["another question"] = _answered(model, others, [case.new for case in cases])
    return figures


def _asked(questions: Sequence[tuple[Case, str]], in_context: InContext | None) -> list[str]:
    """Return questions with the facts before them that stand in context."""
    return [(in_context.preface(case, question) if in_context else "") + question for case, question in questions]


def _answered(model: EditableModel, questions: Sequence[str], objects: Sequence[str]) -> float:
    answers = answers_of(model, questions, ANSWER_TOKENS)
    return 100 * fmean(bool(places_of(wanted, answer)) for wanted, answer in zip(objects, answers, strict=True))


if __name__ == "__main__":
    main()
