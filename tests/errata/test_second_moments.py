"""Second moments: their definition, and a collection that is killed and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from errata.corpus import corpus_for
from errata.errors import StatisticsError
from errata.model import DEMO, EditableModel
from errata.second_moments import (
    BATCHES_PER_CHECKPOINT,
    SEQUENCE_TOKENS,
    SEQUENCES_PER_BATCH,
    SecondMoments,
    stored_origins,
)

TOKENS_PER_BATCH = SEQUENCE_TOKENS * SEQUENCES_PER_BATCH


def documents() -> list[str]:
    corpus = corpus_for(DEMO, None)
    assert corpus is not None
    return list(corpus)


class Killed(Exception):
    """Stands for the end of the process."""


def test_they_are_the_mean_of_k_k_transposed_over_all_positions(demo: EditableModel, tmp_path: Path) -> None:
    layer = 2
    moments = SecondMoments.open(demo, [layer], TOKENS_PER_BATCH, folder=tmp_path, corpus=documents())

    token_ids: list[int] = []
    for document in documents():
        token_ids += [*demo.tokenizer(document)["input_ids"], demo.tokenizer.eos_token_id]
    rows = torch.tensor(token_ids[:TOKENS_PER_BATCH]).view(SEQUENCES_PER_BATCH, SEQUENCE_TOKENS)
    keys: list[torch.Tensor] = []
    hook = demo.down_projection(layer).register_forward_pre_hook(lambda _, inputs: keys.append(inputs[0]))
    with torch.no_grad():
        demo.network(input_ids=rows)
    hook.remove()
    flat = keys[0].flatten(0, 1).double()
    torch.testing.assert_close(moments.moment(layer).double(), flat.T @ flat / len(flat), rtol=1e-4, atol=1e-6)


def test_a_killed_collection_goes_on_and_gives_the_same(neox: EditableModel, tmp_path: Path) -> None:
    corpus = documents() * 4
    asked = TOKENS_PER_BATCH * (BATCHES_PER_CHECKPOINT + 2)
    whole = SecondMoments.open(neox, [1, 2], asked, folder=tmp_path / "whole", corpus=corpus)

    calls = 0

    def kill_after_the_checkpoint(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == BATCHES_PER_CHECKPOINT + 1:
            raise Killed

    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        SecondMoments.open(neox, [1, 2], asked, folder=killed, corpus=corpus, on_progress=kill_after_the_checkpoint)
    with pytest.raises(StatisticsError, match="not the one"):
        SecondMoments.open(neox, [1, 2], asked, folder=killed, corpus=corpus[::-1])
    seen: list[int] = []
    resumed = SecondMoments.open(
        neox, [1, 2], asked, folder=killed, corpus=corpus, on_progress=lambda done, total: seen.append(done)
    )
    assert len(seen) == 2  # only what was left
    for layer in (1, 2):
        assert torch.equal(resumed.moment(layer), whole.moment(layer))


def test_missing_ones_without_a_corpus_and_a_corpus_too_short_are_errors(demo: EditableModel, tmp_path: Path) -> None:
    with pytest.raises(StatisticsError, match="no corpus"):
        SecondMoments.open(demo, [0], 1_000, folder=tmp_path, corpus=None)
    with pytest.raises(StatisticsError, match="gives 0 key vectors where 1000"):
        SecondMoments.open(demo, [0], 1_000, folder=tmp_path, corpus=["Too short."])


def test_another_models_are_refused_and_too_few_are_collected_anew(
    demo: EditableModel, neox: EditableModel, tmp_path: Path
) -> None:
    SecondMoments.open(neox, [1], TOKENS_PER_BATCH, folder=tmp_path, corpus=documents())
    with pytest.raises(StatisticsError, match="another model"):
        SecondMoments.open(demo, [1], TOKENS_PER_BATCH, folder=tmp_path, corpus=documents())
    with pytest.raises(StatisticsError, match=f"from {2 * TOKENS_PER_BATCH} key vectors"):
        SecondMoments.open(neox, [1], 2 * TOKENS_PER_BATCH, folder=tmp_path, corpus=None)
    SecondMoments.open(neox, [1], 2 * TOKENS_PER_BATCH, folder=tmp_path, corpus=documents())
    assert [origin.count for origin in stored_origins(tmp_path, [1])] == [2 * TOKENS_PER_BATCH]
