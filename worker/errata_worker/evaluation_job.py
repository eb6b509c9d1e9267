"""Measuring a version on records, or on its own facts."""

from __future__ import annotations

from typing import Any

from errata_registry.jobs.measurement_files import CASES
from errata_registry.jobs.measurement_records import Evaluation, EvaluationRequest
from errata_registry.records import EvaluationResult, Stage

from errata import deltas
from errata.evaluation import PROSE, Generation, cases_of, evaluate
from errata.files import durable
from errata.model.room import require_room
from errata_worker.measurement_job import Turn


def measure(turn: Turn[EvaluationRequest, Evaluation]) -> dict[str, Any]:
    """As `errata.evaluation.evaluate` does, with every case's figures in a file.

    Raises:
        InvalidFacts: a prompt does not fit into the model's context.
        UnknownVersion, WeightsDropped, CorruptArtifact, WrongBaseModel: the version cannot be used.
    """
    request, model, version = turn.request, turn.resident.model, turn.record.version
    turn.report(Stage.EVALUATE, 0, turn.record.records)
    weights = deltas.edited_weights(model, turn.registry.load_deltas(version, model.digest))
    if request.records is None:
        facts = [fact.to_fact() for fact in turn.registry.facts(version)]
        cases = cases_of(model, facts)
    else:
        records = request.read_records()
        facts, cases = [record.fact for record in records], [record.case for record in records]
    require_room(model, facts, ())
    measured = evaluate(
        model,
        cases,
        weights,
        lambda done, total: turn.report(Stage.EVALUATE, done, total),
        generation=Generation(seed=request.seed) if request.generation else None,
        texts=PROSE if request.prose else (),
    )
    durable.write(turn.folder / CASES, "".join(line + "\n" for line in measured.json_lines()))
    return {"result": EvaluationResult.model_validate(measured.as_dict())}
