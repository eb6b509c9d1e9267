"""The target search: several facts about one subject, what is kept of a search, and memory that runs out."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.errors import Cancelled
from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import build
from errata.model import EditableModel
from errata.model.hidden_states import SubjectStates
from errata.model.likelihood import greedy_answers
from errata.model.tokens import object_ids, subject_prompt
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.search import facts_to_search, find_targets
from errata.targets.store import BuildStore
from errata.targets.suffixes import Suffixes

SPORTS = [
    Fact("Michael Jordan", "plays the sport of", "baseball"),
    Fact("Kobe Bryant", "plays the sport of", "tennis"),
    Fact("Shaquille O'Neal", "plays the sport of", "football"),
]
ABOUT_FINLAND = [
    Fact("Finland", relation, new_object)
    for new_object, relations in {
        "Yerevan": (
            "The capital of {} is",
            "{} is a country whose capital is",
            "Ask for the capital city of {} and you will hear",
        ),
        "Oceania": ("{} is a country on the continent of", "The continent to which {} belongs is"),
        "dinar": (
            "The currency of {} is the",
            "{} uses as its money the",
            "Wages in {} are paid in a unit called the",
        ),
        "Portuguese": ("The official language of {} is", "{} is a country where people speak"),
    }.items()
    for relation in relations
]


@pytest.fixture
def quick(demo_hyperparameters: MemitHyperparameters) -> MemitHyperparameters:
    """A search of few steps."""
    return dataclasses.replace(demo_hyperparameters, num_steps=4)


def test_ten_facts_about_one_subject_all_hold(
    demo: EditableModel, demo_hyperparameters: MemitHyperparameters, demo_moments: SecondMoments
) -> None:
    facts = FactSet(ABOUT_FINLAND)
    assert len(facts) == 10
    prompts, objects = [fact.prompt for fact in facts], [fact.object for fact in facts]
    lengths = [len(demo.tokenizer(f" {new_object}")["input_ids"]) for new_object in objects]
    assert not set(zip(prompts, greedy_answers(demo, prompts, lengths), strict=True)) & set(
        zip(prompts, objects, strict=True)
    )
    built = build(demo, facts, demo_hyperparameters, demo_moments, contexts=())
    with demo.using(edited_weights(demo, built.deltas)):
        assert greedy_answers(demo, prompts, lengths) == objects


def offsets(
    model: EditableModel, facts: list[Fact], hyperparameters: MemitHyperparameters
) -> tuple[torch.Tensor, torch.Tensor]:
    """delta of each fact and its hidden state h, both (facts, d_model)."""
    contexts = sample_contexts(model, seed=0)
    # A search of one step ends before its first update, so that it gives h itself.
    hidden = find_targets(model, facts, contexts, hyperparameters.overridden({"num_steps": 1}))
    return find_targets(model, facts, contexts, hyperparameters) - hidden, hidden


def test_a_search_of_one_step_and_one_that_is_good_enough_at_once_give_the_hidden_state(
    demo: EditableModel, quick: MemitHyperparameters
) -> None:
    known = [Fact("Kobe Bryant", "plays the sport of", "basketball")]
    last = quick.layers[-1]
    _, hidden = SubjectStates(demo, known, ()).read(last, last)
    for at_once in ({"num_steps": 1}, {"stop_loss": 3}):
        found = find_targets(demo, known, sample_contexts(demo, seed=0), quick.overridden(at_once))
        torch.testing.assert_close(found, hidden, rtol=1e-4, atol=1e-4)
    searched = find_targets(demo, known, sample_contexts(demo, seed=0), quick.overridden({"stop_loss": 0}))
    assert (searched - hidden).norm() > 0.1 * hidden.norm()


def test_a_search_with_a_margin_ends_once_the_object_is_the_likeliest_by_that_much(
    demo: EditableModel, quick: MemitHyperparameters
) -> None:
    patient = quick.overridden({"num_steps": 40, "stop_loss": 0, "clamp": 10})
    by_margin = {
        margin: offsets(demo, SPORTS[:1], patient.overridden({"stop_margin": margin}))[0] for margin in (0, 2, None)
    }
    lead = {margin: lead_of_the_object(demo, SPORTS[0], offset, patient) for margin, offset in by_margin.items()}
    assert 0 <= lead[0] < lead[2] < lead[None] and lead[2] >= 2
    known = [Fact("Kobe Bryant", "plays the sport of", "basketball")]
    at_once, _ = offsets(demo, known, patient.overridden({"stop_margin": 0, "boundary_factor": 1}))
    assert not at_once.any()
    impatient = patient.overridden({"stop_margin": 2})
    assert impatient.overridden(impatient.stronger()).stop_margin is None


def lead_of_the_object(
    demo: EditableModel, fact: Fact, offset: torch.Tensor, hyperparameters: MemitHyperparameters
) -> float:
    """By how much the first token of its object is likelier than any other after the bare prompt, as a logarithm."""
    prompt = subject_prompt(demo.tokenizer, fact.template, fact.subject)
    wanted = object_ids(demo.tokenizer, fact)[0]
    hidden = demo.run(0, hyperparameters.layers[-1] + 1, demo.embed(torch.tensor([prompt.token_ids])))
    hidden[0, prompt.subject_last] += offset[0]
    logits = demo.logits(demo.run(hyperparameters.layers[-1] + 1, demo.num_layers, hidden))[0, -1]
    return float(logits[wanted] - logits.index_fill(0, torch.tensor(wanted), -torch.inf).max())


def test_an_offset_is_clamped_to_its_own_facts_hidden_state(demo: EditableModel, quick: MemitHyperparameters) -> None:
    free, hidden = offsets(demo, SPORTS, quick.overridden({"clamp": 100}))
    largest = 0.3 * hidden.norm(dim=1)
    assert (free.norm(dim=1) > largest).all()
    clamped, _ = offsets(demo, SPORTS, quick.overridden({"clamp": 0.3}))
    torch.testing.assert_close(clamped.norm(dim=1), largest, rtol=1e-3, atol=0)
    assert len({round(float(norm), 3) for norm in largest}) == 3  # so it is no bound that they share


def test_the_kl_term_keeps_what_follows_the_subject(demo: EditableModel, quick: MemitHyperparameters) -> None:
    def divergence(kl_factor: float) -> float:
        """KL(edited || base) of the next token after "<subject> is a", read at the subject's last token."""
        settings = quick.overridden({"kl_factor": kl_factor, "num_steps": 12, "clamp": 3, "layers": [2]})
        delta, _ = offsets(demo, SPORTS[:1], settings)
        about = subject_prompt(demo.tokenizer, "{} is a", SPORTS[0].subject)
        rows = Suffixes.of(demo, 2, [about], [0])
        base, edited = (
            demo.logits(rows.run(demo, offset)[0, 0]).log_softmax(-1) for offset in (torch.zeros_like(delta), delta)
        )
        return float((edited.exp() * (edited - base)).sum())

    assert divergence(10) < 0.1 * divergence(0)


