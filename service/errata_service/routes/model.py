"""The base model, how it is edited, and who serves it."""

from __future__ import annotations

from typing import Any

from errata_registry.records import Replica
from fastapi import APIRouter
from pydantic import BaseModel, Field

from errata.hyperparameters import MemitHyperparameters
from errata.methods import METHODS
from errata.second_moments import Origin, stored_origins
from errata.second_moments.home import moments_folder
from errata_service.dependencies import ReplicaDep, may_read
from errata_service.problems import problem_responses

router = APIRouter(tags=["model"])


class EditingMethod(BaseModel):
    """A method that an edit may name, and what it edits this model with by default."""

    layers: list[int] = Field(description="Blocks whose MLP down-projection it edits.")
    one_layer: bool = Field(description="Whether it edits exactly one layer.")
    one_after_another: bool = Field(description="Whether it puts facts in one after another, and not all at once.")
    hyperparameters: dict[str, Any]


class Model(BaseModel):
    """The base model of this service."""

    name: str
    architecture: str
    digest: str = Field(description="SHA-256 over the checkpoint's tensors.")
    layers: list[int] = Field(description="Blocks whose MLP down-projection is edited, by MEMIT.")
    hyperparameters: dict[str, Any] | None = Field(description="MEMIT's defaults; null where none are known.")
    methods: dict[str, EditingMethod] = Field(description="The methods whose defaults for this model are known.")
    statistics: list[Origin] = Field(description="The second moments there are; a worker collects the others.")
    replicas: tuple[Replica, ...]


@router.get("/model", summary="The base model", dependencies=[may_read], responses=problem_responses(401, 403, 503))
def get_model(replica: ReplicaDep) -> Model:
    """What is served, and by whom."""
    model = replica.engine.model
    methods = {
        name: EditingMethod(
            layers=list(defaults.layers),
            one_layer=defaults.one_layer,
            one_after_another=METHODS[name].one_after_another,
            hyperparameters=defaults.as_dict(),
        )
        for name, defaults in replica.hyperparameters.items()
    }
    default = methods.get(MemitHyperparameters.method)
    layers = sorted({layer for method in methods.values() for layer in method.layers})
    return Model(
        name=model.name,
        architecture=model.architecture.name,
        digest=model.digest,
        layers=default.layers if default else [],
        hyperparameters=default.hyperparameters if default else None,
        methods=methods,
        statistics=stored_origins(moments_folder(replica.settings.home, model), layers),
        replicas=replica.registry.replicas(),
    )
