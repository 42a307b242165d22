"""One deterministic tokenizer, for usage, limits, cache and cutting alike. It is not Claude's, only near it in size.

A piece is a token of the older tokenizer; a model's `token_percent` turns pieces into its tokens. Measured on plain
English prose it makes about one piece per 4.6 characters, on Chinese one per character.
"""

from __future__ import annotations

import hashlib
import re

_PIECE = re.compile(
    r" ?[A-Za-z]{1,8}"  # a short word with the space before it, or a part of a long one
    r"| ?[0-9]{1,3}"
    r"|[ \t]{2,16}"
    r"|\n{1,4}"
    r"| ?[!-/:-@\[-`{-~]{1,2}"  # punctuation of code comes in pairs: `):`, `",`
    r"|[^\x00-\x7f]"  # a character of any other script by itself
    r"|[\x00-\x7f]"
)


def pieces(text: str) -> list[str]:
    """The text cut into pieces; joined again they are the text."""
    return _PIECE.findall(text)


def count(text: str, percent: int = 100) -> int:
    """Tokens of a text."""
    return scale(len(_PIECE.findall(text)), percent)


def scale(number: int, percent: int) -> int:
    """So many pieces as tokens, rounded up."""
    return -(-number * percent // 100)


def cut(text: str, tokens: int, percent: int = 100) -> str:
    """The longest beginning of the text that has at most so many tokens."""
    return "".join(_PIECE.findall(text)[: tokens * 100 // percent])


def deviate(tokens: int, seed: int, body: bytes) -> int:
    """What `count_tokens` says of that many: off by at most 3 %, always the same for the same request and seed."""
    digest = hashlib.blake2b(body, digest_size=8, key=seed.to_bytes(8, "big", signed=True)).digest()
    permille = int.from_bytes(digest, "big") % 61 - 30
    return max(1, round(tokens * (1000 + permille) / 1000)) if tokens else 0
