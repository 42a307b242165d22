"""Gathers the settings for a command: its flags, the environment, the file that `--config` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.cli.calling import Server, find_server
from freehold.config import Configuration, load

READ_ELSEWHERE = ("FREEHOLD_CONFIG", "FREEHOLD_URL", "FREEHOLD_KEY")
"""Variables of the command line itself: no settings of the server, and no mistakes either."""


def configured(flags: Mapping[str, Any], file: Path | None) -> Configuration:
    """Every setting of the server, as it would start here and now.

    Raises:
        Misconfigured: an unknown name or a wrong value; says where.
    """
    from freehold.server import sections

    return load(sections(), flags=flags, environment=os.environ, file=file, reserved=READ_ELSEWHERE)


def data_folder(given: Path | None) -> Path:
    """The data folder: the one given, else the one a server started here would use."""
    if given is not None:
        return given
    from freehold.app.settings import DataSettings

    return configured({}, _config_file()).section(DataSettings).data


def server_of(data: Path | None, url: str | None, key_file: Path | None) -> Server:
    """The running server that a command speaks to; raises as `find_server` does."""
    return find_server(data_folder(data), url, key_file)


def _config_file() -> Path | None:
    named = os.environ.get("FREEHOLD_CONFIG")
    return Path(named) if named else None
