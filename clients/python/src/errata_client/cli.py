"""The command line `errata-client`."""

import argparse
import os
import sys
from collections.abc import Sequence

from errata_client.client import DEFAULT_URL, Errata
from errata_client.commands import edits, facts, generation, jobs, measurements, probes, versions
from errata_client.commands.command import EXIT_CODES, Exit
from errata_client.commands.output import say, say_each
from errata_client.errors import ErrataError, InvalidFacts, JobError, ServerError, StatusError

COMMANDS = (
    *(edits.edit, edits.retract, edits.rebuild, edits.retry, jobs.watch, edits.outcomes, jobs.cancel),
    *(facts.facts, facts.fact, generation.generate, generation.chat),
    *(measurements.evaluate, measurements.evaluations, measurements.evaluation),
    *(measurements.trace, measurements.traces, measurements.traced),
    *(versions.versions, versions.version, versions.diff),
    *(versions.activate, versions.rollback, versions.activations),
    *(versions.aliases, versions.alias, versions.unalias, versions.prune, versions.export),
    probes.probes,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        client = Errata(arguments.url, arguments.api_key)
    except ValueError as error:
        parser.error(str(error))
    try:
        with client:
            return arguments.run(client, arguments) or Exit.DONE
    except ErrataError as error:
        return _report(error)
    except OSError as error:
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Exit.USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return Exit.INTERRUPTED


def _report(error: ErrataError) -> Exit:
    """Say what went wrong, and return the exit code for it."""
    match error:
        case InvalidFacts():
            say_each([str(problem) for problem in error.problems])
            return Exit.USAGE
        case JobError():
            code = Exit.NO_EDIT
        case ServerError():
            code = Exit.NO_SERVICE
        case StatusError():
            code = Exit.REFUSED
        case _:
            code = Exit.NO_SERVICE
    say(str(error))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="errata-client",
        description="Correct facts inside a language model that an Errata service runs.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_options_anywhere()],
    )
    # An empty variable is one that was not set.
    parser.set_defaults(
        url=os.environ.get("ERRATA_URL") or DEFAULT_URL,
        api_key=os.environ.get("ERRATA_API_KEY") or None,
        json=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for command in COMMANDS:
        subparser = commands.add_parser(
            command.name, help=command.does, description=command.does, parents=[_options_anywhere()]
        )
        for argument in command.arguments:
            subparser.add_argument(*argument.names, **argument.settings)
        subparser.set_defaults(run=command.run, usage_error=subparser.error)
    return parser


def _options_anywhere() -> argparse.ArgumentParser:
    """Return the options that stand before or after the command; suppressed, the second do not undo the first."""
    options = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    options.add_argument("--url", help=f"where the service is (ERRATA_URL, else {DEFAULT_URL})")
    options.add_argument("--api-key", help="the API key (ERRATA_API_KEY)")
    options.add_argument("--json", action="store_true", help="write JSON for machines")
    return options


if __name__ == "__main__":
    sys.exit(main())
