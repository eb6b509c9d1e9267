"""The architectures that Errata can edit, each described by data.

This is the one place that knows an architecture's module names. Names follow transformers.
"""

from dataclasses import dataclass

from transformers import PreTrainedConfig

from errata.errors import UnsupportedArchitecture


@dataclass(frozen=True, slots=True)
class Architecture:
    """The parts of a causal language model that editing and tracing touch."""

    name: str  # `model_type` of the model's transformers config
    backbone: str  # attribute of the causal model that holds everything but the head
    blocks: str  # attribute of the backbone that holds the list of blocks
    down_projection: str  # path, inside a block, of the MLP's last linear map, (d_in -> d_model)
    attention: str  # attribute of a block that holds its attention
    final_norm: str  # attribute of the backbone that is applied after the last block
    transposed: bool = False  # whether the down-projection stores its matrix as (d_in, d_model)
    position_embedding: str | None = None  # attribute of the backbone, whose output is added to the token embeddings
    # Whether a block's MLP reads the block's input, beside the attention rather than after it, or the attribute of the
    # config that says so.
    parallel: bool | str = False

    def down_projection_of(self, layer: int) -> str:
        """Return the name of block `layer`'s down-projection, seen from the causal model."""
        return f"{self.backbone}.{self.blocks}.{layer}.{self.down_projection}"

    @property
    def mlp(self) -> str:
        """Attribute of a block that holds its MLP."""
        return self.down_projection.split(".")[0]


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("gptj", "transformer", "h", "mlp.fc_out", "attn", "ln_f", parallel=True),
        Architecture(
            "gpt2", "transformer", "h", "mlp.c_proj", "attn", "ln_f", transposed=True, position_embedding="wpe"
        ),
        Architecture(
            *("gpt_neox", "gpt_neox", "layers", "mlp.dense_4h_to_h", "attention", "final_layer_norm"),
            parallel="use_parallel_residual",
        ),
        Architecture("llama", "model", "layers", "mlp.down_proj", "self_attn", "norm"),
        Architecture("qwen2", "model", "layers", "mlp.down_proj", "self_attn", "norm"),
    )
}


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """Return the description of the architecture that a transformers config names.

    Raises:
        UnsupportedArchitecture: there is none, or some of the model's blocks attend through a sliding window, which
            a run of some blocks alone could not tell from the others.
    """
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedArchitecture(f"models of type {config.model_type!r} cannot be edited; there are: {known}")
    if other := set(getattr(config, "layer_types", None) or ()) - {"full_attention"}:
        raise UnsupportedArchitecture(
            f"a {config.model_type} model with {', '.join(sorted(other))} cannot be edited: every block must attend to "
            "all earlier tokens"
        )
    return ARCHITECTURES[config.model_type]
