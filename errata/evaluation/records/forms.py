"""What a record of each form becomes: facts to edit in, and the cases that measure them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from errata.evaluation.cases import Case, Further, case_of
from errata.evaluation.records.fields import Fields
from errata.facts import Fact, Neighbor, normalised, trimmed

ZsreObject = Literal["alt", "answers"]
"""Which field of a zsRE record is edited in: a false answer, or the first of the true ones."""

References = Mapping[tuple[str, str], Sequence[str]]
"""Texts about things that have an object, by the ids of relation and object."""

# Words in the names that tools give to what follows from a fact, and the kind of probe that it is.
_KINDS = {"alias": "aliases", "hop": "two_hops", "reason": "two_hops", "inver": "reversal", "revers": "reversal"}


@dataclass(frozen=True, slots=True)
class Record:
    """A fact to edit in, and the case that measures it."""

    fact: Fact
    case: Case


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read, where a form leaves that open."""

    zsre_object: ZsreObject = "alt"
    references: References | None = None


def counterfact(fields: Fields, reading: Reading) -> list[Record]:
    """Read a record of CounterFact, or of MQuAKE where there are several rewrites."""
    if isinstance(fields.record["requested_rewrite"], list):
        return _mquake(fields)
    rewrite = "requested_rewrite"
    fact, old = _rewritten(fields, rewrite)
    neighbors = tuple(Neighbor(prompt, old) for prompt in fields.texts("neighborhood_prompts"))
    fact = replace(fact, paraphrases=fields.texts("paraphrase_prompts"), neighbors=neighbors)
    texts: Sequence[str] = ()
    if reading.references is not None:
        ids = fields.text(rewrite, "relation_id"), fields.text(rewrite, "target_new", "id")
        texts = reading.references.get(ids, ())
    case = replace(
        case_of(fact, old=old, case_id=_id_of(fields)),
        relation=fields.optional_text(rewrite, "relation_id"),
        generation_prompts=fields.texts("generation_prompts"),
        references=tuple(texts),
        further=tuple(_following(fields.record.get("portability"))),
    )
    return [Record(fact, case)]


def _mquake(fields: Fields) -> list[Record]:
    """Read each rewrite; what needs them all is asked once, with the first."""
    questions, answers = fields.texts("questions"), (fields.text("new_answer"), *fields.texts("new_answer_alias"))
    further = tuple(Further("two_hops", question, answers) for question in questions)
    records = []
    for place, rewrite in enumerate(fields.items("requested_rewrite")):
        one = fields.part(rewrite, f"requested_rewrite[{place}]")
        fact, old = _rewritten(one)
        fact = replace(fact, paraphrases=(one.prompt("question"),))
        case = replace(
            case_of(fact, old=old, case_id=_id_of(fields)),
            relation=one.optional_text("relation_id"),
            further=() if place else further,
        )
        records.append(Record(fact, case))
    return records


def _rewritten(fields: Fields, *path: str) -> tuple[Fact, str]:
    """Return the fact that is to be, and the old object."""
    subject = fields.text(*path, "subject")
    template = fields.template(subject, *path, "prompt")
    new = fields.text(*path, "target_new", "str")
    return Fact(subject, template, new), normalised(fields.text(*path, "target_true", "str"))


def zsre(fields: Fields, reading: Reading) -> list[Record]:
    """Read a zsRE record. `loc` is asked as MEMIT's authors do: with its prefix, and with a "?" added."""
    subject = fields.text("subject")
    template = fields.template(subject, "src")
    answer = fields.text("alt") if reading.zsre_object == "alt" else fields.first_text("answers")
    neighbor = Neighbor(f"{fields.text('loc')}?", fields.text("loc_ans"))
    fact = Fact(subject, template, answer, (fields.prompt("rephrase"),), (neighbor,))
    return [_without_old(fact, fields, _following(fields.record.get("portability")))]


