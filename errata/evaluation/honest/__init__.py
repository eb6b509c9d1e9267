"""An edit asked about as its critics ask: by what the model says of itself, and in other forms than it was learnt in.

`probes` has the table of what is asked, `relations` the templates that questions are made from, `sentences` how far an
answer goes, `answers` how it is judged.
docs/evaluation.md defines each figure, and names the criticism that it answers.
"""

from errata.evaluation.honest.answers import (
    Answer as Answer,
    answers_to as answers_to,
    askable as askable,
    kept_answers as kept_answers,
)
from errata.evaluation.honest.probes import (
    FREELY as FREELY,
    KINDS as KINDS,
    Honest as Honest,
    Probe as Probe,
    probes_of as probes_of,
)
from errata.evaluation.honest.relations import Relation as Relation, read_relations as read_relations
