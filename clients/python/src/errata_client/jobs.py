"""Jobs: asking for them, waiting for their end, cancelling and following them. Edits, evaluations and traces alike."""

import math
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from pydantic import ConfigDict, PrivateAttr

from errata_client import records
from errata_client.errors import WaitTimedOut, job_error
from errata_client.events import Event, job_events
from errata_client.operations import Asynchronous, Blocking, iteration, transition
from errata_client.options import given
from errata_client.progress import ProgressBar
from errata_client.requests import Request, lists, quoted
from errata_client.transport import Transport

# The service holds an answer back until the end, or this long: short where a bar has to move.
HOLD_WITH_PROGRESS_S = 1
HOLD_S = 30


class FollowedJob(records.Job):
    """A job as it was when it was asked for. It can be waited for, cancelled and followed."""

    model_config = ConfigDict(ignored_types=(iteration, transition))
    _jobs: "Jobs[Any]" = PrivateAttr()

    def __getstate__(self) -> dict[Any, Any]:
        # A job that is pickled leaves its connections behind: what is left is the record.
        return {**super().__getstate__(), "__pydantic_private__": None}

    @transition
    async def wait(self, *, progress: bool = True, timeout: float | None = None) -> object:
        """Wait until the job ends, and return its final state.

        `progress` shows a bar on stderr. After `timeout` seconds (looked at once a second at most) raises
        `WaitTimedOut`; the job goes on. Raises `EditFailed`, `EditRejected` or `EditCancelled` where an edit did not
        succeed, `MeasurementFailed` or `MeasurementCancelled` where an evaluation or a trace did not.
        """
        return await self._jobs.wait(self, progress, timeout)

    @transition
    async def cancel(self) -> object:
        """Ask the job to stop. One that runs ends at its next step: `wait` for it."""
        return await self._jobs.cancel(self.id)

    @iteration
    def events(self, last_event_id: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield what happens to the job until it ends. Go on where it was when the connection breaks.

        `last_event_id`: begin after this event (`event.id`).
        """
        return self._jobs.events(self.id, last_event_id)


class Edit(records.Edit, FollowedJob, Blocking):
    """An edit."""


class AsyncEdit(records.Edit, FollowedJob, Asynchronous):
    """An edit, for asyncio."""


class EvaluationJob(records.Evaluation, FollowedJob, Blocking):
    """An evaluation."""


class AsyncEvaluationJob(records.Evaluation, FollowedJob, Asynchronous):
    """An evaluation, for asyncio."""


class TraceJob(records.Trace, FollowedJob, Blocking):
    """A trace."""


class AsyncTraceJob(records.Trace, FollowedJob, Asynchronous):
    """A trace, for asyncio."""


J = TypeVar("J", bound=FollowedJob)


class Jobs(Generic[J]):
    """All jobs of one kind."""

    def __init__(self, transport: Transport, kind: type[J]) -> None:
        self._transport = transport
        self._kind = kind
        self.path = f"/{kind.model_fields['object'].default}s"

    def __deepcopy__(self, memo: object) -> Self:
        return self  # There is one set of connections, whatever is copied.

    def path_of(self, job_id: str) -> str:
        """Return the path of a job."""
        return f"{self.path}/{quoted(job_id)}"

    async def create(
        self,
        body: Mapping[str, object] | None,
        idempotency_key: str | None = None,
        *,
        path: str | None = None,
        query: Mapping[str, str] = {},
    ) -> J:
        """Queue a job, by a post to its kind's path or to another one. Of the body, what is None is left out."""
        request = Request(
            method="POST",
            path=path or self.path,
            answer=self._kind,
            query=query,
            body=None if body is None else given(body),
            # A key is always sent. It makes a retry safe, since the same key never makes a second job.
            headers={"Idempotency-Key": idempotency_key or str(uuid4())},
        )
        return self._followed(await self._transport.send(request))

    async def get(self, job_id: str, wait_s: int = 0) -> J:
        """Return the job as it is now, or once it has ended if that is within `wait_s` seconds."""
        query = {"wait": wait_s} if wait_s else {}
        request = Request(path=self.path_of(job_id), answer=self._kind, query=query, hold_s=wait_s)
        return self._followed(await self._transport.send(request))

    async def list(self, **filters: object) -> AsyncGenerator[J, None]:
        """Yield all jobs, or those that pass every filter, newest first."""
        async for job in self._transport.items(lists(self.path, self._kind, filters)):
            yield self._followed(job)

    async def cancel(self, job_id: str) -> J:
        """Ask a job to stop."""
        request = Request(method="POST", path=f"{self.path_of(job_id)}/cancel", answer=self._kind)
        return self._followed(await self._transport.send(request))

    def events(self, job_id: str, last_event_id: str | None) -> AsyncGenerator[Event, None]:
        """Yield what happens to a job until it ends."""
        return job_events(self._transport, self.path_of(job_id), last_event_id)

    async def wait(self, job: J, progress: bool, timeout: float | None) -> J:
        """Return the final state of a job. Raises `JobError` where it did not succeed, and `WaitTimedOut`."""
        began = time.monotonic()
        bar = ProgressBar() if progress else None
        try:
            while True:
                if bar:
                    bar.show(job)
                if job.ended:
                    break
                hold_s: float = HOLD_WITH_PROGRESS_S if bar else HOLD_S
                if timeout is not None:
                    left = timeout - (time.monotonic() - began)
                    if left <= 0:
                        raise WaitTimedOut(job, timeout)
                    hold_s = min(hold_s, left)
                job = await self.get(job.id, math.ceil(hold_s))
        finally:
            if bar:
                bar.close()
        if error := job_error(job):
            raise error
        return job

    def _followed(self, job: J) -> J:
        job._jobs = self
        return job
