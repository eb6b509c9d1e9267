"""The Python SDK of Errata, the service that corrects facts inside a language model.

    with Errata() as errata:
        errata.edit([("Michael Jordan", "plays the sport of", "baseball")]).wait()
        print(errata.generate("Michael Jordan plays the sport of").text)

`AsyncErrata` is the same for asyncio.
"""

from errata_client.client import AsyncErrata, Errata
from errata_client.edits import AsyncEdit, Edit
from errata_client.errors import (
    Conflict,
    ConnectionFailed,
    EditCancelled,
    EditError,
    EditFailed,
    EditRejected,
    ErrataError,
    FactProblem,
    Forbidden,
    InvalidFacts,
    NotFound,
    RequestTimedOut,
    ServerError,
    StatusError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unprocessable,
    WaitTimedOut,
)
from errata_client.events import Event, LogEvent, ProgressEvent, StatusEvent
from errata_client.fact_files import read_facts
from errata_client.facts import Fact, FactInput, Neighbor
from errata_client.generation import GeneratedToken, GenerationEnd, GenerationEvent
from errata_client.models import (
    Activation,
    Completion,
    EditRecord,
    EditStatus,
    FieldProblem,
    Generation,
    LayerChange,
    Metrics,
    Model,
    Problem,
    Progress,
    Replica,
    StoredFact,
    StoredNeighbor,
    Usage,
    Version,
    VersionStatus,
)
from errata_client.record_forms import facts_of_records
from errata_client.routes import GenerationSettings

__all__ = [
    "Activation",
    "AsyncEdit",
    "AsyncErrata",
    "Completion",
    "Conflict",
    "ConnectionFailed",
    "Edit",
    "EditCancelled",
    "EditError",
    "EditFailed",
    "EditRecord",
    "EditRejected",
    "EditStatus",
    "Errata",
    "ErrataError",
    "Event",
    "Fact",
    "FactInput",
    "FactProblem",
    "FieldProblem",
    "Forbidden",
    "GeneratedToken",
    "Generation",
    "GenerationEnd",
    "GenerationEvent",
    "GenerationSettings",
    "InvalidFacts",
    "LayerChange",
    "LogEvent",
    "Metrics",
    "Model",
    "Neighbor",
    "NotFound",
    "Problem",
    "Progress",
    "ProgressEvent",
    "Replica",
    "RequestTimedOut",
    "ServerError",
    "StatusError",
    "StatusEvent",
    "StoredFact",
    "StoredNeighbor",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unprocessable",
    "Usage",
    "Version",
    "VersionStatus",
    "WaitTimedOut",
    "facts_of_records",
    "read_facts",
]
