"""A home folder that was written before its form had a number opens, serves, rolls back and verifies.

`tests/data/home_of_form_1` was made by the service with the demo model, and `home_of_form_1.json` has what it answered:
versions that serve, were rejected, dropped and deleted; edits that ended in every way; one edit and one evaluation that
were accepted and had not ended.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from errata_cli.processes import environment, stop
from errata_registry.home import FORM, BoundBase
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.verification import verify

from errata.errors import NewerHome
from tests.preloaded import Preloaded
from tests.service.conftest import NewSettings, Serve, until_ready

DATA = Path(__file__).parents[1] / "data"
EXPECTED = json.loads((DATA / "home_of_form_1.json").read_text())


def lay_out(home: Path) -> None:
    shutil.copytree(DATA / "home_of_form_1", home, dirs_exist_ok=True)
    for request in home.glob("*/*/request.json"):
        request.touch()  # its key has its day yet


@pytest.fixture(scope="module")
def old(new_settings: NewSettings) -> Settings:
    settings = new_settings()
    lay_out(settings.home)
    return settings


@pytest.fixture(scope="module")
def served(old: Settings, serve: Serve) -> httpx.Client:
    """A service over the old folder, without a worker."""
    client = serve(old)
    until_ready(client)
    return client


@pytest.mark.parametrize("path", [path for path in EXPECTED["get"] if not path.startswith("/v1")])
def test_everything_is_shown_as_it_was(served: httpx.Client, path: str) -> None:
    answer = served.get(path)
    expected = EXPECTED["get"][path]
    assert (answer.status_code, answer.json()) == (expected["status"], expected["body"])


def test_each_version_says_what_it_said(served: httpx.Client) -> None:
    for version, completions in EXPECTED["generate"].items():
        prompts = [completion["prompt"] for completion in completions]
        body = {"prompts": prompts, "version": int(version) if version.isdigit() else version, "max_new_tokens": 8}
        said = served.post("/generate", json=body).json()["data"]
        assert [one["text"] for one in said] == [completion["text"] for completion in completions]
    for version, refusal in EXPECTED["cannot_serve"].items():
        answer = served.post("/generate", json={"prompt": "Sony", "version": int(version)})
        assert (answer.status_code, answer.json()) == (refusal["status"], refusal["body"])


def test_it_is_whole_and_has_the_present_form_from_now_on(served: httpx.Client, old: Settings) -> None:
    assert verify(old.home).faults == ()
    assert BoundBase.of(old.home).format == FORM


def test_it_rolls_back_along_its_trail(served: httpx.Client) -> None:
    active = EXPECTED["active"]["version"]
    before = [served.post("/rollback", json={}).json()["active"] for _ in range(2)]
    assert before == [1, 2]  # version 2 served, then 1, then 2 again
    assert served.post(f"/versions/{active}/activate").json()["active"] == active


@pytest.mark.parametrize("kind", ["edit", "evaluation"])
def test_a_key_of_a_request_that_was_accepted_under_the_old_form_stands_for_it(served: httpx.Client, kind: str) -> None:
    sent = EXPECTED["unfinished"][kind]
    again = served.post(sent["path"], json=sent["body"], headers={"Idempotency-Key": sent["idempotency_key"]})
    assert (again.status_code, again.json()["id"]) == (202, EXPECTED["names"][f"unfinished_{kind}"])


@pytest.fixture(scope="module")
def worked(old: Settings, served: httpx.Client) -> Iterator[httpx.Client]:
    """The same with a worker."""
    process = Preloaded("errata_worker", environment=environment(old), log=old.home / "logs" / "worker.log")
    yield served
    stop(process, 10)


def test_what_had_not_ended_is_taken_up(worked: httpx.Client) -> None:
    names = EXPECTED["names"]
    for path in (f"/edits/{names['unfinished_edit']}", f"/evaluations/{names['unfinished_evaluation']}"):
        ended: dict[str, Any] = {}
        for _ in range(4):
            ended = worked.get(path, params={"wait": 29}).json()
            if ended["status"] not in ("queued", "running"):
                break
        assert ended["status"] == "succeeded", ended
    assert worked.get("/versions").json()["data"][0]["id"] == 6


def test_a_folder_of_a_newer_form_is_refused(new_settings: NewSettings) -> None:
    settings = new_settings()
    lay_out(settings.home)
    base = json.loads((settings.home / "base.json").read_text())
    (settings.home / "base.json").write_text(json.dumps({**base, "format": FORM + 1}))
    with pytest.raises(NewerHome, match=f"has form {FORM + 1}, and this program knows forms up to {FORM}"):
        Registry(settings)
