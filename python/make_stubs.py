"""Writes llmspell_storage/_native.pyi from the classes below, once for callers that wait and once for asyncio.

``python make_stubs.py --check`` only says whether the file is up to date. Every call is described once: a return type
``Wait[T]`` is ``T`` for callers that wait, and an awaitable ``Call[T]`` for asyncio.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEAD = '''\
# Made by make_stubs.py: change that file.
"""What the compiled part of the package offers."""

import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeAlias, TypeVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import Self, disjoint_base

from ._filters import Filter

_T_co = TypeVar("_T_co", covariant=True)

_Vector: TypeAlias = Sequence[float] | npt.NDArray[np.floating[Any]]
_Matrix: TypeAlias = Sequence[_Vector] | npt.NDArray[np.floating[Any]]
_Filter: TypeAlias = str | dict[str, Any] | Filter
_Moment: TypeAlias = datetime | str
_Range: TypeAlias = tuple[_Moment | None, _Moment | None]
_Bytes: TypeAlias = bytes | bytearray
_Order: TypeAlias = Literal["id", "id_descending", "oldest_first", "newest_first"]
_Time: TypeAlias = Literal["created_at", "updated_at", "event_time"]
_Metric: TypeAlias = Literal["cosine", "euclidean", "l2", "inner_product", "dot", "ip", "manhattan", "l1"]
_Preset: TypeAlias = Literal["fast", "balanced", "accurate"]

__version__: str

def scope_text(kind: str, id: str, /) -> str: ...

@final
class Call(Coroutine[Any, None, _T_co], Generic[_T_co]):
    """A call that is under way: await it once."""

    def __await__(self) -> Generator[Any, None, _T_co]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, value: None, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class HNSWConfig:
    """How the index of a vector space is built."""

    def __new__(
        cls,
        preset: _Preset = "balanced",
        *,
        metric: _Metric | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        ef_search: int | None = None,
        recall_target: float | None = None,
        seed: int | None = None,
        memory: Literal["speed", "balanced"] | None = None,
        date_fields: Sequence[str] | None = None,
        index_dim: int | None = None,
    ) -> Self: ...
    @property
    def metric(self) -> str: ...
    @property
    def m(self) -> int: ...
    @property
    def ef_construction(self) -> int: ...
    @property
    def ef_search(self) -> int: ...
    @property
    def recall_target(self) -> float: ...
    @property
    def seed(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__ = None  # type: ignore[assignment]

@final
class EmbeddingModel:
    """An embedding model: which model made a vector, and how the vector may be cut."""

    def __new__(
        cls, name: str, dim: int, *, metric: _Metric = "cosine", matryoshka: Sequence[int] | None = None
    ) -> Self: ...
    @staticmethod
    def preset(name: str) -> EmbeddingModel | None: ...
    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def metric(self) -> str: ...
    @property
    def matryoshka(self) -> list[int] | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Entry:
    """One vector with its id, its metadata and its times."""

    def __new__(
        cls,
        id: str,
        vector: _Vector,
        metadata: dict[str, Any] | None = None,
        *,
        scope: str | None = None,
        model: str | EmbeddingModel | None = None,
        event_time: _Moment | None = None,
        expires_at: _Moment | None = None,
        ttl: timedelta | None = None,
        created_at: _Moment | None = None,
        updated_at: _Moment | None = None,
    ) -> Self: ...
    @property
    def id(self) -> str: ...
    @property
    def vector(self) -> list[float]: ...
    def to_numpy(self) -> npt.NDArray[np.float32]: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def scope(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def updated_at(self) -> datetime | None: ...
    @property
    def event_time(self) -> datetime | None: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def ttl(self) -> timedelta | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__ = None  # type: ignore[assignment]

@final
class Hit:
    """One entry found. Results are ordered best first."""

    @property
    def id(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def distance(self) -> float: ...
    @property
    def recency_score(self) -> float | None: ...
    @property
    def scope(self) -> str | None: ...
    @property
    def space(self) -> str | None: ...
    @property
    def metadata(self) -> dict[str, Any] | None: ...
    @property
    def vector(self) -> list[float] | None: ...
    def to_numpy(self) -> npt.NDArray[np.float32]: ...

@final
class Rows(Iterator[_T_co]):
    """An iterator that reads a page when it needs one."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> _T_co: ...

