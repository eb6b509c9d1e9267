"""What an edit makes of a fact set."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from errata_client.records import ChangeKind
from errata_registry.jobs.requests import EditRequest
from errata_registry.versions.change import change_facts
from errata_registry.versions.facts import FactFilter, FactIndex, Origin, stored_fact
from pydantic import ValidationError

from errata.errors import FactConflict, InvalidFacts, UnknownFacts
from errata.facts import MAX_FACTS, Fact

YESTERDAY, TODAY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
ADA = Fact("Ada Lovelace", "was born in", "Paris")
ALAN = Fact("Alan Turing", "was born in", "Rome")
BEFORE = FactIndex([stored_fact(fact, Origin("edit_1", "maya", YESTERDAY)) for fact in (ADA, ALAN)])
ORIGIN = Origin("edit_2", "kofi", TODAY)


def put(*facts: tuple[str, str, str], retract: tuple[str, ...] = ()) -> EditRequest:
    bodies = [Fact(subject=subject, relation=relation, object=object) for subject, relation, object in facts]
    return EditRequest(facts=tuple(bodies), retract=retract)


def test_facts_are_added_changed_and_withdrawn_in_one_step() -> None:
    request = put(("Grace Hopper", "was born in", "Oslo"), ("Ada Lovelace", "was born in", "Bern"), retract=(ALAN.id,))
    change = change_facts(BEFORE, 1, request, ORIGIN)
    assert [(fact.subject, fact.object, fact.edit, fact.by, fact.replaced) for fact in change.facts] == [
        ("Ada Lovelace", "Bern", "edit_2", "kofi", "Paris"),
        ("Grace Hopper", "Oslo", "edit_2", "kofi", None),
    ]
    assert {(change.change, change.subject, change.before, change.after) for change in change.changes} == {
        (ChangeKind.ADDED, "Grace Hopper", None, "Oslo"),
        (ChangeKind.CHANGED, "Ada Lovelace", "Paris", "Bern"),
        (ChangeKind.RETRACTED, "Alan Turing", "Rome", None),
    }


def test_what_stays_keeps_its_origin_and_takes_new_prompts_to_measure_it() -> None:
    again = Fact(subject="Ada  Lovelace", relation="{} was born in", object="Paris", paraphrases=("Ada is from",))
    change = change_facts(BEFORE, 1, EditRequest(facts=(again,)), ORIGIN)
    ada = change.facts.get(ADA.id)
    assert ada is not None and (ada.edit, ada.by, ada.at) == ("edit_1", "maya", YESTERDAY)
    assert ada.paraphrases == ("Ada is from",)
    assert change.changes == ()
    changed = change_facts(change.facts, 2, put(("Ada Lovelace", "was born in", "Bern")), ORIGIN).facts.get(ADA.id)
    assert changed is not None and (changed.object, changed.paraphrases) == ("Bern", ("Ada is from",))


def test_a_change_is_refused_where_it_is_not_wanted() -> None:
    with pytest.raises(FactConflict, match=r"'Ada Lovelace', 'was born in' is 'Paris' and would become 'Bern'"):
        change_facts(BEFORE, 1, put(("Ada Lovelace", "was born in", "Bern")), ORIGIN, refuse_conflicts=True)
    no_conflict = put(("Ada Lovelace", "was born in", "Paris"), ("A", "is", "b"))
    change_facts(BEFORE, 1, no_conflict, ORIGIN, refuse_conflicts=True)


def test_what_is_not_there_cannot_be_withdrawn() -> None:
    unknown = Fact("Nobody", "was born in", "Bern").id
    request = put(retract=(ALAN.id, unknown))
    with pytest.raises(UnknownFacts, match=f"{unknown} is not among the facts of version 1") as caught:
        change_facts(BEFORE, 1, request, ORIGIN)
    assert [place.pointer for place in caught.value.places] == ["/retract/1"]
    with pytest.raises(ValidationError, match="is put in by the same edit"):
        put(("Alan Turing", "{} was born in", "Rome"), retract=(ALAN.id,))


def test_facts_that_differ_in_case_or_spacing_are_pointed_out() -> None:
    request = put(
        ("ada lovelace", "Was Born In", "Bern"), ("AdaLovelace", "was born in", "Bern"), ("Alan", "was born in", "Rome")
    )
    (group,) = change_facts(BEFORE, 1, request, ORIGIN).duplicates
    assert {fact.subject for fact in group} == {"Ada Lovelace", "ada lovelace", "AdaLovelace"}
    (withdrawn_twin,) = change_facts(BEFORE, 1, request.model_copy(update={"retract": (ADA.id,)}), ORIGIN).duplicates
    assert {fact.subject for fact in withdrawn_twin} == {"ada lovelace", "AdaLovelace"}


def test_a_set_has_an_end() -> None:
    many = FactIndex(
        [stored_fact(Fact(f"S{n:05}", "is", "b"), Origin("edit_1", None, YESTERDAY)) for n in range(MAX_FACTS)]
    )
    request = put(("T", "is", "b"))
    with pytest.raises(InvalidFacts, match="at most 10000 facts"):
        change_facts(many, 1, request, ORIGIN)
    in_place = change_facts(many, 1, request.model_copy(update={"retract": (next(iter(many)).id,)}), ORIGIN)
    assert len(in_place.facts) == MAX_FACTS


def test_facts_are_found_by_any_of_their_parts_page_by_page() -> None:
    def found(**wanted: str) -> list[str]:
        return [fact.subject for fact in facts.select(FactFilter(**wanted), limit=10)[0]]

    facts = change_facts(BEFORE, 1, put(("Ada Lovelace", "lives in", "Zürich")), ORIGIN).facts
    assert found(subject=" Ada  Lovelace") == ["Ada Lovelace", "Ada Lovelace"]
    assert found(relation="{} was born in") == ["Ada Lovelace", "Alan Turing"]
    assert found(object="Rome") == found(text="turing") == ["Alan Turing"]
    assert found(edit="edit_2") == found(by="kofi") == found(text="ZÜRICH") == ["Ada Lovelace"]
    first, more = facts.select(FactFilter(by="maya"), limit=1)
    assert more and facts.select(FactFilter(by="maya"), limit=1, after=first[0].id)[1] is False
    with pytest.raises(KeyError):
        facts.select(FactFilter(), limit=1, after="fact_of_nobody")


STRONGER = {"clamp": 2.0}
ADA_DIED = Fact(subject="Ada Lovelace", relation="died in", object="London")


def searches(facts: FactIndex) -> dict[tuple[str, str], dict[str, float]]:
    return {(fact.subject, fact.relation): fact.search for fact in facts}


def test_the_facts_about_one_subject_share_a_search_which_a_fact_keeps_while_its_object_stays() -> None:
    harder = Fact(subject="Ada Lovelace", relation="was born in", object="Paris", search=STRONGER)
    first = change_facts(BEFORE, 1, EditRequest(facts=(harder,)), ORIGIN)
    assert first.changes == () and searches(first.facts)["Ada Lovelace", "was born in"] == STRONGER
    again = change_facts(first.facts, 2, EditRequest(facts=(replace(harder, search={}), ADA_DIED)), ORIGIN)
    assert searches(again.facts) == {
        ("Ada Lovelace", "died in"): STRONGER,
        ("Ada Lovelace", "was born in"): STRONGER,
        ("Alan Turing", "was born in"): {},
    }
    other = replace(harder, search={"num_steps": 50})
    replaced = change_facts(again.facts, 3, EditRequest(facts=(other,)), ORIGIN)
    assert searches(replaced.facts)["Ada Lovelace", "died in"] == {"num_steps": 50}
    changed = change_facts(first.facts, 2, put(("Ada Lovelace", "was born in", "Bern")), ORIGIN)
    assert searches(changed.facts)["Ada Lovelace", "was born in"] == {}


def test_two_searches_for_one_subject_are_refused() -> None:
    harder = Fact(subject="Ada Lovelace", relation="was born in", object="Paris", search=STRONGER)
    other = replace(ADA_DIED, search={"clamp": 3.0})
    with pytest.raises(InvalidFacts, match="share one search"):
        change_facts(BEFORE, 1, EditRequest(facts=(harder, other)), ORIGIN)
