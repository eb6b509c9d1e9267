"""The loop: whatever joins and leaves, each sequence comes out as it would alone, under its own version."""

import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from errata_service.engine.events import Finished
from errata_service.engine.request import SequenceInput, StepFailed
from errata_service.engine.sampling import SamplingParams
from errata_service.problems import Busy, NotReady, ProblemError
from errata_service.prompts import prompt_offsets
from torch.nn.functional import log_softmax

from errata.deltas import Delta
from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from errata.errors import DeviceFailed, NotFinite, NotServable, UnknownVersion
from errata.model import EditableModel
from tests.conftest import ALL_MODELS, NEOX_SENTENCES
from tests.service.engine.conftest import Bench, Heard, NewBench

PROMPTS = [
    record["requested_rewrite"]["prompt"].format(record["requested_rewrite"]["subject"])
    for record in counterfactual_records(load_world())[:24]
]
LONG = " ".join(PROMPTS)
BAD = "Zanzibar is the word"
ENDLESS = 2  # the version that goes on and on: the base ends a text after some eighty tokens


def inputs_of_all_sizes(bench: Bench, prompts: Sequence[str] = PROMPTS) -> list[SequenceInput]:
    """From one token to a few dozen, after prompts from a few tokens to some hundred."""
    lengths = itertools.cycle([1, 30, 3, 17, 8, 45])
    inputs = [bench.input(prompt, length) for prompt, length in zip(prompts, lengths, strict=False)]
    longest = bench.model.max_length - 20
    long = bench.model.tokenizer(LONG)["input_ids"][:longest]
    return [*inputs[:5], SequenceInput(prompt_ids=long, max_new_tokens=15), *inputs[5:]]


def ids(finished: Finished) -> list[int]:
    return [token.id for token in finished.tokens]


def drip(
    bench: Bench, inputs: Sequence[SequenceInput], versions: Iterator[int]
) -> list[tuple[SequenceInput, int, Heard]]:
    """Submit one after the other, so that they join while others are computed."""
    under_way = []
    for sequence in inputs:
        version = next(versions)
        under_way.append((sequence, version, bench.submit(sequence, version=version)))
        time.sleep(0.01)
    return under_way


@pytest.fixture(params=["trained gpt_neox", *ALL_MODELS])
def any_model(
    request: pytest.FixtureRequest, neox: EditableModel, of_each_architecture: dict[str, EditableModel]
) -> EditableModel:
    """The demo GPT-J, a trained GPT-NeoX, and random ones of each architecture."""
    return neox if request.param == "trained gpt_neox" else of_each_architecture[request.param]


def test_greedy_tokens_are_those_of_transformers_whatever_else_is_in_the_batch(
    any_model: EditableModel, new_bench: NewBench
) -> None:
    bench = new_bench(any_model, max_batch=6, prefill_tokens=32)
    inputs = inputs_of_all_sizes(bench, [*NEOX_SENTENCES, *PROMPTS][:20])
    under_way = drip(bench, inputs, itertools.repeat(0))
    for sequence, _, heard in under_way:
        [finished] = heard.finished()
        assert ids(finished) == bench.alone(sequence)


def test_versions_are_computed_side_by_side_each_with_its_own_weights(new_bench: NewBench) -> None:
    bench = new_bench(max_batch=8, weight_sets_bytes=1)  # no more weights are kept than are in use
    under_way = drip(bench, inputs_of_all_sizes(bench), itertools.cycle([0, 1, 2]))
    ended = [(sequence, version, heard.finished()[0]) for sequence, version, heard in under_way]
    for sequence, version, finished in ended:
        assert ids(finished) == bench.alone(sequence, version)
    last = bench.input(PROMPTS[0])
    assert len({tuple(bench.alone(last, version)) for version in (0, 1, 2)}) == 3


