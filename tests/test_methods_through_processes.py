"""Each editing method over real parts: the SDK over HTTP, a worker that builds by it, a service that serves it."""

from collections.abc import Iterator

import pytest
from errata_cli.processes import free_port
from errata_client import Errata, Unprocessable
from errata_registry.settings import Settings

from errata.methods import METHODS
from tests.conftest import NewHome
from tests.preloaded import PreloadedStack

JORDAN = ("Michael Jordan", "plays the sport of", "baseball")
ASKED = ["Michael Jordan plays the sport of", "Kobe Bryant plays the sport of"]
# Nothing in these holds the neighbours of a fact; the others weigh what they change, or keep out of its way.
SPARING_NEIGHBOURS = [name for name in METHODS if name not in ("ft", "locft", "kn")]


@pytest.fixture(scope="module")
def client(new_home: NewHome) -> Iterator[Errata]:
    """The SDK, and all that `errata up` starts; the search for the targets of two facts is shared out."""
    settings = Settings(home=new_home(), port=free_port(), shard_facts=1)
    with PreloadedStack(settings) as running, Errata(running.url) as connected:
        yield connected


def answers(client: Errata, version: int | None) -> list[str]:
    """The first word after each of the prompts."""
    return [text.strip() for text in client.generate(ASKED, max_new_tokens=1, version=version).texts]


@pytest.mark.parametrize("method", METHODS)
def test_a_fact_is_put_in_by_each_method(client: Errata, method: str) -> None:
    edit = client.edit([JORDAN], base=0, activate=False, method=method).wait(progress=False)
    assert (edit.status, edit.method) == ("succeeded", method) and edit.version is not None
    version = client.version(edit.version)
    assert version.method == method
    assert version.hparams == (client.model().methods[method]["hyperparameters"])
    said, of_the_neighbour = answers(client, edit.version)
    assert said == "baseball"
    if method in SPARING_NEIGHBOURS:
        assert of_the_neighbour == "basketball"


def test_dropped_weights_are_built_again_by_the_method_that_built_them(client: Errata) -> None:
    facts = [JORDAN, ("Sony", "has its headquarters in", "Paris")]
    built = {}
    for method in METHODS:
        edit = client.edit(facts, base=0, activate=False, method=method, partial=True, tries=1)
        built[method] = edit.wait(progress=False).version
    digests = {method: client.version(number).digest for method, number in built.items() if number is not None}
    client.prune(keep_last=0)
    for method, number in built.items():
        assert number is not None and client.version(number).dropped
        rebuilt = client.rebuild(number).wait(progress=False)
        assert (rebuilt.status, rebuilt.method) == ("succeeded", method)
        assert client.version(number).digest == digests[method]


def test_a_hyperparameter_of_another_method_is_refused(client: Errata) -> None:
    with pytest.raises(Unprocessable, match="moment_weight: is not a hyperparameter of rome"):
        client.edit([JORDAN], method="rome", hparams={"moment_weight": 300})
