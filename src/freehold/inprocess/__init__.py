"""Official clients bound to the application without a socket, for programs and tests in the same process.

`client()` is all that most programs need: an official client whose requests run through the same pipeline as those of a
listening server, with its keys, limits, budgets, retries and record.
"""

from freehold.inprocess.clients import client
from freehold.inprocess.transports import AsgiTransport, BlockingAsgiTransport, async_client, sync_client

__all__ = ["AsgiTransport", "BlockingAsgiTransport", "async_client", "client", "sync_client"]
