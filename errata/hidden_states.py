"""What the model computes at the subject's last token: MLP keys, and hidden states that leave a block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from errata.model import EditableModel
from errata.prompts import SubjectPrompt, padded

TOKENS_PER_BATCH = 8_192


@torch.no_grad()
def subject_states(
    model: EditableModel, prompts: Sequence[SubjectPrompt], *, key_layer: int, output_layer: int
) -> tuple[Tensor, Tensor]:
    """Run each prompt up to its subject's last token and read that position.

    Returns:
        keys: input of the MLP down-projection of block `key_layer`, (prompts, d_in), float32.
        outputs: hidden state that leaves block `output_layer` (at least `key_layer`), (prompts, d_model), float32.
    """
    part = model.blocks(0, output_layer + 1)
    keys: list[Tensor] = [torch.empty(0)] * len(prompts)
    outputs: list[Tensor] = [torch.empty(0)] * len(prompts)
    seen: list[Tensor] = []
    hook = model.down_projection(key_layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        for batch in batches_by_length([len(prompt.up_to_subject) for prompt in prompts]):
            token_ids = padded([prompts[index].up_to_subject for index in batch], model.device)
            hidden = part(inputs_embeds=model.embed(token_ids), use_cache=False).last_hidden_state
            last = torch.tensor([prompts[index].subject_last for index in batch], device=model.device)
            row = torch.arange(len(batch), device=model.device)
            for index, key, output in zip(batch, seen.pop()[row, last].float(), hidden[row, last].float(), strict=True):
                keys[index], outputs[index] = key, output
    finally:
        hook.remove()
    return torch.stack(keys), torch.stack(outputs)


def batches_by_length(lengths: Sequence[int], tokens: int = TOKENS_PER_BATCH) -> list[list[int]]:
    """Indices of rows grouped with rows of like length, each group padded to at most `tokens` tokens (or one row)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
