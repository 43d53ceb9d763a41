//! Search: which entries are nearest.
//!
//! The server finds a shortlist, by comparing all rows of the scope or by its index; distances are computed here, from the vectors of
//! the shortlist. A shortlist of all rows grows until no row outside of it can be better ([`super::shortlist`]). If an index gives
//! fewer than `k` matches, all rows are compared.

use llmspell_core::{
    DistanceMetric, DistancesFrom, EntryTimes, RecencyPlan, Result, SearchPath, Selection, StateScope, Timestamp,
    VectorQuery, VectorResult, recency_score,
};
use llmspell_vector::ExactDistance;

use super::filter::{Param, SqlFilter, typed};
use super::rows::{self, ENTRY};
use super::shortlist::reach;
use super::space::PostgresVectors;
use super::write::kernel_metric;
use crate::schema::{IndexKind, ordering};
use crate::session::{Access, Reach};
use crate::sql::{LIVE, NOW, hex};

/// pgvector's widest beam.
const EF_MAX: usize = 1_000;
/// With recency, an index gives this many per result, and at least this many.
const RECENT_PER_K: usize = 8;
const RECENT_MIN: usize = 200;
/// Codes that lose much give this many per result, and at least this many.
const CODED_PER_K: usize = 8;
const CODED_MIN: usize = 100;

/// What a search did, for `explain`.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) paths: Vec<SearchPath>,
    pub(super) ef: usize,
    /// Rows whose distances were computed here.
    pub(super) distances: u64,
    pub(super) recency: Option<RecencyPlan>,
    pub(super) selection: Option<llmspell_core::SelectionPlan>,
    /// Whether the filter decided here, on rows that SQL had selected.
    pub(super) is_filtered_here: bool,
}

/// One scope's part of a search.
struct Asked<'q> {
    query: &'q VectorQuery,
    scope: &'q StateScope,
    /// Its parameters follow the vector and the scope.
    filter: SqlFilter,
    distance: ExactDistance,
}

/// Parameters before those of the filter.
const BEFORE_FILTER: usize = 2;

