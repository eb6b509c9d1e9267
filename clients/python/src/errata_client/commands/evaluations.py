"""`evaluations`: measuring versions on records, or on their own facts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from errata_client.commands.command import Exit, Noun, argument, command, options_of, version_option
from errata_client.commands.jobs import NOTE, WAIT, places_in, queue, watch_to_end
from errata_client.commands.output import show, show_all
from errata_client.formatting.measurements import format_evaluation, format_evaluations
from errata_client.options import EvaluationOptions, ZsreObject

if TYPE_CHECKING:
    from errata_client.client import Errata

EVALUATION_ID = argument("evaluation_id", metavar="EVALUATION_ID")
CASES = argument("--cases", type=Path, metavar="OUT", help="write what was measured of each record there")
SEED = argument("--seed", type=int, default=0, help="of what is drawn at random")


@command(
    "measure a version on records, or on its own facts",
    argument("file", nargs="?", metavar="FILE", help="records of CounterFact, zsRE, EasyEdit, …; - for stdin"),
    version_option("measure this version, not the active one"),
    argument("--references", metavar="FILE", help="CounterFact's attribute_snippets.json"),
    argument(
        "--zsre-object", choices=get_args(ZsreObject), default="alt", help="what zsRE's records are edited in with"
    ),
    argument("--generation", action="store_true", help="generate texts, for fluency and consistency"),
    argument("--honest", action="store_true", help="ask as critics do, too; takes several times as long"),
    argument("--no-prose", dest="prose", action="store_false", help="leave the perplexity out"),
    CASES,
    SEED,
    NOTE,
    WAIT,
)
def start(client: Errata, arguments: argparse.Namespace) -> Exit:
    if arguments.cases and not arguments.wait:
        arguments.usage_error("--cases goes with --wait")
    if arguments.file == arguments.references == "-":
        arguments.usage_error("only one of FILE and --references can be stdin")
    from errata_client.fact_files import read_placed_records

    records = None if arguments.file is None else read_placed_records(arguments.file)
    references = None if arguments.references is None else read_placed_records(arguments.references)
    return queue(
        arguments,
        lambda: client.evaluations.create(
            None if records is None else records.values(),
            references=None if references is None else references.values(),
            **options_of(arguments, EvaluationOptions),
        ),
        format_evaluation,
        places_in("records", arguments.file, records) | places_in("references", arguments.references, references),
        lambda evaluation: _save_cases(client, evaluation.id, arguments.cases),
    )


@command("list the evaluations, newest first", version_option("only those of this version"))
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.evaluations.list(arguments.version), format_evaluations)


@command("show one evaluation", EVALUATION_ID, CASES)
def show_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.evaluations.get(arguments.evaluation_id), format_evaluation)
    _save_cases(client, arguments.evaluation_id, arguments.cases)


@command("follow an evaluation until it ends", EVALUATION_ID)
def watch(client: Errata, arguments: argparse.Namespace) -> Exit:
    return watch_to_end(arguments, client.evaluations.get(arguments.evaluation_id), format_evaluation)


@command("ask an evaluation to stop", EVALUATION_ID)
def cancel(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.evaluations.cancel(arguments.evaluation_id), format_evaluation)


EVALUATIONS = Noun("evaluations", "how versions answer about records", (start, list_, show_, watch, cancel))


def _save_cases(client: Errata, evaluation_id: str, to: Path | None) -> None:
    if to is not None:
        client.evaluations.cases(evaluation_id, to)
