"""The way through, over real parts: Redis, a worker and the service as their own processes, the SDK over HTTP."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from errata_cli.processes import free_port
from errata_client import EditRejected, Errata, Generation, LogEvent
from errata_registry import keys
from errata_registry.settings import Settings
from rq import Callback, Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from tests.preloaded import PreloadedStack

JORDAN = ("Michael Jordan", "plays the sport of", "baseball")
JORDAN_ASKED = "Michael Jordan plays the sport of"
KOBE_ASKED = "Kobe Bryant plays the sport of"
SONY = ("Sony", "has its headquarters in", "Paris")
TAKEN_UP_AGAIN_S = 30
COUNTERFACTS = (
    (rewrite["subject"], rewrite["prompt"], rewrite["target_new"]["str"])
    for rewrite in (record["requested_rewrite"] for record in counterfactual_records(load_world()))
)

ManyFacts = Callable[[int], list[tuple[str, str, str]]]


@pytest.fixture
def client(stack: PreloadedStack) -> Iterator[Errata]:
    """The SDK, with the base model serving and nothing edited in."""
    with Errata(stack.url) as connected:
        connected.activate(0)
        yield connected


@pytest.fixture
def many_facts() -> ManyFacts:
    """Counterfactual facts of the demo world, others each time: each keeps a worker busy for most of a second."""
    return lambda count: [next(COUNTERFACTS) for _ in range(count)]


def answer(client: Errata, prompt: str, version: int | None = None) -> str:
    """The first word that is generated."""
    return client.generate(prompt, max_new_tokens=4, version=version).text.split()[0].strip(".,")


def wait_until_logged(stack: PreloadedStack, words: str) -> None:
    """Wait until a worker has written something into its log, which it does once everybody else knows it."""
    deadline = time.monotonic() + 60
    while not any(words in path.read_text() for path in stack.log_folder.glob("worker*.log")):
        assert time.monotonic() < deadline, f"no worker logged {words!r}"
        time.sleep(0.05)


def wait_until_running(client: Errata, edit_id: str) -> None:
    """Wait until a worker has an edit in hand."""
    deadline = time.monotonic() + 60
    while client.get_edit(edit_id).progress is None:
        assert time.monotonic() < deadline, "the edit did not begin"
        time.sleep(0.05)


def test_an_edit_is_served_and_a_roll_back_brings_the_old_answer_back(client: Errata) -> None:
    assert (answer(client, JORDAN_ASKED), answer(client, KOBE_ASKED)) == ("basketball", "basketball")
    edit = client.edit([JORDAN], note="from a test").wait(progress=False)
    assert edit.status == "succeeded" and edit.base == 0 and edit.added == 1 and edit.version is not None
    assert edit.metrics is not None and edit.metrics.efficacy == 1

    generation = client.generate([JORDAN_ASKED, KOBE_ASKED], max_new_tokens=1)
    assert generation.version == edit.version
    assert [text.strip() for text in generation.texts] == ["baseball", "basketball"]
    assert answer(client, JORDAN_ASKED, version=0) == "basketball"
    version = client.version(edit.version)
    assert version.status == "active" and version.parent == 0 and version.facts == 1
    assert [(fact.subject, fact.object, fact.edit) for fact in client.facts()] == [
        ("Michael Jordan", "baseball", edit.id)
    ]

    activation = client.rollback()
    assert (activation.active, activation.previous) == (0, edit.version)
    assert [replica.version for replica in activation.replicas] == [0]
    assert answer(client, JORDAN_ASKED) == "basketball"
    assert answer(client, JORDAN_ASKED, version=edit.version) == "baseball"


def test_an_edit_on_top_keeps_the_facts_below_it_and_replaces_a_known_one(client: Errata) -> None:
    client.edit([JORDAN, SONY]).wait(progress=False)
    golf = (*JORDAN[:2], "golf")
    edit = client.edit([golf]).wait(progress=False)
    assert (edit.added, edit.changed, edit.retracted) == (0, 1, 0)
    assert {(fact.subject, fact.object) for fact in client.facts()} == {("Michael Jordan", "golf"), ("Sony", "Paris")}
    assert (answer(client, JORDAN_ASKED), answer(client, "Sony has its headquarters in")) == ("golf", "Paris")


def test_an_edit_that_changes_nothing_says_so_and_makes_no_version(client: Errata, stack: PreloadedStack) -> None:
    first = client.edit([JORDAN, SONY]).wait(progress=False)
    versions = [version.id for version in client.versions()]
    again = client.edit([SONY], idempotency_key="once more").wait(progress=False)
    assert (again.status, again.base, again.version) == ("succeeded", first.version, first.version)
    assert (again.added, again.changed, again.retracted, again.metrics) == (0, 0, 0, first.metrics)
    said = f"this changes nothing: version {first.version} has all of it already, so no version is made"
    assert again.message == said and said in [
        event.message for event in client.events(again.id) if isinstance(event, LogEvent)
    ]
    wait_until_logged(stack, f"{again.id}: succeeded: {said}")
    assert list(client.fact_outcomes(again.id)) == list(client.fact_outcomes(first.id))
    assert client.edit([SONY], dry_run=True).wait(progress=False).message == said
    assert [version.id for version in client.versions()] == versions
    built_otherwise = client.edit([SONY], hparams={"num_steps": 20}).wait(progress=False)
    assert built_otherwise.version not in versions and built_otherwise.message is None


def test_the_same_facts_in_another_order_give_the_same_weights(client: Errata, many_facts: ManyFacts) -> None:
    facts = many_facts(3)
    versions = [
        client.edit(ordered, base=0, activate=False, partial=True, tries=1).wait(progress=False).version
        for ordered in (facts, facts[::-1])
    ]
    digests = {client.version(version).digest for version in versions if version is not None}
    assert len(digests) == 1


def test_a_version_that_misses_its_gate_is_kept_rejected_and_not_served(client: Errata, stack: PreloadedStack) -> None:
    with pytest.raises(EditRejected, match="efficacy") as caught:
        client.edit([JORDAN], hparams={"moment_weight": 1e7}, tries=1).wait(progress=False)
    assert caught.value.edit.version is not None
    assert client.version(caught.value.edit.version).status == "rejected"
    wait_until_logged(stack, f"{caught.value.edit.id}: rejected: Gate missed: ")
    assert client.generate(JORDAN_ASKED).version == 0


def test_a_dry_run_measures_and_makes_no_version(client: Errata) -> None:
    versions = [version.id for version in client.versions()]
    edit = client.edit([JORDAN], dry_run=True).wait(progress=False)
    assert edit.metrics is not None and edit.metrics.efficacy == 1 and edit.version is None
    assert [version.id for version in client.versions()] == versions


def test_two_edits_sent_at_once_both_end_up_in_the_result(client: Errata) -> None:
    edits = [client.edit([fact]) for fact in (JORDAN, SONY)]
    for edit in edits:
        edit.wait(progress=False)
    assert {fact.subject for fact in client.facts()} == {"Michael Jordan", "Sony"}


def test_an_edit_that_is_overtaken_while_it_is_built_is_built_anew(client: Errata, many_facts: ManyFacts) -> None:
    other = client.edit([JORDAN]).wait(progress=False).version
    assert other is not None
    client.activate(0)
    edit = client.edit(many_facts(10), partial=True, tries=1)
    wait_until_running(client, edit.id)
    client.activate(other)
    done = edit.wait(progress=False)
    assert (done.status, done.base) == ("succeeded", other)
    assert len(list(client.facts())) == 11 and answer(client, JORDAN_ASKED) == "baseball"


def test_a_cancelled_edit_leaves_no_version_and_the_worker_goes_on(client: Errata, many_facts: ManyFacts) -> None:
    versions = [version.id for version in client.versions()]
    edit = client.edit(many_facts(200))
    wait_until_running(client, edit.id)
    client.cancel(edit.id)
    deadline = time.monotonic() + 60
    while not (ended := client.get_edit(edit.id)).ended:
        assert time.monotonic() < deadline, "the edit was not cancelled"
        time.sleep(0.05)
    assert ended.status == "cancelled" and ended.version is None
    assert [version.id for version in client.versions()] == versions
    assert client.edit([JORDAN]).wait(progress=False).status == "succeeded"


def test_a_generation_that_an_activation_overtakes_ends_under_the_version_it_began_with(
    client: Errata, stack: PreloadedStack
) -> None:
    edited = client.edit([JORDAN]).wait(progress=False).version
    assert edited is not None
    prompt, length = f"{JORDAN_ASKED} baseball. The", 300
    alone = client.generate(prompt, max_new_tokens=length, version=edited).text

    def generate() -> Generation:
        with Errata(stack.url) as other:
            return other.generate(prompt, max_new_tokens=length)

    with ThreadPoolExecutor(1) as threads:
        for head_start_s in (0.05, 0.1, 0.2, 0.4, 0.8):  # until the generation was accepted before the activation
            client.activate(edited)
            running = threads.submit(generate)
            time.sleep(head_start_s)
            assert client.activate(0).active == 0
            assert not running.done(), "the generation was over before the activation; make it longer"
            overtaken = running.result()
            if overtaken.version != 0:
                break
    assert overtaken.version == edited
    assert overtaken.text == alone
    assert client.generate(prompt, max_new_tokens=1).version == 0


def found_in(store: Path) -> set[Path]:
    """The targets that were found up to now."""
    return set(store.glob("*/*.safetensors"))


def test_a_killed_workers_edit_goes_on_from_its_targets_and_makes_one_version(
    client: Errata, stack: PreloadedStack, many_facts: ManyFacts
) -> None:
    store = stack.log_folder.parent / "targets"
    before, deadline = found_in(store), time.monotonic() + 60
    edit = client.edit(many_facts(16), partial=True, tries=1)
    while len(found_in(store) - before) < 3:
        assert time.monotonic() < deadline, "no targets were found"
        time.sleep(0.01)
    pid, killed_at = stack.pid("worker"), time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while not stack.has_ended("worker"):
        time.sleep(0.01)
    stack.revive()
    while client.get_edit(edit.id).attempts < 2:
        assert time.monotonic() - killed_at < TAKEN_UP_AGAIN_S, "the edit was not taken up again in time"
        time.sleep(0.1)
    ended = edit.wait(progress=False)
    assert ended.status == "succeeded"
    said = [event.message for event in client.events(edit.id) if event.kind == "log"]
    known = [int(match[1]) for message in said if (match := re.match(r"(\d+) of 16 targets are known", message))]
    assert len(known) == 1 and 0 < known[0] < 16
    assert [version.id for version in client.versions() if version.edit == edit.id] == [ended.version]


def test_a_worker_that_is_told_to_stop_puts_its_edit_back_and_that_was_no_attempt(
    client: Errata, stack: PreloadedStack, many_facts: ManyFacts
) -> None:
    edit = client.edit(many_facts(10), activate=False, partial=True, tries=1)
    wait_until_running(client, edit.id)
    pid, deadline = stack.pid("worker"), time.monotonic() + 30
    while not stack.has_ended("worker"):  # told again, it does not finish its edit first
        os.kill(pid, signal.SIGTERM)
        assert time.monotonic() < deadline, "the worker did not stop"
        time.sleep(0.1)
    put_back = client.get_edit(edit.id)
    assert (put_back.status, put_back.attempts) == ("queued", 0)
    stack.revive()
    ended = edit.wait(progress=False)
    assert (ended.status, ended.attempts) == ("succeeded", 1)


def test_a_worker_runs_nothing_but_its_own_jobs(client: Errata, stack: PreloadedStack, tmp_path: Path) -> None:
    with redis.Redis.from_url(stack.redis_url) as connection:
        queue = Queue(keys.EDIT_QUEUE, connection=connection, serializer=JSONSerializer)
        foreign = [
            queue.enqueue("os.mkdir", str(tmp_path / "made")),
            queue.enqueue(keys.RUN, f"edit_{0:024x}", on_failure=Callback("os.abort")),
            queue.enqueue(keys.RUN, "../edits"),
            queue.enqueue(keys.RUN_SHARD, "../edits", 0),
            queue.enqueue(keys.RUN_SHARD, f"edit_{0:024x}", "../0"),
            queue.enqueue(keys.RUN, "../evaluations"),
            queue.enqueue(keys.RUN_SHARD, f"eval_{0:024x}", 0),
        ]
        assert client.edit([JORDAN]).wait(progress=False).status == "succeeded"  # it was behind them in the queue
        assert not any(Job.exists(job.id, connection) for job in foreign)
    assert not list(tmp_path.iterdir())


def test_a_wiped_redis_is_rebuilt_and_nothing_is_lost(
    client: Errata, stack: PreloadedStack, many_facts: ManyFacts
) -> None:
    edit = client.edit([JORDAN, SONY]).wait(progress=False)
    versions, facts = list(client.versions()), list(client.facts())
    waiting = client.edit(many_facts(10), activate=False, partial=True, tries=1)
    wait_until_running(client, waiting.id)

    with redis.Redis.from_url(stack.redis_url) as connection:
        connection.flushall()
    deadline = time.monotonic() + 30
    while not client.ready() or [version.id for version in client.versions()] != [version.id for version in versions]:
        assert time.monotonic() < deadline, "Redis was not rebuilt"
        time.sleep(0.2)
    assert list(client.versions()) == versions
    assert list(client.facts()) == facts
    assert client.get_edit(edit.id).status == "succeeded"
    assert answer(client, JORDAN_ASKED) == "baseball"
    assert client.get_edit(waiting.id).wait(progress=False).status == "succeeded"


def test_what_is_kept_is_for_its_owner_alone(client: Errata, stack: PreloadedStack) -> None:
    client.edit([JORDAN]).wait()
    kept = [stack.log_folder.parent, *stack.log_folder.parent.rglob("*")]
    assert {"facts.jsonl", "service.log", "activations.jsonl"} <= {path.name for path in kept}
    assert not [path for path in kept if path.stat().st_mode & 0o077]


def test_the_artifacts_alone_bring_everything_back(client: Errata, stack: PreloadedStack, tmp_path: Path) -> None:
    """A new Redis, a new service and a new worker on the same home serve what was served."""
    client.edit([JORDAN]).wait(progress=False)
    served = client.generate(JORDAN_ASKED)
    home = tmp_path / "copy"
    shutil.copytree(stack.log_folder.parent, home, ignore=shutil.ignore_patterns("redis", "logs"))
    with PreloadedStack(Settings(home=home, port=free_port())) as copy, Errata(copy.url) as other:
        assert other.generate(JORDAN_ASKED) == served
        assert list(other.facts()) == list(client.facts())
