"""Settings of knowledge: how much is taken in, and what makes vectors."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.config import setting


@dataclass(frozen=True, slots=True)
class KnowledgeSettings:
    """How much documents may be, and how they are looked for."""

    knowledge_document_bytes: int = setting(50 << 20, "The largest document that is taken in.", unit="bytes", least=1)
    knowledge_document_chars: int = setting(
        20_000_000, "The most text that one document may have, whatever its file is packed into.", least=1
    )
    knowledge_collection_documents: int = setting(100_000, "The most documents of one collection.", least=1)
    knowledge_collection_chunks: int = setting(1_000_000, "The most passages of one collection.", least=1)
    knowledge_collections: int = setting(200, "The most collections of one workspace.", least=1)
    knowledge_read_s: float = setting(
        60.0, "How long reading one document may take; a PDF, an Office file or a page is read behind walls.", unit="s"
    )
    knowledge_local_vectors: bool = setting(
        False,
        "Passages are found by nearness of meaning too, by static vectors that are made here (extra `embeddings`).",
    )
    knowledge_embedding_url: str | None = setting(
        None, "An embeddings service in the shape of OpenAI or Voyage, as https://api.voyageai.com/v1/embeddings."
    )
    knowledge_embedding_model: str = setting("", "The model that it is asked for.")
    knowledge_embedding_key: str | None = setting(None, "The key for it.", secret=True)
    knowledge_embedding_input_types: bool = setting(
        False, "Tell the service which texts are documents and which are queries (`input_type`, as Voyage wants)."
    )
    knowledge_rerank_url: str | None = setting(
        None, "A re-ranking service in the shape of Voyage or Cohere, as https://api.voyageai.com/v1/rerank."
    )
    knowledge_rerank_model: str = setting("", "The model that it is asked for.")
    knowledge_rerank_key: str | None = setting(None, "The key for it.", secret=True)
    knowledge_vector_memory_bytes: int = setting(
        1 << 30, "Memory for vectors of collections that were searched lately.", unit="bytes"
    )
    knowledge_private_hosts: tuple[str, ...] = setting(
        (), "Hosts from which documents may be fetched although their addresses are private."
    )
