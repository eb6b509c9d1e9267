"""How many trials a search makes, and what tells one setting from another."""

import pytest

from errata.comparison.cells import Cell
from errata.hyperparameters import MemitHyperparameters
from errata.tuning import quick, search
from errata.tuning.grid import Grid, by_depth, spelled
from errata.tuning.trials import Trial

SETTINGS = MemitHyperparameters(layers=(4, 5, 6, 7, 8), moment_weight=15_000, clamp=4, refinement_steps=10)


@pytest.mark.parametrize(
    ("num_layers", "ranges", "trials"),
    [
        (4, "0,1,0-1", 93),
        (30, "0-1,3-4,6-7,9-10,12-13,0-4,3-7,6-10,9-13", 233),
        (80, "0-2,10-12,20-22,30-32,0-5,10-15,20-25,30-35", 213),
    ],
)
def test_the_full_search_grows_little_with_depth(num_layers: int, ranges: str, trials: int) -> None:
    assert ",".join(map(spelled, by_depth(num_layers))) == ranges
    assert search.most_work(Grid(by_depth(num_layers)), 100, 1).trials == trials


def test_a_trace_cuts_the_space_and_adds_what_it_proposes() -> None:
    assert list(map(spelled, by_depth(30, (2, 3)))) == ["0-1", "2-3", "3-4", "6-7", "0-4", "3-7", "6-10"]
    assert search.most_work(Grid(by_depth(80, (10, 11, 12))), 100, 1).trials < 200


@pytest.mark.parametrize("num_layers", [4, 30, 80])
def test_the_quick_search_takes_no_more_than_ten_trials_at_any_depth(num_layers: int) -> None:
    known = SETTINGS.overridden({"layers": [num_layers // 8]})
    ranges = quick.other_layers(known.layers, (num_layers // 4,), num_layers)
    assert len(ranges) == 2 and known.layers not in ranges
    assert quick.most_work(known, ranges, 20).trials == 9


def test_a_trace_comes_before_depth_and_no_range_leaves_the_model() -> None:
    assert quick.other_layers((4, 5), (7, 8, 9), 30) == ((7, 8, 9), (7, 8))
    assert quick.other_layers((4, 5), (), 30) == ((7, 8), (1, 2))
    assert quick.other_layers((0,), (), 2) == ()


def trial(*records: float) -> Trial:
    metrics = [dict.fromkeys(("efficacy", "generalization", "specificity"), value) for value in records]
    return Trial("report", SETTINGS, len(records), Cell(metrics=tuple(metrics), drift=0.1))


def test_a_difference_that_chance_would_make_is_none() -> None:
    good, one_better = trial(*[1.0] * 9, 0.0), trial(*[1.0] * 10)
    assert not quick.is_better(one_better, good) and not quick.is_better(good, good)
    assert quick.is_better(good, trial(*[1.0] * 4, *[0.0] * 6))
    failed = Trial("report", SETTINGS, 10, Cell(failed="it left the finite numbers"))
    assert quick.is_better(good, failed) and not quick.is_better(failed, good)
