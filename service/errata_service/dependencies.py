"""What routes ask for, as annotated types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from errata_registry.api_keys import Scope
from errata_registry.registry import Registry
from errata_registry.versions.names import A_VERSION, VersionName
from fastapi import Depends, Path, Query, Request

from errata_service.auth import caller, requires
from errata_service.description import problem_responses
from errata_service.engine.engine import Engine
from errata_service.followers import Followers
from errata_service.replica import ServingReplica


async def _replica(request: Request) -> ServingReplica:
    replica = request.app.state.replica
    assert isinstance(replica, ServingReplica)
    return replica


async def _registry(replica: ReplicaDep) -> Registry:
    return replica.registry


async def _engine(replica: ReplicaDep) -> Engine:
    return replica.engine


async def _followers(request: Request) -> Followers:
    followers = request.app.state.followers
    assert isinstance(followers, Followers)
    return followers


def _version(version: Annotated[VersionName, Path(description=f"{A_VERSION}.")], registry: RegistryDep) -> int:
    return registry.versions.number(version)


def _other_version(
    other: Annotated[VersionName, Path(description="Another one, likewise.")], registry: RegistryDep
) -> int:
    return registry.versions.number(other)


def _asked_version(
    registry: RegistryDep,
    version: Annotated[VersionName | None, Query(description=f"{A_VERSION}, as is where it is absent.")] = None,
) -> int:
    return registry.versions.number(version)


ReplicaDep = Annotated[ServingReplica, Depends(_replica)]
RegistryDep = Annotated[Registry, Depends(_registry)]
EngineDep = Annotated[Engine, Depends(_engine)]
FollowersDep = Annotated[Followers, Depends(_followers)]
VersionDep = Annotated[int, Depends(_version)]
OtherVersionDep = Annotated[int, Depends(_other_version)]
AskedVersionDep = Annotated[int, Depends(_asked_version)]
CallerDep = Annotated[str | None, Depends(caller)]


def _guard(scope: Scope) -> Callable[..., dict[str, Any]]:
    """Make the function that asks a route's caller for a key with `scope` and lists the problems it may answer."""

    def guarded(*statuses: int, sends: Sequence[str] = ()) -> dict[str, Any]:
        """`sends` describes an answer that is no record: what it is, and its media types."""
        responses = problem_responses(*statuses)
        if sends:
            description, *media_types = sends
            answer = {"content": {kind: {} for kind in media_types}, "description": description}
            responses = {200: answer, **responses}
        return {"dependencies": [requires(scope)], "responses": responses}

    return guarded


may_read = _guard(Scope.READ)
may_edit = _guard(Scope.EDIT)
may_administer = _guard(Scope.ADMIN)
