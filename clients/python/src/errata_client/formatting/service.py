"""The service itself, its workers and keys, and the model that it edits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from errata_client.tables import Extra, Free, Look, pairs, table

if TYPE_CHECKING:
    from errata_client import records


def format_ready(ready: records.Ready, look: Look) -> str:
    """Show what serves, what takes no edits now, and how many workers do them."""
    values: dict[str, object] = {"status": ready.status, "version": ready.version}
    if ready.should_serve is not None:
        values["should serve"] = f"{ready.should_serve}: {ready.reason}"
    values |= {f"out of order {number}": outage for number, outage in enumerate(ready.outages, start=1)}
    values["workers"] = ready.workers or "none: edits wait until there is one"
    return pairs(values | {"looked up": f"{ready.news_age_s:.1f} s ago"}, look)


def format_model(model: records.Model, look: Look) -> str:
    """Show the base model, the methods that edit it, and who serves it."""
    values: dict[str, object] = {"model": model.name, "architecture": model.architecture, "digest": model.digest}
    values["chat template"] = "yes" if model.has_chat_template else "no"
    values["second moments"] = ", ".join(f"layer {one.layer}" for one in model.statistics) or "none yet"
    methods = table(
        ["method", "layers", Extra("basis"), Free("hyperparameters")],
        [
            [name, ", ".join(map(str, method.layers)), method.basis, _settings(method.hyperparameters)]
            for name, method in model.methods.items()
        ],
        look,
    )
    replicas = table(["replica", "version", "load ms", "swap ms"], [_replica(one) for one in model.replicas], look)
    return "\n\n".join([pairs(values, look), methods, replicas])


def format_workforce(workforce: records.Workforce, look: Look) -> str:
    """Show a line for each live worker, and what waits for one."""
    waiting = {
        "edits waiting": workforce.waiting_edits,
        "shards waiting": workforce.waiting_shards,
        "measurements waiting": workforce.waiting_measurements,
    }
    rows = [[worker.name, worker.since, worker.job] for worker in workforce.data]
    return f"{pairs(waiting, look)}\n\n{table(['worker', 'since (UTC)', 'job'], rows, look)}"


def format_key(key: records.KeyScopes, look: Look) -> str:
    """Show who one is for the service, and what one may do."""
    return pairs({"key": key.name or "none is asked for", "scopes": ", ".join(key.scopes)}, look)


def format_keys(keys: Iterable[records.KeyScopes], look: Look) -> str:
    """Show a line for each key."""
    return table(["key", "scopes"], [[key.name, ", ".join(key.scopes)] for key in keys], look)


def _settings(hyperparameters: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in hyperparameters.items() if name != "layers")


def _replica(replica: records.Replica) -> list[object]:
    return [replica.id, replica.version, replica.load_ms, replica.swap_ms]
