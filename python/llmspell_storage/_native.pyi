# Made by make_stubs.py: change that file.
"""What the compiled part of the package offers."""

import os
from builtins import list as _List
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeAlias, TypeVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

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

@final
class Batch:
    """Writes of entries and keys that are done together, or not at all."""

    def insert(self, space: Vectors | str, entries: Entry | Iterable[Entry], /) -> Self: ...
    def upsert(self, space: Vectors | str, entries: Entry | Iterable[Entry], /) -> Self: ...
    def delete(self, space: Vectors | str, ids: str | Iterable[str], /, *, scope: str) -> Self: ...
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
    def commit(self) -> BatchSummary: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> Literal[False]: ...

class Vectors:
    """A vector space, or the part of one that belongs to a scope."""

    @property
    def dim(self) -> int: ...
    @property
    def scope(self) -> str: ...
    def scoped(self, scope: str, /) -> Vectors: ...
    def insert(self, entries: Entry | Iterable[Entry], /) -> _List[str]: ...
    def upsert(self, entries: Entry | Iterable[Entry], /) -> _List[str]: ...
    def insert_array(
        self,
        ids: Iterable[str],
        vectors: _Matrix,
        metadata: Iterable[dict[str, Any] | None] | None = None,
        *,
        scope: str | None = None,
        model: str | EmbeddingModel | None = None,
        event_time: _Moment | None = None,
        ttl: timedelta | None = None,
    ) -> _List[str]: ...
    def upsert_array(
        self,
        ids: Iterable[str],
        vectors: _Matrix,
        metadata: Iterable[dict[str, Any] | None] | None = None,
        *,
        scope: str | None = None,
        model: str | EmbeddingModel | None = None,
        event_time: _Moment | None = None,
        ttl: timedelta | None = None,
    ) -> _List[str]: ...
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
    ) -> _List[Hit]: ...
    def search_many(
        self,
        vectors: _Matrix,
        k: int = 10,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        threshold: float | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        model: str | None = None,
        include_metadata: bool = True,
        include_vectors: bool = False,
    ) -> _List[_List[Hit]]: ...
    def recommend(
        self,
        like: str | Iterable[str | _Vector],
        k: int = 10,
        *,
        unlike: str | Iterable[str | _Vector] | None = None,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        threshold: float | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        model: str | None = None,
        include_metadata: bool = True,
        include_vectors: bool = False,
    ) -> _List[Hit]: ...
    def get(self, id: str, /, *, scope: str | None = None) -> Entry | None: ...
    def get_many(self, ids: str | Iterable[str], /, *, scope: str | None = None) -> _List[Entry | None]: ...
    def update_metadata(self, id: str, metadata: dict[str, Any], /, *, scope: str | None = None) -> None: ...
    def patch_metadata(self, id: str, patch: dict[str, Any], /, *, scope: str | None = None) -> None: ...
    def touch(
        self, ids: str | Iterable[str], expiry: timedelta | _Moment | None, /, *, scope: str | None = None
    ) -> _List[str]: ...
    def delete(self, ids: str | Iterable[str], /, *, scope: str | None = None) -> int: ...
    def delete_matching(self, filter: _Filter, /, *, scope: str | None = None) -> int: ...
    def delete_scope(self, scope: str | None = None, /) -> int: ...
    def delete_scopes(self, scopes: Sequence[str], /) -> int: ...
    def delete_scopes_of_kind(self, kind: str, /) -> int: ...
    def list(
        self,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        order: _Order = "id",
        time: _Time = "created_at",
        page: int = 1000,
    ) -> Rows[Entry]: ...
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
    ) -> tuple[_List[Entry], str | None]: ...
    def newest(
        self, limit: int = 20, *, scope: str | None = None, filter: _Filter | None = None
    ) -> _List[Entry]: ...
    def sample(
        self,
        size: int,
        seed: int = 0,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
    ) -> _List[Entry]: ...
    def count(self, filter: _Filter | None = None, *, scope: str | None = None) -> int: ...
    def facet(
        self, field: str, limit: int = 100, *, filter: _Filter | None = None, scope: str | None = None
    ) -> _List[tuple[str | int | float | bool | None, int]]: ...
    def scopes(self) -> _List[str]: ...
    def stats(self, *, scope: str | None = None) -> dict[str, Any]: ...
    def build_index(self) -> None: ...
    def optimize_index(self) -> None: ...

