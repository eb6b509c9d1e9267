"""Commands that measure versions, and that trace which layers recall a fact."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from errata_client.client import Errata
from errata_client.commands.command import AddCommand, Exit
from errata_client.commands.output import place_of, say, say_each, show, show_all
from errata_client.errors import MeasurementError, Unprocessable
from errata_client.fact_files import Place, read_placed_facts, read_placed_records
from errata_client.measurements import ZsreObject
from errata_client.models import Measurement, Trace
from errata_client.views import evaluation_view, evaluations_view, trace_view, traces_view

M = TypeVar("M", bound=Measurement)


def add_commands(add: AddCommand) -> None:
    """`evaluate`, `evaluations`, `evaluation`, `trace`, `traces` and `traced`."""
    evaluate = add("evaluate", _evaluate, "measure a version on records, or on its own facts")
    evaluate.add_argument("file", nargs="?", type=Path, metavar="FILE", help="CounterFact's or zsRE's records")
    evaluate.add_argument("--version", type=int, metavar="N", help="measure this version, not the active one")
    evaluate.add_argument("--references", type=Path, metavar="FILE", help="CounterFact's attribute_snippets.json")
    evaluate.add_argument(
        "--zsre-object", choices=get_args(ZsreObject), default="alt", help="what zsRE's records are edited in with"
    )
    evaluate.add_argument("--generation", action="store_true", help="generate texts, for fluency and consistency")
    evaluate.add_argument("--no-prose", dest="prose", action="store_false", help="leave the perplexity out")
    evaluate.add_argument("--cases", type=Path, metavar="OUT", help="write what was measured of each record there")
    _add_common(evaluate)

    evaluations = add("evaluations", _evaluations, "list the evaluations")
    evaluations.add_argument("--version", type=int, metavar="N", help="only those of this version")
    evaluation = add("evaluation", _evaluation, "show one evaluation")
    evaluation.add_argument("evaluation_id", metavar="EVALUATION_ID")
    evaluation.add_argument("--cases", type=Path, metavar="OUT", help="write what was measured of each record there")

    trace = add("trace", _trace, "trace which layers recall the answer to a prompt, or facts")
    trace.add_argument("file", nargs="?", type=Path, metavar="FILE", help="facts that the model should know")
    trace.add_argument("--prompt", help="a prompt with {} where the subject stands")
    trace.add_argument("--subject", help="the subject of --prompt")
    trace.add_argument("--answer", help="what should follow --prompt (default: what the model itself says)")
    trace.add_argument("--window", type=int, help="layers of MLP or attention restored together (default: a third)")
    trace.add_argument("--noise-level", type=float, default=3.0, help="in standard deviations of subjects' embeddings")
    trace.add_argument("--num-samples", type=int, default=10, help="corrupted runs of each prompt")
    trace.add_argument("--severed-only", action="store_true", help="of facts, only what the proposal of layers needs")
    trace.add_argument("--out", type=Path, metavar="FOLDER", help="write everything and the figures there")
    _add_common(trace)

    add("traces", _traces, "list the traces")
    traced = add("traced", _traced, "show one trace")
    traced.add_argument("trace_id", metavar="TRACE_ID")
    traced.add_argument("--out", type=Path, metavar="FOLDER", help="write everything and the figures there")


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    command.add_argument("--note", help="what is to be remembered of it")
    command.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until it ends (default)"
    )


def _evaluate(client: Errata, arguments: argparse.Namespace) -> Exit:
    if arguments.cases and not arguments.wait:
        arguments.usage_error("--cases goes with --wait")
    records = None if arguments.file is None else read_placed_records(arguments.file)
    references = None if arguments.references is None else read_placed_records(arguments.references)
    places = _places("records", arguments.file, records) | _places("references", arguments.references, references)

    return _see_through(
        arguments,
        places,
        lambda: client.evaluations.create(
            None if records is None else records.values(),
            version=arguments.version,
            references=None if references is None else references.values(),
            zsre_object=arguments.zsre_object,
            generation=arguments.generation,
            prose=arguments.prose,
            seed=arguments.seed,
            note=arguments.note,
        ),
        lambda measurement_id: client.evaluations.wait(measurement_id),
        evaluation_view,
        lambda evaluation: _save_cases(client, evaluation.id, arguments.cases),
    )


def _evaluations(client: Errata, arguments: argparse.Namespace) -> Exit:
    show_all(arguments, client.evaluations.list(arguments.version), evaluations_view)
    return Exit.DONE


def _evaluation(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.evaluations.get(arguments.evaluation_id), evaluation_view)
    _save_cases(client, arguments.evaluation_id, arguments.cases)
    return Exit.DONE


def _save_cases(client: Errata, evaluation_id: str, to: Path | None) -> None:
    if to is not None:
        client.evaluations.cases(evaluation_id, to)


def _trace(client: Errata, arguments: argparse.Namespace) -> Exit:
    if arguments.out and not arguments.wait:
        arguments.usage_error("--out goes with --wait")
    of_prompt = (arguments.prompt, arguments.subject)
    if (arguments.file is None) is (of_prompt == (None, None)) or (arguments.file is None and None in of_prompt):
        arguments.usage_error("give either a FILE of facts, or --prompt and --subject")
    facts = None if arguments.file is None else read_placed_facts(arguments.file)

    return _see_through(
        arguments,
        _places("facts", arguments.file, facts),
        lambda: client.traces.create(
            None if facts is None else facts.values(),
            prompt=arguments.prompt,
            subject=arguments.subject,
            answer=arguments.answer,
            window=arguments.window,
            noise_level=arguments.noise_level,
            num_samples=arguments.num_samples,
            severed_only=arguments.severed_only,
            seed=arguments.seed,
            note=arguments.note,
        ),
        lambda measurement_id: client.traces.wait(measurement_id),
        trace_view,
        lambda trace: _save_trace(client, trace, arguments.out),
    )


def _traces(client: Errata, arguments: argparse.Namespace) -> Exit:
    show_all(arguments, client.traces.list(), traces_view)
    return Exit.DONE


def _traced(client: Errata, arguments: argparse.Namespace) -> Exit:
    trace = client.traces.get(arguments.trace_id)
    show(arguments, trace, trace_view)
    _save_trace(client, trace, arguments.out)
    return Exit.DONE


def _save_trace(client: Errata, trace: Trace, folder: Path | None) -> None:
    """All that it found, as `trace.json`, and its figures."""
    if folder is None:
        return
    result = client.traces.result(trace.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.json").write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    for name in trace.figures:
        client.traces.figure(trace.id, name, folder / name)


def _places(field: str, file: Path | None, placed: Mapping[Place, Any] | None) -> dict[str, str]:
    """Where each entry of a file stands, under its pointer into the request."""
    return {f"/{field}/{index}": f"{file}, {place}" for index, place in enumerate(placed or ())}


def _see_through(
    arguments: argparse.Namespace,
    places: Mapping[str, str],
    send: Callable[[], M],
    wait: Callable[[str], M],
    view: Callable[[M], str],
    save: Callable[[M], None],
) -> Exit:
    """Send it, wait for its end where that is wanted, show it and save what was found."""
    try:
        measurement = send()
    except Unprocessable as error:
        if not error.problems:
            raise
        say_each([f"{place_of(problem.pointer, places)}: {problem.detail}" for problem in error.problems])
        return Exit.REFUSED
    if not arguments.wait:
        show(arguments, measurement, view)
        return Exit.DONE
    try:
        measurement = wait(measurement.id)
    except MeasurementError as error:
        print(error.measurement.model_dump_json() if arguments.json else f"{error.measurement.id}  {error}")
        raise
    except KeyboardInterrupt:
        say(f"interrupted; it goes on: {measurement.id}")
        return Exit.INTERRUPTED
    save(measurement)
    show(arguments, measurement, view)
    return Exit.DONE
