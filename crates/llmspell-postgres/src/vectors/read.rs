//! Reads: how entries are read, listed and counted.

use llmspell_core::{
    DateFields, Filter, IndexStats, ListBegin, ListPage, ListQuery, Result, ScopeKind, ScopedStats, StateScope,
    StorageStats, Timestamp, VectorEntry,
};

use super::filter::{Param, SqlFilter, typed};
use super::rows::{self, ENTRY};
use super::space::PostgresVectors;
use crate::schema::index_name;
use crate::session::{Access, Reach};
use crate::sql::{LIVE, one_count};

/// Most entries that are read at a time: with long vectors, some 64 MiB.
const ROWS_BYTES_MAX: usize = 64 << 20;

/// Which entries of a scope are read, and in which order.
pub(super) struct Listing<'q> {
    pub(super) filter: SqlFilter,
    /// The column that decides the order before the id; none for an order by id.
    pub(super) time: Option<&'static str>,
    pub(super) is_descending: bool,
    pub(super) begin: Option<Begin<'q>>,
}

/// The place after which entries are read.
#[derive(Clone)]
pub(super) struct Begin<'q> {
    millis: i64,
    id: std::borrow::Cow<'q, str>,
    /// Whether an entry that stands there is read as well.
    is_included: bool,
}

impl<'q> Begin<'q> {
    pub(super) fn after(id: &'q str) -> Self {
        Self {
            millis: 0,
            id: id.into(),
            is_included: false,
        }
    }

    fn of(begin: ListBegin<'q>) -> Self {
        Self {
            millis: begin.millis,
            id: begin.id.into(),
            is_included: begin.is_included,
        }
    }
}

/// Parameters before those of the filter: the scope.
pub(super) const LISTING_PARAMS: usize = 1;

impl PostgresVectors {
    pub(super) async fn one(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        let table = &self.space.table;
        let sql = format!("SELECT {ENTRY} FROM {table} WHERE scope = $1 AND id = $2 AND {LIVE}");
        let rows = self
            .inner
            .read(&Reach::of(scope), &sql, &[&scope.to_bytes(), &id.as_bytes()])
            .await?;
        rows.first().map(|row| rows::entry(row, scope, table)).transpose()
    }

    /// All as of one moment, in the order of the ids.
    pub(super) async fn several(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        let table = &self.space.table;
        let sql = format!(
            "SELECT {ENTRY}, asked.place FROM unnest($2::bytea[]) WITH ORDINALITY AS asked (asked_id, place) \
             JOIN {table} ON id = asked.asked_id WHERE scope = $1 AND {LIVE}"
        );
        let bytes: Vec<&[u8]> = ids.iter().map(String::as_bytes).collect();
        let rows = self
            .inner
            .read(&Reach::of(scope), &sql, &[&scope.to_bytes(), &bytes])
            .await?;
        let mut entries = vec![None; ids.len()];
        for row in &rows {
            // Ordinality counts from 1.
            let place = usize::try_from(row.get::<_, i64>("place")).unwrap_or(1) - 1;
            entries[place] = Some(rows::entry(row, scope, table)?);
        }
        Ok(entries)
    }

    /// The first `limit` entries of a listing.
    pub(super) async fn listed(
        &self,
        scope: &StateScope,
        listing: &Listing<'_>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        let mut found = Vec::new();
        let mut begin = listing.begin.clone();
        let rows_max = (ROWS_BYTES_MAX / (4 * self.space.dim + 512)).max(1);
        loop {
            // A filter that decides here may leave few of many.
            let wanted = match listing.filter.rest {
                None => limit - found.len(),
                Some(_) => (4 * (limit - found.len())).max(256),
            };
            let count = wanted.min(rows_max);
            let page = self.page(scope, listing, begin.as_ref(), count).await?;
            let is_last = page.len() < count;
            if let Some(last) = page.last() {
                let millis = listing.time.map_or(0, |column| {
                    let times = last.times();
                    let of = llmspell_core::filter::OwnTime::ALL;
                    let time = of
                        .into_iter()
                        .find(|time| time.name().trim_start_matches('@') == column);
                    time.and_then(|time| times.get(time)).map_or(0, Timestamp::as_millis)
                });
                begin = Some(Begin {
                    millis,
                    id: last.id.clone().into(),
                    is_included: false,
                });
            }
            let matches = |entry: &VectorEntry| {
                listing
                    .filter
                    .rest
                    .as_ref()
                    .is_none_or(|filter| filter.matches_entry(entry))
            };
            found.extend(page.into_iter().filter(matches).take(limit - found.len()));
            if is_last || found.len() == limit {
                return Ok(found);
            }
        }
    }

