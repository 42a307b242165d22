"""A tools file as a user writes it; the tests load it from its path."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from anthropic import beta_async_tool, beta_tool
from anthropic.lib.tools import ToolError
from pydantic import BaseModel

from freehold.toolboxes import current_call

meeting = threading.Barrier(3)
held = threading.Event()
closed: list[str] = []


@dataclass
class Order:
    number: int
    on: date
    total: Decimal


@beta_tool
def find_user(user_id: int, fields: list[str] | None = None, order: Literal["asc", "desc"] = "asc") -> str:
    """查询用户 / look a user up.

    Args:
        user_id: the number of the user
        fields: which fields
        order: the order of the fields
    """
    return f"user {user_id} {fields} {order}"


@beta_async_tool
async def orders_of(user_id: int) -> Any:
    """The orders of a user."""
    return [Order(1, date(2026, 1, 2), Decimal("9.90")), Order(user_id, date(2026, 1, 3), Decimal("1"))]


@beta_tool
def meet(place: str) -> str:
    """Wait until three of us are here."""
    meeting.wait(timeout=60)
    return place


@beta_tool
def hold() -> str:
    """Do not come back before `held` is set."""
    held.wait(timeout=30)
    return "held"


@beta_async_tool
async def wait_for_ever() -> str:
    """Never come back."""
    await asyncio.get_running_loop().create_future()
    return "never"


@beta_async_tool
async def ignore_cancelling() -> str:
    """Come back only when `held` is set, whatever is asked."""
    while not held.is_set():
        try:
            await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            continue
    return "held"


@beta_tool
def break_off(how: str) -> str:
    """Fail in the way that is asked for."""
    if how == "exit":
        raise SystemExit(3)
    if how == "own":
        raise ToolError([{"type": "text", "text": "no such order; try 7"}])
    if how == "data":
        Person.model_validate({"age": "old"})
    raise KeyError(how)


@beta_async_tool
async def break_off_async(how: str) -> str:
    """Fail in the way that is asked for, as a coroutine."""
    if how == "exit":
        raise SystemExit(3)
    if how == "cancelled":
        raise asyncio.CancelledError
    raise ValueError(how)


class Person(BaseModel):
    age: int


@beta_tool
def person(born: date) -> Any:
    """A person born on that day."""
    return Person(age=2026 - born.year)


@beta_tool
def give(kind: str) -> Any:
    """Give a result of that kind."""
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    image = {"type": "image", "source": source}
    kinds: dict[str, Any] = {
        "nothing": None,
        "blocks": [{"type": "text", "text": "a picture"}, image],
        "rows": [{"type": "invoice", "text": "not a block"}],
        "endless": iter(int, 1),
        "long": "长" * 100_000,
        "no image": [{**image, "source": {**source, "data": "aGk="}}],
        "no base64": [{**image, "source": {**source, "data": "iVBOR#"}}],
        "no such image": [{**image, "source": {**source, "media_type": "image/tiff"}}],
        "large image": [{**image, "source": {**source, "data": "A" * 5000}}],
        "surrogate": "half \ud800 pair",
        "number": 7,
    }
    return kinds[kind]


@beta_tool
def who() -> str:
    """Which call this is, asked from deep inside."""
    call = current_call()
    return f"{call.tool} {call.session_id} {call.key} {time.monotonic() > 0}"


@beta_async_tool
async def who_async() -> str:
    """Which call this is, asked from a coroutine."""
    return f"{current_call().key}"


@beta_tool  # type: ignore[type-var]  # the SDK takes a context manager, its types do not say so
@contextmanager
def counter() -> Iterator[Any]:
    def count(up_to: int) -> str:
        """Count."""
        return " ".join(str(number) for number in range(up_to))

    yield count
    closed.append("counter")