@final
class AsyncRows(AsyncIterator[_T_co]):
    """An asynchronous iterator that reads a page when it needs one."""

    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Call[_T_co]: ...

@final
class BatchSummary:
    """What a batch did."""

    @property
    def ids(self) -> list[str]: ...
    @property
    def entries_deleted(self) -> int: ...
    @property
    def keys_deleted(self) -> int: ...
'''

ARRAY = """
        self,
        ids: Iterable[str],
        vectors: _Matrix,
        metadata: Iterable[dict[str, Any] | None] | None = None,
        *,
        scope: str | None = None,
        model: str | EmbeddingModel | None = None,
        event_time: _Moment | None = None,
        ttl: timedelta | None = None,
    """
COMMON = """
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        threshold: float | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        model: str | None = None,
        include_metadata: bool = True,
        include_vectors: bool = False,
    """

BODY = f'''
@final
class XBatch:
    """Writes of entries and keys that are done together, or not at all."""

    def insert(self, space: XVectors | str, entries: Entry | Iterable[Entry], /) -> Self: ...
    def upsert(self, space: XVectors | str, entries: Entry | Iterable[Entry], /) -> Self: ...
    def delete(self, space: XVectors | str, ids: str | Iterable[str], /, *, scope: str) -> Self: ...
    def set(
        self,
        key: str,
        value: _Bytes,
        /,
        *,
        scope: str | None = None,
        ttl: timedelta | None = None,
        expires_at: _Moment | None = None,
    ) -> Self: ...
    def delete_key(self, key: str, /, *, scope: str | None = None) -> Self: ...
    def commit(self) -> Wait[BatchSummary]: ...
    def __Xenter__(self) -> Wait[Self]: ...
    def __Xexit__(self, *exception: object) -> Wait[Literal[False]]: ...

