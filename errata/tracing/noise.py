"""The noise that takes an answer away: Gaussian, on the embeddings of the subject's tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.errors import TracingError
from errata.model import EditableModel
from errata.tracing.prompts import TracedPrompt

NOISE_LEVEL = 3.0
NUM_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Noise:
    """The corruption of a subject's embeddings; kept with every result.

    Attributes:
        level: standard deviation of the noise, as a multiple of `embedding_std`.
        embedding_std: standard deviation of all numbers in the token embeddings of `subjects`.
        num_samples: corrupted runs of each prompt.
        seed: of the draws.
        subjects: the known subjects that the level is a multiple for.
    """

    level: float
    embedding_std: float
    num_samples: int
    seed: int
    subjects: tuple[str, ...]

    @classmethod
    def for_subjects(
        cls,
        model: EditableModel,
        subjects: Sequence[str],
        *,
        level: float = NOISE_LEVEL,
        num_samples: int = NUM_SAMPLES,
        seed: int = 0,
    ) -> Noise:
        """Return noise for a model, measured on the embeddings of subjects that it knows.

        Raises:
            TracingError: no subject is given, or `level` or `num_samples` is not positive.
        """
        if not subjects:
            raise TracingError("the noise is measured on the embeddings of known subjects, and none is given")
        if not level > 0 or num_samples < 1:
            raise TracingError(f"noise of level {level} in {num_samples} runs: both must be positive")
        distinct = tuple(dict.fromkeys(subjects))
        rows = model.tokenizer(list(distinct), add_special_tokens=False)["input_ids"]
        token_ids = torch.tensor([token for row in rows for token in row], device=model.device)
        embedding_std = float(model.embed(token_ids).float().std())
        return cls(level, embedding_std, num_samples, seed, distinct)

    def draw(self, prompt: TracedPrompt, d_model: int) -> Tensor:
        """Draw the noise of each corrupted run of a prompt: (num_samples, tokens of the subject, d_model), float32.

        It depends on the seed and the prompt alone, not on what else is traced nor on the device.
        """
        name = f"{self.seed}\x1f{prompt.token_ids}\x1f{prompt.subject_tokens}"
        generator = torch.Generator().manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:15], 16))
        shape = (self.num_samples, len(prompt.subject_tokens), d_model)
        return torch.randn(shape, generator=generator) * (self.level * self.embedding_std)