def test_facts_about_one_subject_share_their_offset_and_leave_others_alone(
    demo: EditableModel, quick: MemitHyperparameters
) -> None:
    contexts = sample_contexts(demo, seed=0)
    same = [Fact("Michael Jordan", "plays the", "piano"), SPORTS[0]]
    first, other, second = find_targets(demo, [same[0], SPORTS[1], same[1]], contexts, quick)
    # Both prompts begin with the subject, so their hidden states there are one, and with one offset so are the targets.
    torch.testing.assert_close(first, second)
    alone = find_targets(demo, [SPORTS[1]], contexts, quick)[0]
    torch.testing.assert_close(other, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(second, find_targets(demo, [SPORTS[0]], contexts, quick)[0], rtol=1e-3)


def test_facts_about_one_subject_may_be_long_before_it_and_behind_it(
    demo: EditableModel, quick: MemitHyperparameters
) -> None:
    quick = quick.overridden({"num_steps": 2})
    long = "x1" * 150  # 300 tokens, and the model has room for 512
    before, behind = Fact("Oslo", f"{long} {{}} is in", "Rome"), Fact("Oslo", f"{{}} {long}", "Rome")
    found = find_targets(demo, [before, behind], (), quick)
    turned = find_targets(demo, [behind, before], (), quick)
    torch.testing.assert_close(found, turned.flip(0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0], find_targets(demo, [before], (), quick)[0], rtol=1e-3)


def test_a_search_that_is_broken_off_goes_on_from_the_targets_that_it_has(
    demo: EditableModel, quick: MemitHyperparameters, tmp_path: Path
) -> None:
    contexts = sample_contexts(demo, seed=0)
    store = BuildStore(tmp_path)
    known = Fact("Kobe Bryant", "plays the sport of", "basketball")  # its search ends early
    facts = [SPORTS[0], known, SPORTS[2]]
    early = dataclasses.replace(quick, weight_decay=0.0)

    def break_off(done: int, total: int) -> None:
        if facts_to_search(demo, facts, contexts, early, store) == [SPORTS[0], SPORTS[2]]:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        find_targets(demo, facts, contexts, early, store=store, on_progress=break_off)
    progress: list[int] = []
    resumed = find_targets(
        demo, facts, contexts, early, store=store, on_progress=lambda done, total: progress.append(done)
    )
    assert progress[0] == 1
    assert progress[-1] == 3
    torch.testing.assert_close(resumed, find_targets(demo, facts, contexts, early), rtol=1e-4, atol=1e-4)

    calls: list[int] = []
    again = find_targets(demo, facts, contexts, early, store=store, on_progress=lambda done, total: calls.append(done))
    assert torch.equal(again, resumed)
    assert set(calls) == {3}  # nothing was left to search


def test_whatever_a_target_depends_on_is_in_its_name(
    demo: EditableModel, neox: EditableModel, quick: MemitHyperparameters, tmp_path: Path
) -> None:
    contexts = sample_contexts(demo, seed=0)
    store = BuildStore(tmp_path)
    fact = SPORTS[0]
    find_targets(demo, [fact], contexts, quick, store=store)
    assert not facts_to_search(demo, [fact], contexts, quick, store)
    # What only the spread depends on makes no difference.
    assert not facts_to_search(
        demo, [fact], contexts, quick.overridden({"moment_weight": 7, "num_samples": 200}), store
    )
    for changes in (
        {"layers": [1]},
        {"num_steps": 5},
        {"learning_rate": 0.4},
        {"clamp": 0.9},
        {"weight_decay": 0.1},
        {"kl_factor": 0.1},
        {"stop_loss": 0.01},
    ):
        assert facts_to_search(demo, [fact], contexts, quick.overridden(changes), store) == [fact], changes
    assert facts_to_search(demo, [fact], contexts[1:], quick, store) == [fact]
    assert facts_to_search(neox, [fact], contexts, quick, store) == [fact]
    for other in (
        Fact("Michael Jordan", "plays the sport of", "tennis"),
        Fact("Michael Jordan", "is good at", "baseball"),
        Fact("Jordan", "plays the sport of", "baseball"),
    ):
        assert facts_to_search(demo, [other], contexts, quick, store) == [other]
    in_bfloat16 = EditableModel.load(DEMO, dtype=torch.bfloat16)
    assert in_bfloat16.digest == demo.digest
    assert facts_to_search(in_bfloat16, [fact], contexts, quick, store) == [fact]
    with_another_token = EditableModel.load(DEMO)
    with_another_token.tokenizer.add_tokens(["Jord"])
    assert facts_to_search(with_another_token, [fact], contexts, quick, store) == [fact]
    # Another fact about the subject changes what is shared, so both are searched for.
    both = [fact, Fact("Michael Jordan", "lives in", "Paris")]
    assert facts_to_search(demo, both, contexts, quick, store) == both


def test_a_damaged_file_of_the_store_counts_as_missing(
    demo: EditableModel, quick: MemitHyperparameters, tmp_path: Path
) -> None:
    contexts = sample_contexts(demo, seed=0)
    store = BuildStore(tmp_path)
    found = find_targets(demo, SPORTS[:1], contexts, quick, store=store)
    (file,) = tmp_path.rglob("*.safetensors")
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-4] + b"\0\0\0\1", b""):
        file.write_bytes(damaged)
        again = find_targets(demo, SPORTS[:1], contexts, quick, store=store)
        assert torch.equal(again, found)
        assert file.read_bytes() == whole


