"""The architectures that Errata can edit, each described by data, and why others cannot be edited.

This is the one place that knows an architecture's module names. Names follow transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from errata.errors import UnsupportedArchitecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True, slots=True)
class Architecture:
    """The parts of a causal language model that editing and tracing touch."""

    name: str  # `model_type` of the model's transformers config
    backbone: str  # path of what holds everything but the head, in the causal model
    blocks: str  # attribute of the backbone that holds the list of blocks
    down_projection: str  # path, inside a block, of the MLP's last linear map, (d_in -> d_model)
    attention: str  # attribute of a block that holds its attention
    final_norm: str  # attribute of the backbone that is applied after the last block
    transposed: bool = False  # whether the down-projection stores its matrix as (d_in, d_model)
    position_embedding: str | None = None  # attribute of the backbone, whose output is added to the token embeddings
    # Whether a block's MLP reads the block's input, beside the attention rather than after it, or the attributes of the
    # config of which one says so.
    parallel: bool | tuple[str, ...] = False
    mlp_norm: str | None = None  # attribute of a block, applied to the MLP's output before the residual takes it
    window: str | None = None  # attribute of the config: how many tokens a block with a window sees, itself included
    # Attribute of the config that lists the kind of each block's attention (see `KINDS`). Without it, all blocks have
    # the window.
    kinds: str | None = None
    # Path, inside a block, of the attention that masks later tokens itself, by its buffer `bias`.
    masking: str | None = None

    def down_projection_of(self, layer: int) -> str:
        """Return the name of block `layer`'s down-projection, seen from the causal model."""
        return f"{self.backbone}.{self.blocks}.{layer}.{self.down_projection}"

    @property
    def mlp(self) -> str:
        """Attribute of a block that gives its MLP's output: the whole MLP, or else its down-projection."""
        return self.down_projection.split(".")[0]

    @property
    def has_whole_mlp(self) -> bool:
        """True if a block holds its MLP as one module."""
        return self.mlp != self.down_projection

    def windows(self, config: PreTrainedConfig) -> tuple[int | None, ...]:
        """Return how many tokens each block sees, itself included; None for all that came before."""
        window: int | None = getattr(config, self.window) if self.window else None
        if self.kinds is None:
            num_layers: int = config.num_hidden_layers
            return (window,) * num_layers
        kinds: Sequence[str] = getattr(config, self.kinds)
        return tuple(window if KINDS[kind] else None for kind in kinds)


# The kinds of attention that configs list, and whether each has a window.
KINDS = {"full_attention": False, "sliding_attention": True, "global": False, "local": True}
WINDOWS_BY_BLOCK: dict[str, Any] = {"window": "sliding_window", "kinds": "layer_types"}

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("gptj", "transformer", "h", "mlp.fc_out", "attn", "ln_f", parallel=True),
        Architecture(
            "gpt2", "transformer", "h", "mlp.c_proj", "attn", "ln_f", transposed=True, position_embedding="wpe"
        ),
        Architecture(
            *("gpt_neo", "transformer", "h", "mlp.c_proj", "attn", "ln_f"),
            position_embedding="wpe",
            window="window_size",
            kinds="attention_layers",
            masking="attn.attention",
        ),
        Architecture(
            *("gpt_neox", "gpt_neox", "layers", "mlp.dense_4h_to_h", "attention", "final_layer_norm"),
            parallel=("use_parallel_residual",),
        ),
        Architecture(
            *("falcon", "transformer", "h", "mlp.dense_4h_to_h", "self_attention", "ln_f"),
            parallel=("parallel_attn", "new_decoder_architecture"),
        ),
        Architecture(
            *("opt", "model.decoder", "layers", "fc2", "self_attn", "final_layer_norm"),
            position_embedding="embed_positions",
        ),
        Architecture("phi", "model", "layers", "mlp.fc2", "self_attn", "final_layernorm", parallel=True),
        Architecture("phi3", "model", "layers", "mlp.down_proj", "self_attn", "norm", window="sliding_window"),
        Architecture("llama", "model", "layers", "mlp.down_proj", "self_attn", "norm"),
        Architecture("mistral", "model", "layers", "mlp.down_proj", "self_attn", "norm", window="sliding_window"),
        Architecture("qwen2", "model", "layers", "mlp.down_proj", "self_attn", "norm", **WINDOWS_BY_BLOCK),
        Architecture("qwen3", "model", "layers", "mlp.down_proj", "self_attn", "norm", **WINDOWS_BY_BLOCK),
        Architecture(
            "olmo2", "model", "layers", "mlp.down_proj", "self_attn", "norm", mlp_norm="post_feedforward_layernorm"
        ),
        Architecture("gemma", "model", "layers", "mlp.down_proj", "self_attn", "norm"),
        *(
            Architecture(
                *(name, "model", "layers", "mlp.down_proj", "self_attn", "norm"),
                mlp_norm="post_feedforward_layernorm",
                **WINDOWS_BY_BLOCK,
            )
            for name in ("gemma2", "gemma3_text")
        ),
    )
}

# Attributes of configs that count the experts of a block.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Return the description of the architecture that a transformers config names.

    Args:
        config: whole (`PreTrainedConfig.to_dict`), or as it stands in `config.json`, where what is default may be left
            out.

    Raises:
        UnsupportedArchitecture: there is none, or the model is of a form that cannot be edited; says why.
    """
    architecture = ARCHITECTURES.get(str(config.get("model_type")))
    if problem := _problem_of(config, architecture):
        kind = config.get("model_type")
        raise UnsupportedArchitecture(
            f"models of type {kind!r} cannot be edited{problem}; docs/models.md says which models can"
        )
    assert architecture is not None
    return architecture


def _problem_of(config: Mapping[str, Any], architecture: Architecture | None) -> str | None:
    """Return why a model cannot be edited, to follow "cannot be edited"; None if it can."""
    text: Mapping[str, Any] = config.get("text_config") or config
    if any(text.get(count) for count in EXPERTS):
        return (
            ": a mixture of experts has no single down-projection in a block that all facts could be written into; "
            "each token goes through experts of its own"
        )
    if architecture is None:
        if text is not config and text.get("model_type") in ARCHITECTURES:
            return f": they read more than text; save the language model alone, of type {text['model_type']!r}"
        return f"; there are: {', '.join(sorted(ARCHITECTURES))}"
    if config.get("use_bidirectional_attention"):
        return " where tokens attend to later ones: Errata edits models that read from left to right"
    if config.get("alibi"):
        return (
            " with ALiBi, whose attention depends on distances in a way that runs of a part of the blocks do not know"
        )
    is_opt = config["model_type"] == "opt"
    if is_opt and not config.get("do_layer_norm_before", True):
        return " with norms after the sums (OPT-350m): a norm of the whole hidden state undoes what an edit adds to it"
    if is_opt and config.get("word_embed_proj_dim", config["hidden_size"]) != config["hidden_size"]:
        return " whose embeddings are projected to another width: blocks would not get what the embedding gives"
    if architecture.kinds and (other := set(config.get(architecture.kinds) or ()) - KINDS.keys()):
        return f" with {', '.join(sorted(other))}: every block must attend to all earlier tokens or to a window of them"
    return None
