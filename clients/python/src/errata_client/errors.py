"""Everything that the SDK raises on purpose, in one tree.

    ErrataError
    ├── InvalidFacts             facts that cannot be read or sent; names each one (also a ValueError)
    ├── ConnectionFailed         no answer came, or a stream of events broke off
    │   └── RequestTimedOut      none came in time
    ├── UnexpectedAnswer         an answer came that does not fit the contract
    ├── StatusError              the service answered with an error; carries its problem document
    │   ├── Unauthorized         401, the API key is missing or unknown
    │   ├── Forbidden            403, the API key lacks the scope
    │   ├── NotFound             404, no such edit, version, fact, name, evaluation or trace
    │   ├── Conflict             409, it contradicts the present state
    │   ├── Unprocessable        422, what was sent is at fault; names each place
    │   ├── TooManyRequests      429, the queue is full
    │   └── ServerError          any 5xx
    │       └── Unavailable      503 and 504, not able to serve, or not in time
    ├── JobError                 a job that was waited for did not succeed; carries the job
    │   ├── EditError            an edit
    │   │   ├── EditFailed
    │   │   ├── EditRejected     the version was built and kept, but did not pass its gate
    │   │   └── EditCancelled
    │   └── MeasurementError     an evaluation or a trace
    │       ├── MeasurementFailed
    │       └── MeasurementCancelled
    └── WaitTimedOut             the job goes on, the waiting does not (also a TimeoutError)

An error says in its message all that a person needs, and in its attributes all that a program needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from errata_client.records import Edit, FieldProblem, Job, JobStatus, Measurement, Problem


class ErrataError(Exception):
    """Base of all errors of the SDK."""


@dataclass(frozen=True, slots=True)
class FactProblem:
    """What is wrong with one fact.

    `where` is its place: "facts.jsonl, line 3", "facts.json, record 3 (line 40)", "record 3" or "fact 3" (from 0).
    """

    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}"


class InvalidFacts(ErrataError, ValueError):
    """Some facts cannot be read; nothing was sent. `problems` names every one of them."""

    def __init__(self, problems: Sequence[FactProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(_first_of([str(problem) for problem in problems]))


class ConnectionFailed(ErrataError):
    """No answer came, or a stream of events broke off.

    `may_have_arrived` is false where the server surely never saw the request.
    """

    def __init__(self, message: str, *, may_have_arrived: bool) -> None:
        self.may_have_arrived = may_have_arrived
        super().__init__(message)


class RequestTimedOut(ConnectionFailed):
    """No answer came in time."""


class UnexpectedAnswer(ErrataError):
    """An answer came that does not fit the contract: is this an Errata service?"""


class StatusError(ErrataError):
    """The service answered with an error status.

    `problem` is its problem document, `retry_after` the seconds it asks to wait, where it does.
    """

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        self.problem = problem
        self.retry_after = retry_after
        detail = problem.detail
        if problem.errors:
            detail = _first_of([f"{error.pointer}: {error.detail}" for error in problem.errors])
        super().__init__(f"{problem.status} {problem.title}" + (f": {detail}" if detail else ""))

    @property
    def problems(self) -> tuple[FieldProblem, ...]:
        """The places at fault in what was sent, where the service names them, as JSON pointers."""
        return self.problem.errors

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status


class Unauthorized(StatusError):
    """401: the API key is missing or unknown."""


class Forbidden(StatusError):
    """403: the API key lacks the scope that this needs."""


class NotFound(StatusError):
    """404: there is no such edit, version, fact or name."""


class Conflict(StatusError):
    """409: the request contradicts the present state, for instance deleting the active version.

    `problems` names the facts that are there with another object, where an edit must not replace any.
    """


class Unprocessable(StatusError):
    """422: what was sent is at fault. `problems` names each place by JSON pointer, with what is wrong."""


class TooManyRequests(StatusError):
    """429: the queue is full; try again after `retry_after` seconds."""


class ServerError(StatusError):
    """5xx: the service failed."""


class Unavailable(ServerError):
    """503 or 504: the service is not able to serve, or not every replica followed in time."""


class JobError(ErrataError):
    """A job that was waited for did not succeed. `job` is its final state, `verdict` says so without the reason."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.verdict = f"{job.object} {job.id} {_outcome(job)}"
        reason = job.error and (job.error.detail or job.error.title)
        super().__init__(self.verdict + (f": {reason}" if reason else ""))


class EditError(JobError):
    """An edit that was waited for did not succeed."""

    @property
    def edit(self) -> Edit:
        """The edit's final state."""
        assert isinstance(self.job, Edit)
        return self.job


class EditFailed(EditError):
    """The edit failed; no version came of it."""


class EditRejected(EditError):
    """The version did not pass its gate: it is kept under `edit.version`, and what served goes on serving."""


class EditCancelled(EditError):
    """The edit was cancelled."""


class MeasurementError(JobError):
    """An evaluation or a trace that was waited for did not succeed."""

    @property
    def measurement(self) -> Measurement:
        """The final state of the evaluation or trace."""
        assert isinstance(self.job, Measurement)
        return self.job


class MeasurementFailed(MeasurementError):
    """It failed; there is no result."""


class MeasurementCancelled(MeasurementError):
    """It was cancelled."""


class WaitTimedOut(ErrataError, TimeoutError):
    """A job did not end within the timeout of `wait`; it goes on. `job` is its last known state."""

    def __init__(self, job: Job, timeout: float) -> None:
        self.job = job
        super().__init__(f"{job.object} {job.id} is still {job.status} after {timeout:g} s")


_BY_STATUS: dict[int, type[StatusError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Unprocessable,
    429: TooManyRequests,
    503: Unavailable,
    504: Unavailable,
}


def status_error(problem: Problem, retry_after: float | None) -> StatusError:
    """Return the error for a problem document, by its status."""
    kind = _BY_STATUS.get(problem.status, ServerError if problem.status >= 500 else StatusError)
    return kind(problem, retry_after)


def job_error(job: Job) -> JobError | None:
    """Return the error for a job that has ended, or None where it succeeded."""
    of_edit = isinstance(job, Edit)
    match job.status:
        case JobStatus.FAILED:
            return EditFailed(job) if of_edit else MeasurementFailed(job)
        case JobStatus.CANCELLED:
            return EditCancelled(job) if of_edit else MeasurementCancelled(job)
        case JobStatus.REJECTED:
            return EditRejected(job)
    return None


def _outcome(job: Job) -> str:
    """Say how a job ended that did not succeed; of one that was rejected, by what."""
    if job.status != JobStatus.REJECTED:
        return "was cancelled" if job.status == JobStatus.CANCELLED else str(job.status)
    would_be = "would be rejected" if isinstance(job, Edit) and job.dry_run else "was rejected"
    figures = {miss.figure for miss in job.error.misses} if job.error else set()
    by = [what for what, is_so in (("its gate", figures - {"probes"}), ("a probe", "probes" in figures)) if is_so]
    return " by ".join([would_be, " and ".join(by)]) if by else would_be


def _first_of(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return problems[0] + more
