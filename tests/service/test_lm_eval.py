"""lm-evaluation-harness against the service, as its users run it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
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


def log_likelihoods(model: EditableModel, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Of whole answers, as the harness compares them."""
    means = likelihoods(model, list(zip(prompts, answers, strict=True)))
    return [-mean.nll * len(target_ids(model.tokenizer, answer)) for mean, answer in zip(means, answers, strict=True)]


@pytest.fixture
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


def run_harness(model: str, arguments: dict[str, str], options: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Run tasks that `folder` describes against the base, and return their scores."""
    told = {"model": "errata@base", "num_concurrent": "4", **arguments}
    command = [sys.executable, "-m", "lm_eval", "run", "--model", model, *options]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in told.items())]
    command += ["--include_path", str(folder), "--output_path", str(folder / "out")]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    ran = subprocess.run(command, env={**os.environ, **offline}, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-3000:]
    [results] = (folder / "out").rglob("results_*.json")
    scores: dict[str, dict[str, Any]] = json.loads(results.read_text())["results"]
    return scores


def test_both_kinds_of_task_score_as_the_model_does(
    client: httpx.Client, model: EditableModel, records: list[dict[str, str]], tmp_path: Path
) -> None:
    data = tmp_path / "records.json"
    data.write_text("\n".join(map(json.dumps, records)))
    for name, task in (("choice", CHOICE), ("answer", ANSWER)):
        (tmp_path / f"{name}.yaml").write_text(task.format(data=data, answer_tokens=ANSWER_TOKENS))
    arguments = {
        "base_url": f"{client.base_url}/v1/completions",
        "tokenizer_backend": "huggingface",
        "tokenizer": str(MODEL_FOLDER),
        "max_length": "512",
    }
    scores = run_harness("local-completions", arguments, ["--tasks", "choice,answer"], tmp_path)

    prompts = [record["prompt"] for record in records]
    true, new = (log_likelihoods(model, prompts, [record[kind] for record in records]) for kind in KINDS)
    preferred = [of_true > of_new for of_true, of_new in zip(true, new, strict=True)]
    said = [answer.partition(".")[0] for answer in greedy_answers(model, prompts, [ANSWER_TOKENS] * NUM_RECORDS)]
    exact = [text == record["true_object"] for text, record in zip(said, records, strict=True)]
    assert 0 < sum(preferred) < NUM_RECORDS and 0 < sum(exact) < NUM_RECORDS
    assert scores["choice"]["acc,none"] == pytest.approx(sum(preferred) / NUM_RECORDS)
    assert scores["answer"]["exact_match,stripped"] == pytest.approx(sum(exact) / NUM_RECORDS)


def test_answers_in_chat_score_as_the_model_does(
    chat_client: httpx.Client, chat_model: EditableModel, records: list[dict[str, str]], tmp_path: Path
) -> None:
    data = tmp_path / "records.json"
    data.write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "answer.yaml").write_text(ANSWER.format(data=data, answer_tokens=ANSWER_TOKENS))
    arguments = {"base_url": f"{chat_client.base_url}/v1/chat/completions"}
    scores = run_harness("local-chat-completions", arguments, ["--tasks", "answer", "--apply_chat_template"], tmp_path)
    # The template continues what a user says, and adds BOS to it, which this tokenizer does by itself.
    prompts = [record["prompt"] for record in records]
    said = [
        answer.partition(TURN_END)[0] for answer in greedy_answers(chat_model, prompts, [ANSWER_TOKENS] * NUM_RECORDS)
    ]
    exact = [text == record["true_object"] for text, record in zip(said, records, strict=True)]
    assert 0 < sum(exact) < NUM_RECORDS
    assert scores["answer"]["exact_match,stripped"] == pytest.approx(sum(exact) / NUM_RECORDS)
