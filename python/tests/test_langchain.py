"""LangChain's standard tests on our vector store, and what they leave out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

from llmspell_storage import Database, F, InvalidError
from llmspell_storage.langchain import LlmspellVectorStore

EMBEDDING = DeterministicFakeEmbedding(size=8)


class TestStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, database: Database) -> VectorStore:  # type: ignore[override]
        return LlmspellVectorStore(self.get_embeddings(), database)


@pytest.fixture
def store(database: Database) -> Iterator[LlmspellVectorStore]:
    yield LlmspellVectorStore(EMBEDDING, database, scope="user:ada")


def test_metadata_are_filtered_and_the_text_is_apart(store: LlmspellVectorStore) -> None:
    documents = [Document(page_content=text, metadata={"lang": lang, "tags": ["t"]}) for text, lang in [("a", "en"), ("b", "de")]]
    ids = store.add_documents(documents)
    assert len(set(ids)) == 2
    for form in ['lang = "de"', {"eq": {"field": "lang", "value": "de"}}, F("lang") == "de"]:
        assert store.similarity_search("a", filter=form) == [documents[1].model_copy(update={"id": ids[1]})]
    (best, score), _ = store.similarity_search_with_score("a", k=2)
    assert (best.page_content, score) == ("a", 1.0)
    assert store.similarity_search_with_relevance_scores("a", k=1)[0][1] == 1.0
    assert [d.page_content for d in store.as_retriever(search_kwargs={"k": 1}).invoke("b")] == ["b"]
    with pytest.raises(InvalidError, match="page_content"):
        store.add_texts(["c"], [{"page_content": "d"}])
    with pytest.raises(InvalidError, match="1 ids for 2 texts"):
        store.add_texts(["c", "d"], ids=["1"])
    with pytest.raises(TypeError, match="unknown arguments: batch"):
        store.add_texts(["c"], batch=3)


def test_diverse_results_are_unlike_each_other(store: LlmspellVectorStore) -> None:
    store.add_texts(["same", "same", "other"], ids=["1", "2", "3"])
    found = store.max_marginal_relevance_search("same", k=2, fetch_k=3, lambda_mult=0.1)
    assert {document.page_content for document in found} == {"same", "other"}
    assert [d.page_content for d in store.max_marginal_relevance_search("same", k=2, fetch_k=2)] == ["same", "same"]
    assert store.max_marginal_relevance_search("same", filter="x = 1") == []


def test_a_scope_sees_its_documents_only(database: Database, store: LlmspellVectorStore) -> None:
    other = LlmspellVectorStore(EMBEDDING, database, scope="user:bob")
    store.add_texts(["a"], ids=["1"])
    assert other.similarity_search("a") == [] and other.get_by_ids(["1"]) == []
    other.delete()
    assert len(store.get_by_ids(["1"])) == 1
    assert store.delete(["1", "2"]) and store.get_by_ids(["1"]) == []


def test_documents_are_there_after_reopening(directory: Path) -> None:
    with Database.open(directory) as database:
        LlmspellVectorStore.from_texts(["a", "b"], EMBEDDING, [{"n": 1}, {"n": 2}], ids=["1", "2"], database=database)
    with Database.open(directory) as database:
        store = LlmspellVectorStore(EMBEDDING, database, dim=8)
        assert store.similarity_search("b", k=1) == [Document(id="2", page_content="b", metadata={"n": 2})]
    in_ram = LlmspellVectorStore.from_texts(["a"], EMBEDDING)
    assert [document.page_content for document in in_ram.similarity_search("a")] == ["a"]
