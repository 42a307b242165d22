"""How an MCP server can fail its caller: not reached, not let in, or gone in the middle. Pure."""

from __future__ import annotations

from typing import Literal

Kind = Literal["mcp_connection_failed_error", "mcp_authentication_failed_error"]


class ServerFailed(Exception):
    """The server gave no answer. `sent`: the request may have reached it and taken effect."""

    def __init__(self, message: str, *, sent: bool, kind: Kind = "mcp_connection_failed_error") -> None:
        super().__init__(message)
        self.sent = sent
        self.kind = kind
