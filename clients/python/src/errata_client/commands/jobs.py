"""Commands for jobs of any kind, and what those that queue one have in common."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from errata_client.client import Errata
from errata_client.commands.command import Exit, argument, command
from errata_client.commands.output import place_of, say, say_each, show
from errata_client.errors import Conflict, JobError, Unprocessable, job_error
from errata_client.events import LogEvent, ProgressEvent, StatusEvent
from errata_client.fact_files import Place
from errata_client.formatting import format_job
from errata_client.jobs import Edit, EvaluationJob, TraceJob
from errata_client.progress import ProgressBar
from errata_client.records import Job, JobStatus
from errata_client.tables import escaped

J = TypeVar("J", Edit, EvaluationJob, TraceJob)

WAIT = argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until it ends (default)")
NOTE = argument("--note", help="what is to be remembered of it")


@command("follow an edit, an evaluation or a trace until it ends", argument("job_id", metavar="ID"))
def watch(client: Errata, arguments: argparse.Namespace) -> None:
    followed = _get(client, arguments.job_id)
    job: Job = followed
    bar = ProgressBar()
    try:
        for event in followed.events():
            if arguments.json:
                print(event.model_dump_json(), flush=True)
            match event:
                case ProgressEvent():
                    job = job.model_copy(update={"status": JobStatus.RUNNING, "progress": event.progress})
                    bar.show(job)
                case StatusEvent():
                    job = event.job
                    bar.show(job)
                case LogEvent():
                    bar.write(f"{event.level}: {event.message}")
    finally:
        bar.close()
    if not arguments.json:
        print(format_job(job))
    if error := job_error(job):
        raise error


@command("ask an edit, an evaluation or a trace to stop", argument("job_id", metavar="ID"))
def cancel(client: Errata, arguments: argparse.Namespace) -> None:
    job_id: str = arguments.job_id
    if job_id.startswith("eval_"):
        show(arguments, client.evaluations.cancel(job_id), format_job)
    elif job_id.startswith("trace_"):
        show(arguments, client.traces.cancel(job_id), format_job)
    else:
        show(arguments, client.cancel(job_id), format_job)


def queue(
    arguments: argparse.Namespace,
    send: Callable[[], J],
    places: Mapping[str, str],
    save: Callable[[J], None] = lambda job: None,
) -> Exit:
    """Send a job, wait for its end where that is wanted, save what it found and show it.

    What is refused is named by its place: `places` has it under its pointer into the request.
    """
    try:
        job = send()
    except (Conflict, Unprocessable) as error:
        if not error.problems:
            raise
        say_each([f"{place_of(problem.pointer, places)}: {problem.detail}" for problem in error.problems])
        return Exit.REFUSED
    if not arguments.wait:
        show(arguments, job, format_job)
        return Exit.DONE
    try:
        job = job.wait()
    except JobError as error:
        if arguments.json or isinstance(job, Edit):
            show(arguments, error.job, format_job)
        else:
            print(f"{job.id}  {escaped(str(error))}")
        raise
    except KeyboardInterrupt:
        goes_on = (
            f"the edit goes on: errata-client watch {job.id}" if isinstance(job, Edit) else f"it goes on: {job.id}"
        )
        say(f"interrupted; {goes_on}")
        return Exit.INTERRUPTED
    save(job)
    show(arguments, job, format_job)
    return Exit.DONE


def places_in(field: str, file: Path | None, placed: Iterable[Place] | None) -> dict[str, str]:
    """Return where each entry of a file stands, under its pointer into the request."""
    return {f"/{field}/{index}": f"{file}, {place}" for index, place in enumerate(placed or ())}


def _get(client: Errata, job_id: str) -> Edit | EvaluationJob | TraceJob:
    if job_id.startswith("eval_"):
        return client.evaluations.get(job_id)
    return client.traces.get(job_id) if job_id.startswith("trace_") else client.get_edit(job_id)
