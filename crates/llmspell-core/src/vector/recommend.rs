//! [`RecommendQuery`]: a search by examples.

use std::collections::{HashMap, HashSet};

use llmspell_state_traits::StateScope;

use super::components::IntoVector;
use super::entry::VectorEntry;
use super::query::{VectorQuery, VectorResult};
use super::storage::VectorStorage;
use super::validate::ids as validate_ids;
use crate::check::in_range;
use crate::error::{Result, StorageError};
use crate::limits::{EXAMPLES_MAX, K_MAX};
use crate::model::ModelRef;

/// A search by examples, which are stored entries, by their ids, or vectors; results are like some of them and unlike
/// others.
///
/// The query vector is the average of the positive examples, moved away from the average of the negative ones, if any:
/// `avg(positive) + avg(positive) − avg(negative)`, the strategy that Qdrant calls
/// [`average_vector`](https://qdrant.tech/documentation/concepts/explore/#average-vector-strategy). Averages are of the
/// components as given: under cosine, a longer vector has more weight.
///
/// ```
/// # use llmspell_core::{Filter, RecommendQuery, Result, VectorStorage};
/// # async fn example(storage: &dyn VectorStorage) -> Result<()> {
/// let query = RecommendQuery::like("note-1", 10).and_like("note-7").unlike("note-3");
/// let query = query.with_query(|query| query.with_filter(Filter::eq("lang", "en")));
/// let found = storage.recommend(&query).await?; // without the three notes
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecommendQuery {
    /// Examples that results should be like: at least one, and with `negative` at most
    /// [`EXAMPLES_MAX`](crate::limits::EXAMPLES_MAX).
    pub positive: Vec<Example>,
    /// Examples that results should be unlike.
    pub negative: Vec<Example>,
    /// All other settings of the search: scopes, filter, threshold and so on. Its vector is ignored.
    pub query: VectorQuery,
}

/// One example of a recommendation.
#[derive(Debug, Clone, PartialEq)]
pub enum Example {
    /// An entry in a scope of the query; in the first one that has it, if there are several. It is never a result.
    Id(String),
    /// A vector, like that of a query.
    Vector(Vec<f32>),
}

impl From<&str> for Example {
    fn from(id: &str) -> Self {
        Self::Id(id.to_string())
    }
}

impl From<String> for Example {
    fn from(id: String) -> Self {
        Self::Id(id)
    }
}

impl Example {
    /// A vector as an example.
    #[must_use]
    pub fn vector(vector: impl IntoVector) -> Self {
        Self::Vector(vector.into_vector())
    }
}

impl RecommendQuery {
    /// The `k` entries of [`StateScope::Global`] that are most like an example; see [`with_query`](Self::with_query)
    /// for other scopes and settings.
    #[must_use]
    pub fn like(example: impl Into<Example>, k: usize) -> Self {
        Self {
            positive: vec![example.into()],
            negative: Vec::new(),
            query: VectorQuery::new(Vec::<f32>::new(), k),
        }
    }

    /// Adds a positive example.
    #[must_use]
    pub fn and_like(mut self, example: impl Into<Example>) -> Self {
        self.positive.push(example.into());
        self
    }

    /// Adds a negative example.
    #[must_use]
    pub fn unlike(mut self, example: impl Into<Example>) -> Self {
        self.negative.push(example.into());
        self
    }

    /// Changes the other settings of the search.
    #[must_use]
    pub fn with_query(mut self, change: impl FnOnce(VectorQuery) -> VectorQuery) -> Self {
        self.query = change(self.query);
        self
    }

    fn examples(&self) -> impl Iterator<Item = &Example> {
        self.positive.iter().chain(&self.negative)
    }

    /// The ids among the examples, each once.
    fn ids(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let ids = self.examples().filter_map(|example| match example {
            Example::Id(id) => Some(id.clone()),
            Example::Vector(_) => None,
        });
        ids.filter(|id| seen.insert(id.clone())).collect()
    }

