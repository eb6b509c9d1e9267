"""What ships, and the plain computation beside it, against figures of the authors' own code.

`golden/README.md` says how they were made.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from errata.deltas import edited_weights
from errata.demo import DEMO
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import weighed_keys
from errata.methods.method import Inputs
from errata.methods.spread import spread
from errata.model import EditableModel
from errata.model.hidden_states import SubjectStates
from errata.model.tokens import KL_TEMPLATE, SubjectPrompt, subject_prompt, target_ids
from errata.second_moments import SecondMoments
from errata.second_moments.corpora import corpus_for
from errata.targets.search import find_targets
from tests.conftest import GOLDEN, GOLDEN_ARCHITECTURES
from tests.errata.plain_memit import in_contexts, plain_keys, plain_moments, plain_spread, plain_target

TOLERANCE = 1e-4
FEW_STEPS = 5
MOMENT_TOKENS = 12_288  # that the second moments were computed from
MOMENT_ROW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Golden:
    """What the authors' code was given for one model, and what it gave. `tensors` are named in golden/README.md."""

    model: EditableModel
    moments: SecondMoments
    hyperparameters: MemitHyperparameters
    contexts: tuple[str, ...]
    facts: tuple[Fact, ...]
    object_ids: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[SubjectPrompt, ...], ...]  # of each fact: bare, behind each context, and of the KL term
    probabilities: Tensor  # of each object's first token after the edit, (facts,)
    tensors: dict[str, Tensor]

    def update(self, layer: int) -> Tensor:
        """R A^T of one layer, (d_model, d_in), float64."""
        return self.tensors[f"{layer}.residuals"].double().T @ self.tensors[f"{layer}.adjusted_keys"].double()

    def edited_below(self, layer: int) -> dict[int, Tensor]:
        """The matrices that are edited already when it is `layer`'s turn."""
        return {
            below: self.model.weight(below) + self.update(below).float()
            for below in self.hyperparameters.layers
            if below < layer
        }


