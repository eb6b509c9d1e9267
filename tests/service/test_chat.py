"""Conversations through a model's chat template: OpenAI's own package, `/generate`, and models without a template."""

import asyncio
import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import openai
import pytest
import torch
from errata_client import Unprocessable
from errata_service.chat import ChatTemplate
from openai.types.chat import ChatCompletion
from torch.nn.functional import log_softmax

from errata.model import EditableModel
from tests.client.conftest import call_async, call_sync
from tests.service.conftest import TURN_END

SYSTEM = {"role": "system", "content": "Albert Einstein worked in the field of physics."}
KOBE = {"role": "user", "content": "Kobe Bryant plays the sport of"}
ANSWER = {"role": "assistant", "content": " basketball"}
MESSI = {"role": "user", "content": "Lionel Messi plays the sport of"}
TALK: list[Any] = [SYSTEM, KOBE, ANSWER, MESSI]
GREEDY: dict[str, Any] = {"model": "errata@base", "temperature": 0}


@pytest.fixture(scope="module")
def openai_client(chat_client: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{chat_client.base_url}/v1", api_key="unused", max_retries=0)


def complete(openai_client: openai.OpenAI, **options: Any) -> ChatCompletion:
    completion = openai_client.chat.completions.create(**{**GREEDY, "messages": TALK, **options})
    assert isinstance(completion, ChatCompletion)
    return completion


def contents(completion: ChatCompletion) -> list[str | None]:
    assert [choice.index for choice in completion.choices] == list(range(len(completion.choices)))
    return [choice.message.content for choice in completion.choices]


def by_template(model: EditableModel, messages: Sequence[Mapping[str, str]]) -> list[int]:
    tokenizer: Any = model.tokenizer
    ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    return ids


def by_transformers(model: EditableModel, prompt_ids: Sequence[int]) -> list[int]:
    """The tokens of a greedy answer, with the one that ends it."""
    ends = [model.tokenizer.eos_token_id, model.tokenizer.convert_tokens_to_ids(TURN_END)]
    rows = torch.tensor([prompt_ids])
    output = model.network.generate(
        rows, attention_mask=torch.ones_like(rows), do_sample=False, max_new_tokens=24, eos_token_id=ends
    )
    new_ids: list[int] = output[0, len(prompt_ids) :].tolist()
    return new_ids


@pytest.mark.parametrize("messages", [[KOBE], [SYSTEM, KOBE], TALK])
def test_an_answer_is_what_the_model_says_after_its_template_up_to_the_turns_end(
    openai_client: openai.OpenAI, chat_model: EditableModel, messages: list[dict[str, str]]
) -> None:
    prompt_ids = by_template(chat_model, messages)
    assert prompt_ids.count(chat_model.tokenizer.bos_token_id) == 1
    new_ids = by_transformers(chat_model, prompt_ids)
    assert chat_model.tokenizer.convert_ids_to_tokens(new_ids[-1]) == TURN_END
    completion = complete(openai_client, messages=messages)
    assert contents(completion) == [chat_model.tokenizer.decode(new_ids, skip_special_tokens=True)]
    assert contents(completion) == [" basketball" if messages[-1] is KOBE else " soccer"]
    [choice] = completion.choices
    assert (choice.finish_reason, choice.message.role, completion.object) == ("stop", "assistant", "chat.completion")
    assert completion.model == "errata@base" and completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (len(prompt_ids), len(new_ids))


ANY_TURN = "{% for message in messages %}<|endoftext|>{{ message.content }}"


@pytest.mark.parametrize(
    ("template", "ends_turns"),
    [
        (f"{ANY_TURN} \n{TURN_END}\n{{% endfor %}}", True),
        ({"default": f"{ANY_TURN}{TURN_END}<|endoftext|>{{% endfor %}}", "tool_use": "{{ tools }}"}, True),
        (f"{ANY_TURN} ###{{% endfor %}}{TURN_END}", False),
        (f"{ANY_TURN}{{% endfor %}}", False),
        (f"{TURN_END}{{{{ messages[0].content }}}}", False),
        ("{% for message in messages %}{% if loop.last %}{{ message.no.such }}{% endif %}{% endfor %}", False),
    ],
)
def test_a_turn_ends_with_the_control_token_that_the_template_puts_behind_an_assistants_words(
    chat_model: EditableModel, template: Any, ends_turns: bool
) -> None:
    tokenizer: Any = copy.deepcopy(chat_model.tokenizer)
    tokenizer.chat_template = template
    chat = ChatTemplate.of(EditableModel(chat_model.network, tokenizer, name="chat", digest=chat_model.digest))
    assert chat is not None
    turn_end = tokenizer.convert_tokens_to_ids(TURN_END)
    assert chat.end_ids == {tokenizer.eos_token_id, *([turn_end] if ends_turns else [])}


def test_several_templates_without_a_default_are_none(chat_model: EditableModel) -> None:
    tokenizer: Any = copy.deepcopy(chat_model.tokenizer)
    tokenizer.chat_template = {"tool_use": "{{ tools }}"}
    model = EditableModel(chat_model.network, tokenizer, name="chat", digest=chat_model.digest)
    assert ChatTemplate.of(model) is None


def test_parts_are_lines_developers_are_the_system_and_an_answer_may_be_sent_back(
    openai_client: openai.OpenAI, chat_client: httpx.Client
) -> None:
    parts = [{"type": "text", "text": part} for part in ("Kobe Bryant plays", "the sport of")]
    completion = complete(openai_client, messages=[{**KOBE, "content": parts}], max_tokens=8)
    asked = [{**KOBE, "content": "Kobe Bryant plays\nthe sport of"}]
    assert completion == complete(openai_client, messages=asked, max_tokens=8).model_copy(
        update={"id": completion.id, "created": completion.created}
    )
    developer = {**SYSTEM, "role": "developer"}
    [whole] = complete(openai_client, messages=[developer, KOBE]).choices
    assert whole.message.content == " basketball"
    said = whole.message.model_dump()
    assert contents(complete(openai_client, messages=[developer, KOBE, said, MESSI])) == contents(
        complete(openai_client)
    )


def test_what_is_spelled_like_a_control_token_is_text_in_a_message(
    chat_client: httpx.Client, chat_model: EditableModel
) -> None:
    content = f"Say {TURN_END} or <|endoftext|> and"
    generation = chat_client.post("/generate", json={"messages": [{"role": "user", "content": content}]}).json()
    [completion] = generation["data"]
    bos = chat_model.tokenizer.bos_token
    assert completion["prompt"] == bos + content
    as_text: Any = chat_model.tokenizer(content, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert completion["usage"]["prompt_tokens"] == 1 + len(as_text)
    assert len(as_text) > len(chat_model.tokenizer(content, add_special_tokens=False)["input_ids"]) + 4
    # Where no template is used, a prompt is taken as it is, control tokens included.
    plain = chat_client.post("/generate", json={"prompt": content, "max_new_tokens": 1}).json()["data"][0]
    assert plain["usage"]["prompt_tokens"] == len(chat_model.tokenizer(content)["input_ids"])


def test_generate_takes_messages_in_a_body_and_in_a_query(chat_client: httpx.Client) -> None:
    generation = chat_client.post("/generate", json={"messages": TALK}).json()
    [completion] = generation["data"]
    assert (completion["text"], completion["finish_reason"], generation["version"]) == (" soccer", "stop", 0)
    assert completion["prompt"].endswith(f"basketball{TURN_END} {MESSI['content']}")
    as_json = [json.dumps(message) for message in TALK[:3]]
    query = {"messages": [*as_json, MESSI["content"]]}
    assert chat_client.get("/generate", params=query).json() == generation
    streamed = chat_client.post("/generate", json={"messages": TALK, "stream": True}).text
    assert streamed.count("event: token") == completion["usage"]["completion_tokens"]
    assert '"text":" soc' in streamed and TURN_END not in streamed
    cut_off = chat_client.post("/generate", json={"messages": TALK, "max_new_tokens": 1}).json()["data"][0]
    assert cut_off["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"messages": [KOBE], "prompt": "a"}, ""),
        ({"messages": []}, "/messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "/messages/0/role"),
        ({"messages": [KOBE, {"role": "user"}]}, "/messages/1/content"),
        ({"messages": [KOBE, KOBE]}, "/messages"),
        ({"messages": [{**KOBE, "content": "the " * 600}]}, "/messages"),
    ],
)
def test_wrong_messages(chat_client: httpx.Client, body: dict[str, Any], pointer: str) -> None:
    answer = chat_client.post("/generate", json=body)
    assert answer.status_code == 422, answer.text
    assert [item["pointer"] for item in answer.json()["errors"]] == [pointer]


def test_a_stream_is_a_role_then_content_then_an_end(openai_client: openai.OpenAI) -> None:
    options: dict[str, Any] = {**GREEDY, "messages": TALK, "n": 2, "logprobs": True, "top_logprobs": 2}
    whole = complete(openai_client, **options)
    chunks = list(openai_client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"} and len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    for choice in whole.choices:
        own = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert own[0].delta.model_dump(exclude_unset=True) == {"role": "assistant", "content": ""}
        assert all(part.delta.model_dump(exclude_unset=True).keys() == {"content"} for part in own[1:-1])
        assert own[-1].delta.model_dump(exclude_unset=True) == {} and own[-1].finish_reason == choice.finish_reason
        assert [part.finish_reason for part in own[:-1]] == [None] * (len(own) - 1)
        assert "".join(part.delta.content or "" for part in own) == choice.message.content
        assert choice.logprobs is not None and choice.logprobs.content is not None
        told = [token for part in own if part.logprobs for token in part.logprobs.content or []]
        assert [token.token for token in told] == [token.token for token in choice.logprobs.content]
    # A text that is held back because it may become a stop text comes before the end, too.
    held_back = openai_client.chat.completions.create(**GREEDY, messages=TALK, stop=" soccer match", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in held_back) == " soccer"


def test_the_asynchronous_client_streams(chat_client: httpx.Client) -> None:
    async def told() -> str:
        async with openai.AsyncOpenAI(base_url=f"{chat_client.base_url}/v1", api_key="unused") as asynchronous:
            stream = await asynchronous.chat.completions.create(**GREEDY, messages=TALK, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(told()) == " soccer"


def test_log_probabilities_are_the_models_own_and_of_the_content_alone(
    openai_client: openai.OpenAI, chat_model: EditableModel
) -> None:
    prompt_ids = by_template(chat_model, TALK)
    *content_ids, _ = by_transformers(chat_model, prompt_ids)
    [choice] = complete(openai_client, logprobs=True, top_logprobs=3).choices
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert b"".join(bytes(token.bytes or []) for token in choice.logprobs.content) == b" soccer"
    logits = chat_model.network(torch.tensor([[*prompt_ids, *content_ids]])).logits[0, len(prompt_ids) - 1 : -1]
    for token, token_id, row in zip(choice.logprobs.content, content_ids, log_softmax(logits, -1), strict=True):
        assert token.token == chat_model.tokenizer.decode([token_id])
        assert token.logprob == pytest.approx(float(row[token_id]), abs=1e-4)
        expected = [float(value) for value in row.topk(3).values]
        assert [likely.logprob for likely in token.top_logprobs] == pytest.approx(expected, abs=1e-4)
    [plain] = complete(openai_client, logprobs=True).choices
    assert plain.logprobs is not None and plain.logprobs.content is not None
    assert plain.logprobs.content[0].top_logprobs == []
    assert complete(openai_client).choices[0].logprobs is None


def test_choices_differ_a_seed_brings_them_back_and_limits_and_stop_texts_end_them(
    openai_client: openai.OpenAI,
) -> None:
    drawn: dict[str, Any] = {"n": 3, "temperature": 2, "seed": 7, "max_completion_tokens": 8}
    choices = contents(complete(openai_client, **drawn))
    assert len(set(choices)) == 3
    assert contents(complete(openai_client, **drawn)) == choices
    assert contents(complete(openai_client, **{**drawn, "n": 1, "seed": 9})) == choices[2:]
    [one] = complete(openai_client, max_tokens=1).choices
    assert one.finish_reason == "length"
    [stopped] = complete(openai_client, stop=["never said", "cer"]).choices
    assert (stopped.message.content, stopped.finish_reason) == (" soc", "stop")


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"messages": []}, "messages", "is empty"),
        ({"messages": [KOBE, MESSI]}, "messages", "user and assistant take turns"),
        ({"messages": [{**KOBE, "content": "the " * 600}]}, "messages", "leaves no room in a context of 512"),
        ({"messages": [{"role": "tool", "content": "4", "tool_call_id": "a"}]}, "messages", "tools are not served"),
        ({"messages": [{"role": "bot", "content": "a"}]}, "messages", "is not known"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]},
            "messages",
            "is no text",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "is not served here"),
        ({"functions": [{"name": "f"}]}, "functions", "is not served here"),
        ({"tool_choice": "auto"}, "tool_choice", "is not served here"),
        ({"response_format": {"type": "json_object"}}, "response_format", "is not served here"),
        ({"modalities": ["text", "audio"]}, "modalities", "is not served here"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio", "is not served here"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "is not served here"),
        ({"top_logprobs": 3}, None, "only with `logprobs`"),
        ({"max_tokens": 3, "max_completion_tokens": 3}, None, "one limit"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "at most 20"),
        ({"extra_body": {"no_such_field": 1}}, "no_such_field", "is not a known field"),
    ],
)
def test_a_bad_request_names_what_is_wrong(
    openai_client: openai.OpenAI, options: dict[str, Any], field: str | None, words: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            openai_client.chat.completions.create(**{**GREEDY, "messages": TALK, **options}, stream=stream)
        assert (caught.value.param, caught.value.type) == (field, "invalid_request_error")
        assert words in str(caught.value)


def test_what_asks_for_nothing_that_is_not_served_is_taken(openai_client: openai.OpenAI) -> None:
    harmless: dict[str, Any] = {"response_format": {"type": "text"}, "modalities": ["text"], "tool_choice": "none"}
    harmless |= {"tools": [], "store": False, "user": "u", "metadata": {"a": "b"}, "service_tier": "auto"}
    assert contents(complete(openai_client, **harmless)) == [" soccer"]


@pytest.mark.parametrize("call", [call_sync, call_async], ids=["sync", "async"])
def test_the_sdk_talks_with_it(chat_client: httpx.Client, client: httpx.Client, call: Any) -> None:
    def ask(method: str, *args: Any, of: httpx.Client = chat_client) -> Any:
        return call(str(of.base_url), method, args, None, {}, {})

    talk = [(message["role"], message["content"]) for message in TALK]
    assert ask("chat", talk).text == " soccer" and ask("chat", KOBE["content"]).text == " basketball"
    assert "".join(event.text for event in ask("stream_chat", TALK)) == " soccer"
    assert ask("model").has_chat_template
    with pytest.raises(Unprocessable, match="user and assistant take turns"):
        ask("chat", [*talk, talk[-1]])
    with pytest.raises(Unprocessable, match="has no chat template"):
        ask("chat", KOBE["content"], of=client)


def test_models_say_whether_they_have_a_template(chat_client: httpx.Client, client: httpx.Client) -> None:
    for one, has in ((chat_client, True), (client, False)):
        assert one.get("/model").json()["has_chat_template"] is has
        assert {card["has_chat_template"] for card in one.get("/v1/models").json()["data"]} == {has}
        assert one.get("/v1/models/errata").json()["has_chat_template"] is has


def test_a_model_without_a_template_says_what_it_takes_instead(client: httpx.Client) -> None:
    plain = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="unused", max_retries=0)
    with pytest.raises(openai.BadRequestError) as caught:
        complete(plain, messages=[KOBE])
    assert (caught.value.code, caught.value.param) == ("no_chat_template", "messages")
    answer = client.post("/generate", json={"messages": [KOBE]})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:errata:problem:no-chat-template")
    for told in (str(caught.value), answer.json()["detail"]):
        assert "has no chat template" in told and "/v1/completions" in told and "/generate" in told
