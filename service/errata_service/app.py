"""The FastAPI app: its routes, its errors, and the replica that lives as long as it does."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from errata_registry.api_keys import ApiKey
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from errata_service.auth import Gate
from errata_service.bodies import Bodies
from errata_service.browsers import SameSite
from errata_service.connections import RefuseBeyond
from errata_service.description import describe_truly
from errata_service.followers import Followers
from errata_service.methods import Methods
from errata_service.problems import answer_with_problems
from errata_service.replica import ServingReplica
from errata_service.routes import (
    console,
    edits,
    evaluations,
    facts,
    generate,
    health,
    keys as key_routes,
    model,
    openai,
    openai_chat,
    probes,
    traces,
    versions,
    weights,
)

DESCRIPTION = """
Corrects facts inside a language model while it keeps serving. Post facts to `/edits`; each edit gives a version;
`/generate` answers under the active version or any other. Errors are RFC 9457 problem documents.
"""


def create_app(replica: ServingReplica, keys: Mapping[str, ApiKey] | None) -> FastAPI:
    """The app around a replica, which it starts and stops. `keys` by hash; None asks nobody for a key."""

    # The other connections are for those who do something.
    followers = Followers(replica.registry.live, replica.stopping, most=replica.settings.max_connections * 3 // 4)
    replica.metrics.watch_followers(followers.count)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        replica.start()
        serving_followers = asyncio.create_task(followers.read())
        yield
        serving_followers.cancel()
        await run_in_threadpool(replica.stop)

    app = FastAPI(
        title="Errata",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.replica = replica
    app.state.followers = followers
    app.state.bodies = Bodies(replica.settings.request_timeout_s)
    app.state.keys = keys
    app.add_middleware(Methods, api=app)
    if keys is not None:
        app.add_middleware(Gate, keys=keys)
    app.add_middleware(RefuseBeyond)
    app.add_middleware(SameSite, settings=replica.settings, has_keys=keys is not None)
    answer_with_problems(app)
    describe_truly(app)
    about_versions = (weights, versions, facts, probes, evaluations, traces)
    for routes in (edits, generate, openai, openai_chat, *about_versions, model, key_routes, health, console):
        app.include_router(routes.router)
    return app