    async fn page(
        &self,
        scope: &StateScope,
        listing: &Listing<'_>,
        begin: Option<&Begin<'_>>,
        count: usize,
    ) -> Result<Vec<VectorEntry>> {
        let table = &self.space.table;
        let mut params = vec![Param::Bytes(scope.to_bytes())];
        params.extend(listing.filter.params.iter().cloned());
        let mut condition = format!("scope = $1 AND {LIVE} AND {}", listing.filter.sql);
        let (beyond, direction) = if listing.is_descending {
            ("<", " DESC")
        } else {
            (">", "")
        };
        if let Some(begin) = begin {
            params.push(Param::Bytes(begin.id.as_bytes().to_vec()));
            let id = params.len();
            let equal = if begin.is_included { "=" } else { "" };
            match listing.time {
                None => condition.push_str(&format!(" AND id {beyond}{equal} ${id}")),
                Some(column) => {
                    params.push(Param::Int(begin.millis));
                    let millis = params.len();
                    condition.push_str(&format!(" AND ({column}, id) {beyond}{equal} (${millis}, ${id})"));
                }
            }
        }
        let order = match listing.time {
            None => format!("id{direction}"),
            Some(column) => {
                condition.push_str(&format!(" AND {column} IS NOT NULL"));
                format!("{column}{direction}, id{direction}")
            }
        };
        params.push(Param::Int(i64::try_from(count).unwrap_or(i64::MAX)));
        let limit = params.len();
        let sql = format!("SELECT {ENTRY} FROM {table} WHERE {condition} ORDER BY {order} LIMIT ${limit}");
        let rows = self
            .inner
            .once_typed(&Reach::of(scope), Access::Read, "", &sql, &typed(&params))
            .await?;
        rows.iter().map(|row| rows::entry(row, scope, table)).collect()
    }

    pub(super) async fn page_of(&self, query: &ListQuery) -> Result<ListPage> {
        let mut entries = Vec::new();
        for scope in query.listed_scopes() {
            let listing = Listing {
                filter: self.sql_filter(query.filter.as_ref(), LISTING_PARAMS)?,
                time: query.ordering_time().map(|time| time.name().trim_start_matches('@')),
                is_descending: query.order.is_descending(),
                begin: query.begin(scope).map(Begin::of),
            };
            entries.extend(self.listed(scope, &listing, query.limit + 1).await?);
        }
        Ok(query.page(entries))
    }

    pub(super) fn sql_filter(&self, filter: Option<&Filter>, before: usize) -> Result<SqlFilter> {
        match filter {
            None => Ok(SqlFilter::all()),
            Some(filter) => SqlFilter::of(filter, self.dates(), before),
        }
    }

    pub(super) fn dates(&self) -> &DateFields {
        self.space.config.date_fields()
    }

    /// The number of entries that meet the SQL of a filter.
    pub(super) async fn counted(&self, scope: &StateScope, filter: &SqlFilter) -> Result<u64> {
        let mut params = vec![Param::Bytes(scope.to_bytes())];
        params.extend(filter.params.iter().cloned());
        let sql = format!(
            "SELECT count(*) FROM {} WHERE scope = $1 AND {LIVE} AND {}",
            self.space.table, filter.sql
        );
        Ok(one_count(
            &self
                .inner
                .once_typed(&Reach::of(scope), Access::Read, "", &sql, &typed(&params))
                .await?,
        ))
    }

    pub(super) async fn remove_matching(&self, scope: &StateScope, filter: &SqlFilter) -> Result<u64> {
        let condition = format!("scope = $1 AND {LIVE} AND {}", filter.sql);
        let mut params = vec![Param::Bytes(scope.to_bytes())];
        params.extend(filter.params.iter().cloned());
        let (reach, sql) = (Reach::of(scope), self.remove_sql(&condition));
        Ok(one_count(
            &self
                .inner
                .once_typed(&reach, Access::Write, "", &sql, &typed(&params))
                .await?,
        ))
    }

