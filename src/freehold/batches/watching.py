"""A job that looks again and again: when it is woken, and every second. It goes on after whatever went wrong."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from freehold.errors import Unavailable
from freehold.store.engine import Store

log = logging.getLogger(__name__)


async def watching(store: Store, wake: str, look: Callable[[], Awaitable[None]], every_s: float, what: str) -> None:
    """Call `look` for ever, after each signal of `wake` and at the latest after `every_s`; `what` is for the log."""
    while True:
        seen = store.wakes.version(wake)
        try:
            await look()
        except Unavailable as error:
            log.warning("%s cannot be looked after now: %s", what, error.message)
        except Exception:  # the outer edge of a job
            log.exception("looking after %s failed; it goes on", what)
        await store.wakes.changed(wake, seen, every_s, lazy=True)


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """Work on one of many: what goes wrong with it is logged, and the others go on. Raises `Unavailable`."""
    try:
        yield
    except Unavailable:
        raise
    except Exception:  # the outer edge of a job
        log.exception("%s failed; the others go on", what)
