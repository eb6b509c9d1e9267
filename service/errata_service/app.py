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
    aliases,
    console,
    docs,
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
from errata_service.routes.jobs import API

DESCRIPTION = """
Corrects facts inside a language model while it keeps serving. Post facts to `/api/v1/edits`; each edit gives a
version; `/api/v1/generate` answers under the active version or any other. Errors are RFC 9457 problem documents.
`/v1` is OpenAI's interface. All paths of `/api/v1` are there without it, too.
"""
TAGS = {
    "edits": "Batches of facts on their way to a version.",
    "generate": "Completions and answers under the active version, or any other.",
    "weights": "The weights of versions: fetching them, dropping them to save room, building them again.",
    "versions": "Fact sets with the weights built from them: comparing, naming, activating and deleting them.",
    "facts": "What a version holds, and what became of a fact.",
    "probes": "Prompts with answers that every new version must give.",
    "evaluations": "Measuring a version on records, or on its own facts.",
    "traces": "Which layers of the base model recall an answer.",
    "keys": "API keys: what they may do.",
    "model": "The base model and how it is edited.",
    "openai": "The interface that OpenAI's clients speak.",
    "health": "Whether the service is alive and ready, and its figures.",
}


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
        openapi_url=None,  # the description has a route of its own (`routes.docs`)
        openapi_tags=[{"name": name, "description": told} for name, told in TAGS.items()],
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
        # Its own spans would have addresses with their queries, in which prompts and subjects are (`access`).
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
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
    about_versions = (weights, versions, aliases, facts, probes, evaluations, traces)
    for routes in (edits, generate, *about_versions, model, key_routes):
        app.include_router(routes.router, prefix=API)
        app.include_router(routes.router, include_in_schema=False)  # as it was called before
    for routes in (openai, openai_chat, health, docs, console):
        app.include_router(routes.router)
    return app
