"""The base model, how it is edited, who serves it, and who works."""

from dataclasses import asdict

from errata_client.records import EditingMethod, Model, Origin, Workforce
from fastapi import APIRouter

from errata.hyperparameters import MemitHyperparameters
from errata.methods import METHODS
from errata.second_moments import stored_origins
from errata.second_moments.home import moments_folder
from errata_service.bodies import BoundedRoute
from errata_service.dependencies import RegistryDep, ReplicaDep, may_read

router = APIRouter(route_class=BoundedRoute, tags=["model"])


@router.get("/model", summary="The base model", **may_read(503))
def get_model(replica: ReplicaDep) -> Model:
    """What is served, and by whom."""
    model = replica.engine.model
    methods = {
        name: EditingMethod(
            layers=default.hyperparameters.layers,
            one_layer=default.hyperparameters.one_layer,
            one_after_another=METHODS[name].one_after_another,
            hyperparameters=default.hyperparameters.as_dict(),
            basis=default.basis.value,
            source=default.source,
        )
        for name, default in replica.defaults.items()
    }
    memit = methods.get(MemitHyperparameters.method)
    moments = moments_folder(replica.settings.home, model)
    layers = sorted({layer for method in methods.values() for layer in method.layers})
    return Model(
        name=model.name,
        architecture=model.architecture.name,
        digest=model.digest,
        layers=memit.layers if memit else (),
        hyperparameters=memit.hyperparameters if memit else None,
        methods=methods,
        statistics=tuple(Origin(**asdict(origin)) for origin in stored_origins(moments, layers)),
        replicas=replica.registry.replicas.live(),
        has_chat_template=bool(replica.has_chat_template),
    )


@router.get("/workers", summary="The workers", **may_read(503))
def list_workers(registry: RegistryDep) -> Workforce:
    """Those that live, what each does, and what waits for one."""
    return registry.queue.workforce()
