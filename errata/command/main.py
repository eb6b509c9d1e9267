"""`errata`: parse the command line and run one of its commands."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from errata.command.demonstration import DemonstrationFailed, demonstrate
from errata.command.stack import StackError, environment, run_until_interrupted
from errata.errors import ErrataError
from errata.registry.reindex import reindex
from errata.settings import Settings


def main() -> None:
    """Run the command that was typed; exit 1 with one line on a failure that the user can act on."""
    arguments = _parser().parse_args()
    try:
        settings = _settings(arguments)
        arguments.run(arguments, settings)
    except (ErrataError, StackError, DemonstrationFailed) as error:
        sys.exit(f"errata: {error}")
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        sys.exit(f"errata: a setting is wrong: {faults}")
    except OSError as error:
        sys.exit(f"errata: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="errata",
        description="Corrects the facts inside a language model while it keeps serving. "
        "What is not given on the command line is taken from ERRATA_* variables.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", help="`demo`, a hub name or a local folder")
    shared.add_argument("--home", type=Path, help="folder of versions, edits and second moments")

    listening = argparse.ArgumentParser(add_help=False)
    listening.add_argument("--host", help="address that the service listens on")
    listening.add_argument("--port", type=int, help="port that the service listens on")
    listening.add_argument(
        "--allow-anonymous",
        action="store_true",
        default=None,
        help="serve without API keys on an address that is not the loopback",
    )

    up = commands.add_parser(
        "up", parents=[shared, listening], help="start Redis, a worker and the service; serve until Ctrl-C"
    )
    up.set_defaults(run=lambda arguments, settings: run_until_interrupted(settings))

    service = commands.add_parser("service", parents=[shared, listening], help="run the service alone")
    service.set_defaults(run=lambda arguments, settings: _become("service", settings))

    worker = commands.add_parser("worker", parents=[shared], help="run one worker alone")
    worker.set_defaults(run=lambda arguments, settings: _become("worker", settings))

    demo = commands.add_parser(
        "demo", help="start everything in a temporary home, edit facts, show before and after, roll back, stop"
    )
    demo.add_argument(
        "--facts", type=Path, default=Path("examples/facts.jsonl"), help="facts to edit in (default: %(default)s)"
    )
    demo.set_defaults(run=lambda arguments, settings: demonstrate(arguments.facts, settings))

    taken_in = commands.add_parser(
        "import", parents=[shared], help="take in a version that was built and exported (`delta`) elsewhere"
    )
    taken_in.add_argument("archive", type=Path, help="the tar that was exported, or the folder it was unpacked to")
    taken_in.set_defaults(run=_import)

    verifying = commands.add_parser(
        "verify", parents=[shared], help="check every version, edit and activation of a home folder"
    )
    verifying.set_defaults(run=_verify)

    rebuild = commands.add_parser("reindex", parents=[shared], help="rebuild Redis from the home folder")
    rebuild.set_defaults(run=lambda arguments, settings: print(reindex(settings)))

    statistics = commands.add_parser(
        "statistics", parents=[shared], help="collect the second moments of a base model, which its edits need"
    )
    statistics.add_argument("--corpus", type=Path, help="text file, or folder of .txt files")
    statistics.set_defaults(run=lambda arguments, settings: _become("worker.statistics", settings))
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    names = [name for name in Settings.model_fields if getattr(arguments, name, None) is not None]
    return Settings(**{name: getattr(arguments, name) for name in names})


def _import(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata.registry.transfer import import_version  # with torch, which the other commands start without

    version = import_version(settings.home, arguments.archive)
    print(f"version {version.id}: {version.facts} facts, was {version.imported_from}")


def _verify(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata.registry.verification import verify  # with torch, too

    verified = verify(settings.home)
    print(verified)
    sys.exit(1 if verified.faults else 0)


def _become(module: str, settings: Settings) -> None:
    """Turn this process into the service or the worker, which are told their settings by the environment."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module], environment(settings))
