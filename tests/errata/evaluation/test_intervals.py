"""Means and their intervals, on numbers that were worked out apart."""

import math

import numpy as np
import pytest

from errata.evaluation.intervals import Z, harmonic_mean_over, mean_over, share_over
from errata.files.json_figures import with_nulls


def test_shares_have_wilsons_interval() -> None:
    """The bounds are where a true share p would lie 1.96 of its own standard errors from what was seen."""
    for ones, count in ((8, 10), (10, 10), (0, 3), (1, 1)):
        estimate = share_over([1.0] * ones + [0.0] * (count - ones))
        assert (estimate.mean, estimate.count) == (ones / count, count)
        assert estimate.low is not None and estimate.high is not None
        for bound in (estimate.low, estimate.high):
            squared = (bound - estimate.mean) ** 2
            assert squared == pytest.approx(Z**2 * bound * (1 - bound) / count, abs=1e-12)
        assert estimate.low <= estimate.mean <= estimate.high


def test_means_over_a_records_prompts_narrow_it_to_what_their_variance_says() -> None:
    """Ten yes-or-no answers to a record, by chance alone, are worth ten records of one answer."""
    answers = np.random.default_rng(0).random((400, 10)) < 0.8
    one_each, ten_each = share_over(answers.ravel().astype(float).tolist()), share_over(answers.mean(1).tolist())
    assert ten_each.mean == pytest.approx(one_each.mean)
    assert (ten_each.count, one_each.count) == (400, 4000)
    assert ten_each.low == pytest.approx(one_each.low, abs=2e-3)
    assert ten_each.high == pytest.approx(one_each.high, abs=2e-3)
    half_each = share_over([0.5] * 10)
    assert half_each.low is not None and 0.5 - half_each.low > 0.2


def test_other_means_have_the_normal_one() -> None:
    estimate = mean_over([1, 2, 3, 6])
    assert estimate.mean == 3
    assert estimate.low is not None and estimate.high is not None
    deviation = math.sqrt((4 + 1 + 0 + 9) / 3)
    assert estimate.high - 3 == pytest.approx(1.959964 * deviation / 2)
    assert 3 - estimate.low == pytest.approx(estimate.high - 3)
    assert mean_over([0.5]).low is None


def test_a_score_has_the_delta_methods() -> None:
    draw = np.random.default_rng(0)
    columns = draw.integers(0, 2, (3, 40)).astype(float)
    means = columns.mean(1)

    def score(m: np.ndarray) -> float:
        return float(3 / (1 / m).sum())

    step = 1e-6
    slopes = np.array([(score(means + step * e) - score(means - step * e)) / (2 * step) for e in np.eye(3)])
    variance = slopes @ np.cov(columns) @ slopes / 40
    estimate = harmonic_mean_over(columns.tolist())
    assert estimate.mean == pytest.approx(score(means))
    assert estimate.high == pytest.approx(score(means) + Z * math.sqrt(variance))


def test_a_score_takes_each_mean_over_the_records_that_have_it() -> None:
    estimate = harmonic_mean_over([[1.0, 1.0], [0.5, None]])
    assert estimate.mean == pytest.approx(2 / 3)
    assert harmonic_mean_over([[0.0, 0.0], [1.0, 1.0]]).mean == 0


def test_a_mean_over_what_is_no_finite_number_is_none_and_null_in_json() -> None:
    for unknown in (mean_over([1.0, math.nan]), mean_over([math.inf, -math.inf]), share_over([1.0, math.nan])):
        assert math.isnan(unknown.mean)
        assert with_nulls(unknown) == {"mean": None, "low": None, "high": None, "count": 2}
    assert math.isnan(harmonic_mean_over([[1.0, 1.0], [0.5, math.nan]]).mean)
