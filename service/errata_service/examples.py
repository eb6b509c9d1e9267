"""An example for each field of what the service answers, by the field's name: most names mean one thing everywhere.

What is asked for has its examples as whole bodies, in the routes, where parts that do not fit together cannot meet.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

_AT = "2026-11-30T09:30:00Z"
_EDIT = "edit_18ecb18c11386bb2c94af864"
_FACT = "fact_3f0c7a9be1d25648"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_OF_MEMIT = {"layers": [0, 1], "moment_weight": 300.0, "num_steps": 25, "refinement_steps": 0}

EXAMPLES: Mapping[str, Any] = {
    # facts
    "subject": "Michael Jordan",
    "relation": "plays the sport of",
    "object": "baseball",
    "prompt": "Michael Jordan plays the sport of",
    "paraphrases": ["The sport that Michael Jordan plays is"],
    "phrasings": ["Michael Jordan is a player of"],
    "questions": ["Which sport does Michael Jordan play?"],
    "search": {"num_steps": 50, "clamp": 1.5},
    "space": True,
    "before": "basketball",
    "after": "baseball",
    "replaced": "basketball",
    "held": True,
    "fact": _FACT,
    "CheckedFact.fact": {"subject": "Michael Jordan", "relation": "plays the sport of", "object": "baseball"},
    "by": "wiki-team",
    "who": "wiki-team",
    "PastActivation.by": _EDIT,
    "at": _AT,
    # how facts took
    "took": True,
    "lost": False,
    "known": False,
    "likelier": True,
    "probability_before": 0.0003,
    "probability_after": 0.97,
    "paraphrases_followed": 1.0,
    "said_in_chat": 1.0,
    "expected": "baseball",
    "MissedPrompt.said": "basketball",
    # jobs
    "id": _FACT,
    "edit": _EDIT,
    "Edit.id": _EDIT,
    "Evaluation.id": "eval_18ecb19027c4a6d1f0a3b7c2",
    "VersionEvaluation.id": "eval_18ecb19027c4a6d1f0a3b7c2",
    "Trace.id": "trace_18ecb1953bd20e4f9a6c8d17",
    "retries": _EDIT,
    "created_at": _AT,
    "started_at": "2026-11-30T09:30:01Z",
    "finished_at": "2026-11-30T09:30:21Z",
    "attempts": 1,
    "done": 3,
    "total": 10,
    "eta_s": 12.5,
    "note": "ticket 4711",
    "facts": 10,
    "added": 2,
    "changed": 1,
    "retracted": 0,
    "base": 1,
    "dry_run": False,
    "rebuild": False,
    "partial": False,
    "tries": 3,
    "not_taken": 0,
    "method": "memit",
    "Edit.message": "this changes nothing: version 1 has all of it already, so no version is made",
    # what was measured
    "said": 1.0,
    "kept": 1.0,
    "efficacy": 1.0,
    "efficacy_accuracy": 1.0,
    "generalization": 0.95,
    "generalization_accuracy": 0.9,
    "specificity": 0.92,
    "specificity_accuracy": 0.88,
    "score": 0.956,
    "fluency": 6.2,
    "drift": 0.02,
    "perplexity_before": 15.1,
    "perplexity_after": 15.2,
    "mean": 0.95,
    "low": 0.91,
    "high": 0.98,
    "count": 100,
    "records": 100,
    "own_facts": False,
    "zsre_object": "alt",
    "generation": False,
    "prose": True,
    "honest": False,
    "seed": 0,
    "figure": "min_said",
    "value": 0.9,
    "bound": 1.0,
    # traces
    "answer": "basketball",
    "clean": 0.94,
    "corrupted": 0.03,
    "traced": 100,
    "window": 3,
    "layers": [0, 1],
    "peak": 1,
    "noise_level": 0.1,
    "num_samples": 10,
    "severed_only": False,
    "figures": ["effects", "severed"],
    # versions
    "version": 2,
    "Version.id": 2,
    "PastActivation.id": 7,
    "parent": 1,
    "active": 2,
    "previous": 1,
    "Diff.before": 1,
    "Diff.after": 2,
    "bytes": 1572864,
    "digest": _SHA256,
    "dropped": False,
    "aliases": ["production"],
    "imported_from": "staging",
    "hparams": _OF_MEMIT,
    "layer": 1,
    "rank": 10,
    "norm": 4.2,
    "relative_norm": 0.03,
    "Alias.name": "production",
    "Protection.note": "what the shop answers with",
    # the model, and who works
    "Model.name": "errata/demo",
    "architecture": "gptj",
    "hyperparameters": _OF_MEMIT,
    "basis": "measured",
    "source": "docs/demo-model.md",
    "one_layer": False,
    "one_after_another": False,
    "has_chat_template": False,
    "corpus_sha256": _SHA256,
    "model_digest": _SHA256,
    "published": "transformer.h.5.mlp.fc_out_float32_mom2_100000.npz",
    "Replica.id": "7c1f:8000",
    "Replica.engine": "vllm",
    "Replica.url": "http://vllm:8001",
    "Replica.ready": True,
    "given_up": 18,
    "models": {"0": "gpt-j", "17": "errata-17-3f2a9c01"},
    "load_ms": 41.5,
    "swap_ms": 0.3,
    "Worker.name": "9b02c6d4",
    "since": _AT,
    "job": _EDIT,
    "waiting_edits": 0,
    "waiting_shards": 0,
    "waiting_measurements": 1,
    "KeyScopes.name": "wiki-team",
    "scopes": ["read", "edit"],
    "outages": ["the disk of the home folder is full"],
    "workers": 2,
    "news_age_s": 0.4,
    "should_serve": 3,
    "reason": "version 3 does not fit the base model",
    # probes
    "number": 1,
    "probes": 12,
    # lists
    "has_more": True,
    "next": "eyJhZnRlciI6IDEwMH0",
    # what was generated
    "text": " baseball",
    "index": 0,
    "prompt_tokens": 6,
    "completion_tokens": 1,
    "total_tokens": 7,
    # OpenAI's
    "ChatAnswer.id": "chatcmpl-5d0b2f7c",
    "CompletionAnswer.id": "cmpl-5d0b2f7c",
    "ModelCard.id": "errata@2",
    "created": 1796030000,
    "model": "errata@2",
    "owned_by": "errata",
    "content": "baseball",
    "refusal": None,
    "token": " baseball",
    "logprob": -0.03,
    "ChosenToken.bytes": [32, 98, 97, 115, 101, 98, 97, 108, 108],
    "LikelyToken.bytes": [32, 98, 97, 115, 101, 98, 97, 108, 108],
    "tokens": [" baseball"],
    "token_logprobs": [-0.03],
    "top_logprobs": [{" baseball": -0.03, " basketball": -4.1}],
    "text_offset": [33],
    # problems
    "type": "urn:errata:problem:invalid-request",
    "title": "Invalid request",
    "status": 422,
    "detail": "is empty",
    "pointer": "/facts/3/object",
    "OpenAIFault.type": "invalid_request_error",
    "OpenAIFault.message": "temperature: must be at most 2",
    "param": "temperature",
    "code": None,
}


def exemplify(schemas: Mapping[str, Any], asked_for: Collection[str]) -> None:
    """Put an example to each field of the records that are not `asked_for`, but where its schema tells all there is:
    a record of its own, or the only values that it can have. Raises `KeyError` for a field that has none above."""
    for name, schema in schemas.items():
        if name in asked_for:
            continue
        for field, described in schema.get("properties", {}).items():
            if not any(_parts(described, ("$ref", "const", "enum"))):
                own = f"{name}.{field}"
                described["examples"] = [EXAMPLES[own if own in EXAMPLES else field]]


def named_in(part: Any, schemas: Mapping[str, Any]) -> set[str]:
    """Return the names of the records that a part of a description consists of, through all depths."""
    named: set[str] = set()
    waiting = list(_parts(part, ("$ref",)))
    while waiting:
        name = waiting.pop().rpartition("/")[2]
        if name not in named:
            named.add(name)
            waiting.extend(_parts(schemas[name], ("$ref",)))
    return named


def _parts(part: Any, keys: Collection[str]) -> Iterator[Any]:
    """Yield what stands under any of these keys of JSON Schema, at any depth."""
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key in keys and not isinstance(value, dict))
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _parts(inner, keys)
