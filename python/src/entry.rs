//! What is stored ([`Entry`]), and what is found ([`Hit`]).

use llmspell_storage::{ModelRef, StateScope, StorageError, VectorEntry, VectorResult};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString};
use serde_json::{Map, Value};

use crate::arguments::{ids, scope_or};
use crate::arrays::{matrix, to_numpy, vector};
use crate::config::EmbeddingModel;
use crate::errors::{invalid, raised};
use crate::json::{of_object, to_object, type_of};
use crate::times::{delta, optional_datetime, optional_duration, optional_moment};

/// One vector with its id, its metadata and its times.
///
/// The scope is that of the handle which stores the entry, unless one is given. An entry with an empty id gets a UUID.
#[pyclass(frozen, module = "llmspell_storage")]
pub(crate) struct Entry {
    entry: VectorEntry,
    /// Whether a scope was given, so that the scope of a handle does not replace it.
    has_scope: bool,
    metadata: PyOnceLock<Py<PyDict>>,
}

impl From<VectorEntry> for Entry {
    fn from(entry: VectorEntry) -> Self {
        Self {
            entry,
            has_scope: true,
            metadata: PyOnceLock::new(),
        }
    }
}

#[pymethods]
impl Entry {
    #[new]
    #[pyo3(signature = (id, vector, metadata=None, *, scope=None, model=None, event_time=None, expires_at=None, ttl=None, created_at=None, updated_at=None))]
    #[expect(clippy::too_many_arguments, reason = "the parts of an entry, by name")]
    fn new(
        id: &str,
        vector: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        scope: Option<&str>,
        model: Option<&Bound<'_, PyAny>>,
        event_time: Option<&Bound<'_, PyAny>>,
        expires_at: Option<&Bound<'_, PyAny>>,
        ttl: Option<&Bound<'_, PyAny>>,
        created_at: Option<&Bound<'_, PyAny>>,
        updated_at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if ttl.is_some() && expires_at.is_some() {
            return Err(invalid("BothExpiries", "give `ttl` or `expires_at`, not both"));
        }
        let mut entry = VectorEntry::new(id, self::vector(vector)?);
        entry.metadata = Value::Object(to_object(metadata)?);
        entry.scope = scope_or(scope, &StateScope::Global)?;
        entry.model = model.map(model_ref).transpose()?;
        entry.event_time = optional_moment(event_time)?;
        entry.expires_at = optional_moment(expires_at)?;
        entry.ttl = optional_duration(ttl)?;
        entry.created_at = optional_moment(created_at)?;
        entry.updated_at = optional_moment(updated_at)?;
        Ok(Self {
            entry,
            has_scope: scope.is_some(),
            metadata: PyOnceLock::new(),
        })
    }

    /// Unique within its scope and space.
    #[getter]
    fn id(&self) -> &str {
        &self.entry.id
    }

    /// The vector as a list of floats.
    #[getter]
    fn vector<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, &self.entry.embedding)
    }

    /// The vector as a numpy array of float32: a copy.
    fn to_numpy(&self, py: Python<'_>) -> Py<PyAny> {
        to_numpy(py, &self.entry.embedding)
    }

    /// The metadata. Changes of this dict are not stored.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let empty = Map::new();
        let metadata = self
            .metadata
            .get_or_try_init(py, || of_object(py, self.entry.metadata.as_object().unwrap_or(&empty)));
        Ok(metadata?.clone_ref(py))
    }

    /// The scope as a text, such as "user:ada".
    #[getter]
    fn scope(&self) -> String {
        self.entry.scope.to_string()
    }

    /// Name of the model that made the vector, if it is known.
    #[getter]
    fn model(&self) -> Option<&str> {
        self.entry.model.as_ref().map(ModelRef::name)
    }

    /// When it was first stored.
    #[getter]
    fn created_at(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        optional_datetime(py, self.entry.created_at)
    }

    /// When vector or metadata last changed.
    #[getter]
    fn updated_at(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        optional_datetime(py, self.entry.updated_at)
    }

    /// When the event that it describes happened.
    #[getter]
    fn event_time(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        optional_datetime(py, self.entry.event_time)
    }

    /// From this moment on it does not exist any more.
    #[getter]
    fn expires_at(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        optional_datetime(py, self.entry.expires_at)
    }

    /// Lifetime from the moment it is stored; None of an entry that was read.
    #[getter]
    fn ttl(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.entry.ttl.map(|ttl| delta(py, ttl)).transpose()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().entry == self.entry)
    }

    fn __repr__(&self) -> String {
        let (id, dim) = (&self.entry.id, self.entry.embedding.len());
        format!("<Entry {id:?} of {dim} components in {}>", self.entry.scope)
    }
}

/// A model by its name or its description.
pub(crate) fn model_ref(value: &Bound<'_, PyAny>) -> PyResult<ModelRef> {
    if let Ok(model) = value.cast::<EmbeddingModel>() {
        return Ok(model.get().model.clone().into());
    }
    match value.cast::<PyString>() {
        Ok(name) => Ok(ModelRef::Name(name.to_cow()?.into_owned())),
        Err(_) => Err(PyTypeError::new_err(format!(
            "a model must be an EmbeddingModel or its name, not {}",
            type_of(value)
        ))),
    }
}

