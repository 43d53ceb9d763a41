//! Which entries are listed, and in which order? [`ListQuery`], [`ListOrder`], [`ListPage`]

use std::cmp::Ordering;

use llmspell_state_traits::StateScope;
use serde::{Deserialize, Serialize};

use super::cursor::ListCursor;
use super::entry::VectorEntry;
use super::storage::VectorStorage;
use super::{scopes, validate};
use crate::error::{Result, StorageError};
use crate::filter::{Filter, OwnTime};
use crate::limits::PAGE_MAX;

/// Default number of entries of a page.
pub(super) const DEFAULT_PAGE: usize = 1_000;

/// In which order entries are listed. Each order is total, and [`NewestFirst`](Self::NewestFirst) is
/// [`OldestFirst`](Self::OldestFirst) backwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListOrder {
    /// By the bytes of the ids; equal ids in several scopes by the scope.
    #[default]
    Id,
    /// The reverse of [`Id`](Self::Id).
    IdDescending,
    /// By a [time](ListQuery::time), the earliest first; equal times by id, then by scope.
    OldestFirst,
    /// The reverse of [`OldestFirst`](Self::OldestFirst): the latest first, equal times by the greatest id.
    NewestFirst,
}

impl ListOrder {
    /// All orders.
    pub const ALL: [Self; 4] = [Self::Id, Self::IdDescending, Self::OldestFirst, Self::NewestFirst];

    /// The name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::IdDescending => "id_descending",
            Self::OldestFirst => "oldest_first",
            Self::NewestFirst => "newest_first",
        }
    }

    /// Whether entries are sorted by a time, and by id only if their times are equal.
    #[must_use]
    pub fn is_by_time(self) -> bool {
        matches!(self, Self::OldestFirst | Self::NewestFirst)
    }

    /// Whether the greatest comes first.
    #[must_use]
    pub fn is_descending(self) -> bool {
        matches!(self, Self::IdDescending | Self::NewestFirst)
    }
}

/// A query for a page of the entries of a scope, or of several together, in the order of their ids or of a time, forwards or
/// backwards.
///
/// ```
/// # use llmspell_core::{Filter, ListQuery, Result, StateScope, VectorStorage};
/// # async fn example(storage: &dyn VectorStorage) -> Result<()> {
/// // The last 20 messages of a session, the latest first.
/// let query = ListQuery::newest(StateScope::session("42"), 20);
/// let page = storage.list_page(&query).await?;
/// // The 20 before them.
/// if let Some(cursor) = page.next {
///     let earlier = storage.list_page(&query.after(cursor)).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// [`Pages`](super::Pages) reads one page after the other.
///
/// # JSON
///
/// Every field is optional.
///
/// ```
/// # use llmspell_core::{ListOrder, ListQuery, StateScope};
/// let query: ListQuery = serde_json::from_str(r#"{"scope": "session:42", "order": "newest_first", "limit": 20}"#)?;
/// assert_eq!(query, ListQuery::newest(StateScope::session("42"), 20));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListQuery {
    /// The scope to list; default [`StateScope::Global`].
    #[serde(default)]
    pub scope: StateScope,
    /// Several scopes to list together; `scope` is then ignored. See [`with_scopes`](Self::with_scopes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<StateScope>>,
    /// Only entries that match are listed; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The order; default [`ListOrder::Id`].
    #[serde(default)]
    pub order: ListOrder,
    /// The time by which an order by time sorts; default [`OwnTime::Created`]. Entries without it are not listed; only the
    /// event time can be missing.
    #[serde(default = "created", skip_serializing_if = "is_created")]
    pub time: OwnTime,
    /// The place after which the page begins: the [`next`](ListPage::next) of a page of the same order; default the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ListCursor>,
    /// Most entries of the page, 1 to [`PAGE_MAX`](crate::limits::PAGE_MAX); default 1,000.
    #[serde(default = "default_page")]
    pub limit: usize,
}

