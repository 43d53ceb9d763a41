"""LangGraph's long-term memory on a llmspell-storage database: :class:`LlmspellStore`.

Needs ``pip install llmspell-storage[langgraph]``. An item is a key of the key-value state, and each of its texts that is
embedded is an entry of a vector space; both are written in one atomic batch.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, cast

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    get_text_at_path,
    tokenize_path,
)

from . import Database, Entry, F, InvalidError

__all__ = ["LlmspellStore"]

#: Writes of one atomic batch: below its limit of 1,024, with room for what one item adds.
_WRITES_MAX = 512
#: Results of a search, with those that are skipped.
_RESULTS_MAX = 10_000


class LlmspellStore(BaseStore):
    """Items in namespaces, with TTLs and semantic search, in one scope of a database.

    Args:
        database: The open database. The store does not close it.
        scope: Whose items these are; others are neither seen nor changed.
        index: Which fields are embedded, how, and into how many dimensions. Without it there is no semantic search.
        ttl: The default lifetime of items in minutes, and whether reading renews it. Items are gone once they have
            expired: no sweeper is needed.
        space: Name of the vector space.

    A search by text finds the items nearest to the query, each by its best text, and checks the filter on up to 10,000
    of them. A search without text, and a list of namespaces, read the keys below the longest prefix of the namespace that
    is known. Two writes of one item at once are done one after the other.
    """

    supports_ttl = True

    __slots__ = ("_database", "_dims", "_embeddings", "_fields", "_kv", "_scope", "_vectors", "_writing", "ttl_config")

    def __init__(
        self,
        database: Database,
        *,
        scope: str = "global",
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        space: str = "langgraph",
    ) -> None:
        super().__init__()
        self._database = database
        self._scope = scope
        self._kv = database.kv().scoped(scope)
        self.ttl_config = ttl
        # Reads the record of an item and then writes it, so two must not do so at once.
        self._writing = threading.Lock()
        self._embeddings = None
        self._vectors = None
        self._fields: list[tuple[str, Any]] = []
        if index is not None:
            embed, dims = index.get("embed"), index.get("dims")
            if embed is None or dims is None:
                raise InvalidError("an index needs `embed`, a function or model, and `dims`, its dimension", "Index")
            self._embeddings = ensure_embeddings(embed)
            self._vectors = database.vectors(space, dims)
            self._fields = _paths(index.get("fields") or ["$"])

    # Operations: what is read, what must be embedded, what is written.

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Does operations: first what reads, then what writes; of two writes of an item, the last."""
        ops = list(ops)
        texts = self._texts(ops)
        queries = self._queries(ops)
        vectors: list[list[float]] = []
        if self._embeddings is not None:
            if texts:
                vectors = self._embeddings.embed_documents(texts)
            query_vectors = [self._embeddings.embed_query(query) for query in queries]
        else:
            query_vectors = []
        return self._run(ops, dict(zip(texts, vectors)), dict(zip(queries, query_vectors)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """:meth:`batch` without blocking the event loop: the database works in a thread, without the GIL."""
        ops = list(ops)
        texts = self._texts(ops)
        queries = self._queries(ops)
        vectors: list[list[float]] = []
        query_vectors: list[list[float]] = []
        if self._embeddings is not None:
            if texts:
                vectors = await self._embeddings.aembed_documents(texts)
            query_vectors = list(await asyncio.gather(*map(self._embeddings.aembed_query, queries)))
        return await asyncio.to_thread(self._run, ops, dict(zip(texts, vectors)), dict(zip(queries, query_vectors)))

    def _queries(self, ops: list[Op]) -> list[str]:
        if self._embeddings is None:
            return []
        return list({op.query: None for op in ops if isinstance(op, SearchOp) and op.query})

    def _texts(self, ops: list[Op]) -> list[str]:
        """The texts of all items that are written, each once."""
        texts: dict[str, None] = {}
        for op in _last_puts(ops):
            texts.update(dict.fromkeys(self._texts_of(op)))
        return list(texts)

    def _texts_of(self, op: PutOp) -> list[str]:
        if self._embeddings is None or op.value is None or op.index is False:
            return []
        fields = self._fields if op.index is None else _paths(op.index)
        texts = [text for _, path in fields for text in get_text_at_path(op.value, path)]
        return [text for text in texts if text]

    def _run(self, ops: list[Op], vectors: dict[str, list[float]], queries: dict[str, list[float]]) -> list[Result]:
        results: list[Result] = []
        for op in ops:
            if isinstance(op, GetOp):
                results.append(self._get(op))
            elif isinstance(op, SearchOp):
                results.append(self._search(op, queries.get(op.query or "")))
            elif isinstance(op, ListNamespacesOp):
                results.append(self._namespaces(op))
            elif isinstance(cast("object", op), PutOp):
                results.append(None)
            else:
                raise ValueError(f"{type(op).__name__} is not an operation that this store knows")
        self._put_all(_last_puts(ops), vectors)
        return results

    # Reading

    def _get(self, op: GetOp) -> Item | None:
        key = _key(op.namespace, op.key)
        record = self._kv.get(key)
        if record is None:
            return None
        if op.refresh_ttl:
            self._renew(key, record)
        return Item(**_fields_of(key, json.loads(record)))

    def _renew(self, key: str, record: bytes) -> None:
        """Lets an item live for another lifetime, unless it was changed meanwhile."""
        stored = json.loads(record)
        if stored["ttl"] is None:
            return
        lifetime = _lifetime(stored["ttl"])
        with self._writing:
            if self._kv.compare_and_swap(key, record, record, ttl=lifetime) and stored["vectors"] and self._vectors:
                self._vectors.touch(_entry_ids(key, 0, stored["vectors"]), lifetime, scope=self._scope)

    def _search(self, op: SearchOp, query: list[float] | None) -> list[SearchItem]:
        found: list[tuple[str, bytes, float | None]] = []
        skipped = 0
        seen: set[str] = set()
        for key, record, score in self._candidates(op.namespace_prefix, query):
            if len(found) == op.limit:
                break
            if key in seen or not _matches(json.loads(record)["value"], op.filter):
                continue
            seen.add(key)
            if skipped < op.offset:
                skipped += 1
            else:
                found.append((key, record, score))
        if op.refresh_ttl:
            for key, record, _ in found:
                self._renew(key, record)
        return [SearchItem(**_fields_of(key, json.loads(record)), score=score) for key, record, score in found]

    def _candidates(self, prefix: tuple[str, ...], query: list[float] | None) -> Iterable[tuple[str, bytes, float | None]]:
        """Items below a namespace: the nearest first, and after them those without vectors."""
        below = _namespace(prefix)
        if query is not None and self._vectors is not None:
            condition = F("namespace").starts_with(below) if below else None
            page, offset = 64, 0
            while offset < _RESULTS_MAX:
                page = min(page, _RESULTS_MAX - offset)
                hits = self._vectors.search(
                    query, page, offset=offset, filter=condition, group_by=("key", 1), scope=self._scope
                )
                keys = [cast("dict[str, str]", hit.metadata)["key"] for hit in hits]
                records = self._kv.get_many(keys)
                for key, hit in zip(keys, hits):
                    if key in records:
                        yield key, records[key], hit.score
                if len(hits) < page:
                    break
                offset, page = offset + page, page * 4
        for key, record in self._kv.scan(below):
            if query is None or not json.loads(record)["vectors"]:
                yield key, record, None

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        known: list[str] = []
        for condition in conditions:
            if condition.match_type == "prefix":
                labels = list(condition.path)
                fixed = labels[: labels.index("*")] if "*" in labels else labels
                known = max(known, fixed, key=len)
        found: set[tuple[str, ...]] = set()
        for key in self._kv.keys(_namespace(known)):
            namespace, _ = _split(key)
            if all(_does_match(condition, namespace) for condition in conditions):
                found.add(namespace[: op.max_depth])
        return sorted(found)[op.offset : op.offset + op.limit]

    # Writing

    def _put_all(self, puts: list[PutOp], vectors: dict[str, list[float]]) -> None:
        with self._writing:
            batch, writes = self._database.batch(), 0
            for op in puts:
                key = _key(op.namespace, op.key)
                before = self._kv.get(key)
                old = json.loads(before) if before is not None else {"vectors": 0}
                texts = self._texts_of(op)
                if writes and writes + old["vectors"] + len(texts) + 1 > _WRITES_MAX:
                    batch.commit()
                    batch, writes = self._database.batch(), 0
                writes += old["vectors"] + len(texts) + 1
                if self._vectors is not None and old["vectors"] > len(texts):
                    batch.delete(self._vectors, _entry_ids(key, len(texts), old["vectors"]), scope=self._scope)
                if op.value is None:
                    batch.delete_key(key, scope=self._scope)
                    continue
                now = datetime.now(timezone.utc).isoformat()
                record = {
                    "value": dict(op.value),
                    "created_at": old.get("created_at", now),
                    "updated_at": now,
                    "ttl": op.ttl,
                    "vectors": len(texts),
                }
                lifetime = None if op.ttl is None else _lifetime(op.ttl)
                batch.set(key, json.dumps(record).encode(), scope=self._scope, ttl=lifetime)
                if self._vectors is not None and texts:
                    metadata = {"namespace": _namespace(op.namespace), "key": key}
                    ids = _entry_ids(key, 0, len(texts))
                    batch.upsert(
                        self._vectors,
                        [
                            Entry(id, vectors[text], metadata, scope=self._scope, ttl=lifetime)
                            for id, text in zip(ids, texts)
                        ],
                    )
            batch.commit()


def _lifetime(minutes: float) -> timedelta:
    try:
        return timedelta(minutes=minutes)
    except OverflowError:
        raise InvalidError(f"a ttl of {minutes} minutes is longer than Python can say", "Ttl", {"got": minutes}) from None


def _paths(fields: Sequence[str]) -> list[tuple[str, Any]]:
    return [(field, tokenize_path(field) if field != "$" else field) for field in fields]


def _last_puts(ops: list[Op]) -> list[PutOp]:
    """Of two writes of one item, the last."""
    return list({(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}.values())


# The key of an item is its labels, each with a slash behind it, a colon, and its own key: `users/ada/:theme`. So what lies
# below a namespace begins with the text of the namespace, and the first colon ends it.


def _escaped(label: str) -> str:
    return label.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")


def _namespace(labels: Sequence[str]) -> str:
    return "".join(f"{_escaped(label)}/" for label in labels)


def _key(namespace: Sequence[str], key: str) -> str:
    return f"{_namespace(namespace)}:{key}"


def _split(key: str) -> tuple[tuple[str, ...], str]:
    namespace, _, own = key.partition(":")
    labels = namespace.split("/")[:-1]
    return tuple(label.replace("%3A", ":").replace("%2F", "/").replace("%25", "%") for label in labels), own


def _entry_ids(key: str, start: int, end: int) -> list[str]:
    """Ids of the vectors of an item. A digest, because ids are shorter than keys may be."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return [f"{digest}:{index}" for index in range(start, end)]


def _fields_of(key: str, stored: dict[str, Any]) -> dict[str, Any]:
    namespace, own = _split(key)
    return {
        "namespace": namespace,
        "key": own,
        "value": stored["value"],
        "created_at": datetime.fromisoformat(stored["created_at"]),
        "updated_at": datetime.fromisoformat(stored["updated_at"]),
    }


def _does_match(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    path = condition.path
    if len(namespace) < len(path):
        return False
    if condition.match_type == "prefix":
        part = namespace[: len(path)]
    elif condition.match_type == "suffix":
        part = namespace[len(namespace) - len(path) :]
    else:
        raise InvalidError(f"`{condition.match_type}` is not a way to match; write prefix or suffix", "MatchType")
    return all(wanted in ("*", label) for label, wanted in zip(part, path))


def _matches(value: Any, wanted: Mapping[str, Any] | None) -> bool:
    """Whether a value has the fields of a filter."""
    return all(_equals(value.get(name), field) for name, field in (wanted or {}).items())


def _equals(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        fields = cast("dict[str, Any]", wanted)
        if any(name.startswith("$") for name in fields):
            return all(_compares(value, operator, operand) for operator, operand in fields.items())
        return isinstance(value, dict) and _matches(value, fields)
    if isinstance(wanted, (list, tuple)):
        items = list(cast("Sequence[Any]", wanted))
        own = cast("Sequence[Any]", value) if isinstance(value, list) else None
        return own is not None and len(own) == len(items) and all(map(_equals, own, items))
    return bool(value == wanted)


def _compares(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return bool(value == operand)
    if operator == "$ne":
        return bool(value != operand)
    if operator not in ("$gt", "$gte", "$lt", "$lte"):
        raise ValueError(f"{operator} is not an operator of a filter; write $eq, $ne, $gt, $gte, $lt or $lte")
    try:
        own, other = float(value), float(operand)
    except (TypeError, ValueError):
        return False
    if operator == "$gt":
        return own > other
    if operator == "$gte":
        return own >= other
    return own < other if operator == "$lt" else own <= other
