import json
from typing import Any

import pytest
from errata_client.records import EvaluationResult, FactOutcome, Gate, Metrics, MissedPrompt, Probe, StoredNeighbor
from errata_registry.jobs.requests import completed_gate
from errata_worker.gate import Measured, problem_of
from errata_worker.measure import measure
from pydantic import ValidationError

from errata.evaluation import PROSE, cases_of, evaluate
from errata.facts import Fact, Neighbor
from errata.model import EditableModel

KOBE = StoredNeighbor(prompt="Kobe Bryant plays the sport of", object="basketball")
JORDAN = FactOutcome(
    id="fact_0000000000000001",
    subject="Michael Jordan",
    relation="plays the sport of",
    object="baseball",
    took=False,
    known=False,
    likelier=False,
    probability_before=0.01,
    probability_after=0.2,
    neighbors_lost=(KOBE,),
)


SONY = JORDAN.model_copy(
    update={
        "id": "fact_0000000000000002",
        "subject": "Sony",
        "relation": "has its headquarters in",
        "object": "Paris",
        "lost": True,
    }
)


def measured_of(judged: Metrics, *facts: FactOutcome, put_in: FactOutcome | None = JORDAN, **more: Any) -> Measured:
    """What was measured of facts, one of which the edit puts in; with figures of the whole version that nobody asks."""
    return Measured(Metrics(efficacy=0.1, said=0.1), judged, facts, frozenset({put_in.id} if put_in else ()), **more)


def missed(gate: Gate, metrics: Metrics) -> list[str]:
    problem = problem_of(gate, measured_of(metrics, JORDAN))
    return problem.detail.split("; ") if problem else []


@pytest.mark.parametrize(
    ("gate", "metrics", "expected"),
    [
        (Gate(min_efficacy=0.9), Metrics(efficacy=0.9), []),
        (Gate(), Metrics(), []),
        (Gate(min_efficacy=0.9), Metrics(efficacy=0.5), ["efficacy is 0.5, and at least 0.9 is asked for"]),
        (
            Gate(min_specificity=0.8, max_drift=0.1, max_perplexity_rise=0.1),
            Metrics(specificity=None, drift=0.2, perplexity_before=20, perplexity_after=25),
            [
                "specificity was not measured, and at least 0.8 is asked for",
                "drift is 0.2 nats, and at most 0.1 is asked for",
                "perplexity_rise is 0.25, and at most 0.1 is asked for",
            ],
        ),
        (Gate(max_drift=0.1), Metrics(efficacy=1.0, drift=0.1), []),
    ],
)
def test_a_missed_bound_is_named_with_its_figure(gate: Gate, metrics: Metrics, expected: list[str]) -> None:
    assert missed(gate, metrics) == expected


def test_the_facts_and_prompts_that_count_against_a_figure_are_named() -> None:
    gate, judged = Gate(min_efficacy=0.9, min_specificity=0.9), Metrics(efficacy=0, specificity=0.5)
    problem = problem_of(gate, measured_of(judged, JORDAN, SONY))
    assert problem is not None
    efficacy, specificity = problem.misses
    assert (efficacy.figure, efficacy.value, efficacy.bound) == ("efficacy", 0, 0.9)
    asked = "Michael Jordan plays the sport of"
    assert efficacy.prompts == (MissedPrompt(prompt=asked, expected="baseball", fact=JORDAN.id),)
    assert specificity.prompts == (MissedPrompt(prompt=KOBE.prompt, expected="basketball", fact=JORDAN.id),)


def test_facts_that_are_not_said_are_named_with_the_next_step_and_old_ones_only_where_they_were_said() -> None:
    gate = Gate(min_said=1, min_kept=1, min_efficacy=0.9)
    problem = problem_of(gate, measured_of(Metrics(said=0, kept=0.5, efficacy=1), JORDAN, SONY))
    assert problem is not None
    said, kept = problem.misses
    assert (said.figure, [one.fact for one in said.prompts]) == ("said", [JORDAN.id])
    assert (kept.figure, kept.value, [one.fact for one in kept.prompts]) == ("kept", 0.5, [SONY.id])
    assert "said is 0, and at least 1 is asked for (not said: 'Michael Jordan plays the sport of' 'baseball')" in (
        problem.detail
    )
    assert "with `partial`" in problem.detail
    unsaid_all_along = SONY.model_copy(update={"lost": False})
    assert problem_of(gate, measured_of(Metrics(said=1, efficacy=1), unsaid_all_along, put_in=JORDAN)) is None


