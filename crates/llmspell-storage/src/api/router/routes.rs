//! Routing: the space of an entry or a query.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use llmspell_core::{EmbeddingModel, ModelRef, Result, StorageError};

use super::DimensionRouter;
use super::usage::Meter;
use crate::api::vectors::{Handle, Shape};
use crate::base::ids::SpaceId;
use crate::engine::Database;
use crate::truth::{Role, SpaceRecord};

/// The way to one space.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) id: SpaceId,
    pub(super) record: SpaceRecord,
    pub(super) meter: Arc<Meter>,
    /// Opened when it is first used: one that is damaged must not keep the others closed.
    handle: OnceLock<Handle>,
}

impl Route {
    pub(super) fn name(&self) -> &str {
        &self.record.name
    }

    pub(super) fn model(&self) -> Option<&EmbeddingModel> {
        self.record.model.as_ref()
    }

    /// # Errors
    ///
    /// `Analyzer` for a choice that this build cannot follow.
    pub(super) fn shape(&self) -> Result<Shape> {
        match self.opened() {
            Some(handle) => Ok(Shape::of(&handle.space)),
            None => Shape::of_record(&self.record),
        }
    }

    /// If it was used before.
    pub(super) fn opened(&self) -> Option<&Handle> {
        self.handle.get()
    }

    /// # Errors
    ///
    /// `Data` or `Io` if the files of the space cannot be opened.
    pub(super) async fn handle(&self, database: &Database) -> Result<&Handle> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let storage = database.open_space(self.id).await?;
        Ok(self.handle.get_or_init(|| storage.into_handle()))
    }
}

/// The ways to all spaces of a router, as of one version of them.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) version: u64,
    /// In the order of their creation.
    pub(super) all: Vec<Arc<Route>>,
    by_model: HashMap<String, usize>,
    /// By the components of a whole vector: the space without a model, and those with one.
    by_dim: HashMap<usize, (Option<usize>, Vec<usize>)>,
    /// Whether the entries of any are being copied to a successor.
    pub(super) is_migrating: bool,
}

impl Routes {
    /// The current routes. Counters and open spaces are kept.
    pub(super) fn of(database: &Database, before: &Self) -> Self {
        let shared = &database.inner.shared;
        let version = shared.spaces_version();
        let mut routes = Self {
            version,
            ..Self::default()
        };
        for (id, record) in shared.space_records() {
            routes.is_migrating |= matches!(record.role, Role::Staging { .. });
            if record.role == Role::Routed {
                routes.add(id, record, before);
            }
        }
        routes
    }

    fn add(&mut self, id: SpaceId, record: SpaceRecord, before: &Self) {
        let place = self.all.len();
        match &record.model {
            Some(model) => {
                self.by_model.insert(model.name.clone(), place);
                self.by_dim.entry(model.dim).or_default().1.push(place);
            }
            None => {
                self.by_dim.entry(record.dim).or_default().0.get_or_insert(place);
            }
        }
        let known = before.all.iter().find(|route| route.id == id);
        if let Some(known) = known.filter(|route| route.record == record) {
            self.all.push(Arc::clone(known));
            return;
        }
        let (meter, handle) = match known {
            Some(known) => (Arc::clone(&known.meter), known.handle.clone()),
            None => (Arc::default(), OnceLock::new()),
        };
        self.all.push(Arc::new(Route {
            id,
            record,
            meter,
            handle,
        }));
    }

    /// The space of a model that is known by this name, or by another name of a preset.
    pub(super) fn of_model(&self, name: &str) -> Option<&Arc<Route>> {
        let place = self.by_model.get(name).or_else(|| {
            let preset = EmbeddingModel::preset(name)?;
            self.by_model.get(&preset.name)
        });
        place.map(|place| &self.all[*place])
    }

    /// The space of vectors without a model; none if there is none.
    ///
    /// # Errors
    ///
    /// [`AmbiguousDimension`](StorageError::AmbiguousDimension).
    pub(super) fn of_dim(&self, dim: usize) -> Result<Option<&Arc<Route>>> {
        if dim == 0 {
            return self.of_words();
        }
        match self.by_dim.get(&dim) {
            None => Ok(None),
            Some((Some(place), _)) => Ok(Some(&self.all[*place])),
            Some((None, models)) => match models.as_slice() {
                [place] => Ok(Some(&self.all[*place])),
                models => Err(StorageError::AmbiguousDimension {
                    dim,
                    models: models.iter().map(|place| self.all[*place].name().to_string()).collect(),
                }),
            },
        }
    }

    /// The space of entries and queries without a vector or a model: the only one that there is.
    fn of_words(&self) -> Result<Option<&Arc<Route>>> {
        match self.all.as_slice() {
            [] => Ok(None),
            [route] => Ok(Some(route)),
            routes => Err(StorageError::AmbiguousDimension {
                dim: 0,
                models: routes.iter().map(|route| route.name().to_string()).collect(),
            }),
        }
    }

    /// The space that answers a query.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`](StorageError::UnknownModel), [`UnknownDimension`](StorageError::UnknownDimension),
    /// [`AmbiguousDimension`](StorageError::AmbiguousDimension).
    pub(super) fn of_query(&self, model: Option<&str>, dim: usize) -> Result<&Arc<Route>> {
        match model {
            Some(name) => self.of_model(name).ok_or_else(|| self.unknown_model(name)),
            None => self.of_dim(dim)?.ok_or_else(|| self.unknown_dim(dim)),
        }
    }

    /// That there is no space for an entry.
    pub(super) fn unknown(&self, model: Option<&ModelRef>, dim: usize) -> StorageError {
        match model {
            Some(model) => self.unknown_model(model.name()),
            None => self.unknown_dim(dim),
        }
    }

    pub(super) fn unknown_model(&self, name: &str) -> StorageError {
        StorageError::UnknownModel {
            model: name.chars().take(64).collect(),
            known: self.known(),
        }
    }

    pub(super) fn unknown_dim(&self, dim: usize) -> StorageError {
        StorageError::UnknownDimension {
            dim,
            known: self.known(),
        }
    }

    pub(super) fn unknown_space(&self, name: &str) -> StorageError {
        StorageError::UnknownSpace {
            name: name.chars().take(64).collect(),
            known: self.known(),
        }
    }

    fn known(&self) -> Vec<String> {
        self.all.iter().map(|route| route.record.to_string()).collect()
    }
}

impl DimensionRouter {
    /// The ways of now. Costs a lock and two atomic reads unless a space has changed.
    pub(super) fn routes(&self) -> Arc<Routes> {
        let known = Arc::clone(&self.inner.routes.read());
        if known.version == self.inner.database.inner.shared.spaces_version() {
            return known;
        }
        let mut routes = self.inner.routes.write();
        let newer = Arc::new(Routes::of(&self.inner.database, &routes));
        *routes = Arc::clone(&newer);
        newer
    }
}
