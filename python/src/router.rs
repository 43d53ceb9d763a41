//! Which calls has a store of several models? Those of vectors, and these.

use std::future::ready;
use std::sync::Arc;

use llmspell_storage::{DimensionRouter, ModelSpace, VectorEntry};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arrays::matrix;
use crate::call::{Mode, run};
use crate::config::EmbeddingModel;
use crate::entry::entry_list;
use crate::errors::invalid;
use crate::handle::{Slot, Slots};
use crate::json::{of_report, type_of};
use crate::vectors::{AsyncVectors, Store, Vectors, VectorsBase, none};

/// A store for vectors of several models, each in a space of its own.
#[pyclass(frozen, extends = Vectors, module = "llmspell_storage")]
pub(crate) struct Router(Arc<Slot<DimensionRouter>>);

/// A store for vectors of several models, for asyncio: each call returns an awaitable.
#[pyclass(frozen, extends = AsyncVectors, module = "llmspell_storage")]
pub(crate) struct AsyncRouter(Arc<Slot<DimensionRouter>>);

/// A router as an object of Python, of the class of its mode.
pub(crate) fn object(py: Python<'_>, slots: &Slots, router: DimensionRouter, mode: Mode) -> PyResult<Py<PyAny>> {
    let store = Store {
        storage: Arc::new(router.clone()),
        space: None,
    };
    let slot = slots.hold(router);
    let base = PyClassInitializer::from(VectorsBase::new(slots.clone(), store, mode));
    Ok(match mode {
        Mode::Sync => Py::new(py, base.add_subclass(Vectors).add_subclass(Router(slot)))?.into_any(),
        Mode::Async => Py::new(py, base.add_subclass(AsyncVectors).add_subclass(AsyncRouter(slot)))?.into_any(),
    })
}

/// A model: its description, or the name of a preset.
fn model(value: &Bound<'_, PyAny>) -> PyResult<llmspell_storage::EmbeddingModel> {
    if let Ok(model) = value.cast::<EmbeddingModel>() {
        return Ok(model.get().model.clone());
    }
    let Ok(name) = value.cast::<PyString>() else {
        return Err(PyTypeError::new_err(format!(
            "a model must be an EmbeddingModel or the name of a preset, not {}",
            type_of(value)
        )));
    };
    let name = name.to_cow()?;
    llmspell_storage::EmbeddingModel::preset(&name).ok_or_else(|| {
        invalid(
            "Preset",
            &format!("`{name}` is not a preset; describe the model by an EmbeddingModel"),
        )
    })
}

fn model_space(value: &Bound<'_, PyAny>, store_dim: Option<usize>, forced: bool) -> PyResult<ModelSpace> {
    let mut space = ModelSpace::new(model(value)?);
    if let Some(dim) = store_dim {
        space = space.with_store_dim(dim);
    }
    Ok(if forced { space.forced() } else { space })
}

/// The calls, once for each class.
macro_rules! calls {
    ($class:ident, $mode:expr) => {
        #[pymethods]
        impl $class {
            /// Makes a model known: its entries get a space of its name.
            #[pyo3(signature = (model, /, *, store_dim=None, forced=false))]
            fn register_model<'py>(
                &self,
                py: Python<'py>,
                model: &Bound<'py, PyAny>,
                store_dim: Option<usize>,
                forced: bool,
            ) -> PyResult<Bound<'py, PyAny>> {
                let (router, space) = (self.0.get()?, model_space(model, store_dim, forced)?);
                run(py, $mode, async move { router.register_model(space).await }, none)
            }

            /// Makes a dimension known, for vectors without a model.
            #[pyo3(signature = (dim, /))]
            fn register_dimension<'py>(&self, py: Python<'py>, dim: usize) -> PyResult<Bound<'py, PyAny>> {
                let router = self.0.get()?;
                run(
                    py,
                    $mode,
                    async move { router.register_dimension(dim).await },
                    none,
                )
            }

            /// The models that are known.
            fn models(&self) -> PyResult<Vec<EmbeddingModel>> {
                Ok(self
                    .0
                    .get()?
                    .models()
                    .into_iter()
                    .map(|model| EmbeddingModel { model })
                    .collect())
            }

            /// Removes a space with all its entries.
            #[pyo3(signature = (name, /))]
            fn drop_space<'py>(&self, py: Python<'py>, name: String) -> PyResult<Bound<'py, PyAny>> {
                let router = self.0.get()?;
                run(py, $mode, async move { router.drop_space(&name).await }, none)
            }

            /// How much each space is used.
            fn distribution<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                let router = self.0.get()?;
                run(
                    py,
                    $mode,
                    async move { router.distribution().await },
                    |py, usage| of_report(py, &usage),
                )
            }

            /// Replaces the entries of a space by those of another model. `embed` gets a list of entries and returns
            /// their new vectors; it is called in the thread that waits for the migration.
            #[pyo3(signature = (source, model, embed, /, *, store_dim=None, forced=false))]
            fn migrate_space<'py>(
                &self,
                py: Python<'py>,
                source: String,
                model: &Bound<'py, PyAny>,
                embed: Py<PyAny>,
                store_dim: Option<usize>,
                forced: bool,
            ) -> PyResult<Bound<'py, PyAny>> {
                let (router, space) = (self.0.get()?, model_space(model, store_dim, forced)?);
                let embed = move |entries: Vec<VectorEntry>| {
                    ready(Python::attach(|py| {
                        matrix(embed.bind(py).call1((entry_list(py, entries)?,))?.as_any())
                    }))
                };
                let migrate = async move { router.migrate_space(&source, space, embed).await.map(drop) };
                run(py, $mode, migrate, none)
            }
        }
    };
}

calls!(Router, Mode::Sync);
calls!(AsyncRouter, Mode::Async);
