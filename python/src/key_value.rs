//! Which calls has key-value state? [`KeyValueBase`], whose subclasses wait or return awaitables.

use std::sync::Arc;

use llmspell_storage::{KeyValueWrite, ScopedBackend, StorageBackend};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::arguments::{bytes, ids, scope};
use crate::call::{Mode, run};
use crate::errors::raised;
use crate::handle::{Slot, Slots};
use crate::json::{of_json, to_json, type_of};
use crate::rows::{Row, rows};
use crate::times::{expiry_of, optional_datetime};
use crate::vectors::{none, number};

/// Key-value state: strings to bytes, in byte order of the keys.
#[pyclass(frozen, subclass, name = "_KeyValueBase", module = "llmspell_storage._native")]
pub(crate) struct KeyValueBase {
    slots: Slots,
    backend: Arc<Slot<Arc<dyn StorageBackend>>>,
    mode: Mode,
}

/// Key-value state. Calls wait for their answers; other threads run meanwhile.
#[pyclass(frozen, extends = KeyValueBase, module = "llmspell_storage")]
pub(crate) struct KeyValue;

/// Key-value state for asyncio: each call returns an awaitable.
#[pyclass(frozen, extends = KeyValueBase, module = "llmspell_storage")]
pub(crate) struct AsyncKeyValue;

impl KeyValueBase {
    pub(crate) fn new(slots: Slots, backend: Arc<dyn StorageBackend>, mode: Mode) -> Self {
        let backend = slots.hold(backend);
        Self { slots, backend, mode }
    }

    /// It as an object of Python, of the class of its mode.
    pub(crate) fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mode = self.mode;
        let base = PyClassInitializer::from(self);
        Ok(match mode {
            Mode::Sync => Py::new(py, base.add_subclass(KeyValue))?.into_any(),
            Mode::Async => Py::new(py, base.add_subclass(AsyncKeyValue))?.into_any(),
        })
    }

    fn write<'py>(&self, py: Python<'py>, writes: Vec<KeyValueWrite>) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        let write = async move { backend.write(writes).await.map(drop) };
        run(py, self.mode, write, none)
    }
}

fn truth(py: Python<'_>, flag: bool) -> PyResult<Py<PyAny>> {
    Ok(flag.into_pyobject(py)?.to_owned().into_any().unbind())
}

#[pymethods]
impl KeyValueBase {
    /// A handle that can only touch the keys of one scope.
    #[pyo3(signature = (scope, /))]
    fn scoped(&self, py: Python<'_>, scope: &str) -> PyResult<Py<PyAny>> {
        let scoped = ScopedBackend::new(self.backend.get()?, self::scope(scope)?).map_err(raised)?;
        Self::new(self.slots.clone(), Arc::new(scoped), self.mode).into_object(py)
    }

