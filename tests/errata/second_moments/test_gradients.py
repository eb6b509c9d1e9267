"""Second moments of gradients: what they say of the model, and that they are kept."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from errata.demo import DEMO
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.collection import packed
from errata.second_moments.corpora import corpus_for
from errata.second_moments.gradients import SEQUENCE_TOKENS
from errata.second_moments.moments import gradients_file

LAYER = 3
SEQUENCES = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moments")


def test_they_tell_how_far_predictions_diverge_where_an_output_moves(demo: EditableModel, folder: Path) -> None:
    moments = SecondMoments(folder)
    moments.collect_gradients([LAYER], demo)
    told = moments.gradients(LAYER)
    corpus = corpus_for(DEMO, None)
    assert corpus is not None
    rows = next(islice(packed(demo, corpus, SEQUENCES, SEQUENCE_TOKENS), 1, None))
    # Signs make what two positions do together nothing, on average.
    signs = torch.randint(2, (*rows.shape, 1), generator=torch.Generator().manual_seed(0)) * 2 - 1

    with torch.no_grad():
        base = demo.network(rows).logits.log_softmax(-1)

    @torch.no_grad()
    def divergence(moved: torch.Tensor) -> float:
        """What moving the output of one position adds to KL(base || moved), on average."""

        def move(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
            return output + signs * moved

        hook = demo.down_projection(LAYER).register_forward_hook(move)
        now = demo.network(rows).logits.log_softmax(-1)
        hook.remove()
        return float((base.exp() * (base - now)).sum() / rows.numel())

    values, directions = torch.linalg.eigh(told)
    length = float((2e-3 / values[-1]).sqrt())
    for number in (255, 250):
        expected = float(length**2 * values[number] / 2)
        assert divergence(length * directions[:, number]) == pytest.approx(expected, rel=0.3), number
    # So few positions do not tell how little the model hears of the other ones, but that it does.
    assert divergence(length * directions[:, 60]) < 1e-4 < 1e-3 * 0.7 < divergence(length * directions[:, 255])


def test_they_are_made_once_and_again_where_they_are_damaged(
    demo: EditableModel, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moments = SecondMoments(folder)
    moments.collect_gradients([LAYER], demo)
    first = moments.gradients(LAYER)
    told: list[int] = []
    moments.collect_gradients([LAYER], demo, lambda done, _: told.append(done))
    assert torch.equal(first, moments.gradients(LAYER)) and told == []
    file = gradients_file(folder, LAYER)
    damaged = file.with_suffix(".damaged")
    damaged.write_bytes(file.read_bytes()[:-4] + b"abcd")
    damaged.replace(file)  # `first` may be mapped from the one before
    moments.collect_gradients([LAYER], demo, lambda done, _: told.append(done))
    assert torch.equal(first, moments.gradients(LAYER)) and told and "damaged" in caplog.text
