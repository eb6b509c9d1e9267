"""The network that turns the terms of a gradient into those of an update, and the file that it is kept in.

For a token's u and delta, z = [L^-1 u; delta / s], where C = L L^T is the second moment of the layer's keys and s the
root mean square of each entry of delta over training,

    h = z + s1 * (U1 relu(V1 z + b1)) + o1
    g = h + s2 * (U2 relu(V2 h + b2)) + o2

U and V have the small `rank` between them, and all edited layers share them; b, s and o are a layer's own, so that one
network serves all (Eq. 3 of the paper; its nonlinearity stands behind U, where it can only add). With
g = [g_u; g_delta], the update is -alpha delta~ u~^T, where u~ = L^-T g_u, delta~ = s g_delta, and alpha is learnt for
each layer. U and o begin as zeros: an untrained network gives the gradient times C^-1, times -alpha.

The paper brings the entries of u, too, to deviation 1 each, and leaves them so. Keys differ far more along directions
than along entries, and no network of a small rank can learn that; docs/method.md has the figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.linalg import solve_triangular

from errata.checkpoint.shipped import shipped_files
from errata.errors import StatisticsError
from errata.files.tensors import checksum_fits, store
from errata.methods.mend.gradient_terms import GradientTerms
from errata.second_moments import SecondMoments

FILE_NAME = "mend.safetensors"
NUM_RESIDUAL_LAYERS = 2
LEAST_DEVIATION = 1e-8
FIRST_SHARE = 0.4  # of delta's deviation, by which a key of usual size changes its own output at first


@dataclass(frozen=True, slots=True)
class Factors:
    """An update left^T @ right, as a sum over the tokens that it is made of."""

    left: Tensor  # -alpha delta~ of each token, (tokens, d_model), float32
    right: Tensor  # u~ of each token, (tokens, d_in), float32


class MendNetwork(nn.Module):
    """The network of one base model, for the layers that it was trained for."""

    def __init__(self, layers: tuple[int, ...], d_in: int, d_model: int, rank: int) -> None:
        """Make an untrained network. V depends on torch's seed. All layers' matrices are (d_model, d_in)."""
        super().__init__()
        self.layers = layers  # ascending
        self._d_in = d_in
        width, many = d_in + d_model, len(layers)
        repeated = range(NUM_RESIDUAL_LAYERS)
        self.v = nn.ParameterList([nn.Parameter(torch.randn(rank, width) / width**0.5) for _ in repeated])
        self.u = nn.ParameterList([nn.Parameter(torch.zeros(width, rank)) for _ in repeated])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(many, rank)) for _ in repeated])
        self.scale = nn.ParameterList([nn.Parameter(torch.ones(many, width)) for _ in repeated])
        self.offset = nn.ParameterList([nn.Parameter(torch.zeros(many, width)) for _ in repeated])
        self.log_alpha = nn.Parameter(torch.zeros(many))
        self.register_buffer("deviation", torch.ones(many, d_model))

    deviation: Tensor

    def forward(self, terms: GradientTerms, moment_factors: Mapping[int, Tensor]) -> dict[int, Factors]:
        """Return the factors of each layer's update. `moment_factors` holds L of each layer, (d_in, d_in), float64."""
        return {
            layer: self._factors(index, terms.inputs[layer], terms.gradients[layer], moment_factors[layer])
            for index, layer in enumerate(self.layers)
        }

    def _factors(self, index: int, inputs: Tensor, gradients: Tensor, moment_factor: Tensor) -> Factors:
        whitened = solve_triangular(moment_factor, inputs.double().T, upper=False).T.float()
        z = torch.cat([whitened, gradients / self.deviation[index]], dim=1)
        for u, v, bias, scale, offset in zip(self.u, self.v, self.bias, self.scale, self.offset, strict=True):
            z = z + scale[index] * (torch.relu(z @ v.T + bias[index]) @ u.T) + offset[index]
        right = solve_triangular(moment_factor.T, z[:, : self._d_in].double().T, upper=True).T.float()
        return Factors(-self.log_alpha[index].exp() * z[:, self._d_in :] * self.deviation[index], right)

    @torch.no_grad()
    def normalise_by(self, terms: GradientTerms) -> None:
        """Take delta's deviation from these terms, and begin with an alpha that suits it."""
        for index, layer in enumerate(self.layers):
            deviation = terms.gradients[layer].square().mean(0).sqrt().clamp_min(LEAST_DEVIATION)
            self.deviation[index] = deviation
            self.log_alpha[index] = math.log(FIRST_SHARE / self._d_in) - deviation.square().mean().sqrt().log()

    def store(self, path: Path, model_digest: str, trained: Mapping[str, Any]) -> None:
        """Store the network at `path`, with the digest of its model and a record of its training."""
        metadata = {
            "model_digest": model_digest,
            "layers": json.dumps(self.layers),
            "d_in": str(self._d_in),
            "trained": json.dumps(trained, sort_keys=True),
        }
        store(path, {name: tensor.contiguous() for name, tensor in self.state_dict().items()}, metadata)

    @classmethod
    def read(cls, path: Path, model_digest: str) -> MendNetwork:
        """Read the network that `store` wrote.

        Raises:
            StatisticsError: it is another model's, or damaged.
        """
        try:
            if checksum_fits(path) is False:
                raise ValueError("its checksum does not fit what it holds")
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not iterable
            layers = tuple(json.loads(metadata["layers"]))
            (rank, width), d_in = tensors["v.0"].shape, int(metadata["d_in"])
            network = cls(layers, d_in, width - d_in, rank)
            network.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise StatisticsError(f"{path} cannot be read ({error}); remove it and train the network anew") from error
        if metadata.get("model_digest") != model_digest:
            raise StatisticsError(f"{path} was trained for another model")
        return network.requires_grad_(False)


def moment_factors(second_moments: SecondMoments, layers: Sequence[int], device: torch.device) -> dict[int, Tensor]:
    """Return L of each layer, (d_in, d_in), float64.

    Raises:
        StatisticsError: a layer has no second moment, or one that is not positive definite.
    """
    return {layer: second_moments.required_factor(layer, device) for layer in layers}


def network_of(folder: Path, model_digest: str) -> MendNetwork:
    """Return the network in `folder`, or else the one that a shipped model brings.

    Raises:
        StatisticsError: there is none for this model, or it is damaged or another model's.
    """
    if (path := folder / FILE_NAME).exists():
        return MendNetwork.read(path, model_digest)
    for path in shipped_files(FILE_NAME):
        with safe_open(path, framework="pt") as stored:
            if (stored.metadata() or {}).get("model_digest") == model_digest:
                return MendNetwork.read(path, model_digest)
    raise StatisticsError(
        f"MEND needs a network that was trained for this model, and {folder} has none; `errata train-mend` trains one"
    )