    /// The value of a key; None if it does not exist.
    #[pyo3(signature = (key, /))]
    fn get<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        run(py, self.mode, async move { backend.get(&key).await }, |py, value| {
            Ok(value.map_or_else(|| py.None(), |value| PyBytes::new(py, &value).into_any().unbind()))
        })
    }

    /// The values of the keys that exist, all as of one moment.
    #[pyo3(signature = (keys, /))]
    fn get_many<'py>(&self, py: Python<'py>, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (backend, keys) = (self.backend.get()?, ids(keys)?);
        run(
            py,
            self.mode,
            async move { backend.get_batch(&keys).await },
            |py, values| {
                let dict = PyDict::new(py);
                for (key, value) in values {
                    dict.set_item(key, PyBytes::new(py, &value))?;
                }
                Ok(dict.into_any().unbind())
            },
        )
    }

    /// Stores a value; it expires after `ttl` or at `expires_at`, or never. Replaces the old value and its expiry.
    #[pyo3(signature = (key, value, /, *, ttl=None, expires_at=None))]
    fn set<'py>(
        &self,
        py: Python<'py>,
        key: String,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        expires_at: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let write = KeyValueWrite::set_expiring(key, bytes(value)?, expiry_of(ttl, expires_at)?);
        self.write(py, vec![write])
    }

    /// Stores all values of a dict, atomically.
    #[pyo3(signature = (values, /, *, ttl=None, expires_at=None))]
    fn set_many<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        expires_at: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Ok(values) = values.cast::<PyDict>() else {
            return Err(PyTypeError::new_err(format!(
                "values must be a dict, not {}",
                type_of(values)
            )));
        };
        let expiry = expiry_of(ttl, expires_at)?;
        let write = |(key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>)| -> PyResult<KeyValueWrite> {
            Ok(KeyValueWrite::set_expiring(
                key.extract::<String>()?,
                bytes(&value)?,
                expiry,
            ))
        };
        let writes: PyResult<Vec<KeyValueWrite>> = values.iter().map(write).collect();
        self.write(py, writes?)
    }

    /// Stores a value as JSON.
    #[pyo3(signature = (key, value, /, *, ttl=None, expires_at=None))]
    fn set_json<'py>(
        &self,
        py: Python<'py>,
        key: String,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        expires_at: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let value = to_json(value)?.to_string().into_bytes();
        self.write(
            py,
            vec![KeyValueWrite::set_expiring(key, value, expiry_of(ttl, expires_at)?)],
        )
    }

    /// The value that set_json stored; None if the key does not exist.
    #[pyo3(signature = (key, /))]
    fn get_json<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        let load = async move {
            use llmspell_storage::StorageBackendExt as _;
            backend.load::<serde_json::Value>(&key).await
        };
        run(py, self.mode, load, |py, value| {
            value.map_or_else(|| Ok(py.None()), |value| of_json(py, &value))
        })
    }

    /// Removes a key. Returns whether it existed.
    #[pyo3(signature = (key, /))]
    fn delete<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        run(py, self.mode, async move { backend.delete(&key).await }, truth)
    }

    /// Removes keys, atomically. Returns how many existed.
    #[pyo3(signature = (keys, /))]
    fn delete_many<'py>(&self, py: Python<'py>, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (backend, keys) = (self.backend.get()?, ids(keys)?);
        run(py, self.mode, async move { backend.delete_batch(&keys).await }, number)
    }

    /// Removes every key that starts with the prefix, atomically. Returns how many there were.
    #[pyo3(signature = (prefix, /))]
    fn delete_prefix<'py>(&self, py: Python<'py>, prefix: String) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        let delete = async move {
            let summary = backend.write(vec![KeyValueWrite::DeletePrefix { prefix }]).await?;
            Ok(summary.deleted)
        };
        run(py, self.mode, delete, number)
    }

    /// Whether a key exists.
    #[pyo3(signature = (key, /))]
    fn exists<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        run(py, self.mode, async move { backend.exists(&key).await }, truth)
    }

    /// When a key expires; None if it does not, or does not exist.
    #[pyo3(signature = (key, /))]
    fn expires_at<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        run(
            py,
            self.mode,
            async move { backend.expires_at(&key).await },
            |py, moment| Ok(optional_datetime(py, moment)?.unwrap_or_else(|| py.None())),
        )
    }

    /// Stores `new` (None deletes the key) if the value is `expected` (None: if the key does not exist). Returns whether
    /// it did.
    #[pyo3(signature = (key, expected, new, /, *, ttl=None, expires_at=None))]
    fn compare_and_swap<'py>(
        &self,
        py: Python<'py>,
        key: String,
        expected: Option<&Bound<'py, PyAny>>,
        new: Option<&Bound<'py, PyAny>>,
        ttl: Option<&Bound<'py, PyAny>>,
        expires_at: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (expected, new) = (expected.map(bytes).transpose()?, new.map(bytes).transpose()?);
        let (backend, expiry) = (self.backend.get()?, expiry_of(ttl, expires_at)?);
        let swap = async move { backend.swap(&key, expected.as_deref(), new, expiry).await };
        run(py, self.mode, swap, truth)
    }

    /// An iterator of the keys with the prefix and their values, in byte order. It reads them in pages.
    #[pyo3(signature = (prefix="", *, after=None, page=1000))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        prefix: &str,
        after: Option<String>,
        page: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (backend, prefix) = (self.backend.get()?, prefix.to_string());
        rows(py, self.mode, move |read_to| {
            let (backend, prefix) = (Arc::clone(&backend), prefix.clone());
            let after = read_to.or_else(|| after.clone());
            async move {
                let pairs = backend.scan(&prefix, after.as_deref(), page).await?;
                let next = pairs.last().filter(|_| pairs.len() == page).map(|(key, _)| key.clone());
                Ok((
                    pairs.into_iter().map(|(key, value)| Row::Pair(key, value)).collect(),
                    next,
                ))
            }
        })
    }

    /// Every key with the prefix, in byte order.
    #[pyo3(signature = (prefix="", /))]
    fn keys<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyAny>> {
        let (backend, prefix) = (self.backend.get()?, prefix.to_string());
        run(
            py,
            self.mode,
            async move { backend.list_keys(&prefix).await },
            |py, keys| Ok(PyList::new(py, keys)?.into_any().unbind()),
        )
    }

    /// Number of keys with the prefix.
    #[pyo3(signature = (prefix="", /))]
    fn count<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyAny>> {
        let (backend, prefix) = (self.backend.get()?, prefix.to_string());
        run(py, self.mode, async move { backend.count(&prefix).await }, number)
    }

    /// Removes every key. Returns how many there were.
    fn clear<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let backend = self.backend.get()?;
        run(py, self.mode, async move { backend.clear().await }, number)
    }
}
