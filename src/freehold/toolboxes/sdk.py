"""The functions that the official SDK's `beta_tool` and `beta_async_tool` decorated, as ours.

The SDK is imported only if a tools file did so itself: a server without toolboxes does not pay for it.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from freehold.errors import Misconfigured
from freehold.toolboxes.base import ToolSpec
from freehold.toolboxes.functions import BadArguments, Function, ToolFailed
from freehold.toolboxes.inputs import Inputs

if TYPE_CHECKING:
    from anthropic.lib.tools import BetaAsyncFunctionTool, BetaFunctionTool

    SdkTool = BetaFunctionTool[Callable[..., Any]] | BetaAsyncFunctionTool[Callable[..., Any]]

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Of a toolbox and of a tool: both become part of the name that the model sees."""


def sdk_functions(module: ModuleType, path: Path) -> list[Function]:
    """The decorated functions of a module in their order; empty if it has none.

    Raises:
        Misconfigured: one of them cannot be a tool; names file, line and reason.
    """
    if "anthropic" not in sys.modules:
        return []
    from anthropic.lib.tools import BetaAsyncFunctionTool, BetaFunctionTool

    found: list[SdkTool] = []
    for value in vars(module).values():
        if isinstance(value, BetaFunctionTool | BetaAsyncFunctionTool) and value not in found:
            found.append(value)
    return [_function(tool, isinstance(tool, BetaAsyncFunctionTool), path) for tool in found]


def _function(tool: SdkTool, is_async: bool, path: Path) -> Function:
    place = _place(tool, path)
    if not NAME.fullmatch(tool.name):
        raise Misconfigured(f"{place}: the tool name {tool.name!r} may only have letters, digits, _ and -, at most 64")
    if not tool.description.strip():
        raise Misconfigured(f"{place}: {tool.name} has no docstring, so a model cannot know when to use it")
    if is_async != inspect.iscoroutinefunction(tool.func):
        wanted = "beta_tool" if is_async else "beta_async_tool"
        raise Misconfigured(f"{place}: decorate {tool.name} with `{wanted}`")
    try:
        inputs = Inputs(tool.input_schema)
    except ValueError as error:
        raise Misconfigured(f"{place}: {tool.name}: {error}") from error
    spec = ToolSpec(tool.name, tool.description, tool.input_schema)
    return Function(spec, inputs, _async_run(tool) if is_async else _sync_run(tool), is_async, _closer(tool))


def _place(tool: SdkTool, path: Path) -> str:
    code = getattr(tool.func, "__code__", None)
    here = code is not None and code.co_filename == str(path.resolve())
    return f"{path}:{code.co_firstlineno}" if code is not None and here else str(path)


def _sync_run(tool: Any) -> Callable[[Mapping[str, Any]], object]:
    def run(arguments: Mapping[str, Any]) -> object:
        try:
            return tool.call(dict(arguments))
        except Exception as error:
            if (told := _translated(tool, error)) is error:
                raise
            raise told from error

    return run


def _async_run(tool: Any) -> Callable[[Mapping[str, Any]], object]:
    async def run(arguments: Mapping[str, Any]) -> object:
        try:
            return await tool.call(dict(arguments))
        except Exception as error:
            if (told := _translated(tool, error)) is error:
                raise
            raise told from error

    return run


def _translated(tool: Any, error: Exception) -> Exception:
    """The SDK's ways to say things, as ours; every other exception as it is."""
    from anthropic.lib.tools import ToolError
    from pydantic import ValidationError

    if isinstance(error, ToolError):
        return ToolFailed(error.content)
    cause = error.__cause__
    if isinstance(error, ValueError) and isinstance(cause, ValidationError):
        if _raised_inside(tool, cause):
            return cause
        return BadArguments([f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in cause.errors()])
    return error


def _raised_inside(tool: Any, error: BaseException) -> bool:
    """Whether the function had begun: then the data it read was wrong, not the arguments it was given."""
    code = getattr(tool.func, "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def _closer(tool: Any) -> Callable[[], Awaitable[None]]:
    from anthropic.lib.tools._beta_functions import aclose_runnable_tool

    async def close() -> None:
        await aclose_runnable_tool(tool)

    return close
