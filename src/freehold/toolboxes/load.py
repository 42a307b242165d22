"""From a Python file to a toolbox: runs the file, takes its tool functions, and says where it is wrong if it is.

It does not know the decorators: `sdk.py` does.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from freehold.clock import Clock
from freehold.errors import Misconfigured
from freehold.toolboxes.functions import Function
from freehold.toolboxes.loaded import LoadedToolbox
from freehold.toolboxes.sdk import NAME, sdk_functions
from freehold.toolboxes.settings import ToolboxSettings


def load_toolboxes(settings: ToolboxSettings, clock: Clock) -> dict[str, LoadedToolbox]:
    """Every toolbox that the settings name and do not isolate, by name.

    Raises:
        Misconfigured: a file is missing, does not run, or holds no tool; names the file and, where there is one, the
            line.
    """
    here = {name: path for name, path in named_files(settings).items() if name not in settings.isolate}
    return {name: load_toolbox(path, settings, clock) for name, path in here.items()}


def named_files(settings: ToolboxSettings) -> dict[str, Path]:
    """The file of every toolbox, by name.

    Raises:
        Misconfigured: two of them have one name, or `isolate` names one that is not there.
    """
    files: dict[str, Path] = {}
    for text in settings.tools:
        path = Path(text).expanduser()
        if path.stem in files:
            raise Misconfigured(f"{path}: there are two toolboxes named {path.stem!r}; rename one of the files")
        files[path.stem] = path
    for name in settings.isolate:
        if name not in files:
            raise Misconfigured(f"isolate: there is no toolbox {name!r} among `tools` ({', '.join(files) or 'none'})")
    return files


def load_toolbox(path: Path, settings: ToolboxSettings, clock: Clock) -> LoadedToolbox:
    """The toolbox of one file, named after it. Modules beside the file can be imported by it.

    Raises:
        Misconfigured: see `load_toolboxes`.
    """
    if not NAME.fullmatch(path.stem):
        raise Misconfigured(f"{path}: a toolbox is named after its file; use only letters, digits, _ and -, at most 64")
    if path.suffix != ".py" or not path.is_file():
        raise Misconfigured(f"{path}: there is no such Python file")
    functions = sdk_functions(_run(path), path)
    if not functions:
        raise Misconfigured(
            f"{path}: no tools in it. Decorate functions with `beta_tool` or `beta_async_tool` from `anthropic`."
        )
    _refuse_doubles(path, functions)
    return LoadedToolbox(path.stem, functions, settings, clock)


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"freehold_toolbox_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise Misconfigured(f"{path}: Python cannot load it")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that no file beside it hides an installed module
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and string annotations look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise Misconfigured(f"{_place(path, error)}: {type(error).__name__}: {_first_line(error)}") from error
    return module


def _place(path: Path, error: BaseException) -> str:
    """`company.py:12`: where in this file it went wrong."""
    if isinstance(error, SyntaxError) and error.lineno and error.filename == str(path.resolve()):
        return f"{path}:{error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.resolve())
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return text.strip().split("\n", 1)[0]


def _refuse_doubles(path: Path, functions: Sequence[Function]) -> None:
    names = [function.spec.name for function in functions]
    for name in names:
        if names.count(name) > 1:
            raise Misconfigured(f"{path}: there are two tools named {name!r}")