@pytest.fixture(scope="module", params=GOLDEN_ARCHITECTURES)
def golden(
    request: pytest.FixtureRequest,
    of_each_architecture: dict[str, EditableModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Golden:
    """The golden data of one architecture."""
    model = of_each_architecture[request.param]
    given = json.loads((GOLDEN / request.param / "golden.json").read_text())
    tensors = load_file(GOLDEN / request.param / "golden.safetensors")
    hyperparameters = MemitHyperparameters.from_dict(given["hyperparameters"])
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "gptj":
        assert model.digest == given["model_digest"], "the golden data are another demo model's"
        second_moments = plain_moments(model, packed_corpus(model), hyperparameters.layers)
    else:
        second_moments = {layer: tensors[f"{layer}.second_moment"] for layer in hyperparameters.layers}
    for layer, second_moment in second_moments.items():
        metadata = {"count": str(MOMENT_TOKENS), "model_digest": model.digest}
        save_file({"second_moment": second_moment}, folder / f"layer_{layer}.safetensors", metadata=metadata)
    return Golden(
        model=model,
        moments=SecondMoments(folder),
        hyperparameters=hyperparameters,
        contexts=tuple(given["contexts"]),
        facts=tuple(Fact(fact["subject"], fact["relation"], fact["object"]) for fact in given["facts"]),
        object_ids=tuple(tuple(fact["object_ids"]) for fact in given["facts"]),
        rows=tuple(
            tuple(SubjectPrompt(tuple(row["token_ids"]), row["subject_last"]) for row in fact["rows"])
            for fact in given["facts"]
        ),
        probabilities=torch.tensor([fact["probability_after"] for fact in given["facts"]]),
        tensors=tensors,
    )


def packed_corpus(model: EditableModel) -> Tensor:
    """The beginning of the demo model's corpus, documents joined by the end-of-text token, (rows, tokens)."""
    token_ids: list[int] = []
    for document in corpus_for(DEMO, None) or ():
        token_ids += [*model.tokenizer(document)["input_ids"], model.tokenizer.eos_token_id]
        if len(token_ids) >= MOMENT_TOKENS:
            break
    return torch.tensor(token_ids[:MOMENT_TOKENS]).view(-1, MOMENT_ROW_TOKENS)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def test_tokens_and_the_subjects_place_are_the_authors(golden: Golden) -> None:
    tokenizer = golden.model.tokenizer
    for fact, object_ids, rows in zip(golden.facts, golden.object_ids, golden.rows, strict=True):
        assert target_ids(tokenizer, fact.object) == object_ids
        *prompts, about = rows
        for context, row in zip(("", *golden.contexts), prompts, strict=True):
            ours = subject_prompt(tokenizer, fact.template, fact.subject, context=context)
            assert SubjectPrompt(ours.token_ids + object_ids[:-1], ours.subject_last) == row
        assert subject_prompt(tokenizer, KL_TEMPLATE, fact.subject) == about


def test_targets_are_the_authors(golden: Golden) -> None:
    model, facts, contexts, settings = golden.model, golden.facts, golden.contexts, golden.hyperparameters
    together, theirs = find_targets(model, facts, contexts, settings), golden.tensors["z"]
    for fact, found, expected in zip(facts, together, theirs, strict=True):
        assert relative_error(found, expected) < TOLERANCE, fact
    # The plain search is the same for all models; it takes seconds for a fact where it takes many steps.
    for fact, expected in list(zip(facts, theirs, strict=True))[: 2 if settings.num_steps > FEW_STEPS else None]:
        assert relative_error(plain_target(model, fact, contexts, settings), expected) < TOLERANCE, fact


@pytest.mark.parametrize("golden", ["gptj"], indirect=True)
def test_second_moments_are_the_authors(golden: Golden, tmp_path: Path) -> None:
    layers = golden.hyperparameters.layers
    collected = SecondMoments.open(golden.model, layers, MOMENT_TOKENS, folder=tmp_path, corpus=corpus_for(DEMO, None))
    for layer in layers:
        expected = golden.tensors[f"{layer}.second_moment_times_probe"]
        assert relative_error(collected.moment(layer) @ golden.tensors["probe"], expected) < TOLERANCE
        assert relative_error(golden.moments.moment(layer) @ golden.tensors["probe"], expected) < TOLERANCE


def test_keys_and_hidden_states_are_the_authors(golden: Golden) -> None:
    model, last = golden.model, golden.hyperparameters.layers[-1]
    states = SubjectStates(model, golden.facts, golden.contexts)
    prompts = [prompt for fact in golden.facts for prompt in in_contexts(model, fact, golden.contexts)]
    for done, layer in enumerate(golden.hyperparameters.layers):
        left = len(golden.hyperparameters.layers) - done
        hidden = golden.tensors["z"] - golden.tensors[f"{layer}.residuals"] * left
        with model.using(golden.edited_below(layer)):
            keys, outputs = states.read(layer, last)
            plain = plain_keys(model, prompts, layer, len(golden.facts))
        assert relative_error(keys, golden.tensors[f"{layer}.keys"]) < TOLERANCE
        assert relative_error(outputs, hidden) < TOLERANCE
        assert relative_error(plain, golden.tensors[f"{layer}.keys"]) < TOLERANCE


def test_updates_are_the_authors_and_do_what_theirs_did(golden: Golden) -> None:
    given = (golden.hyperparameters, golden.moments)
    inputs = Inputs(golden.model, golden.facts, golden.contexts, *given)
    deltas = spread(inputs, golden.tensors["z"], weighed_keys(inputs))
    plain = plain_spread(golden.model, golden.facts, golden.tensors["z"], golden.contexts, *given)
    assert list(deltas) == list(plain) == list(golden.hyperparameters.layers)
    for layer in deltas:
        assert relative_error(deltas[layer].dense(), golden.update(layer)) < TOLERANCE
        assert relative_error(plain[layer], golden.update(layer)) < TOLERANCE
    assert not torch.allclose(said(golden), golden.probabilities, rtol=TOLERANCE)
    with golden.model.using(edited_weights(golden.model, deltas)):
        torch.testing.assert_close(said(golden), golden.probabilities, rtol=TOLERANCE, atol=0)


@torch.no_grad()
def said(golden: Golden) -> Tensor:
    """The probability of each object's first token after the bare prompt, (facts,)."""
    prompts = [subject_prompt(golden.model.tokenizer, fact.template, fact.subject).token_ids for fact in golden.facts]
    logits = [golden.model.network(torch.tensor([prompt])).logits[0, -1] for prompt in prompts]
    first = torch.tensor([object_ids[0] for object_ids in golden.object_ids])
    return torch.stack(logits).softmax(-1).gather(1, first[:, None])[:, 0]
