"""Probes: prompts that must be answered as expected, whatever is edited."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from errata.model import EditableModel
from errata.model.likelihood import greedy_answers, likelihoods
from errata.model.tokens import target_ids


def wrong_answers(
    model: EditableModel, probes: Sequence[tuple[str, str]], weights: Mapping[int, Tensor]
) -> dict[int, str]:
    """Return what the model with `weights` says, greedily, instead of the expected answers.

    Args:
        probes: (prompt, answer) each; it is passed where the model says the answer, and no longer word.
        weights: layer -> edited matrix, (d_model, d_in); none for the base itself.

    Returns:
        By the place of each probe that is failed, as many tokens as its answer has, and one more where it goes on from
        the answer to a longer word.
    """
    with model.using(weights):
        found = likelihoods(model, probes)
        failed = [place for place, likelihood in enumerate(found) if not likelihood.is_said]
        missed = [probes[place] for place in failed]
        num_tokens = [
            len(target_ids(model.tokenizer, answer, prompt)) + (found[place].token_accuracy == 1)
            for place, (prompt, answer) in zip(failed, missed, strict=True)
        ]
        answers = greedy_answers(model, [prompt for prompt, _ in missed], num_tokens)
    return dict(zip(failed, answers, strict=True))
