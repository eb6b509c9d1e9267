"""`errata`: parse the command line and run one of its commands."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from errata_registry.jobs.reindex import reindex
from errata_registry.settings import Settings
from pydantic import ValidationError

from errata.errors import ErrataError, InvalidFacts
from errata_cli.demonstration import DemonstrationFailed, demonstrate
from errata_cli.stack import StackError, environment, run_until_interrupted


def main() -> None:
    """Run the command that was typed; exit 1 on a failure that the user can act on, with one line, or with one for each
    fact or record that is wrong."""
    arguments = _parser().parse_args()
    try:
        settings = _settings(arguments)
        arguments.run(arguments, settings)
    except InvalidFacts as error:
        sys.exit("\n".join(f"errata: fact {one.index}, {one.field}: {one.detail}" for one in error.problems))
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

    of_model = argparse.ArgumentParser(add_help=False)
    of_model.add_argument("--model", help="`demo`, a hub name or a local folder")

    shared = argparse.ArgumentParser(add_help=False, parents=[of_model])
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
    service.set_defaults(run=lambda arguments, settings: _become("errata_service", settings))

    worker = commands.add_parser("worker", parents=[shared], help="run one worker alone")
    worker.set_defaults(run=lambda arguments, settings: _become("errata_worker", settings))

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
    statistics.set_defaults(run=lambda arguments, settings: _become("errata_worker.statistics", settings))

    training = commands.add_parser(
        "train-mend",
        parents=[shared],
        help="train the network that the method MEND edits a base model with",
        description="Learns from counterfactual edits (--records: a JSON list in the form of CounterFact or zsRE, with "
        "paraphrases and neighbours) and from text that edits are to leave alone (--corpus). The demo has its own.",
    )
    training.add_argument("--records", type=Path, help="JSON list of records to learn from")
    training.add_argument("--corpus", type=Path, help="text file, or folder of .txt files")
    training.add_argument("--num-steps", type=int, default=600, help="updates of the network (default: %(default)s)")
    training.add_argument(
        "--facts-per-step",
        type=int,
        default=10,
        help="facts edited in one step: one at a time, and in the next step all at once (default: %(default)s)",
    )
    training.add_argument("--seed", type=int, default=0, help="of the network's beginning and of what each step edits")
    training.add_argument("--threads", type=int, help="CPU cores to use (default: all)")
    training.add_argument("--out", type=Path, help="file to write (default: beside the model's second moments)")
    training.set_defaults(run=_train_mend)

    tracing = commands.add_parser(
        "trace",
        parents=[of_model],
        help="trace which layers recall a prompt's answer, or facts, and propose layers to edit",
        description="Trace one prompt (--prompt, --subject), or those facts of a file (--facts) that the model knows; "
        "for the demo model, facts of its own world where neither is given. Writes JSON, PNG and SVG.",
    )
    tracing.add_argument("--facts", type=Path, help="facts that the model should know: .jsonl, .json or .csv")
    tracing.add_argument(
        "--num-facts", type=int, help="how many of them to trace (default: all of a file, 100 of the demo world)"
    )
    tracing.add_argument(
        "--severed-only", action="store_true", help="of facts, only what the proposal needs: a fraction of the time"
    )
    tracing.add_argument("--prompt", help="a prompt with {} where the subject stands")
    tracing.add_argument("--subject", help="the subject of --prompt")
    tracing.add_argument("--answer", help="what should follow --prompt (default: what the model itself says)")
    tracing.add_argument("--window", type=int, help="layers of MLP or attention restored together (default: a third)")
    tracing.add_argument(
        "--noise-level", type=float, default=3.0, help="in standard deviations of subjects' embeddings"
    )
    tracing.add_argument("--num-samples", type=int, default=10, help="corrupted runs of each prompt")
    tracing.add_argument("--seed", type=int, default=0, help="of the noise, and of which facts are taken")
    tracing.add_argument("--out", type=Path, required=True, help="folder for the results")
    tracing.set_defaults(run=_trace)

    evaluating = commands.add_parser(
        "evaluate",
        parents=[shared],
        help="measure a version of the home folder, or the base, on records; needs no service",
        description="Measure a version on CounterFact's or zsRE's records, or on its own facts where none are given, "
        "and print every metric with its 95 % interval.",
    )
    evaluating.add_argument("records", type=Path, nargs="?", help="records: .jsonl or .json")
    evaluating.add_argument("--version", type=int, help="the version (default: the active one; 0 is the base)")
    evaluating.add_argument(
        "--zsre-object",
        choices=("alt", "answers"),
        default="alt",
        help="which field of zsRE's records is edited in (default: %(default)s)",
    )
    evaluating.add_argument("--references", type=Path, help="CounterFact's attribute_snippets.json, for consistency")
    evaluating.add_argument("--generation", action="store_true", help="generate texts, for fluency and consistency")
    evaluating.add_argument("--seed", type=int, default=0, help="of the generated texts")
    evaluating.add_argument("--no-prose", dest="prose", action="store_false", help="leave the perplexity out")
    evaluating.add_argument("--json", type=Path, help="write the summary there")
    evaluating.add_argument("--cases", type=Path, help="write what was measured of each record there, a line for each")
    evaluating.set_defaults(run=_evaluate)

    editing = argparse.ArgumentParser(add_help=False, parents=[shared])
    editing.add_argument("--hyperparameters", type=Path, help="file of hyperparameters (default: those shipped)")
    editing.add_argument("--corpus", type=Path, help="text that second moments are collected from")
    editing.add_argument("--seed", type=int, default=0, help="of context prefixes and generated texts")

    bench = commands.add_parser(
        "bench",
        parents=[editing],
        help="compare editing methods at more and more edits, as the MEMIT paper's tables do",
        description="Edits records in by each method, as many at once as each of --edits says, and measures them. "
        "Writes results.json, table.md and a plot. What was measured is kept: the same command goes on from there.",
    )
    bench.add_argument("data_set", choices=("counterfact", "zsre"), help="what the records are like")
    bench.add_argument("--edits", type=_numbers, default=[1, 10, 100, 300], help="such as 1,10,100,300")
    bench.add_argument(
        "--methods", type=lambda names: names.split(","), help="such as memit,rome (default: all that are known)"
    )
    bench.add_argument(
        "--slices",
        type=_numbers,
        help="on how many slices of the records each of --edits is measured (default: 30 at 1 edit, 8 up to 10, 3 "
        "up to 50, 2 up to 100, 1 above)",
    )
    bench.add_argument(
        "--records", type=Path, help="JSON file (default: the demo world's for `demo`, else the published data set)"
    )
    bench.add_argument("--references", type=Path, help="file like attribute_snippets.json, for consistency")
    bench.add_argument("--generation", action="store_true", help="measure fluency and consistency, which takes longer")
    bench.add_argument("--out", type=Path, help="folder for the results (default: bench-DATA_SET)")
    bench.set_defaults(run=_bench)

    tuning = commands.add_parser(
        "tune",
        parents=[editing],
        help="search layers, lambda, clamp and refinement for a model that is new to Errata",
        description="Edits one part of the records by MEMIT with many settings, measures the best on another part, and "
        "writes them as a file that ERRATA_HYPERPARAMETERS takes, with the tables that led to it beside it.",
    )
    tuning.add_argument(
        "records", type=Path, nargs="?", help="JSON file of records (default: the demo world's for `demo`)"
    )
    tuning.add_argument("--layers", help="ranges to try, such as 0,0-1,3-8 (default: ranges in the lower half)")
    tuning.add_argument("--lambdas", type=_reals, help="values of lambda to try (default: 10 to 100000, tenfold)")
    tuning.add_argument("--clamps", type=_reals, help="values of the clamp to try (default: 0.75, 1.5 and 3)")
    tuning.add_argument(
        "--edits", type=int, default=100, help="facts that are edited in at once (default: %(default)s)"
    )
    tuning.add_argument("--out", type=Path, default=Path("hyperparameters.json"), help="file (default: %(default)s)")
    tuning.set_defaults(run=_tune)
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _reals(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _settings(arguments: argparse.Namespace) -> Settings:
    names = [name for name in Settings.model_fields if getattr(arguments, name, None) is not None]
    return Settings(**{name: getattr(arguments, name) for name in names})


def _import(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata_registry.versions.transfer import import_version  # with torch, which the other commands start without

    version = import_version(settings.home, arguments.archive)
    print(f"version {version.id}: {version.facts} facts, was {version.imported_from}")


def _verify(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata_registry.verification import verify  # with torch, too

    verified = verify(settings.home)
    print(verified)
    sys.exit(1 if verified.faults else 0)


def _trace(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata_cli.trace import trace  # with torch and matplotlib

    trace(arguments, settings)


def _evaluate(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata_cli.evaluate import evaluate  # with torch

    evaluate(arguments, settings)


def _bench(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata_cli.bench import bench  # with torch and matplotlib

    bench(arguments, settings)


def _tune(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata_cli.tune import tune  # with torch

    tune(arguments, settings)


def _train_mend(arguments: argparse.Namespace, settings: Settings) -> None:
    from errata_cli.train_mend import train_mend  # with torch

    train_mend(arguments, settings)


def _become(module: str, settings: Settings) -> None:
    """Turn this process into the service or the worker, which are told their settings by the environment."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module], environment(settings))
