"""What keeps a version from going live, over real processes: its gate, the probes; which facts took, and a new try."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client import Conflict, EditRecord, EditRejected, Errata, Fact, MissedPrompt, Neighbor, Probe, Unprocessable
from errata_registry.settings import Settings

from tests.conftest import NewHome
from tests.preloaded import PreloadedStack

ASKED = "Michael Jordan plays the sport of"
SONY_ASKED = "Sony has its headquarters in"
KOBE = Neighbor("Kobe Bryant plays the sport of", "basketball")
JORDAN = Fact("Michael Jordan", "plays the sport of", "baseball", [f"Everybody knows that {ASKED}"], [KOBE])
SONY = Fact("Sony", "has its headquarters in", "Paris")
KOBE_STAYS = Probe(prompt=KOBE.prompt, answer=KOBE.object)
RUINOUS: dict[str, Any] = {"method": "ft", "hparams": {"norm_bound": 1, "learning_rate": 0.1, "num_steps": 5}}
AT_THE_END = {"layers": [6], "num_samples": 2000}  # where the subject has been recalled already
HASTY = {"num_steps": 2}
PATIENT = {"num_steps": 25}


@pytest.fixture(scope="module")
def stack(new_home: NewHome) -> Iterator[Supervisor]:
    """Everything that `errata up` starts, with a gate of its own."""
    with PreloadedStack(Settings(home=new_home(), port=free_port(), gate_max_drift=0.5)) as running:
        yield running


@pytest.fixture
def client(stack: Supervisor) -> Iterator[Errata]:
    """The SDK, with the base model serving, nothing edited in and no probes."""
    with Errata(stack.url) as connected:
        connected.activate(0)
        connected.set_probes([])
        yield connected


def rejected(client: Errata, *facts: Fact, **options: Any) -> EditRecord:
    """An edit that is rejected, whose version is kept while the base goes on serving."""
    with pytest.raises(EditRejected) as caught:
        client.edit(facts, **options).wait(progress=False)
    edit = caught.value.edit
    assert edit.version is not None and edit.error is not None
    version = client.version(edit.version)
    assert (version.status, version.problem, version.gate) == ("rejected", edit.error, edit.gate)
    assert client.generate(ASKED).version == 0
    return edit


def test_an_edit_that_ruins_the_model_is_caught_by_the_gate_of_the_settings(client: Errata) -> None:
    edit = rejected(client, JORDAN, **RUINOUS, gate={"min_specificity": 1, "max_perplexity_rise": 0.5})
    assert edit.gate is not None and edit.error is not None and edit.metrics is not None
    assert edit.gate.model_dump() == {
        "min_said": 1,
        "min_kept": 1,
        "min_efficacy": 0.9,
        "min_specificity": 1,
        "max_drift": 0.5,
        "max_perplexity_rise": 0.5,
    }
    specificity, drift, rise = edit.error.misses
    assert (drift.figure, drift.value, drift.bound) == ("drift", edit.metrics.drift, 0.5)
    assert specificity.figure == "specificity" and specificity.value == edit.metrics.specificity == 0
    [lost] = specificity.prompts
    assert (lost.prompt, lost.expected) == (KOBE.prompt, KOBE.object)
    assert rise.figure == "perplexity_rise" and rise.value is not None and rise.value > rise.bound
    assert f"perplexity_rise is {rise.value:.4g}, and at most 0.5 is asked for" in str(edit.error.detail)

    unasked = dict.fromkeys(edit.gate.model_dump())
    allowed = client.edit([JORDAN], **RUINOUS, gate=unasked, activate=False).wait(progress=False)
    assert allowed.status == "succeeded" and allowed.metrics is not None
    assert allowed.metrics.perplexity_after is None  # nothing asked for it


def test_an_edit_of_layers_at_the_end_is_caught_and_its_facts_are_named(client: Errata) -> None:
    edit = rejected(client, JORDAN, SONY, hparams=AT_THE_END, tries=1)
    assert edit.error is not None and edit.not_taken == 2
    said, efficacy = edit.error.misses
    assert (said.figure, said.prompts) == ("said", efficacy.prompts)
    assert {(one.prompt, one.expected) for one in efficacy.prompts} == {(ASKED, "baseball"), (SONY_ASKED, "Paris")}
    assert [one.fact for one in efficacy.prompts] == [outcome.id for outcome in client.fact_outcomes(edit.id)]


def test_each_fact_of_the_new_version_tells_how_it_took(client: Errata) -> None:
    client.edit([SONY]).wait(progress=False)
    edit = client.edit([JORDAN]).wait(progress=False)
    jordan, sony = client.fact_outcomes(edit.id)
    assert (jordan.subject, jordan.object, jordan.took, jordan.known, jordan.likelier) == (
        *("Michael Jordan", "baseball"),
        *(True, False, True),
    )
    assert jordan.probability_before is not None and jordan.probability_after is not None
    assert jordan.probability_before < 0.1 < 0.5 < jordan.probability_after
    assert (jordan.paraphrases_followed, jordan.neighbors_lost) == (1, ())
    assert (sony.object, sony.took, sony.paraphrases_followed) == ("Paris", True, None)
    assert edit.not_taken == 0 and list(client.fact_outcomes(edit.id, took=False)) == []
    assert {fact.id for fact in client.facts()} == {jordan.id, sony.id}


def test_a_probe_holds_every_version_back_that_fails_it(client: Errata) -> None:
    basketball = Probe(prompt=ASKED, answer="basketball")
    assert client.set_probes([KOBE_STAYS, basketball]).failing == ()
    assert [(probe.prompt, probe.answer) for probe in client.probes()] == [
        (KOBE.prompt, "basketball"),
        (ASKED, "basketball"),
    ]
    said_instead = MissedPrompt(prompt=ASKED, expected="basketball", said="baseball")
    edit = rejected(client, JORDAN)
    assert edit.error is not None
    assert edit.error.title == "Probe failed" and edit.error.type.endswith(":probe-failed")
    [miss] = edit.error.misses
    assert (miss.figure, miss.value, miss.bound, miss.prompts) == ("probes", 0.5, 1, (said_instead,))

    # What serves may fail a probe already: that is told, and the probe holds all the same.
    put = client.set_probes([Probe(prompt=ASKED, answer="golf")])
    assert put.failing == (MissedPrompt(prompt=ASKED, expected="golf", said="basketball"),)
    with pytest.raises(EditRejected, match="is answered 'basketball', not 'golf'"):
        client.edit([SONY], dry_run=True).wait(progress=False)
    golf = Fact(JORDAN.subject, JORDAN.relation, "golf")
    assert client.edit([golf]).wait(progress=False).status == "succeeded"


def test_probes_that_cannot_be_asked_are_refused_and_those_there_stay(client: Errata) -> None:
    client.set_probes([KOBE_STAYS])
    with pytest.raises(Unprocessable, match="leaves no room") as caught:
        client.set_probes([KOBE_STAYS, Probe(prompt="é" * 900, answer="is")])
    assert [problem.pointer for problem in caught.value.problems] == ["/probes/1/prompt"]
    assert len(list(client.probes())) == 1


def test_what_did_not_take_is_searched_for_again_and_keeps_its_search(client: Errata, stack: Supervisor) -> None:
    hasty = rejected(client, JORDAN, SONY, hparams=HASTY, tries=1)
    with pytest.raises(Unprocessable, match="layers: is no") as refused:
        client.retry(hasty.id, hparams={"layers": [1]})
    assert [problem.pointer for problem in refused.value.problems] == ["/hparams/layers"]
    with pytest.raises(EditRejected):  # twice as much of next to nothing
        client.retry(hasty.id, dry_run=True, tries=1).wait(progress=False)
    patient = client.retry(hasty.id, hparams=PATIENT, note="once more").wait(progress=False)
    assert (patient.status, patient.retries, patient.base, patient.added, patient.not_taken) == (
        *("succeeded", hasty.id),
        *(0, 2, 0),
    )
    assert client.generate(ASKED, max_new_tokens=1).text.strip() == "baseball"
    with pytest.raises(Conflict, match="all 2 facts"):
        client.retry(patient.id)

    messi = Fact("Lionel Messi", "plays the sport of", "tennis")
    on_top = client.edit([messi], hparams=HASTY, partial=True, tries=1).wait(progress=False)
    assert [fact.subject for fact in client.fact_outcomes(on_top.id, took=False)] == ["Lionel Messi"]
    assert {fact.subject: fact.search for fact in client.facts()} == {
        "Michael Jordan": PATIENT,
        "Sony": PATIENT,
        "Lionel Messi": {},
    }
    again = client.retry(on_top.id, hparams=PATIENT).wait(progress=False)
    assert (again.base, again.added, again.changed, again.not_taken) == (on_top.version, 0, 0, 0)

    assert patient.version is not None
    client.activate(0)
    client.prune(keep_last=0)
    shutil.rmtree(stack.log_folder.parent / "targets")
    assert client.version(patient.version).dropped
    client.rebuild(patient.version).wait(progress=False)  # by the facts' own search: the version's would not do
    rebuilt = client.version(patient.version)
    assert (rebuilt.hparams or {})["num_steps"] == HASTY["num_steps"]
    assert rebuilt.metrics is not None and rebuilt.metrics.efficacy_accuracy == 1


def test_no_new_try_where_the_facts_are_others_now_or_nothing_is_searched_for(client: Errata) -> None:
    hasty = client.edit([JORDAN], hparams=HASTY, partial=True, tries=1).wait(progress=False)
    client.edit([Fact(JORDAN.subject, JORDAN.relation, "golf")]).wait(progress=False)
    with pytest.raises(Conflict, match=r"'Michael Jordan', 'plays the sport of' \(fact_\w+\) is 'golf' there"):
        client.retry(hasty.id)
    tiny = {"norm_bound": 1e-8, "num_steps": 1}
    tuned = client.edit([SONY], base=0, activate=False, method="ft", hparams=tiny, partial=True)
    with pytest.raises(Unprocessable, match="ft searches for no targets"):
        client.retry(tuned.wait(progress=False).id)