@final
class Router(Vectors):
    """A store for vectors of several models, each in a space of its own."""

    def register_model(
        self, model: EmbeddingModel | str, /, *, store_dim: int | None = None, forced: bool = False
    ) -> None: ...
    def register_dimension(self, dim: int, /) -> None: ...
    def models(self) -> _List[EmbeddingModel]: ...
    def drop_space(self, name: str, /) -> None: ...
    def distribution(self) -> _List[dict[str, Any]]: ...
    def migrate_space(
        self,
        source: str,
        model: EmbeddingModel | str,
        embed: Callable[[_List[Entry]], _Matrix],
        /,
        *,
        store_dim: int | None = None,
        forced: bool = False,
    ) -> None: ...

@final
class KeyValue:
    """Key-value state: strings to bytes, in byte order of the keys."""

    def scoped(self, scope: str, /) -> KeyValue: ...
    def get(self, key: str, /) -> bytes | None: ...
    def get_many(self, keys: str | Iterable[str], /) -> dict[str, bytes]: ...
    def set(
        self, key: str, value: _Bytes, /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> None: ...
    def set_many(
        self, values: dict[str, bytes], /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> None: ...
    def set_json(
        self, key: str, value: Any, /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> None: ...
    def get_json(self, key: str, /) -> Any: ...
    def delete(self, key: str, /) -> bool: ...
    def delete_many(self, keys: str | Iterable[str], /) -> int: ...
    def delete_prefix(self, prefix: str, /) -> int: ...
    def exists(self, key: str, /) -> bool: ...
    def expires_at(self, key: str, /) -> datetime | None: ...
    def compare_and_swap(
        self,
        key: str,
        expected: _Bytes | None,
        new: _Bytes | None,
        /,
        *,
        ttl: timedelta | None = None,
        expires_at: _Moment | None = None,
    ) -> bool: ...
    def scan(self, prefix: str = "", *, after: str | None = None, page: int = 1000) -> Rows[tuple[str, bytes]]: ...
    def keys(self, prefix: str = "", /) -> _List[str]: ...
    def count(self, prefix: str = "", /) -> int: ...
    def clear(self) -> int: ...

@final
class Database:
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
    ) -> Database: ...
    @staticmethod
    def in_memory() -> Database: ...
    def vectors(self, name: str, dim: int, config: HNSWConfig | _Preset | None = None) -> Vectors: ...
    def kv(self) -> KeyValue: ...
    def router(
        self, config: HNSWConfig | _Preset | None = None, *, new_spaces: bool = False
    ) -> Router: ...
    def batch(self) -> Batch: ...
    def spaces(self) -> _List[dict[str, Any]]: ...
    def drop_space(self, name: str, /) -> None: ...
    def delete_scopes(self, scopes: Sequence[str], /) -> tuple[int, int]: ...
    def delete_scopes_of_kind(self, kind: str, /) -> tuple[int, int]: ...
    def set_quota(
        self,
        scope: str,
        /,
        *,
        vectors: int | None = None,
        vector_bytes: int | None = None,
        metadata_bytes: int | None = None,
        kv_bytes: int | None = None,
    ) -> None: ...
    def quota(self, scope: str, /) -> dict[str, Any] | None: ...
    def stats(self) -> dict[str, Any]: ...
    def check(self) -> dict[str, Any]: ...
    def now(self) -> datetime: ...
    @property
    def path(self) -> Path | None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> Literal[False]: ...

@final
class AsyncBatch:
    """Writes of entries and keys that are done together, or not at all."""

    def insert(self, space: AsyncVectors | str, entries: Entry | Iterable[Entry], /) -> Self: ...
    def upsert(self, space: AsyncVectors | str, entries: Entry | Iterable[Entry], /) -> Self: ...
    def delete(self, space: AsyncVectors | str, ids: str | Iterable[str], /, *, scope: str) -> Self: ...
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
    def commit(self) -> Call[BatchSummary]: ...
    def __aenter__(self) -> Call[Self]: ...
    def __aexit__(self, *exception: object) -> Call[Literal[False]]: ...

class AsyncVectors:
    """A vector space, or the part of one that belongs to a scope."""

    @property
    def dim(self) -> int: ...
    @property
    def scope(self) -> str: ...
    def scoped(self, scope: str, /) -> AsyncVectors: ...
    def insert(self, entries: Entry | Iterable[Entry], /) -> Call[_List[str]]: ...
    def upsert(self, entries: Entry | Iterable[Entry], /) -> Call[_List[str]]: ...
    def insert_array(
        self,
        ids: Iterable[str],
        vectors: _Matrix,
        metadata: Iterable[dict[str, Any] | None] | None = None,
        *,
        scope: str | None = None,
        model: str | EmbeddingModel | None = None,
        event_time: _Moment | None = None,
        ttl: timedelta | None = None,
    ) -> Call[_List[str]]: ...
    def upsert_array(
        self,
        ids: Iterable[str],
        vectors: _Matrix,
        metadata: Iterable[dict[str, Any] | None] | None = None,
        *,
        scope: str | None = None,
        model: str | EmbeddingModel | None = None,
        event_time: _Moment | None = None,
        ttl: timedelta | None = None,
    ) -> Call[_List[str]]: ...
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
    ) -> Call[_List[Hit]]: ...
    def search_many(
        self,
        vectors: _Matrix,
        k: int = 10,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        threshold: float | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        model: str | None = None,
        include_metadata: bool = True,
        include_vectors: bool = False,
    ) -> Call[_List[_List[Hit]]]: ...
    def recommend(
        self,
        like: str | Iterable[str | _Vector],
        k: int = 10,
        *,
        unlike: str | Iterable[str | _Vector] | None = None,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        threshold: float | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        model: str | None = None,
        include_metadata: bool = True,
        include_vectors: bool = False,
    ) -> Call[_List[Hit]]: ...
    def get(self, id: str, /, *, scope: str | None = None) -> Call[Entry | None]: ...
    def get_many(self, ids: str | Iterable[str], /, *, scope: str | None = None) -> Call[_List[Entry | None]]: ...
    def update_metadata(self, id: str, metadata: dict[str, Any], /, *, scope: str | None = None) -> Call[None]: ...
    def patch_metadata(self, id: str, patch: dict[str, Any], /, *, scope: str | None = None) -> Call[None]: ...
    def touch(
        self, ids: str | Iterable[str], expiry: timedelta | _Moment | None, /, *, scope: str | None = None
    ) -> Call[_List[str]]: ...
    def delete(self, ids: str | Iterable[str], /, *, scope: str | None = None) -> Call[int]: ...
    def delete_matching(self, filter: _Filter, /, *, scope: str | None = None) -> Call[int]: ...
    def delete_scope(self, scope: str | None = None, /) -> Call[int]: ...
    def delete_scopes(self, scopes: Sequence[str], /) -> Call[int]: ...
    def delete_scopes_of_kind(self, kind: str, /) -> Call[int]: ...
    def list(
        self,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
        order: _Order = "id",
        time: _Time = "created_at",
        page: int = 1000,
    ) -> AsyncRows[Entry]: ...
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
    ) -> Call[tuple[_List[Entry], str | None]]: ...
    def newest(
        self, limit: int = 20, *, scope: str | None = None, filter: _Filter | None = None
    ) -> Call[_List[Entry]]: ...
    def sample(
        self,
        size: int,
        seed: int = 0,
        *,
        scope: str | None = None,
        scopes: Sequence[str] | None = None,
        filter: _Filter | None = None,
    ) -> Call[_List[Entry]]: ...
    def count(self, filter: _Filter | None = None, *, scope: str | None = None) -> Call[int]: ...
    def facet(
        self, field: str, limit: int = 100, *, filter: _Filter | None = None, scope: str | None = None
    ) -> Call[_List[tuple[str | int | float | bool | None, int]]]: ...
    def scopes(self) -> Call[_List[str]]: ...
    def stats(self, *, scope: str | None = None) -> Call[dict[str, Any]]: ...
    def build_index(self) -> Call[None]: ...
    def optimize_index(self) -> Call[None]: ...

