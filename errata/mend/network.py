"""The network that turns the terms of a gradient into those of an update, and the file that it is kept in.

For a token's u and delta, z = [u; delta], each of whose entries is brought to mean 0 and deviation 1 over training,

    h = z + s1 * (U1 relu(V1 z + b1)) + o1
    g = h + s2 * (U2 relu(V2 h + b2)) + o2

U and V have the small `rank` between them, and all edited layers share them; b, s and o are a layer's own, so that one
network serves all (Eq. 3 of the paper; its nonlinearity stands behind U, where it can only add). g is brought back to
the scales of u and delta, and the update is -alpha delta~ u~^T, alpha being learnt for each layer. U and o begin as
zeros: an untrained network gives the gradient itself, times -alpha.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from errata.errors import StatisticsError
from errata.mend.gradient_terms import GradientTerms
from errata.tensor_files import store

FILE_NAME = "mend.safetensors"
SHIPPED = Path(__file__).parents[1] / "demo" / FILE_NAME
NUM_RESIDUAL_LAYERS = 2
LEAST_DEVIATION = 1e-8


@dataclass(frozen=True, slots=True)
class Factors:
    """An update left @ right by the tokens that it is made of.

    Attributes:
        left: -alpha delta~ of each token, (tokens, d_model), float32.
        right: u~ of each token, (tokens, d_in), float32.
    """

    left: Tensor
    right: Tensor


class MendNetwork(nn.Module):
    """The network of one base model, for those of its layers that it was made for.

    Attributes:
        layers: ascending.
    """

    def __init__(self, layers: tuple[int, ...], d_in: int, d_model: int, rank: int) -> None:
        """An untrained one, whose V depends on torch's seed. The layers' matrices are all (d_model, d_in)."""
        super().__init__()
        self.layers = layers
        self._d_in = d_in
        width, many = d_in + d_model, len(layers)
        repeated = range(NUM_RESIDUAL_LAYERS)
        self.v = nn.ParameterList([nn.Parameter(torch.randn(rank, width) / width**0.5) for _ in repeated])
        self.u = nn.ParameterList([nn.Parameter(torch.zeros(width, rank)) for _ in repeated])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(many, rank)) for _ in repeated])
        self.scale = nn.ParameterList([nn.Parameter(torch.ones(many, width)) for _ in repeated])
        self.offset = nn.ParameterList([nn.Parameter(torch.zeros(many, width)) for _ in repeated])
        self.log_alpha = nn.Parameter(torch.zeros(many))
        self.register_buffer("mean", torch.zeros(many, width))
        self.register_buffer("deviation", torch.ones(many, width))

    mean: Tensor
    deviation: Tensor

    def forward(self, terms: GradientTerms) -> dict[int, Factors]:
        """The factors of each layer's update. Raises `KeyError` for terms without one of the layers."""
        return {layer: self._factors(index, terms, layer) for index, layer in enumerate(self.layers)}

    def _factors(self, index: int, terms: GradientTerms, layer: int) -> Factors:
        mean, deviation = self.mean[index], self.deviation[index]
        z = (torch.cat([terms.inputs[layer], terms.gradients[layer]], dim=1) - mean) / deviation
        for u, v, bias, scale, offset in zip(self.u, self.v, self.bias, self.scale, self.offset, strict=True):
            z = z + scale[index] * (torch.relu(z @ v.T + bias[index]) @ u.T) + offset[index]
        pseudo = z * deviation + mean
        right, left = pseudo[:, : self._d_in], pseudo[:, self._d_in :]
        return Factors(-self.log_alpha[index].exp() * left, right)

    @torch.no_grad()
    def normalise_by(self, terms: GradientTerms) -> None:
        """Take mean and deviation from these terms. Of delta, whose sign is all that tells up from down, the mean stays
        zero; and log alpha begins where a term of usual size changes its own output by as much as delta's deviation."""
        for index, layer in enumerate(self.layers):
            inputs, gradients = terms.inputs[layer], terms.gradients[layer]
            self.mean[index] = torch.cat([inputs.mean(0), torch.zeros_like(gradients[0])])
            deviation = torch.cat([inputs.std(0), gradients.square().mean(0).sqrt()])
            self.deviation[index] = deviation.clamp_min(LEAST_DEVIATION)
            self.log_alpha[index] = -inputs.square().sum(1).mean().log() - gradients.square().mean().sqrt().log()

    def store(self, path: Path, model_digest: str, trained: Mapping[str, Any]) -> None:
        """Put the network at `path`, with the model that it is of and what is to be known of its training."""
        metadata = {
            "model_digest": model_digest,
            "layers": json.dumps(self.layers),
            "d_in": str(self._d_in),
            "trained": json.dumps(trained, sort_keys=True),
        }
        store(path, {name: tensor.contiguous() for name, tensor in self.state_dict().items()}, metadata)

    @classmethod
    def read(cls, path: Path, model_digest: str) -> MendNetwork:
        """The network that `store` put there.

        Raises:
            StatisticsError: it is another model's, or damaged.
        """
        try:
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


def network_of(folder: Path, model_digest: str) -> MendNetwork:
    """The network of a model: the one in `folder`, among what else belongs to the model, or the demo model's own.

    Raises:
        StatisticsError: there is none, or it is damaged or another model's.
    """
    if (path := folder / FILE_NAME).exists():
        return MendNetwork.read(path, model_digest)
    with safe_open(SHIPPED, framework="pt") as stored:
        if (stored.metadata() or {}).get("model_digest") == model_digest:
            return MendNetwork.read(SHIPPED, model_digest)
    raise StatisticsError(
        f"MEND needs a network that was trained for this model, and {folder} has none; `errata train-mend` trains one"
    )