class XVectors:
    """A vector space, or the part of one that belongs to a scope."""

    @property
    def dim(self) -> int: ...
    @property
    def scope(self) -> str: ...
    def scoped(self, scope: str, /) -> XVectors: ...
    def insert(self, entries: Entry | Iterable[Entry], /) -> Wait[_List[str]]: ...
    def upsert(self, entries: Entry | Iterable[Entry], /) -> Wait[_List[str]]: ...
    def insert_array({ARRAY}) -> Wait[_List[str]]: ...
    def upsert_array({ARRAY}) -> Wait[_List[str]]: ...
    def search(
        self,
        vector: _Vector,
        k: int = 10,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        threshold: float | None = None,
        offset: int = 0,
        ef_search: int | None = None,
        exact: bool = False,
        recency: timedelta | None = None,
        event_time: _Range | None = None,
        ingested: _Range | None = None,
        mmr: float | None = None,
        group_by: tuple[str, int] | None = None,
        model: str | None = None,
        include_metadata: bool = True,
        include_vectors: bool = False,
    ) -> Wait[_List[Hit]]: ...
    def search_many(
        self,
        vectors: _Matrix,
        k: int = 10,
        *,{COMMON}) -> Wait[_List[_List[Hit]]]: ...
    def recommend(
        self,
        like: str | Iterable[str | _Vector],
        k: int = 10,
        *,
        unlike: str | Iterable[str | _Vector] | None = None,{COMMON}) -> Wait[_List[Hit]]: ...
    def get(self, id: str, /, *, scope: str | None = None) -> Wait[Entry | None]: ...
    def get_many(self, ids: str | Iterable[str], /, *, scope: str | None = None) -> Wait[_List[Entry | None]]: ...
    def update_metadata(self, id: str, metadata: dict[str, Any], /, *, scope: str | None = None) -> Wait[None]: ...
    def patch_metadata(self, id: str, patch: dict[str, Any], /, *, scope: str | None = None) -> Wait[None]: ...
    def touch(
        self, ids: str | Iterable[str], expiry: timedelta | _Moment | None, /, *, scope: str | None = None
    ) -> Wait[_List[str]]: ...
    def delete(self, ids: str | Iterable[str], /, *, scope: str | None = None) -> Wait[int]: ...
    def delete_matching(self, filter: _Filter, /, *, scope: str | None = None) -> Wait[int]: ...
    def delete_scope(self, scope: str | None = None, /) -> Wait[int]: ...
    def delete_scopes(self, scopes: Sequence[str], /) -> Wait[int]: ...
    def delete_scopes_of_kind(self, kind: str, /) -> Wait[int]: ...
    def list(
        self,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        order: _Order = "id",
        time: _Time = "created_at",
        page: int = 1000,
    ) -> XRows[Entry]: ...
    def list_page(
        self,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        order: _Order = "id",
        time: _Time = "created_at",
        after: str | None = None,
        limit: int = 1000,
    ) -> Wait[tuple[_List[Entry], str | None]]: ...
    def newest(
        self, limit: int = 20, *, scope: str | None = None, filter: _Filter | None = None
    ) -> Wait[_List[Entry]]: ...
    def sample(
        self,
        size: int,
        seed: int = 0,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
    ) -> Wait[_List[Entry]]: ...
    def count(self, filter: _Filter | None = None, *, scope: str | None = None) -> Wait[int]: ...
    def facet(
        self, field: str, limit: int = 100, *, filter: _Filter | None = None, scope: str | None = None
    ) -> Wait[_List[tuple[str | int | float | bool | None, int]]]: ...
    def scopes(self) -> Wait[_List[str]]: ...
    def stats(self, *, scope: str | None = None) -> Wait[dict[str, Any]]: ...
    def build_index(self) -> Wait[None]: ...
    def optimize_index(self) -> Wait[None]: ...

@final
class XRouter(XVectors):
    """A store for vectors of several models, each in a space of its own."""

    def register_model(
        self, model: EmbeddingModel | str, /, *, store_dim: int | None = None, forced: bool = False
    ) -> Wait[None]: ...
    def register_dimension(self, dim: int, /) -> Wait[None]: ...
    def models(self) -> _List[EmbeddingModel]: ...
    def drop_space(self, name: str, /) -> Wait[None]: ...
    def distribution(self) -> Wait[_List[dict[str, Any]]]: ...
    def migrate_space(
        self,
        source: str,
        model: EmbeddingModel | str,
        embed: Callable[[_List[Entry]], _Matrix],
        /,
        *,
        store_dim: int | None = None,
        forced: bool = False,
    ) -> Wait[None]: ...

