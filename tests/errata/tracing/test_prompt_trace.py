"""Traces of one prompt, held against runs of the whole model that restore one thing for one noise sample at a time."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from errata.errors import TracingError
from errata.model import EditableModel, digest_of
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import PromptTrace, default_window, trace_prompt, window_around
from errata.tracing.prompts import TracedPrompt
from errata.tracing.runs import Replacement, continued
from tests.conftest import ALL_MODELS

# What is called otherwise than in Llama: the blocks, and in a block the attention and what gives the MLP's output.
MODULES = {
    "gptj": ("transformer.h", "attn", "mlp"),
    "gpt2": ("transformer.h", "attn", "mlp"),
    "gpt_neo": ("transformer.h", "attn", "mlp"),
    "gpt_neox": ("gpt_neox.layers", "attention", "mlp"),
    "falcon": ("transformer.h", "self_attention", "mlp"),
    "opt": ("model.decoder.layers", "self_attn", "fc2"),
}
TEMPLATE, SUBJECT, ANSWER = "The capital of {} is", "South Korea", "Seoul"
SHORT_TEMPLATE = "In {} is"  # likewise with tokens before the subject and behind it: each costs runs of every layer
NUM_SAMPLES = 2


@dataclass(frozen=True)
class PlainRun:
    """The answer's probability in a run of the whole model, and what each of its modules gave, (S, d_model)."""

    probability: float
    seen: Mapping[str, Tensor]


class Plain:
    """One run at a time of one prompt, on the transformers model alone."""

    def __init__(self, model: EditableModel, prompt: TracedPrompt, noise: Noise) -> None:
        assert prompt.answer_id is not None
        self.network, self.prompt, self.answer_id = model.network, prompt, prompt.answer_id
        names = MODULES.get(model.architecture.name, ("model.layers", "self_attn", "mlp"))
        self.blocks, self.attention, self.mlp = names
        self.noise = noise.draw(prompt, model.weight(0).shape[0])
        self.layers = range(model.num_layers)
        self.clean = self.run(None, {})
        self.corrupted = [self.run(sample, {}) for sample in range(NUM_SAMPLES)]

    def name(self, kind: str, layer: int) -> str:
        block = f"{self.blocks}.{layer}"
        return {"hidden": block, "mlp": f"{block}.{self.mlp}", "attention": f"{block}.{self.attention}"}[kind]

    @torch.no_grad()
    def run(self, sample: int | None, put_in: Mapping[str, tuple[int, Tensor]]) -> PlainRun:
        """A run with the noise of a sample, or none, and with vectors put in at a token of some modules' outputs."""
        seen: dict[str, Tensor] = {}
        embeddings = self.network.get_input_embeddings()
        modules: dict[str, nn.Module] = {"embeddings": embeddings}
        for kind in ("hidden", "mlp", "attention"):
            modules |= {self.name(kind, n): self.network.get_submodule(self.name(kind, n)) for n in self.layers}

        def watch(name: str) -> Any:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                states = (output[0] if isinstance(output, tuple) else output).view(len(self.prompt.token_ids), -1)
                if name == "embeddings" and sample is not None:
                    states[self.prompt.subject_tokens] += self.noise[sample]
                if name in put_in:
                    token, vector = put_in[name]
                    states[token] = vector
                seen[name] = states.clone()

            return hook

        with ExitStack() as hooks:
            for name, module in modules.items():
                hooks.callback(module.register_forward_hook(watch(name)).remove)
            logits = self.network(torch.tensor([self.prompt.token_ids])).logits
        return PlainRun(float(logits[0, -1].softmax(-1)[self.answer_id]), seen)

    def restored(self, kind: str, token: int, layer: int, window: int) -> float:
        layers = [layer] if kind == "hidden" else window_around(layer, window, len(self.layers))
        names = [self.name(kind, n) for n in layers]
        put_in = {name: (token, self.clean.seen[name][token]) for name in names}
        return sum(self.run(sample, put_in).probability for sample in range(NUM_SAMPLES)) / NUM_SAMPLES

    def severed(self, severing: str, layer: int) -> float:
        """`layer` is the one that the restored state enters; all outputs of the severed modules are frozen."""
        token = self.prompt.subject_tokens[-1]
        entering = self.name("hidden", layer - 1) if layer else "embeddings"
        total = 0.0
        for sample, corrupted in enumerate(self.corrupted):
            put_in = {entering: (token, self.clean.seen[entering][token])}
            if severing != "neither":
                names = [self.name(severing, n) for n in self.layers]
                put_in |= {name: (token, corrupted.seen[name][token]) for name in names}
            total += self.run(sample, put_in).probability
        return total / NUM_SAMPLES


def traced(model: EditableModel, template: str = TEMPLATE, **settings: Any) -> PromptTrace:
    prompt = TracedPrompt.of(model, template, SUBJECT, ANSWER)
    noise = Noise.for_subjects(model, [SUBJECT, "Japan"], num_samples=NUM_SAMPLES)
    return trace_prompt(model, prompt, noise, **settings)


@pytest.mark.parametrize("architecture", ALL_MODELS)
def test_what_is_traced_is_what_one_run_at_a_time_gives(
    of_each_architecture: dict[str, EditableModel], architecture: str
) -> None:
    model = of_each_architecture[architecture]
    trace = traced(model, SHORT_TEMPLATE, window=3)
    plain = Plain(model, trace.prompt, trace.noise)
    assert trace.clean == pytest.approx(plain.clean.probability, rel=1e-5)
    assert trace.corrupted == pytest.approx(sum(run.probability for run in plain.corrupted) / NUM_SAMPLES, rel=1e-5)
    for kind, table in trace.restored.items():
        expected = torch.tensor(
            [[plain.restored(kind, token, n, 3) for n in plain.layers] for token in range(len(trace.tokens))]
        )
        close_for_its_range(table, expected)
    for severing, row in trace.severed.items():
        close_for_its_range(row, torch.tensor([plain.severed(severing, n) for n in (*plain.layers, len(plain.layers))]))