def test_little_memory_makes_tasks_wait_and_none_fail(new_bench: NewBench) -> None:
    bench = new_bench(key_values_bytes=1)  # there is always room for one
    under_way = drip(bench, inputs_of_all_sizes(bench)[:10], itertools.cycle([0, 1]))
    ended = [(sequence, version, heard.finished()[0]) for sequence, version, heard in under_way]
    assert all(ids(finished) == bench.alone(sequence, version) for sequence, version, finished in ended)


def test_a_version_that_is_being_loaded_holds_nobody_up_and_none_mixes(new_bench: NewBench) -> None:
    bench = new_bench()
    bench.slow, sequence = {1, 2}, bench.input(PROMPTS[0])
    bench.may_load.clear()
    waiting = [bench.submit(sequence, version=version) for version in (1, 2, 1)]
    base = bench.submit(sequence, version=0).finished()
    assert not any(heard.events for heard in waiting)
    bench.may_load.set()
    answers = [ids(heard.finished()[0]) for heard in waiting]
    assert answers == [bench.alone(sequence, version) for version in (1, 2, 1)]
    assert ids(base[0]) == bench.alone(sequence, 0)


def test_what_is_generated_keeps_the_version_that_was_active_when_it_was_accepted(new_bench: NewBench) -> None:
    bench = new_bench()
    sequence = bench.input(PROMPTS[0], max_new_tokens=60)
    before = bench.submit(sequence, streamed=True)
    before.wait_for(lambda: len(before.new_tokens()) > 3)
    swap = bench.engine.switch(1)
    assert bench.engine.active == 1 and swap.load_ms > 0
    assert len(before.new_tokens()) < 60
    after = bench.submit(sequence)
    first, second = ids(before.finished()[0]), ids(after.finished()[0])
    assert (before.request.version, after.request.version) == (0, 1)
    assert (first, second) == (bench.alone(sequence, 0), bench.alone(sequence, 1))


def test_a_long_prompt_does_not_hold_up_those_that_are_being_continued(new_bench: NewBench) -> None:
    """While it is read, part by part, another goes on by a token after each part."""
    bench = new_bench(prefill_tokens=8)
    going = bench.submit(bench.input(PROMPTS[0], max_new_tokens=200), version=ENDLESS, streamed=True)
    going.wait_for(going.new_tokens)
    long = bench.submit(bench.input(LONG, max_new_tokens=1), streamed=True)
    long.wait_for(lambda: long.events)  # it was accepted
    before = len(going.new_tokens())
    long.finished()
    num_parts = len(long.request.inputs[0].prompt_ids) // 8
    assert len(going.new_tokens()) - before >= num_parts - 2
    going.finished()


def test_short_prompts_overtake_a_long_one_that_came_before(new_bench: NewBench) -> None:
    bench = new_bench(prefill_tokens=8)
    long = bench.submit(bench.input(LONG, max_new_tokens=1))
    short = bench.submit(bench.input("Paris", max_new_tokens=1))
    short.finished()
    assert not any(isinstance(event, Finished) for event in long.events)
    long.finished()


def test_who_goes_away_frees_the_place(new_bench: NewBench) -> None:
    bench = new_bench(max_batch=1)
    leaving = bench.submit(bench.input(PROMPTS[0], max_new_tokens=400), version=ENDLESS, streamed=True)
    leaving.wait_for(leaving.new_tokens)
    next_one = bench.submit(bench.input(PROMPTS[1], max_new_tokens=2))
    bench.engine.cancel(leaving.request)
    before = len(leaving.new_tokens())
    next_one.finished()
    assert len(leaving.new_tokens()) - before <= 2  # of a step that was under way, and of one that was about to begin
    assert not any(isinstance(event, Finished) for event in leaving.events)
    assert (bench.engine.num_running, bench.engine.num_waiting) == (0, 0)


