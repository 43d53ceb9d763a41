//! How indexes and models are described.

use std::str::FromStr;

use llmspell_storage::{DistanceMetric, HNSWConfig, Memory};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::{invalid, raised};
use crate::json::type_of;

fn metric(name: &str) -> PyResult<DistanceMetric> {
    DistanceMetric::from_str(name).map_err(raised)
}

/// How the index of a vector space is built.
///
/// `preset` is "fast", "balanced" or "accurate"; the other settings replace those of the preset. A setting out of range
/// raises InvalidError with the range.
#[pyclass(frozen, eq, name = "HNSWConfig", module = "llmspell_storage", skip_from_py_object)]
#[derive(Clone, PartialEq)]
pub(crate) struct HnswConfig {
    config: HNSWConfig,
}

#[pymethods]
impl HnswConfig {
    #[new]
    #[pyo3(signature = (preset="balanced", *, metric=None, m=None, ef_construction=None, ef_search=None, recall_target=None, seed=None, memory=None, date_fields=None, index_dim=None))]
    #[expect(clippy::too_many_arguments, reason = "the settings, by name")]
    fn new(
        preset: &str,
        metric: Option<&str>,
        m: Option<usize>,
        ef_construction: Option<usize>,
        ef_search: Option<usize>,
        recall_target: Option<f64>,
        seed: Option<u64>,
        memory: Option<&str>,
        date_fields: Option<Vec<String>>,
        index_dim: Option<usize>,
    ) -> PyResult<Self> {
        let mut config = by_preset(preset)?;
        if let Some(name) = metric {
            config = config.with_metric(self::metric(name)?);
        }
        if let Some(m) = m {
            config = config.with_m(m);
        }
        if let Some(candidates) = ef_construction {
            config = config.with_ef_construction(candidates);
        }
        if let Some(candidates) = ef_search {
            config = config.with_ef_search(candidates);
        }
        if let Some(recall) = recall_target {
            config = config.with_recall_target(recall);
        }
        if let Some(seed) = seed {
            config = config.with_seed(seed);
        }
        if let Some(name) = memory {
            config = config.with_memory(tier(name)?);
        }
        if let Some(fields) = date_fields {
            config = config.with_date_fields(fields);
        }
        config = config.with_index_dim(index_dim);
        config.validate().map_err(raised)?;
        Ok(Self { config })
    }

    /// How vectors are compared.
    #[getter]
    fn metric(&self) -> &'static str {
        self.config.metric().name()
    }

    /// Links of a vector on the upper levels of the graph.
    #[getter]
    fn m(&self) -> usize {
        self.config.m()
    }

    /// Candidates while the graph is built.
    #[getter]
    fn ef_construction(&self) -> usize {
        self.config.ef_construction()
    }

    /// Width of the beam of a search, until the store has measured a better one.
    #[getter]
    fn ef_search(&self) -> usize {
        self.config.ef_search()
    }

    /// The part of the ten nearest that searches should find.
    #[getter]
    fn recall_target(&self) -> f64 {
        self.config.recall_target()
    }

    /// What the random choices of the graph depend on.
    #[getter]
    fn seed(&self) -> u64 {
        self.config.seed()
    }

    fn __repr__(&self) -> String {
        let config = &self.config;
        format!(
            "HNSWConfig(metric='{}', m={}, ef_construction={}, ef_search={}, recall_target={})",
            config.metric(),
            config.m(),
            config.ef_construction(),
            config.ef_search(),
            config.recall_target()
        )
    }
}

fn by_preset(name: &str) -> PyResult<HNSWConfig> {
    match name {
        "fast" => Ok(HNSWConfig::fast()),
        "balanced" => Ok(HNSWConfig::balanced()),
        "accurate" => Ok(HNSWConfig::accurate()),
        _ => Err(invalid(
            "Preset",
            &format!("`{name}` is not a preset; write fast, balanced or accurate"),
        )),
    }
}

fn tier(name: &str) -> PyResult<Memory> {
    match name {
        "speed" => Ok(Memory::Speed),
        "balanced" => Ok(Memory::Balanced),
        "lean" => Ok(Memory::Lean),
        _ => Err(invalid(
            "Memory",
            &format!("`{name}` is not a memory tier; write speed, balanced or lean"),
        )),
    }
}

/// A configuration: itself, the name of a preset, or the default.
pub(crate) fn config(value: Option<&Bound<'_, PyAny>>) -> PyResult<HNSWConfig> {
    let Some(value) = value else {
        return Ok(HNSWConfig::balanced());
    };
    if let Ok(config) = value.cast::<HnswConfig>() {
        return Ok(config.get().config.clone());
    }
    match value.cast::<PyString>() {
        Ok(name) => by_preset(&name.to_cow()?),
        Err(_) => Err(PyTypeError::new_err(format!(
            "a configuration must be an HNSWConfig or the name of a preset, not {}",
            type_of(value)
        ))),
    }
}

/// An embedding model: which model made a vector, and how the vector may be cut.
#[pyclass(
    frozen,
    eq,
    hash,
    name = "EmbeddingModel",
    module = "llmspell_storage",
    skip_from_py_object
)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct EmbeddingModel {
    pub(crate) model: llmspell_storage::EmbeddingModel,
}

#[pymethods]
impl EmbeddingModel {
    #[new]
    #[pyo3(signature = (name, dim, *, metric="cosine", matryoshka=None))]
    fn new(name: String, dim: usize, metric: &str, matryoshka: Option<Vec<usize>>) -> PyResult<Self> {
        let mut model = llmspell_storage::EmbeddingModel::new(name, dim).with_metric(self::metric(metric)?);
        if let Some(cuts) = matryoshka {
            model = model.with_matryoshka(cuts);
        }
        model.validate().map_err(raised)?;
        Ok(Self { model })
    }

    /// A common model, known by its name; None for others.
    #[staticmethod]
    fn preset(name: &str) -> Option<Self> {
        llmspell_storage::EmbeddingModel::preset(name).map(|model| Self { model })
    }

    /// The name that entries and queries use.
    #[getter]
    fn name(&self) -> &str {
        &self.model.name
    }

    /// Components of a whole vector.
    #[getter]
    fn dim(&self) -> usize {
        self.model.dim
    }

    /// How its vectors are compared.
    #[getter]
    fn metric(&self) -> &'static str {
        self.model.metric.name()
    }

    /// The lengths to which its vectors may be cut.
    #[getter]
    fn matryoshka(&self) -> Option<Vec<usize>> {
        self.model.matryoshka.clone()
    }

    fn __repr__(&self) -> String {
        format!("EmbeddingModel('{}', {})", self.model.name, self.model.dim)
    }
}
