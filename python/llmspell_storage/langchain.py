"""LangChain's vector store on a llmspell-storage database: :class:`LlmspellVectorStore`.

Needs ``pip install llmspell-storage[langchain]``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from . import Database, Entry, Filter, Hit, HNSWConfig, InvalidError

__all__ = ["LlmspellVectorStore"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: The field of the metadata that holds the text.
_TEXT = "page_content"


class LlmspellVectorStore(VectorStore):
    """Documents in one scope of a vector space, compared by cosine.

    Args:
        embedding: Makes the vectors.
        database: The open database. The store does not close it.
        space: Name of the vector space.
        scope: Whose documents these are; others are neither seen nor changed.
        dim: Components of a vector; without it, one text is embedded to find out.
        config: How the index is built, if the space does not exist yet.

    The metadata of a document are those of its entry, so a ``filter`` is written for them: as text, as dict or by
    ``F("lang") == "en"``. The text lies beside them in the field ``page_content``; both together have at most 64 KiB.
    """

    def __init__(
        self,
        embedding: Embeddings,
        database: Database,
        *,
        space: str = "langchain",
        scope: str = "global",
        dim: int | None = None,
        config: HNSWConfig | None = None,
    ) -> None:
        self._embedding = embedding
        if dim is None:
            dim = len(embedding.embed_query("dimension"))
        self._vectors = database.vectors(space, dim, config).scoped(scope)

    @property
    def embeddings(self) -> Embeddings:
        return self._embedding

    # Writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Stores texts, and replaces those with the same ids. Returns their ids."""
        _refuse(kwargs)
        texts = list(texts)
        return self._store(texts, metadatas, ids, self._embedding.embed_documents(texts))

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        _refuse(kwargs)
        texts = list(texts)
        vectors = await self._embedding.aembed_documents(texts)
        return await _in_thread(self._store, texts, metadatas, ids, vectors)

    def add_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """Stores documents under ``ids`` or their own ids, and replaces those with the same ids."""
        ids = _ids_of(documents, kwargs.pop("ids", None))
        texts = [document.page_content for document in documents]
        return self.add_texts(texts, [document.metadata for document in documents], ids=ids, **kwargs)

    async def aadd_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        ids = _ids_of(documents, kwargs.pop("ids", None))
        texts = [document.page_content for document in documents]
        return await self.aadd_texts(texts, [document.metadata for document in documents], ids=ids, **kwargs)

    def _store(
        self,
        texts: list[str],
        metadatas: Sequence[dict[Any, Any]] | None,
        ids: Sequence[str | None] | None,
        vectors: list[list[float]],
    ) -> list[str]:
        metadatas = [{} for _ in texts] if metadatas is None else metadatas
        own_ids = [id or str(uuid.uuid4()) for id in (ids if ids is not None else [None] * len(texts))]
        for name, given in (("metadatas", metadatas), ("ids", own_ids)):
            if len(given) != len(texts):
                raise InvalidError(f"there are {len(given)} {name} for {len(texts)} texts", "Shape")
        entries: dict[str, Entry] = {}
        for id, text, metadata, vector in zip(own_ids, texts, metadatas, vectors):
            if _TEXT in metadata:
                raise InvalidError(f"the metadata of `{id}` have a field {_TEXT}, where the text is kept", "Metadata")
            # Of two texts with one id, the last counts.
            entries[id] = Entry(id, vector, {**metadata, _TEXT: text})
        self._vectors.upsert(entries.values())
        return own_ids

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Removes documents; all of this scope if no ids are given."""
        _refuse(kwargs)
        if ids is None:
            self._vectors.delete_scope()
        else:
            self._vectors.delete(ids)
        return True

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        return await _in_thread(self.delete, ids, **kwargs)

    # Reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        entries = self._vectors.get_many(ids)
        return [_document(entry.id, entry.metadata) for entry in entries if entry is not None]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return await _in_thread(self.get_by_ids, ids)

    def similarity_search(
        self, query: str, k: int = 4, filter: str | dict[str, Any] | Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        return self.similarity_search_by_vector(self._embedding.embed_query(query), k, filter, **kwargs)

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: str | dict[str, Any] | Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        vector = await self._embedding.aembed_query(query)
        return await _in_thread(self.similarity_search_by_vector, vector, k, filter, **kwargs)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: str | dict[str, Any] | Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        hits = self._vectors.search(embedding, k, filter=filter, **kwargs)
        return [_document_of(hit) for hit in hits]

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: str | dict[str, Any] | Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        return await _in_thread(self.similarity_search_by_vector, embedding, k, filter, **kwargs)

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: str | dict[str, Any] | Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Documents with their cosine similarity, -1 to 1: larger is better."""
        hits = self._vectors.search(self._embedding.embed_query(query), k, filter=filter, **kwargs)
        return [(_document_of(hit), hit.score) for hit in hits]

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: str | dict[str, Any] | Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        vector = await self._embedding.aembed_query(query)
        hits = await _in_thread(self._vectors.search, vector, k, filter=filter, **kwargs)
        return [(_document_of(hit), hit.score) for hit in hits]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda score: (1.0 + score) / 2.0

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: str | dict[str, Any] | Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, filter, **kwargs)

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: str | dict[str, Any] | Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        vector = await self._embedding.aembed_query(query)
        search = self.max_marginal_relevance_search_by_vector
        return await _in_thread(search, vector, k, fetch_k, lambda_mult, filter, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: str | dict[str, Any] | Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Of the ``fetch_k`` nearest documents, ``k`` that are near and unlike each other."""
        import numpy
        from langchain_core.vectorstores.utils import maximal_marginal_relevance

        hits = self._vectors.search(embedding, fetch_k, filter=filter, include_vectors=True, **kwargs)
        vectors = [cast("list[float]", hit.vector) for hit in hits]
        if not vectors:
            return []
        chosen = maximal_marginal_relevance(numpy.array(embedding), vectors, lambda_mult, k)
        return [_document_of(hits[index]) for index in chosen]

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: str | dict[str, Any] | Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        search = self.max_marginal_relevance_search_by_vector
        return await _in_thread(search, embedding, k, fetch_k, lambda_mult, filter, **kwargs)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        database: Database | None = None,
        **kwargs: Any,
    ) -> LlmspellVectorStore:
        """A store with these texts; in RAM if no database is given."""
        store = cls(embedding, Database.in_memory() if database is None else database, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        database: Database | None = None,
        **kwargs: Any,
    ) -> LlmspellVectorStore:
        if kwargs.get("dim") is None:
            kwargs["dim"] = len(await embedding.aembed_query("dimension"))
        store = cls(embedding, Database.in_memory() if database is None else database, **kwargs)
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store


async def _in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Runs a call of the database in a thread: it works without the GIL, and the event loop goes on."""
    import asyncio

    return await asyncio.to_thread(call, *args, **kwargs)


def _refuse(kwargs: dict[str, Any]) -> None:
    if kwargs:
        raise TypeError(f"unknown arguments: {', '.join(kwargs)}")


def _ids_of(documents: list[Document], ids: list[str] | None) -> list[str]:
    own = [document.id for document in documents] if ids is None else ids
    return [id or str(uuid.uuid4()) for id in own]


def _document(id: str, metadata: dict[str, Any]) -> Document:
    own = dict(metadata)
    return Document(id=id, page_content=own.pop(_TEXT, ""), metadata=own)


def _document_of(hit: Hit) -> Document:
    return _document(hit.id, hit.metadata or {})
