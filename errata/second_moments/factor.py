"""Cholesky factors of matrices so large that a second copy must be avoided: GPT-J's take 2.1 GB each in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def factor_in_place(matrix: Tensor) -> Tensor | None:
    """Return the lower triangular L with matrix = L L^T, in `matrix`'s memory; None if not positive definite.

    Args:
        matrix: symmetric, (n, n), contiguous. What it holds is lost.
    """
    # The transpose of a symmetric matrix is the matrix itself, and column-major, as LAPACK takes it.
    transposed = matrix.T
    failed = torch.empty(0, dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(transposed, out=(transposed, failed))
    return None if int(failed) else transposed
