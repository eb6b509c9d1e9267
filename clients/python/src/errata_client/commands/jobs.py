"""What the commands of all kinds of jobs have in common: queueing one, waiting for it, following and listing them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from errata_client.commands.command import Exit, argument
from errata_client.commands.output import say, say_problems, show
from errata_client.tables import Look

if TYPE_CHECKING:
    from errata_client.fact_files import Place
    from errata_client.jobs import Edit, EvaluationJob, TraceJob
    from errata_client.records import Job

J = TypeVar("J", "Edit", "EvaluationJob", "TraceJob")
Format = Callable[[Any, Look], str]

WAIT = argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until it ends (default)")
NOTE = argument("--note", help="what is to be remembered of it")


def queue(
    arguments: argparse.Namespace,
    send: Callable[[], J],
    format: Format,
    places: Mapping[str, str] = {},
    save: Callable[[J], None] = lambda job: None,
) -> Exit:
    """Send a job, wait for its end where that is wanted, save what it found and show it.

    What is refused is named by its place: `places` has it under its pointer into the request.
    """
    from errata_client.errors import StatusError

    try:
        job = send()
    except StatusError as error:
        say_problems(arguments, error, places)
        return Exit.REFUSED
    if not arguments.wait:
        show(arguments, job, format)
        return Exit.DONE
    return _wait(arguments, job, format, save)


def _wait(arguments: argparse.Namespace, job: J, format: Format, save: Callable[[J], None]) -> Exit:
    from errata_client.errors import JobError

    try:
        job = job.wait()
    except JobError as error:
        return ended(arguments, error.job, format)
    except KeyboardInterrupt:
        return _interrupted(job)
    save(job)
    return ended(arguments, job, format)


def watch_to_end(arguments: argparse.Namespace, job: J, format: Format) -> Exit:
    """Tell what happens to a job until it ends, and show what came of it; with `--json`, an event on each line."""
    from errata_client.events import LogEvent, ProgressEvent, StatusEvent
    from errata_client.progress import ProgressBar
    from errata_client.records import JobStatus

    shown: Job = job
    bar = ProgressBar()
    try:
        for event in job.events():
            if arguments.json:
                print(event.model_dump_json(), flush=True)
            match event:
                case ProgressEvent():
                    shown = shown.model_copy(update={"status": JobStatus.RUNNING, "progress": event.progress})
                    bar.show(shown)
                case StatusEvent():
                    shown = event.job
                    bar.show(shown)
                case LogEvent():
                    bar.write(f"{event.level}: {event.message}")
    except KeyboardInterrupt:
        bar.close()  # before anything is said beside it
        return _interrupted(job)
    finally:
        bar.close()
    return ended(arguments, shown, format, is_shown=arguments.json)


def _interrupted(job: Job) -> Exit:
    say(f"interrupted; it goes on: errata-client {job.object}s watch {job.id}")
    return Exit.INTERRUPTED


def ended(arguments: argparse.Namespace, job: Job, format: Format, *, is_shown: bool = False) -> Exit:
    """Show what came of a job, and return the exit code that tells it."""
    from errata_client.errors import job_error

    if not is_shown:
        show(arguments, job, format)
    if error := job_error(job):
        say(str(error) if arguments.json else error.verdict)
        return Exit.NOT_AS_ASKED
    metrics = getattr(job, "metrics", None)
    if metrics and metrics.said is not None and metrics.said < 1:
        say(f"not all of its facts are said; to search harder: errata-client edits retry {job.id}")
        return Exit.NOT_AS_ASKED
    return Exit.DONE


def places_in(field: str, file: str | None, placed: Iterable[Place] | None) -> dict[str, str]:
    """Return where each entry of a file stands, under its pointer into the request."""
    name = "stdin" if file == "-" else file
    return {f"/{field}/{index}": f"{name}, {place}" for index, place in enumerate(placed or ())}