/// The entries of an iterable, each in its scope or that of the handle.
pub(crate) fn entries(value: &Bound<'_, PyAny>, default: &StateScope) -> PyResult<Vec<VectorEntry>> {
    let own = |item: &Bound<'_, PyAny>| -> PyResult<VectorEntry> {
        let Ok(entry) = item.cast::<Entry>() else {
            return Err(PyTypeError::new_err(format!(
                "an entry must be an Entry, not {}",
                type_of(item)
            )));
        };
        let mut own = entry.get().entry.clone();
        if !entry.get().has_scope {
            own.scope = default.clone();
        }
        Ok(own)
    };
    match value.cast::<Entry>() {
        Ok(one) => Ok(vec![own(one.as_any())?]),
        Err(_) => value.try_iter()?.map(|item| own(&item?)).collect(),
    }
}

/// What the entries of an array have in common.
pub(crate) struct Shared<'a, 'py> {
    pub(crate) scope: StateScope,
    pub(crate) model: Option<&'a Bound<'py, PyAny>>,
    pub(crate) event_time: Option<&'a Bound<'py, PyAny>>,
    pub(crate) ttl: Option<&'a Bound<'py, PyAny>>,
}

/// The entries of an array: row `i` with id `i` and metadata `i`.
pub(crate) fn entries_of_array(
    given_ids: &Bound<'_, PyAny>,
    vectors: &Bound<'_, PyAny>,
    metadata: Option<&Bound<'_, PyAny>>,
    shared: &Shared<'_, '_>,
) -> PyResult<Vec<VectorEntry>> {
    let vectors = matrix(vectors)?;
    let ids = ids(given_ids)?;
    same_count("ids", ids.len(), vectors.len())?;
    let model = shared.model.map(model_ref).transpose()?;
    let event_time = optional_moment(shared.event_time)?;
    let ttl = optional_duration(shared.ttl)?;
    let metadata: Option<Vec<Bound<'_, PyAny>>> = metadata.map(|all| all.try_iter()?.collect()).transpose()?;
    if let Some(metadata) = &metadata {
        same_count("metadata", metadata.len(), vectors.len())?;
    }
    let mut entries = Vec::with_capacity(vectors.len());
    for (index, (id, vector)) in ids.into_iter().zip(vectors).enumerate() {
        let mut entry = VectorEntry::new(id, vector).with_scope(shared.scope.clone());
        if let Some(metadata) = &metadata {
            entry.metadata = Value::Object(to_object(Some(&metadata[index]))?);
        }
        entry.model.clone_from(&model);
        entry.event_time = event_time;
        entry.ttl = ttl;
        entries.push(entry);
    }
    Ok(entries)
}

fn same_count(what: &str, got: usize, vectors: usize) -> PyResult<()> {
    if got == vectors {
        return Ok(());
    }
    Err(invalid(
        "Shape",
        &format!("there are {got} {what} for {vectors} vectors; each vector has its own"),
    ))
}

/// One entry found. Results are ordered best first.
#[pyclass(frozen, module = "llmspell_storage")]
pub(crate) struct Hit {
    result: VectorResult,
    metadata: PyOnceLock<Py<PyDict>>,
}

impl From<VectorResult> for Hit {
    fn from(result: VectorResult) -> Self {
        Self {
            result,
            metadata: PyOnceLock::new(),
        }
    }
}

#[pymethods]
impl Hit {
    /// Id of the entry in its scope.
    #[getter]
    fn id(&self) -> &str {
        &self.result.id
    }

    /// Larger is better.
    #[getter]
    fn score(&self) -> f32 {
        self.result.score
    }

    /// Smaller is nearer.
    #[getter]
    fn distance(&self) -> f32 {
        self.result.distance
    }

    /// The score lowered by age, if the search asked for it.
    #[getter]
    fn recency_score(&self) -> Option<f32> {
        self.result.recency_score
    }

    /// Its scope, if the search named several; else None.
    #[getter]
    fn scope(&self) -> Option<String> {
        self.result.scope.as_ref().map(ToString::to_string)
    }

    /// The space that holds it, if the store has several.
    #[getter]
    fn space(&self) -> Option<&str> {
        self.result.space.as_deref()
    }

    /// The metadata of the entry; None if the search left it out.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Option<Py<PyDict>>> {
        let Some(metadata) = &self.result.metadata else {
            return Ok(None);
        };
        let dict = self.metadata.get_or_try_init(py, || of_object(py, metadata))?;
        Ok(Some(dict.clone_ref(py)))
    }

    /// The vector as a list of floats, if the search asked for it.
    #[getter]
    fn vector<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        self.result
            .vector
            .as_ref()
            .map(|vector| PyList::new(py, vector))
            .transpose()
    }

    /// The vector as a numpy array of float32: a copy.
    fn to_numpy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match &self.result.vector {
            Some(vector) => Ok(to_numpy(py, vector)),
            None => Err(invalid("NoVector", "the search was made without include_vectors=True")),
        }
    }

    fn __repr__(&self) -> String {
        format!("<Hit {:?} with the score {}>", self.result.id, self.result.score)
    }
}

/// Results as a list of [`Hit`]s.
pub(crate) fn hits(py: Python<'_>, results: Vec<VectorResult>) -> PyResult<Bound<'_, PyList>> {
    let hits: PyResult<Vec<Py<Hit>>> = results
        .into_iter()
        .map(|result| Py::new(py, Hit::from(result)))
        .collect();
    PyList::new(py, hits?)
}

/// Entries as a list of [`Entry`]s.
pub(crate) fn entry_list(py: Python<'_>, entries: Vec<VectorEntry>) -> PyResult<Bound<'_, PyList>> {
    let made: PyResult<Vec<Py<Entry>>> = entries
        .into_iter()
        .map(|entry| Py::new(py, Entry::from(entry)))
        .collect();
    PyList::new(py, made?)
}

/// The error of a handle whose database was closed.
pub(crate) fn closed() -> PyErr {
    raised(StorageError::Closed)
}
