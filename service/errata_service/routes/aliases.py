"""Names of versions: giving them, protecting them, taking them away."""

from typing import Annotated

from errata_client.records import Alias, Given, Page, Version
from errata_registry.versions.names import ALIAS_PATTERN, RESERVED, VersionName, is_alias
from fastapi import APIRouter, Path
from pydantic import ConfigDict

from errata_service.bodies import BoundedRoute
from errata_service.dependencies import CallerDep, RegistryDep, may_administer, may_read
from errata_service.pages import Limit, page_of
from errata_service.problems import ProblemError
from errata_service.routes.versions import NO_REASON, Reason

router = APIRouter(route_class=BoundedRoute, tags=["versions"])

AliasName = Annotated[str, Path(json_schema_extra={"pattern": f"^{ALIAS_PATTERN}$"})]


class Named(Given):
    """The version that a name shall stand for.

    Attributes:
        version: the version, by its number or a name of it.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 3}]})

    version: VersionName


@router.get("/aliases", summary="The names of versions", **may_read(409, 422))
def list_aliases(registry: RegistryDep, limit: Limit = 100, after: str | None = None) -> Page[Alias]:
    """By name, each with the version that it stands for and what protects it."""
    return page_of([*registry.aliases.records().values()], lambda alias: alias.name, limit, after)


@router.put("/aliases/{name}", summary="Name a version", **may_administer(404, 409, 422, 503))
def set_alias(name: AliasName, named: Named, registry: RegistryDep) -> Version:
    """From now on the name stands for that version, whatever it stood for before. It can be used in its place to
    generate, and the weights of a version with a name are never dropped. A protected name is not moved (409)."""
    if not is_alias(name):
        detail = f"a name is a letter, then at most 63 letters, digits, - and _, and none of {', '.join(RESERVED)}"
        raise ProblemError(422, "invalid-request", f"path parameter name: {detail}")
    return registry.versions.get(registry.versions.name(name, named.version))


@router.delete("/aliases/{name}", summary="Take a name away", status_code=204, **may_administer(404, 409, 503))
def delete_alias(name: AliasName, registry: RegistryDep) -> None:
    """The version stays. A protected name is not taken away (409)."""
    registry.versions.take_name(name)


@router.put("/aliases/{name}/protection", summary="Protect a name", **may_administer(404, 409, 413, 422, 503))
def protect_alias(name: AliasName, registry: RegistryDep, who: CallerDep, reason: Reason = NO_REASON) -> Alias:
    """Until it is unprotected, the name is neither moved nor taken away, nor its version deleted: each is a 409
    (`protected-alias`) that says who protected it and why. Done again, it has the new reason."""
    return registry.versions.protect_name(name, who, reason.note)


@router.delete("/aliases/{name}/protection", summary="Unprotect a name", **may_administer(404, 409, 503))
def unprotect_alias(name: AliasName, registry: RegistryDep) -> Alias:
    """The name can be moved and taken away again. One that is not protected stays as it is."""
    return registry.versions.unprotect_name(name)
