"""Every setting of Errata's processes, read from `ERRATA_*` environment variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from errata_client.records.wordings import describe
from pydantic import ByteSize, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from errata_registry.logs import LogFormat


def default_home() -> Path:
    """The `errata` folder in the user's data directory."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "errata"


class InvalidSettings(ValueError):
    """Settings are wrong; the message names each of them."""


def read_settings(**given: Any) -> Settings:
    """Return the settings: those given, and for the others the environment's. Raises `InvalidSettings`."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise InvalidSettings(f"a setting is wrong: {describe(error, Settings)}") from error


class Settings(BaseSettings):
    """What a service, a worker or `errata up` is told from outside; an unset one keeps its default."""

    model_config = SettingsConfigDict(env_prefix="ERRATA_", frozen=True, env_ignore_empty=True)

    home: Path = Field(default_factory=default_home, description="Folder of versions, edits and second moments.")
    bucket: str | None = Field(
        default=None,
        description="Bucket of an object store, such as `s3://bucket/prefix`, that machines without a shared file "
        "system share; the home folder is then each machine's copy of it. Unset, the home folder itself is shared.",
    )
    model: str = Field(default="demo", description="Base model: `demo`, a hub name or a local folder.")
    redis_url: str | None = Field(
        default=None,
        description="Redis to use, shared by service and workers. `errata up` starts its own where this is unset.",
    )
    device: str = Field(
        default="auto",
        description="Where the model lives: `cpu`, `cuda`, `cuda:1`; several share its blocks, by their free memory "
        "(`cuda:0,cuda:1`) or as they are told (`cuda:0=2,cpu=1`). `auto` takes a GPU if there is one, and all of them "
        "for a model that is too large for the first.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Number type of the base weights."
    )

    log_format: LogFormat = Field(
        default="text", description="How service and worker write their logs: `text`, lines for people, or `json`."
    )

    host: str = Field(default="127.0.0.1", description="Address that the service listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port that the service listens on.")
    keys_file: Path | None = Field(default=None, description="File of hashed API keys with their scopes.")
    allow_anonymous: bool = Field(
        default=False, description="Serve without a keys file on an address that is not the loopback."
    )

    follow_url: str | None = Field(
        default=None,
        description="Server that `errata follow` keeps at the active version, such as `http://127.0.0.1:8001`.",
    )
    follow_key: str | None = Field(
        default=None, description="API key of that server, which a gateway sends along with what it passes on."
    )
    gateway: bool = Field(
        default=False,
        description="Pass generations on to servers that follow and serve the version asked for; else the service "
        "computes them itself.",
    )
    server_silence_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that a server to which a gateway passed a generation may be silent, before its first "
        "token and between two. Then the next one is asked, or the service computes it, where nothing of it was sent "
        "yet.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Names, separated by commas, under which the service may be asked beside `localhost`, the address "
        "it listens on and IP addresses. With a keys file any name will do while this is unset.",
    )
    max_connections: int = Field(
        default=2048,
        ge=8,
        description="Connections that may be busy with a request at once; beyond them all but `/healthz`, `/readyz` "
        "and `/metrics` is answered 503. Three quarters of them may follow jobs or wait for their end. Where as many "
        "are open, one that has kept the service waiting makes room for each that comes.",
    )
    request_timeout_s: float = Field(
        default=20.0,
        gt=0,
        description="Seconds in which a client must send the head of a request, and that it may be silent within a "
        "body, which must come with 32 KiB a second on average. A client that takes nothing of an answer for three "
        "times as long is cut off.",
    )

    hyperparameters: Path | None = Field(
        default=None, description="JSON file of hyperparameters; unset, those shipped for the model are taken."
    )
    corpus: Path | None = Field(
        default=None,
        description="Text file, or folder of `.txt` files, that second moments are computed from where none are "
        "stored; unset, the demo model's own is, and for any other model Python's documentation, or what a "
        "small one writes by itself.",
    )
    published_moments: Path | None = Field(
        default=None,
        description="Folder with the second moments that MEMIT's authors publish (`.npz`, one for each layer); layers "
        "without one are collected.",
    )

    gate_min_said: float | None = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Least share of an edit's facts that the version says in full for it to go live, where the edit's "
        "`gate` does not say and it does not come with `partial`; 0 asks nothing.",
    )
    gate_min_kept: float | None = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Least share of the other facts that were said before and that the version still says, likewise.",
    )
    gate_min_efficacy: float | None = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Least efficacy of an edit's facts, likewise.",
    )
    gate_min_specificity: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least specificity of an edit's facts; with `partial`, too. Unset, nothing is asked.",
    )
    gate_max_drift: float | None = Field(
        default=0.6,
        ge=0,
        allow_inf_nan=False,
        description="Largest drift in nats, whatever the facts; a large one, such as 1000, asks nothing.",
    )
    gate_max_perplexity_rise: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Largest relative rise of perplexity on running text, such as `0.1` for 10 %, likewise. Where one "
        "is asked for, measuring a version takes longer.",
    )

    keep_versions: int | None = Field(
        default=None,
        ge=1,
        description="Newest versions that keep their weights after an edit, beside the active one, as many before it "
        "that rollbacks would go to, and those with a name. Unset, all keep them.",
    )
    keep_jobs_days: int | None = Field(
        default=None,
        ge=1,
        description="Days that edits, evaluations and traces are kept after their end; those that a version was made "
        "by and each version's newest evaluation stay. Unset, all stay.",
    )
    keep_targets_bytes: ByteSize | None = Field(
        default=None,
        description="Room for kept targets, such as `10GiB`, looked after once an hour; those go first that were not "
        "used for the longest time. Unset, all stay.",
    )
    max_queued_edits: int = Field(default=100, ge=1, description="Edits that may wait; one more is answered 429.")
    max_queued_measurements: int = Field(
        default=100, ge=1, description="Evaluations and traces that may wait; one more is answered 429."
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="Workers that one job of an edit, an evaluation or a trace may lose before that ends as failed.",
    )
    shard_facts: int = Field(
        default=256,
        ge=1,
        description="Facts whose targets one worker searches for; the targets of an edit with more are shared out.",
    )
    job_timeout_s: int = Field(
        default=86_400, ge=1, description="Seconds that one job of an edit, an evaluation or a trace may take."
    )
    lease_s: int = Field(
        default=12, ge=3, description="Seconds without a heartbeat after which a worker counts as lost."
    )
    heartbeat_s: float = Field(default=2.0, gt=0, description="Seconds between a worker's heartbeats.")
    stop_grace_s: float = Field(
        default=5.0,
        ge=0,
        description="Seconds that a worker told to stop goes on with its job before it puts it back.",
    )
    maintenance_s: float = Field(default=3.0, gt=0, description="Seconds between two looks for abandoned jobs.")
    weight_sets_bytes: ByteSize = Field(
        default=ByteSize(4 * 2**30),
        description="Memory for edited matrices in the service, such as `4GiB`; those in use always stay.",
    )
    max_batch: int = Field(default=64, ge=1, description="Prompts that are continued at once; others wait.")
    key_values_bytes: ByteSize = Field(
        default=ByteSize(4 * 2**30),
        description="Memory for the keys and values of prompts that are continued; one always has room.",
    )
    decode_graph_bytes: ByteSize = Field(
        default=ByteSize(4 * 2**30),
        description="Memory, beside that, for the keys and values of decode steps that run as CUDA graphs on a GPU: at "
        "most a quarter of what is free once the model is loaded; one version's edited matrices come on top. Steps for "
        "which there is no room are launched kernel by kernel; with 0, all are.",
    )
    prefill_tokens: int = Field(
        default=128,
        ge=1,
        description="Tokens of waiting prompts that are read between two tokens of those that are being continued.",
    )
    max_queued_generations: int = Field(
        default=512,
        ge=1,
        description="Prompts that may wait to be continued, and prompts that a gateway may have at one server; a "
        "request beyond that is answered 429.",
    )
    generation_timeout_s: float = Field(
        default=300.0, gt=0, description="Seconds that a generation may take, its wait included."
    )
    drain_s: float = Field(
        default=10.0, ge=0, description="Seconds that a service told to stop gives to the generations it has accepted."
    )
    activation_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds that live replicas have to serve a version that was activated."
    )
    replica_ttl_s: int = Field(
        default=10, ge=2, description="Seconds after which a silent serving replica counts as gone."
    )
