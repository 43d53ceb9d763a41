//! Which calls has a database? [`DatabaseBase`], whose subclasses wait or return awaitables.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use llmspell_storage::{DatabaseOptions, Quota, Removed, RouterConfig, StorageError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arguments::{scope, scope_kind, scopes};
use crate::batch::BatchBase;
use crate::call::{Call, Mode, run};
use crate::config::config;
use crate::handle::{Slot, Slots};
use crate::json::of_report;
use crate::key_value::KeyValueBase;
use crate::router;
use crate::times::datetime;
use crate::vectors::{Store, VectorsBase, none};

/// A directory that holds key-value state and vector memory.
#[pyclass(frozen, subclass, name = "_DatabaseBase", module = "llmspell_storage._native")]
pub(crate) struct DatabaseBase {
    slots: Slots,
    database: Arc<Slot<llmspell_storage::Database>>,
    mode: Mode,
}

/// A directory that holds key-value state and vector memory. Calls wait for their answers; other threads run meanwhile.
#[pyclass(frozen, extends = DatabaseBase, module = "llmspell_storage")]
pub(crate) struct Database;

/// A directory that holds key-value state and vector memory, for asyncio: each call returns an awaitable.
#[pyclass(frozen, extends = DatabaseBase, module = "llmspell_storage")]
pub(crate) struct AsyncDatabase;

impl DatabaseBase {
    fn object(py: Python<'_>, database: llmspell_storage::Database, mode: Mode) -> PyResult<Py<PyAny>> {
        let slots = Slots::default();
        let database = slots.hold(database);
        let base = PyClassInitializer::from(Self { slots, database, mode });
        Ok(match mode {
            Mode::Sync => Py::new(py, base.add_subclass(Database))?.into_any(),
            Mode::Async => Py::new(py, base.add_subclass(AsyncDatabase))?.into_any(),
        })
    }

    fn closing(&self) -> impl Future<Output = Result<(), StorageError>> + Send + use<> {
        let database = self.database.get().ok();
        self.slots.empty();
        async move {
            match database {
                Some(database) => database.close().await,
                None => Ok(()),
            }
        }
    }
}

fn opened(py: Python<'_>, mode: Mode, path: PathBuf, options: DatabaseOptions) -> PyResult<Bound<'_, PyAny>> {
    let open = async move { options.open(path).await };
    run(py, mode, open, move |py, database| {
        DatabaseBase::object(py, database, mode)
    })
}

fn options(
    cache_bytes: Option<usize>,
    must_exist: bool,
    graph_points_min: Option<u64>,
    file_mode: Option<u32>,
) -> DatabaseOptions {
    let mut options = DatabaseOptions::new().must_exist(must_exist);
    if let Some(bytes) = cache_bytes {
        options = options.cache_bytes(bytes);
    }
    if let Some(points) = graph_points_min {
        options = options.graph_points_min(points);
    }
    if let Some(mode) = file_mode {
        options = options.file_mode(mode);
    }
    options
}

fn removed(py: Python<'_>, removed: Removed) -> PyResult<Py<PyAny>> {
    Ok((removed.vectors, removed.keys).into_pyobject(py)?.into_any().unbind())
}

#[pymethods]
impl DatabaseBase {
    /// A vector space; it is created if it does not exist. `config` is an HNSWConfig or the name of a preset.
    #[pyo3(signature = (name, dim, config=None))]
    fn vectors<'py>(
        &self,
        py: Python<'py>,
        name: String,
        dim: usize,
        config: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (database, config) = (self.database.get()?, self::config(config)?);
        let (slots, mode) = (self.slots.clone(), self.mode);
        run(
            py,
            mode,
            async move { database.vectors(&name, dim, config).await },
            move |py, space| {
                let storage = Arc::new(space.clone());
                VectorsBase::new(
                    slots,
                    Store {
                        storage,
                        space: Some(space),
                    },
                    mode,
                )
                .into_object(py)
            },
        )
    }

    /// The key-value state.
    fn kv(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let backend = Arc::new(self.database.get()?.kv());
        KeyValueBase::new(self.slots.clone(), backend, self.mode).into_object(py)
    }

    /// A store for vectors of several models. With `new_spaces`, unknown models and dimensions get a space of their own.
    #[pyo3(signature = (config=None, *, new_spaces=false))]
    fn router<'py>(
        &self,
        py: Python<'py>,
        config: Option<&Bound<'py, PyAny>>,
        new_spaces: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let config = RouterConfig::new(self::config(config)?).with_new_spaces(new_spaces);
        let (database, slots, mode) = (self.database.get()?, self.slots.clone(), self.mode);
        run(
            py,
            mode,
            async move { database.router(config).await },
            move |py, router| router::object(py, &slots, router, mode),
        )
    }

    /// A batch of entries and keys that are written together, or not at all.
    fn batch(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let batch = Arc::new(Mutex::new(Some(self.database.get()?.batch())));
        BatchBase::new(self.slots.hold(batch), self.mode).into_object(py)
    }

    /// All vector spaces, in the order of their creation.
    fn spaces<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let database = self.database.get()?;
        run(py, self.mode, async move { database.spaces().await }, |py, spaces| {
            of_report(py, &spaces)
        })
    }

    /// Removes a vector space with all its entries.
    #[pyo3(signature = (name, /))]
    fn drop_space<'py>(&self, py: Python<'py>, name: String) -> PyResult<Bound<'py, PyAny>> {
        let database = self.database.get()?;
        run(py, self.mode, async move { database.drop_space(&name).await }, none)
    }

    /// Removes all data of some scopes atomically: vectors in every space, and keys. Returns the number of both.
    #[pyo3(signature = (scopes, /))]
    fn delete_scopes<'py>(&self, py: Python<'py>, scopes: Vec<String>) -> PyResult<Bound<'py, PyAny>> {
        let (database, scopes) = (self.database.get()?, self::scopes(&scopes)?);
        run(
            py,
            self.mode,
            async move { database.delete_scopes(&scopes).await },
            removed,
        )
    }

    /// delete_scopes for all scopes of a kind, such as "session".
    #[pyo3(signature = (kind, /))]
    fn delete_scopes_of_kind<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyAny>> {
        let (database, kind) = (self.database.get()?, scope_kind(kind)?);
        run(
            py,
            self.mode,
            async move { database.delete_scopes_of_kind(kind).await },
            removed,
        )
    }

    /// Limits how much a scope may hold. A limit that is None is none.
    #[pyo3(signature = (scope, /, *, vectors=None, vector_bytes=None, metadata_bytes=None, kv_bytes=None))]
    #[expect(clippy::too_many_arguments, reason = "the limits, by name")]
    fn set_quota<'py>(
        &self,
        py: Python<'py>,
        scope: &str,
        vectors: Option<u64>,
        vector_bytes: Option<u64>,
        metadata_bytes: Option<u64>,
        kv_bytes: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (database, scope) = (self.database.get()?, self::scope(scope)?);
        let mut quota = Quota::new();
        quota.vectors = vectors;
        quota.vector_bytes = vector_bytes;
        quota.metadata_bytes = metadata_bytes;
        quota.kv_bytes = kv_bytes;
        run(
            py,
            self.mode,
            async move { database.set_quota(&scope, quota).await },
            none,
        )
    }

    /// The limits of a scope and what it holds; None without limits.
    #[pyo3(signature = (scope, /))]
    fn quota<'py>(&self, py: Python<'py>, scope: &str) -> PyResult<Bound<'py, PyAny>> {
        let (database, scope) = (self.database.get()?, self::scope(scope)?);
        run(
            py,
            self.mode,
            async move { database.quota(&scope).await },
            |py, quota| of_report(py, &quota),
        )
    }

    /// Counts and bytes of the whole database.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let database = self.database.get()?;
        run(py, self.mode, async move { database.stats().await }, |py, stats| {
            of_report(py, &stats)
        })
    }

    /// Reads everything and reports problems; repairs nothing.
    fn check<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let database = self.database.get()?;
        run(py, self.mode, async move { database.check().await }, |py, report| {
            of_report(py, &report)
        })
    }

    /// The time that the database goes by.
    fn now(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        datetime(py, self.database.get()?.now())
    }

    /// The directory; None in memory.
    #[getter]
    fn path(&self) -> PyResult<Option<PathBuf>> {
        Ok(self.database.get()?.path())
    }

    /// Closes the database and everything that was made from it. Closing it again does nothing.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        run(py, self.mode, self.closing(), none)
    }
}