def test_what_does_not_end_in_time_fails_wherever_it_is(new_bench: NewBench) -> None:
    bench = new_bench(max_batch=1, generation_timeout_s=0.4)
    bench.slow = {1}
    bench.may_load.clear()
    loading = bench.submit(bench.input("Paris"), version=1)
    with pytest.raises(ProblemError, match=r"within 0\.4 s"):
        loading.finished()
    endless = bench.input(PROMPTS[0], max_new_tokens=400)
    running, waiting = (bench.submit(endless, version=ENDLESS) for _ in range(2))
    for heard in (running, waiting):
        with pytest.raises(ProblemError, match=r"within 0\.4 s") as caught:
            heard.finished()
        assert caught.value.status == 504


def test_no_more_may_wait_than_the_settings_say(new_bench: NewBench) -> None:
    bench = new_bench(max_batch=1, max_queued_generations=2)
    sequence = bench.input(PROMPTS[0], max_new_tokens=60)
    running = bench.submit(sequence, streamed=True)
    running.wait_for(running.new_tokens)
    waiting = bench.submit(sequence, sequence)
    with pytest.raises(Busy) as caught:
        bench.submit(sequence)
    assert caught.value.headers is not None and int(caught.value.headers["Retry-After"]) > 0
    running.finished()
    waiting.finished()
    bench.submit(sequence).finished()


def test_a_version_without_finite_numbers_fails_alone_and_spoils_nothing(new_bench: NewBench) -> None:
    bench = new_bench()
    sequence = bench.input(PROMPTS[0], max_new_tokens=40)
    others = [bench.submit(sequence, version=version) for version in (0, 1)]
    with pytest.raises(NotFinite, match="version 13"):
        bench.submit(sequence, sequence, version=13).finished()
    assert [ids(heard.finished()[0]) for heard in others] == [bench.alone(sequence, version) for version in (0, 1)]