impl PostgresVectors {
    /// The answer to a valid query.
    pub(super) async fn answer(&self, query: &VectorQuery, trace: &mut Trace) -> Result<Vec<VectorResult>> {
        let Some(mut selection) = Selection::of(query, self.space.metric, self.dates()) else {
            let mut found = self.nearest(&query.with_passed_over(), trace).await?;
            found.drain(..query.offset.min(found.len()));
            return Ok(found);
        };
        let metric = kernel_metric(self.space.metric);
        let distances = move |own: &[f32]| -> DistancesFrom<'static> {
            let own = ExactDistance::new(metric, own);
            Box::new(move |other| own.distance(other))
        };
        loop {
            *trace = Trace::default();
            let found = self.nearest(selection.next(), trace).await?;
            if !selection.take(found, &distances) {
                trace.selection = Some(selection.plan());
                return Ok(selection.into_results(query.offset));
            }
        }
    }

    /// The best `k` of all scopes of a query.
    async fn nearest(&self, query: &VectorQuery, trace: &mut Trace) -> Result<Vec<VectorResult>> {
        let scopes = query.searched_scopes();
        if query.scopes.is_none() {
            return self.nearest_in(query, scopes[0], trace).await;
        }
        let mut found = Vec::new();
        for (place, scope) in scopes.into_iter().enumerate() {
            let results = self.nearest_in(query, scope, trace).await?;
            found.extend(results.into_iter().map(|mut result| {
                result.scope = Some(scope.clone());
                (result, place)
            }));
        }
        found.sort_by(|(a, a_place), (b, b_place)| {
            a.rank(b)
                .then_with(|| a_place.cmp(b_place))
                .then_with(|| a.id.cmp(&b.id))
        });
        found.truncate(query.k);
        Ok(found.into_iter().map(|(result, _)| result).collect())
    }

    async fn nearest_in(
        &self,
        query: &VectorQuery,
        scope: &StateScope,
        trace: &mut Trace,
    ) -> Result<Vec<VectorResult>> {
        let whole = query.whole_filter();
        let asked = Asked {
            query,
            scope,
            filter: self.sql_filter(whole.as_deref(), BEFORE_FILTER)?,
            distance: ExactDistance::new(kernel_metric(self.space.metric), &query.vector),
        };
        trace.is_filtered_here |= asked.filter.rest.is_some();
        if !query.exact
            && let Some(kind) = self.index_of(&scope.to_bytes()).await?
            && let Some(found) = self.by_index(&asked, kind, trace).await?
        {
            return Ok(found);
        }
        self.by_comparing_all(&asked, trace).await
    }

    /// The answer of an index; none if it gave fewer than `k` matches.
    async fn by_index(
        &self,
        asked: &Asked<'_>,
        kind: IndexKind,
        trace: &mut Trace,
    ) -> Result<Option<Vec<VectorResult>>> {
        let k = asked.query.k;
        let coded = match kind {
            IndexKind::Whole => k + k / 4 + 8,
            IndexKind::Half => 2 * k + 16,
            IndexKind::Leading(_) | IndexKind::Signs => (CODED_PER_K * k).max(CODED_MIN),
        };
        let length = match asked.query.recency {
            Some(_) => coded.max(RECENT_PER_K * k).max(RECENT_MIN),
            None => coded,
        };
        let named = asked.query.ef_search.unwrap_or_else(|| self.space.config.ef_search());
        trace.ef = named.max(length).min(EF_MAX);
        trace.paths.push(match asked.query.whole_filter() {
            Some(_) => SearchPath::GraphAfter,
            None => SearchPath::Graph,
        });
        // Only the index gives the order without a sort.
        let settings = format!(
            " SET LOCAL hnsw.ef_search = {}; SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL enable_seqscan = off; \
             SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off;",
            trace.ef
        );
        let rows = self.rows(asked, Some(kind), &settings, length).await?;
        let shortlist = self.compared(asked, &rows, trace)?;
        trace.note_recency(asked.query, length, shortlist.len());
        if shortlist.len() < k {
            return Ok(None);
        }
        Ok(Some(best(asked.query, shortlist)))
    }

    async fn by_comparing_all(&self, asked: &Asked<'_>, trace: &mut Trace) -> Result<Vec<VectorResult>> {
        trace.paths.push(SearchPath::Exact);
        let (metric, dim, k) = (self.space.metric, self.space.dim, asked.query.k);
        let query_norm = norm(&asked.query.vector);
        let mut length = k + (k / 4).max(8);
        if asked.filter.rest.is_some() || asked.query.recency.is_some() {
            length = (4 * length).max(RECENT_MIN);
        }
        loop {
            let rows = self.rows(asked, None, "", length).await?;
            let is_all = rows.len() < length;
            let last = rows.last().map_or(f64::INFINITY, |row| row.get("d"));
            let longest: f64 = rows.first().map_or(0.0, |row| row.get("longest"));
            let found = self.compared(asked, &rows, trace)?;
            let shortlist = found.len();
            let beyond = reach(metric, dim, last, query_norm * longest);
            let is_settled = is_all || is_settled(asked.query, &found, beyond, metric);
            if is_settled {
                trace.note_recency(asked.query, shortlist, shortlist);
                return Ok(best(asked.query, found));
            }
            length = length.saturating_mul(4);
        }
    }

    /// The first rows by the server's distance, which is the column `d`.
    async fn rows(
        &self,
        asked: &Asked<'_>,
        index: Option<IndexKind>,
        settings: &str,
        length: usize,
    ) -> Result<Vec<tokio_postgres::Row>> {
        let (table, metric, dim) = (&self.space.table, self.space.metric, self.space.dim);
        let scope = asked.scope.to_bytes();
        let reach = Reach::of(asked.scope);
        if index.is_none() && asked.filter.is_all() {
            // One text for all such searches: the server parses and plans it once for each connection.
            let sql = self.exact_sql("$1::vector", "true", "$3");
            let vector = pgvector::Vector::from(asked.query.vector.clone());
            let limit = i64::try_from(length).unwrap_or(i64::MAX);
            return self.inner.read(&reach, &sql, &[&vector, &scope, &limit]).await;
        }
        let query = format!("$1::float4[]::vector({dim})");
        let filter = &asked.filter.sql;
        let sql = match index {
            // The planner must see the scope to know that the index serves.
            Some(kind) => format!(
                "SELECT {ENTRY}, {NOW} AS now FROM {table} WHERE scope = '\\x{}' AND $2::bytea IS NOT NULL AND {LIVE} AND {filter} \
                 ORDER BY {} LIMIT {length}",
                hex(&scope),
                ordering(Some(kind), &query, dim, metric)
            ),
            None => self.exact_sql(&query, filter, &length.to_string()),
        };
        let mut params = vec![Param::Floats(asked.query.vector.clone()), Param::Bytes(scope)];
        params.extend(asked.filter.params.iter().cloned());
        self.inner
            .once_typed(&reach, Access::Read, settings, &sql, &typed(&params))
            .await
    }

    /// The rows of the scope `$2` by their distances, which no index gives.
    fn exact_sql(&self, query: &str, filter: &str, limit: &str) -> String {
        let (table, metric) = (&self.space.table, self.space.metric);
        let order = ordering(None, query, self.space.dim, metric);
        let longest = match metric {
            DistanceMetric::InnerProduct => "max(vector_norm(v)) OVER ()",
            DistanceMetric::Cosine | DistanceMetric::Euclidean | DistanceMetric::Manhattan => "0::float8",
        };
        format!(
            "SELECT {ENTRY}, {NOW} AS now, {order} AS d, {longest} AS longest FROM {table} \
             WHERE scope = $2 AND {LIVE} AND {filter} ORDER BY d, id LIMIT {limit}"
        )
    }

    /// The matching rows with their exact distances, best first.
    fn compared(
        &self,
        asked: &Asked<'_>,
        rows: &[tokio_postgres::Row],
        trace: &mut Trace,
    ) -> Result<Vec<VectorResult>> {
        let table = &self.space.table;
        let query = asked.query;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let times = rows::times(row);
            let needs_metadata = query.include_metadata || asked.filter.rest.is_some();
            let metadata = match needs_metadata {
                true => Some(rows::metadata(row, table)?),
                false => None,
            };
            if let (Some(filter), Some(metadata)) = (&asked.filter.rest, &metadata)
                && !filter.matches_with(metadata, &times)
            {
                continue;
            }
            let vector = rows::vector(row);
            let distance = asked.distance.distance(&vector);
            trace.distances += 1;
            let mut result = VectorResult::new(rows::id(row, table)?, self.space.metric.score(distance), distance);
            result.metadata = metadata.filter(|_| query.include_metadata);
            result.vector = query.include_vectors.then_some(vector);
            result.recency_score = query
                .recency
                .map(|half_life| aged(result.score, &times, row.get("now"), half_life));
            found.push(result);
        }
        found.sort_by(|a, b| a.rank(b).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }
}