#[pymethods]
impl Database {
    /// Opens the database in a directory; it is created if it does not exist.
    #[staticmethod]
    #[pyo3(signature = (path, /, *, cache_bytes=None, must_exist=false, graph_points_min=None, file_mode=None))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        cache_bytes: Option<usize>,
        must_exist: bool,
        graph_points_min: Option<u64>,
        file_mode: Option<u32>,
    ) -> PyResult<Bound<'_, PyAny>> {
        opened(
            py,
            Mode::Sync,
            path,
            options(cache_bytes, must_exist, graph_points_min, file_mode),
        )
    }

    /// A database in RAM, gone when it is closed.
    #[staticmethod]
    fn in_memory(py: Python<'_>) -> PyResult<Py<PyAny>> {
        DatabaseBase::object(py, llmspell_storage::Database::in_memory(), Mode::Sync)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(slf: PyRef<'_, Self>, exception: &Bound<'_, PyTuple>) -> PyResult<bool> {
        slf.as_super().close(exception.py())?;
        Ok(false)
    }
}

#[pymethods]
impl AsyncDatabase {
    /// Opens the database in a directory; it is created if it does not exist.
    #[staticmethod]
    #[pyo3(signature = (path, /, *, cache_bytes=None, must_exist=false, graph_points_min=None, file_mode=None))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        cache_bytes: Option<usize>,
        must_exist: bool,
        graph_points_min: Option<u64>,
        file_mode: Option<u32>,
    ) -> PyResult<Bound<'_, PyAny>> {
        opened(
            py,
            Mode::Async,
            path,
            options(cache_bytes, must_exist, graph_points_min, file_mode),
        )
    }

    /// A database in RAM, gone when it is closed.
    #[staticmethod]
    fn in_memory(py: Python<'_>) -> PyResult<Py<PyAny>> {
        DatabaseBase::object(py, llmspell_storage::Database::in_memory(), Mode::Async)
    }

    fn __aenter__(slf: Py<Self>) -> Call {
        Call::new(async { Ok(()) }, move |_, ()| Ok(slf.into_any()))
    }

    #[pyo3(signature = (*exception))]
    fn __aexit__<'py>(slf: PyRef<'py, Self>, exception: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        slf.as_super().close(exception.py())
    }
}
