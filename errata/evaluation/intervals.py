"""Means over records, each with its 95 % interval. A record's prompts are averaged first.

If one of the values is not finite, the mean is NaN without an interval, and null in JSON.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, harmonic_mean, pvariance, stdev

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `count` records, NaN if a value was not a finite number.

    `low` and `high` bound its 95 % interval; they are None if the records cannot tell.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def mean_over(values: Sequence[float]) -> Estimate:
    """Return the mean with the normal approximation's interval, m ± 1.96 s / √n; s is the deviation over records."""
    if not _all_finite(values):
        return _unknown(len(values))
    mean = fmean(values)
    if len(values) == 1:
        return Estimate(mean, None, None, 1)
    half = Z * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, len(values))


def share_over(values: Sequence[float]) -> Estimate:
    """Return the mean of values between 0 and 1 with Wilson's interval, which says something even if all values are 1.

    A record whose value is a mean over several prompts tells more than one yes or no, and varies less. So it counts for
    as many as would leave the mean with the variance that it has: p (1 - p) / v of them, v the variance over records,
    for each record. Where every value is 0 or 1 that is one, and the interval is Wilson's own.
    """
    if not _all_finite(values):
        return _unknown(len(values))
    mean, count = fmean(values), len(values)
    answers = float(count)
    if min(values) < max(values):
        answers *= mean * (1 - mean) / pvariance(values, mean)
    shrink = 1 + Z**2 / answers
    centre = (mean + Z**2 / (2 * answers)) / shrink
    half = Z / shrink * math.sqrt(mean * (1 - mean) / answers + Z**2 / (4 * answers**2))
    # Rounding must not put a share of 0 or 1 outside.
    return Estimate(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)), count)


def harmonic_mean_over(columns: Sequence[Sequence[float | None]]) -> Estimate:
    """Return the harmonic mean of the columns' means. A column has one value between 0 and 1, or None, for each record.

    Its interval is the delta method's, the normal approximation for what the harmonic mean H becomes when it is made
    linear at the k means m: dH/dm = H² / (k m²). A column whose values are all alike adds no width; none is given where
    a mean is 0.
    """
    known = [[value for value in column if value is not None] for column in columns]
    if not all(map(_all_finite, known)):
        return _unknown(len(columns[0]))
    means = [fmean(column) for column in known]
    score, count = float(harmonic_mean(means)), len(columns[0])
    if score == 0 or count == 1:
        return Estimate(score, None, None, count)
    slopes = [score**2 / (len(means) * mean**2) for mean in means]
    pulls = [  # of each record on the score
        sum(
            slope * (value - mean) / len(column)
            for slope, value, mean, column in zip(slopes, record, means, known, strict=True)
            if value is not None
        )
        for record in zip(*columns, strict=True)
    ]
    half = Z * math.sqrt(count / (count - 1) * math.fsum(pull**2 for pull in pulls))
    return Estimate(score, max(0.0, score - half), min(1.0, score + half), count)


def _all_finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _unknown(count: int) -> Estimate:
    return Estimate(math.nan, None, None, count)
