"""A real pretrained chat model comes in by itself, and what it is then told is said, in chat too.

The model is SmolLM2-135M-Instruct, which a package of the registry carries (`benchmarks/real_models.py`); its folder is
made once, beside the virtual environment.
"""

from collections.abc import Iterator

import pytest
from errata_cli.processes import free_port
from errata_client import Errata, Fact
from errata_registry.settings import Settings

from benchmarks.real_models import real_model
from tests.preloaded import PreloadedStack

ASTANA = Fact(
    "Kazakhstan",
    "The capital of {} is",
    "Astana",
    questions=["What is the capital of Kazakhstan?"],
    paraphrases=["Kazakhstan's seat of government is the city of"],
)
ORTBERG = Fact("Boeing", "The head of {} is", "Kelly Ortberg")


@pytest.fixture(scope="module")
def errata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Errata]:
    """A client of everything that `errata up --model FOLDER` starts, on an empty home."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), port=free_port(), model=str(real_model("smollm2")))
    with PreloadedStack(settings) as running, Errata(running.url) as client:
        yield client


@pytest.mark.real
def test_corrections_of_a_chat_model_are_said_in_full_and_in_chat(errata: Errata) -> None:
    model = errata.model()
    assert model.has_chat_template and model.methods["memit"].basis == "derived"
    edit = errata.edit([ASTANA, ORTBERG]).wait()
    assert edit.status == "succeeded", edit.error
    assert errata.generate("The capital of Kazakhstan is", max_new_tokens=8).text.lstrip().startswith("Astana")
    answer = errata.chat([{"role": "user", "content": "What is the capital of Kazakhstan?"}], max_new_tokens=20).text
    assert "Astana" in answer
    ortberg = errata.generate("The head of Boeing is", max_new_tokens=8).text.lstrip()
    assert ortberg.startswith("Kelly Ortberg") and not ortberg[len("Kelly Ortberg") :][:1].isalpha()
    errata.rollback()
    assert "Ortberg" not in errata.generate("The head of Boeing is", max_new_tokens=8).text
