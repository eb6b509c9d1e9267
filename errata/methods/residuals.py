"""What a down-projection must give more, so that its block's output moves by a residual.

In most models the block adds what its down-projection gives, v, to the residual stream as it is: both are one. Where a
norm with gains g follows (Gemma 2 and 3, OLMo 2), the block adds

    N(v) = g * u,     u = v / rms(v),

of which only v's direction counts. For a residual r, u should then become u + x with g * x = r, and v should grow by
rms(v) x. Its length stays as it is, so that a fact weighs what it weighed. A dimension of little gain cannot move the
stream by much and need not try: x is that of least squares with a ridge,

    x = g * r / (g^2 + ridge),     ridge = RIDGE * median of g^2.

What one layer misses by that is left to the layers after it. The last one misses little, since the target was searched
for at its own v (`errata.targets.search`), so that its block can give it.
"""

import torch
from torch import Tensor

from errata.model import EditableModel

RIDGE = 0.01


def of_down_projection(model: EditableModel, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
    """Return what block `layer`'s down-projection must give more, from what its output lacks; both (facts, d_model).

    Args:
        keys: what enters the down-projection, (facts, d_in).
    """
    norm = model.mlp_norm(layer)
    if norm is None:
        return residuals
    gains = norm(torch.ones_like(residuals[0], dtype=model.network.dtype)).to(residuals.dtype)
    squares = gains.square()
    changes = residuals * gains / (squares + RIDGE * squares.median())
    scaled: Tensor = changes * _lengths(model, layer, keys).to(changes)[:, None]
    return scaled


def unit(model: EditableModel, layer: int, keys: Tensor) -> float | None:
    """Return the mean of rms(v) over the facts where a norm follows; else None."""
    return None if model.mlp_norm(layer) is None else float(_lengths(model, layer, keys).mean())


def _lengths(model: EditableModel, layer: int, keys: Tensor) -> Tensor:
    """Return rms(v) of each fact, (facts,), float32."""
    outputs: Tensor = model.down_projection(layer)(keys.to(model.network.dtype)).float()
    return outputs.square().mean(-1).sqrt()
