"""Log probabilities of a prompt and of what follows it, from vLLM; run by its own Python, which has no `errata`.

    python with_vllm.py MODEL_FOLDER ADAPTER_FOLDER RANK TOKEN_IDS RESULT.json

The adapter is for `MODEL_FOLDER`; `-` runs without any. The result is a list over the prompt's tokens from the second
on, and the token that follows: log probabilities by token id.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

ALLOWED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def main() -> None:
    model, adapter, rank, token_ids, result = sys.argv[1:]
    engine = LLM(
        model,
        dtype="float32",
        enforce_eager=True,
        max_model_len=64,
        max_num_seqs=1,
        enable_lora=adapter != "-",
        max_lora_rank=next(allowed for allowed in ALLOWED_RANKS if allowed >= int(rank)),
    )
    [output] = engine.generate(
        [{"prompt_token_ids": json.loads(token_ids)}],
        SamplingParams(max_tokens=1, temperature=0, logprobs=20, prompt_logprobs=20),
        lora_request=None if adapter == "-" else LoRARequest("errata", 1, adapter),
    )
    positions = [*output.prompt_logprobs[1:], *output.outputs[0].logprobs]
    told = [{str(token): entry.logprob for token, entry in position.items()} for position in positions]
    Path(result).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
