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
    knowledge_private_hosts: tuple[str, ...] = setting(
        (), "Hosts from which documents may be fetched although their addresses are private."
    )
