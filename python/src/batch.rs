//! Which calls has an atomic batch? [`BatchBase`], whose subclasses wait or return awaitables.

use std::sync::{Arc, Mutex};

use llmspell_storage::{AtomicBatch, AtomicBatchSummary, BatchSpace, KeyValueWrite};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::arguments::{bytes, ids, scope};
use crate::call::{Call, Mode, lock, run};
use crate::entry::entries;
use crate::errors::invalid;
use crate::handle::Slot;
use crate::json::type_of;
use crate::times::expiry_of;
use crate::vectors::VectorsBase;

/// What a batch did.
#[pyclass(frozen, get_all, module = "llmspell_storage")]
pub(crate) struct BatchSummary {
    /// Ids of all entries that were inserted and upserted, in the order of the batch.
    ids: Vec<String>,
    /// Entries that were found and removed.
    entries_deleted: u64,
    /// Keys that existed and were removed.
    keys_deleted: u64,
}

impl From<AtomicBatchSummary> for BatchSummary {
    fn from(summary: AtomicBatchSummary) -> Self {
        Self {
            ids: summary.ids,
            entries_deleted: summary.entries_deleted,
            keys_deleted: summary.keys_deleted,
        }
    }
}

#[pymethods]
impl BatchSummary {
    fn __repr__(&self) -> String {
        format!(
            "BatchSummary(ids={:?}, entries_deleted={}, keys_deleted={})",
            self.ids, self.entries_deleted, self.keys_deleted
        )
    }
}

/// Writes of entries and keys that are done together, or not at all: by commit(), or at the end of a with block.
#[pyclass(frozen, subclass, name = "_BatchBase", module = "llmspell_storage._native")]
pub(crate) struct BatchBase {
    /// None once it was committed, or its database was closed.
    batch: Arc<Slot<Pending>>,
    mode: Mode,
}

pub(crate) type Pending = Arc<Mutex<Option<AtomicBatch>>>;

/// A batch whose commit() waits until it is done.
#[pyclass(frozen, extends = BatchBase, module = "llmspell_storage")]
pub(crate) struct Batch;

/// A batch whose commit() returns an awaitable.
#[pyclass(frozen, extends = BatchBase, module = "llmspell_storage")]
pub(crate) struct AsyncBatch;

impl BatchBase {
    pub(crate) fn new(batch: Arc<Slot<Pending>>, mode: Mode) -> Self {
        Self { batch, mode }
    }

    /// It as an object of Python, of the class of its mode.
    pub(crate) fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mode = self.mode;
        let base = PyClassInitializer::from(self);
        Ok(match mode {
            Mode::Sync => Py::new(py, base.add_subclass(Batch))?.into_any(),
            Mode::Async => Py::new(py, base.add_subclass(AsyncBatch))?.into_any(),
        })
    }

    fn add(&self, add: impl FnOnce(AtomicBatch) -> AtomicBatch) -> PyResult<()> {
        let pending = self.batch.get()?;
        let mut batch = lock(&pending);
        let Some(before) = batch.take() else {
            return Err(committed());
        };
        *batch = Some(add(before));
        Ok(())
    }

    /// The batch, which is given up by that.
    fn taken(&self) -> PyResult<Option<AtomicBatch>> {
        let pending = self.batch.get()?;
        let batch = lock(&pending).take();
        Ok(batch)
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let batch = self.taken()?.ok_or_else(committed)?;
        run(py, self.mode, batch.commit(), |py, summary| {
            Ok(Py::new(py, BatchSummary::from(summary))?.into_any())
        })
    }
}

fn committed() -> PyErr {
    invalid(
        "Committed",
        "the batch was committed or given up already; make a new one",
    )
}

/// A space by its handle or its name.
fn space(value: &Bound<'_, PyAny>) -> PyResult<BatchSpace> {
    if let Ok(name) = value.cast::<PyString>() {
        return Ok(BatchSpace::from(&*name.to_cow()?));
    }
    let handle = value
        .cast::<VectorsBase>()
        .map_err(|_| PyTypeError::new_err(format!("a space must be a Vectors or its name, not {}", type_of(value))))?;
    match handle.get().store.get()?.space {
        Some(space) => Ok(BatchSpace::from(&space)),
        None => Err(invalid(
            "Space",
            "a batch writes to a space of Database.vectors, not to a router or a handle for one scope",
        )),
    }
}

