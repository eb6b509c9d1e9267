"""Texts generated after a case's openings: how fluent they are, and how similar to its references."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from errata.errors import FactProblem, InvalidFacts
from errata.evaluation.cases import Case
from errata.evaluation.consistency import TfIdf
from errata.evaluation.fluency import ngram_entropy
from errata.evaluation.results import Generated
from errata.model import EditableModel
from errata.model.sampling import sample_texts


@dataclass(frozen=True, slots=True)
class Generation:
    """Settings of generated texts; by default those of MEMIT's authors.

    Attributes:
        num_tokens: of each text, its opening included.
        top_k: how many of the likeliest tokens each one is drawn from.
        documents: texts whose words are weighed for consistency; by default all references of the cases measured.
    """

    seed: int = 0
    num_tokens: int = 100
    top_k: int = 5
    documents: Sequence[str] | None = None

    def weights_of_words(self, cases: Sequence[Case]) -> TfIdf:
        """Weigh words by `documents`, or else by the references of all cases, each text counted once."""
        if self.documents is not None:
            return TfIdf(self.documents)
        return TfIdf(dict.fromkeys(text for case in cases for text in case.references))


def require_room_for_texts(model: EditableModel, cases: Sequence[Case], generation: Generation) -> None:
    """Raise `InvalidFacts`, naming every case with an opening that leaves no room for a text."""
    room = min(generation.num_tokens, model.max_length)
    problems = []
    for index, case in enumerate(cases):
        for prompt in case.generation_prompts:
            if (taken := len(model.tokenizer(prompt)["input_ids"])) >= room:
                detail = f"{prompt[:60]!r} takes {taken} tokens; a text has {room} in all"
                problems.append(FactProblem(index, "generation_prompts", detail))
    if problems:
        raise InvalidFacts(problems)


def generate(
    model: EditableModel, cases: Sequence[Case], generation: Generation, words: TfIdf
) -> list[Generated | None]:
    """Generate the texts of each case, with the model as it is; None for a case without openings."""
    prompts = [prompt for case in cases for prompt in case.generation_prompts]
    texts = iter(
        sample_texts(model, prompts, num_tokens=generation.num_tokens, top_k=generation.top_k, seed=generation.seed)
    )
    return [_judged(case, tuple(islice(texts, len(case.generation_prompts))), words) for case in cases]


def _judged(case: Case, texts: tuple[str, ...], words: TfIdf) -> Generated | None:
    if not texts:
        return None
    consistency = words.cosine(" ".join(texts), " ".join(case.references)) if case.references else None
    return Generated(texts, fmean(map(ngram_entropy, texts)), consistency)
