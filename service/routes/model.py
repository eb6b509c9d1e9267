"""The base model, how it is edited, and who serves it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from errata.registry.records import Replica
from errata.second_moments import Origin, stored_origins
from service.dependencies import ReplicaDep, may_read
from service.problems import problem_responses

router = APIRouter(tags=["model"])


class Model(BaseModel):
    """The base model of this service."""

    name: str
    architecture: str
    digest: str = Field(description="SHA-256 over the checkpoint's tensors.")
    layers: list[int] = Field(description="Blocks whose MLP down-projection is edited.")
    hyperparameters: dict[str, Any] | None = Field(description="The defaults of an edit; null where none are known.")
    statistics: list[Origin] = Field(description="The second moments there are; a worker collects the others.")
    replicas: tuple[Replica, ...]


@router.get("/model", summary="The base model", dependencies=[may_read], responses=problem_responses(401, 403, 503))
def get_model(replica: ReplicaDep) -> Model:
    """What is served, and by whom."""
    model, hyperparameters = replica.engine.model, replica.hyperparameters
    layers = list(hyperparameters.layers) if hyperparameters else []
    return Model(
        name=model.name,
        architecture=model.architecture.name,
        digest=model.digest,
        layers=layers,
        hyperparameters=hyperparameters.as_dict() if hyperparameters else None,
        statistics=stored_origins(replica.settings.home / "second_moments" / model.digest, layers),
        replicas=replica.registry.replicas(),
    )
