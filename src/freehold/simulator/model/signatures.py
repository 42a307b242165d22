"""Signatures of thinking blocks: opaque to the client, but this simulator can tell whether it made a block.

Base64 of: a version byte, the model's digest (4 bytes), the thinking's tokens (4), a MAC (16) over all that and the
text as it was shown. The key follows from the seed, so a restarted simulator still knows its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

_VERSION = 1
_HEAD = 9
_MAC = 16


@dataclass(frozen=True, slots=True)
class Signed:
    """What a valid signature says."""

    model_digest: bytes
    tokens: int


def model_digest(model_id: str) -> bytes:
    """Four bytes that stand for a model."""
    return hashlib.blake2b(model_id.encode(), digest_size=4).digest()


def sign(seed: int, model_id: str, shown: str, tokens: int) -> str:
    """The signature of a thinking block whose visible text is `shown` and which cost so many tokens."""
    head = bytes([_VERSION]) + model_digest(model_id) + tokens.to_bytes(4, "big")
    return base64.b64encode(head + _mac(seed, head, shown)).decode()


def looks_ours(signature: str) -> bool:
    """Whether it has the form of a signature made here, valid or not."""
    raw = _decode(signature)
    return len(raw) == _HEAD + _MAC and raw[0] == _VERSION


def verify(seed: int, signature: str, shown: str) -> Signed | None:
    """What the signature says, or `None` if this seed did not sign this text."""
    raw = _decode(signature)
    head, mac = raw[:_HEAD], raw[_HEAD:]
    if len(raw) != _HEAD + _MAC or head[0] != _VERSION or mac != _mac(seed, head, shown):
        return None
    return Signed(head[1:5], int.from_bytes(head[5:], "big"))


def _decode(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _mac(seed: int, head: bytes, shown: str) -> bytes:
    key = seed.to_bytes(8, "big", signed=True)
    data = head + shown.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=_MAC, key=key, person=b"thinking").digest()
