"""The weights of versions: fetching them, dropping them to save room, and building them again."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from errata_client.records import BASE_VERSION, Edit, Given, Pruned
from errata_registry.jobs.requests import RebuildRequest
from errata_registry.registry import Registry
from errata_registry.versions.retention import drop_weights
from errata_registry.versions.transfer import files_of
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field

from errata.errors import Conflict
from errata.export.archive import ArchivedFile, tar, tar_size
from errata.export.checkpoint import merged
from errata.export.lora import adapter
from errata.model import EditableModel
from errata_service.bodies import BoundedRoute
from errata_service.dependencies import EngineDep, RegistryDep, ReplicaDep, VersionDep, may_administer, may_edit
from errata_service.routes.edits import accepted
from errata_service.routes.jobs import QueueingDep

TAR = "application/x-tar"

router = APIRouter(route_class=BoundedRoute, tags=["weights"])


class Prune(Given):
    """How many of the newest versions keep their weights in any case.

    Attributes:
        keep_last: how many of the newest versions keep their weights.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"keep_last": 10}]})

    keep_last: Annotated[int, Field(ge=0)]
    dry_run: Annotated[bool, Field(description="Only tell what would be dropped.")] = False


class ExportFormat(StrEnum):
    """What a version's weights are wanted as."""

    DELTA = "delta"
    LORA = "lora"
    MERGED = "merged"


@router.get(
    "/versions/{version}/export",
    summary="Fetch a version's weights",
    response_class=StreamingResponse,
    **may_administer(404, 409, 422, 503, sends=("A tar", TAR)),
)
def export_version(
    version: VersionDep, engine: EngineDep, registry: RegistryDep, format: ExportFormat = ExportFormat.DELTA
) -> Response:
    """A tar, made while it is sent.

    `delta`: manifest, facts and update, which `errata import` takes in elsewhere. `lora`: an adapter for PEFT and vLLM.
    `merged`: a whole checkpoint in Hugging Face form, with the edited matrices in the place of the base's.
    """
    files = _files(version, format, engine.model, registry)
    headers = {
        "Content-Length": str(tar_size(files)),
        "Content-Disposition": f'attachment; filename="errata-{version}-{format}.tar"',
    }
    return StreamingResponse(tar(files), media_type=TAR, headers=headers)


def _files(number: int, format: ExportFormat, model: EditableModel, registry: Registry) -> Sequence[ArchivedFile]:
    if format is ExportFormat.DELTA:
        if number == BASE_VERSION:
            raise Conflict("version 0 is the base model, which has no update")
        return files_of(registry.artifacts, number, model.digest)
    deltas = registry.versions.load_deltas(number, model.digest)
    return adapter(model, deltas) if format is ExportFormat.LORA else merged(model, deltas)


@router.post("/versions/prune", summary="Drop the weights of old versions", **may_administer(409, 422, 503))
def prune_versions(prune: Prune, registry: RegistryDep) -> Pruned:
    """All but those of the newest versions, of the active one, of those that rollbacks would go to, and of those with a
    name. Their facts stay, so that they can be looked at, compared, edited on top of, and built again."""
    dropped = drop_weights(registry, prune.keep_last, dry_run=prune.dry_run)
    return Pruned(dropped=dropped, bytes=sum(version.bytes for version in dropped))


@router.post(
    "/versions/{version}/rebuild",
    summary="Build dropped weights again",
    status_code=202,
    **may_edit(404, 409, 422, 429, 503),
)
def rebuild_version(version: VersionDep, replica: ReplicaDep, queueing: QueueingDep) -> Edit:
    """Queue it, to be followed as any edit is. 409 where the weights are there."""
    return accepted(RebuildRequest(rebuild=version), replica, queueing)
