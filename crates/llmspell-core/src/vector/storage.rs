//! The trait [`VectorStorage`]: what a vector store promises.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use async_trait::async_trait;
use llmspell_state_traits::{ScopeKind, StateScope};

use super::entry::VectorEntry;
use super::hybrid::text_plan;
use super::list::{ListPage, ListQuery, list_page};
use super::patch::merge_patch;
use super::plan::{SearchPath, SearchPlan, SearchStage};
use super::query::{FacetValue, VectorQuery, VectorResult};
use super::recency::RecencyPlan;
use super::recommend::{RecommendQuery, recommend};
use super::sample::{SampleQuery, sample};
use super::scopes;
use super::stats::{ScopedStats, StorageStats};
use super::validate::{explained_scope, facet_field, ids as validate_ids, scopes as validate_scopes};
use crate::check::page as validate_page;
use crate::error::{Result, StorageError};
use crate::expiry::Expiry;
use crate::fields::Metadata;
use crate::filter::{DateFields, FieldPath, Filter, Scalar};
use crate::limits::PAGE_MAX;

/// Stores vectors and texts with ids and metadata, each in a scope.
///
/// # Promises
///
/// * **Acknowledged writes are durable**, if [`StorageStats::durable`] is true: when a write returns `Ok`, it survives.
/// * **A batch is atomic**, whatever scopes it touches.
/// * **Acknowledged writes are found**: a search that starts after an insert returned sees it. A deleted or expired
///   entry is never found again, not after a restart either.
/// * **Scopes are isolated**: ids are unique within a scope, and every call that takes an id also takes its scope. No
///   call returns, counts, changes or deletes an entry of another scope. An unknown scope is empty, not an error.
/// * **k means k**: if `k` entries match scope, filter and threshold, a search returns `k` of them. An entry matches words if
///   it has one of them, and none that must not be there.
/// * **Words are found as vectors are**: at once when written, never again when deleted or expired. Their statistics are of
///   the searched scopes and of no other, so a score reveals nothing of what other scopes hold; see
///   [words in queries](VectorQuery#words).
/// * **Bad input changes nothing**, and the error names the value and the limit.
/// * If a future is dropped, its write happens completely or not at all.
///
/// # For implementers
///
/// Thirteen methods are required; the others have default implementations. Check input with
/// [`validate_vectors`](crate::validate_vectors) first, and run `llmspell_conformance::vectors` on the result.
#[async_trait]
pub trait VectorStorage: fmt::Debug + Send + Sync {
    /// Stores entries atomically. Returns their ids in input order. An empty batch does nothing.
    ///
    /// An entry with an empty id gets a UUID v7. Users call [`insert`](Self::insert) and [`upsert`](Self::upsert)
    /// instead.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad entry or two entries with one id and scope; [`IdExists`](crate::StorageError::IdExists) if
    /// an id exists and `on_existing` is `Refuse`; `Io` or `Closed` if the batch cannot be made durable.
    async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>>;

    /// Stores entries as [`write`](Self::write) does, but only of models and dimensions that the store knows: it
    /// registers no model. [`ScopedVectors`](super::ScopedVectors) calls it, because its holder must not change the
    /// store for others. A store that creates spaces for unknown models, or wraps such a store, must implement it; the
    /// default is `write`.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); [`UnknownModel`](crate::StorageError::UnknownModel) or
    /// [`UnknownDimension`](crate::StorageError::UnknownDimension) for a model or dimension that the store does not
    /// know.
    async fn write_known(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        self.write(entries, on_existing).await
    }

    /// The entries of the query's scope, or of its [scopes](VectorQuery::with_scopes) together, that are nearest to its
    /// vector, or answer its [words](VectorQuery#words) best, or both, best first.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad query; `Data` or `Io` if entries cannot be read.
    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>>;

    /// One entry, with its times filled in.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope or id; `Data` or `Io` if it cannot be read.
    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>>;