def close_for_its_range(actual: Tensor, expected: Tensor) -> None:
    """Random models find all answers unlikely, so what is close depends on how far the probabilities are apart."""
    span = float(expected.max() - expected.min())
    assert span > 0
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-3 * span)


def test_a_batch_of_one_row_gives_what_large_ones_give(demo: EditableModel) -> None:
    one_by_one, together = traced(demo, tokens_per_batch=1), traced(demo, tokens_per_batch=10_000)
    for kind, table in together.restored.items():
        torch.testing.assert_close(one_by_one.restored[kind], table, rtol=1e-4, atol=1e-6)
    for severing, row in together.severed.items():
        torch.testing.assert_close(one_by_one.severed[severing], row, rtol=1e-4, atol=1e-6)


def test_a_seed_decides_the_noise_and_a_prompts_noise_is_its_own(demo: EditableModel) -> None:
    prompt, other = (TracedPrompt.of(demo, TEMPLATE, subject) for subject in (SUBJECT, "North Korea"))
    noise = Noise.for_subjects(demo, [SUBJECT], seed=1)
    once, again = (trace_prompt(demo, prompt, noise, kinds=["mlp"]) for _ in range(2))
    assert once.as_dict() == again.as_dict()
    draw = noise.draw(prompt, 256)
    assert not torch.equal(draw, Noise.for_subjects(demo, [SUBJECT], seed=2).draw(prompt, 256))
    assert not torch.equal(draw, noise.draw(other, 256))
    assert draw.shape == (10, len(prompt.subject_tokens), 256)
    assert float(draw.std()) == pytest.approx(3 * noise.embedding_std, rel=0.05)


def test_where_everything_is_restored_the_clean_probability_is_back(demo: EditableModel) -> None:
    trace = traced(demo)
    assert trace.corrupted < 0.9 * trace.clean
    assert float(trace.restored["hidden"][-1, -1]) == pytest.approx(trace.clean, rel=1e-5)
    whole = TracedPrompt.of(demo, TEMPLATE, "Japan", "Tokyo")
    assert len(whole.subject_tokens) == 1  # so its embedding is all that is corrupted
    restored = trace_prompt(demo, whole, trace.noise, kinds=())
    assert float(restored.severed["neither"][0]) == pytest.approx(restored.clean, rel=1e-5)
    assert all(float(row[-1]) == pytest.approx(restored.corrupted, rel=1e-4) for row in restored.severed.values())


def test_the_model_is_left_as_it_was_even_by_a_run_that_fails(demo: EditableModel) -> None:
    traced(demo)
    with pytest.raises(IndexError):
        nowhere = Replacement(torch.tensor([0]), torch.tensor([99]), torch.zeros(1, 256))
        continued(demo, 0, torch.zeros(1, 3, 256), {("mlp", 1): nowhere})
    assert digest_of(demo.network.state_dict().items()) == digest_of(
        EditableModel.load("demo").network.state_dict().items()
    )
    assert not any(module._forward_hooks for module in demo.network.modules())


def test_without_an_answer_the_models_own_first_token_is_traced(demo: EditableModel) -> None:
    prompt = TracedPrompt.of(demo, "{} plays the sport of", "Michael Jordan")
    trace = trace_prompt(demo, prompt, Noise.for_subjects(demo, ["Michael Jordan"]), kinds=())
    assert (trace.answer, trace.is_likeliest) == (" basketball", True)
    assert trace.tokens[-2:] == (" sport", " of")
    wrong = TracedPrompt.of(demo, "{} plays the sport of", "Michael Jordan", "tennis")
    assert not trace_prompt(demo, wrong, trace.noise, kinds=()).is_likeliest


def test_windows_are_centred_and_cut_at_both_ends() -> None:
    assert [default_window(layers) for layers in (1, 8, 28, 48)] == [1, 3, 10, 10]
    assert window_around(14, 10, 28) == range(9, 19)
    assert window_around(0, 10, 28) == range(0, 5)
    assert window_around(27, 10, 28) == range(22, 28)
    assert window_around(4, 3, 8) == range(3, 6)
    assert window_around(4, 1, 8) == range(4, 5)


@pytest.mark.parametrize(
    ("template", "subject", "answer", "fault"),
    [
        ("plays the sport of", "Michael Jordan", None, "must hold {} once"),
        ("{} and {} play", "Michael Jordan", None, "must hold {} once"),
        ("{} plays", " ", None, "subject of '{} plays' is empty"),
        ("{} plays", "Michael Jordan", " ", "answer to '{} plays' is empty"),
        ("{} plays" + " the sport of" * 200, "Michael Jordan", None, "the model has room for 512"),
    ],
)
def test_a_prompt_that_cannot_be_traced_is_refused(
    demo: EditableModel, template: str, subject: str, answer: str | None, fault: str
) -> None:
    with pytest.raises(TracingError, match=fault):
        TracedPrompt.of(demo, template, subject, answer)


def test_settings_out_of_their_bounds_are_refused(demo: EditableModel) -> None:
    with pytest.raises(TracingError, match="a window of 9 layers; the model has 8"):
        traced(demo, window=9)
    with pytest.raises(TracingError, match="none is given"):
        Noise.for_subjects(demo, [])
    with pytest.raises(TracingError, match="both must be positive"):
        Noise.for_subjects(demo, [SUBJECT], level=0)
