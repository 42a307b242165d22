"""`client()`: an official client with a whole Freehold behind it, in this process, without a socket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from freehold.inprocess.embedded import BlockingEmbedded, Embedded
from freehold.inprocess.transports import BASE_URL

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic


@overload
def client(
    settings: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    key: str | None = None,
    asynchronous: Literal[False] = False,
    strict: bool = False,
) -> Anthropic: ...


@overload
def client(
    settings: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    key: str | None = None,
    asynchronous: Literal[True],
    strict: bool = False,
) -> AsyncAnthropic: ...


def client(
    settings: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    key: str | None = None,
    asynchronous: bool = False,
    strict: bool = False,
) -> Anthropic | AsyncAnthropic:
    """The official client; what it asks is answered here. Close it (`with`, `close()`): Freehold stops then.

    It is the Freehold that `freehold serve` would start in the same place: the same settings from the file and the
    environment, the same data folder, which other processes may use at the same time. The sync client starts it at once
    in a thread of its own, the async one with its first request on the event loop of that.

    Args:
        settings: further settings by name; they go before environment and file.
        config: the TOML file; left out, the one that `FREEHOLD_CONFIG` names.
        key: an API key of that Freehold; left out, the admin key that its first start left in the data folder.
        asynchronous: give an `AsyncAnthropic`.
        strict: the client raises when an answer differs from the SDK's own types.

    Raises:
        Misconfigured: a setting does not fit, or there is no key.
    """
    import anthropic
    import httpx2

    file = config or (Path(os.environ["FREEHOLD_CONFIG"]) if os.environ.get("FREEHOLD_CONFIG") else None)
    given: dict[str, Any] = {"api_key": "in-process", "base_url": BASE_URL, "_strict_response_validation": strict}
    if asynchronous:
        transport = Embedded(settings or {}, file, key)
        made: Any = httpx2.AsyncClient(transport=transport, timeout=600)
        return anthropic.AsyncAnthropic(http_client=made, **given)
    blocking = BlockingEmbedded(settings or {}, file, key)
    return anthropic.Anthropic(http_client=httpx2.Client(transport=blocking, timeout=600), **given)
