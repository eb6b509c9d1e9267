"""OpenAI's own package against the service, as it comes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import openai
import pytest
import torch
from errata_registry.registry import Registry
from openai.types import Completion
from torch import Tensor
from torch.nn.functional import log_softmax

from errata.deltas import edited_weights
from errata.model import EditableModel
from tests.service.conftest import publish_without_numbers

PROMPTS = ["The capital of France is", "The mother tongue of Napoleon is", "Kobe Bryant plays the sport of"]
GREEDY: dict[str, Any] = {"model": "errata@base", "temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def openai_client(client: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="unused", max_retries=0)


def complete(openai_client: openai.OpenAI, **options: Any) -> Completion:
    completion = openai_client.completions.create(**{**GREEDY, **options})
    assert isinstance(completion, Completion)
    return completion


def texts(completion: Completion) -> list[str]:
    assert [choice.index for choice in completion.choices] == list(range(len(completion.choices)))
    return [choice.text for choice in completion.choices]


def by_transformers(model: EditableModel, prompt: str, weights: Mapping[int, Tensor]) -> str:
    prompt_ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    with model.using(weights):
        output = model.network.generate(
            prompt_ids, attention_mask=torch.ones_like(prompt_ids), do_sample=False, max_new_tokens=12
        )
    return str(model.tokenizer.decode(output[0, prompt_ids.shape[1] :], skip_special_tokens=True))


def test_the_models_are_the_active_version_the_base_and_every_version(
    openai_client: openai.OpenAI, version: int
) -> None:
    names = [model.id for model in openai_client.models.list()]
    assert names[0] == "errata" and {"errata@base", f"errata@{version}"} <= set(names)
    for name in ("errata", "errata@base", f"errata@{version}"):
        assert openai_client.models.retrieve(name).id == name


def test_each_model_answers_with_its_own_weights(
    openai_client: openai.OpenAI, model: EditableModel, registry: Registry, version: int
) -> None:
    weights = edited_weights(model, registry.versions.load_deltas(version, model.digest))
    for name, used in (("errata@base", {}), (f"errata@{version}", weights)):
        completion = complete(openai_client, model=name, prompt=PROMPTS)
        assert completion.model == name
        assert texts(completion) == [by_transformers(model, prompt, used) for prompt in PROMPTS]
    assert complete(openai_client, model="errata", prompt=PROMPTS[0]).model == "errata@base"


def test_a_prompt_may_be_text_or_tokens_one_or_several(openai_client: openai.OpenAI, model: EditableModel) -> None:
    token_ids = [model.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    expected = complete(openai_client, prompt=PROMPTS)
    assert texts(complete(openai_client, prompt=token_ids)) == texts(expected)
    assert texts(complete(openai_client, prompt=token_ids[1])) == texts(expected)[1:2]
    assert expected.usage is not None
    assert expected.usage.prompt_tokens == sum(map(len, token_ids))
    assert expected.usage.total_tokens == expected.usage.prompt_tokens + expected.usage.completion_tokens


def test_choices_of_a_prompt_differ_and_a_seed_brings_them_back(openai_client: openai.OpenAI) -> None:
    drawn: dict[str, Any] = {"prompt": PROMPTS[:2], "n": 3, "temperature": 1.5, "seed": 7}
    choices = texts(complete(openai_client, **drawn))
    assert len(choices) == 6 and len(set(choices)) == 6
    assert texts(complete(openai_client, **drawn)) == choices
    # Choice i of a prompt draws from seed + i.
    assert texts(complete(openai_client, **{**drawn, "prompt": PROMPTS[1], "n": 1, "seed": 9})) == choices[5:]
    assert len(set(texts(complete(openai_client, **{**drawn, "seed": -1})))) == 6


def test_a_stop_text_ends_a_choice(openai_client: openai.OpenAI) -> None:
    [whole] = texts(complete(openai_client, prompt=PROMPTS[0]))
    completion = complete(openai_client, prompt=PROMPTS[0], stop=["never said", whole[4:11]])
    assert texts(completion) == [whole[: whole.index(whole[4:11])]]
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("echo", [False, True])
def test_a_stream_adds_up_to_the_whole(openai_client: openai.OpenAI, echo: bool) -> None:
    options: dict[str, Any] = {**GREEDY, "prompt": PROMPTS[:2], "logprobs": 2, "echo": echo}
    whole = complete(openai_client, **options)
    chunks = list(openai_client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    for choice in whole.choices:
        own = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert "".join(part.text for part in own) == choice.text
        assert [part.finish_reason for part in own] == [None] * (len(own) - 1) + [choice.finish_reason]
        assert choice.logprobs is not None
        told = [part.logprobs for part in own if part.logprobs]
        for column in ("tokens", "text_offset"):
            assert [value for part in told for value in getattr(part, column)] == getattr(choice.logprobs, column)
        logprobs = [value for part in told for value in part.token_logprobs or []]
        assert logprobs == pytest.approx(choice.logprobs.token_logprobs, abs=1e-4)
        likeliest = [value for part in told for value in part.top_logprobs or []]
        for streamed, expected in zip(likeliest, choice.logprobs.top_logprobs or [], strict=True):
            assert (streamed or {}) == pytest.approx(expected or {}, abs=1e-4)


def test_the_asynchronous_client_streams(client: httpx.Client, openai_client: openai.OpenAI) -> None:
    async def told() -> str:
        async with openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key="unused") as asynchronous:
            stream = await asynchronous.completions.create(**GREEDY, prompt=PROMPTS[0], stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream])

    assert [asyncio.run(told())] == texts(complete(openai_client, prompt=PROMPTS[0]))


@pytest.mark.parametrize("max_tokens", [0, 6])
def test_log_probabilities_are_the_models_own(
    openai_client: openai.OpenAI, model: EditableModel, max_tokens: int
) -> None:
    completion = complete(openai_client, prompt=PROMPTS[0], max_tokens=max_tokens, logprobs=3, echo=True)
    [choice] = completion.choices
    given = choice.logprobs
    assert given is not None and given.tokens and given.token_logprobs and given.top_logprobs and given.text_offset
    assert choice.text.startswith(PROMPTS[0])
    token_ids = model.tokenizer(choice.text)["input_ids"]
    assert len(given.tokens) == len(token_ids) == len(model.tokenizer(PROMPTS[0])["input_ids"]) + max_tokens
    expected = log_softmax(model.network(torch.tensor([token_ids])).logits[0, :-1], dim=-1)

    assert given.token_logprobs[0] is None and given.top_logprobs[0] is None
    for place, token_id in enumerate(token_ids[1:], start=1):
        log_probabilities = expected[place - 1]
        assert given.token_logprobs[place] == pytest.approx(float(log_probabilities[token_id]), abs=1e-4)
        shown = {str(model.tokenizer.decode([i])): i for i in [*log_probabilities.topk(3).indices.tolist(), token_id]}
        of_shown = {text: float(log_probabilities[i]) for text, i in shown.items()}
        assert given.tokens[place] in of_shown
        assert given.top_logprobs[place] == pytest.approx(of_shown, abs=1e-4)
    for token, offset in zip(given.tokens, given.text_offset, strict=True):
        assert choice.text[offset:].startswith(token)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"extra_body": {"no_such_field": 1}}, "no_such_field"),
        ({"extra_body": {"top_k": 10**400}}, "top_k"),
        ({"prompt": "the " * 600}, "prompt"),
        ({"prompt": [1, 2, 10**6]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a", [1]]}, "prompt"),
    ],
)
def test_a_bad_request_names_what_is_wrong(openai_client: openai.OpenAI, options: dict[str, Any], field: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(openai_client, **{"prompt": PROMPTS[0], **options})
    assert caught.value.param == field
    assert caught.value.type == "invalid_request_error"
    assert "function" not in str(caught.value)  # it speaks of the request, not of what checks it


@pytest.mark.parametrize(
    "name", ["gpt-4", "errata@999", "errata@newest", pytest.param(f"errata@{'9' * 5000}", id="errata@999…")]
)
def test_a_model_that_is_not_there(openai_client: openai.OpenAI, name: str) -> None:
    for ask in (
        lambda: openai_client.models.retrieve(name),
        lambda: complete(openai_client, model=name, prompt=PROMPTS[0]),
        lambda: openai_client.completions.create(model=name, prompt=PROMPTS[0], stream=True),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert name.removeprefix("errata@")[:50] in str(caught.value)


def test_what_fails_on_the_way_is_raised_whole_or_streamed(
    openai_client: openai.OpenAI, registry: Registry, model: EditableModel
) -> None:
    broken = f"errata@{publish_without_numbers(registry, model)}"
    with pytest.raises(openai.InternalServerError) as caught:
        complete(openai_client, model=broken, prompt=PROMPTS[0])
    assert caught.value.code == "not_finite"
    begun = openai_client.completions.create(model=broken, prompt=PROMPTS[0], stream=True)
    with pytest.raises(openai.APIError) as caught_later:
        list(begun)
    assert caught_later.value.code == "not_finite"


def test_errors_have_openais_form(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json={"model": "errata", "prompt": "a", "best_of": 3})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert "best_of" in answer.json()["error"]["message"]