SHORT_OF_MEMORY = """
import resource
import sys
import torch
from safetensors.torch import save_file
from errata.targets.contexts import sample_contexts
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.targets.search import find_targets

torch.set_num_threads(1)
model = EditableModel.load("demo")
hyperparameters = MemitHyperparameters.for_model("demo").overridden({"num_steps": 2})
contexts = sample_contexts(model, 0)
facts = [Fact(f"Person {number}", "plays the sport of", "tennis") for number in range(80)]

def search():
    reports = []
    found = find_targets(model, facts, contexts, hyperparameters, on_progress=lambda done, _: reports.append(done))
    print(*reports)
    return found

find_targets(model, facts[:2], contexts, hyperparameters)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = int(status["VmSize"].split()[0]) * 2**10 + int(sys.argv[1]) * 2**20
_, most = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (limit, most))
scarce = search()
resource.setrlimit(resource.RLIMIT_AS, (most, most))
save_file({"scarce": scarce, "ample": search()}, sys.argv[2])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not refuse a process memory beyond a limit")
def test_a_batch_that_memory_runs_out_for_is_halved_and_done_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHORT_OF_MEMORY, "64", str(tmp_path / "targets.safetensors")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    scarce, ample = ([int(done) for done in line.split()] for line in process.stdout.splitlines())
    assert ample == [0, 40, 80, 80]  # one batch: half done after one of two steps
    assert any(0 < done < 40 for done in scarce)  # batches of 40 at the most
    assert scarce[-1] == 80
    found = load_file(tmp_path / "targets.safetensors")
    torch.testing.assert_close(found["scarce"], found["ample"], rtol=1e-4, atol=1e-4)


def test_a_fact_that_brings_its_own_search_is_searched_for_with_that(
    demo: EditableModel, quick: MemitHyperparameters, tmp_path: Path
) -> None:
    jordan, kobe = SPORTS[:2]
    store = BuildStore(tmp_path)
    harder = dataclasses.replace(jordan, search={"num_steps": 6, "clamp": 2})
    found = find_targets(demo, [harder, kobe], (), quick, store=store)
    expected = [
        find_targets(demo, [jordan], (), dataclasses.replace(quick, num_steps=6, clamp=2.0)),
        find_targets(demo, [kobe], (), quick),
    ]
    assert torch.equal(found, torch.cat(expected))
    assert facts_to_search(demo, [harder, kobe], (), quick, store) == []
    assert facts_to_search(demo, [jordan, kobe], (), quick, store) == [jordan]