def test_of_a_withdrawal_no_figure_of_new_facts_is_asked() -> None:
    gate = Gate(min_said=1, min_efficacy=0.9, min_specificity=0.9, min_kept=1)
    old = SONY.model_copy(update={"lost": False})
    assert problem_of(gate, measured_of(Metrics(), old, put_in=None)) is None
    problem = problem_of(gate, measured_of(Metrics(kept=0), SONY, put_in=None))
    assert problem is not None and [miss.figure for miss in problem.misses] == ["kept"]


def test_a_version_without_facts_passes_any_gate_but_the_probes() -> None:
    gate = Gate(min_efficacy=0.9)
    assert problem_of(gate, measured_of(Metrics())) is None
    probes = (Probe(prompt="1 + 1 =", answer="2"), Probe(prompt="Sony sits in", answer="Paris"))
    problem = problem_of(gate, measured_of(Metrics(), probes=probes, wrong_answers={1: "Tokyo"}))
    assert (
        problem is not None
        and "1 of 2 probes are passed ('Sony sits in' is answered 'Tokyo', not 'Paris')" in problem.detail
    )
    assert problem.type == "urn:errata:problem:probe-failed"
    both = problem_of(gate, measured_of(Metrics(efficacy=0.5), JORDAN, probes=probes, wrong_answers={1: "Tokyo"}))
    assert both is not None and both.type == "urn:errata:problem:gate-missed"
    assert [miss.figure for miss in both.misses] == ["efficacy", "probes"]
    assert problem.misses[0].prompts == (MissedPrompt(prompt="Sony sits in", expected="Paris", said="Tokyo"),)


def test_what_a_request_does_not_ask_is_asked_by_the_defaults() -> None:
    defaults = Gate(min_efficacy=0.9, max_drift=0.5)
    assert completed_gate(Gate(max_drift=None, min_specificity=0.7), defaults) == Gate(
        min_efficacy=0.9, min_specificity=0.7
    )


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_a_probe_is_stripped_and_neither_part_of_it_may_be_blank(blank: str) -> None:
    probe = Probe(prompt=" 1 + 1 = ", answer="2\n")
    assert (probe.prompt, probe.answer) == ("1 + 1 =", "2")
    for body in ({"prompt": blank, "answer": "2"}, {"prompt": "1 + 1 =", "answer": blank}):
        with pytest.raises(ValidationError, match="at least 1"):
            Probe.model_validate(body)


def test_a_model_out_of_the_finite_numbers_is_caught_and_can_be_shown(demo: EditableModel) -> None:
    fact = Fact(
        "Michael Jordan",
        "plays the sport of",
        "baseball",
        ("The sport that Michael Jordan is known for is",),
        (Neighbor(KOBE.prompt, KOBE.object),),
    )
    weights = {layer: demo.weight(layer).data * 1e38 for layer in range(demo.num_layers)}
    probes = (Probe(prompt="Kobe Bryant plays the sport of", answer="basketball"),)
    measured = measure(
        demo,
        [fact],
        weights,
        put_in={fact.id},
        probes=probes,
        perplexity=True,
        on_progress=lambda done, total: None,
    )
    outcome = measured.facts[0]
    assert (outcome.took, outcome.likelier, outcome.probability_after) == (False, False, None)
    assert FactOutcome.model_validate_json(outcome.model_dump_json()) == outcome
    problem = problem_of(Gate(min_efficacy=0.5, max_drift=1, max_perplexity_rise=1), measured)
    assert problem is not None
    assert "drift is no finite number, and at most 1 is asked for" in problem.detail
    assert {miss.figure: miss.value for miss in problem.misses} == {
        "probes": 0,
        "efficacy": 0,
        "drift": None,
        "perplexity_rise": None,
    }
    assert Metrics.model_validate_json(measured.metrics.model_dump_json()).drift is None

    unmeasured = measure(
        demo, [], weights, put_in=(), probes=(), perplexity=False, on_progress=lambda done, total: None
    )
    problem = problem_of(Gate(), unmeasured)
    assert problem is not None and (problem.type, problem.status) == ("urn:errata:problem:not-finite", 422)

    evaluated = evaluate(demo, cases_of(demo, [fact, fact]), weights, texts=PROSE)
    result = EvaluationResult.model_validate(evaluated.as_dict())
    assert EvaluationResult.model_validate_json(result.model_dump_json()) == result
    assert (result.drift, result.estimates["efficacy"].mean) == (None, 0)
    assert result.prose is not None and result.prose.kl.mean is None
    assert result.estimates["efficacy_magnitude"].mean is None
    for line in evaluated.json_lines():
        assert json.loads(line, parse_constant=pytest.fail)["rewrite"]["nll_expected"] is None
