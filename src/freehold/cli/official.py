"""The official SDK's client for a running server: for commands that stream. Importing the SDK takes about a second."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from freehold.cli.calling import NoServer, Refused, Server

if TYPE_CHECKING:
    from anthropic import Anthropic


@contextlib.contextmanager
def client_of(server: Server) -> Iterator[Anthropic]:
    """A client for as long as the context lasts; what the server refuses leaves it in the server's own words.

    Raises:
        NoServer: nothing answers there.
        Refused: it answered with an error.
    """
    import anthropic

    own = anthropic.DefaultHttpxClient(trust_env=False, timeout=600.0)  # our own server is not behind a proxy
    try:
        with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=2, http_client=own) as client:
            yield client
    except anthropic.APIStatusError as error:
        raise Refused(f"{server.url} answered {error.status_code}: {_message(error)}") from error
    except anthropic.APIConnectionError as error:
        raise NoServer(f"{server.url} does not answer: {error.__cause__ or error}") from error
    except anthropic.APIError as error:
        raise Refused(_message(error)) from error


def _message(error: Exception) -> str:
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    return str(message or error)
