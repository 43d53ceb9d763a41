//! The shape of vectors: which a space takes, and which of their components it stores.

use std::borrow::Cow;
use std::sync::Arc;

use llmspell_core::{
    DistanceMetric, EmbeddingModel, ModelRef, Result, StorageError, VectorEntry, VectorQuery, cut,
    validate_vectors as validate,
};

use crate::indexes::texts::TextRules;
use crate::spaces::registry::Space;
use crate::truth::SpaceRecord;

/// What the vectors of a space are.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Components that are kept.
    pub(crate) dim: usize,
    pub(crate) metric: DistanceMetric,
    model: Option<Arc<EmbeddingModel>>,
    /// How texts become terms, if words are indexed.
    pub(crate) texts: Option<Arc<TextRules>>,
    space: String,
}

impl Shape {
    pub(crate) fn of(space: &Space) -> Self {
        Self {
            dim: space.dim,
            metric: space.metric,
            model: space.model(),
            texts: space.texts(),
            space: space.name.clone(),
        }
    }

    /// The shape of a space that does not exist yet.
    ///
    /// # Errors
    ///
    /// `Analyzer` for a choice that this build cannot follow.
    pub(crate) fn of_record(record: &SpaceRecord) -> Result<Self> {
        let texts = record.config.texts().map(TextRules::new).transpose()?;
        Ok(Self {
            dim: record.dim,
            metric: record.config.metric(),
            model: record.model.clone().map(Arc::new),
            texts: texts.map(Arc::new),
            space: record.name.clone(),
        })
    }

    /// That the space takes an entry, whose model is that of the space if it names one.
    pub(crate) fn check_named(&self, entry: &VectorEntry) -> Result<()> {
        check_model(
            self.model.as_deref(),
            entry.model.as_ref().map(ModelRef::name),
            &self.space,
        )?;
        self.check(entry)
    }

    /// Checks that the space takes an entry, whose model is known to fit.
    pub(crate) fn check(&self, entry: &VectorEntry) -> Result<()> {
        let given = entry.embedding.len();
        let taken = match &self.model {
            Some(model) if given != self.dim && given > 0 => {
                model.check_dim(&entry.id, given)?;
                given.max(self.dim)
            }
            _ => self.dim,
        };
        validate::entry(
            entry,
            taken,
            self.metric,
            self.texts.as_ref().map(|rules| &rules.config),
        )
    }

    /// Checks that the space takes the vector of an entry, which must have one.
    pub(crate) fn check_vector(&self, entry: &VectorEntry) -> Result<()> {
        if entry.embedding.is_empty() {
            validate::entry(entry, self.dim, self.metric, None)?;
        }
        self.check(entry)
    }

    /// The stored components of a vector.
    pub(crate) fn kept(&self, id: &str, mut vector: Vec<f32>) -> Result<Vec<f32>> {
        cut(id, &mut vector, self.dim, self.metric)?;
        Ok(vector)
    }
}

/// A query in the form in which a space answers it: cut as its entries are, or shorter, if the model allows that cut:
/// then only these leading components are compared. `is_routed`: the model is known to fit.
///
/// # Errors
///
/// The first problem of the query.
pub(crate) fn checked_query<'q>(
    space: &Space,
    query: &'q VectorQuery,
    is_routed: bool,
) -> Result<Cow<'q, VectorQuery>> {
    let given = query.vector.len();
    let mut taken = space.dim;
    let named = query.model.as_deref().filter(|_| !is_routed);
    let has_vector = given > 0 || !query.is_by_terms();
    if named.is_some() || given != space.dim {
        let model = space.model();
        check_model(model.as_deref(), named, &space.name)?;
        if let Some(model) = model.filter(|_| given != space.dim && has_vector) {
            model.check_dim("query", given)?;
            taken = given;
        }
    }
    let texts = space.texts();
    validate::query(query, taken, space.metric, texts.as_ref().map(|rules| &rules.config))?;
    if let Some(filter) = &query.filter {
        filter.validate_with(&space.dates())?;
    }
    if taken <= space.dim {
        return Ok(Cow::Borrowed(query));
    }
    let mut query = query.clone();
    cut("query", &mut query.vector, space.dim, space.metric)?;
    Ok(Cow::Owned(query))
}

/// That the model that is named is the one of the space.
fn check_model(own: Option<&EmbeddingModel>, named: Option<&str>, space: &str) -> Result<()> {
    let Some(named) = named else { return Ok(()) };
    let known = match own {
        Some(own) if own.name == named => return Ok(()),
        Some(own) => format!("`{}` ({} components)", own.name, own.dim),
        None => format!("`{space}`, which is of no model"),
    };
    Err(StorageError::UnknownModel {
        model: named.chars().take(64).collect(),
        known: vec![known],
    })
}
