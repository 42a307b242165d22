"""Settings of the console."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.config import setting

PATH = "/console"
"""Where the console stands."""


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """The pages at `/console`."""

    console: bool = setting(True, "Serve the console at `/console`.")
    console_login_hours: int = setting(12, "How long a login lasts.", least=1, unit="h")
    console_secure_cookie: bool = setting(
        False, "Send the login's cookie over HTTPS only: for a server behind something that ends TLS."
    )
