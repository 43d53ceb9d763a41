"""LangGraph's store: like the one in memory that LangGraph has, and with lifetimes."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph.store.base")

from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.store.base import BaseStore, GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from llmspell_storage import Database
from llmspell_storage.langgraph import LlmspellStore


def embed(texts: list[str]) -> list[list[float]]:
    """Counts letters, so that texts with the same letters are near."""
    return [[text.count(letter) + 0.01 for letter in "abcdefgh"] for text in texts]


INDEX: Any = {"dims": 8, "embed": embed, "fields": ["text", "notes[*].text"]}

NAMESPACES = st.sampled_from([("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("a/", "b"), ("a", "b:%2F"), ("x", "b")])
KEYS = st.sampled_from(["k", "l", ":k", "ä/b"])
ITEMS = st.fixed_dictionaries({"text": st.sampled_from(["aa", "ab", "bb", "cc"]), "n": st.integers(0, 3)})
PREFIXES = st.sampled_from([(), ("a",), ("a", "b"), ("ab",), ("a/",), ("none",)])
FILTERS = st.sampled_from([None, {"n": 1}, {"n": {"$gte": 1, "$lt": 3}}, {"text": {"$ne": "aa"}}, {"n": {"$eq": 2}, "text": "ab"}])
CONDITIONS = st.lists(
    st.builds(
        MatchCondition,
        match_type=st.sampled_from(["prefix", "suffix"]),
        path=st.sampled_from([("a",), ("a", "*"), ("*", "b"), ("b",), ("a", "b", "c")]),
    ),
    max_size=2,
)
# What is not under test, because hypothesis would choose it.
PLAIN: Any = {"index": st.none(), "ttl": st.none()}
FIRST_NAMESPACE: Any = {"offset": st.just(0)}
FIRST: Any = {"offset": st.just(0), "refresh_ttl": st.booleans()}
OPS = st.one_of(
    st.builds(PutOp, namespace=NAMESPACES, key=KEYS, value=ITEMS, **PLAIN),
    st.builds(PutOp, namespace=NAMESPACES, key=KEYS, value=ITEMS, **PLAIN),
    st.builds(PutOp, namespace=NAMESPACES, key=KEYS, value=ITEMS, index=st.sampled_from([False, ["text"]]), ttl=st.none()),
    st.builds(PutOp, namespace=NAMESPACES, key=KEYS, value=st.none(), **PLAIN),
    st.builds(GetOp, namespace=NAMESPACES, key=KEYS),
    st.builds(SearchOp, namespace_prefix=PREFIXES, filter=FILTERS, limit=st.just(100), query=st.none(), **FIRST),
    st.builds(SearchOp, namespace_prefix=PREFIXES, filter=FILTERS, limit=st.just(100), query=st.sampled_from(["ab", "c"]), **FIRST),
    st.builds(ListNamespacesOp, match_conditions=CONDITIONS.map(tuple), max_depth=st.none() | st.integers(1, 2), limit=st.just(100), **FIRST_NAMESPACE),
)


def plain(result: Any, *, scores: bool) -> Any:
    """A result without the moments; what was found in an order that both stores share."""
    if isinstance(result, list) and result and not isinstance(result[0], tuple):
        found = []
        for item in result:
            score = item.score if scores and item.score is not None else None
            found.append((item.namespace, item.key, item.value, None if score is None else round(score, 4)))
        return sorted(found, key=repr)
    if result is None or isinstance(result, list):
        return result
    return (result.namespace, result.key, result.value)


@settings(max_examples=60, deadline=None)
@given(st.lists(OPS, max_size=25))
def test_it_answers_like_the_store_of_langgraph(ops: list[Any]) -> None:
    reference = InMemoryStore(index=INDEX)
    with Database.in_memory() as database:
        ours = LlmspellStore(database, index=INDEX)
        for op in ops:
            if isinstance(op, PutOp) and op.value is not None and op.index is False:
                # The reference keeps the vectors of the item that is replaced; we do not.
                reference.batch([PutOp(op.namespace, op.key, None)])
            # The reference lists namespaces that were asked for, or whose items were deleted.
            for namespace in [namespace for namespace, items in reference._data.items() if not items]:
                del reference._data[namespace]
            expected, got = reference.batch([op])[0], ours.batch([op])[0]
            assert plain(got, scores=True) == plain(expected, scores=True), op


@settings(max_examples=20, deadline=None)
@given(st.lists(OPS, max_size=12))
def test_a_batch_reads_before_it_writes(ops: list[Any]) -> None:
    reads = [op for op in ops if not isinstance(op, ListNamespacesOp)]
    with Database.in_memory() as database:
        # Without an index, because the reference cannot embed one text for two items of a batch.
        ours, reference = LlmspellStore(database), InMemoryStore()
        for _ in range(2):
            expected = [plain(result, scores=False) for result in reference.batch(reads)]
            assert [plain(result, scores=False) for result in ours.batch(reads)] == expected
            expected = [plain(result, scores=False) for result in reference.batch(reads)]
            assert [plain(result, scores=False) for result in asyncio.run(ours.abatch(reads))] == expected


@pytest.fixture
def store(database: Database) -> LlmspellStore:
    return LlmspellStore(database, index=INDEX, ttl={"refresh_on_read": True, "default_ttl": None})


def test_a_search_by_text_finds_the_nearest_first_in_pages(store: BaseStore) -> None:
    for n in range(150):
        store.put(("notes", f"{n % 3}"), f"{n:03}", {"text": "a" * (n + 1) + "b" * (150 - n), "n": n})
    nearest = store.search(("notes",), query="a" * 150, limit=3)
    assert [item.key for item in nearest] == ["149", "148", "147"]
    assert nearest[0].score > nearest[1].score
    assert [item.key for item in store.search(("notes",), query="a" * 150, limit=2, offset=1)] == ["148", "147"]
    # More pages are read where few items match.
    few = store.search(("notes", "0"), query="a" * 150, filter={"n": {"$lt": 9}}, limit=2)
    assert [item.key for item in few] == ["006", "003"]
    assert len(store.search(("notes",), limit=1000)) == 150


def test_an_item_is_found_by_its_best_text_and_once(store: BaseStore) -> None:
    store.put(("n",), "many", {"text": "hhh", "notes": [{"text": "aaa"}, {"text": "bbb"}]})
    store.put(("n",), "one", {"text": "ab"})
    assert [item.key for item in store.search(("n",), query="aaa")] == ["many", "one"]
    store.put(("n",), "many", {"text": "hhh"})
    assert [item.key for item in store.search(("n",), query="aaa")] == ["one", "many"]
    store.delete(("n",), "many")
    assert [item.key for item in store.search(("n",), query="aaa")] == ["one"]
    assert store._vectors.count() == 1  # type: ignore[attr-defined]


def test_moments_are_kept(store: BaseStore) -> None:
    before = datetime.now(timezone.utc)
    store.put(("n",), "k", {"v": 1})
    first = store.get(("n",), "k")
    store.put(("n",), "k", {"v": 2})
    second = store.get(("n",), "k")
    assert before <= first.created_at == second.created_at <= first.updated_at < second.updated_at


def test_items_expire_and_reading_renews_them(store: BaseStore) -> None:
    second = 1 / 60
    store.put(("n",), "kept", {"text": "aa"}, ttl=0.6 * second)
    store.put(("n",), "found", {"text": "ab"}, ttl=0.6 * second)
    store.put(("n",), "seen", {"text": "bb"}, ttl=0.6 * second)
    store.put(("n",), "lost", {"text": "hh"}, ttl=0.6 * second)
    store.put(("n",), "stays", {"text": "cc"})
    for _ in range(3):
        time.sleep(0.3)
        assert store.get(("n",), "kept") is not None
        assert [item.key for item in store.search(("n",), query="ab", limit=1)] == ["found"]
        store.get(("n",), "seen", refresh_ttl=False)
        store.search(("n",), filter={"text": "bb"}, refresh_ttl=False)
    assert store.get(("n",), "seen") is None and store.get(("n",), "lost") is None
    assert [item.key for item in store.search(("n",))] == ["found", "kept", "stays"]
    assert {item.key for item in store.search(("n",), query="hh")} == {"found", "kept", "stays"}


def test_default_lifetimes_are_used(database: Database) -> None:
    store = LlmspellStore(database, ttl={"default_ttl": 1 / 60 / 10, "refresh_on_read": False})
    store.put(("n",), "k", {})
    store.put(("n",), "forever", {}, ttl=None)
    time.sleep(0.2)
    assert store.get(("n",), "k") is None
    assert store.get(("n",), "forever") is not None
    assert store.list_namespaces() == [("n",)]


def test_scopes_and_processes(directory: Path) -> None:
    with Database.open(directory) as database:
        ada, bob = LlmspellStore(database, scope="user:ada", index=INDEX), LlmspellStore(database, scope="user:bob", index=INDEX)
        ada.put(("n",), "k", {"text": "aa"})
        assert bob.get(("n",), "k") is None and bob.search((), query="aa") == []
    with Database.open(directory) as database:
        ada = LlmspellStore(database, scope="user:ada", index=INDEX)
        assert [item.key for item in ada.search((), query="aa")] == ["k"]


def test_it_is_awaited_and_used_by_a_graph(directory: Path) -> None:
    from langgraph.graph import START, StateGraph
    from typing_extensions import TypedDict

    class State(TypedDict):
        text: str
        found: list[str]

    async def remember(state: State, *, store: BaseStore) -> dict[str, Any]:
        found = await store.asearch(("memories",), query=state["text"])
        await store.aput(("memories",), state["text"], {"text": state["text"]})
        return {"found": [item.key for item in found]}

    async def main() -> None:
        with Database.open(directory) as database:
            builder = StateGraph(State)
            builder.add_node("remember", remember)
            builder.add_edge(START, "remember")
            graph = builder.compile(store=LlmspellStore(database, index=INDEX))
            assert (await graph.ainvoke({"text": "aab", "found": []}))["found"] == []
            assert (await graph.ainvoke({"text": "ab", "found": []}))["found"] == ["aab"]

    asyncio.run(main())


def test_what_it_does_not_know_is_refused(store: BaseStore) -> None:
    with pytest.raises(ValueError, match=r"\$in is not an operator"):
        store.put(("n",), "k", {"v": 1})
        store.search(("n",), filter={"v": {"$in": [1]}})
    with pytest.raises(ValueError, match="not an operation"):
        store.batch(["get"])  # type: ignore[list-item]
