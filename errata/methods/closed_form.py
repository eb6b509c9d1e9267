"""The closed form of an update: A = (lambda C + K K^T + lambda_n I)^-1 K, and C^-1 K, in float64.

This is Eq. 14 of the MEMIT paper, with ENCORE's lambda_n (arXiv 2502.01636, section 5), which is 0 in MEMIT.

K has a column for each fact. With fewer facts than dimensions and C = L L^T factored once for all edits, W = L^-1 K
/ sqrt(lambda) gives, by Woodbury's identity,

    A = L^-T W (I + W^T W)^-1 / sqrt(lambda),

two triangular solves and a factor of facts times facts. Otherwise lambda C + K K^T itself is factored, and so it is
with lambda_n, since L is no factor of lambda C + lambda_n I.
"""

import math

import torch
from torch import Tensor

from errata.errors import NotFinite
from errata.second_moments import SecondMoments
from errata.second_moments.moments import factor_in_place

LAMBDA_TOO_SMALL = (
    "lambda C + K K^T is not positive definite: lambda is too small for second moments of so few key vectors"
)


def adjusted_keys(
    second_moments: SecondMoments, layer: int, keys: Tensor, moment_weight: float, norm_weight: float = 0.0
) -> Tensor:
    """Return A of one layer, (d_in, facts), float64.

    Args:
        keys: K transposed, (facts, d_in).
        moment_weight: lambda.
        norm_weight: lambda_n.

    Raises:
        NotFinite: lambda C + K K^T is not positive definite.
        StatisticsError: the layer has no second moment.
    """
    columns = keys.double().T  # K, (d_in, facts)
    if columns.shape[1] < columns.shape[0] and norm_weight == 0:
        factor = second_moments.factor(layer, columns.device)
        if factor is not None:
            return _from_factor(factor, columns, moment_weight)
    # There are as many facts as dimensions, or lambda_n, or rounding has left C without a factor.
    weighed = second_moments.moment(layer).to(columns.device).double().mul_(moment_weight).addmm_(columns, columns.T)
    weighed.diagonal().add_(norm_weight)
    return torch.cholesky_solve(columns, factored(weighed))


def decorrelated_keys(second_moments: SecondMoments, layer: int, keys: Tensor) -> Tensor:
    """Return C^-1 K of one layer, (d_in, facts), float64.

    Args:
        keys: K transposed, (facts, d_in).

    Raises:
        StatisticsError: the layer has no second moment, or one that is not positive definite.
    """
    return torch.cholesky_solve(keys.double().T, second_moments.required_factor(layer, keys.device))


def _from_factor(factor: Tensor, columns: Tensor, moment_weight: float) -> Tensor:
    """Solve by Woodbury's identity, from L with C = L L^T."""
    scale = 1 / math.sqrt(moment_weight)
    whitened = torch.linalg.solve_triangular(factor, columns, upper=False).mul_(scale)  # W, (d_in, facts)
    inner = torch.eye(columns.shape[1], dtype=columns.dtype, device=columns.device).addmm_(whitened.T, whitened)
    shrunk = torch.cholesky_solve(whitened.T, factored(inner)).T  # W (I + W^T W)^-1
    adjusted: Tensor = torch.linalg.solve_triangular(factor.T, shrunk, upper=True).mul_(scale)
    return adjusted


def factored(matrix: Tensor, otherwise: str = LAMBDA_TOO_SMALL) -> Tensor:
    """Return `factor_in_place` of a matrix; raise `NotFinite`, saying `otherwise`, if it is not positive definite."""
    factor = factor_in_place(matrix)
    if factor is None:
        raise NotFinite(otherwise)
    return factor
