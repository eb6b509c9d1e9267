"""The effect of an edit on a model, measured as in the MEMIT paper (section 5.2), and its side effects.

`records` reads CounterFact and zsRE; `evaluate` measures the cases; `results` names the metrics. docs/evaluation.md
defines each of them.
"""

from errata.evaluation.cases import Case, cases_of
from errata.evaluation.contests import outcomes_of
from errata.evaluation.drift import PROSE, ProseDrift, drift, prose_drift
from errata.evaluation.generation import Generation
from errata.evaluation.intervals import Estimate
from errata.evaluation.measuring import evaluate
from errata.evaluation.probes import wrong_answers
from errata.evaluation.records import Record, ZsreObject, read_records, reference_texts
from errata.evaluation.results import METRICS, CaseResult, Evaluation
from errata.evaluation.taking import Taking, facts_that_took, taking_of

__all__ = [
    "METRICS",
    "PROSE",
    "Case",
    "CaseResult",
    "Estimate",
    "Evaluation",
    "Generation",
    "ProseDrift",
    "Record",
    "Taking",
    "ZsreObject",
    "cases_of",
    "drift",
    "evaluate",
    "facts_that_took",
    "outcomes_of",
    "prose_drift",
    "read_records",
    "reference_texts",
    "taking_of",
    "wrong_answers",
]
