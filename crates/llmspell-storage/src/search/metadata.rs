//! Compiled filters, and the living points that match one.

use std::collections::HashMap;
use std::sync::Arc;

use llmspell_core::{
    CompiledFilter, DateFields, FacetValue, FieldPath, Filter, OwnTime, Result, Scalar, StateScope, VectorEntry,
};
use roaring::RoaringBitmap;

use crate::base::ids::PointId;
use crate::namespace::Namespace;
use crate::spaces::metadata::index_for_filter;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::Truth;
use llmspell_metadata::MetadataIndex;

/// A compiled filter, with the date fields of its space.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    filter: Filter,
    compiled: CompiledFilter,
    dates: DateFields,
}

impl Condition {
    /// # Errors
    ///
    /// The first problem of the filter.
    pub(crate) fn new(filter: &Filter, dates: DateFields) -> Result<Self> {
        Ok(Self {
            filter: filter.clone(),
            compiled: filter.compile(&dates)?,
            dates,
        })
    }

    /// The filter.
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Equal for all conditions with the same matches.
    pub(super) fn key(&self) -> (&Filter, &DateFields) {
        (&self.filter, &self.dates)
    }

    /// Whether an index has the same date fields. It may be older than their declaration.
    pub(super) fn is_read_by(&self, index: &MetadataIndex) -> bool {
        *index.dates() == self.dates
    }
}

/// Builds the metadata index that a filter needs, or leaves it to the indexer. See
/// [`index_for_filter`](crate::spaces::metadata::index_for_filter).
///
/// # Errors
///
/// `Data` or `Io` if the metadata cannot be read.
pub(crate) fn index_metadata(
    truth: &Truth,
    space: &Space,
    scope: &StateScope,
    namespace: &Arc<Namespace>,
    condition: &Condition,
) -> Result<()> {
    index_for_filter(truth, space, scope, namespace, &condition.filter.own_times())
}

/// The same for a listing in the order of a time, by a filter or without one. Nothing is made for neither.
///
/// # Errors
///
/// As there.
pub(crate) fn index_for_list(
    truth: &Truth,
    space: &Space,
    scope: &StateScope,
    namespace: &Arc<Namespace>,
    (time, condition): (Option<OwnTime>, Option<&Condition>),
) -> Result<()> {
    if time.is_none() && condition.is_none() {
        return Ok(());
    }
    let mut times = condition.map_or_else(Vec::new, |condition| condition.filter.own_times());
    times.extend(time);
    index_for_filter(truth, space, scope, namespace, &times)
}

impl Snapshot<'_> {
    /// The living points that are not hidden and whose metadata matches the filter.
    pub(super) fn candidates(&self, condition: &Condition, hidden: &RoaringBitmap) -> Result<RoaringBitmap> {
        let found = match &self.state.metadata {
            Some(index) if condition.is_read_by(index) => index.candidates(&condition.filter)?,
            _ => None,
        };
        let Some(found) = found else {
            return self.look_at_all(&condition.compiled, hidden);
        };
        let mut points = found.points - hidden;
        let unsure = found.unsure & &points;
        if unsure.is_empty() {
            return Ok(points);
        }
        let mut others = RoaringBitmap::new();
        self.visit(&unsure, &|| false, &mut |point, record| {
            let metadata = self.metadata(point, record)?;
            if !condition.compiled.matches_with(&metadata, &record.times()) {
                others.insert(point.0);
            }
            Ok(())
        })?;
        points -= others;
        Ok(points)
    }

    fn look_at_all(&self, filter: &CompiledFilter, hidden: &RoaringBitmap) -> Result<RoaringBitmap> {
        let mut points = RoaringBitmap::new();
        self.read.records(self.namespace.scope_id)?.visit(|point, record| {
            let is_visible = self.is_living(point) && !hidden.contains(point.0);
            if is_visible && filter.matches_with(&self.metadata(point, &record)?, &record.times()) {
                points.insert(point.0);
            }
            Ok(())
        })?;
        Ok(points)
    }

    /// Number of matches at `now`, in milliseconds since 1970.
    pub(crate) fn count_matching(&self, condition: &Condition, now: i64) -> Result<u64> {
        Ok(self.candidates(condition, &self.state.hidden(now))?.len())
    }

    /// The matches, in the order of their ids.
    pub(crate) fn list_matching(
        &self,
        scope: &StateScope,
        condition: &Condition,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<Vec<VectorEntry>> {
        let points = self.candidates(condition, &self.state.hidden(now))?;
        let records = self.read.records(self.namespace.scope_id)?;
        let mut entries = Vec::new();
        self.read.visit_ids(self.namespace.scope_id, after, |id, point| {
            if points.contains(point.0) {
                entries.push(self.entry(scope, point, records.get_by_id(id, point)?)?);
            }
            Ok(entries.len() < limit)
        })?;
        Ok(entries)
    }

    /// The ids of all matches, in the order of their points.
    pub(crate) fn ids_matching(&self, condition: &Condition, now: i64) -> Result<Vec<String>> {
        let points = self.candidates(condition, &self.state.hidden(now))?;
        let records = self.read.records(self.namespace.scope_id)?;
        points.iter().map(|point| Ok(records.get(PointId(point))?.id)).collect()
    }

    /// The values of a field among the matches, most frequent first.
    pub(crate) fn facet(
        &self,
        field: &FieldPath,
        condition: &Condition,
        limit: usize,
        now: i64,
    ) -> Result<Vec<FacetValue>> {
        let hidden = self.state.hidden(now);
        let points = self.candidates(condition, &hidden)?;
        let known = self.state.metadata.as_ref();
        if let Some(counts) = known.and_then(|index| index.facet(field, Some(&points), limit)) {
            return Ok(counts);
        }
        let mut counts: HashMap<Scalar, u64> = HashMap::new();
        for point in points.iter().map(PointId) {
            if let Some((metadata, _)) = self.described(point)? {
                FacetValue::count(field, &metadata, &mut counts);
            }
        }
        Ok(FacetValue::most_frequent(counts, limit))
    }

    /// Bytes of the metadata, and of the texts that are kept, of entries that have expired at `now`, in milliseconds since
    /// 1970, and are not purged yet.
    pub(crate) fn expired_bytes(&self, now: i64) -> Result<(u64, u64)> {
        let records = self.read.records(self.namespace.scope_id)?;
        let expired = self.state.expiries.expired(now);
        let mut sums = (0, 0);
        for point in expired {
            let record = records.get(PointId(point))?;
            sums.0 += record.metadata.len() as u64;
            sums.1 += record.text.bytes() as u64;
        }
        Ok(sums)
    }
}
