//! The space that rows go to: found, or made with the settings that the call names.

use std::sync::Arc;

use llmspell_storage::{EmbeddingModel, HNSWConfig, StorageError, VectorStorage};

use super::ImportArgs;
use crate::commands::embedder::Expected;
use crate::session::{Session, find_space_of, unknown_model};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::fits::Fits;
use llmspell_cli_base::opened::{Opened, Space};
use llmspell_cli_base::text_args::RowContents;

/// Where rows go.
pub(super) struct Target {
    pub(super) fits: Fits,
    /// The store that entries are read from and written to.
    pub(super) storage: Arc<dyn VectorStorage>,
}

/// The database, and the model that is named: a known one, or a preset that becomes known with the first row.
pub(super) async fn open_database(session: &Session<'_>) -> Result<(Opened, Option<EmbeddingModel>), CliError> {
    let preset = session.model().map(|model| (model, EmbeddingModel::preset(model)));
    if let Some((model, None)) = &preset
        && !session.directory()?.exists()
    {
        return Err(CliError::from(StorageError::UnknownModel {
            model: model.chars().take(64).collect(),
            known: Vec::new(),
        }));
    }
    let database = session.open_or_create().await?;
    let Some((name, preset)) = preset else {
        return Ok((database, None));
    };
    let known = find_space_of(&database, name).await?.and_then(|space| space.model);
    match known.or(preset) {
        Some(model) => Ok((database, Some(model))),
        None => Err(unknown_model(&database, name).await?),
    }
}

/// What opens the target of an import.
pub(super) struct Opening<'a> {
    pub(super) args: &'a ImportArgs,
    pub(super) session: &'a Session<'a>,
    pub(super) database: Opened,
    pub(super) model: Option<EmbeddingModel>,
}

impl Opening<'_> {
    /// The space if it is there already, with the settings that the call names.
    pub(super) async fn existing(&self) -> Result<Option<Target>, CliError> {
        if let Some(model) = &self.model
            && find_space_of(&self.database, &model.name).await?.is_none()
        {
            return Ok(None);
        }
        let space = self.session.space_name(&self.database).await?;
        match self.database.existing_vectors(&space).await? {
            Some(store) => self
                .target(self.args.dim.unwrap_or(store.dim()), &RowContents::default())
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// The space, made for vectors of `dim` components if it is not there, and with an index of what the rows have.
    pub(super) async fn target(&self, dim: usize, rows: &RowContents) -> Result<Target, CliError> {
        if let Some(model) = &self.model
            && find_space_of(&self.database, &model.name).await?.is_none()
        {
            self.database.register_model(model.clone()).await?;
        }
        let space = self.session.space_name(&self.database).await?;
        let store = self.store(&space, dim, rows).await?;
        Ok(Target {
            fits: Fits::of(&self.database, &store).await?,
            storage: self.session.storage(&self.database, &store).await?,
        })
    }

    /// What the vectors of a command must be for a space that is still to be made.
    pub(super) fn expected(&self) -> Expected {
        let metric = self.args.metric.unwrap_or_default();
        let fits = |model: Option<EmbeddingModel>, stored| Fits {
            model,
            stored,
            metric,
            texts: None,
        };
        match (&self.model, self.args.dim) {
            (Some(model), _) => Expected::Of(Fits {
                metric: model.metric,
                ..fits(Some(model.clone()), model.dim)
            }),
            (None, Some(dim)) => Expected::Of(fits(None, dim)),
            (None, None) => Expected::Alike(metric),
        }
    }

    async fn store(&self, space: &str, dim: usize, rows: &RowContents) -> Result<Space, CliError> {
        let existing = self.database.existing_vectors(space).await?;
        let config = match (&existing, self.args.preset) {
            (_, Some(preset)) => {
                let metric = existing.as_ref().map(|store| store.config().metric());
                preset.config().with_metric(metric.unwrap_or_default())
            }
            (Some(store), None) => store.config().clone(),
            (None, None) => HNSWConfig::default(),
        };
        let config = match self.args.metric {
            Some(metric) => config.with_metric(metric),
            None => config,
        };
        let memory = match (self.args.memory, &existing) {
            (Some(memory), _) => memory.into(),
            (None, Some(store)) => store.config().memory(),
            (None, None) => config.memory(),
        };
        let config = config.with_memory(memory);
        let config = match (&*self.args.date_fields, &existing) {
            ([], None) => config,
            ([], Some(store)) => config.with_date_fields(store.config().date_fields().iter().cloned()),
            (fields, _) => config.with_date_fields(fields),
        };
        let config = match self.args.recall_target {
            Some(target) => config.with_recall_target(target).without_ef_search(),
            None => config,
        };
        let known = existing.as_ref().and_then(|store| store.config().texts());
        // Where words are not indexed, rows with texts alone do not ask for it, nor do sparse vectors.
        let mut asked = match existing {
            Some(_) => RowContents::default(),
            None => rows.clone(),
        };
        asked.has_texts |= self.args.names_text();
        let config = self.args.texts.config(config, known, &asked);
        // Rows of another dimension than the space has are bad rows, not a reason to give up.
        let dim = match (self.args.dim, existing) {
            (None, Some(store)) => store.dim(),
            _ => dim,
        };
        Ok(self.database.vectors(space, dim, config).await?)
    }
}