    /// Several entries, each as [`get`](Self::get) returns it, in the order of the ids; none for an id that does not
    /// exist. At most [`BATCH_ITEMS_MAX`](crate::limits::BATCH_ITEMS_MAX) ids.
    ///
    /// The default reads them one after the other; the engines read all of them as of one moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); one bad id fails the call.
    async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        scope.validate()?;
        validate_ids(ids)?;
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            entries.push(self.get(scope, id).await?);
        }
        Ok(entries)
    }

    /// Replaces the metadata of an entry and nothing else. The words of declared
    /// [text fields](super::HNSWConfig::with_text_fields) follow; the entry's own text and its words stay.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::StorageError::NotFound), or as [`write`](Self::write).
    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()>;

    /// Merges a patch into the metadata of an entry, and changes nothing else of it: a field of the patch replaces the
    /// existing one, null removes it, an object is merged into the existing object, an array is replaced ([RFC
    /// 7396](https://www.rfc-editor.org/rfc/rfc7396)). The limits of metadata apply to the patch and to the result.
    ///
    /// The default reads the entry and [updates](Self::update_metadata) it, and loses a change between the two; the
    /// engines do it in one step.
    ///
    /// # Errors
    ///
    /// As [`update_metadata`](Self::update_metadata).
    async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
        super::validate::metadata_fields(id, &patch)?;
        let Some(entry) = self.get(scope, id).await? else {
            return Err(StorageError::NotFound { id: id.to_string() });
        };
        let mut metadata = entry.metadata.as_object().cloned().unwrap_or_default();
        merge_patch(&mut metadata, patch);
        self.update_metadata(scope, id, metadata).await
    }

    /// Changes when entries expire, and nothing else of them: of all that exist, atomically. Returns the ids that do
    /// not exist, in their order, each once. An expired entry does not exist, and does not come back.
    ///
    /// A lifetime begins with the call. With a moment in the past the entries expire at once.
    ///
    /// On a full disk a store may change the entries in parts, one commit each: after a crash some of them are changed.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); `Invalid` for a lifetime out of range.
    async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>>;

    /// Removes entries by id: all that exist, atomically. Returns how many existed.
    ///
    /// On a full disk a store may remove the entries in parts, one commit each: after a crash some of them are removed.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64>;

    /// Removes all entries of some scopes atomically. Returns how many entries there were.
    ///
    /// An unknown scope is empty, one that is named twice counts once, and an empty list does nothing. At most
    /// [`BATCH_ITEMS_MAX`](crate::limits::BATCH_ITEMS_MAX) scopes.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope or too many of them, or as [`write`](Self::write).
    async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64>;

    /// Removes all entries of all scopes of a kind atomically: of all sessions, for example. Returns how many entries
    /// there were. For administration, because it reaches every scope of the kind.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64>;

    /// At most `limit` entries of a scope whose id is greater than `after`, in byte order of the ids.
    ///
    /// Page through a scope with the last id of each page as the next `after`. `limit` is 1 to
    /// [`PAGE_MAX`](crate::limits::PAGE_MAX); fewer entries than that mean the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit out of range; `Data` or `Io` if entries cannot be read.
    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>>;

    /// Every scope that has an entry, in order: a scope whose last entry was deleted or has expired is not listed. For
    /// administration, because it names all scopes.
    ///
    /// # Errors
    ///
    /// `Data` or `Io` if they cannot be read.
    async fn scopes(&self) -> Result<Vec<StateScope>>;

    /// Counts and bytes of all scopes together. For administration.
    ///
    /// # Errors
    ///
    /// `Data` or `Io` if they cannot be read.
    async fn stats(&self) -> Result<StorageStats>;

    /// Counts and bytes of one scope.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope; `Data` or `Io` if they cannot be read.
    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats>;

    /// Returns once everything written before is durable. A store whose writes are durable when they return only checks
    /// that it can still write.
    ///
    /// # Errors
    ///
    /// `Io` or `Closed` if it cannot be made durable.
    async fn flush(&self) -> Result<()>;

    /// Returns once every entry that was written before is in the index of its scope, if the scope is large enough to
    /// have one. Searches are correct without it; after a bulk load it tells when they are fast. A store without an
    /// index returns at once.
    ///
    /// # Errors
    ///
    /// `Data`, `Io` or `Closed` if the index cannot be built.
    async fn build_index(&self) -> Result<()> {
        Ok(())
    }

    /// Rebuilds the indexes of all scopes: without deleted points, with the current settings. Searches use the old ones
    /// meanwhile. A store without an index returns at once.
    ///
    /// # Errors
    ///
    /// As [`build_index`](Self::build_index).
    async fn optimize_index(&self) -> Result<()> {
        Ok(())
    }

    /// Stores new entries; refuses an id that exists in its scope. See [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn insert(&self, entries: Vec<VectorEntry>) -> Result<Vec<String>> {
        self.write(entries, OnExisting::Refuse).await
    }

    /// Stores entries; replaces those whose id exists in its scope. See [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn upsert(&self, entries: Vec<VectorEntry>) -> Result<Vec<String>> {
        self.write(entries, OnExisting::Replace).await
    }

    /// Removes all entries of a scope. Returns how many there were.
    ///
    /// # Errors
    ///
    /// As [`delete_scopes`](Self::delete_scopes).
    async fn delete_scope(&self, scope: &StateScope) -> Result<u64> {
        self.delete_scopes(std::slice::from_ref(scope)).await
    }

    /// [`search`](Self::search) in `scope` alone, whatever scopes the query names.
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search).
    async fn search_scoped(&self, query: &VectorQuery, scope: &StateScope) -> Result<Vec<VectorResult>> {
        self.search(&query.clone().with_scope(scope.clone())).await
    }

    /// One answer for each query, in their order. One bad query fails the call.
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search).
    async fn search_batch(&self, queries: &[VectorQuery]) -> Result<Vec<Vec<VectorResult>>> {
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(self.search(query).await?);
        }
        Ok(answers)
    }

    /// The entries most like some examples and unlike others, best first, without the examples given by id. See
    /// [`RecommendQuery`].
    ///
    /// Reads the examples, then searches: a change of an example between the two is not seen.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StorageError::NotFound) for an example that is in no scope of the query; `Invalid` without positive
    /// examples, with too many, or with examples of different dimensions; as [`search`](Self::search).
    async fn recommend(&self, query: &RecommendQuery) -> Result<Vec<VectorResult>> {
        recommend(self, query).await
    }

    /// Number of entries in some scopes together, each counted as of its own moment. A scope that is named twice counts
    /// once, an unknown one is empty. At most [`BATCH_ITEMS_MAX`](crate::limits::BATCH_ITEMS_MAX) scopes.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count), for the first bad scope.
    async fn count_in(&self, scopes: &[StateScope]) -> Result<u64> {
        validate_scopes(scopes)?;
        let mut count = 0;
        for scope in scopes::each_once(scopes) {
            count += self.count(scope).await?;
        }
        Ok(count)
    }

    /// Number of entries in a scope that match a filter.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope or filter; `Data` or `Io` if entries cannot be read.
    async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let mut count = 0;
        let mut after = None;
        loop {
            let page = self.list_matching(scope, filter, after.as_deref(), PAGE_MAX).await?;
            count += page.len() as u64;
            match page.last() {
                Some(last) if page.len() == PAGE_MAX => after = Some(last.id.clone()),
                _ => return Ok(count),
            }
        }
    }

    /// [`list`](Self::list) of the entries that match a filter.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list); `Invalid` for a bad filter too.
    async fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        let filter = filter.compile(&DateFields::none())?;
        validate_page(limit)?;
        let mut found = Vec::new();
        let mut after = after.map(str::to_string);
        loop {
            let page = self.list(scope, after.as_deref(), PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            after = page.last().map(|last| last.id.clone());
            let matches = |entry: &VectorEntry| filter.matches_entry(entry);
            found.extend(page.into_iter().filter(matches).take(limit - found.len()));
            if is_last || found.len() == limit {
                return Ok(found);
            }
        }
    }

    /// Lists a page of the entries of a scope, or of several, in the order of their ids or of a time, forwards or backwards:
    /// the last 20 messages of a session, for example. See [`ListQuery`].
    ///
    /// The default implementation reads all entries for an order by time. The engines find the page in an index once the
    /// scope is large and the order has been asked for before.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope, filter, limit or cursor; `Data` or `Io` when entries cannot be read.
    async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        list_page(self, query).await
    }

    /// Takes a random sample of the entries of a scope, or of several: uniform, without repetition, reproducible by a seed.
    /// See [`SampleQuery`].
    ///
    /// The default implementation reads all entries. The engines count the matching entries and read only the sample.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope, filter or size; `Data` or `Io` when entries cannot be read.
    async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        sample(self, query).await
    }

    /// Removes the entries that match a filter, and returns how many there were. To remove all, pass [`Filter::all`]: a
    /// filter without conditions is refused.
    ///
    /// Removes the entries that match when the call begins, in atomic batches of up to 10,000. Matches written
    /// meanwhile may stay. No entry is removed that does not match.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete); `Invalid` for a bad filter too.
    async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let mut count = 0;
        let mut after = None;
        loop {
            let page = self.list_matching(scope, filter, after.as_deref(), PAGE_MAX).await?;
            let ids: Vec<String> = page.into_iter().map(|entry| entry.id).collect();
            count += self.delete(scope, &ids).await?;
            if ids.len() < PAGE_MAX {
                return Ok(count);
            }
            after = ids.last().cloned();
        }
    }

    /// The values of a field among the entries of a scope that match a filter, with the number of entries of each: most
    /// frequent first, equal counts in no particular order, at most `limit`, which is 1 to
    /// [`PAGE_MAX`](crate::limits::PAGE_MAX).
    ///
    /// An array counts for each of its different elements, once per entry. Entries without the field do not count, nor
    /// do objects, or arrays within arrays. Times of entries are not allowed as the field.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope, field, filter or limit; `Data` or `Io` if entries cannot be read.
    async fn facet(
        &self,
        scope: &StateScope,
        field: &FieldPath,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<FacetValue>> {
        facet_field(field)?;
        validate_page(limit)?;
        let mut counts: HashMap<Scalar, u64> = HashMap::new();
        let mut after = None;
        loop {
            let page = self.list_matching(scope, filter, after.as_deref(), PAGE_MAX).await?;
            for entry in &page {
                if let Some(metadata) = entry.metadata.as_object() {
                    FacetValue::count(field, metadata, &mut counts);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE_MAX => after = Some(last.id.clone()),
                _ => return Ok(FacetValue::most_frequent(counts, limit)),
            }
        }
    }

    /// How [`search`](Self::search) answers a query: searches, and returns what was counted and timed.
    ///
    /// The default gives the plan of a store that compares everything, and reads all entries of the scope to count the
    /// matches. A store that chooses between paths reports its choice.
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search); `Invalid` if the query names several scopes: explain each of them.
    async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        let scope = explained_scope(query)?;
        let start = Instant::now();
        let results = self.search(query).await?.len();
        let micros = start.elapsed().as_secs_f64() * 1e6;
        let live = self.count(scope).await?;
        let matching = match query.whole_filter() {
            None => live,
            Some(filter) => self.count_matching(scope, &filter).await?,
        };
        let is_of_words = query.is_by_terms() && query.vector.is_empty();
        Ok(SearchPlan {
            live,
            matching,
            tail: matching,
            k: query.k,
            paths: vec![if is_of_words {
                SearchPath::Words
            } else {
                SearchPath::Exact
            }],
            distances: if is_of_words { 0 } else { matching },
            results,
            text: text_plan(self, query).await?,
            recency: query
                .recency
                .map(|half_life| RecencyPlan::new(half_life, matching, matching)),
            stages: vec![SearchStage::new("search", micros)],
            ..SearchPlan::default()
        })
    }

    /// Number of entries in a scope.
    ///
    /// # Errors
    ///
    /// As [`stats_for_scope`](Self::stats_for_scope).
    async fn count(&self, scope: &StateScope) -> Result<u64> {
        Ok(self.stats_for_scope(scope).await?.vectors)
    }
}

/// What a write does with an id that exists in its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExisting {
    /// Fails, and stores nothing of the batch.
    Refuse,
    /// Replaces vector, text, sparse vectors, metadata and times, but keeps the time of creation.
    Replace,
}
