"""Figures: files that can be opened, and say what they show."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from errata import figures
from errata.facts import Fact
from errata.model import EditableModel
from errata.tracing import plots
from errata.tracing.fact_trace import trace_facts
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import trace_prompt
from errata.tracing.prompts import TracedPrompt

SUBJECT = "Sony"  # two tokens


@pytest.fixture
def noise(demo: EditableModel) -> Noise:
    return Noise.for_subjects(demo, [SUBJECT], num_samples=1)


def test_a_prompts_heat_maps_name_its_tokens_and_its_answer(demo: EditableModel, noise: Noise, tmp_path: Path) -> None:
    trace = trace_prompt(demo, TracedPrompt.of(demo, "{} has its headquarters in", SUBJECT), noise)
    png, svg = figures.save(plots.prompt_figure(trace), tmp_path, "restored")
    assert png.read_bytes().startswith(b"\x89PNG")
    texts = texts_of(svg)
    assert {"ony*", "has", "p(Tokyo)", "(b) MLP outputs of 3 layers around it", "clean", "corrupted"} <= set(texts)
    assert "demo: “Sony has its headquarters in” → “Tokyo”" in texts
    first = svg.read_bytes()
    figures.save(plots.prompt_figure(trace), tmp_path, "restored")
    assert svg.read_bytes() == first


def test_the_averages_figures_name_positions_layers_and_what_is_severed(
    demo: EditableModel, noise: Noise, tmp_path: Path
) -> None:
    trace = trace_facts(demo, [Fact(SUBJECT, "has its headquarters in", "Tokyo")], noise)
    _, effects = figures.save(plots.effects_figure(trace), tmp_path, "effects")
    assert {"last subject token", "average indirect effect", "one fact has no interval"} <= set(texts_of(effects))
    assert "demo, 1 fact: what restoring one state brings back" in texts_of(effects)
    _, severed = figures.save(plots.severed_figure(trace), tmp_path, "severed")
    assert {"0", "7", "head", "nothing severed", "attention severed", "MLP severed"} <= set(texts_of(severed))
    assert "no bar: no later layer reads it" in texts_of(severed)


def texts_of(svg: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
