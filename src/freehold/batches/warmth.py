"""Which prefixes are in the upstream's cache by now, as far as we know: one call writes, the others wait for it.

A cache entry can be read once the answer that wrote it has begun; calls that come before that pay for the prefix in
full. So the first call of a prefix goes alone. Arithmetic and a clock; no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

from freehold.clock import Clock

KEPT_US = 270 * 1_000_000
"""An entry lives five minutes and each hit renews it (Claude API docs, Prompt caching); half a minute is left spare."""
_REMEMBERED = 10_000


class Warmth:
    """Of one process. `may_begin`, then `begun`, then `ended`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._warm_until_us: dict[bytes, int] = {}
        self._writing: set[bytes] = set()

    def may_begin(self, prefixes: Sequence[bytes]) -> bool:
        """Whether no other call is just writing one of them."""
        return self._writing.isdisjoint(prefixes)

    def begun(self, prefixes: Sequence[bytes]) -> tuple[bytes, ...]:
        """A call with these goes out; gives those that it writes, for `ended`."""
        now_us = self._clock.now_us()
        cold = tuple(one for one in prefixes if self._warm_until_us.get(one, 0) <= now_us)
        self._writing.update(cold)
        return cold

    def ended(self, prefixes: Sequence[bytes], written: Sequence[bytes], *, answered: bool) -> None:
        """It has been answered, or has failed: then its prefixes are as cold as before."""
        self._writing.difference_update(written)
        if answered:
            until_us = self._clock.now_us() + KEPT_US
            for one in prefixes:
                self._warm_until_us[one] = until_us
        if len(self._warm_until_us) > _REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        now_us = self._clock.now_us()
        self._warm_until_us = {one: until for one, until in self._warm_until_us.items() if until > now_us}
        while len(self._warm_until_us) > _REMEMBERED:
            del self._warm_until_us[next(iter(self._warm_until_us))]
