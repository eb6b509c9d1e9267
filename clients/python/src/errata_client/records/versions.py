"""Versions, which of them serves, and the model that they are versions of."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from errata_client.records.base import Answer, Figure, Given, OpenEnum, Prompt, Record
from errata_client.records.jobs import Gate, Metrics, VersionEvaluation
from errata_client.records.problems import MissedPrompt, Problem

BASE_VERSION = 0
"""Number of the base model among the versions."""


class VersionStatus(OpenEnum):
    """`active` is the version that serves; a `rejected` one missed its gate or failed a probe."""

    READY = "ready"
    ACTIVE = "active"
    REJECTED = "rejected"


class LayerChange(Record):
    """The size of one layer's update: Frobenius norm, and that norm over the norm of the base weight.

    Attributes:
        layer: number of the block.
        rank: rank of the update.
        norm: its Frobenius norm.
        relative_norm: that norm over the norm of the base weight.
    """

    layer: int
    rank: int
    norm: Figure = None
    relative_norm: Figure = None


class Version(Record):
    """A fact set and the weights built from it. Version 0 is the base model, without facts.

    Attributes:
        id: its number; 0 is the base model.
        edit: the edit that made it.
        method: the method that built it.
        status: how it stands.
        facts: how many facts it holds.
        added: how many facts came with it.
        changed: how many facts got another object with it.
        retracted: how many facts were withdrawn with it.
        evaluation: the newest evaluation of it that succeeded.
        problem: which bounds or probes it does not keep, where it was rejected.
        hparams: the hyperparameters that it was built with.
        layers: the size of its update, layer by layer.
        created_at: when it was made.
        note: what was said of its edit.
        parent: the version that it was made from.
        metrics: what was measured when it was built; `evaluation` is the newest one that was asked for and succeeded.
        not_taken: how many of its facts it does not say.
        gate: the bounds that it had to keep; `problem` says which it does not, where it was rejected.
        bytes: size of its files.
        digest: SHA-256 of its update; of the base, over the checkpoint's tensors.
        dropped: whether its weights were dropped to save room; they can be built again from its facts.
        aliases: the names that stand for it.
        by: who sent the edit.
        imported_from: where it was built, when that was elsewhere.
    """

    id: int
    parent: int | None = None
    edit: str | None = None
    method: str | None = None
    status: VersionStatus = VersionStatus.READY
    facts: int = 0
    added: int = 0
    changed: int = 0
    retracted: int = 0
    metrics: Metrics = Metrics()
    evaluation: VersionEvaluation | None = None
    not_taken: int | None = None
    gate: Gate | None = None
    problem: Problem | None = None
    hparams: dict[str, Any] | None = None
    layers: tuple[LayerChange, ...] = ()
    bytes: int = 0
    digest: str | None = None
    dropped: bool = False
    aliases: tuple[str, ...] = ()
    by: str | None = None
    imported_from: str | None = None
    created_at: datetime
    note: str | None = None


class Protection(Record):
    """That a name can neither be moved nor taken away, nor its version be deleted, until somebody unprotects it.

    Attributes:
        at: since when.
        who: who protected it, by the name of the API key.
        note: why.
    """

    at: datetime
    who: str | None = None
    note: str | None = None


class Alias(Record):
    """A name, and the version that it stands for.

    Attributes:
        name: the name.
        version: the version that it stands for.
        protection: what keeps it where it is; absent where nothing does.
    """

    name: str
    version: int
    protection: Protection | None = Field(default=None, exclude_if=lambda protection: protection is None)


class Dropped(Record):
    """A version whose weights were dropped, and the bytes that they took.

    Attributes:
        version: number of the version.
        bytes: size of its weights.
    """

    version: int
    bytes: int


class Pruned(Record):
    """The versions whose weights were dropped, or would be, ascending, and the bytes that they took together.

    Attributes:
        dropped: the versions, ascending.
        bytes: size of their weights together.
    """

    dropped: tuple[Dropped, ...]
    bytes: int


class Replica(Record):
    """A serving process, the version that it serves, and how many milliseconds its last change of version took.

    Attributes:
        id: names the process.
        version: the version that it serves.
        load_ms: loading the weights, while what was served went on.
        swap_ms: putting them in place.
        engine: what computes there: `errata`, or `vllm` where a server of vLLM follows.
        url: where that server is asked.
        models: what that server calls each version that it can be asked for.
        ready: whether it serves what it should; one that does not is passed over where requests are sent on.
        given_up: the version that it should serve and has tried to in vain several times. It goes on trying, but nobody
            waits for that any more.
    """

    id: str
    version: int
    load_ms: float | None = None
    swap_ms: float | None = None
    engine: str = Field(default="errata", exclude_if=lambda engine: engine == "errata")
    url: str | None = Field(default=None, exclude_if=lambda url: url is None)
    models: dict[int, str] = Field(default_factory=dict, exclude_if=lambda models: not models)
    ready: bool = Field(default=True, exclude_if=lambda ready: ready)
    given_up: int | None = Field(default=None, exclude_if=lambda version: version is None)


class Worker(Record):
    """A process that takes jobs: since when, and the job that it has in hand, null where it waits for one.

    Attributes:
        name: names the process.
        since: when it began to take jobs.
        job: id of the job that it has in hand.
    """

    name: str
    since: datetime | None
    job: str | None


class Workforce(Record):
    """The live workers, and how many tasks wait for one, by their kind.

    Attributes:
        data: the workers.
        waiting_edits: edits that wait to be begun or gone on with.
        waiting_shards: parts of edits' searches that wait.
        waiting_measurements: evaluations and traces that wait.
    """

    data: tuple[Worker, ...]
    waiting_edits: int
    waiting_shards: int
    waiting_measurements: int


class Activation(Record):
    """The version that serves now, the one that served before, and the replicas that serve it.

    Attributes:
        active: the version that serves now.
        previous: the version that served before.
        replicas: the serving processes.
    """

    active: int
    previous: int
    replicas: tuple[Replica, ...] = ()


class ActivationEntry(Record):
    """One activation, as the journal keeps it.

    Attributes:
        active: the version that serves from then on.
        previous: the version that served before.
        at: when it happened.
        by: what caused it: an edit's id, `rollback`, or `api` where it was asked for.
        who: the name of the API key that asked for it.
        note: why, in the words of whoever asked for it; left out where nothing was said.
    """

    active: int
    previous: int
    at: datetime
    by: str
    who: str | None = None
    note: str | None = Field(default=None, exclude_if=lambda note: note is None)


class PastActivation(ActivationEntry):
    """One activation, counted from 1.

    Attributes:
        id: its number, counted from 1.
    """

    id: int


class Ready(Record):
    """The model is loaded and runs, Redis answers, and the version serves that requests use when they name none.

    Attributes:
        status: always `ready`.
        version: the version that serves.
        outages: what takes no edits and no activations now, such as a full disk; generation goes on.
        workers: how many live workers have their model loaded. While there is none, jobs are accepted and wait.
        news_age_s: seconds since this process last looked up which version is to serve.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)  # what is null is left out

    status: Literal["ready"] = "ready"
    version: int
    outages: tuple[str, ...] = ()
    workers: int
    news_age_s: float
    should_serve: int | None = Field(
        default=None,
        description="The version that is active and cannot be served; `version` serves in its place.",
    )
    reason: str | None = Field(default=None, description="Why it cannot be served.")


