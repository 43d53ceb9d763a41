//! Registration of models.

use llmspell_core::{EmbeddingModel, ModelRef, Result, StorageError, validate_vectors as validate};

use super::routes::Routes;
use super::{DimensionRouter, ModelSpace};
use crate::engine::Opening;
use crate::truth::{Role, SpaceRecord};

impl DimensionRouter {
    /// Makes a model known: its entries get a space of its name. Known already, it may have other cut points, and the rest
    /// must be as it was.
    ///
    /// # Errors
    ///
    /// As [`ModelSpace::validate`]; [`SpaceMismatch`](StorageError::SpaceMismatch) if there is a space of this name with
    /// another dimension, metric or model, or one that [`Database::vectors`](crate::Database::vectors) made.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.register_model", level = "info", skip_all)
    )]
    pub async fn register_model(&self, model: impl Into<ModelSpace>) -> Result<()> {
        let record = self.record(model.into())?;
        self.open_as(record, Opening::Routed).await
    }

    /// Registers a dimension for vectors without a model: they get a space of their own, without a model. Its metric is
    /// that of the [configuration](Self::config).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](StorageError::OutOfRange) for a bad dimension.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.register_dimension", level = "info", skip_all, fields(dim))
    )]
    pub async fn register_dimension(&self, dim: usize) -> Result<()> {
        validate::dim(dim)?;
        self.open_as(self.plain_record(dim), Opening::Routed).await
    }

    /// Adopts a space that [`Database::vectors`](crate::Database::vectors) or
    /// [`HNSWVectorStorage::open`](crate::HNSWVectorStorage::open) made: for a model, or for vectors without a model.
    /// It keeps its name.
    ///
    /// Takes as long as looking up its ids in the other spaces.
    ///
    /// # Errors
    ///
    /// [`UnknownSpace`](StorageError::UnknownSpace); [`SpaceMismatch`](StorageError::SpaceMismatch) if the model has
    /// another dimension or metric, or has a space already; [`IdExists`](StorageError::IdExists) if an id exists in
    /// another space of the router, in the same scope.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.adopt_space", level = "info", skip_all, fields(space))
    )]
    pub async fn adopt_space(&self, space: &str, model: Option<EmbeddingModel>) -> Result<()> {
        let routes = self.routes();
        if let Some(model) = &model {
            model.validate()?;
            let other = routes.of_model(&model.name);
            if let Some(other) = other.filter(|other| other.name() != space) {
                return Err(StorageError::SpaceMismatch {
                    space: space.to_string(),
                    what: "model",
                    stored: "none".to_string(),
                    requested: format!("`{}`, which has the space `{}`", model.name, other.name()),
                });
            }
        }
        let stored = self.inner.database.inner.shared.space_record(space);
        let (_, stored) = stored.ok_or_else(|| routes.unknown_space(space))?;
        let mut record = stored.clone();
        if let Some(model) = &model {
            record.dim = model.dim;
            record.config = record.config.with_metric(model.metric);
        }
        record.model = model;
        self.open_as(record, Opening::Adopted).await
    }

    /// Removes a space of the router with all its data, by the name of its model or its own: see
    /// [`Database::drop_space`](crate::Database::drop_space). The model is forgotten; registered again, it may have
    /// another dimension.
    ///
    /// # Errors
    ///
    /// [`UnknownSpace`](StorageError::UnknownSpace) with the known ones; as a write of vectors.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.drop_space", level = "info", skip_all, fields(space = name)))]
    pub async fn drop_space(&self, name: &str) -> Result<()> {
        let routes = self.routes();
        let of_name = routes.all.iter().find(|route| route.name() == name);
        let route = of_name.or_else(|| routes.of_model(name));
        let route = route.ok_or_else(|| routes.unknown_space(name))?;
        self.inner.database.drop_space(route.name()).await
    }

    /// The models that are known, in the order in which they became so.
    #[must_use]
    pub fn models(&self) -> Vec<EmbeddingModel> {
        let routes = self.routes();
        routes.all.iter().filter_map(|route| route.model().cloned()).collect()
    }

    pub(super) async fn open_as(&self, record: SpaceRecord, opening: Opening) -> Result<()> {
        self.inner.database.open_space_as(record, opening).await.map(drop)
    }

    /// The space of a model.
    pub(super) fn record(&self, space: ModelSpace) -> Result<SpaceRecord> {
        space.validate()?;
        let dim = space.store_dim();
        let ModelSpace {
            model,
            index,
            index_dim,
            ..
        } = space;
        // How many leading components may be compared alone depends on the model.
        let mut config = index.unwrap_or_else(|| self.inner.config.index().clone().with_index_dim(None));
        if index_dim.is_some() {
            config = config.with_index_dim(index_dim);
        }
        config.validate()?;
        Ok(SpaceRecord {
            name: model.name.clone(),
            dim,
            config: config.with_metric(model.metric),
            model: Some(model),
            role: Role::Routed,
        })
    }

    fn plain_record(&self, dim: usize) -> SpaceRecord {
        let config = self.inner.config.index().clone().with_index_dim(None);
        SpaceRecord {
            role: Role::Routed,
            ..SpaceRecord::plain(format!("dimension-{dim}"), dim, config)
        }
    }

    /// The space for an entry whose model or dimension is not known yet.
    ///
    /// # Errors
    ///
    /// `UnknownModel` or `UnknownDimension` if new spaces are not allowed, or the problem of the model.
    pub(super) fn new_space(&self, routes: &Routes, model: Option<&ModelRef>, dim: usize) -> Result<SpaceRecord> {
        let config = &self.inner.config;
        match model {
            Some(ModelRef::Model(model)) => self.record(ModelSpace::new(EmbeddingModel::clone(model))),
            Some(ModelRef::Name(name)) => match EmbeddingModel::preset(name) {
                Some(preset) => self.record(ModelSpace::new(preset)),
                None if config.new_spaces() => {
                    let metric = config.index().metric();
                    self.record(EmbeddingModel::new(name.as_str(), dim).with_metric(metric).into())
                }
                None => Err(routes.unknown_model(name)),
            },
            None if config.new_spaces() => {
                validate::dim(dim)?;
                Ok(self.plain_record(dim))
            }
            None => Err(routes.unknown_dim(dim)),
        }
    }
}
