"""Commands that measure versions, and that trace which layers recall a fact."""

import argparse
import json
from pathlib import Path
from typing import get_args

from errata_client.client import Errata
from errata_client.commands.command import Exit, argument, command, options_of
from errata_client.commands.jobs import NOTE, WAIT, places_in, queue
from errata_client.commands.output import show, show_all
from errata_client.fact_files import read_placed_facts, read_placed_records
from errata_client.formatting import format_evaluations, format_job, format_traces
from errata_client.options import EvaluationOptions, TraceOptions, ZsreObject
from errata_client.records import Trace

CASES = argument("--cases", type=Path, metavar="OUT", help="write what was measured of each record there")
OUT = argument("--out", type=Path, metavar="FOLDER", help="write everything and the figures there")
SEED = argument("--seed", type=int, default=0, help="of what is drawn at random")


@command(
    "measure a version on records, or on its own facts",
    argument("file", nargs="?", type=Path, metavar="FILE", help="CounterFact's or zsRE's records"),
    argument("--version", type=int, metavar="N", help="measure this version, not the active one"),
    argument("--references", type=Path, metavar="FILE", help="CounterFact's attribute_snippets.json"),
    argument(
        "--zsre-object", choices=get_args(ZsreObject), default="alt", help="what zsRE's records are edited in with"
    ),
    argument("--generation", action="store_true", help="generate texts, for fluency and consistency"),
    argument("--no-prose", dest="prose", action="store_false", help="leave the perplexity out"),
    CASES,
    SEED,
    NOTE,
    WAIT,
)
def evaluate(client: Errata, arguments: argparse.Namespace) -> Exit:
    if arguments.cases and not arguments.wait:
        arguments.usage_error("--cases goes with --wait")
    records = None if arguments.file is None else read_placed_records(arguments.file)
    references = None if arguments.references is None else read_placed_records(arguments.references)
    return queue(
        arguments,
        lambda: client.evaluations.create(
            None if records is None else records.values(),
            references=None if references is None else references.values(),
            **options_of(arguments, EvaluationOptions),
        ),
        places_in("records", arguments.file, records) | places_in("references", arguments.references, references),
        lambda evaluation: _save_cases(client, evaluation.id, arguments.cases),
    )


@command(
    "list the evaluations",
    argument("--version", type=int, metavar="N", help="only those of this version"),
)
def evaluations(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.evaluations.list(arguments.version), format_evaluations)


@command("show one evaluation", argument("evaluation_id", metavar="EVALUATION_ID"), CASES)
def evaluation(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.evaluations.get(arguments.evaluation_id), format_job)
    _save_cases(client, arguments.evaluation_id, arguments.cases)


def _save_cases(client: Errata, evaluation_id: str, to: Path | None) -> None:
    if to is not None:
        client.evaluations.cases(evaluation_id, to)


@command(
    "trace which layers recall the answer to a prompt, or facts",
    argument("file", nargs="?", type=Path, metavar="FILE", help="facts that the model should know"),
    argument("--prompt", help="a prompt with {} where the subject stands"),
    argument("--subject", help="the subject of --prompt"),
    argument("--answer", help="what should follow --prompt (default: what the model itself says)"),
    argument("--window", type=int, help="layers of MLP or attention restored together (default: a third)"),
    argument("--noise-level", type=float, default=3.0, help="in standard deviations of subjects' embeddings"),
    argument("--num-samples", type=int, default=10, help="corrupted runs of each prompt"),
    argument("--severed-only", action="store_true", help="of facts, only what the proposal of layers needs"),
    OUT,
    SEED,
    NOTE,
    WAIT,
)
def trace(client: Errata, arguments: argparse.Namespace) -> Exit:
    if arguments.out and not arguments.wait:
        arguments.usage_error("--out goes with --wait")
    of_prompt = (arguments.prompt, arguments.subject)
    if (arguments.file is None) is (of_prompt == (None, None)) or (arguments.file is None and None in of_prompt):
        arguments.usage_error("give either a FILE of facts, or --prompt and --subject")
    facts = None if arguments.file is None else read_placed_facts(arguments.file)
    return queue(
        arguments,
        lambda: client.traces.create(None if facts is None else facts.values(), **options_of(arguments, TraceOptions)),
        places_in("facts", arguments.file, facts),
        lambda trace: _save_trace(client, trace, arguments.out),
    )


@command("list the traces")
def traces(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.traces.list(), format_traces)


@command("show one trace", argument("trace_id", metavar="TRACE_ID"), OUT)
def traced(client: Errata, arguments: argparse.Namespace) -> None:
    trace = client.traces.get(arguments.trace_id)
    show(arguments, trace, format_job)
    _save_trace(client, trace, arguments.out)


def _save_trace(client: Errata, trace: Trace, folder: Path | None) -> None:
    """Write all that it found, as `trace.json`, and its figures."""
    if folder is None:
        return
    result = client.traces.result(trace.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.json").write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    for name in trace.figures:
        client.traces.figure(trace.id, name, folder / name)
