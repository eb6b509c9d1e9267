"""The plan of a comparison: each method at each number of edits, on one slice of the records or on several.

Beside the methods stand the unedited model, and the unedited model with facts before its prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from errata.comparison.data_sets import DataSet
from errata.errors import DataSetError, InvalidHyperparameters
from errata.evaluation import Record, Which
from errata.hyperparameters import RECORDS, Hyperparameters, unknown_to

SLICES = {1: 30, 10: 8, 50: 3, 100: 2}  # of sizes up to that: few edits tell little, many take long

IN_CONTEXT: Mapping[str, Which] = {"right fact in context": "right", "retrieved in context": "retrieved"}
"""What stands in a method's place for the unedited model with a fact before each prompt."""
RIGHT, RETRIEVED = IN_CONTEXT
OF_ALL = (None, RIGHT)  # what does not depend on how many facts there are


def slices_for(size: int) -> int:
    """Return the default number of slices for a number of edits."""
    return next((slices for up_to, slices in SLICES.items() if size <= up_to), 1)


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement on one slice of the records: by a method edited in at once, or told in context, or neither."""

    method: str | None  # one of IN_CONTEXT, too; None for the unedited model
    hyperparameters: Hyperparameters | None  # None where nothing is edited
    records: tuple[Record, ...]
    slice: int  # number of the slice, from 0
    slices: int  # how many there are of that size

    @property
    def in_context(self) -> Which | None:
        """Which facts stand before prompts; None for none."""
        return IN_CONTEXT.get(self.method or "")

    def __str__(self) -> str:
        number = len(self.records)
        named = f"{self.method or 'unedited'}, {number} {'record' if number == 1 else 'records'}"
        return named if self.slices == 1 else f"{named}, slice {self.slice + 1} of {self.slices}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a comparison measures."""

    data: DataSet
    methods: Mapping[str, Hyperparameters]  # by name, what each edits with
    slices: Mapping[int, int]  # of each number of edits, ascending: on how many slices it is measured

    @property
    def records(self) -> tuple[Record, ...]:
        """The records that any of the steps measures."""
        return self.data.records[: max(size * slices for size, slices in self.slices.items())]

    def steps(self) -> Iterator[Step]:
        """Yield what is measured once, on all records in use, then all at the smallest size, and so on."""
        yield Step(None, None, self.records, 0, 1)
        yield Step(RIGHT, None, self.records, 0, 1)
        for size, slices in self.slices.items():
            for method, hyperparameters in {RETRIEVED: None, **self.methods}.items():
                for number in range(slices):
                    records = self.data.records[number * size : (number + 1) * size]
                    yield Step(method, hyperparameters, records, number, slices)


def plan(
    data: DataSet,
    methods: Sequence[str],
    known: Mapping[str, Hyperparameters],
    sizes: Sequence[int],
    slices: Sequence[int] | None = None,
    *,
    seed: int = 0,
) -> Plan:
    """Plan a comparison, and check everything before anything is measured.

    Args:
        methods: their names, as the rows shall stand.
        known: what each method edits the model with.
        slices: for each of `sizes`; by default `slices_for` it, or as many as the records allow.
        seed: of the context prefixes, in the place of the one in `known`.

    Raises:
        InvalidHyperparameters: there is no such method, or nothing is known of how to edit this model by it.
        DataSetError: there are too few records.
    """
    for method in methods:
        if method not in RECORDS:
            raise InvalidHyperparameters("method", f"there is no method {method!r}; there are {', '.join(RECORDS)}")
        if method not in known:
            raise InvalidHyperparameters("method", unknown_to(method, known))
    if slices is not None and len(slices) != len(sizes):
        raise DataSetError(f"{len(slices)} numbers of slices are given for {len(sizes)} numbers of edits")
    num_records = len(data.records)
    for place, size in enumerate(sizes):
        wanted = size * (slices[place] if slices is not None else 1)
        if min(size, wanted) < 1:
            raise DataSetError(f"{size} edits in {wanted // max(size, 1)} slices: there must be something to measure")
        if wanted > num_records:
            raise DataSetError(f"{data.source} has {num_records} records, too few for {wanted}")
    chosen = slices if slices is not None else [min(slices_for(size), num_records // size) for size in sizes]
    return Plan(
        data=data,
        methods={method: known[method].overridden({"seed": seed}) for method in dict.fromkeys(methods)},
        slices=dict(sorted(zip(sizes, chosen, strict=True))),
    )
