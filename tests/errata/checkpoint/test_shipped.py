"""Models that come with Errata are found by name, with what belongs to them."""

from errata.checkpoint.shipped import Shipped, shipped as found, shipped_checkpoint
from errata.demo import MODEL_FOLDER, shipped


def test_a_model_that_is_shipped_brings_its_checkpoint_and_what_it_needs() -> None:
    its_own: Shipped = shipped
    assert found("demo") is its_own
    assert shipped_checkpoint("demo") == MODEL_FOLDER
    for other in ("model", "targets", "nothing", "EleutherAI/gpt-j-6b", "../errata/demo", "", "/tmp"):
        assert shipped_checkpoint(other) is None
        assert found(other) is None
