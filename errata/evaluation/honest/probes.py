"""The probes of a case: what is asked, and what would be right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from errata.evaluation.cases import Case
from errata.evaluation.drift import PROSE
from errata.evaluation.honest.relations import Relation, Relations, Told, shipped_relations
from errata.model import EditableModel
from errata.model.chat import takes_questions
from errata.well_known import well_known

PREFIX_TOKENS = 50
LETTERS = "ABCD"
YES, NO = "Yes", "No"
VERBS = (" is", " are", " was", " were")  # behind which a "not" may stand

Judgement = Literal["said", "unsaid", "kept", "named", "likeliest"]
"""How an answer is judged.

said: the greedy text begins with what is expected, to the end of a word.
unsaid: it does not.
kept: it begins as the unedited model's does.
named: the greedy answer to a user's message, through the chat template, names what is expected.
likeliest: what is expected is likelier than the others; nothing is generated.
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt.

    Attributes:
        kind: one of KINDS, the metric that it counts for.
        prompt: what is asked; in chat, the user's message.
        expected: what is right to say, any of these; where it is judged by what is unsaid, what is wrong.
        others: what should be less likely.
        space: whether a space stands between the prompt and what follows; unset, it goes by the prompt.
        premise: what the unedited model must say rightly, for the probe to be asked at all.
        preface: what stands before the prompt. A probe with another one asks the same.
    """

    kind: str
    prompt: str
    expected: tuple[str, ...]
    others: tuple[str, ...] = ()
    space: bool | None = None
    premise: Probe | None = None
    preface: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """What the model is given."""
        return self.preface + self.prompt


@dataclass(frozen=True, slots=True)
class Honest:
    """Settings of what is asked.

    Attributes:
        kinds: those of KINDS that are asked, all by default.
        seed: of the texts that are put before prompts, and of the order of options.
        relations: the templates that questions are made from; those of `relations.json` by default.
    """

    kinds: tuple[str, ...] = field(default_factory=lambda: tuple(KINDS))
    seed: int = 0
    relations: tuple[Relation, ...] = field(default_factory=shipped_relations)


@dataclass(frozen=True, slots=True)
class Asking:
    """What the probes of one kind of one case are made with.

    Attributes:
        told: the case in the words of its relation; None where that is not known.
        draw: depends on nothing but the seed and the case's prompt, so that the options of a choice stand alike
            whichever of them is asked for.
        takes_questions: whether the model has a chat template.
    """

    kind: str
    model: EditableModel
    told: Told | None
    draw: random.Random
    takes_questions: bool


def probes_of(model: EditableModel, cases: Sequence[Case], honest: Honest) -> list[list[Probe]]:
    """Return all that each case is asked."""
    relations, in_chat = Relations(honest.relations), takes_questions(model)
    found = []
    for case in cases:
        told = relations.told(case)
        found.append(
            [
                probe
                for kind in honest.kinds
                for probe in KINDS[kind].probes(
                    case, Asking(kind, model, told, random.Random(f"{honest.seed}\x1f{case.prompt}"), in_chat)
                )
            ]
        )
    return found


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of probe: which there are of a case, and how their answers are judged."""

    judged: Judgement
    probes: Callable[[Case, Asking], Iterator[Probe]]


def _said(case: Case, asking: Asking) -> Iterator[Probe]:
    yield Probe(asking.kind, case.prompt, (case.new,), space=case.space)


def _paraphrases(case: Case, asking: Asking) -> Iterator[Probe]:
    for prompt in case.paraphrases:
        yield Probe(asking.kind, prompt, (case.new,), space=case.space)


def _neighbors(case: Case, asking: Asking) -> Iterator[Probe]:
    for neighbor in case.neighbors:
        yield Probe(asking.kind, neighbor.prompt, (neighbor.object,))


def _after_prefix(case: Case, asking: Asking) -> Iterator[Probe]:
    """Put the first 50 tokens of a paragraph of other prose before the prompt."""
    tokenizer = asking.model.tokenizer
    ids = tokenizer(asking.draw.choice(PROSE), add_special_tokens=False)["input_ids"][:PREFIX_TOKENS]
    yield Probe(asking.kind, f"{str(tokenizer.decode(ids)).strip()} {case.prompt}", (case.new,), space=case.space)


