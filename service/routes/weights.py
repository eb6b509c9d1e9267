"""The weights of versions: dropping them to save room, and building them again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from errata.registry.records import Dropped, Edit, RebuildRequest
from errata.registry.retention import drop_weights
from service.dependencies import CallerDep, RegistryDep, ReplicaDep, may_administer, may_edit
from service.problems import problem_responses
from service.routes.edits import IdempotencyKey, accepted
from service.routes.versions import Number

router = APIRouter(tags=["weights"])


class Prune(BaseModel):
    """How many of the newest versions keep their weights in any case."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"keep_last": 10}]})

    keep_last: Annotated[int, Field(ge=0)]
    dry_run: Annotated[bool, Field(description="Only tell what would be dropped.")] = False


class Pruned(BaseModel):
    """What was dropped, ascending, or would be."""

    dropped: tuple[Dropped, ...]
    bytes: int


@router.post(
    "/versions/prune",
    summary="Drop the weights of old versions",
    dependencies=[may_administer],
    responses=problem_responses(401, 403, 409, 422, 503),
)
def prune_versions(prune: Prune, registry: RegistryDep) -> Pruned:
    """All but those of the newest versions, of the active one, of the one that a rollback would go to, and of those
    with a name. Their facts stay, so that they can be looked at, compared, edited on top of, and built again."""
    dropped = drop_weights(registry, prune.keep_last, dry_run=prune.dry_run)
    return Pruned(dropped=dropped, bytes=sum(version.bytes for version in dropped))


@router.post(
    "/versions/{number}/rebuild",
    summary="Build dropped weights again",
    status_code=202,
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 404, 409, 422, 429, 503),
)
def rebuild_version(
    number: Number, response: Response, replica: ReplicaDep, by: CallerDep, idempotency_key: IdempotencyKey = None
) -> Edit:
    """Queue it, to be followed as any edit is. 409 where the weights are there."""
    return accepted(RebuildRequest(rebuild=number), replica, response, by, idempotency_key)
