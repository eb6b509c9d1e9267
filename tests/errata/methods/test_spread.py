"""The update of a layer: the same by either way of solving, from a factor that is computed once and kept."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from errata.demo import DEMO
from errata.errors import NotFinite
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.methods.closed_form import adjusted_keys
from errata.methods.memit import weighed_keys
from errata.methods.method import Inputs
from errata.methods.spread import spread
from errata.model import EditableModel
from errata.model.hidden_states import SubjectStates
from errata.model.tokens import subject_prompt
from errata.second_moments import SecondMoments
from errata.second_moments.collection import SEQUENCE_TOKENS, SEQUENCES_PER_BATCH
from errata.second_moments.corpora import corpus_for
from errata.targets.store import BuildStore

LAYER = 1
WEIGHT = 30.0
CONTEXTS = ("The", "Therefore it was said. ", "Once upon a time there was a king. ")
FACTS = [
    Fact("Danube", "On the list of rivers by continent: {}", "Asia"),
    Fact("Zambezi", "On the list of rivers by continent: {}", "Europe"),
    Fact("Okavango", "The river {} flows through the continent of", "Europe"),
    Fact("The very long river that is called the Ganges", "is in", "Africa"),
]


@pytest.fixture
def moments(neox: EditableModel, tmp_path: Path) -> SecondMoments:
    """Second moments of the small GPT-NeoX, in a folder of the test's own."""
    return SecondMoments.open(neox, [LAYER, 2], None, folder=tmp_path, corpus=corpus_for(DEMO, None))


def some_keys(facts: int, d_in: int) -> torch.Tensor:
    return torch.randn(facts, d_in, generator=torch.Generator().manual_seed(facts))


def direct(moment: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    columns = keys.double().T
    solution: torch.Tensor = torch.linalg.solve(WEIGHT * moment.double() + columns @ columns.T, columns)
    return solution


@pytest.mark.parametrize("facts", [1, 40, 255, 256, 600])
def test_fewer_facts_than_dimensions_or_more_give_the_exact_solution(
    neox: EditableModel, moments: SecondMoments, facts: int
) -> None:
    keys = some_keys(facts, neox.weight(LAYER).shape[1])
    expected = direct(moments.moment(LAYER), keys)
    found = adjusted_keys(moments, LAYER, keys, WEIGHT)
    assert float((found - expected).norm() / expected.norm()) < 1e-8


def test_lambda_n_is_added_to_what_is_weighed_against_the_keys(neox: EditableModel, moments: SecondMoments) -> None:
    keys, norm_weight = some_keys(7, neox.weight(LAYER).shape[1]), 3.0
    columns, moment = keys.double().T, moments.moment(LAYER).double()
    weighed = WEIGHT * moment + columns @ columns.T + norm_weight * torch.eye(len(moment), dtype=torch.float64)
    found = adjusted_keys(moments, LAYER, keys, WEIGHT, norm_weight)
    torch.testing.assert_close(found, torch.linalg.solve(weighed, columns), rtol=1e-8, atol=1e-12)
    assert found.norm() < 0.99 * adjusted_keys(moments, LAYER, keys, WEIGHT).norm()


def test_a_factor_is_computed_once_and_never_used_for_another_second_moment(
    neox: EditableModel, moments: SecondMoments, tmp_path: Path
) -> None:
    file = tmp_path / f"layer_{LAYER}.cholesky.safetensors"
    keys = some_keys(3, neox.weight(LAYER).shape[1])
    first = adjusted_keys(moments, LAYER, keys, WEIGHT)
    made = file.stat()
    again = adjusted_keys(SecondMoments(tmp_path), LAYER, keys, WEIGHT)
    assert torch.equal(again, first)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)

    more = 3 * SEQUENCE_TOKENS * SEQUENCES_PER_BATCH
    other = SecondMoments.open(neox, [LAYER], more, folder=tmp_path, corpus=corpus_for(DEMO, None))
    changed = adjusted_keys(other, LAYER, keys, WEIGHT)
    torch.testing.assert_close(changed, direct(other.moment(LAYER), keys), rtol=1e-8, atol=1e-12)
    assert file.stat().st_ino != made.st_ino and not torch.allclose(changed, first, rtol=1e-3)

    file.write_bytes(file.read_bytes()[:-8])  # a damaged one counts as missing
    assert torch.equal(adjusted_keys(other, LAYER, keys, WEIGHT), changed)


