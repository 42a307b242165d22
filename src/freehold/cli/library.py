"""`freehold export` and `freehold import`: files, skills and memory stores of a workspace, as a tar for people too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, tell

Workspace = Annotated[str | None, typer.Option(help="Id of the workspace; the key's own if left out.")]


def export(
    file: Annotated[Path, typer.Argument(help="The tar to write; it must not exist.")],
    workspace: Workspace = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Write the files, skills and memory stores of a workspace to a tar, with their ids and times.

    Sessions, the files that belong to them, and collections of knowledge are not in it.
    """
    from freehold.cli.settings import server_of

    size = server_of(data, url, key_file).download(f"/freehold/v1/export{_of(workspace)}", file)
    tell(f"{file}: {size:,} bytes", {"file": str(file), "size_bytes": size}, as_json)


def import_(
    file: Annotated[Path, typer.Argument(help="A tar that `freehold export` has written.", exists=True)],
    workspace: Workspace = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Take such a tar in, on a server that has none of what is in it."""
    from freehold.cli.settings import server_of

    done = server_of(data, url, key_file).upload(f"/freehold/v1/import{_of(workspace)}", file)
    told = f"{done['files']} files, {done['skills']} skills, {done['memory_stores']} memory stores"
    tell(told, done, as_json)


def _of(workspace: str | None) -> str:
    return f"?{urlencode({'workspace_id': workspace})}" if workspace else ""
