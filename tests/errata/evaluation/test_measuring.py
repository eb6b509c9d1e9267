"""The metrics, on cases whose outcome follows from what a model knows, or is worked out from its logits."""

import json
import math

import pytest
import torch

from errata.evaluation import Case, Evaluation, cases_of, evaluate, facts_that_took
from errata.evaluation.contests import CaseOutcomes, Outcome
from errata.evaluation.results import CaseResult, estimates_of
from errata.facts import Fact, Neighbor
from errata.model import EditableModel
from tests.conftest import GOLDEN, GOLDEN_ARCHITECTURES

KOBE, FEDERER, DJOKOVIC = (f"{name} plays the sport of" for name in ("Kobe Bryant", "Roger Federer", "Novak Djokovic"))
# The model says: Kobe basketball, Federer tennis, Djokovic tennis. The paraphrase is of another player, to fail.
TAKES = Case(KOBE, "basketball", "tennis", (FEDERER,), (Neighbor(DJOKOVIC, "tennis"),))
DOES_NOT = Case(FEDERER, "golf", "tennis", (), (Neighbor(KOBE, "soccer"), Neighbor(DJOKOVIC, "tennis")))


def test_each_metric_is_of_its_own_prompts(demo: EditableModel) -> None:
    measured = evaluate(demo, [TAKES], {})
    assert (measured.mean("efficacy"), measured.mean("efficacy_accuracy")) == (1, 1)
    assert (measured.mean("generalization"), measured.mean("generalization_accuracy")) == (0, 0)
    assert (measured.mean("specificity"), measured.mean("specificity_accuracy")) == (1, 1)
    assert measured.mean("score") == 0
    assert measured.drift == pytest.approx(0, abs=1e-6)


def test_means_are_over_cases_and_what_has_no_prompts_is_not_measured(demo: EditableModel) -> None:
    measured = evaluate(demo, [TAKES, DOES_NOT], {})
    assert (measured.mean("efficacy"), measured.mean("generalization")) == (0.5, 0)
    assert measured.mean("specificity_accuracy") == pytest.approx(0.75)  # (1 + 1/2) / 2
    alone = evaluate(demo, [DOES_NOT], {})
    assert alone.mean("generalization") is None and alone.mean("score") is None
    with pytest.raises(KeyError):
        alone.mean("eficacy")