class Probe(Given):
    """A prompt, and the answer that every new version must give to it.

    Attributes:
        prompt: what is asked.
        answer: what must be answered.
    """

    prompt: Prompt
    answer: Answer


class NumberedProbe(Probe):
    """A probe and its place in the list, counted from 1.

    Attributes:
        number: its place in the list.
    """

    number: int


class ProbesPut(Record):
    """How many probes there are now, and which of them the version that serves fails.

    Attributes:
        probes: how many there are.
        version: the version that was asked.
        failing: those that it fails, with what it says instead.
    """

    probes: int
    version: int
    failing: tuple[MissedPrompt, ...] = ()


class KeyScopes(Record):
    """An API key by its name, null where a service asks for none, and what it may do: `read`, `edit`, `admin`.

    Attributes:
        name: its name.
        scopes: what it may do.
    """

    name: str | None
    scopes: tuple[str, ...]


class EditingMethod(Record):
    """A method that an edit may name, and what it edits this model with by default.

    Attributes:
        hyperparameters: the defaults, by their names.
    """

    layers: tuple[int, ...] = Field(description="Blocks whose MLP down-projection it edits.")
    one_layer: bool = Field(description="Whether it edits exactly one layer.")
    one_after_another: bool = Field(description="Whether it puts facts in one after another, and not all at once.")
    hyperparameters: dict[str, Any]
    basis: str | None = Field(
        default=None,
        description="What they rest on: `given` in a file of yours, `measured` by us or `published` for models of "
        "these dimensions, or `derived` from what suits such models.",
    )
    source: str | None = Field(default=None, description="Where they come from.")

    def __getitem__(self, name: str) -> Any:
        """Return a field by its name. Clients knew this record as a mapping."""
        return getattr(self, name)


class Origin(Record):
    """What a stored second moment was made from.

    Attributes:
        layer: number of the block.
        count: key vectors that were seen.
        corpus_sha256: of the token ids that were read; None where it was published.
        model_digest: of the base model.
        published: the file that it was published in; None where it was collected here.
    """

    layer: int
    count: int
    corpus_sha256: str | None
    model_digest: str
    published: str | None = None


class Model(Record):
    """The base model of this service.

    Attributes:
        name: what it was called when the service was started.
        architecture: the class of models that it is of.
        replicas: the processes that serve it.
    """

    name: str
    architecture: str
    digest: str = Field(description="SHA-256 over the checkpoint's tensors.")
    layers: tuple[int, ...] = Field(description="Blocks whose MLP down-projection is edited, by MEMIT.")
    hyperparameters: dict[str, Any] | None = Field(description="MEMIT's defaults; null where none are known.")
    methods: dict[str, EditingMethod] = Field(description="The methods whose defaults for this model are known.")
    statistics: tuple[Origin, ...] = Field(description="The second moments there are; a worker collects the others.")
    replicas: tuple[Replica, ...]
    has_chat_template: bool = Field(default=False, description="Whether it can be asked with `messages`.")
