"""The names that the package offers, each with what it stands for."""

from errata_client import records
from errata_client.client import AsyncErrata as AsyncErrata, Errata as Errata
from errata_client.dataset_formats import facts_of_records as facts_of_records
from errata_client.errors import (
    Conflict as Conflict,
    ConnectionFailed as ConnectionFailed,
    EditCancelled as EditCancelled,
    EditError as EditError,
    EditFailed as EditFailed,
    EditRejected as EditRejected,
    ErrataError as ErrataError,
    FactProblem as FactProblem,
    Forbidden as Forbidden,
    InvalidFacts as InvalidFacts,
    JobError as JobError,
    MeasurementCancelled as MeasurementCancelled,
    MeasurementError as MeasurementError,
    MeasurementFailed as MeasurementFailed,
    NotFound as NotFound,
    RequestTimedOut as RequestTimedOut,
    ServerError as ServerError,
    StatusError as StatusError,
    TooManyRequests as TooManyRequests,
    Unauthorized as Unauthorized,
    Unavailable as Unavailable,
    UnexpectedAnswer as UnexpectedAnswer,
    Unprocessable as Unprocessable,
    WaitTimedOut as WaitTimedOut,
)
from errata_client.events import (
    Event as Event,
    LogEvent as LogEvent,
    ProgressEvent as ProgressEvent,
    StatusEvent as StatusEvent,
)
from errata_client.fact_files import read_facts as read_facts, read_probes as read_probes
from errata_client.facts import (
    Fact as Fact,
    FactInput as FactInput,
    FactReference as FactReference,
    Neighbor as Neighbor,
    ProbeInput as ProbeInput,
)
from errata_client.generation import (
    GeneratedToken as GeneratedToken,
    GenerationEnd as GenerationEnd,
    GenerationEvent as GenerationEvent,
    MessageInput as MessageInput,
)
from errata_client.jobs import (
    AsyncEdit as AsyncEdit,
    AsyncEvaluationJob as AsyncEvaluationJob,
    AsyncTraceJob as AsyncTraceJob,
    Edit as Edit,
    EvaluationJob as EvaluationJob,
    TraceJob as TraceJob,
)
from errata_client.measurements import (
    AsyncEvaluations as AsyncEvaluations,
    AsyncTraces as AsyncTraces,
    Evaluations as Evaluations,
    Traces as Traces,
)
from errata_client.options import (
    EditOptions as EditOptions,
    ExportFormat as ExportFormat,
    GenerationSettings as GenerationSettings,
    OnConflict as OnConflict,
    VersionName as VersionName,
    ZsreObject as ZsreObject,
)
from errata_client.records import (
    Activation as Activation,
    Alias as Alias,
    ChangeKind as ChangeKind,
    CheckedFact as CheckedFact,
    CheckedFacts as CheckedFacts,
    Completion as Completion,
    Dropped as Dropped,
    Estimate as Estimate,
    Evaluation as Evaluation,
    EvaluationResult as EvaluationResult,
    FactChange as FactChange,
    FactEvent as FactEvent,
    FactName as FactName,
    FactOutcome as FactOutcome,
    FactRecord as FactRecord,
    FieldProblem as FieldProblem,
    Gate as Gate,
    Generation as Generation,
    Job as Job,
    JobStatus as JobStatus,
    KeyScopes as KeyScopes,
    LayerChange as LayerChange,
    Measurement as Measurement,
    MeasurementStatus as MeasurementStatus,
    Message as Message,
    Metrics as Metrics,
    Miss as Miss,
    MissedPrompt as MissedPrompt,
    Model as Model,
    PastActivation as PastActivation,
    Probe as Probe,
    ProbesPut as ProbesPut,
    Problem as Problem,
    Progress as Progress,
    Prose as Prose,
    Protection as Protection,
    Pruned as Pruned,
    Ready as Ready,
    Replica as Replica,
    StoredFact as StoredFact,
    StoredNeighbor as StoredNeighbor,
    Trace as Trace,
    TraceResult as TraceResult,
    Usage as Usage,
    Version as Version,
    VersionEvaluation as VersionEvaluation,
    VersionStatus as VersionStatus,
    Worker as Worker,
    Workforce as Workforce,
)
from errata_client.versions import Diff as Diff

# The names that these had before all jobs were of one kind.
EditRecord = records.Edit
EditStatus = JobStatus