fn created() -> OwnTime {
    OwnTime::Created
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_created(time: &OwnTime) -> bool {
    *time == OwnTime::Created
}

fn default_page() -> usize {
    DEFAULT_PAGE
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListPage {
    /// The entries in the order of the query, each as [`get`](VectorStorage::get) returns it.
    pub entries: Vec<VectorEntry>,
    /// Where the next page begins; none if this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ListCursor>,
}

impl ListPage {
    /// Some entries, and where the next page begins, if there are more. For implementers.
    #[must_use]
    pub fn new(entries: Vec<VectorEntry>, next: Option<ListCursor>) -> Self {
        Self { entries, next }
    }
}

/// What an order goes by: the time in milliseconds, 0 in an order by id; the id; the scope.
type Place<'a> = (i64, &'a str, &'a StateScope);

impl ListQuery {
    /// The first 1,000 entries of a scope in the order of their ids.
    #[must_use]
    pub fn new(scope: StateScope) -> Self {
        Self {
            scope,
            scopes: None,
            filter: None,
            order: ListOrder::Id,
            time: OwnTime::Created,
            after: None,
            limit: DEFAULT_PAGE,
        }
    }

    /// The `limit` entries of a scope that were created last, the latest first.
    #[must_use]
    pub fn newest(scope: StateScope, limit: usize) -> Self {
        Self::new(scope).with_order(ListOrder::NewestFirst).with_limit(limit)
    }

    /// The `limit` entries of a scope that were created first, the earliest first.
    #[must_use]
    pub fn oldest(scope: StateScope, limit: usize) -> Self {
        Self::new(scope).with_order(ListOrder::OldestFirst).with_limit(limit)
    }

    /// Lists several scopes together, 1 to [`QUERY_SCOPES_MAX`](crate::limits::QUERY_SCOPES_MAX) of them. A scope that is
    /// named twice counts once; a missing scope is empty. Each scope is read as of its own moment after the call began.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = StateScope>) -> Self {
        self.scopes = Some(scopes.into_iter().collect());
        self
    }

    /// Only entries that match a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Sets the order.
    #[must_use]
    pub fn with_order(mut self, order: ListOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets the time by which an order by time sorts.
    #[must_use]
    pub fn with_time(mut self, time: OwnTime) -> Self {
        self.time = time;
        self
    }

    /// Most entries of the page, 1 to [`PAGE_MAX`](crate::limits::PAGE_MAX).
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Continues where another page ended.
    #[must_use]
    pub fn after(mut self, cursor: ListCursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Starts after an id, which need not exist, in an order by id. Choose the order first.
    #[must_use]
    pub fn after_id(self, id: impl Into<String>) -> Self {
        let cursor = ListCursor {
            order: match self.order.is_descending() {
                true => ListOrder::IdDescending,
                false => ListOrder::Id,
            },
            time: OwnTime::Created,
            millis: 0,
            id: id.into(),
            scope: None,
        };
        self.after(cursor)
    }

    /// Starts after an entry, which need not exist any more: to list later what was added since. Choose order and time
    /// first.
    ///
    /// # Errors
    ///
    /// [`BadCursor`](StorageError::BadCursor) if the entry lacks the time, as an entry does that was not read from a store.
    pub fn after_entry(self, entry: &VectorEntry) -> Result<Self> {
        let cursor = self.cursor_of(entry).ok_or(StorageError::BadCursor {
            reason: "the entry lacks the time that the order goes by",
        })?;
        Ok(self.after(cursor))
    }

    /// The scopes that are listed, each once, in the order in which they were given.
    #[must_use]
    pub fn listed_scopes(&self) -> Vec<&StateScope> {
        scopes::named(&self.scope, self.scopes.as_ref())
    }

    /// The time that decides the order; none in an order by id. For implementers.
    #[must_use]
    pub fn ordering_time(&self) -> Option<OwnTime> {
        self.order.is_by_time().then_some(self.time)
    }

    fn place<'a>(&self, entry: &'a VectorEntry) -> Option<Place<'a>> {
        let millis = match self.ordering_time() {
            Some(time) => entry.times().get(time)?.as_millis(),
            None => 0,
        };
        Some((millis, entry.id.as_str(), &entry.scope))
    }

    /// The place of an entry, after which another page may begin; none if the entry lacks the time that decides the order.
    #[must_use]
    pub fn cursor_of(&self, entry: &VectorEntry) -> Option<ListCursor> {
        let (millis, id, scope) = self.place(entry)?;
        Some(ListCursor {
            order: self.order,
            time: self.ordering_time().unwrap_or(OwnTime::Created),
            millis,
            id: id.to_string(),
            scope: Some(scope.clone()),
        })
    }

    /// Where the entries of a scope begin: none if at the beginning, else a time in milliseconds, which is 0 in an order by
    /// id, and an id, and whether an entry that stands there is listed. For implementers.
    #[must_use]
    pub fn begin(&self, scope: &StateScope) -> Option<ListBegin<'_>> {
        let cursor = self.after.as_ref()?;
        let is_included = cursor
            .scope
            .as_ref()
            .is_some_and(|of| match self.order.is_descending() {
                true => scope < of,
                false => scope > of,
            });
        Some(ListBegin {
            millis: cursor.millis,
            id: &cursor.id,
            is_included,
            is_descending: self.order.is_descending(),
        })
    }

    /// Whether an entry is listed on this page or a later one, as far as its place says. For implementers.
    #[must_use]
    pub fn is_listed(&self, entry: &VectorEntry) -> bool {
        let Some((millis, id, scope)) = self.place(entry) else {
            return false;
        };
        self.begin(scope).is_none_or(|begin| begin.is_before(millis, id))
    }

    /// Sorts entries that are [listed](Self::is_listed), and keeps the first `count`. For implementers.
    pub fn keep_first(&self, entries: &mut Vec<VectorEntry>, count: usize) {
        entries.sort_by(|one, other| {
            let order = self.place(one).cmp(&self.place(other));
            match self.order.is_descending() {
                true => order.reverse(),
                false => order,
            }
        });
        entries.truncate(count);
    }

    /// The page that begins with the first of these entries: all that are [listed](Self::is_listed), or of each scope the
    /// first [`limit`](Self::limit) and one more. For implementers.
    #[must_use]
    pub fn page(&self, mut entries: Vec<VectorEntry>) -> ListPage {
        self.keep_first(&mut entries, self.limit.saturating_add(1));
        let has_more = entries.len() > self.limit;
        entries.truncate(self.limit);
        let last = entries.last().filter(|_| has_more);
        ListPage {
            next: last.and_then(|last| self.cursor_of(last)),
            entries,
        }
    }

    /// What can be told to be wrong without a store.
    pub(super) fn check(&self) -> Result<()> {
        match &self.after {
            Some(cursor) if cursor.order != self.order || self.order.is_by_time() && cursor.time != self.time => {
                let named = |order: ListOrder, time: OwnTime| match order.is_by_time() {
                    true => format!("{} by {}", order.name(), time.name()),
                    false => order.name().to_string(),
                };
                Err(StorageError::CursorOrder {
                    cursor: named(cursor.order, cursor.time),
                    asked: named(self.order, self.time),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Where the entries of one scope begin on a page. For implementers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListBegin<'a> {
    /// The time in milliseconds since 1970; 0 in an order by id.
    pub millis: i64,
    /// The id.
    pub id: &'a str,
    /// Whether an entry of that time and id is listed.
    pub is_included: bool,
    is_descending: bool,
}

impl ListBegin<'_> {
    /// Whether an entry of this time and id is listed.
    #[must_use]
    pub fn is_before(&self, millis: i64, id: &str) -> bool {
        let order = (self.millis, self.id).cmp(&(millis, id));
        match if self.is_descending { order.reverse() } else { order } {
            Ordering::Less => true,
            Ordering::Equal => self.is_included,
            Ordering::Greater => false,
        }
    }
}

/// The page of a store that lists by id only, made of its [`list`](VectorStorage::list) and
/// [`list_matching`](VectorStorage::list_matching).
pub(super) async fn list_page<S: VectorStorage + ?Sized>(store: &S, query: &ListQuery) -> Result<ListPage> {
    validate::list_query(query)?;
    let wanted = query.limit + 1;
    let mut found = Vec::new();
    for scope in query.listed_scopes() {
        let begin = query.begin(scope).filter(|begin| !begin.is_included);
        let mut after = match query.order {
            ListOrder::Id => begin.map(|begin| begin.id.to_string()),
            _ => None,
        };
        let limit = match query.order {
            ListOrder::Id => wanted.min(PAGE_MAX),
            _ => PAGE_MAX,
        };
        let mut listed = Vec::new();
        loop {
            let page = scopes::list_after(store, scope, query.filter.as_ref(), after.as_deref(), limit).await?;
            let is_last = page.len() < limit;
            after = page.last().map(|last| last.id.clone());
            listed.extend(page.into_iter().filter(|entry| query.is_listed(entry)));
            let is_done = query.order == ListOrder::Id && listed.len() >= wanted;
            query.keep_first(&mut listed, wanted);
            if is_last || is_done {
                break;
            }
        }
        found.append(&mut listed);
        query.keep_first(&mut found, wanted);
    }
    Ok(query.page(found))
}
