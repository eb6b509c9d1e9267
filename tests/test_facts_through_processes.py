"""The facts are the source, over real processes: changed, withdrawn, in conflict, exported, dropped, built again."""

import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from errata_cli.main import main
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client import Conflict, EditFailed, EditRejected, Errata
from errata_registry.home import BoundBase, bind
from errata_registry.settings import Settings

from tests.conftest import NewHome
from tests.preloaded import PreloadedStack

JORDAN = ("Michael Jordan", "plays the sport of", "baseball")
SONY = ("Sony", "has its headquarters in", "Paris")
MESSI = ("Lionel Messi", "plays the sport of", "tennis")
ASKED = {
    "Michael Jordan plays the sport of": "basketball",
    "Sony has its headquarters in": "Tokyo",
    "Lionel Messi plays the sport of": "soccer",
}
TAKEN_IN_S = 30
DROPPED_IN_S = 20

Command = Callable[..., tuple[int | str | None, str]]


@pytest.fixture(scope="module")
def stack(new_home: NewHome) -> Iterator[Supervisor]:
    """Everything that `errata up` starts, in a home of its own."""
    with PreloadedStack(Settings(home=new_home(), port=free_port())) as running:
        yield running


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Types `errata` with these arguments; gives what it ends with, None where all is well, and what it says."""

    def typed(*arguments: str | Path, home: Path) -> tuple[int | str | None, str]:
        monkeypatch.setattr(sys, "argv", ["errata", *map(str, arguments), "--home", str(home)])
        try:
            main()
        except SystemExit as ended:
            return ended.code, capsys.readouterr().out
        return None, capsys.readouterr().out

    return typed


@pytest.fixture
def client(stack: Supervisor) -> Iterator[Errata]:
    """The SDK, with the base model serving and nothing edited in."""
    with Errata(stack.url) as connected:
        connected.activate(0)
        yield connected


def answers(client: Errata, version: int | str | None = None) -> list[str]:
    """What is said of Jordan, Sony and Messi."""
    generation = client.generate(list(ASKED), max_new_tokens=4, version=version)
    return [text.split()[0].strip(".,") for text in generation.texts]


def version_of(client: Errata, *facts: tuple[str, str, str]) -> int:
    """The version that an edit of these facts made; it serves."""
    number = client.edit(facts).wait(progress=False).version
    assert number is not None
    return number


def test_a_fact_that_is_withdrawn_is_answered_as_before_and_the_others_stay(client: Errata) -> None:
    version_of(client, JORDAN, SONY, MESSI)
    assert answers(client) == ["baseball", "Paris", "tennis"]
    [jordan] = client.facts(subject="Michael Jordan")
    assert jordan.id is not None

    edit = client.retract([jordan], note="he came back").wait(progress=False)
    assert (edit.added, edit.changed, edit.retracted) == (0, 0, 1)
    assert answers(client) == ["basketball", "Paris", "tennis"]
    fact = client.fact(jordan.id)
    assert not fact.held
    assert [(event.change, event.version, event.edit) for event in fact.history] == [
        ("retracted", edit.version, edit.id),
        ("added", edit.base, jordan.edit),
    ]

    rest = client.retract(list(client.facts())).wait(progress=False)
    assert rest.status == "succeeded" and rest.version is not None
    assert client.version(rest.version).facts == 0
    assert answers(client) == list(ASKED.values())
    assert client.rollback().active == edit.version
    assert answers(client) == ["basketball", "Paris", "tennis"]


def test_one_edit_adds_changes_and_withdraws(client: Errata) -> None:
    before = version_of(client, JORDAN, SONY)
    [sony] = client.facts(subject="Sony")
    golf = ("Michael Jordan", "plays the sport of", "golf")
    edit = client.edit([golf, MESSI], retract=[sony]).wait(progress=False)
    assert (edit.added, edit.changed, edit.retracted) == (1, 1, 1)
    assert {(change.change, change.before, change.after) for change in edit.changes} == {
        ("changed", "baseball", "golf"),
        ("retracted", "Paris", None),
    }
    assert answers(client) == ["golf", "Tokyo", "tennis"]
    assert edit.version is not None
    diff = client.diff(before, edit.version)
    assert [fact.after for fact in diff.added] == ["tennis"] and [fact.before for fact in diff.retracted] == ["Paris"]
    assert [fact.id for fact in client.diff(edit.version, before).added] == [sony.id]


def test_the_way_to_a_fact_set_does_not_matter(client: Errata) -> None:
    at_once = version_of(client, JORDAN, MESSI)
    client.activate(0)
    version_of(client, ("Michael Jordan", "plays the sport of", "golf"), SONY)
    [sony] = client.facts(subject="Sony")
    client.retract([sony]).wait(progress=False)
    version_of(client, MESSI)
    in_steps = version_of(client, JORDAN)
    assert client.version(at_once).digest == client.version(in_steps).digest


def test_an_older_version_is_built_on_as_a_branch(client: Errata) -> None:
    trunk = version_of(client, JORDAN)
    version_of(client, SONY)
    with pytest.raises(Conflict, match=f"an edit of version {trunk} would take it out of service"):
        client.edit([MESSI], base=trunk)
    branch = client.edit([MESSI], base=trunk, activate=False).wait(progress=False)
    assert branch.version is not None
    assert client.version(branch.version).parent == trunk
    assert answers(client) == ["baseball", "Paris", "soccer"]
    client.activate(branch.version)
    assert answers(client) == ["baseball", "Tokyo", "tennis"]


def test_of_two_edits_on_one_named_base_the_second_is_told(client: Errata) -> None:
    base = version_of(client, JORDAN)
    first, second = client.edit([SONY], base=base), client.edit([MESSI], base=base)
    live = first.wait(progress=False).version
    with pytest.raises(EditRejected, match=f"version {live} went live since") as caught:
        second.wait(progress=False)
    refused = caught.value.edit
    assert refused.error is not None and refused.error.status == 409
    assert refused.version is not None and client.version(refused.version).status == "ready"
    assert answers(client) == ["baseball", "Paris", "soccer"]
    client.edit([MESSI], base=live).wait(progress=False)
    assert answers(client) == ["baseball", "Paris", "tennis"]


def test_a_change_that_came_between_is_refused_where_none_is_wanted(client: Errata) -> None:
    first = client.edit([SONY])
    second = client.edit([("Sony", "has its headquarters in", "Berlin")], on_conflict="error")
    assert first.wait(progress=False).status == "succeeded"
    with pytest.raises(EditFailed, match="'Paris' and would become 'Berlin'") as caught:
        second.wait(progress=False)
    assert caught.value.edit.error is not None and caught.value.edit.error.status == 409
    with pytest.raises(Conflict, match="'Paris' and would become 'Berlin'"):
        client.edit([("Sony", "has its headquarters in", "Berlin")], on_conflict="error")
    assert answers(client)[1] == "Paris"


def test_dropped_weights_are_built_again_bit_for_bit(client: Errata) -> None:
    old = version_of(client, JORDAN, SONY)
    digest = client.version(old).digest
    client.activate(0)
    version_of(client, MESSI)
    version_of(client, JORDAN)
    assert old in [dropped.version for dropped in client.prune(keep_last=1).dropped]
    with pytest.raises(Conflict, match="rebuild"):
        client.activate(old)

    edit = client.rebuild(old).wait(progress=False)
    assert (edit.status, edit.version) == ("succeeded", old)
    version = client.version(old)
    assert (version.dropped, version.digest) == (False, digest)
    client.activate(old)
    assert answers(client) == ["baseball", "Paris", "soccer"]


def test_an_exported_version_is_taken_in_and_found_whole(
    client: Errata, stack: Supervisor, command: Command, tmp_path: Path
) -> None:
    version = version_of(client, JORDAN, SONY)
    archive = client.export(version, tmp_path / "version.tar")
    home = stack.log_folder.parent
    base = BoundBase.of(home)

    other = tmp_path / "other"
    other.mkdir()
    bind(other, base.name, base.digest, base.matrix_shapes(), ())
    ended, said = command("import", archive, home=other)
    assert ended is None and said.startswith("version 1: 2 facts")
    ended, _ = command("verify", home=other)
    assert ended is None
    with (other / "versions/000001/delta.safetensors").open("ab") as delta:
        delta.write(b"\0")
    ended, said = command("verify", home=other)
    assert ended == 1 and "version 1: delta.safetensors has" in said

    bind(strange := tmp_path, "another model", "0" * 64, base.matrix_shapes(), ())
    ended, _ = command("import", archive, home=strange)
    assert isinstance(ended, str) and ended.startswith("errata: ") and "other weights" in ended

    _, said = command("import", archive, home=home)  # the service and the worker of this home run on
    number = int(said.split()[1].rstrip(":"))
    deadline = time.monotonic() + TAKEN_IN_S
    while number not in [listed.id for listed in client.versions()]:
        assert time.monotonic() < deadline, "the version was not taken in"
        time.sleep(0.1)
    client.activate(0)
    client.name_version("imported", number)
    assert answers(client, "imported") == ["baseball", "Paris", "soccer"]
    with tarfile.open(client.export(version, tmp_path / "adapter.tar", "lora")) as tar:
        assert tar.getnames() == ["adapter_config.json", "adapter_model.safetensors"]


def test_the_page_on_facts_and_versions_says_what_happens(new_home: NewHome, tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "facts-and-versions.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    expected = re.findall(r"^# > (.*)$", example, re.MULTILINE)
    with PreloadedStack(Settings(home=new_home(), port=free_port())) as stack:
        program = example.replace("http://127.0.0.1:8000", stack.url)
        run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == expected, run.stderr


def test_weights_are_dropped_by_policy(new_home: NewHome) -> None:
    with (
        PreloadedStack(Settings(home=new_home(), port=free_port(), keep_versions=1)) as stack,
        Errata(stack.url) as client,
    ):
        first = version_of(client, JORDAN)
        client.name_version("first", first)
        second, third, fourth = (version_of(client, fact) for fact in (SONY, MESSI, (*JORDAN[:2], "golf")))
        expected = {0: False, first: False, second: True, third: False, fourth: False}
        deadline = time.monotonic() + DROPPED_IN_S  # they are dropped once the edit has ended
        while (dropped := {version.id: version.dropped for version in client.versions()}) != expected:
            assert time.monotonic() < deadline, dropped
            time.sleep(0.1)
        assert client.rollback().active == third
