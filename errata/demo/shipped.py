"""The demo model's corpus and data set, found by the model's name (see `errata.checkpoint.shipped`)."""

from collections.abc import Iterable

from errata.comparison.data_sets import DataSet, DataSetName
from errata.demo.corpus import texts
from errata.demo.records import counterfactual_records, question_records, snippets
from errata.demo.world import load_world
from errata.evaluation import read_records, reference_texts


def corpus() -> Iterable[str]:
    """Return the documents of one epoch of training text."""
    return texts(load_world(), seed=0)


def data_set(name: DataSetName) -> DataSet:
    """Return the demo world's counterfactual edits, to be measured as CounterFact's or as zsRE's records are."""
    world = load_world()
    if name == "zsre":
        return DataSet.of(name, "the demo world", question_records(world), [])
    references = reference_texts(snippets(world))
    records = read_records(counterfactual_records(world), references=references)
    return DataSet.of(name, "the demo world", records, [text for group in references.values() for text in group])
