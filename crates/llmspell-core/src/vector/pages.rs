//! [`Pages`] and [`Entries`]: all entries of a scope, a page or an entry at a time.

use std::collections::VecDeque;

use futures_core::Stream;
use llmspell_state_traits::StateScope;

use super::cursor::ListCursor;
use super::entry::VectorEntry;
use super::list::{ListOrder, ListQuery};
use super::steps::Steps;
use super::storage::VectorStorage;
use crate::error::Result;
use crate::filter::Filter;

/// The entries of a scope, or of several, a page at a time: [`list_page`](VectorStorage::list_page) that keeps its own
/// cursor. In byte order of the ids, unless another order is chosen.
///
/// Each page is as of its own moment: an entry written meanwhile is seen if its place is after the last one read.
///
/// ```
/// # use llmspell_core::{ListOrder, Pages, Result, StateScope, VectorStorage};
/// # async fn example(storage: &dyn VectorStorage) -> Result<()> {
/// let mut pages = Pages::new(storage, StateScope::user("ada"));
/// while let Some(entries) = pages.next().await? {
///     println!("{} more", entries.len());
/// }
///
/// // One entry after the other, the latest first.
/// let pages = Pages::new(storage, StateScope::session("42")).with_order(ListOrder::NewestFirst);
/// let mut entries = pages.into_entries();
/// while let Some(entry) = entries.next().await? {
///     println!("{}", entry.id);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # As a stream
///
/// [`into_stream`](Self::into_stream) makes a [`Stream`] of pages, [`Entries::into_stream`] one of entries, for the
/// combinators of the crate `futures`:
///
/// ```
/// # use futures_util as futures;
/// use futures::{StreamExt, TryStreamExt};
/// # use llmspell_core::{Pages, Result, StateScope, VectorEntry, VectorStorage};
///
/// # async fn example(storage: &dyn VectorStorage) -> Result<()> {
/// let pages = Pages::new(storage, StateScope::user("ada")).into_stream();
/// let sizes: Vec<usize> = pages.map_ok(|page| page.len()).try_collect().await?;
///
/// let entries = Pages::new(storage, StateScope::user("ada")).into_entries().into_stream();
/// let first: Vec<VectorEntry> = entries.take(10).try_collect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pages<'s, S: VectorStorage + ?Sized> {
    storage: &'s S,
    query: ListQuery,
    is_at_end: bool,
}

impl<'s, S: VectorStorage + ?Sized> Pages<'s, S> {
    /// Pages of 1,000 entries of a scope. Reads nothing yet.
    #[must_use]
    pub fn new(storage: &'s S, scope: StateScope) -> Self {
        Self::of(storage, ListQuery::new(scope))
    }

    /// The page that a query asks for, and those after it. Nothing is read yet.
    #[must_use]
    pub fn of(storage: &'s S, query: ListQuery) -> Self {
        Self {
            storage,
            query,
            is_at_end: false,
        }
    }

    /// Most entries of a page, 1 to [`PAGE_MAX`](crate::limits::PAGE_MAX).
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.query.limit = limit;
        self
    }

    /// Only entries that match a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.query.filter = Some(filter);
        self
    }

    /// Reads the entries in another order.
    #[must_use]
    pub fn with_order(mut self, order: ListOrder) -> Self {
        self.query.order = order;
        self
    }

    /// Starts after an id, which need not exist, in an order by id: to continue where an earlier reader stopped. Choose
    /// the order first.
    #[must_use]
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.query = self.query.after_id(id);
        self
    }

    /// The place after which the next page begins, to continue there later by [`ListQuery::after`]; none at the beginning.
    /// At the end it is the place where the last page began.
    #[must_use]
    pub fn cursor(&self) -> Option<&ListCursor> {
        self.query.after.as_ref()
    }

    /// One entry after the other.
    #[must_use]
    pub fn into_entries(self) -> Entries<'s, S> {
        Entries {
            pages: self,
            page: VecDeque::new(),
        }
    }

    /// A stream of pages, each of at least one entry. It ends after the last page, and after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Vec<VectorEntry>>> + Send + use<'s, S> {
        Steps::new(self, |mut pages| {
            Box::pin(async move {
                let page = pages.next().await;
                (page, pages)
            })
        })
    }

    /// The next entries, at least one; none at the end. After an error the same page can be read again.
    ///
    /// # Errors
    ///
    /// As [`list_page`](VectorStorage::list_page).
    pub async fn next(&mut self) -> Result<Option<Vec<VectorEntry>>> {
        if self.is_at_end {
            return Ok(None);
        }
        let page = self.storage.list_page(&self.query).await?;
        match page.next {
            Some(next) => self.query.after = Some(next),
            None => self.is_at_end = true,
        }
        Ok(Some(page.entries).filter(|entries| !entries.is_empty()))
    }
}

/// The entries of [`Pages`], one after the other; made by [`Pages::into_entries`].
#[derive(Debug, Clone)]
pub struct Entries<'s, S: VectorStorage + ?Sized> {
    pages: Pages<'s, S>,
    page: VecDeque<VectorEntry>,
}

impl<'s, S: VectorStorage + ?Sized> Entries<'s, S> {
    /// A stream of entries. It ends after the last entry, and after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<VectorEntry>> + Send + use<'s, S> {
        Steps::new(self, |mut entries| {
            Box::pin(async move {
                let entry = entries.next().await;
                (entry, entries)
            })
        })
    }

    /// The next entry; none at the end. After an error the same entry can be asked for again.
    ///
    /// # Errors
    ///
    /// As [`Pages::next`].
    pub async fn next(&mut self) -> Result<Option<VectorEntry>> {
        if self.page.is_empty() {
            self.page = self.pages.next().await?.unwrap_or_default().into();
        }
        Ok(self.page.pop_front())
    }
}
