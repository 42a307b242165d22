"""Whom a connection believes and who it says we are: the system's authorities, private ones, a client certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trust:
    """Files in PEM. `ca` is believed besides the system's authorities (which SSL_CERT_FILE replaces); `certificate`,
    with its `key` if that is not in the same file, is shown to who asks for it (mutual TLS).
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: str | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """TLS for a client.

        Raises:
            ValueError: a file cannot be read or is not what it should be; names the file.
        """
        context = ssl.create_default_context()
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except OSError as error:
                raise ValueError(f"the authorities in {self.ca} cannot be read: {error}") from error
        if self.certificate is not None:
            try:
                # Without a password OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.certificate, self.key, lambda: self.key_password or "")
            except (OSError, ValueError) as error:
                raise ValueError(f"the client certificate {self.certificate} cannot be used: {error}") from error
        return context