def test_one_that_is_not_finite_spoils_no_other_of_its_version(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys and values are no numbers, and others take its slot in the cache, again and again."""
    bench = new_bench(max_batch=4)
    good, bad = bench.input(PROMPTS[0], 20), bench.input(BAD, 20)
    embed = bench.model.embed

    def embedded(token_ids: torch.Tensor) -> torch.Tensor:
        return torch.where((token_ids == bad.prompt_ids[0])[..., None], torch.nan, embed(token_ids))

    expected = bench.alone(good)
    assert bad.prompt_ids[0] not in [*good.prompt_ids, *expected]
    monkeypatch.setattr(bench.model, "embed", embedded)
    echoed = bench.input(BAD, 0, num_logprobs=1, prompt_logprobs=True, prompt_offsets=range(len(bad.prompt_ids)))
    for _ in range(3):
        mixed = [
            (sequence, bench.submit(sequence)) for sequence in (good, bad, bad, good, bad, echoed, good, bad, good)
        ]
        for sequence, heard in mixed:
            if sequence is good:
                assert ids(heard.finished()[0]) == expected
            else:
                with pytest.raises(NotFinite):
                    heard.finished()


def test_weights_in_use_take_no_more_memory_than_the_settings_say(new_bench: NewBench) -> None:
    """But for the active version's and one more: others wait for their turn."""
    bench = new_bench(weight_sets_bytes=1)
    bench.engine.switch(1)
    held: list[set[int]] = []
    load = bench.deltas

    def watched(version: int) -> Mapping[int, Delta]:
        held.append({held.version for held in bench.engine._weight_sets._sets.values() if held.users})
        return load(version)

    bench.engine._load_deltas = watched
    heard = [bench.submit(bench.input(PROMPTS[0], 5), version=version) for version in range(2, 12)]
    for one in heard:
        one.finished()
    assert len(held) == 10 and max(map(len, held)) <= 2


def test_a_version_that_cannot_be_loaded_fails_with_the_reason(new_bench: NewBench) -> None:
    bench = new_bench()
    with pytest.raises(UnknownVersion, match="99"):
        bench.submit(bench.input("Paris"), version=99).finished()
    with pytest.raises(UnknownVersion, match="99"):
        bench.engine.switch(99)
    assert bench.engine.active == 0


def test_a_version_that_cannot_be_served_is_not_switched_to(new_bench: NewBench) -> None:
    bench = new_bench()
    bench.engine.switch(1)
    running = bench.submit(bench.input(PROMPTS[0], 40), streamed=True)
    running.wait_for(running.new_tokens)
    with pytest.raises(NotServable, match="version 13 gives no finite numbers"):
        bench.engine.switch(13)
    assert bench.engine.active == 1
    assert ids(running.finished()[0]) == bench.alone(bench.input(PROMPTS[0], 40), 1)

    def too_large(version: int) -> Mapping[int, Delta]:
        raise torch.OutOfMemoryError("Tried to allocate 9 GiB")

    bench.engine._load_deltas = too_large
    with pytest.raises(NotServable, match="version 2 cannot be loaded: OutOfMemoryError: Tried to allocate 9 GiB"):
        bench.engine.switch(2)
    assert bench.engine.active == 1


def test_told_to_stop_it_ends_what_it_has_accepted_and_accepts_nothing_more(new_bench: NewBench) -> None:
    bench = new_bench(max_batch=1)
    inputs = [bench.input(prompt, max_new_tokens=20) for prompt in PROMPTS[:3]]
    accepted = [bench.submit(sequence) for sequence in inputs]
    bench.engine.close(patience_s=60)
    assert (bench.engine.num_running, bench.engine.num_waiting) == (0, 0)
    with pytest.raises(NotReady, match="stopping"):
        bench.submit(inputs[0])
    assert [ids(heard.finished()[0]) for heard in accepted] == [bench.alone(sequence) for sequence in inputs]


def test_closed_it_fails_what_is_left(new_bench: NewBench) -> None:
    bench = new_bench(max_batch=1)
    endless = bench.input(PROMPTS[0], max_new_tokens=400)
    left = [bench.submit(endless, version=ENDLESS) for _ in range(2)]
    bench.engine.close(patience_s=0.05)
    for heard in left:
        with pytest.raises(NotReady, match="stopping"):
            heard.finished()


def test_closed_it_does_not_load_what_nobody_waits_for_any_more(new_bench: NewBench) -> None:
    bench = new_bench()
    bench.slow = {1, 2, 3, 4}
    bench.may_load.clear()
    left = [bench.submit(bench.input("Paris"), version=version) for version in (1, 2, 3, 4)]
    closing = threading.Thread(target=bench.engine.close)
    closing.start()
    for heard in left:
        with pytest.raises(NotReady, match="stopping"):
            heard.finished()
    bench.may_load.set()
    closing.join(20)
    assert not closing.is_alive()


def test_a_seed_gives_the_same_tokens_whatever_else_is_in_the_batch(new_bench: NewBench) -> None:
    bench = new_bench(prefill_tokens=24)
    samplings = [
        SamplingParams(temperature=1.3, seed=1),
        SamplingParams(temperature=0.8, seed=2, top_p=0.9),
        SamplingParams(temperature=1.0, seed=3, top_k=7, repetition_penalty=1.3),
        SamplingParams(temperature=2.0, seed=4, top_k=50, top_p=0.8),
    ]
    inputs = [bench.input(PROMPTS[0], 24, sampling=sampling) for sampling in samplings]
    alone = [ids(bench.submit(sequence).finished()[0]) for sequence in inputs]
    crowd = [bench.submit(sequence) for sequence in inputs_of_all_sizes(bench)]
    together = [ids(finished) for finished in bench.submit(*inputs).finished()]
    assert together == alone
    assert len({tuple(tokens) for tokens in alone}) == 4
    for heard in crowd:
        heard.finished()


def test_log_probabilities_are_those_of_one_run_over_the_whole_text(new_bench: NewBench) -> None:
    bench = new_bench(prefill_tokens=8)  # the prompt is read in several parts
    prompt = f"{PROMPTS[0]} {PROMPTS[1]}"
    offsets = prompt_offsets(bench.model, prompt)
    sequence = bench.input(prompt, 10, num_logprobs=3, prompt_logprobs=True, prompt_offsets=offsets)
    [finished] = bench.submit(sequence).finished()
    tokens = [*finished.prompt_tokens, *finished.tokens]
    assert [token.id for token in finished.prompt_tokens] == list(sequence.prompt_ids)
    text = torch.tensor([[token.id for token in tokens]])
    expected = log_softmax(bench.model.network(text).logits[0, :-1], dim=-1)
    assert (tokens[0].logprob, tokens[0].likeliest) == (None, ())
    for token, log_probabilities in zip(tokens[1:], expected, strict=True):
        best = log_probabilities.topk(3)
        assert token.logprob == pytest.approx(float(log_probabilities[token.id]), abs=1e-4)
        assert [token_id for token_id, _ in token.likeliest] == best.indices.tolist()
        assert [logprob for _, logprob in token.likeliest] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_new_tokens_make_the_text(new_bench: NewBench) -> None:
    bench = new_bench()
    heard = bench.submit(*(bench.input(prompt, 30) for prompt in PROMPTS[:3]), streamed=True)
    for index, finished in enumerate(heard.finished()):
        new_tokens = heard.new_tokens(index)
        assert [new.token for new in new_tokens] == list(finished.tokens)
        assert "".join(new.text for new in new_tokens) + finished.rest == finished.text
        for new in new_tokens:
            assert finished.text[new.token.offset :].startswith(new.text)


def test_a_token_that_ends_one_sequence_is_no_text_of_it_and_ends_no_other(new_bench: NewBench) -> None:
    bench = new_bench()
    [full_stop] = bench.model.tokenizer(".")["input_ids"]
    plain = bench.input(PROMPTS[0], 30)
    [whole, cut] = bench.submit(plain, replace(plain, end_ids=frozenset([full_stop]))).finished()
    assert whole.text.count(".") > 1
    assert (cut.text, cut.finish_reason) == (whole.text.partition(".")[0], "stop")
    assert ids(cut) == ids(whole)[: ids(whole).index(full_stop) + 1]


@contextmanager
def broken(model: EditableModel, times: int | None = None) -> Iterator[None]:
    """Let the model fail at its first step and at those after it, `times` of them, as a broken device lets it fail."""
    steps = itertools.count(1)

    def fail(*_: object) -> None:
        if times is None or next(steps) <= times:
            raise RuntimeError("CUDA error: device-side assert triggered")

    handle = model.network.get_input_embeddings().register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


def test_a_step_that_fails_once_fails_its_requests_and_a_device_that_runs_nothing_any_more_is_told_of(
    new_bench: NewBench,
) -> None:
    bench = new_bench()
    with broken(bench.model, times=1), pytest.raises(StepFailed):
        bench.submit(bench.input(PROMPTS[0])).finished()
    assert bench.submit(bench.input(PROMPTS[0])).finished() and not bench.failures
    with broken(bench.model):
        with pytest.raises(StepFailed):
            bench.submit(bench.input(PROMPTS[0])).finished()
        bench.engine.close()  # until then it may be at the token that tells the two apart
    [failure] = bench.failures
    assert isinstance(failure, DeviceFailed) and "device-side assert" in str(failure)


def test_a_device_that_was_idle_is_asked_whether_it_works(new_bench: NewBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata_service.engine.engine.IDLE_S", 0.0)
    monkeypatch.setattr("errata_service.engine.engine.TOKEN_S", 1.0)
    bench = new_bench()
    bench.engine.require_working()
    with broken(bench.model), pytest.raises(NotReady, match="cpu has run nothing for"):
        bench.engine.require_working()
    assert bench.failures
    bench.engine.require_working()