fn aged(score: f32, times: &EntryTimes, now: i64, half_life: std::time::Duration) -> f32 {
    recency_score(score, times.age_ms(Timestamp::from_millis(now)), half_life)
}

fn norm(vector: &[f32]) -> f64 {
    vector
        .iter()
        .map(|component| f64::from(*component).powi(2))
        .sum::<f64>()
        .sqrt()
}

/// Whether no row beyond the shortlist, each at least this far, can be among the best `k`.
fn is_settled(query: &VectorQuery, found: &[VectorResult], beyond: f64, metric: DistanceMetric) -> bool {
    // No recency score exceeds the plain score.
    let beyond_score = f64::from(metric.score(beyond as f32)) + 1e-6;
    if query
        .threshold
        .is_some_and(|threshold| beyond_score < f64::from(threshold))
    {
        return true;
    }
    let counted = found.iter().filter(|result| passes(query, result));
    let Some(last) = counted.take(query.k).nth(query.k - 1) else {
        return false;
    };
    match last.recency_score {
        Some(score) => f64::from(score) > beyond_score,
        None => f64::from(last.distance) < beyond,
    }
}

fn passes(query: &VectorQuery, result: &VectorResult) -> bool {
    query.threshold.is_none_or(|threshold| result.score >= threshold)
}

/// The best `k` of those that pass the threshold.
fn best(query: &VectorQuery, found: Vec<VectorResult>) -> Vec<VectorResult> {
    found
        .into_iter()
        .filter(|result| passes(query, result))
        .take(query.k)
        .collect()
}

impl Trace {
    fn note_recency(&mut self, query: &VectorQuery, shortlist: usize, ranked: usize) {
        let plan = |half_life| RecencyPlan::new(half_life, shortlist as u64, ranked as u64);
        self.recency = query.recency.map(plan);
    }
}
