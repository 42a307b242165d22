"""The words by which chunks are found: small letters, stems of English, pairs of characters of scripts without spaces.

Chinese, Japanese and Korean runs become overlapping pairs and single characters, as 年假天 becomes 年假, 假天, 年, 假
and 天. Measured, that finds more than the words of a dictionary (ADR 0040). Pure.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_ASCII = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[A-Z]")
"""A run of letters and digits that does not go on with a capital, or of capitals that ends before the last of them."""
_RUN = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_LONGEST = 64
_MOST_STEMS = 500_000
"""Remembered at most; a text of random letters must not fill the memory."""

_ENGLISH = """a about an and any are as at be been but by can could did do does for from had has have he her here him
his how i if in into is it its me my no not of on or our out she should so some than that the their them then there
these they this those to up us was we were what when where which who whom why will with would you your"""
_CHINESE = "什么 怎么 么样 如何 哪些 哪个 是否 可以 为什 多少 请问 有没 没有 有哪 是什 以及"
COMMON = frozenset(f"{_ENGLISH} {_CHINESE}".split())
"""Words of questions that say nothing of the answer; they are looked for only if there is nothing else."""


def words(text: str) -> list[str]:
    """All words of a text, in order. `snake_case`, `camelCase` and `dotted.names` are taken apart."""
    if text.isascii():
        return [_STEMS[run] for run in _ASCII.findall(text)]
    return [word for run in _RUN.findall(text) for word in _of_run(run)]


def asked(query: str) -> list[str]:
    """The different words of a query that are worth looking for, at most 48."""
    every = list(dict.fromkeys(words(query)))
    telling = [word for word in every if word not in _COMMON_STEMS]
    return (telling or every)[:48]


def _of_run(run: str) -> Iterator[str]:
    if run.isascii():
        yield from (_STEMS[part] for part in _ASCII.findall(run))
    elif not _is_unspaced(run[0]):
        yield _STEMS[run]
    else:
        yield from map("".join, itertools.pairwise(run))
        yield from run


def _is_unspaced(character: str) -> bool:
    return re.match(rf"[{_UNSPACED}]", character) is not None


class _Stems(dict[str, str]):
    """From a word as it stands to the stem of it in small letters without accents, found once."""

    stem: Any = None

    def __missing__(self, word: str) -> str:
        if self.stem is None:
            import snowballstemmer  # 20 ms, which only those pay who look for something

            self.stem = snowballstemmer.stemmer("english").stemWord
        if len(self) > _MOST_STEMS:
            self.clear()
        parts = unicodedata.normalize("NFKD", word[:_LONGEST].lower())
        plain = "".join(part for part in parts if part.isalnum()) or word[:_LONGEST]
        stem = self[word] = str(self.stem(plain))
        return stem


_STEMS = _Stems()


class _CommonStems:
    """Membership of the stems of `COMMON`, made when first asked."""

    def __init__(self) -> None:
        self._stems: frozenset[str] | None = None

    def __contains__(self, word: str) -> bool:
        if self._stems is None:
            self._stems = frozenset(word for common in COMMON for word in words(common))
        return word in self._stems


_COMMON_STEMS = _CommonStems()