    /// The checks that do not need the vectors.
    fn check(&self, ids: &[String]) -> Result<()> {
        in_range("number of positive examples", self.positive.len(), 1..=EXAMPLES_MAX)?;
        in_range("number of examples", self.examples().count(), 1..=EXAMPLES_MAX)?;
        validate_ids(ids)?;
        let wide = self.query.k.saturating_add(self.query.offset).saturating_add(ids.len());
        in_range("k, with offset and examples,", wide, 1..=K_MAX)?;
        in_range("k", self.query.k, 1..=K_MAX)?;
        if self.query.mmr.is_some() || self.query.group_by.is_some() {
            return Err(StorageError::InvalidName {
                what: "recommendation",
                name: "mmr or group_by".to_string(),
                reason: "a search by examples is neither diverse nor grouped",
            });
        }
        Ok(())
    }

    /// The query vector; see [`RecommendQuery`].
    fn target(&self, stored: &HashMap<String, VectorEntry>) -> Result<Vec<f32>> {
        let positive = average(&self.positive, stored)?;
        if self.negative.is_empty() {
            return Ok(to_f32(&positive));
        }
        let negative = average(&self.negative, stored)?;
        check_dim("negative examples", positive.len(), negative.len())?;
        let beyond: Vec<f64> = positive
            .iter()
            .zip(&negative)
            .map(|(own, other)| 2.0 * own - other)
            .collect();
        Ok(to_f32(&beyond))
    }
}

fn to_f32(vector: &[f64]) -> Vec<f32> {
    vector.iter().map(|component| *component as f32).collect()
}

fn average(examples: &[Example], stored: &HashMap<String, VectorEntry>) -> Result<Vec<f64>> {
    let mut sum: Vec<f64> = Vec::new();
    for example in examples {
        let (name, vector) = match example {
            Example::Vector(vector) => ("example", vector),
            Example::Id(id) => match stored.get(id) {
                Some(entry) if entry.embedding.is_empty() => return Err(StorageError::NoVector { id: id.clone() }),
                Some(entry) => (id.as_str(), &entry.embedding),
                None => return Err(StorageError::NotFound { id: id.clone() }),
            },
        };
        if sum.is_empty() {
            sum = vec![0.0; vector.len()];
        }
        check_dim(name, sum.len(), vector.len())?;
        sum.iter_mut()
            .zip(vector)
            .for_each(|(sum, component)| *sum += f64::from(*component));
    }
    let count = examples.len() as f64;
    sum.iter_mut().for_each(|sum| *sum /= count);
    Ok(sum)
}

fn check_dim(id: &str, expected: usize, got: usize) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => Err(StorageError::Dimension {
            id: id.to_string(),
            expected,
            got,
        }),
    }
}

/// A store's answer, by [`get_many`](VectorStorage::get_many) and [`search`](VectorStorage::search).
pub(super) async fn recommend<S: VectorStorage + ?Sized>(
    store: &S,
    asked: &RecommendQuery,
) -> Result<Vec<VectorResult>> {
    let ids = asked.ids();
    asked.check(&ids)?;
    let mut query = asked.query.with_passed_over();
    let mut stored: HashMap<String, VectorEntry> = HashMap::new();
    for scope in asked.query.searched_scopes() {
        read(store, scope, &ids, &mut stored).await?;
    }
    query.vector = asked.target(&stored)?;
    query.k += ids.len();
    query.ef_search = query.ef_search.map(|ef_search| ef_search.max(query.k));
    if query.model.is_none() {
        let models = ids.iter().filter_map(|id| stored.get(id)?.model.as_ref());
        query.model = models.map(|model| ModelRef::name(model).to_string()).next();
    }
    let mut found = store.search(&query).await?;
    let examples: HashSet<&String> = ids.iter().collect();
    found.retain(|result| !examples.contains(&result.id));
    found.drain(..asked.query.offset.min(found.len()));
    found.truncate(asked.query.k);
    Ok(found)
}

/// Reads the examples that no earlier scope had.
async fn read<S: VectorStorage + ?Sized>(
    store: &S,
    scope: &StateScope,
    ids: &[String],
    stored: &mut HashMap<String, VectorEntry>,
) -> Result<()> {
    let missing: Vec<String> = ids.iter().filter(|id| !stored.contains_key(*id)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let entries = store.get_many(scope, &missing).await?;
    let found = missing.into_iter().zip(entries);
    stored.extend(found.filter_map(|(id, entry)| Some((id, entry?))));
    Ok(())
}
