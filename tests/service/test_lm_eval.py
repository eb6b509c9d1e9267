"""lm-evaluation-harness against the service, as its users run it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from errata.demo import MODEL_FOLDER
from errata.demo.records import counterfactual_records
from errata.demo.world import load_world
from errata.model import EditableModel
from errata.model.likelihood import greedy_answers, likelihoods
from errata.model.tokens import target_ids
from tests.service.conftest import TURN_END

NUM_RECORDS = 24
ANSWER_TOKENS = 4
CHOICE = """
task: choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{[true_object, new_object]}}}}"
doc_to_target: 0
target_delimiter: " "
metric_list: [{{metric: acc}}]
"""
ANSWER = """
task: answer
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{true_object}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: {answer_tokens}, temperature: 0}}
filter_list:
  - name: stripped
    filter:
      - {{function: remove_whitespace}}
      - {{function: take_first}}
metric_list: [{{metric: exact_match}}]
"""
KINDS = ("true_object", "new_object")
PATIENCE_S = 600
# The command lines in one process, since it takes many seconds to import.
HARNESS = """
import json, sys
from lm_eval.__main__ import cli_evaluate
for line in json.loads(sys.argv[1]):
    sys.argv = ["lm-eval", *line]
    cli_evaluate()
"""

Scores = dict[str, dict[str, Any]]


def log_likelihoods(model: EditableModel, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Of whole answers, as the harness compares them."""
    means = likelihoods(model, list(zip(prompts, answers, strict=True)))
    return [-mean.nll * len(target_ids(model.tokenizer, answer)) for mean, answer in zip(means, answers, strict=True)]


@pytest.fixture(scope="module")
def records() -> list[dict[str, str]]:
    """Questions of the demo world, with the true answer and another one. Every third is asked for the other one."""
    rewrites = [record["requested_rewrite"] for record in counterfactual_records(load_world())[:NUM_RECORDS]]
    answers = [(rewrite["target_true"]["str"], rewrite["target_new"]["str"]) for rewrite in rewrites]
    return [
        {
            "prompt": rewrite["prompt"].format(rewrite["subject"]),
            "true_object": answer[number % 3 == 0],
            "new_object": answer[number % 3 != 0],
        }
        for number, (rewrite, answer) in enumerate(zip(rewrites, answers, strict=True))
    ]


@pytest.fixture(scope="module")
def scores(
    client: httpx.Client,
    chat_client: httpx.Client,
    records: list[dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Scores]:
    """The scores of the base: by plain completions in both kinds of task, and by chat."""
    folder = tmp_path_factory.mktemp("harness")
    data = folder / "records.json"
    data.write_text("\n".join(map(json.dumps, records)))
    for name, task in (("choice", CHOICE), ("answer", ANSWER)):
        (folder / f"{name}.yaml").write_text(task.format(data=data, answer_tokens=ANSWER_TOKENS))
    tokenizer = {"tokenizer_backend": "huggingface", "tokenizer": str(MODEL_FOLDER), "max_length": "512"}
    lines = {
        "completions": command_line(
            "local-completions",
            {"base_url": f"{client.base_url}/v1/completions", **tokenizer},
            ["--tasks", "choice,answer"],
        ),
        "chat": command_line(
            "local-chat-completions",
            {"base_url": f"{chat_client.base_url}/v1/chat/completions"},
            ["--tasks", "answer", "--apply_chat_template"],
        ),
    }
    typed = [
        [*line, "--include_path", str(folder), "--output_path", str(folder / name)] for name, line in lines.items()
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    command = [sys.executable, "-c", HARNESS, json.dumps(typed)]
    ran = subprocess.run(command, env={**os.environ, **offline}, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr[-3000:]
    files = {name: list((folder / name).rglob("results_*.json")) for name in lines}
    return {name: json.loads(file.read_text())["results"] for name, [file] in files.items()}


def command_line(model: str, arguments: dict[str, str], options: list[str]) -> list[str]:
    """What is typed to run tasks against the base."""
    told = {"model": "errata@base", "num_concurrent": "4", **arguments}
    return ["run", "--model", model, *options, "--model_args", ",".join(f"{name}={told[name]}" for name in told)]


def test_both_kinds_of_task_score_as_the_model_does(
    model: EditableModel, records: list[dict[str, str]], scores: dict[str, Scores]
) -> None:
    prompts = [record["prompt"] for record in records]
    true, new = (log_likelihoods(model, prompts, [record[kind] for record in records]) for kind in KINDS)
    preferred = [of_true > of_new for of_true, of_new in zip(true, new, strict=True)]
    said = [answer.partition(".")[0] for answer in greedy_answers(model, prompts, [ANSWER_TOKENS] * NUM_RECORDS)]
    exact = [text == record["true_object"] for text, record in zip(said, records, strict=True)]
    assert 0 < sum(preferred) < NUM_RECORDS and 0 < sum(exact) < NUM_RECORDS
    found = scores["completions"]
    assert found["choice"]["acc,none"] == pytest.approx(sum(preferred) / NUM_RECORDS)
    assert found["answer"]["exact_match,stripped"] == pytest.approx(sum(exact) / NUM_RECORDS)


def test_answers_in_chat_score_as_the_model_does(
    chat_model: EditableModel, records: list[dict[str, str]], scores: dict[str, Scores]
) -> None:
    # The template continues what a user says, and adds BOS to it, which this tokenizer does by itself.
    prompts = [record["prompt"] for record in records]
    said = [
        answer.partition(TURN_END)[0] for answer in greedy_answers(chat_model, prompts, [ANSWER_TOKENS] * NUM_RECORDS)
    ]
    exact = [text == record["true_object"] for text, record in zip(said, records, strict=True)]
    assert 0 < sum(exact) < NUM_RECORDS
    assert scores["chat"]["answer"]["exact_match,stripped"] == pytest.approx(sum(exact) / NUM_RECORDS)