def test_outcomes_are_those_of_the_logits_of_prompt_space_object(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    case = Case(KOBE, "North America", "tennis", (FEDERER,), (Neighbor(DJOKOVIC, "the tennis"),))
    for model in of_each_architecture.values():

        def plain(prompt: str, continuation: str, model: EditableModel = model) -> tuple[float, float]:
            num_prompt = len(model.tokenizer(prompt)["input_ids"])
            ids = torch.tensor([model.tokenizer(f"{prompt} {continuation}")["input_ids"]])
            logits = model.network(ids).logits[0, num_prompt - 1 : -1]
            wanted = ids[0, num_prompt:]
            chosen = logits.log_softmax(-1)[torch.arange(len(wanted)), wanted]
            return -chosen.mean().item(), (logits.argmax(-1) == wanted).float().mean().item()

        outcomes = evaluate(model, [case], {}).results[0].outcomes
        for outcome in (outcomes.rewrite, *outcomes.paraphrases, *outcomes.neighbors):
            assert outcome.other is not None
            nll, token_accuracy = plain(outcome.prompt, outcome.expected)
            other, _ = plain(outcome.prompt, outcome.other)
            assert outcome.nll_expected == pytest.approx(nll, rel=1e-4)
            assert outcome.nll_other == pytest.approx(other, rel=1e-4)
            assert outcome.token_accuracy == pytest.approx(token_accuracy)
            assert outcome.magnitude == pytest.approx(math.exp(-nll) - math.exp(-other), rel=1e-3, abs=1e-9)
        asked = [(one.prompt, one.expected, one.other) for one in (outcomes.rewrite, *outcomes.neighbors)]
        assert asked == [(KOBE, "North America", "tennis"), (DJOKOVIC, "the tennis", "North America")]


def test_probabilities_before_an_edit_are_those_that_the_authors_code_had(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    for name in GOLDEN_ARCHITECTURES:
        model = of_each_architecture[name]
        facts = json.loads((GOLDEN / name / "golden.json").read_text())["facts"]
        of_one_token = [fact for fact in facts if len(fact["object_ids"]) == 1]
        assert of_one_token
        edited = [Fact(fact["subject"], fact["relation"], fact["object"]) for fact in of_one_token]
        measured = evaluate(model, [Case(fact.prompt, fact.object, None) for fact in edited], {})
        ours = [result.outcomes.rewrite.probability for result in measured.results]
        assert ours == pytest.approx([fact["probability_before"] for fact in of_one_token], rel=1e-3)


def result_of(rewrite: Outcome, paraphrases: tuple[Outcome, ...], neighbors: tuple[Outcome, ...]) -> CaseResult:
    return CaseResult(None, CaseOutcomes(rewrite, paraphrases, neighbors), None)


def outcome_of(expected: float, other: float | None, token_accuracy: float = 0) -> Outcome:
    """With the probabilities given."""
    nll_other, another = (None, None) if other is None else (-math.log(other), "another")
    return Outcome("a prompt", "one", another, -math.log(expected), nll_other, token_accuracy, token_accuracy == 1)


def test_prompts_are_averaged_within_a_record_and_then_records() -> None:
    won, lost = outcome_of(0.6, 0.1, 1), outcome_of(0.2, 0.3, 0.5)
    estimates = estimates_of([result_of(won, (won, won, lost), (won,)), result_of(lost, (lost,), (won, lost))])
    assert estimates["efficacy"].mean == 0.5
    assert estimates["efficacy_magnitude"].mean == pytest.approx((0.5 - 0.1) / 2)
    assert estimates["generalization"].mean == pytest.approx((2 / 3 + 0) / 2)
    assert estimates["generalization_accuracy"].mean == pytest.approx((2 / 3 + 0) / 2)
    assert estimates["generalization_token_accuracy"].mean == pytest.approx((2.5 / 3 + 0.5) / 2)
    assert estimates["specificity"].mean == pytest.approx(0.75)
    assert estimates["specificity_magnitude"].mean == pytest.approx((0.5 + 0.2) / 2)
    assert estimates["score"].mean == pytest.approx(3 / (1 / 0.5 + 3 / 1 + 1 / 0.75))
    assert estimates["score"].count == 2


def test_without_an_old_object_the_share_of_right_tokens_is_what_is_measured(demo: EditableModel) -> None:
    ocean = "The Mississippi is a river in"  # the model says North America
    cases = [
        Case(ocean, "North America", None, (ocean,), (Neighbor(KOBE, "basketball"),)),
        Case(ocean, "South America", None, (ocean,), (Neighbor(KOBE, "tennis"),)),
    ]
    measured = evaluate(demo, cases, {})
    tokens = [len(demo.tokenizer(f" {case.new}")["input_ids"]) for case in cases]
    assert tokens == [2, 2]
    assert measured.mean("efficacy_token_accuracy") == measured.mean("generalization_token_accuracy") == 0.75
    assert (measured.mean("efficacy_accuracy"), measured.mean("specificity_token_accuracy")) == (0.5, 0.5)
    assert measured.mean("token_score") == pytest.approx(3 / (2 / 0.75 + 1 / 0.5))
    assert measured.mean("efficacy") is None and measured.mean("specificity_magnitude") is None


def test_a_destroyed_model_does_not_pass_for_one_that_knew_it_all(demo: EditableModel) -> None:
    (known,) = cases_of(demo, [Fact("Kobe Bryant", "plays the sport of", "basketball", (KOBE,))])
    assert known.new == known.old == "basketball"
    assert evaluate(demo, [known], {}).mean("efficacy") == 1
    destroyed = destroy(demo, [known])
    assert destroyed.mean("efficacy") == 0
    assert destroyed.drift > 1


def destroy(model: EditableModel, cases: list[Case]) -> Evaluation:
    zeros = {layer: torch.zeros_like(model.weight(layer)) for layer in range(model.num_layers)}
    return evaluate(model, cases, zeros)


def test_each_fact_is_told_before_and_after(demo: EditableModel) -> None:
    """The edit that is looked at here destroys the model."""
    before, after = evaluate(demo, [TAKES, DOES_NOT], {}), destroy(demo, [TAKES, DOES_NOT])
    first, second = facts_that_took(before, after)
    assert (first.prompt, first.object, first.was_answer, first.is_answer) == (KOBE, "basketball", True, False)
    assert first.probability_before > 0.9 > 0.1 > first.probability_after
    assert first.probability_before == pytest.approx(math.exp(-before.results[0].outcomes.rewrite.nll_expected))
    assert (first.paraphrases_before, first.paraphrases_after) == (0, 0)
    assert not second.was_answer and second.paraphrases_before is None
    with pytest.raises(ValueError, match="different cases"):
        facts_that_took(before, evaluate(demo, [TAKES], {}))


def test_results_are_json_the_cases_one_to_a_line(demo: EditableModel) -> None:
    measured = evaluate(demo, [TAKES, DOES_NOT], {})
    summary = json.loads(json.dumps(measured.as_dict()))
    assert summary["num_cases"] == 2
    assert summary["estimates"]["efficacy"]["mean"] == 0.5
    lines = [json.loads(line) for line in measured.json_lines()]
    assert [line["index"] for line in lines] == [0, 1]
    assert lines[0]["metrics"] == measured.results[0].metrics
    assert lines[1]["neighbors"][0]["prompt"] == KOBE


def test_the_old_object_is_what_the_base_says_up_to_the_sentences_end(demo: EditableModel) -> None:
    (case,) = cases_of(demo, [Fact("Kobe Bryant", "plays the sport of", "a game that nobody else has heard of")])
    assert case.old == "basketball"