@final
class XKeyValue:
    """Key-value state: strings to bytes, in byte order of the keys."""

    def scoped(self, scope: str, /) -> XKeyValue: ...
    def get(self, key: str, /) -> Wait[bytes | None]: ...
    def get_many(self, keys: str | Iterable[str], /) -> Wait[dict[str, bytes]]: ...
    def set(
        self, key: str, value: _Bytes, /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> Wait[None]: ...
    def set_many(
        self, values: dict[str, bytes], /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> Wait[None]: ...
    def set_json(
        self, key: str, value: Any, /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> Wait[None]: ...
    def get_json(self, key: str, /) -> Wait[Any]: ...
    def delete(self, key: str, /) -> Wait[bool]: ...
    def delete_many(self, keys: str | Iterable[str], /) -> Wait[int]: ...
    def delete_prefix(self, prefix: str, /) -> Wait[int]: ...
    def exists(self, key: str, /) -> Wait[bool]: ...
    def expires_at(self, key: str, /) -> Wait[datetime | None]: ...
    def compare_and_swap(
        self,
        key: str,
        expected: _Bytes | None,
        new: _Bytes | None,
        /,
        *,
        ttl: timedelta | None = None,
        expires_at: _Moment | None = None,
    ) -> Wait[bool]: ...
    def scan(self, prefix: str = "", *, after: str | None = None, page: int = 1000) -> XRows[tuple[str, bytes]]: ...
    def keys(self, prefix: str = "", /) -> Wait[_List[str]]: ...
    def count(self, prefix: str = "", /) -> Wait[int]: ...
    def clear(self) -> Wait[int]: ...

@final
class XDatabase:
    """A directory that holds key-value state and vector memory."""

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        /,
        *,
        cache_bytes: int | None = None,
        must_exist: bool = False,
        graph_points_min: int | None = None,
        file_mode: int | None = None,
    ) -> Wait[XDatabase]: ...
    @staticmethod
    def in_memory() -> XDatabase: ...
    def vectors(self, name: str, dim: int, config: HNSWConfig | _Preset | None = None) -> Wait[XVectors]: ...
    def kv(self) -> XKeyValue: ...
    def router(
        self, config: HNSWConfig | _Preset | None = None, *, new_spaces: bool = False
    ) -> Wait[XRouter]: ...
    def batch(self) -> XBatch: ...
    def spaces(self) -> Wait[_List[dict[str, Any]]]: ...
    def drop_space(self, name: str, /) -> Wait[None]: ...
    def delete_scopes(self, scopes: Sequence[str], /) -> Wait[tuple[int, int]]: ...
    def delete_scopes_of_kind(self, kind: str, /) -> Wait[tuple[int, int]]: ...
    def set_quota(
        self,
        scope: str,
        /,
        *,
        vectors: int | None = None,
        vector_bytes: int | None = None,
        metadata_bytes: int | None = None,
        kv_bytes: int | None = None,
    ) -> Wait[None]: ...
    def quota(self, scope: str, /) -> Wait[dict[str, Any] | None]: ...
    def stats(self) -> Wait[dict[str, Any]]: ...
    def check(self) -> Wait[dict[str, Any]]: ...
    def now(self) -> datetime: ...
    @property
    def path(self) -> Path | None: ...
    def close(self) -> Wait[None]: ...
    def __Xenter__(self) -> Wait[Self]: ...
    def __Xexit__(self, *exception: object) -> Wait[Literal[False]]: ...
'''


def unwrapped(text: str, awaitable: bool) -> str:
    """Replaces ``Wait[T]`` by ``T``, or by ``Call[T]``."""
    while (start := text.find("Wait[")) >= 0:
        depth, end = 1, start + len("Wait[")
        while depth:
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        inner = text[start + len("Wait[") : end - 1]
        text = text[:start] + (f"Call[{inner}]" if awaitable else inner) + text[end:]
    return text


def stubs() -> str:
    sync = unwrapped(BODY, awaitable=False)
    sync = sync.replace("__X", "__")
    asynchronous = unwrapped(BODY, awaitable=True).replace("__X", "__a")
    sync = re.sub(r"\bX(?=[A-Z])", "", sync)
    asynchronous = re.sub(r"\bX(?=[A-Z])", "Async", asynchronous)
    head = HEAD.replace("import AsyncIterator, Coroutine,", "import AsyncIterator, Callable, Coroutine, Generator,")
    head = head.replace("import os\n", "import os\nfrom builtins import list as _List\n")
    return (head + sync + asynchronous).replace(", disjoint_base", "")


def main() -> int:
    path = Path(__file__).parent / "llmspell_storage" / "_native.pyi"
    made = stubs()
    if "--check" in sys.argv:
        if path.read_text() != made:
            print("llmspell_storage/_native.pyi is not up to date: run python make_stubs.py")
            return 1
        return 0
    path.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
