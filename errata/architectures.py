"""The architectures that Errata can edit, each described by data.

This is the one place that knows an architecture's module names. Names follow transformers.
"""

from __future__ import annotations

from dataclasses import dataclass

from errata.errors import UnsupportedArchitecture


@dataclass(frozen=True, slots=True)
class Architecture:
    """Where the parts that editing touches are found in a causal language model.

    Attributes:
        name: `model_type` of the model's transformers config.
        backbone: attribute of the causal model that holds everything but the head.
        blocks: attribute of the backbone that holds the list of blocks.
        down_projection: path, inside a block, of the MLP's last linear map, (d_in -> d_model).
        final_norm: attribute of the backbone that is applied after the last block.
    """

    name: str
    backbone: str
    blocks: str
    down_projection: str
    final_norm: str


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("gptj", "transformer", "h", "mlp.fc_out", "ln_f"),
        Architecture("gpt_neox", "gpt_neox", "layers", "mlp.dense_4h_to_h", "final_layer_norm"),
    )
}


def architecture_of(model_type: str) -> Architecture:
    """The description of a transformers `model_type`.

    Raises:
        UnsupportedArchitecture: there is none.
    """
    try:
        return ARCHITECTURES[model_type]
    except KeyError:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedArchitecture(f"models of type {model_type!r} cannot be edited; there are: {known}") from None
