"""Second moments: their definition, a collection that is killed and goes on, and those that are published."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errata.demo import DEMO
from errata.errors import StatisticsError
from errata.model import EditableModel
from errata.second_moments import SecondMoments, stored_origins
from errata.second_moments.collection import SEQUENCE_TOKENS, SEQUENCES_PER_BATCH
from errata.second_moments.corpora import corpus_for

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


def test_a_killed_collection_goes_on_and_gives_the_same(
    neox: EditableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 5 * TOKENS_PER_BATCH
    whole = SecondMoments.open(neox, [1, 2], asked, folder=tmp_path / "whole", corpus=documents())
    monkeypatch.setattr("errata.second_moments.collection.CHECKPOINT_EVERY_S", 0.0)

    def kill_in_the_fourth_batch(done: int, total: int) -> None:
        if done == 4 * TOKENS_PER_BATCH:
            raise Killed

    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        SecondMoments.open(neox, [1, 2], asked, folder=killed, corpus=documents(), on_progress=kill_in_the_fourth_batch)
    with pytest.raises(StatisticsError, match="not the one"):
        SecondMoments.open(neox, [1, 2], asked, folder=killed, corpus=documents()[::-1])
    seen: list[int] = []
    resumed = SecondMoments.open(
        neox, [1, 2], asked, folder=killed, corpus=documents(), on_progress=lambda done, total: seen.append(done)
    )
    assert seen == [4 * TOKENS_PER_BATCH, 5 * TOKENS_PER_BATCH]  # only what was left
    for layer in (1, 2):
        assert torch.equal(resumed.moment(layer), whole.moment(layer))


def test_a_kill_while_they_are_stored_costs_nothing_and_leaves_nothing(
    neox: EditableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 2 * TOKENS_PER_BATCH
    whole = SecondMoments.open(neox, [0, 1, 2], asked, folder=tmp_path / "whole", corpus=documents())
    killed = tmp_path / "killed"

    def fail_for_the_second(source: Path, target: Path) -> None:
        if target.name == "layer_1.safetensors":
            raise Killed
        os.replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", fail_for_the_second)
        SecondMoments.open(neox, [0, 1, 2], asked, folder=killed, corpus=documents())
    assert names(killed) == ["collecting-0-1-2.safetensors", "layer_0.safetensors"]

    orphan, in_work = killed / ".layer_1.safetensors.0badcafe", killed / ".layer_2.safetensors.0badcafe"
    for scratch in (orphan, in_work):
        scratch.write_bytes(b"begun")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(orphan, (two_days_ago, two_days_ago))

    seen: list[int] = []
    resumed = SecondMoments.open(
        neox, [0, 1, 2], asked, folder=killed, corpus=documents(), on_progress=lambda done, total: seen.append(done)
    )
    assert not seen
    for layer in (0, 1, 2):
        assert torch.equal(resumed.moment(layer), whole.moment(layer))
    assert names(killed) == [in_work.name, *(f"layer_{layer}.safetensors" for layer in (0, 1, 2))]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def test_by_default_there_are_ten_key_vectors_for_each_dimension_of_a_key(neox: EditableModel, tmp_path: Path) -> None:
    SecondMoments.open(neox, [1], None, folder=tmp_path, corpus=documents())
    (origin,) = stored_origins(tmp_path, [1])
    asked = 10 * neox.weight(1).shape[1]
    assert asked <= origin.count < asked + TOKENS_PER_BATCH


# The published form: what `numpy.savez` makes of the authors' state of a running statistic.

PUBLISHED_NAME = "transformer.h.1.mlp.fc_out_float32_mom2_100000.npz"
COUNT = 3_000


def published(d_in: int) -> dict[str, Any]:
    keys = np.random.default_rng(0).standard_normal((COUNT, d_in), dtype=np.float32)
    return {
        "mom2.constructor": "util.runningstats.SecondMoment()",
        "mom2.count": COUNT,
        "mom2.mom2": keys.T @ keys,
        "sample_size": 100_000,
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_published_ones_are_taken_and_the_other_layers_collected(
    demo: EditableModel, tmp_path: Path, save: Any
) -> None:
    state = published(demo.weight(1).shape[1])
    (tmp_path / "stats").mkdir()
    save(tmp_path / "stats" / PUBLISHED_NAME, **state)
    save(tmp_path / "stats" / PUBLISHED_NAME.replace("h.1", "h.11"), **state)
    home = tmp_path / "home"
    SecondMoments.open(demo, [1], TOKENS_PER_BATCH, folder=home, corpus=documents())  # gives way to the published one
    moments = SecondMoments.open(
        demo, [1, 2], TOKENS_PER_BATCH, folder=home, corpus=documents(), published=tmp_path / "stats"
    )
    torch.testing.assert_close(moments.moment(1), torch.from_numpy(state["mom2.mom2"] / COUNT))
    taken, collected = stored_origins(home, [1, 2])
    assert (taken.count, taken.corpus_sha256, collected.published) == (COUNT, None, None)
    assert taken.published is not None and PUBLISHED_NAME in taken.published

    file = home / "layer_1.safetensors"
    before = file.stat().st_ino
    SecondMoments.open(demo, [1], TOKENS_PER_BATCH, folder=home, corpus=None, published=tmp_path / "stats")
    assert file.stat().st_ino == before


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"mom2.mom2": np.zeros((8, 8), np.float32)}, r"is \(8, 8\); the model's layer 1 needs \(1024, 1024\)"),
        ({"mom2.mom2": np.zeros((1024, 1024), np.float16)}, "of type float16"),
        ({"mom2.mom2": np.zeros((1024, 1024), np.float32)}, "its diagonal"),
        ({"mom2.mom2": np.diag(np.full(1024, -1, np.float32))}, "its diagonal"),
        ({"mom2.mom2": np.full((1024, 1024), np.nan, np.float32)}, "not finite"),
        ({"mom2.mom2": np.tril(np.ones((1024, 1024), np.float32))}, "not symmetric"),
        ({"mom2.mom2": np.full((1024, 1024), None)}, "of type object"),
        ({"mom2.count": 0}, "mom2.count is not a positive number: 0"),
        ({"mom2.count": float("nan")}, "mom2.count is not a positive number"),
        ({"mom2.count": np.array([3, 4])}, "mom2.count is not a positive number"),
        ({"mom2.count": None}, "allow_pickle"),
        ({"mom2.mom2": ..., "mom2.mean": np.ones(3)}, "no item named 'mom2.mom2.npy'"),
    ],
)
def test_a_published_one_that_cannot_be_right_is_refused_by_name(
    demo: EditableModel, tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    state = {name: value for name, value in (published(1024) | change).items() if value is not ...}
    np.savez(tmp_path / PUBLISHED_NAME, **state)
    with pytest.raises(StatisticsError, match=fault) as caught:
        SecondMoments.open(demo, [1], 100, folder=tmp_path / "home", corpus=None, published=tmp_path)
    assert PUBLISHED_NAME in str(caught.value)
    assert not stored_origins(tmp_path / "home", [1])


def test_damaged_and_ambiguous_published_ones_are_refused(demo: EditableModel, tmp_path: Path) -> None:
    def opening() -> None:
        SecondMoments.open(demo, [1], 100, folder=tmp_path / "home", corpus=None, published=tmp_path / "stats")

    with pytest.raises(StatisticsError, match="stats, named for published second moments, is not a folder"):
        opening()
    (tmp_path / "stats").mkdir()
    with pytest.raises(StatisticsError, match="no corpus"):
        opening()
    file = tmp_path / "stats" / PUBLISHED_NAME
    np.savez(file, **published(1024))
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b"<html>404</html>"):
        file.write_bytes(damaged)
        with pytest.raises(StatisticsError, match=f"{PUBLISHED_NAME} cannot be read"):
            opening()
    np.savez(tmp_path / "stats" / PUBLISHED_NAME.replace("100000", "t256_50000"), **published(1024))
    with pytest.raises(StatisticsError, match=r"several second moments of layer 1: .*mom2_100000.*mom2_t256_50000"):
        opening()