    pub(super) async fn remove_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
        let bytes: Vec<Vec<u8>> = scopes.iter().map(StateScope::to_bytes).collect();
        let reach = Reach::of_all(bytes.iter().map(Vec::as_slice));
        let sql = self.remove_sql("scope = ANY ($1::bytea[])");
        Ok(one_count(&self.inner.change(&reach, &sql, &[&bytes]).await?))
    }

    /// The first byte of a scope is its kind.
    pub(super) async fn remove_kind(&self, kind: ScopeKind) -> Result<u64> {
        let (from, to) = (vec![kind as u8], vec![kind as u8 + 1]);
        let sql = self.remove_sql("scope >= $1 AND scope < $2");
        Ok(one_count(&self.inner.change(&Reach::All, &sql, &[&from, &to]).await?))
    }

    /// Skips from scope to scope, so that it takes time in proportion to their number.
    pub(super) async fn all_scopes(&self) -> Result<Vec<StateScope>> {
        let table = &self.space.table;
        let sql = format!(
            "WITH RECURSIVE s (scope) AS ((SELECT scope FROM {table} ORDER BY scope LIMIT 1) UNION ALL \
             SELECT (SELECT t.scope FROM {table} AS t WHERE t.scope > s.scope ORDER BY t.scope LIMIT 1) FROM s \
             WHERE s.scope IS NOT NULL) \
             SELECT scope FROM s WHERE EXISTS (SELECT FROM {table} AS t WHERE t.scope = s.scope AND {LIVE})"
        );
        let rows = self.inner.read(&Reach::All, &sql, &[]).await?;
        let scopes: Result<Vec<StateScope>> = rows.iter().map(|row| rows::scope(row.get(0), table)).collect();
        let mut scopes = scopes?;
        scopes.sort();
        Ok(scopes)
    }

    pub(super) async fn whole_stats(&self) -> Result<StorageStats> {
        let (table, indexes) = (&self.space.table, &self.inner.names.indexes);
        let sql = format!(
            "SELECT count(*), coalesce(sum(metadata_bytes), 0)::bigint, count(DISTINCT scope), \
             pg_total_relation_size('{table}'::regclass), \
             (SELECT count(*) FROM {table} AS t WHERE {LIVE} AND EXISTS \
             (SELECT FROM {indexes} AS i WHERE i.space = $1 AND i.scope = t.scope AND i.is_ready)) \
             FROM {table} WHERE {LIVE}"
        );
        let rows = self.inner.read(&Reach::All, &sql, &[&self.space.number]).await?;
        let mut stats = StorageStats::default();
        stats.dim = self.space.dim;
        stats.metric = self.space.metric;
        stats.durable = true;
        if let Some(row) = rows.first() {
            let count = |place: usize| u64::try_from(row.get::<_, i64>(place)).unwrap_or(0);
            stats.vectors = count(0);
            stats.vector_bytes = 4 * self.space.dim as u64 * stats.vectors;
            stats.metadata_bytes = count(1);
            stats.scopes = count(2);
            stats.disk_bytes = count(3);
            stats.indexed_vectors = count(4);
        }
        Ok(stats)
    }

    pub(super) async fn scope_stats(&self, scope: &StateScope) -> Result<ScopedStats> {
        let (table, names) = (&self.space.table, &self.inner.names);
        let bytes = scope.to_bytes();
        let sql = format!(
            "SELECT count(*), coalesce(sum(metadata_bytes), 0)::bigint FROM {table} WHERE scope = $1 AND {LIVE}"
        );
        let rows = self.inner.read(&Reach::of(scope), &sql, &[&bytes]).await?;
        let mut stats = ScopedStats::default();
        stats.scope = scope.clone();
        if let Some(row) = rows.first() {
            let count = |place: usize| u64::try_from(row.get::<_, i64>(place)).unwrap_or(0);
            (stats.vectors, stats.metadata_bytes) = (count(0), count(1));
            stats.vector_bytes = 4 * self.space.dim as u64 * stats.vectors;
        }
        match self.index_of(&bytes).await? {
            None => stats.tail_vectors = stats.vectors,
            Some(kind) => {
                let sql = "SELECT coalesce(pg_relation_size(to_regclass($1)), 0)";
                let name = format!(
                    "\"{}\".\"{}\"",
                    names.schema,
                    index_name(names, self.space.number, &bytes)
                );
                let rows = self.inner.read(&Reach::of(scope), sql, &[&name]).await?;
                let mut index = IndexStats::default();
                index.points = stats.vectors;
                index.code = kind.name();
                index.dim = self.space.dim;
                index.file_bytes = one_count(&rows);
                stats.index = Some(index);
            }
        }
        Ok(stats)
    }
}
