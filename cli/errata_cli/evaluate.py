"""`errata evaluate`: a version of the home folder, or the base, measured on records, without a service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from errata.errors import InvalidRecords, UnknownVersion
from errata.files import durable
from errata_cli.options import Home, Model, RelationsFile, honest_with, settings_with_model
from errata_cli.progress import count_of

if TYPE_CHECKING:
    from errata_registry.versions.store import Artifacts
    from torch import Tensor

    from errata.evaluation import Estimate, Evaluation
    from errata.facts import Fact
    from errata.model import EditableModel


def evaluate(
    records: Annotated[Path | None, Argument(help="records: .jsonl or .json")] = None,
    model: Model = None,
    home: Home = None,
    version: Annotated[int | None, Option(help="the version (default: the active one; 0 is the base)")] = None,
    zsre_object: Annotated[
        Literal["alt", "answers"], Option(help="which field of zsRE's records is edited in")
    ] = "alt",
    references: Annotated[Path | None, Option(help="CounterFact's attribute_snippets.json, for consistency")] = None,
    generation: Annotated[bool, Option("--generation", help="generate texts, for fluency and consistency")] = False,
    honest: Annotated[bool, Option("--honest", help="ask as critics do, too; takes several times as long")] = False,
    relations: RelationsFile = None,
    in_context: Annotated[
        Literal["right", "retrieved"] | None,
        Option(help="measure the base with facts before its prompts instead: each record's own, or the retrieved one"),
    ] = None,
    seed: Annotated[int, Option(help="of the generated texts, prefixes and choices")] = 0,
    no_prose: Annotated[bool, Option("--no-prose", help="leave the perplexity out")] = False,
    summary_file: Annotated[Path | None, Option("--json", help="write the summary there")] = None,
    cases_file: Annotated[
        Path | None, Option("--cases", help="write what was measured of each record there, a line for each")
    ] = None,
) -> None:
    """Measure a version, or the base, on records, without a service.

    The records are those of CounterFact, zsRE, EasyEdit, KnowEdit, QAEdit, WikiBigEdit or MQuAKE, or a version's own
    facts where none are given. Every metric is printed with its 95 % interval. With --in-context nothing is edited:
    what a version gains over its facts in the prompt is the difference of the two.
    """
    settings = settings_with_model(model=model, home=home)
    for file in filter(None, (summary_file, cases_file)):
        file.parent.mkdir(parents=True, exist_ok=True)  # found out before hours of measuring

    from errata_registry.versions.store import Artifacts

    from errata_cli.home_folder import commits_with

    commits = commits_with(settings)
    number = _version(version, settings.home)
    if records is None and not number:
        raise InvalidRecords("version 0 has no facts of its own to be measured on: give records")
    given = None if records is None else _read(records)
    texts = None if references is None else _read(references)

    from errata.evaluation import PROSE, Generation, InContext, cases_of, evaluate, read_records, reference_texts
    from errata.model.room import require_room
    from errata_cli.base_model import load_model

    snippets = None if texts is None else reference_texts(texts)
    read = None if given is None else read_records(given, zsre_object=zsre_object, references=snippets)
    asked = honest_with(relations, seed) if honest else None
    base = load_model(settings)
    weights = _weights(number, base, Artifacts(settings.home, commits)) if number and not in_context else {}
    facts = _facts(number, settings.home) if read is None else [record.fact for record in read]
    cases = cases_of(base, facts) if read is None else [record.case for record in read]
    require_room(base, facts, ())
    measured = evaluate(
        base,
        cases,
        weights,
        count_of("records"),
        generation=Generation(seed=seed) if generation else None,
        texts=() if no_prose or in_context else PROSE,  # without weights, running text is as it was
        honest=asked,
        in_context=InContext(cases, in_context) if in_context else None,
    )
    what = f"the base, {in_context} fact in context" if in_context else f"version {number}"
    print(f"{what}: {len(cases)} records")
    print(_table(measured))
    if summary_file:
        summary = {"version": number, "in_context": in_context, **measured.as_dict()}
        durable.write(summary_file, json.dumps(summary, indent=1) + "\n")
    if cases_file:
        durable.write(cases_file, "".join(line + "\n" for line in measured.json_lines()))


def _version(number: int | None, home: Path) -> int:
    """Return the version to measure. Without a home folder there is the base alone."""
    from errata_client.records import BASE_VERSION
    from errata_registry.serving.journal import Journal

    if not (home / "versions").is_dir():
        if number:
            raise UnknownVersion(f"there is no version {number}: {home} holds none")
        return BASE_VERSION
    return Journal(home).active() if number is None else number


def _read(file: Path) -> list[Any]:
    from errata_client.errors import InvalidFacts as InvalidFile
    from errata_client.fact_files import read_placed_records

    try:
        return list(read_placed_records(file).values())
    except InvalidFile as error:
        raise InvalidRecords(str(error)) from error
    except OSError as error:
        raise InvalidRecords(f"{file} cannot be read: {error.strerror}") from error


def _weights(version: int, model: EditableModel, artifacts: Artifacts) -> dict[int, Tensor]:
    from errata import deltas

    return deltas.edited_weights(model, deltas.read(artifacts.delta_file(version, model.digest)))


def _facts(version: int, home: Path) -> list[Fact]:
    from errata_registry.versions.facts import fact_of
    from errata_registry.versions.store import Artifacts

    return list(map(fact_of, Artifacts(home).existing(version).facts()))


def _table(measured: Evaluation) -> str:
    """Return a line for each metric, with its interval and the number of records that have it."""
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
