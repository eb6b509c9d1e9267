"""Versions: looking at them, comparing them, making one serve, going back, deleting one."""

import logging
import time
from collections import Counter
from typing import Annotated

from errata_client.records import (
    NUMBERS_END,
    Activation,
    ChangeKind,
    FactChange,
    Given,
    Page,
    PastActivation,
    StoredFact,
    Version,
)
from errata_registry.jobs.requests import Note
from errata_registry.serving.replicas import has_given_up
from errata_registry.versions.names import VersionName
from fastapi import APIRouter, Query
from pydantic import ConfigDict
from redis import RedisError

from errata.errors import Conflict
from errata_service.bodies import BoundedRoute
from errata_service.dependencies import (
    CallerDep,
    EngineDep,
    OtherVersionDep,
    RegistryDep,
    ReplicaDep,
    VersionDep,
    may_administer,
    may_read,
)
from errata_service.pages import Limit, page_of
from errata_service.problems import ProblemError
from errata_service.replica import ServingReplica
from errata_service.routes.facts import WantedFacts, page_of_facts

LOOK_S = 1.0
PAUSE_S = 0.02

logger = logging.getLogger(__name__)

router = APIRouter(route_class=BoundedRoute, tags=["versions"])


class Reason(Given):
    """Why a version is to serve, or a name is protected, for those who look later.

    Attributes:
        note: a word on it, which is kept.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "checked by the editors"}]})

    note: Note | None = None


class Rollback(Reason):
    """Where to go back to: the version that was active before, or the one named.

    Attributes:
        to: the version to go back to, by its number or a name of it.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"to": 0}]})

    to: VersionName | None = None


NO_REASON = Reason()


class Diff(Page[FactChange]):
    """How the facts of version `after` differ from those of version `before`: how many of each kind, and the changes
    themselves, part by part.

    Attributes:
        before: number of the first version.
        after: number of the second version.
        added: how many facts only the second holds.
        changed: how many facts have another object there.
        retracted: how many facts only the first holds.
    """

    before: int
    after: int
    added: int
    changed: int
    retracted: int


@router.get("/versions", summary="The versions, newest first", **may_read(409, 422, 503))
def list_versions(
    registry: RegistryDep, limit: Limit = 20, after: Annotated[int | None, Query(ge=0, lt=NUMBERS_END)] = None
) -> Page[Version]:
    """The base, version 0, is the last of them."""
    return registry.versions.page(limit, after)


@router.get("/versions/{version}", summary="One version", **may_read(404, 409, 422, 503))
def get_version(version: VersionDep, registry: RegistryDep) -> Version:
    """Its numbers, its measurements and what it was built with."""
    return registry.versions.get(version)


@router.get("/versions/{version}/facts", summary="The fact set of a version", **may_read(404, 409, 422, 503))
def list_version_facts(
    version: VersionDep, registry: RegistryDep, wanted: WantedFacts, limit: Limit = 100, after: str | None = None
) -> Page[StoredFact]:
    """In canonical order. The base has none."""
    return page_of_facts(registry.versions.facts(version), wanted, limit, after)


@router.get(
    "/versions/{version}/diff/{other}", summary="What is other in another version", **may_read(404, 409, 422, 503)
)
def compare_versions(
    version: VersionDep, other: OtherVersionDep, registry: RegistryDep, limit: Limit = 100, after: str | None = None
) -> Diff:
    """What must be done to the facts of the first version to get those of the second, whichever came first."""
    changes = registry.versions.changes(version, other)
    counts = Counter(change.change for change in changes)
    page = page_of(changes, lambda change: change.id, limit, after)
    return Diff(
        before=version,
        after=other,
        added=counts[ChangeKind.ADDED],
        changed=counts[ChangeKind.CHANGED],
        retracted=counts[ChangeKind.RETRACTED],
        **dict(page),
    )


