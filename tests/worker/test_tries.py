"""What a worker does where facts of an edit are not said: it tries again, harder, and keeps the best of its tries."""

import pytest
from errata_client.records import Edit, FactOutcome, JobStatus
from errata_registry.jobs.requests import EditRequest, RebuildRequest, RetryRequest
from errata_registry.jobs.retries import retry_edit
from errata_registry.logs import about_request

from errata.facts import Fact
from tests.worker.conftest import Crew

JORDAN = Fact("Michael Jordan", "plays the sport of", "baseball")
SONY = Fact("Sony", "has its headquarters in", "Paris")
MESSI = Fact("Lionel Messi", "plays the sport of", "tennis")
# The same prompt with another object: of the two, one can be said at most.
JORDAN_OTHERWISE = Fact("Jordan", "Michael {} plays the sport of", "golf")
ONE_TOO_FEW = {"num_steps": 5}  # enough for Jordan, not for Sony
TOO_TIGHT = {"clamp": 0.02, "num_steps": 5}
A_FEW_STEPS = {"num_steps": 12}  # enough for all of them
WRECKING = {"norm_bound": 1, "learning_rate": 0.1, "num_steps": 5}


@pytest.fixture
def worker(crew: Crew) -> Crew:
    """One worker, and the base serving."""
    crew.grow_to(1)
    crew.registry.activations.activate(0)
    return crew


def done(crew: Crew, request: EditRequest) -> Edit:
    return crew.ended(crew.registry.edits.create_edit(request))


def outcomes(crew: Crew, edit: Edit) -> dict[str, FactOutcome]:
    return {outcome.subject: outcome for outcome in crew.registry.edits.fact_outcomes(edit.id)}


def subjects_blamed(edit: Edit) -> dict[str, list[str]]:
    """The prompts of each figure that was missed."""
    assert edit.error is not None
    return {miss.figure: [prompt.prompt for prompt in miss.prompts] for miss in edit.error.misses}


def test_what_is_not_said_is_searched_for_harder_before_the_edit_ends(worker: Crew) -> None:
    registry = worker.registry
    edit = done(worker, EditRequest(facts=(JORDAN, SONY), hparams=ONE_TOO_FEW))
    assert (edit.status, edit.not_taken, edit.metrics and edit.metrics.said) == (JobStatus.SUCCEEDED, 0, 1.0)
    [told] = [message for message in worker.messages(edit) if "try 2 of 3" in message]
    assert "1 of 2 facts are not said: 'Sony has its headquarters in' 'Paris'" in told and "stronger search" in told

    assert edit.version is not None
    manifest, facts = registry.artifacts.manifest(edit.version), registry.versions.facts(edit.version)
    searches = {fact.subject: fact.search for fact in facts}
    assert searches["Michael Jordan"] == {} and searches["Sony"]["num_steps"] == 10
    assert manifest.hparams["num_steps"] == 5

    digest = manifest.files["delta.safetensors"].sha256
    registry.activations.activate(0)
    registry.artifacts.drop(edit.version)
    rebuilt = worker.ended(registry.edits.create_edit(RebuildRequest(rebuild=edit.version)))
    assert rebuilt.status is JobStatus.SUCCEEDED and worker.messages(rebuilt) == ["2 of 2 targets are known"]
    assert registry.artifacts.manifest(edit.version).files["delta.safetensors"].sha256 == digest


def test_what_needs_refinement_is_refined_and_the_version_keeps_that(worker: Crew) -> None:
    edit = done(worker, EditRequest(facts=(JORDAN, SONY), hparams=TOO_TIGHT))
    assert (edit.status, edit.not_taken, edit.version is not None) == (JobStatus.SUCCEEDED, 0, True)
    assert any("try 3 of 3" in told and "20 steps of refinement" in told for told in worker.messages(edit))
    assert edit.version is not None
    assert worker.registry.artifacts.manifest(edit.version).hparams["refinement_steps"] == 20


def test_what_cannot_be_said_is_named_and_the_rest_goes_live_if_asked_to(worker: Crew) -> None:
    facts = (JORDAN, JORDAN_OTHERWISE, SONY)
    edit = done(worker, EditRequest(facts=facts, tries=2, hparams=A_FEW_STEPS))
    unsaid = {subject for subject, outcome in outcomes(worker, edit).items() if not outcome.took}
    assert edit.status is JobStatus.REJECTED and edit.not_taken == len(unsaid) > 0
    assert unsaid <= {JORDAN.subject, JORDAN_OTHERWISE.subject}
    assert subjects_blamed(edit)["said"] == [JORDAN.prompt] * len(unsaid)
    assert edit.error is not None and repr(JORDAN.prompt) in edit.error.detail and "`partial`" in edit.error.detail
    assert worker.registry.activations.active() == 0
    assert worker.ended(retry_edit(worker.registry, edit.id, RetryRequest(tries=1))).status is JobStatus.REJECTED

    partial = done(worker, EditRequest(facts=facts, tries=2, partial=True, hparams=A_FEW_STEPS))
    assert (partial.status, partial.partial, partial.not_taken) == (JobStatus.SUCCEEDED, True, edit.not_taken)
    assert worker.registry.activations.active() == partial.version
    assert outcomes(worker, partial)["Sony"].took
    assert worker.ended(retry_edit(worker.registry, partial.id, RetryRequest(tries=1))).status is JobStatus.REJECTED


def test_an_old_fact_that_was_never_said_refuses_nothing_and_one_that_was_is_asked_for(worker: Crew) -> None:
    old = (JORDAN, Fact(SONY.subject, SONY.relation, SONY.object, search=TOO_TIGHT))
    assert done(worker, EditRequest(facts=old, tries=1, partial=True)).not_taken == 1

    good = done(worker, EditRequest(facts=(MESSI,)))
    assert (good.status, good.not_taken) == (JobStatus.SUCCEEDED, 1)
    assert good.metrics is not None and (good.metrics.said, good.metrics.kept) == (1.0, 1.0)
    assert not any("try 2" in told for told in worker.messages(good))

    costly = done(worker, EditRequest(facts=(JORDAN_OTHERWISE,), tries=2, hparams={"moment_weight": 30, **A_FEW_STEPS}))
    lost = [outcome.subject for outcome in outcomes(worker, costly).values() if outcome.lost]
    assert costly.status is JobStatus.REJECTED and lost == ["Michael Jordan"]
    assert subjects_blamed(costly)["kept"] == ["Michael Jordan plays the sport of"]
    withdrawn = done(worker, EditRequest(retract=(JORDAN.id,)))
    assert withdrawn.status is JobStatus.SUCCEEDED and withdrawn.metrics is not None
    assert (withdrawn.metrics.said, withdrawn.metrics.kept, withdrawn.not_taken) == (None, 1.0, 1)


def test_settings_that_wreck_the_model_are_refused_by_default(worker: Crew) -> None:
    with about_request("night shift"):
        edit = done(worker, EditRequest(facts=(JORDAN, SONY, MESSI), method="ft", hparams=WRECKING))
    log = worker.settings.home / "logs" / "worker.log"
    worker.wait(lambda: f"{edit.id}: rejected: Gate missed: " in log.read_text(), "its end was not logged")
    [told] = [line for line in log.read_text().splitlines() if f"{edit.id}: rejected: " in line]
    assert told.endswith("[request night shift]")
    assert edit.status is JobStatus.REJECTED and "drift" in subjects_blamed(edit)
    assert edit.gate is not None and edit.gate.max_drift == 0.6