#[pymethods]
impl BatchBase {
    /// Adds entries that must not exist yet.
    #[pyo3(signature = (space, entries, /))]
    fn insert<'py>(
        slf: PyRef<'py, Self>,
        space: &Bound<'py, PyAny>,
        entries: &Bound<'py, PyAny>,
    ) -> PyResult<PyRef<'py, Self>> {
        let (space, entries) = (
            self::space(space)?,
            self::entries(entries, &llmspell_storage::StateScope::Global)?,
        );
        slf.add(|batch| batch.insert(space, entries))?;
        Ok(slf)
    }

    /// Adds entries, and replaces those with the same ids.
    #[pyo3(signature = (space, entries, /))]
    fn upsert<'py>(
        slf: PyRef<'py, Self>,
        space: &Bound<'py, PyAny>,
        entries: &Bound<'py, PyAny>,
    ) -> PyResult<PyRef<'py, Self>> {
        let (space, entries) = (
            self::space(space)?,
            self::entries(entries, &llmspell_storage::StateScope::Global)?,
        );
        slf.add(|batch| batch.upsert(space, entries))?;
        Ok(slf)
    }

    /// Removes entries of a scope. Missing ids are ignored.
    #[pyo3(signature = (space, ids, /, *, scope))]
    fn delete<'py>(
        slf: PyRef<'py, Self>,
        space: &Bound<'py, PyAny>,
        ids: &Bound<'py, PyAny>,
        scope: &str,
    ) -> PyResult<PyRef<'py, Self>> {
        let (space, ids, scope) = (self::space(space)?, self::ids(ids)?, self::scope(scope)?);
        slf.add(|batch| batch.delete(space, &scope, ids))?;
        Ok(slf)
    }

    /// Sets a key of a scope, or of none.
    #[pyo3(signature = (key, value, /, *, scope=None, ttl=None, expires_at=None))]
    fn set<'py>(
        slf: PyRef<'py, Self>,
        key: String,
        value: &Bound<'py, PyAny>,
        scope: Option<&str>,
        ttl: Option<&Bound<'py, PyAny>>,
        expires_at: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<PyRef<'py, Self>> {
        let (value, expiry) = (bytes(value)?, expiry_of(ttl, expires_at)?);
        let scope = scope.map(self::scope).transpose()?;
        slf.add(|batch| match &scope {
            Some(scope) => batch.set_expiring(scope, key, value, expiry),
            None => batch.write_keys([KeyValueWrite::set_expiring(key, value, expiry)]),
        })?;
        Ok(slf)
    }

    /// Removes a key of a scope, or of none. A missing key is ignored.
    #[pyo3(signature = (key, /, *, scope=None))]
    fn delete_key<'py>(slf: PyRef<'py, Self>, key: String, scope: Option<&str>) -> PyResult<PyRef<'py, Self>> {
        let scope = scope.map(self::scope).transpose()?;
        slf.add(|batch| match &scope {
            Some(scope) => batch.delete_key(scope, key),
            None => batch.write_keys([KeyValueWrite::Delete { key }]),
        })?;
        Ok(slf)
    }

    /// Does all writes: all of them are durable and visible when it is done, or none.
    fn commit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.finish(py)
    }
}

#[pymethods]
impl Batch {
    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Commits, unless the block has raised an exception.
    #[pyo3(signature = (*exception))]
    fn __exit__(slf: PyRef<'_, Self>, exception: &Bound<'_, PyTuple>) -> PyResult<bool> {
        let py = exception.py();
        let base = slf.as_super();
        if is_raised(exception)? {
            base.taken()?;
        } else {
            base.finish(py)?;
        }
        Ok(false)
    }
}

#[pymethods]
impl AsyncBatch {
    fn __aenter__(slf: Py<Self>) -> Call {
        Call::new(async { Ok(()) }, move |_, ()| Ok(slf.into_any()))
    }

    /// Commits, unless the block has raised an exception.
    #[pyo3(signature = (*exception))]
    fn __aexit__<'py>(slf: PyRef<'py, Self>, exception: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let py = exception.py();
        let batch = slf.as_super().taken()?;
        let give_up = is_raised(exception)?;
        let end = async move {
            match batch {
                Some(batch) if !give_up => batch.commit().await.map(drop),
                _ => Ok(()),
            }
        };
        run(py, Mode::Async, end, |py, ()| {
            Ok(false.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }
}

/// Whether a with block ended by an exception, by the arguments of `__exit__`.
pub(crate) fn is_raised(exception: &Bound<'_, PyTuple>) -> PyResult<bool> {
    Ok(!exception.is_empty() && !exception.get_item(0)?.is_none())
}
