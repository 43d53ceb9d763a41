//! Settings of a router, and of the space of a model.

use llmspell_core::{EmbeddingModel, HNSWConfig, Result};

/// How a [`DimensionRouter`](super::DimensionRouter) treats unknown models and dimensions.
///
/// ```
/// # use llmspell_storage::{DimensionRouter, HNSWConfig, RouterConfig};
/// let strict = DimensionRouter::new(HNSWConfig::balanced());
/// let lenient = DimensionRouter::new(RouterConfig::new(HNSWConfig::fast()).with_new_spaces(true));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    index: HNSWConfig,
    new_spaces: bool,
}

impl RouterConfig {
    /// `index` is how the index of each space is built. Its metric is that of spaces without a model; a model brings its
    /// own. Its [`index_dim`](HNSWConfig::index_dim) does not count: each [`ModelSpace`] has its own.
    #[must_use]
    pub fn new(index: HNSWConfig) -> Self {
        Self {
            index,
            new_spaces: false,
        }
    }

    /// Whether entries of an unknown dimension or model get a space of their own; false by default: a vector of the
    /// wrong model would be lost in a space that is never searched.
    #[must_use]
    pub fn with_new_spaces(mut self, is_allowed: bool) -> Self {
        self.new_spaces = is_allowed;
        self
    }

    /// How the index of each space is built.
    #[must_use]
    pub fn index(&self) -> &HNSWConfig {
        &self.index
    }

    /// Whether entries of an unknown dimension or model get a space of their own.
    #[must_use]
    pub fn new_spaces(&self) -> bool {
        self.new_spaces
    }
}

impl From<HNSWConfig> for RouterConfig {
    fn from(index: HNSWConfig) -> Self {
        Self::new(index)
    }
}

/// A model and how its vectors are kept; an [`EmbeddingModel`] alone is kept whole.
///
/// ```
/// # use llmspell_storage::{DimensionRouter, EmbeddingModel, HNSWConfig, ModelSpace, Result};
/// # async fn example() -> Result<()> {
/// let storage = DimensionRouter::new(HNSWConfig::balanced());
/// let model = EmbeddingModel::preset("text-embedding-3-small").expect("a preset");
/// storage.register_model(ModelSpace::new(model).with_store_dim(512)).await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpace {
    pub(super) model: EmbeddingModel,
    pub(super) store_dim: Option<usize>,
    pub(super) index_dim: Option<usize>,
    pub(super) index: Option<HNSWConfig>,
    pub(super) is_forced: bool,
}

impl ModelSpace {
    /// Its vectors are kept whole.
    #[must_use]
    pub fn new(model: EmbeddingModel) -> Self {
        Self {
            model,
            store_dim: None,
            index_dim: None,
            index: None,
            is_forced: false,
        }
    }

    /// Stores the leading components only: a vector is cut to them, and under cosine normalized again. Queries are cut
    /// likewise, and scores are those of the cut vectors. Cannot be changed once the space exists, except by
    /// [migration](super::DimensionRouter::migrate_space).
    #[must_use]
    pub fn with_store_dim(mut self, dim: usize) -> Self {
        self.store_dim = Some(dim);
        self
    }

    /// Looks at the leading components only in the graph and its codes, and compares the nearest by all that are stored;
    /// see [`HNSWConfig::with_index_dim`].
    #[must_use]
    pub fn with_index_dim(mut self, dim: usize) -> Self {
        self.index_dim = Some(dim);
        self
    }

    /// How the index of this space is built, if not as that of the others; its metric is that of the model.
    #[must_use]
    pub fn with_index(mut self, config: HNSWConfig) -> Self {
        self.index = Some(config);
        self
    }

    /// Cuts also where the model was not made to be cut. Measure first how many neighbors that costs:
    /// `llmspell-storage model check-matryoshka`.
    #[must_use]
    pub fn forced(mut self) -> Self {
        self.is_forced = true;
        self
    }

    /// Components that are kept.
    #[must_use]
    pub fn store_dim(&self) -> usize {
        self.store_dim.unwrap_or(self.model.dim)
    }

    /// Checks the model, and that its vectors may be cut so.
    ///
    /// # Errors
    ///
    /// As [`EmbeddingModel::validate`] and [`EmbeddingModel::check_cut`].
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.model.check_cut(self.store_dim(), self.is_forced)?;
        let of_config = self.index.as_ref().and_then(HNSWConfig::index_dim);
        if let Some(dim) = self.index_dim.or(of_config) {
            self.model.check_cut(dim, self.is_forced)?;
        }
        if let Some(index) = &self.index {
            index.validate()?;
        }
        Ok(())
    }
}

impl From<EmbeddingModel> for ModelSpace {
    fn from(model: EmbeddingModel) -> Self {
        Self::new(model)
    }
}
