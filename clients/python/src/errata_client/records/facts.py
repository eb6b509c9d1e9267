"""Facts as versions hold them, how they change from version to version, and how they took."""

from datetime import datetime
from typing import Any

from pydantic import Field

from errata_client.records.base import Figure, OpenEnum, Record
from errata_client.records.problems import FieldProblem


class StoredNeighbor(Record):
    """A prompt about another subject, and the answer that must stay.

    Attributes:
        prompt: what is asked.
        object: what must still be answered.
    """

    prompt: str
    object: str


class FactName(Record):
    """A fact by its parts.

    Attributes:
        id: made of subject and relation, so that the same fact has it in all versions.
        subject: what the fact is about.
        relation: the phrase that follows the subject, or a template with `{}` where the subject stands.
        object: what is to be said.
    """

    id: str
    subject: str
    relation: str
    object: str


class StoredFact(FactName):
    """A fact as a version holds it.

    Attributes:
        paraphrases: prompts in other words that measure it, and are not learnt.
        neighbors: prompts about others, whose answers must stay.
        search: hyperparameters that its target is searched for with, in place of the version's.
        space: whether a space stands between its prompts and its object; left out where that goes by the prompt.
        phrasings: prompts in other words that its object is learnt after; left out where there are none.
        questions: what it is learnt to answer in chat; left out where there are none.
        edit: the edit that gave it its object.
        by: who sent that edit, by the name of the API key.
        at: when that edit was accepted.
        replaced: the object that the fact had before.
    """

    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[StoredNeighbor, ...] = ()
    search: dict[str, Any] = Field(default={})
    space: bool | None = Field(default=None, exclude_if=lambda space: space is None)
    phrasings: tuple[str, ...] = Field(default=(), exclude_if=lambda phrasings: not phrasings)
    questions: tuple[str, ...] = Field(default=(), exclude_if=lambda questions: not questions)
    edit: str | None = None
    by: str | None = None
    at: datetime | None = None
    replaced: str | None = None


class ChangeKind(OpenEnum):
    """What became of a fact. A changed fact has another object; other prompts to measure it are no change."""

    ADDED = "added"
    CHANGED = "changed"
    RETRACTED = "retracted"


class FactChange(Record):
    """How two fact sets differ in one fact: its object `before` and `after`, null where a set does not hold it.

    Attributes:
        change: what became of it.
        id: id of the fact.
        subject: what the fact is about.
        relation: the phrase that follows the subject.
        before: the object in the first set; null where that does not hold the fact.
        after: the object in the second set; null where that does not hold the fact.
    """

    change: ChangeKind
    id: str
    subject: str
    relation: str
    before: str | None = None
    after: str | None = None


class FactEvent(FactChange):
    """A change of a fact that came with a version, which was made from `parent` by an edit: who sent it, and when.

    Attributes:
        version: the version that brought the change.
        parent: the version that it was made from.
        edit: the edit that made it.
        by: who sent that edit, by the name of the API key.
        at: when the version was made.
    """

    version: int
    parent: int
    edit: str | None = None
    by: str | None = None
    at: datetime


class FactRecord(StoredFact):
    """A fact as a version holds it or, where that does not (`held`), as it was when a version last held it.

    `history` tells what became of it in all versions, newest first.

    Attributes:
        held: whether the version holds it.
        history: what became of it in all versions, newest first.
    """

    held: bool
    history: tuple[FactEvent, ...] = ()


class CheckedFact(Record):
    """What a record of a fact would do, or what is wrong with it.

    Attributes:
        errors: its faults; where there are any, all else is null.
        id: the fact's id.
        fact: the fact as an edit takes it, whatever form the record had.
        prompt: how its prompt reads.
        before: the object that the version has for it; null where it has none.
        alike: the version's facts that differ from it only in case or spacing.
    """

    errors: tuple[FieldProblem, ...] = ()
    id: str | None = None
    fact: dict[str, Any] | None = None
    prompt: str | None = None
    before: str | None = None
    alike: tuple[FactName, ...] = ()


class CheckedFacts(Record):
    """Records of facts that were looked at, in their order, against the facts of a version.

    Attributes:
        version: number of that version.
        data: what was found of each record.
    """

    version: int
    data: tuple[CheckedFact, ...]


class FactOutcome(FactName):
    """How one fact of a version took.

    Attributes:
        took: whether the version says it: each token of the object is the likeliest one, and no longer word follows.
        lost: whether it came with an earlier edit, and the version that this one was made from still says it; left out
            where it is not lost.
        known: whether the base said it already.
        likelier: whether the object is likelier than what the base says, which efficacy counts.
        probability_before, probability_after: of the object by the base and by the version, the geometric mean over
            its tokens.
        paraphrases_followed: share of the paraphrases after which the object is said.
        said_in_chat: share of its questions that are answered with the object, asked through the chat template; without
            questions its prompt is asked. Left out for a model without a template.
        neighbors_lost: the neighbours after which the object is likelier than their own, which count against
            specificity.
    """

    took: bool
    lost: bool = Field(default=False, exclude_if=lambda lost: not lost)
    known: bool
    likelier: bool
    probability_before: Figure = None
    probability_after: Figure = None
    paraphrases_followed: float | None = None
    said_in_chat: float | None = Field(default=None, exclude_if=lambda share: share is None)
    neighbors_lost: tuple[StoredNeighbor, ...] = ()
