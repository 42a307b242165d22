"""The build hook that compiles the hot path: the modules listed in pyproject.toml go through mypyc into the wheel.

It is asked for (`HATCH_BUILD_HOOKS_ENABLE=1 pip install .`); without that the wheel is pure Python. Everything it makes
stands in a temporary folder until it is in the wheel: nothing is left beside the sources, where the interpreted
development install would pick it up.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class HotPath(BuildHookInterface[Any]):
    """`modules`: paths below the project. `opt-level`: gcc's. `name`: of the library that holds all of them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what came out into the wheel.

        Raises:
            SystemExit: from mypy, which does not find the modules well typed, or from the C compiler.
        """
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="freehold-hot-path-")
        folder = Path(self._folder.name)
        for built in self._compiled(folder / "c", folder / "lib"):
            build_data["force_include"][str(built)] = str(built.relative_to(folder / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        if version != "editable":
            self._folder.cleanup()

    def _compiled(self, sources: Path, library: Path) -> list[Path]:
        import setuptools  # before mypyc, which takes what is loaded
        from mypyc.build import mypycify
        from setuptools.command.build_ext import build_ext

        extensions = mypycify(
            # What they import is read for its types; whether it is well typed itself, the static checks say.
            ["--follow-imports=silent", *self.config["modules"]],
            opt_level=self.config["opt-level"],
            debug_level="0",
            group_name=self.config["name"],
            target_dir=str(sources),
        )
        for extension in extensions:  # what a newer compiler warns of is no reason not to install
            extension.extra_compile_args = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
        command = build_ext(setuptools.Distribution({"name": self.config["name"], "ext_modules": extensions}))
        command.build_lib, command.build_temp = str(library), str(sources)
        command.ensure_finalized()
        command.run()
        return [path for path in library.rglob("*") if path.is_file()]
