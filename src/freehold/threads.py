"""Runs a sync function in a thread of its own, on which nothing waits at the end.

A thread cannot be stopped from outside. Each call has its own daemon thread, so that one that hangs takes no place in
a shared pool and does not keep the server from stopping.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(function: Callable[[], T], name: str) -> asyncio.Future[T]:
    """A future of what `function` gives, run in a new daemon thread with the caller's context variables.

    Cancelling the future does not stop the thread. Whatever the function raises is the future's exception, except that
    `SystemExit` and its like become a `RuntimeError`: a tool must not stop the server.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            value = context.run(function)
        except BaseException as error:  # noqa: BLE001 - nothing may end in the thread: it is handed to whoever waits
            failure = _as_exception(error)
            _tell(loop, lambda: _fail(future, failure))
        else:
            _tell(loop, lambda: _finish(future, value))

    threading.Thread(target=run, name=f"tool {name}", daemon=True).start()
    return future


def _as_exception(error: BaseException) -> Exception:
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    failure = RuntimeError(f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _tell(loop: asyncio.AbstractEventLoop, news: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(news)
    except RuntimeError:  # the loop is closed: the server stopped while the function hung, nobody waits any more
        return


def _fail(future: asyncio.Future[T], failure: Exception) -> None:
    if not future.done():
        future.set_exception(failure)


def _finish(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)
