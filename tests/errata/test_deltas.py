"""Updates on disk: the smaller of factors and dense, and nothing else than what was stored."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from errata.deltas import Delta, edited_weights, read, relative_norm, write
from errata.errors import CorruptArtifact, NotFinite
from errata.model import EditableModel


def factors(rank: int, d_model: int = 6, d_in: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    left = torch.randn(d_model, rank, generator=generator, dtype=torch.float64)
    return left, torch.randn(rank, d_in, generator=generator, dtype=torch.float64)


def test_the_smaller_form_is_kept_and_survives_the_disk_bit_for_bit(tmp_path: Path) -> None:
    low, high = Delta.of_factors(*factors(2)), Delta.of_factors(*factors(5))
    assert low.right is not None and high.right is None
    torch.testing.assert_close(high.dense().double(), torch.matmul(*factors(5)))
    write(tmp_path / "delta.safetensors", {3: low, 4: high})
    stored = read(tmp_path / "delta.safetensors")
    assert torch.equal(stored[3].dense(), low.dense()) and torch.equal(stored[4].dense(), high.dense())


def test_what_cannot_be_used_is_refused(tmp_path: Path, demo: EditableModel) -> None:
    left, right = factors(2)
    with pytest.raises(NotFinite):
        Delta.of_factors(left * torch.inf, right)
    path = tmp_path / "delta.safetensors"
    write(path, {0: Delta.of_factors(left, right)})
    with pytest.raises(CorruptArtifact, match="layer 0"):
        edited_weights(demo, read(path))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CorruptArtifact, match=r"delta\.safetensors"):
        read(path)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"3.dense": torch.zeros(6, 10, dtype=torch.float64)}, "3.dense is float64 of shape (6, 10)"),
        ({"3.dense": torch.zeros(6, 10, 1)}, "3.dense is float32 of shape (6, 10, 1)"),
        ({"3.left": torch.zeros(6, 2), "3.right": torch.zeros(3, 10)}, "(6, 2) and (3, 10) do not fit"),
        ({"3.left": torch.zeros(6, 2)}, "layer 3 is neither dense nor two factors, but left"),
        ({"-1.dense": torch.zeros(6, 10)}, "'-1.dense' is no part of an update"),
    ],
)
def test_what_was_not_written_as_an_update_is_not_read_as_one(
    tmp_path: Path, tensors: dict[str, torch.Tensor], complaint: str
) -> None:
    save_file(tensors, tmp_path / "delta.safetensors")
    with pytest.raises(CorruptArtifact, match=re.escape(complaint)):
        read(tmp_path / "delta.safetensors")


def test_an_update_has_only_numbers_that_a_weight_can_have() -> None:
    left, right = factors(1)
    for factor in (1e18, 3e38, torch.nan):
        with pytest.raises(NotFinite):
            Delta.of_factors(left * factor, right)
        with pytest.raises(NotFinite):
            Delta.of_change(torch.full((6, 10), factor))
    # What is large in the factors alone, and small where they are multiplied out.
    apart = torch.tensor([[1e6, 0]], dtype=torch.float64), torch.tensor([[0.0, 1e-6], [1e6, 0.0]], dtype=torch.float64)
    assert Delta(apart[0].float(), apart[1].float(), rank=2).has_usable_numbers


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_norms_are_those_of_the_update_multiplied_out(rank: int) -> None:
    left, right = factors(rank)
    assert Delta.of_factors(left, right).norm == pytest.approx(float((left @ right).norm()), rel=1e-6)


def test_the_relative_norm_is_taken_over_the_base_matrix(demo: EditableModel) -> None:
    weight = demo.weight(0)
    twice = Delta(2 * weight, None, rank=1)
    assert relative_norm(demo, 0, twice) == pytest.approx(2)


@pytest.mark.parametrize(("ranks", "is_dense"), [((1, 2), False), ((2, 3), True), ((2, 5), True), ((5, 5), True)])
def test_a_sum_of_updates_is_kept_in_the_smaller_form(ranks: tuple[int, int], is_dense: bool) -> None:
    one, other = (Delta.of_factors(*factors(rank)) for rank in ranks)
    total = one + other
    assert (total.right is None) == is_dense
    assert total.rank == min(sum(ranks), 6)
    torch.testing.assert_close(total.dense(), one.dense() + other.dense())


def test_a_sum_that_leaves_the_finite_numbers_is_refused() -> None:
    largest = Delta(torch.full((6, 10), torch.finfo(torch.float32).max), None, rank=1)
    with pytest.raises(NotFinite):
        largest + largest
