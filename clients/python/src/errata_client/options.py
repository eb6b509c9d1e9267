"""What may be said of a job or a generation beside what it is about: each option, once."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

OnConflict = Literal["replace", "error"]
ExportFormat = Literal["delta", "lora", "merged"]
ZsreObject = Literal["alt", "answers"]
VersionName: TypeAlias = int | str
"""A version: its number, a name of it such as "production", or "base", "active" or "previous"."""


class EditOptions(TypedDict, total=False):
    """How a version is made of facts, and what becomes of it. What is not given, or is None, is the service's default.

    Attributes:
        base: version to build on (the active one).
        method: such as "rome" ("memit").
        activate: serve the new version if it passes its gate.
        gate: bounds that the version must keep, such as `min_said`, `min_specificity` and `max_drift`. One that is None
            asks nothing.
        partial: serve the version though some of its facts are not said.
        tries: how many builds there may be at most until all facts are said, each searching harder (3).
        hparams: hyperparameters of the method.
        note: what is to be remembered of it.
        dry_run: measure what would come of it, and keep nothing.
    """

    base: VersionName | None
    method: str | None
    activate: bool | None
    gate: Mapping[str, float | None] | None
    partial: bool | None
    tries: int | None
    hparams: Mapping[str, Any] | None
    note: str | None
    dry_run: bool | None


class EvaluationOptions(TypedDict, total=False):
    """How a version is measured. What is not given, or is None, is the service's default.

    Attributes:
        version: the one to measure (the active one).
        zsre_object: what zsRE's records are edited in with ("alt").
        generation: generate texts, for fluency and consistency, with `seed`.
        prose: measure the perplexity on running text (true).
        honest: ask as critics do, by what the version says of itself and in other forms (false).
        note: what is to be remembered of it.
    """

    version: VersionName | None
    zsre_object: ZsreObject | None
    generation: bool | None
    prose: bool | None
    honest: bool | None
    seed: int | None
    note: str | None


class TraceOptions(TypedDict, total=False):
    """What is traced, and how. What is not given, or is None, is the service's default.

    Attributes:
        prompt: a prompt with `{}` where the `subject` stands.
        answer: what should follow the prompt (what the model itself says).
        window: layers restored together (a third).
        noise_level: in standard deviations of the subjects' embeddings (3).
        num_samples: corrupted runs of each prompt (10).
        severed_only: of facts, only what the proposal of layers needs.
        seed: of the noise.
        note: what is to be remembered of it.
    """

    prompt: str | None
    subject: str | None
    answer: str | None
    window: int | None
    noise_level: float | None
    num_samples: int | None
    severed_only: bool | None
    seed: int | None
    note: str | None


class GenerationSettings(TypedDict, total=False):
    """How a prompt is continued. What is not given, or is None, is the service's default.

    Attributes:
        version: the one that continues it (the active one).
        max_new_tokens: the longest completion (32; in a chat, as long as may be: its turn ends it).
        temperature: 0 is greedy, and the default.
        top_p, top_k: choose among the likeliest tokens only.
        repetition_penalty: above 1, tokens that are there already become less likely.
        seed: each prompt's own draws begin from it.
        stop: one text or several, before which a completion ends.
    """

    version: VersionName | None
    max_new_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    repetition_penalty: float | None
    seed: int | None
    stop: str | Sequence[str] | None


def given(values: Mapping[str, object]) -> dict[str, Any]:
    """Return what was given. The service has its own default for the rest."""
    return {name: value for name, value in values.items() if value is not None}


def checked(options: Mapping[str, object], known: type) -> dict[str, Any]:
    """Return the options that were given. Raises `TypeError` for those that are not `known`."""
    unknown = options.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
    return given(options)
