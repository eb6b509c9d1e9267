"""Averages over facts, and the layers that they speak for."""

import json
from statistics import fmean, stdev

import pytest
import torch

from errata.errors import TracingError
from errata.facts import Fact
from errata.model import EditableModel
from errata.tracing.averages import Average, tokens_by_position
from errata.tracing.fact_trace import FactsTrace, trace_facts
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import trace_prompt
from errata.tracing.prompts import TracedPrompt
from errata.tracing.proposal import propose_layers

KNOWN = (
    Fact("Michael Jordan", "plays the sport of", "basketball"),
    Fact("Roger Federer", "plays the sport of", "tennis"),
    Fact("South Korea", "The capital of {} is", "Seoul"),
    Fact("Sony", "has its headquarters in", "Tokyo"),
)
UNKNOWN = Fact("Lionel Messi", "plays the sport of", "golf")


@pytest.fixture(scope="module")
def noise(demo: EditableModel) -> Noise:
    return Noise.for_subjects(demo, [fact.subject for fact in KNOWN], num_samples=2)


@pytest.fixture(scope="module")
def trace(demo: EditableModel, noise: Noise) -> FactsTrace:
    return trace_facts(demo, [UNKNOWN, *KNOWN], noise, kinds=["mlp"])


def test_averages_are_over_the_facts_that_the_model_knows(demo: EditableModel, noise: Noise, trace: FactsTrace) -> None:
    assert [fact.subject for fact in trace.facts] == [fact.subject for fact in KNOWN]
    assert trace.num_given == 5
    ones = [
        trace_prompt(demo, TracedPrompt.of(demo, fact.template, fact.subject, fact.object), noise, kinds=["mlp"])
        for fact in KNOWN
    ]
    effects = [float(one.effects("mlp")[one.prompt.subject_tokens[-1], 1]) for one in ones]
    average = trace.effects["mlp"]["last_subject"]
    assert average.num_facts == 4
    assert average.mean[1] == pytest.approx(fmean(effects), rel=1e-4)
    assert average.half_width[1] == pytest.approx(1.96 * stdev(effects) / 2, rel=1e-4)
    gaps = [float(one.severed["neither"][0] - one.severed["mlp"][0]) for one in ones]
    assert trace.gaps["mlp"].mean[0] == pytest.approx(fmean(gaps), rel=1e-4)
    assert trace.gaps["mlp"].half_width[0] == pytest.approx(1.96 * stdev(gaps) / 2, rel=1e-4)


def test_the_demo_model_recalls_in_the_mlp_of_block_0(trace: FactsTrace) -> None:
    assert trace.proposal.layers == (0,)
    assert trace.severed["neither"].mean[0] > 5 * trace.severed["mlp"].mean[0]


def test_a_trace_is_json_that_names_all_that_it_depends_on(demo: EditableModel, trace: FactsTrace) -> None:
    told = json.loads(json.dumps(trace.as_dict()))
    assert told["digest"] == demo.digest
    assert told["noise"]["subjects"] == ["Michael Jordan", "Roger Federer", "South Korea", "Sony"]
    assert (told["noise"]["level"], told["noise"]["seed"], told["noise"]["num_samples"]) == (3, 0, 2)
    assert (told["window"], told["num_given"], len(told["facts"])) == (3, 5, 4)
    assert told["proposal"]["layers"] == [0]


def test_progress_is_told_and_can_end_a_trace(demo: EditableModel, noise: Noise) -> None:
    seen: list[tuple[int, int]] = []

    def stop_at_one(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 1:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        trace_facts(demo, KNOWN, noise, kinds=(), on_progress=stop_at_one)
    assert seen == [(0, 4), (1, 4)]


def test_facts_that_the_model_does_not_know_cannot_be_traced(demo: EditableModel, noise: Noise) -> None:
    with pytest.raises(TracingError, match="knows none of 1 facts"):
        trace_facts(demo, [UNKNOWN], noise)


@pytest.mark.parametrize(
    ("length", "subject_tokens", "expected"),
    [
        (9, range(1, 5), {"first_subject": [1], "middle_subject": [2, 3], "last_subject": [4]}),
        (
            5,
            range(0, 2),
            {"first_subject": [0], "last_subject": [1], "first_subsequent": [2], "further": [3], "last": [4]},
        ),
        (2, range(0, 1), {"last_subject": [0], "last": [1]}),
        (3, range(1, 3), {"first_subject": [1], "last_subject": [2]}),
    ],
)
def test_each_token_has_one_position(length: int, subject_tokens: range, expected: dict[str, list[int]]) -> None:
    prompt = TracedPrompt("{}", "subject", tuple(range(length)), subject_tokens)
    places = {position: list(tokens) for position, tokens in tokens_by_position(prompt).items()}
    assert places == (expected if length != 9 else expected | {"first_subsequent": [5], "further": [6, 7], "last": [8]})


@pytest.mark.parametrize(
    ("gap", "layers"),
    [
        ([0.1, 0.3, 0.5, 0.6, 0.4, 0.2, 0.0], (1, 2, 3, 4)),
        ([0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], (0,)),
        ([0.5, 0.1, 0.1, 0.1, 0.4, 0.6, 0.0], (4, 5)),  # contiguous, so without layer 0
        ([0.03, 0.04, 0.02, 0.0, 0.0, 0.0, 0.0], ()),  # within the interval of zero
    ],
)
def test_the_layers_to_edit_are_those_around_the_largest_gap(gap: list[float], layers: tuple[int, ...]) -> None:
    proposal = propose_layers(Average(10, tuple(gap), (0.05,) * len(gap)))
    assert proposal.layers == layers
    assert gap[proposal.peak] == max(gap)


def test_one_fact_alone_speaks_for_no_layers() -> None:
    assert propose_layers(Average.of([torch.tensor([0.6, 0.1, 0.0])])).layers == ()
