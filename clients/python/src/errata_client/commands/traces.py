"""`traces`: tracing which layers recall a fact."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from errata_client.commands.command import Exit, Noun, argument, command, options_of
from errata_client.commands.evaluations import SEED
from errata_client.commands.jobs import NOTE, WAIT, places_in, queue, watch_to_end
from errata_client.commands.output import show, show_all
from errata_client.formatting.measurements import format_trace, format_traces
from errata_client.options import TraceOptions

if TYPE_CHECKING:
    from errata_client.client import Errata
    from errata_client.records import Trace

TRACE_ID = argument("trace_id", metavar="TRACE_ID")
OUT = argument("--out", type=Path, metavar="FOLDER", help="write everything and the figures there")


@command(
    "trace which layers recall the answer to a prompt, or facts",
    argument("file", nargs="?", metavar="FILE", help="facts that the model should know; - for stdin"),
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
def start(client: Errata, arguments: argparse.Namespace) -> Exit:
    if arguments.out and not arguments.wait:
        arguments.usage_error("--out goes with --wait")
    of_prompt = (arguments.prompt, arguments.subject)
    if (arguments.file is None) is (of_prompt == (None, None)) or (arguments.file is None and None in of_prompt):
        arguments.usage_error("give either a FILE of facts, or --prompt and --subject")
    from errata_client.fact_files import read_placed_facts

    facts = None if arguments.file is None else read_placed_facts(arguments.file)
    return queue(
        arguments,
        lambda: client.traces.create(None if facts is None else facts.values(), **options_of(arguments, TraceOptions)),
        format_trace,
        places_in("facts", arguments.file, facts),
        lambda trace: _save_trace(client, trace, arguments.out),
    )


@command("list the traces, newest first")
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.traces.list(), format_traces)


@command("show one trace", TRACE_ID, OUT)
def show_(client: Errata, arguments: argparse.Namespace) -> None:
    trace = client.traces.get(arguments.trace_id)
    show(arguments, trace, format_trace)
    _save_trace(client, trace, arguments.out)


@command("follow a trace until it ends", TRACE_ID)
def watch(client: Errata, arguments: argparse.Namespace) -> Exit:
    return watch_to_end(arguments, client.traces.get(arguments.trace_id), format_trace)


@command("ask a trace to stop", TRACE_ID)
def cancel(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.traces.cancel(arguments.trace_id), format_trace)


TRACES = Noun("traces", "which layers of the model recall a fact", (start, list_, show_, watch, cancel))


def _save_trace(client: Errata, trace: Trace, folder: Path | None) -> None:
    """Write all that it found, as `trace.json`, and its figures."""
    if folder is None:
        return
    result = client.traces.result(trace.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.json").write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    for name in trace.figures:
        client.traces.figure(trace.id, name, folder / name)