@router.post(
    "/versions/{version}/activate", summary="Make a version serve", **may_administer(404, 409, 413, 422, 503, 504)
)
def activate_version(
    version: VersionDep, replica: ReplicaDep, who: CallerDep, engine: EngineDep, reason: Reason = NO_REASON
) -> Activation:
    """Answers once every live replica serves it. A version that cannot be read, does not fit into memory, or gives no
    finite numbers is refused (409) before anything is changed: what served goes on."""
    activations = replica.registry.activations
    with replica.activating(), engine.holding(version):
        activations.require_redis()
        return _served_everywhere(activations.activate(version, who=who, note=reason.note), replica)


@router.post("/rollback", summary="Go back to an earlier version", **may_administer(404, 409, 422, 503, 504))
def roll_back(rollback: Rollback, replica: ReplicaDep, who: CallerDep, engine: EngineDep) -> Activation:
    """`{}` goes to the version that was active before, and, repeated, further and further back to the base. One that
    cannot be served is refused as it is where it is activated."""
    versions, activations = replica.registry.versions, replica.registry.activations
    while True:
        number = activations.next_rollback() if rollback.to is None else versions.number(rollback.to)
        with replica.activating(), engine.holding(number):
            activations.require_redis()
            with activations.deciding():
                if rollback.to is None and activations.next_rollback() != number:  # it took a while to load
                    continue
                activation = activations.rollback(number, who=who, note=rollback.note)
            return _served_everywhere(activation, replica)


@router.get("/activations", summary="Which version served when, newest first", **may_read(409, 422, 503))
def list_activations(
    registry: RegistryDep, limit: Limit = 20, after: Annotated[str | None, Query(pattern=r"^\d+$")] = None
) -> Page[PastActivation]:
    """The base served before the first of them."""
    entries = registry.activations.journal.entries()
    past = [PastActivation(id=number, **dict(entry)) for number, entry in enumerate(entries, start=1)]
    return page_of(past[::-1], lambda activation: str(activation.id), limit, after)


@router.delete(
    "/versions/{version}", summary="Drop a version's weights", status_code=204, **may_administer(404, 409, 422, 503)
)
def delete_version(version: VersionDep, registry: RegistryDep) -> None:
    """Its number is never used again, and its facts stay as history. The active version, the base and versions with a
    name cannot be deleted."""
    registry.versions.delete(version)


def _served_everywhere(activation: Activation, replica: ServingReplica) -> Activation:
    """Return the activation with the replicas that serve it, once all live ones do.

    Raises `ProblemError` once those that do not have all given it up, or after `ERRATA_ACTIVATION_TIMEOUT_S`.

    It has happened: where Redis falls silent only now, they are not named, and follow when it answers again.
    """
    registry, number, began = replica.registry, activation.active, time.monotonic()
    deadline = began + replica.settings.activation_timeout_s
    while True:
        try:
            look_s = min(LOOK_S, max(0.0, deadline - time.monotonic()))
            replicas = registry.replicas.wait_for(number, look_s, began)
        except RedisError as error:
            logger.warning("version %d is active, and replicas hear of it later: %s", number, error)
            return activation
        # This one counts from its start on, the others from when they announce themselves.
        serving: dict[str, int | None] = {replica.id: None, **{other.id: other.version for other in replicas}}
        behind = {name: version for name, version in serving.items() if version != number}
        if not behind:
            return activation.model_copy(update={"replicas": replicas})
        if (now_active := registry.activations.active()) != number:
            raise Conflict(f"version {number} was activated, but version {now_active} was activated after it")
        given_up = {other.id for other in replicas if has_given_up(other, number, began)}
        if behind.keys() <= given_up or time.monotonic() >= deadline:
            named = ", ".join(
                f"{name} (serves {version}{', tried in vain' if name in given_up else ''})"
                for name, version in behind.items()
            )
            raise ProblemError(
                504,
                "replicas-behind",
                f"version {number} is the active one, but these replicas do not serve it, after "
                f"{replica.settings.activation_timeout_s:g} s or several tries: {named}",
            )
        time.sleep(PAUSE_S)
