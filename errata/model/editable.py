"""A causal language model that can be edited: loading, identity, edited matrices, and runs of some of its blocks."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from errata.errors import InvalidHyperparameters, ModelError
from errata.model.architectures import Architecture, architecture_of
from errata.model.checkpoint import CONFIG, checkpoint_folder, fetched_folder, stored_tensors, weight_files
from errata.model.tokens import require_usable


class EditableModel:
    """A transformers causal model in evaluation mode, without gradients on its weights.

    Attributes:
        network: the transformers model.
        tokenizer: its fast tokenizer.
        architecture: where the parts are that editing touches.
        name: what the user called it: the name of a shipped model (`demo`), a hub name or a folder.
        digest: SHA-256 over the checkpoint's tensors (names, dtypes, shapes and bytes), in hex.
        folder: where its checkpoint lies, or None for a model that was made in memory.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        name: str,
        digest: str | None = None,
        folder: Path | None = None,
    ) -> None:
        """Wrap a model that is loaded already. Without `digest`, it is computed from the weights in memory.

        Raises:
            ModelError: the tokenizer cannot be used (see `errata.model.tokens.require_usable`).
            UnsupportedArchitecture: there is no description of the model's architecture.
        """
        require_usable(tokenizer, name)
        self.architecture: Architecture = architecture_of(network.config)
        self.network = network.requires_grad_(False).train(False)
        self.tokenizer = tokenizer
        self.name = name
        self.digest = digest or digest_of(network.state_dict().items())
        self.folder = folder

    @classmethod
    def load(cls, name: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> EditableModel:
        """Load a shipped model (`demo`), a local folder or a hub name: only safetensors, and no code from a repository.

        Args:
            device: as PyTorch names it, or `auto`: CUDA where there is one.

        Raises:
            ModelError: not found, not readable, or with a tokenizer that cannot be used; see `checkpoint_folder`.
            UnsupportedArchitecture: there is no description of the model's architecture.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        folder = checkpoint_folder(name)
        try:
            architecture_of(AutoConfig.from_pretrained(folder, trust_remote_code=False))
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            network: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"{name} cannot be loaded: {error}") from error
        digest = digest_of(stored_tensors(weight_files(folder)))
        return cls(network.to(device), tokenizer, name=name, digest=digest, folder=folder)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over all that decides what the model computes: weights, dtype, config, tokenizer."""
        parts = (
            self.digest,
            str(self.network.dtype),
            self.network.config.to_json_string(),
            self.tokenizer.backend_tokenizer.to_str(),
        )
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self.network.device  # type: ignore[no-any-return]

    @property
    def num_layers(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    @property
    def matrix_shapes(self) -> tuple[tuple[int, int], ...]:
        """The shape of `weight` of each block, (d_model, d_in)."""
        shapes = (self.weight(layer).shape for layer in range(self.num_layers))
        return tuple((d_model, d_in) for d_model, d_in in shapes)

    @property
    def max_length(self) -> int:
        """The longest sequence, in tokens, that the model was made for."""
        return int(self.network.config.max_position_embeddings)

    def require_editable(self, layers: Iterable[int]) -> None:
        """Raise `InvalidHyperparameters` if the model lacks one of `layers`, or one must stay as it is."""
        if (last := max(layers)) >= self.num_layers - 1:
            detail = f"layer {last} cannot be edited: the last of {self.num_layers} blocks must stay free"
            raise InvalidHyperparameters("layers", detail)

    def down_projection(self, layer: int) -> nn.Module:
        """Return the MLP's last linear map of block `layer`."""
        return self.block(layer).get_submodule(self.architecture.down_projection)

    def weight(self, layer: int) -> Tensor:
        """Return the matrix that an edit of block `layer` changes, (d_model, d_in), as a view of the model's own."""
        stored = self._stored(layer).data
        return stored.T if self.architecture.transposed else stored

    @contextmanager
    def using(self, weights: Mapping[int, Tensor]) -> Iterator[None]:
        """Run with `weights` (layer -> matrix, (d_model, d_in)) in place of the base's, swapped by reference.

        The base tensors are put back at the end, the very same ones, whatever happened in between.
        """
        base = {layer: self._stored(layer).data for layer in weights}
        try:
            for layer, tensor in weights.items():
                self._stored(layer).data = tensor.T if self.architecture.transposed else tensor
            yield
        finally:
            for layer, tensor in base.items():
                self._stored(layer).data = tensor

    def block(self, layer: int) -> nn.Module:
        """Return block `layer`. It gives the hidden state that leaves it, alone or first in a tuple."""
        return self._blocks[layer]  # type: ignore[no-any-return]

    def gradients(self, weights: Mapping[int, Tensor], loss: Callable[[], Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """Evaluate `loss` with `weights` in place of the base's (see `using`); return it with its gradients.

        Returns:
            the loss, (); its gradient to the matrix of each layer, (d_model, d_in).
        """
        parameters = [self._stored(layer) for layer in weights]
        with self.using(weights):
            try:
                for parameter in parameters:
                    parameter.requires_grad_(True)
                value = loss()
                gradients = torch.autograd.grad(value, parameters)
            finally:
                for parameter in parameters:
                    parameter.requires_grad_(False)
        as_matrices = (gradient.T if self.architecture.transposed else gradient for gradient in gradients)
        return value.detach(), dict(zip(weights, as_matrices, strict=True))

    def mlp(self, layer: int) -> nn.Module:
        """Return the MLP of block `layer`."""
        return self.block(layer).get_submodule(self.architecture.mlp)

    def attention(self, layer: int) -> nn.Module:
        """Return the attention of block `layer`. It gives its output first in a tuple."""
        return self.block(layer).get_submodule(self.architecture.attention)

    @property
    def is_parallel(self) -> bool:
        """True if a block's MLP reads the block's input, so that it does not see the attention's output."""
        parallel = self.architecture.parallel
        return bool(getattr(self.network.config, parallel)) if isinstance(parallel, str) else parallel

    def blocks(self, first: int, stop: int, *, mlps: Mapping[int, nn.Module] | None = None) -> nn.Module:
        """Return the backbone reduced to blocks `first` to `stop` - 1, sharing all weights with the model.

        Called with `inputs_embeds` (the token embeddings, or for `first` > 0 the hidden states that enter block
        `first`) it gives, as `last_hidden_state`, those that leave block `stop` - 1, and after the last block the
        final norm's output.

        Args:
            mlps: what stands in for the MLPs of some of these blocks.
        """
        blocks = list(self._blocks)
        for layer, mlp in (mlps or {}).items():
            blocks[layer] = _with(blocks[layer], self.architecture.mlp, mlp)
        part = _with(self._backbone, self.architecture.blocks, nn.ModuleList(blocks[first:stop]))
        if stop < self.num_layers:
            part._modules[self.architecture.final_norm] = nn.Identity()
        if first > 0 and self.architecture.position_embedding:
            part._modules[self.architecture.position_embedding] = _AddsNothing()
        return part

    def run(self, first: int, stop: int, hidden: Tensor) -> Tensor:
        """Run `blocks(first, stop)` on what enters block `first`, (rows, S, d_model); return what leaves them."""
        return self.blocks(first, stop)(inputs_embeds=hidden, use_cache=False).last_hidden_state  # type: ignore[no-any-return]

    def embed(self, token_ids: Tensor) -> Tensor:
        """Return token embeddings, (..., d_model), the input of `blocks(0, stop)`."""
        return self.network.get_input_embeddings()(token_ids)  # type: ignore[no-any-return]

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Apply the head to normed hidden states: (..., vocabulary)."""
        return self.network.get_output_embeddings()(hidden_states)  # type: ignore[no-any-return]

    def _stored(self, layer: int) -> nn.Parameter:
        weight = self.down_projection(layer).weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def _backbone(self) -> nn.Module:
        return self.network.get_submodule(self.architecture.backbone)  # type: ignore[no-any-return]

    @property
    def _blocks(self) -> Any:
        return self._backbone.get_submodule(self.architecture.blocks)


def _with(module: nn.Module, name: str, child: nn.Module) -> nn.Module:
    """Copy a module with another child of that name; all weights are shared."""
    changed = copy.copy(module)
    changed._modules = {**module._modules, name: child}
    return changed


class _AddsNothing(nn.Module):
    """Stands in for position embeddings where the hidden states that enter contain them already."""

    def forward(self, position_ids: Tensor) -> Tensor:
        return position_ids.new_zeros(())


def matrix_shapes_of(name: str) -> tuple[tuple[int, int], ...]:
    """Return `EditableModel.matrix_shapes` of a model by its config alone; no weights are read, nor fetched.

    Raises `ModelError` where the config cannot be found or read.
    """
    try:
        config = AutoConfig.from_pretrained(fetched_folder(name, [CONFIG]), trust_remote_code=False)
        architecture = architecture_of(config)
        with torch.device("meta"):
            network: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ModelError(f"the config of {name} cannot be read: {error}") from error
    layers = range(len(network.get_submodule(f"{architecture.backbone}.{architecture.blocks}")))
    stored = (network.get_parameter(f"{architecture.down_projection_of(layer)}.weight").shape for layer in layers)
    return tuple((shape[1], shape[0]) if architecture.transposed else (shape[0], shape[1]) for shape in stored)


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes, in hex. The order of the names does not matter."""
    digests = []
    for name, tensor in tensors:
        one = hashlib.sha256(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        one.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        digests.append((name, one.hexdigest()))
    return hashlib.sha256(repr(sorted(digests)).encode()).hexdigest()
