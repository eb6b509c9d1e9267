"""What type checkers know of both clients. `mypy` checks this file; nothing in it is run."""

from collections.abc import AsyncGenerator, Coroutine, Generator
from pathlib import Path
from typing import Any, assert_type

from errata_client import (
    AsyncEdit,
    AsyncErrata,
    AsyncEvaluationJob,
    AsyncTraceJob,
    Diff,
    Edit,
    Errata,
    EvaluationJob,
    Event,
    Generation,
    GenerationEvent,
    Message,
    TraceJob,
    Version,
)


def blocking(errata: Errata) -> None:
    edit = errata.edit([("s", "r", "o")], base=3, gate={"min_efficacy": None}, dry_run=True)
    assert_type(edit, Edit)
    assert_type(edit.wait(timeout=3), Edit)
    assert_type(edit.cancel(), Edit)
    assert_type(edit.events(), Generator[Event, None, None])
    assert_type(errata.edits(), Generator[Edit, None, None])
    assert_type(errata.version(3), Version)
    assert_type(errata.delete_version(3), None)
    assert_type(errata.diff(1, 2), Diff)
    assert_type(errata.export(3, "a.tar", "lora"), Path)
    assert_type(errata.generate("p", seed=1), Generation)
    assert_type(errata.stream("p"), Generator[GenerationEvent, None, None])
    assert_type(errata.chat([Message(role="user", content="p"), ("assistant", "q")], seed=1), Generation)
    assert_type(errata.stream_chat("p"), Generator[GenerationEvent, None, None])
    assert_type(errata.evaluations.create(version=3).wait(), EvaluationJob)
    assert_type(errata.evaluations.list(version=3), Generator[EvaluationJob, None, None])
    assert_type(errata.traces.wait("trace_1", timeout=1), TraceJob)


async def asynchronous(errata: AsyncErrata) -> None:
    edit = await errata.edit([("s", "r", "o")], base=3, gate={"min_efficacy": None}, dry_run=True)
    assert_type(edit, AsyncEdit)
    assert_type(await edit.wait(timeout=3), AsyncEdit)
    assert_type(await edit.cancel(), AsyncEdit)
    assert_type(edit.events(), AsyncGenerator[Event, None])
    assert_type(errata.edits(), AsyncGenerator[AsyncEdit, None])
    version: Coroutine[Any, Any, Version] = errata.version(3)
    assert_type(await version, Version)
    assert_type(await errata.delete_version(3), None)
    assert_type(errata.stream("p"), AsyncGenerator[GenerationEvent, None])
    assert_type(await errata.chat([{"role": "user", "content": "p"}]), Generation)
    assert_type(errata.stream_chat("p"), AsyncGenerator[GenerationEvent, None])
    assert_type(await (await errata.evaluations.create(version=3)).wait(), AsyncEvaluationJob)
    assert_type(await errata.traces.wait("trace_1", timeout=1), AsyncTraceJob)


async def mistakes(errata: Errata, async_errata: AsyncErrata) -> None:
    errata.edit([("s", "r", "o")], bse=3)  # type: ignore[call-arg]
    errata.retract("fact_1", base=3.5)  # type: ignore[arg-type]
    errata.version(None)  # type: ignore[arg-type]
    errata.stream("p", max_tokens=1)  # type: ignore[call-arg]
    errata.chat([("user", "p", "q")])  # type: ignore[list-item]
    await async_errata.retry("edit_1", hparams=3)  # type: ignore[arg-type]
    await async_errata.evaluations.create(prose="no")  # type: ignore[arg-type]
