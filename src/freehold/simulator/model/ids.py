"""Ids that follow from a seed: the same seed and the same requests give the same ids, in any order of arrival."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict

_LETTERS = b"Zz"
"""In place of the two characters of base64 that are neither letters nor digits; 120 bits stay distinct enough."""
_REMEMBERED = 65_536
"""Different requests whose repetitions are counted exactly; about 10 MB."""


class Source:
    """Ids for one answer: `msg_01…`, `toolu_01…`, each from the answer's own digest and a running number."""

    __slots__ = ("_count", "_digest")

    def __init__(self, digest: bytes) -> None:
        self._digest = digest
        self._count = 0

    def new(self, prefix: str) -> str:
        """The next id with that prefix."""
        self._count += 1
        raw = hashlib.blake2b(self._digest, digest_size=16, salt=self._count.to_bytes(4, "big"), person=prefix.encode())
        return f"{prefix}_01{base64.b64encode(raw.digest(), _LETTERS)[:22].decode()}"

    def fraction(self, purpose: str) -> float:
        """A number in [0, 1) that belongs to this answer and this purpose."""
        raw = hashlib.blake2b(self._digest, digest_size=7, person=purpose.encode()[:16]).digest()
        return int.from_bytes(raw, "big") / (1 << 56)


class Ids:
    """Gives every request its source of ids: from the seed, the request's bytes, and how often they came before."""

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(8, "big", signed=True)
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._total = 0
        self._forgot = False

    def source(self, workspace: str, body: bytes) -> Source:
        """The source for this request; a repetition gets another one than the first."""
        hasher = hashlib.blake2b(body, digest_size=16, key=self._key, person=b"freehold-sim")
        hasher.update(workspace.encode())
        digest = hasher.digest()
        self._total += 1
        # Once something was forgotten, a count could repeat; the total number of requests cannot.
        number = self._total if self._forgot else self._seen.get(digest, 0) + 1
        self._seen[digest] = number
        self._seen.move_to_end(digest)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
            self._forgot = True
        return Source(digest + number.to_bytes(8, "big"))
