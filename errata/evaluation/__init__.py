"""The effect of an edit on a model, measured as in the MEMIT paper (section 5.2), and its side effects.

`records` reads CounterFact and zsRE; `evaluate` measures the cases; `results` names the metrics. docs/evaluation.md
defines each of them.
"""

from errata.evaluation.cases import Case as Case, Further as Further, case_of as case_of, cases_of as cases_of
from errata.evaluation.chat import said_in_chat as said_in_chat
from errata.evaluation.contests import outcomes_of as outcomes_of
from errata.evaluation.drift import PROSE as PROSE, ProseDrift as ProseDrift, drift as drift, prose_drift as prose_drift
from errata.evaluation.generation import Generation as Generation
from errata.evaluation.honest import FREELY as FREELY, Honest as Honest, read_relations as read_relations
from errata.evaluation.in_context import InContext as InContext, Which as Which
from errata.evaluation.intervals import Estimate as Estimate
from errata.evaluation.measuring import evaluate as evaluate
from errata.evaluation.probes import wrong_answers as wrong_answers
from errata.evaluation.records import (
    Record as Record,
    ZsreObject as ZsreObject,
    read_records as read_records,
    reference_texts as reference_texts,
)
from errata.evaluation.results import (
    METRICS as METRICS,
    CaseResult as CaseResult,
    Evaluation as Evaluation,
    estimates_of as estimates_of,
)
from errata.evaluation.taking import Taking as Taking, facts_that_took as facts_that_took, taking_of as taking_of
