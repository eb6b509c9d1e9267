"""Methods that are written once, for asyncio, and that a blocking client has as well.

A coroutine only needs an event loop where it waits for something. The network of a blocking client
(`network.BlockingNetwork`) blocks where another one would wait, so a coroutine over it runs from its first line to its
last without a pause, and `run` is all that drives it.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Base of what blocks: its operations return when they are done."""


class Asynchronous:
    """Base of what is for asyncio: its operations are awaited."""


B = TypeVar("B", bound=Blocking)
A = TypeVar("A", bound=Asynchronous)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a coroutine of a blocking client waits for an event loop")


def iterate(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Yield the items of an asynchronous generator that never waits. Closed early, close it too."""
    try:
        while True:
            try:
                item = run(items.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(items.aclose())


class _WrittenOnce:
    """A descriptor that gives a method as its owner has it, blocking or asynchronous."""

    def __init__(self, function: Callable[..., Any], drive: Callable[[Any], Any]) -> None:
        self._asynchronous: Any = function

        @wraps(function)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            return drive(function(*args, **kwargs))

        self._blocking: Any = blocking

    def _bind(self, instance: object, owner: type) -> Any:
        method = self._blocking if issubclass(owner, Blocking) else self._asynchronous
        return method.__get__(instance, owner)


class operation(_WrittenOnce, Generic[P, T]):
    """A coroutine function as a method: of a blocking object it returns the result, of another one it is awaited."""

    def __init__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        super().__init__(function, run)

    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Asynchronous, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        return self._bind(instance, owner)


class transition(_WrittenOnce, Generic[P]):
    """An operation that returns another state of the object that it is called on."""

    def __init__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, object]]) -> None:
        super().__init__(function, run)

    @overload
    def __get__(self, instance: B, owner: type) -> Callable[P, B]: ...
    @overload
    def __get__(self, instance: A, owner: type) -> Callable[P, Coroutine[Any, Any, A]]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        return self._bind(instance, owner)


class iteration(_WrittenOnce, Generic[P, T]):
    """A function that returns an asynchronous generator, as a method: of a blocking object, its generator blocks."""

    def __init__(self, function: Callable[Concatenate[Any, P], AsyncGenerator[T, None]]) -> None:
        super().__init__(function, iterate)

    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, instance: Asynchronous, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        return self._bind(instance, owner)
