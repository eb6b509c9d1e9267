"""What routes ask for, as annotated types."""

from __future__ import annotations

from typing import Annotated

from errata_registry.api_keys import Scope
from errata_registry.registry import Registry
from fastapi import Depends, Request

from errata_service.auth import caller, requires
from errata_service.engine.engine import Engine
from errata_service.replica import ServingReplica


def _replica(request: Request) -> ServingReplica:
    replica = request.app.state.replica
    assert isinstance(replica, ServingReplica)
    return replica


def _registry(replica: ReplicaDep) -> Registry:
    return replica.registry


def _engine(replica: ReplicaDep) -> Engine:
    return replica.engine


ReplicaDep = Annotated[ServingReplica, Depends(_replica)]
RegistryDep = Annotated[Registry, Depends(_registry)]
EngineDep = Annotated[Engine, Depends(_engine)]
CallerDep = Annotated[str | None, Depends(caller)]

may_read = requires(Scope.READ)
may_edit = requires(Scope.EDIT)
may_administer = requires(Scope.ADMIN)
