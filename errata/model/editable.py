"""A causal language model that can be edited: loading, identity, edited matrices, and runs of some of its blocks."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from errata.checkpoint.architectures import Architecture, architecture_of
from errata.checkpoint.folder import CONFIG, checkpoint_folder, fetched_folder, weight_files
from errata.errors import InvalidHyperparameters, ModelError
from errata.model.placement import Placement, place
from errata.model.tokens import lengthening_ids, require_usable

LONGEST_RUN = 2**30  # tokens; more than any model takes
VALUES_OF_A_MATRIX = 16  # enough to tell it from a fine-tuned one's


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
        self.architecture: Architecture = architecture_of(network.config.to_dict())
        self.network = network.requires_grad_(False).train(False)
        self.tokenizer = tokenizer
        self.name = name
        self.digest = digest or digest_of(network.state_dict().items())
        self.folder = folder

    @classmethod
    def load(cls, name: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> EditableModel:
        """Load a shipped model (`demo`), a local folder or a hub name: only safetensors, and no code from a repository.

        Args:
            device: as PyTorch names it, several of them, or `auto`; see `Placement.of`.

        Weights of the checkpoint's own type go from its files to their devices, a matrix at a time. Where another type
        is asked for, main memory holds all of them in that type first.

        Raises:
            ModelError: not found, not readable, or with a tokenizer that cannot be used (see `checkpoint_folder`), or
                too large for the devices.
            UnsupportedArchitecture: there is no description of the model's architecture.
        """
        folder = checkpoint_folder(name)
        try:
            architecture = architecture_of(AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict())
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            network: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"{name} cannot be loaded: {error}") from error
        digest = digest_of(_stored_tensors(weight_files(folder)))
        place(network, architecture, Placement.of(network, architecture, device))
        return cls(network, tokenizer, name=name, digest=digest, folder=folder)

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

    @cached_property
    def lengthening(self) -> Tensor:
        """The ids of the tokens that make a word before them longer, ascending."""
        return torch.tensor(lengthening_ids(self.tokenizer), device=self.device)

    @property
    def device(self) -> torch.device:
        """The model's own device, where all is that enters and leaves a run (see `errata.model.placement`)."""
        return self.network.device  # type: ignore[no-any-return]

    @property
    def placement(self) -> Placement:
        """The devices of the model's parts."""
        return Placement(self.device, tuple(self.weight(layer).device for layer in range(self.num_layers)))

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
    def matrix_values(self) -> tuple[tuple[int, int, int, float], ...]:
        """Some values of `weight`, (layer, row, column, value), by which the model is known where others serve it.

        They lie on the diagonals of the first, a middle and the last block's matrix.
        """
        values = []
        for layer in sorted({0, self.num_layers // 2, self.num_layers - 1}):
            weight = self.weight(layer)
            for part in range(VALUES_OF_A_MATRIX):
                row, column = (part * (size - 1) // (VALUES_OF_A_MATRIX - 1) for size in weight.shape)
                values.append((layer, row, column, float(weight[row, column])))
        return tuple(values)

    @property
    def max_length(self) -> int:
        """The longest sequence, in tokens, that the model was made for.

        Beyond the original length, longrope turns all positions of a batch otherwise, so that what was cached before
        would no longer fit; the model ends there.
        """
        config = self.network.config
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("rope_type") == "longrope":
            return int(rope.get("original_max_position_embeddings") or config.original_max_position_embeddings)
        return int(config.max_position_embeddings)

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
        """Return what gives the MLP's output in block `layer`; see `Architecture.mlp`."""
        return self.block(layer).get_submodule(self.architecture.mlp)

    def mlp_norm(self, layer: int) -> nn.Module | None:
        """Return the norm that the MLP's output goes through before block `layer` adds it to the residual, if any."""
        name = self.architecture.mlp_norm
        return self.block(layer).get_submodule(name) if name else None

    def attention(self, layer: int) -> nn.Module:
        """Return the attention of block `layer`. It gives its output first in a tuple."""
        return self.block(layer).get_submodule(self.architecture.attention)

    @property
    def is_parallel(self) -> bool:
        """True if a block's MLP reads the block's input, so that it does not see the attention's output."""
        parallel = self.architecture.parallel
        if isinstance(parallel, bool):
            return parallel
        return any(getattr(self.network.config, name) for name in parallel)

    @cached_property
    def windows(self) -> tuple[int | None, ...]:
        """How many tokens each block sees, itself included; None for all that came before."""
        return self.architecture.windows(self.network.config)

    def causal_mask(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Return what to add to attention scores so that no query sees a later key, nor one outside of its window.

        Args:
            query_positions: (rows, queries).
            key_positions: (rows or 1, keys).

        Returns:
            (rows, W, queries, keys): a mask for each of the W different windows of the model's blocks.
        """
        distance = query_positions[:, None, :, None] - key_positions[:, None, None, :]
        unseen = torch.cat([(distance < 0) | (distance >= window) for window in self._window_sizes], dim=1)
        dtype = self.network.dtype
        return torch.zeros(unseen.shape, dtype=dtype, device=unseen.device).masked_fill(unseen, torch.finfo(dtype).min)

    def blocks(self, first: int, stop: int, *, mlps: Mapping[int, nn.Module] | None = None) -> nn.Module:
        """Return the backbone reduced to blocks `first` to `stop` - 1, sharing all weights with the model.

        Called with `inputs_embeds` (the token embeddings, or for `first` > 0 the hidden states that enter block
        `first`) and an `attention_mask` (see `causal_mask`) it gives, as `last_hidden_state`, those that leave block
        `stop` - 1, and after the last block the final norm's output. See `run` and `errata.model.prefixes.run_blocks`,
        which bring what leaves a block on another device back.

        Args:
            mlps: what stands in for the MLPs of some of these blocks.
        """
        architecture, blocks = self.architecture, list(self._blocks)[first:stop]
        for layer, mlp in (mlps or {}).items():
            blocks[layer - first] = _with(blocks[layer - first], architecture.mlp, mlp)
        if architecture.masking:
            blocks = [_seeing_all(block, architecture.masking) for block in blocks]
        if len(self._window_sizes) > 1:
            sizes = (math.inf if window is None else window for window in self.windows[first:stop])
            blocks = [
                _WithOwnMask(block, self._window_sizes.index(size)) for block, size in zip(blocks, sizes, strict=True)
            ]
        part = _with(self._backbone, architecture.blocks, nn.ModuleList(blocks))
        if architecture.kinds == "layer_types":  # by which the backbone tells its blocks apart
            config: Any = copy.copy(self.network.config)
            config.layer_types = config.layer_types[first:stop]
            part.config = config
        if stop < self.num_layers:
            part._modules[architecture.final_norm] = nn.Identity()
        if first > 0 and architecture.position_embedding:
            part._modules[architecture.position_embedding] = _AddsNothing()
        return part

    def run(self, first: int, stop: int, hidden: Tensor) -> Tensor:
        """Run `blocks(first, stop)` on what enters block `first`, (rows, S, d_model); return what leaves them."""
        mask = None  # each backbone makes its own, where its blocks go by it
        if self.architecture.masking:
            positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
            mask = self.causal_mask(positions, positions)
        part = self.blocks(first, stop)
        output = part(inputs_embeds=hidden, attention_mask=mask, use_cache=False)
        return output.last_hidden_state.to(hidden.device)  # type: ignore[no-any-return]

    def embed(self, token_ids: Tensor) -> Tensor:
        """Return token embeddings, (..., d_model), the input of `blocks(0, stop)`."""
        return self.network.get_input_embeddings()(token_ids)  # type: ignore[no-any-return]

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Apply the head to normed hidden states: (..., vocabulary)."""
        logits: Tensor = self.network.get_output_embeddings()(hidden_states)
        if cap := getattr(self.network.config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits

    def _stored(self, layer: int) -> nn.Parameter:
        weight = self.down_projection(layer).weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @cached_property
    def _window_sizes(self) -> tuple[float, ...]:
        """The different windows of the blocks, ascending; infinity for all that came before."""
        return tuple(sorted({math.inf if window is None else float(window) for window in self.windows}))

    @property
    def _backbone(self) -> nn.Module:
        return self.network.get_submodule(self.architecture.backbone)  # type: ignore[no-any-return]

    @property
    def _blocks(self) -> Any:
        return self._backbone.get_submodule(self.architecture.blocks)


def _with(module: nn.Module, path: str, child: nn.Module) -> nn.Module:
    """Copy a module with another submodule at that path; all weights are shared."""
    name, _, rest = path.partition(".")
    changed = copy.copy(module)
    changed._modules = {**module._modules, name: _with(module.get_submodule(name), rest, child) if rest else child}
    return changed


def _seeing_all(block: nn.Module, attention: str) -> nn.Module:
    """Copy a block whose attention, at that path, hides tokens by their places among those of a run; it hides none.

    The mask that the block is given goes by positions, which are others where a run does not begin with a text.
    """
    changed: Any = copy.copy(block.get_submodule(attention))
    everything = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=changed.bias.device)
    changed._buffers = {**changed._buffers, "bias": everything.expand(1, 1, LONGEST_RUN, LONGEST_RUN)}
    return _with(block, attention, changed)


class _WithOwnMask(nn.Module):
    """A block that is given the masks of all windows of the model's blocks, and goes by that of its own."""

    def __init__(self, block: nn.Module, index: int) -> None:
        super().__init__()
        self._block, self._index = block, index

    def forward(self, *args: Any, attention_mask: Tensor | None = None, **others: Any) -> Any:
        if attention_mask is not None and attention_mask.shape[1] > 1:  # else the backbone has made it for this block
            attention_mask = attention_mask[:, self._index : self._index + 1]
        return self._block(*args, attention_mask=attention_mask, **others)


class _AddsNothing(nn.Module):
    """Stands in for position embeddings where the hidden states that enter contain them already."""

    def forward(self, *_: Any, **__: Any) -> Tensor:
        return torch.zeros(())


def matrix_shapes_of(name: str) -> tuple[tuple[int, int], ...]:
    """Return `EditableModel.matrix_shapes` of a model by its config alone; no weights are read, nor fetched.

    Raises `ModelError` where the config cannot be found or read.
    """
    try:
        config = AutoConfig.from_pretrained(fetched_folder(name, [CONFIG]), trust_remote_code=False)
        architecture = architecture_of(config.to_dict())
        with torch.device("meta"):
            network: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ModelError(f"the config of {name} cannot be read: {error}") from error
    layers = range(len(network.get_submodule(f"{architecture.backbone}.{architecture.blocks}")))
    stored = (network.get_parameter(f"{architecture.down_projection_of(layer)}.weight").shape for layer in layers)
    return tuple((shape[1], shape[0]) if architecture.transposed else (shape[0], shape[1]) for shape in stored)


def _stored_tensors(files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of a checkpoint with its name."""
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is not iterable
                yield name, tensors.get_tensor(name)


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes, in hex. The order of the names does not matter."""
    digests = []
    for name, tensor in tensors:
        one = hashlib.sha256(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        one.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        digests.append((name, one.hexdigest()))
    return hashlib.sha256(repr(sorted(digests)).encode()).hexdigest()
