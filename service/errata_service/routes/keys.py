"""API keys: what the one that asks may do, and which others there are. Keys are made on the command line."""

from errata_client.records import KeyScopes, Page
from errata_registry.api_keys import ApiKey, Scope
from fastapi import APIRouter, Request

from errata_service.auth import KeyDep
from errata_service.bodies import BoundedRoute
from errata_service.dependencies import may_administer, may_read
from errata_service.pages import Limit, page_of

router = APIRouter(route_class=BoundedRoute, tags=["keys"])


@router.get("/key", summary="What your key may do", **may_read())
async def get_key(key: KeyDep) -> KeyScopes:
    """The name and the scopes of the key that this is asked with. A service without keys lets everyone do all."""
    return KeyScopes(name=None, scopes=tuple(Scope)) if key is None else _shown(key)


@router.get("/keys", summary="The keys", **may_administer(422))
async def list_keys(request: Request, limit: Limit = 100, after: str | None = None) -> Page[KeyScopes]:
    """By name. The keys themselves are kept nowhere. A service without keys has none."""
    keys = [_shown(key) for key in (request.app.state.keys or {}).values()]
    keys.sort(key=lambda key: key.name or "")
    return page_of(keys, lambda key: key.name or "", limit, after)


def _shown(key: ApiKey) -> KeyScopes:
    return KeyScopes(name=key.name, scopes=tuple(scope for scope in Scope if scope in key.scopes))