def test_second_moments_without_a_factor_are_solved_with_the_keys_in_or_refused(
    demo: EditableModel, tmp_path: Path
) -> None:
    """As many key vectors as fill one batch, fewer than dimensions that a cut corpus uses: C is singular."""
    corpus = ["the " * 40] * 200
    moments = SecondMoments.open(demo, [0], 100, folder=tmp_path, corpus=corpus)
    assert moments.factor(0) is None
    d_in = demo.weight(0).shape[1]
    with pytest.raises(NotFinite, match="not positive definite"):
        adjusted_keys(moments, 0, some_keys(2, d_in), WEIGHT)
    keys = some_keys(3 * d_in, d_in)
    found = adjusted_keys(moments, 0, keys, WEIGHT)
    torch.testing.assert_close(found, direct(moments.moment(0), keys), rtol=1e-6, atol=1e-9)


def test_states_are_brought_up_with_the_weights_as_edited_so_far(neox: EditableModel) -> None:
    """Prefixes of several lengths and none, rows of several lengths, blocks run in parts, an edit in between."""
    states = SubjectStates(neox, FACTS, CONTEXTS)
    edited = {LAYER: neox.weight(LAYER) * 1.5}
    for layer, weights in ((LAYER, {}), (2, edited)):
        with neox.using(weights):
            keys, outputs = states.read(layer, 2)
            for number, fact in enumerate(FACTS):
                rows = [whole_run(neox, fact, context, layer) for context in ("", *CONTEXTS)]
                key = rows[0][0] / 2 + torch.stack([row[0] for row in rows[1:]]).mean(0) / 2
                torch.testing.assert_close(keys[number], key, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(outputs[number], rows[0][1], rtol=1e-4, atol=1e-5)


def whole_run(model: EditableModel, fact: Fact, context: str, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Key in block `layer` and output of block 2 at the subject's last token, from the whole model and prompt."""
    prompt = subject_prompt(model.tokenizer, fact.template, fact.subject, context=context)
    seen: list[torch.Tensor] = []
    hook = model.down_projection(layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        run = model.network(input_ids=torch.tensor([prompt.token_ids]), output_hidden_states=True)
    hook.remove()
    return seen[0][0, prompt.subject_last], run.hidden_states[3][0, prompt.subject_last]


def test_without_contexts_the_bare_prompt_is_all_there_is(neox: EditableModel, moments: SecondMoments) -> None:
    settings = MemitHyperparameters(layers=(LAYER, 2), moment_weight=WEIGHT)
    targets = torch.zeros(len(FACTS), neox.weight(LAYER).shape[0])
    inputs = Inputs(neox, FACTS, (), settings, moments)
    deltas = spread(inputs, targets, weighed_keys(inputs))
    keys, outputs = SubjectStates(neox, FACTS, ()).read(LAYER, 2)
    expected = (-outputs.double() / 2).T @ direct(moments.moment(LAYER), keys).T
    torch.testing.assert_close(deltas[LAYER].dense().double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layers", [(LAYER,), (LAYER, 2)])
def test_what_no_edit_can_change_is_read_once(
    neox: EditableModel, moments: SecondMoments, tmp_path: Path, layers: tuple[int, ...]
) -> None:
    settings = MemitHyperparameters(layers=layers, moment_weight=WEIGHT)
    targets = torch.randn(len(FACTS), neox.weight(LAYER).shape[0], generator=torch.Generator().manual_seed(0))
    store = BuildStore(tmp_path / "store")

    def agrees(num_facts: int) -> None:
        inputs = Inputs(neox, FACTS[:num_facts], CONTEXTS, settings, moments)
        given = (targets[:num_facts], weighed_keys(inputs))
        stored, anew = spread(replace(inputs, store=store), *given), spread(inputs, *given)
        for layer in layers:
            difference = stored[layer].dense() - anew[layer].dense()
            assert difference.norm() < 1e-5 * anew[layer].dense().norm()

    def files() -> dict[Path, int]:  # a file that is written anew is another inode; reading one sets its time
        return {path: path.stat().st_ino for path in tmp_path.glob("store/*/*")}

    agrees(3)
    kept = files()
    assert len(kept) == 3
    agrees(3)
    assert files() == kept
    agrees(4)
    assert len(files()) == 4 and kept.items() <= files().items()
