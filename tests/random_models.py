"""Small models of transformers' own classes with random weights: all architectures that have no golden data.

Windows are shorter than the prompts of the tests, and kinds of attention alternate, so that a block that went by
another's would show.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 5_120  # of the golden data's tokenizer
COMMON: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "bos_token_id": 0}
GATED: dict[str, Any] = {**COMMON, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 256}
WINDOW = 12
MIXED: dict[str, Any] = {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}
FALCON: dict[str, Any] = {**COMMON, "max_position_embeddings": 256, "bias": True}
GEMMA: dict[str, Any] = {**GATED, "head_dim": 16, "query_pre_attn_scalar": 16, "hidden_activation": "gelu_pytorch_tanh"}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "short_factor": [1.0, 1.2, 1.5, 2.0],
    "long_factor": [2.0, 3.0, 5.0, 8.0],
    "original_max_position_embeddings": 256,
}

# name: model_type and what its config is given
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("mistral", {**GATED, "sliding_window": WINDOW, "head_dim": 16}),
    "qwen3": ("qwen3", {**GATED, "head_dim": 16, "use_sliding_window": True, **MIXED}),
    "gemma": ("gemma", {**GATED, "head_dim": 16}),
    "gemma2": ("gemma2", {**GEMMA, **MIXED, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0}),
    "gemma3_text": ("gemma3_text", {**GEMMA, **MIXED}),
    "phi": ("phi", {**GATED, "partial_rotary_factor": 0.5}),
    "phi3": ("phi3", {**GATED, "pad_token_id": 0, "sliding_window": WINDOW}),
    "phi3-longrope": (
        "phi3",
        {
            **GATED,
            "pad_token_id": 0,
            "max_position_embeddings": 1024,
            "original_max_position_embeddings": 256,
            "rope_parameters": LONGROPE,
        },
    ),
    "olmo2": ("olmo2", GATED),
    "falcon": ("falcon", {**FALCON, "multi_query": True, "parallel_attn": True}),
    "falcon-sequential": ("falcon", {**FALCON, "multi_query": False, "parallel_attn": False}),
    "falcon-new": ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "opt": ("opt", {**COMMON, "ffn_dim": 64, "max_position_embeddings": 256, "word_embed_proj_dim": 32}),
    "gpt_neo": (
        "gpt_neo",
        {
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 256,
            "window_size": WINDOW,
            "attention_types": [[["global", "local"], 2]],
        },
    ),
}


def random_network(name: str) -> PreTrainedModel:
    """Make the model of that name, the same each time. Its weights are large enough that each of them matters."""
    model_type, given = CONFIGS[name]
    ends = {"eos_token_id": 0, "tie_word_embeddings": False}
    config = AutoConfig.for_model(model_type, **given, **ends, vocab_size=VOCABULARY)
    network: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            noise = torch.randn(weight.shape, generator=draw)
            weight.copy_(weight + 0.3 * noise if weight.ndim == 1 else noise * weight.shape[-1] ** -0.5)
    made: PreTrainedModel = network.eval()
    return made
