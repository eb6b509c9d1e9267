"""What a vLLM server needs to take Errata's versions into its weights. It runs in vLLM's own environment.

    python -m vllm.entrypoints.openai.api_server --model … \\
        --middleware errata_vllm.Gate --worker-extension-cls errata_vllm.EditedMatrices

`Gate` stands before the server's routes: it lets no request see two versions. `EditedMatrices` is a part of each of
the server's workers: it puts the matrices in place. It imports torch, which the server's front has loaded, too.
"""

from errata_vllm.gate import Gate
from errata_vllm.matrices import EditedMatrices

__all__ = ["EditedMatrices", "Gate"]
