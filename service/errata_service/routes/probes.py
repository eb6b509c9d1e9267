"""Probes: the prompts with expected answers that every new version must pass."""

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

from errata_client.records import Given, MissedPrompt, NumberedProbe, Page, Probe, ProbesPut
from errata_registry.registry import Registry
from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict, Field

from errata.errors import pointer
from errata.model import EditableModel
from errata.model.tokens import goes_on_in_word, target_ids
from errata_service.bodies import BoundedRoute, takes_records
from errata_service.dependencies import EngineDep, RegistryDep, may_administer, may_read
from errata_service.engine.engine import Engine
from errata_service.engine.request import SequenceInput
from errata_service.pages import Limit, page_of
from errata_service.prompts import prompt_ids
from errata_service.streaming import RequestStream

MAX_PROBES = 1_000
ASKED_AT_ONCE = 64

router = APIRouter(route_class=BoundedRoute, tags=["probes"])


class ProbeList(Given):
    """The probes that are to be there instead of those that are.

    Attributes:
        probes: the whole new list.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"probes": [{"prompt": "Kobe Bryant plays the sport of", "answer": "basketball"}]}]
        },
    )

    probes: Annotated[tuple[Probe, ...], Field(max_length=MAX_PROBES)]


@router.put("/probes", summary="Put a list of probes", **may_administer(413, 422, 429, 503, 504))
@takes_records
async def replace_probes(body: ProbeList, registry: RegistryDep, engine: EngineDep) -> ProbesPut:
    """Replace the list. Every version that is built from now on must pass all of them, or it is rejected.

    The answer names those that the version that serves fails: an edit has to put them right, or none goes live.
    """
    asked = await run_in_threadpool(_asked, engine.model, body.probes)
    version = await run_in_threadpool(registry.activations.active)
    failing = await _failed(engine, version, body.probes, asked)
    await run_in_threadpool(_replace, registry, body.probes)
    return ProbesPut(probes=len(body.probes), version=version, failing=tuple(failing))


@router.get("/probes", summary="The probes", **may_read(409, 422, 503))
def list_probes(
    registry: RegistryDep, limit: Limit = 100, after: Annotated[str | None, Query(pattern=r"^\d+$")] = None
) -> Page[NumberedProbe]:
    """In the order in which they were put."""
    probes = [
        NumberedProbe(number=number, **probe.model_dump())
        for number, probe in enumerate(registry.probes.all(), start=1)
    ]
    return page_of(probes, lambda probe: str(probe.number), limit, after)


def _replace(registry: Registry, probes: Sequence[Probe]) -> None:
    with registry.activations.deciding():  # a version that goes live at this moment has been asked the others
        registry.probes.replace(probes)


def _asked(model: EditableModel, probes: Sequence[Probe]) -> list[tuple[SequenceInput, list[int]]]:
    """Return the engine's input for each probe, which is greedy and goes one token beyond the answer, and the answer's
    tokens.

    Raises `ProblemError` where a prompt leaves no room for its answer.
    """
    asked = []
    for index, probe in enumerate(probes):
        expected = list(target_ids(model.tokenizer, probe.answer, probe.prompt))
        ids = prompt_ids(model, probe.prompt, pointer("probes", index, "prompt"), room=len(expected))
        room = min(len(expected) + 1, model.max_length - len(ids))
        asked.append((SequenceInput(prompt_ids=ids, max_new_tokens=room), expected))
    return asked


async def _failed(
    engine: Engine, version: int, probes: Sequence[Probe], asked: Sequence[tuple[SequenceInput, list[int]]]
) -> list[MissedPrompt]:
    """Return the probes after which a version says something else, or a longer word, with what it says."""
    failing, tokenizer = [], engine.model.tokenizer
    for start in range(0, len(probes), ASKED_AT_ONCE):
        part = asked[start : start + ASKED_AT_ONCE]
        stream = await RequestStream.open(
            engine, [sequence_input for sequence_input, _ in part], version, streamed=False
        )
        with closing(stream):
            finished = await stream.finished()
        for probe, (_, expected), one in zip(probes[start:], part, finished, strict=False):
            ids = [token.id for token in one.tokens]
            said, following = ids[: len(expected)], ids[len(expected) :]
            if said == expected:
                if not (following and goes_on_in_word(tokenizer, said, following[0])):
                    continue
                said = ids
            text = str(tokenizer.decode(said, skip_special_tokens=True)).strip()
            failing.append(MissedPrompt(prompt=probe.prompt, expected=probe.answer, said=text))
    return failing