@final
class AsyncRouter(AsyncVectors):
    """A store for vectors of several models, each in a space of its own."""

    def register_model(
        self, model: EmbeddingModel | str, /, *, store_dim: int | None = None, forced: bool = False
    ) -> Call[None]: ...
    def register_dimension(self, dim: int, /) -> Call[None]: ...
    def models(self) -> _List[EmbeddingModel]: ...
    def drop_space(self, name: str, /) -> Call[None]: ...
    def distribution(self) -> Call[_List[dict[str, Any]]]: ...
    def migrate_space(
        self,
        source: str,
        model: EmbeddingModel | str,
        embed: Callable[[_List[Entry]], _Matrix],
        /,
        *,
        store_dim: int | None = None,
        forced: bool = False,
    ) -> Call[None]: ...

@final
class AsyncKeyValue:
    """Key-value state: strings to bytes, in byte order of the keys."""

    def scoped(self, scope: str, /) -> AsyncKeyValue: ...
    def get(self, key: str, /) -> Call[bytes | None]: ...
    def get_many(self, keys: str | Iterable[str], /) -> Call[dict[str, bytes]]: ...
    def set(
        self, key: str, value: _Bytes, /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> Call[None]: ...
    def set_many(
        self, values: dict[str, bytes], /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> Call[None]: ...
    def set_json(
        self, key: str, value: Any, /, *, ttl: timedelta | None = None, expires_at: _Moment | None = None
    ) -> Call[None]: ...
    def get_json(self, key: str, /) -> Call[Any]: ...
    def delete(self, key: str, /) -> Call[bool]: ...
    def delete_many(self, keys: str | Iterable[str], /) -> Call[int]: ...
    def delete_prefix(self, prefix: str, /) -> Call[int]: ...
    def exists(self, key: str, /) -> Call[bool]: ...
    def expires_at(self, key: str, /) -> Call[datetime | None]: ...
    def compare_and_swap(
        self,
        key: str,
        expected: _Bytes | None,
        new: _Bytes | None,
        /,
        *,
        ttl: timedelta | None = None,
        expires_at: _Moment | None = None,
    ) -> Call[bool]: ...
    def scan(self, prefix: str = "", *, after: str | None = None, page: int = 1000) -> AsyncRows[tuple[str, bytes]]: ...
    def keys(self, prefix: str = "", /) -> Call[_List[str]]: ...
    def count(self, prefix: str = "", /) -> Call[int]: ...
    def clear(self) -> Call[int]: ...

@final
class AsyncDatabase:
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
    ) -> Call[AsyncDatabase]: ...
    @staticmethod
    def in_memory() -> AsyncDatabase: ...
    def vectors(self, name: str, dim: int, config: HNSWConfig | _Preset | None = None) -> Call[AsyncVectors]: ...
    def kv(self) -> AsyncKeyValue: ...
    def router(
        self, config: HNSWConfig | _Preset | None = None, *, new_spaces: bool = False
    ) -> Call[AsyncRouter]: ...
    def batch(self) -> AsyncBatch: ...
    def spaces(self) -> Call[_List[dict[str, Any]]]: ...
    def drop_space(self, name: str, /) -> Call[None]: ...
    def delete_scopes(self, scopes: Sequence[str], /) -> Call[tuple[int, int]]: ...
    def delete_scopes_of_kind(self, kind: str, /) -> Call[tuple[int, int]]: ...
    def set_quota(
        self,
        scope: str,
        /,
        *,
        vectors: int | None = None,
        vector_bytes: int | None = None,
        metadata_bytes: int | None = None,
        kv_bytes: int | None = None,
    ) -> Call[None]: ...
    def quota(self, scope: str, /) -> Call[dict[str, Any] | None]: ...
    def stats(self) -> Call[dict[str, Any]]: ...
    def check(self) -> Call[dict[str, Any]]: ...
    def now(self) -> datetime: ...
    @property
    def path(self) -> Path | None: ...
    def close(self) -> Call[None]: ...
    def __aenter__(self) -> Call[Self]: ...
    def __aexit__(self, *exception: object) -> Call[Literal[False]]: ...
