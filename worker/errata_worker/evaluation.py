"""Measuring a version on records, or on its own facts."""

from errata_client.records import Evaluation, EvaluationResult, Stage
from errata_registry.jobs.requests import EvaluationRequest
from errata_registry.versions.facts import fact_of

from errata import deltas
from errata.evaluation import PROSE, Generation, Honest, cases_of, evaluate
from errata.files import durable
from errata.model.room import require_room
from errata_worker.running import Turn

CASES = "cases.jsonl"


def carry_out(turn: Turn[EvaluationRequest, Evaluation]) -> None:
    """Measure as `errata.evaluation.evaluate` does, with every case's figures in a file.

    Raises:
        InvalidFacts: a prompt does not fit into the model's context.
        UnknownVersion, WeightsDropped, CorruptArtifact, WrongBaseModel: the version cannot be used.
    """
    request, model, version = turn.accepted.request, turn.resident.model, turn.record.version
    turn.report(Stage.EVALUATE, 0, turn.record.records)
    weights = deltas.edited_weights(model, turn.registry.versions.load_deltas(version, model.digest))
    if request.records is None:
        facts = list(map(fact_of, turn.registry.versions.facts(version)))
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
        honest=Honest(seed=request.seed) if request.honest else None,
    )
    durable.write(turn.folder / CASES, "".join(line + "\n" for line in measured.json_lines()))
    turn.end(result=EvaluationResult.model_validate(measured.as_dict()))
