"""Versions: looking at them, making one serve, going back, dropping one."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from errata.errors import Conflict
from errata.registry.records import NUMBERS_END, Activation, StoredFact, Version, VersionNumber
from service.dependencies import EngineDep, RegistryDep, ReplicaDep, may_administer, may_read
from service.pages import Limit, Page, page_of
from service.problems import ProblemError, problem_responses
from service.replica import ServingReplica

LOOK_S = 1.0
PAUSE_S = 0.02

router = APIRouter(tags=["versions"])

Number = Annotated[int, Path(ge=0, lt=NUMBERS_END, description="A version's number; 0 is the base.")]


class Rollback(BaseModel):
    """Where to go back to: the version that was active before, or the one named."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}, {"to": 0}]})

    to: VersionNumber | None = None


@router.get(
    "/versions",
    summary="The versions, newest first",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 422, 503),
)
def list_versions(
    registry: RegistryDep, limit: Limit = 20, after: Annotated[int | None, Query(ge=0, lt=NUMBERS_END)] = None
) -> Page[Version]:
    """The base, version 0, is the last of them."""
    page = registry.versions(limit, after)
    return Page(data=page.data, has_more=page.next is not None, next=page.next)


@router.get(
    "/versions/{number}",
    summary="One version",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 404, 422, 503),
)
def get_version(number: Number, registry: RegistryDep) -> Version:
    """Its numbers, its measurements and what it was built with."""
    return registry.version(number)


@router.get(
    "/versions/{number}/facts",
    summary="The fact set of a version",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 404, 409, 422, 503),
)
def list_version_facts(
    number: Number, registry: RegistryDep, limit: Limit = 100, after: str | None = None
) -> Page[StoredFact]:
    """In canonical order. The base has none."""
    return page_of(registry.facts(number), lambda fact: fact.id, limit, after)


@router.post(
    "/versions/{number}/activate",
    summary="Make a version serve",
    dependencies=[may_administer],
    responses=problem_responses(401, 403, 404, 409, 422, 503, 504),
)
def activate_version(number: Number, replica: ReplicaDep, _: EngineDep) -> Activation:
    """Answers once every live replica serves it. A version that cannot be read is refused: what served goes on."""
    return _served_everywhere(replica.registry.activate(number), replica)


@router.post(
    "/rollback",
    summary="Go back to an earlier version",
    dependencies=[may_administer],
    responses=problem_responses(401, 403, 404, 409, 422, 503, 504),
)
def roll_back(rollback: Rollback, replica: ReplicaDep, _: EngineDep) -> Activation:
    """`{}` goes to the version that was active before, and, repeated, further and further back to the base."""
    return _served_everywhere(replica.registry.rollback(rollback.to), replica)


@router.delete(
    "/versions/{number}",
    summary="Drop a version's weights",
    status_code=204,
    dependencies=[may_administer],
    responses=problem_responses(401, 403, 404, 409, 422, 503),
)
def delete_version(number: Number, registry: RegistryDep) -> None:
    """Its number is never used again. The active version and the base stay."""
    registry.delete_version(number)


def _served_everywhere(activation: Activation, replica: ServingReplica) -> Activation:
    """The activation with the replicas that serve it, once all live ones do."""
    registry, number = replica.registry, activation.active
    deadline = time.monotonic() + replica.settings.activation_timeout_s
    while True:
        replicas = registry.await_replicas(number, min(LOOK_S, max(0.0, deadline - time.monotonic())))
        # This one counts from its start on, the others from when they announce themselves.
        serving: dict[str, int | None] = {replica.id: None, **{other.id: other.version for other in replicas}}
        behind = [f"{name} (serves {version})" for name, version in serving.items() if version != number]
        if not behind:
            return activation.model_copy(update={"replicas": replicas})
        if (now_active := registry.active()) != number:
            raise Conflict(f"version {number} was activated, but version {now_active} was activated after it")
        if time.monotonic() >= deadline:
            raise ProblemError(
                504,
                "replicas-behind",
                f"version {number} is the active one, but after {replica.settings.activation_timeout_s:g} s "
                f"these replicas do not serve it: {', '.join(behind)}",
            )
        time.sleep(PAUSE_S)
