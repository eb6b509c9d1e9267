"""Generation over HTTP, against what transformers generates with the same weights."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import torch
from errata_registry.registry import Registry
from torch import Tensor

from errata.deltas import edited_weights
from errata.model import EditableModel

PROMPTS = ["The capital of France is", "The mother tongue of Napoleon is", "Paris", "The capital of France is in"]


def generate(client: httpx.Client, **request: Any) -> Any:
    answer = client.post("/generate", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(client: httpx.Client, **request: Any) -> list[str]:
    return [completion["text"] for completion in generate(client, **request)["data"]]


def by_transformers(model: EditableModel, prompt: str, weights: Mapping[int, Tensor], **options: Any) -> str:
    prompt_ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    with model.using(weights):
        output = model.network.generate(
            prompt_ids, attention_mask=torch.ones_like(prompt_ids), do_sample=False, max_new_tokens=12, **options
        )
    return str(model.tokenizer.decode(output[0, prompt_ids.shape[1] :], skip_special_tokens=True))


def test_greedy_text_is_that_of_transformers(client: httpx.Client, model: EditableModel) -> None:
    expected = [by_transformers(model, prompt, {}) for prompt in PROMPTS]
    assert texts(client, prompts=PROMPTS, max_new_tokens=12, version="base") == expected
    assert [texts(client, prompt=prompt, max_new_tokens=12, version=0)[0] for prompt in PROMPTS] == expected


def test_a_version_answers_with_its_own_weights(
    client: httpx.Client, model: EditableModel, registry: Registry, version: int
) -> None:
    weights = edited_weights(model, registry.versions.load_deltas(version, model.digest))
    expected = [by_transformers(model, prompt, weights) for prompt in PROMPTS]
    assert expected != [by_transformers(model, prompt, {}) for prompt in PROMPTS]
    generation = generate(client, prompts=PROMPTS, max_new_tokens=12, version=version)
    assert generation["version"] == version
    assert [completion["text"] for completion in generation["data"]] == expected


def test_a_repetition_penalty_is_that_of_transformers(client: httpx.Client, model: EditableModel) -> None:
    expected = by_transformers(model, PROMPTS[0], {}, repetition_penalty=1.8)
    assert texts(client, prompt=PROMPTS[0], max_new_tokens=12, repetition_penalty=1.8, version="base") == [expected]


def test_the_text_begins_with_its_space(client: httpx.Client) -> None:
    completion = generate(client, prompt=PROMPTS[0], max_new_tokens=3, version="base")["data"][0]
    assert completion["text"].startswith(" ")
    assert completion["prompt"] == PROMPTS[0]
    assert completion["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 3


def test_a_seed_gives_the_same_text_alone_and_among_others(client: httpx.Client) -> None:
    options: dict[str, Any] = {"temperature": 1.5, "max_new_tokens": 16, "version": "base"}
    alone = texts(client, prompt=PROMPTS[1], seed=7, **options)
    assert texts(client, prompt=PROMPTS[1], seed=7, **options) == alone
    assert texts(client, prompts=PROMPTS, seed=7, **options)[1:2] == alone
    assert len({texts(client, prompt=PROMPTS[1], seed=seed, **options)[0] for seed in range(5)}) > 1


def test_narrow_sampling_is_greedy(client: httpx.Client) -> None:
    greedy = texts(client, prompts=PROMPTS, version="base")
    assert texts(client, prompts=PROMPTS, version="base", temperature=2, top_k=1) == greedy
    assert texts(client, prompts=PROMPTS, version="base", temperature=2, top_p=1e-6) == greedy


def test_a_stop_text_ends_a_completion_and_is_cut_off(client: httpx.Client) -> None:
    whole = texts(client, prompt=PROMPTS[0], max_new_tokens=12, version="base")[0]
    stop = whole[4:7]
    completion = generate(client, prompt=PROMPTS[0], max_new_tokens=12, version="base", stop=stop)["data"][0]
    assert completion["text"] == whole[: whole.index(stop)]
    assert completion["finish_reason"] == "stop"
    assert completion["usage"]["completion_tokens"] < 12
    assert texts(client, prompt=PROMPTS[0], max_new_tokens=12, version="base", stop=["never said", stop]) == [
        completion["text"]
    ]


def test_get_takes_the_same_names(client: httpx.Client) -> None:
    query: dict[str, Any] = {
        "prompt": PROMPTS[0],
        "max_new_tokens": 5,
        "version": "base",
        "stop": [".", "!"],
        "temperature": 0,
    }
    assert client.get("/generate", params=query).json() == generate(client, **query)


def test_a_prompt_fills_the_context_but_for_one_token(client: httpx.Client, model: EditableModel) -> None:
    word = " the"
    [_] = model.tokenizer(word)["input_ids"]
    completion = generate(client, prompt=word * (model.max_length - 1), version="base")["data"][0]
    assert completion["usage"] == {"prompt_tokens": model.max_length - 1, "completion_tokens": 1}
    assert completion["finish_reason"] == "length"
    answer = client.post("/generate", json={"prompts": ["short", word * model.max_length]})
    assert answer.status_code == 422
    assert [item["pointer"] for item in answer.json()["errors"]] == ["/prompts/1"]
    assert str(model.max_length) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_body", "pointer"),
    [
        ({}, ""),
        ({"prompt": "a", "prompts": ["b"]}, ""),
        ({"prompt": ""}, "/prompt"),
        ({"prompt": "a", "streamed": True}, "/streamed"),
        ({"prompt": "a", "temperature": -1}, "/temperature"),
        ({"prompt": "a", "top_p": 0}, "/top_p"),
        ({"prompt": "a", "top_k": 0}, "/top_k"),
        ({"prompt": "a", "max_new_tokens": 1_000_000}, "/max_new_tokens"),
        ({"prompt": "a", "stop": [""]}, "/stop/0"),
        ({"prompt": "a", "version": "the newest"}, "/version"),
        ({"prompt": "a", "version": -1}, "/version"),
    ],
)
def test_a_wrong_request(client: httpx.Client, request_body: dict[str, Any], pointer: str) -> None:
    answer = client.post("/generate", json=request_body)
    assert answer.status_code == 422, answer.text
    assert [item["pointer"] for item in answer.json()["errors"]] == [pointer]


def test_a_version_that_does_not_exist(client: httpx.Client) -> None:
    answer = client.post("/generate", json={"prompt": "a", "version": 999})
    assert answer.status_code == 404
    assert "999" in answer.json()["detail"]
