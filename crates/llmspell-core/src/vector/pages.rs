//! [`Pages`]: all entries of a scope, a page at a time.

use llmspell_state_traits::StateScope;

use super::entry::VectorEntry;
use super::storage::VectorStorage;
use crate::error::Result;
use crate::filter::Filter;

/// Default number of entries of a page.
const DEFAULT_PAGE: usize = 1_000;

/// The entries of a scope in byte order of their ids, a page at a time: [`list`](VectorStorage::list) that keeps its
/// own `after`.
///
/// Each page is as of its own moment: an entry written meanwhile is seen if its id is greater than the last one read.
///
/// ```
/// # use llmspell_core::{Pages, Result, StateScope, VectorStorage};
/// # async fn example(storage: &dyn VectorStorage) -> Result<()> {
/// let mut pages = Pages::new(storage, StateScope::user("ada"));
/// while let Some(entries) = pages.next().await? {
///     println!("{} more", entries.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pages<'s, S: VectorStorage + ?Sized> {
    storage: &'s S,
    scope: StateScope,
    filter: Option<Filter>,
    limit: usize,
    after: Option<String>,
    is_at_end: bool,
}

impl<'s, S: VectorStorage + ?Sized> Pages<'s, S> {
    /// Pages of 1,000 entries of a scope. Reads nothing yet.
    #[must_use]
    pub fn new(storage: &'s S, scope: StateScope) -> Self {
        Self {
            storage,
            scope,
            filter: None,
            limit: DEFAULT_PAGE,
            after: None,
            is_at_end: false,
        }
    }

    /// Most entries of a page, 1 to [`PAGE_MAX`](crate::limits::PAGE_MAX).
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Only entries that match a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Starts after an id, which need not exist: to continue where an earlier reader stopped.
    #[must_use]
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// The next entries, at least one; none at the end. After an error the same page can be read again.
    ///
    /// # Errors
    ///
    /// As [`list`](VectorStorage::list) and [`list_matching`](VectorStorage::list_matching).
    pub async fn next(&mut self) -> Result<Option<Vec<VectorEntry>>> {
        if self.is_at_end {
            return Ok(None);
        }
        let after = self.after.as_deref();
        let page = match &self.filter {
            None => self.storage.list(&self.scope, after, self.limit).await?,
            Some(filter) => {
                self.storage
                    .list_matching(&self.scope, filter, after, self.limit)
                    .await?
            }
        };
        self.is_at_end = page.len() < self.limit;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.id.clone());
        Ok(Some(page))
    }
}