def easyedit(fields: Fields, reading: Reading) -> list[Record]:
    """Read a request of EasyEdit, or a record of KnowEdit. An answer may be a list of its spellings."""
    record, subject = fields.record, fields.text("subject")
    fact = Fact(subject, fields.template(subject, "prompt"), fields.text("target_new"))
    locality = record.get("locality")
    groups: list[Any] = list(locality.values()) if isinstance(locality, Mapping) else []
    groups.append({"prompt": record.get("locality_prompt"), "ground_truth": record.get("locality_ground_truth")})
    fact = replace(
        fact,
        paraphrases=_texts_in(record.get("rephrase_prompt")),
        neighbors=tuple(Neighbor(prompt, answers[0]) for group in groups for prompt, answers in _asked(group)),
    )
    one_hop = {"prompt": record.get("portability_prompt"), "ground_truth": record.get("portability_ground_truth")}
    further = (*_following(record.get("portability")), *_following({"one_hop": one_hop}))
    old = next(iter(_texts_in(record.get("ground_truth"))), None)
    return [Record(fact, replace(case_of(fact, old=old, case_id=_id_of(fields)), further=further))]


def qaedit(fields: Fields, reading: Reading) -> list[Record]:
    """Read a record of QAEdit."""
    subject = fields.text("subject")
    neighbors = []
    for place, item in enumerate(fields.items("locality")):
        one = fields.part(item, f"locality[{place}]")
        neighbors.append(Neighbor(one.prompt("loc"), one.text("loc_ans")))
    paraphrases = (fields.prompt("rephrase"),)
    fact = Fact(subject, fields.template(subject, "prompt"), fields.text("target"), paraphrases, tuple(neighbors))
    return [_without_old(fact, fields)]


def wikibigedit(fields: Fields, reading: Reading) -> list[Record]:
    """Read a record of WikiBigEdit as published. Not all have a question over two hops."""
    subject = fields.text("subject")
    paraphrases = (fields.prompt("rephrase"), *_texts_in(fields.record.get("personas")))
    neighbors = (Neighbor(fields.prompt("loc"), fields.text("loc_ans")),)
    fact = Fact(subject, fields.template(subject, "update"), fields.text("ans"), paraphrases, neighbors)
    two_hops = {"prompt": fields.record.get("mhop"), "ground_truth": fields.record.get("mhop_ans")}
    return [_without_old(fact, fields, _following({"mhop": two_hops}))]


FORMS: Mapping[str, tuple[str, Callable[[Fields, Reading], list[Record]]]] = {
    "requested_rewrite": ("CounterFact or MQuAKE", counterfact),
    "src": ("zsRE", zsre),
    "target_new": ("EasyEdit", easyedit),
    "target": ("QAEdit", qaedit),
    "update": ("WikiBigEdit", wikibigedit),
}
"""Each form, by the key that tells it from those behind it."""


def _without_old(fact: Fact, fields: Fields, further: Iterator[Further] | None = None) -> Record:
    return Record(fact, replace(case_of(fact, case_id=_id_of(fields)), further=tuple(further or ())))


def _id_of(fields: Fields) -> int | str | None:
    known = fields.record.get("case_id", fields.record.get("id"))
    return known if isinstance(known, int | str) else None


def _following(portability: Any) -> Iterator[Further]:
    """Yield what tools ask for portability: in groups by name, or as one question that GPT-4 wrote."""
    if not isinstance(portability, Mapping):
        return
    if "New Question" in portability:
        one = {"prompt": portability["New Question"], "ground_truth": portability.get("New Answer")}
        portability = {"one_hop": one}
    for name, group in portability.items():
        kind = next((kind for word, kind in _KINDS.items() if word in name.casefold()), "logic")
        for prompt, answers in _asked(group):
            yield Further(kind, prompt, answers)


def _asked(group: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each prompt with the spellings of its answer; one without either is passed over, as EasyEdit does."""
    for one in group if isinstance(group, list) else [group]:
        if not isinstance(one, Mapping):
            continue
        prompts, answers = one.get("prompt"), one.get("ground_truth")
        pairs = [(prompts, answers)]
        if isinstance(prompts, list) and isinstance(answers, list):
            pairs = list(zip(prompts, answers, strict=False))
        for prompt, answer in pairs:
            spellings = tuple(map(normalised, _texts_in(answer)))
            if isinstance(prompt, str) and prompt.strip() and spellings:
                yield trimmed(prompt), spellings


def _texts_in(value: Any) -> tuple[str, ...]:
    """Return the texts in a text, or in lists of lists of them, that are not blank."""
    if isinstance(value, str):
        return (trimmed(value),) if value.strip() else ()
    return tuple(text for item in value for text in _texts_in(item)) if isinstance(value, list) else ()
