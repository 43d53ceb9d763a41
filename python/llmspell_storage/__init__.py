"""Embedded storage for AI agents: key-value state and vector memory, for many tenants, in one directory.

``Database`` waits for its answers; ``AsyncDatabase`` has the same calls as awaitables. Adapters for frameworks are in
``llmspell_storage.langgraph`` and ``llmspell_storage.langchain``, which are loaded when they are imported.
"""

from ._errors import (
    BusyError,
    ClosedError,
    ConflictError,
    DataError,
    InvalidError,
    IoError,
    NotFoundError,
    StorageError,
)
from ._filters import F, Filter
from ._native import (
    AsyncBatch,
    AsyncDatabase,
    AsyncKeyValue,
    AsyncRouter,
    AsyncRows,
    AsyncVectors,
    Batch,
    BatchSummary,
    Call,
    Database,
    EmbeddingModel,
    Entry,
    Hit,
    HNSWConfig,
    KeyValue,
    Router,
    Rows,
    Vectors,
    __version__,
)
from ._scopes import StateScope

__all__ = [
    "AsyncBatch",
    "AsyncDatabase",
    "AsyncKeyValue",
    "AsyncRouter",
    "AsyncRows",
    "AsyncVectors",
    "Batch",
    "BatchSummary",
    "BusyError",
    "Call",
    "ClosedError",
    "ConflictError",
    "DataError",
    "Database",
    "EmbeddingModel",
    "Entry",
    "F",
    "Filter",
    "HNSWConfig",
    "Hit",
    "InvalidError",
    "IoError",
    "KeyValue",
    "NotFoundError",
    "Router",
    "Rows",
    "StateScope",
    "StorageError",
    "Vectors",
    "__version__",
]
