"""`errata evaluate`: a version of the home folder, or the base, measured on records, without a service."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from errata_client.errors import InvalidFacts as InvalidFile
from errata_client.fact_files import read_placed_records
from errata_registry.records import BASE_VERSION
from errata_registry.serving.journal import Journal
from errata_registry.settings import Settings
from errata_registry.versions.store import Artifacts
from torch import Tensor

from errata import deltas, evaluation
from errata.errors import InvalidRecords, UnknownVersion
from errata.evaluation import PROSE, Case, Estimate, Evaluation, Generation, cases_of, read_records, reference_texts
from errata.facts import Fact
from errata.files import durable
from errata.model import EditableModel
from errata.model.room import require_room


def evaluate(arguments: argparse.Namespace, settings: Settings) -> None:
    """Measure what the command line names, print it, and write the files that it asks for.

    Raises:
        ErrataError: the records, the model or the version cannot be used.
        OSError: a file cannot be written.
    """
    for file in filter(None, (arguments.json, arguments.cases)):
        file.parent.mkdir(parents=True, exist_ok=True)  # found out before hours of measuring
    version = _version(arguments.version, settings.home)
    records = None if arguments.records is None else _read(arguments.records)
    references = None if arguments.references is None else reference_texts(_read(arguments.references))
    read = None if records is None else read_records(records, zsre_object=arguments.zsre_object, references=references)
    model = EditableModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
    weights = _weights(version, model, settings.home)
    if read is None:
        facts = _facts(version, settings.home)
        cases = cases_of(model, facts)
    else:
        facts, cases = [record.fact for record in read], [record.case for record in read]
    require_room(model, facts, ())
    measured = _measure(model, cases, weights, arguments)
    print(f"version {version}: {len(cases)} records")
    print(_table(measured))
    if arguments.json:
        durable.write(arguments.json, json.dumps({"version": version, **measured.as_dict()}, indent=1) + "\n")
    if arguments.cases:
        durable.write(arguments.cases, "".join(line + "\n" for line in measured.json_lines()))


def _version(number: int | None, home: Path) -> int:
    """Without a home folder there is the base alone."""
    if not (home / "versions").is_dir():
        if number:
            raise UnknownVersion(f"there is no version {number}: {home} holds none")
        return BASE_VERSION
    return Journal.of(home).active() if number is None else number


def _read(file: Path) -> list[Any]:
    try:
        return list(read_placed_records(file).values())
    except InvalidFile as error:
        raise InvalidRecords(str(error)) from error
    except OSError as error:
        raise InvalidRecords(f"{file} cannot be read: {error.strerror}") from error


def _weights(version: int, model: EditableModel, home: Path) -> dict[int, Tensor]:
    if version == BASE_VERSION:
        return {}
    return deltas.edited_weights(model, deltas.read(Artifacts(home).delta_file(version, model.digest)))


def _facts(version: int, home: Path) -> list[Fact]:
    if version == BASE_VERSION:
        raise InvalidRecords("version 0 has no facts of its own to be measured on: give records")
    return [fact.to_fact() for fact in Artifacts(home).facts(version)]


def _measure(
    model: EditableModel, cases: Sequence[Case], weights: dict[int, Tensor], arguments: argparse.Namespace
) -> Evaluation:
    return evaluation.evaluate(
        model,
        cases,
        weights,
        _show_progress,
        generation=Generation(seed=arguments.seed) if arguments.generation else None,
        texts=PROSE if arguments.prose else (),
    )


def _show_progress(done: int, total: int) -> None:
    print(f"{done}/{total} records", end="\n" if done == total else "\r", file=sys.stderr, flush=True)


def _table(measured: Evaluation) -> str:
    """A line for each metric, with its interval and the records that have it."""
    lines = [f"{'metric':<30}{'mean':>9}{'95 % interval':>20}{'records':>9}"]
    lines += [_line(name, estimate) for name, estimate in measured.estimates.items()]
    lines.append(f"{'drift':<30}{measured.drift:>9.4f}")
    if prose := measured.prose:
        lines.append(_line("prose kl", prose.kl))
        lines.append(f"{'perplexity':<30}{prose.perplexity_after:>9.3f}   (base: {prose.perplexity_before:.3f})")
    return "\n".join(lines)


def _line(name: str, estimate: Estimate) -> str:
    interval = "-" if estimate.low is None else f"{estimate.low:.3f} to {estimate.high:.3f}"
    return f"{name.replace('_', ' '):<30}{estimate.mean:>9.3f}{interval:>20}{estimate.count:>9}"
