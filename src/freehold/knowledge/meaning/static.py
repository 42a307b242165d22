"""Vectors made here: the mean of static vectors of a text's tokens, from the weights in the package `wordllama`.

It is no language model: it knows which words are near each other, not what a sentence says. Measured, it finds less
than words do, and both together, with a third of a vote for it, find more (`benchmarks/knowledge.py`).
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freehold.errors import Misconfigured

_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_SPECIAL = 259
"""Tokens before this are bytes and marks; behind them they stand by how early the tokenizer learned them, that is
roughly by how common they are."""
_AT_ONCE = 256
_MOST_CHARACTERS = 8_000


class StaticEmbedder:
    """See `Embedder`. The weights are read when they are first needed: 0.2 s, 32 MB."""

    name = "local:wordllama-l2-256"
    vote = 0.3

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model: tuple[Any, Any] | None = None
        self._lock = asyncio.Lock()

    @classmethod
    def found(cls) -> StaticEmbedder:
        """The one of the installed package. Raises `Misconfigured` where it is not installed."""
        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None or importlib.util.find_spec("numpy") is None:
            needs = "pip install 'freehold[embeddings]'"
            raise Misconfigured(f"knowledge_local_vectors needs the extra `embeddings`: {needs}")
        return cls(Path(spec.origin).parent)

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        """See `Embedder`."""
        async with self._lock:
            return await asyncio.to_thread(self._vectors, texts)

    async def query(self, text: str) -> bytes:
        """See `Embedder`."""
        return (await self.documents([text]))[0]

    def _vectors(self, texts: Sequence[str]) -> list[bytes]:
        import numpy

        tokenizer, weights = self._loaded()
        made: list[bytes] = []
        for at in range(0, len(texts), _AT_ONCE):
            some = [text[:_MOST_CHARACTERS] for text in texts[at : at + _AT_ONCE]]
            for encoded in tokenizer.encode_batch(some, add_special_tokens=False):
                total = weights[encoded.ids].sum(0) if encoded.ids else weights[0]
                made.append((total / (numpy.linalg.norm(total) + 1e-9)).astype("<f2").tobytes())
        return made

    def _loaded(self) -> tuple[Any, Any]:
        """The tokenizer, and the vectors weighed: common tokens say less, those without a letter nothing."""
        if self._model is None:
            import numpy
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(self._folder / _TOKENIZER))
            vectors = load_file(self._folder / _WEIGHTS)["embedding.weight"].astype("float32")
            rarity = numpy.log(numpy.maximum(2, numpy.arange(len(vectors)) - _SPECIAL))
            telling = numpy.full(len(vectors), 1e-3)
            for token, place in tokenizer.get_vocab().items():
                if place < len(vectors) and any(character.isalnum() for character in token):
                    telling[place] = 1
            self._model = tokenizer, vectors * (rarity * telling)[:, None].astype("float32")
        return self._model