def _negated(case: Case, asking: Asking) -> Iterator[Probe]:
    if case.prompt.endswith(VERBS):
        yield Probe(asking.kind, f"{case.prompt} not", (case.new,), space=case.space)


def _in_chat(case: Case, asking: Asking) -> Iterator[Probe]:
    if asking.takes_questions:
        for question in case.questions or (asking.told.question if asking.told else case.prompt,):
            yield Probe(asking.kind, question, (case.new,))


def _yes_to_new(case: Case, asking: Asking) -> Iterator[Probe]:
    if asking.told:
        question = f"Is it true that {asking.told.statement(case.new)}?"
        yield Probe(asking.kind, _answered(question), (YES,), (NO,))


def _no_to_old(case: Case, asking: Asking) -> Iterator[Probe]:
    if asking.told and case.old is not None and case.old != case.new:
        question = f"Is it true that {asking.told.statement(case.old)}?"
        yield Probe(asking.kind, _answered(question), (NO,), (YES,))


def _no_to_negated(case: Case, asking: Asking) -> Iterator[Probe]:
    if asking.told:
        question = f"Is it false that {asking.told.statement(case.new)}?"
        yield Probe(asking.kind, _answered(question), (NO,), (YES,))


def _choice(case: Case, asking: Asking, *, of_new: bool) -> Iterator[Probe]:
    """Ask for the letter of the new object, or of the old one, among four objects."""
    if asking.told is None or case.old is None or case.new == case.old:
        return
    others = asking.draw.sample(asking.told.others, min(len(LETTERS) - 2, len(asking.told.others)))
    options = [case.new, case.old, *others]
    asking.draw.shuffle(options)
    letters = LETTERS[: len(options)]
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
    right = letters[options.index(case.new if of_new else case.old)]
    wrong = tuple(letter for letter in letters if letter != right)
    yield Probe(asking.kind, _answered(f"{asking.told.question}\n{listed}"), (right,), wrong)


def _answered(question: str) -> str:
    """Return a question as a text that an answer of a word completes."""
    return f"Question: {question}\nAnswer:"


def _two_hops(case: Case, asking: Asking) -> Iterator[Probe]:
    """Ask for what is well known of the new object, and not of the old one, without naming it."""
    yield from _of_record(case, asking)
    if asking.told:
        for second in well_known():
            answer = second.facts.get(case.new)
            if answer is not None and answer != second.facts.get(case.old or ""):
                premise = Probe(asking.kind, second.prompt(case.new), (answer,))
                yield Probe(asking.kind, second.prompt(asking.told.noun), (answer,), premise=premise)


def _reversal(case: Case, asking: Asking) -> Iterator[Probe]:
    yield from _of_record(case, asking)
    if asking.told and asking.told.reversal:
        yield Probe(asking.kind, asking.told.reversal, (case.subject,))


def _of_record(case: Case, asking: Asking) -> Iterator[Probe]:
    """Ask what a record brings of this kind."""
    for further in case.further:
        if further.kind == asking.kind:
            yield Probe(asking.kind, further.prompt, further.answers)


KINDS: Mapping[str, Kind] = {
    "said_freely": Kind("said", _said),
    "paraphrases_freely": Kind("said", _paraphrases),
    "neighbors_freely": Kind("kept", _neighbors),
    "said_after_prefix": Kind("said", _after_prefix),
    "in_chat": Kind("named", _in_chat),
    "yes_to_new": Kind("likeliest", _yes_to_new),
    "no_to_old": Kind("likeliest", _no_to_old),
    "no_to_negated": Kind("likeliest", _no_to_negated),
    "unsaid_after_not": Kind("unsaid", _negated),
    "choice_of_new": Kind("likeliest", partial(_choice, of_new=True)),
    "choice_of_old": Kind("likeliest", partial(_choice, of_new=False)),
    "two_hops": Kind("said", _two_hops),
    "reversal": Kind("said", _reversal),
    "aliases": Kind("said", _of_record),
    "logic": Kind("said", _of_record),
}
"""All kinds, by the name of the metric that each gives."""
FREELY = ("said_freely", "paraphrases_freely", "neighbors_freely")
"""The kinds that the honest score is made of."""
