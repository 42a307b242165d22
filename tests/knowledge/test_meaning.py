"""Vectors beside words: what makes them, what is nearest, how both are merged, and a service that is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from freehold.access.workspaces import Workspaces
from freehold.clock import HandClock
from freehold.errors import InvalidRequest, UpstreamFailed
from freehold.ids import new_id
from freehold.knowledge.meaning.service import Service, ServiceEmbedder, ServiceReranker
from freehold.knowledge.meaning.static import StaticEmbedder
from freehold.knowledge.search import fused
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer
from freehold.store.engine import Store
from tests.knowledge.house import House

pytest.importorskip("numpy")
WORDS = ("whale", "river", "engine")


def letters(text: str) -> list[float]:
    """A vector that says which of three things a text is about; unlike words it knows that a ship has an engine."""
    told = text.lower().replace("ship", "engine").replace("orca", "whale")
    return [told.count(word) + 0.01 for word in WORDS]


@asynccontextmanager
async def service(answer: Callable[[dict[str, Any]], tuple[int, Any]]) -> AsyncIterator[tuple[Service, list[Any]]]:
    """A service over HTTP that answers as told, the requests that it got, and our end of it."""
    asked: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.lower().partition("content-length: ")[2].split()[0])
        asked.append((head, json.loads(await reader.readexactly(size))))
        status, told = answer(asked[-1][1])
        body = json.dumps(told).encode()
        head = f"HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async def at_once(_seconds: float) -> None:
        pass

    site = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}/v1/embeddings"
    ours = Service(url, "secret", lambda origin: Client(origin, Dialer(public_only=False)), at_once)
    async with site:
        yield ours, asked
        await ours.close()


def embeddings(body: dict[str, Any]) -> tuple[int, Any]:
    rows = [{"index": place, "embedding": letters(text)} for place, text in enumerate(body["input"])]
    return 200, {"data": rows[::-1]}


async def workspace(store: Store) -> str:
    return (await Workspaces(store, clock=HandClock(), ids=new_id).create("one")).id


async def test_what_no_word_finds_is_found_by_its_meaning(store: Store) -> None:
    async with service(embeddings) as (there, asked):
        house, one = House(store, embedder=ServiceEmbedder(there, "voyage-3", tells_kind=True)), await workspace(store)
        await house.make(one, "sea", {"a.txt": "The orca sleeps.", "b.txt": "A ship left.", "c.txt": "The river rose."})
        assert [passage.name for passage in await house.find(one, "whale")] == ["a.txt", "b.txt", "c.txt"]
        assert (await house.search.find(one, "whale", None, 10, "words")) == []
        await house.add(one, "sea", "d.txt", "Whale, whale, whale.")
        await house.add(one, "sea", "a.txt", "The river sleeps.")
        found = [passage.name for passage in await house.find(one, "orca")]
        assert found[0] == "d.txt" and len(found) == len(set(found)) == 4
        await house.collections.delete(one, "sea")
    head, body = asked[0]
    assert head.startswith("POST /v1/embeddings ") and "authorization: Bearer secret" in head
    assert (body["model"], body["input_type"], asked[3][1]["input_type"]) == ("voyage-3", "document", "query")


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_service_that_is_away_leaves_the_words_and_keeps_new_documents_out(store: Store) -> None:
    works = [True]
    async with service(lambda body: embeddings(body) if works[0] else (503, {})) as (there, asked):
        house, one = House(store, embedder=ServiceEmbedder(there, "m", tells_kind=False)), await workspace(store)
        await house.make(one, "sea", {"a.txt": "The orca sleeps.", "b.txt": "A ship left."})
        assert "input_type" not in asked[0][1]
        works[0], before = False, len(asked)
        assert [passage.name for passage in await house.find(one, "ship")] == ["b.txt"]
        assert len(asked) == before + 4
        with pytest.raises(UpstreamFailed, match="503"):
            await house.add(one, "sea", "c.txt", "More.")
        assert (await house.collections.get(one, "sea")).documents == 2
    elsewhere = House(store)  # a server where nothing makes such vectors
    assert [passage.name for passage in await elsewhere.find(one, "ship")] == ["b.txt"]
    with pytest.raises(InvalidRequest, match="service:m"):
        await elsewhere.add(one, "sea", "c.txt", "More.")


@pytest.mark.parametrize("answer", [{}, {"data": []}, {"data": [{"index": 0}]}, {"data": [{"embedding": ["x"]}]}, []])
async def test_an_answer_of_another_shape_is_told(answer: Any) -> None:
    async with service(lambda _body: (200, answer)) as (there, _):
        with pytest.raises(UpstreamFailed, match=r"shape|0 vectors"):
            await ServiceEmbedder(there, "m", tells_kind=False).query("text")


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_passages_are_put_into_the_order_of_a_reranker(store: Store) -> None:
    def longest_first(body: dict[str, Any]) -> tuple[int, Any]:
        if body["query"] == "broken":
            return 400, {}
        rows = [{"index": place, "relevance_score": len(text)} for place, text in enumerate(body["documents"])]
        return 200, {"results": rows}

    async with service(longest_first) as (there, _):
        house, one = House(store, reranks=ServiceReranker(there, "m")), await workspace(store)
        await house.make(one, "sea", {"a.txt": "broken ship ship", "b.txt": "A ship left the harbour in the evening."})
        assert [passage.name for passage in await house.find(one, "ship")] == ["b.txt", "a.txt"]
        assert [passage.name for passage in await house.find(one, "broken")] == ["a.txt"]


async def test_static_vectors_know_which_words_are_near() -> None:
    pytest.importorskip("wordllama")
    import numpy

    embedder = StaticEmbedder.found()
    texts = ["How to open a file", "Reading a document from disk", "The weather is nice today", "", "!?"]
    vectors = [numpy.frombuffer(one, "<f2").astype("float32") for one in await embedder.documents(texts)]
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1
    assert all(0.99 < float(one @ one) < 1.01 for one in vectors)
    assert (await embedder.query(texts[0])) == vectors[0].astype("<f2").tobytes()


def test_fusion_puts_first_what_stands_high_in_both() -> None:
    a, b, c = ("x", 1), ("x", 2), ("x", 3)
    merged = fused([(1.0, [(a, 9.0), (b, 8.0)]), (1.0, [(b, 0.9), (c, 0.8)])])
    assert sorted(merged, key=lambda key: -merged[key]) == [b, a, c]
    lighter = fused([(1.0, [(a, 9.0)]), (0.3, [(c, 0.9)])])
    assert lighter[c] == pytest.approx(0.3 * lighter[a])
