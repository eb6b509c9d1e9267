"""Write what a search found: a file of hyperparameters, and beside it the tables that led to it."""

import json
from collections.abc import Sequence
from pathlib import Path

from errata.comparison.table import NONE, line, percent
from errata.files import durable
from errata.hyperparameters import MemitHyperparameters
from errata.tuning.grid import spelled
from errata.tuning.trials import Stage, Trial, Tuned

TITLES: dict[Stage, str] = {
    "default": "The settings known so far",
    "layers": "Other layers",
    "lambda": "lambda",
    "clamp": "clamp",
    "rung": "Layers and clamp, each with every lambda",
    "refinement": "Refinement",
    "moment_weight": "lambda, more finely",
    "refinement_cost": "refinement_cost",
    "weight_decay": "weight_decay",
    "kl_factor": "kl_factor",
    "few": "Those as good as the best, with fewer records at a time",
    "report": "On other records",
}
COLUMNS = ("layers", "clamp", "lambda", "weight_decay", "kl_factor", "refinement", "records", "score")


def write(tuned: Tuned, model: str, data: str, file: Path) -> None:
    """Write `file` in the form of those shipped, and `…-search.json` and `…-search.md` beside it.

    Args:
        model: its name, under which the file is for it.
        data: where the records are from.
    """
    num_records = tuned.report[0].num_records
    source = f"errata tune: the best of {len(tuned.trials)} trials on {num_records} records of {data}"
    content = {
        "models": [model],
        "methods": {"memit": {"source": source, "hyperparameters": tuned.chosen.as_dict()}},
    }
    search = {
        "model": model,
        "records": data,
        "trials": [trial.as_dict() for trial in tuned.trials],
        "report": [trial.as_dict() for trial in tuned.report],
    }
    durable.write(file.with_name(f"{file.stem}-search.json"), json.dumps(search, indent=1, ensure_ascii=False))
    durable.write(file.with_name(f"{file.stem}-search.md"), tables(tuned))
    durable.write(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def tables(tuned: Tuned) -> str:
    """Return the report, then each stage of the search, in Markdown. Scores are in percent, with 95 % intervals."""
    parts = [_table(TITLES["report"], tuned.report)]
    stages = dict.fromkeys((trial.stage, trial.num_records) for trial in tuned.trials)
    for stage, num_records in stages:
        trials = [trial for trial in tuned.trials if (trial.stage, trial.num_records) == (stage, num_records)]
        parts.append(_table(f"{TITLES[stage]}, {num_records} records", sorted(trials, key=lambda trial: -trial.score)))
    return "\n".join(parts)


def _table(title: str, trials: Sequence[Trial]) -> str:
    columns = [*COLUMNS, *_metrics(trials[0]), "drift", "perplexity"]
    lines = [f"**{title}**", "", line(columns), line(["---"] * len(columns)), *map(_row, trials)]
    return "\n".join([*lines, ""])


def _metrics(trial: Trial) -> list[str]:
    ending = "" if "score" in trial.cell.estimates else "_token_accuracy"
    return [f"{kind}{ending}" for kind in ("efficacy", "generalization", "specificity")]


def _row(trial: Trial) -> str:
    settings = trial.hyperparameters
    score = trial.cell.estimates.get("score") or trial.cell.estimates.get("token_score")
    estimates = (trial.cell.estimates.get(name) for name in _metrics(trial))
    perplexities = trial.cell.perplexities
    return line(
        [
            spelled(settings.layers),
            *(
                f"{value:g}"
                for value in (settings.clamp, settings.moment_weight, settings.weight_decay, settings.kl_factor)
            ),
            _refinement(settings),
            str(trial.num_records),
            f"failed: {trial.cell.failed}" if score is None else percent(score),
            *(NONE if estimate is None else f"{100 * estimate.mean:.1f}" for estimate in estimates),
            NONE if trial.cell.drift is None else f"{trial.cell.drift:.4f}",
            "{:.1f} → {:.1f}".format(*perplexities) if perplexities else NONE,
        ]
    )


def _refinement(settings: MemitHyperparameters) -> str:
    if not settings.refinement_steps:
        return NONE
    return f"{settings.refinement_steps} steps, cost {settings.refinement_cost:g}"
