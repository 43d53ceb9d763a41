//! Which living points match a filter?

use llmspell_core::{
    CompiledFilter, DateFields, FacetValue, FieldPath, Filter, Result, Scalar, StateScope, VectorEntry,
};
use roaring::RoaringBitmap;
use std::collections::HashMap;

use super::Snapshot;
use crate::ids::PointId;
use crate::metadata_index::{MetadataIndex, MetadataIndexConfig};
use crate::namespace::Namespace;
use crate::registry::Space;
use crate::truth::Truth;

/// How often an index is brought up to what was committed while it was built. What is left then, filters look at.
const CATCH_UPS_MAX: usize = 4;
/// How often a snapshot is taken until nothing was committed in between.
const SNAPSHOTS_MAX: usize = 1_000;

/// Builds the metadata index of a namespace that is large enough and has none. Commits go on meanwhile.
///
/// # Errors
///
/// `Data` or `Io` when the metadata cannot be read.
pub(crate) fn index_metadata(truth: &Truth, space: &Space, namespace: &Namespace) -> Result<()> {
    let is_due = || {
        let state = namespace.state();
        state.metadata.is_none() && !state.is_dropped && state.live_count() >= space.metadata_points_min()
    };
    if !is_due() {
        return Ok(());
    }
    // Whoever comes second waits: looking at everything would take as long.
    let _turn = namespace.building_metadata.lock();
    if !is_due() {
        return Ok(());
    }
    namespace.watch_points();
    let built = build(truth, space, namespace);
    if let Ok(Some(index)) = built {
        namespace.publish_metadata(index);
        space.weigh(namespace);
        return Ok(());
    }
    namespace.unwatch_points();
    built.map(drop)
}

/// An index of what is committed, but for the points that are watched when it returns; none if there is no peace.
fn build(truth: &Truth, space: &Space, namespace: &Namespace) -> Result<Option<MetadataIndex>> {
    let mut index = MetadataIndex::new(MetadataIndexConfig::default());
    let Some((mut snapshot, _)) = snapshot_and_changes(truth, space, namespace)? else {
        return Ok(None);
    };
    snapshot.read.records(namespace.scope_id)?.visit(|point, record| {
        if snapshot.is_living(point) {
            index.insert(point.0, &snapshot.metadata(point, &record)?);
        }
        Ok(())
    })?;
    for _ in 0..CATCH_UPS_MAX {
        let Some((newer, changed)) = snapshot_and_changes(truth, space, namespace)? else {
            return Ok(None);
        };
        if changed.is_empty() {
            break;
        }
        for point in changed.iter().map(PointId) {
            if let Some(metadata) = snapshot.metadata_of(point)? {
                index.remove(point.0, &metadata);
            }
            if let Some(metadata) = newer.metadata_of(point)? {
                index.insert(point.0, &metadata);
            }
        }
        snapshot = newer;
    }
    Ok(Some(index))
}

/// What is committed, and exactly the points that were changed since the last call.
fn snapshot_and_changes<'a>(
    truth: &Truth,
    space: &'a Space,
    namespace: &'a Namespace,
) -> Result<Option<(Snapshot<'a>, RoaringBitmap)>> {
    let mut changed = RoaringBitmap::new();
    for _ in 0..SNAPSHOTS_MAX {
        let Some(snapshot) = Snapshot::take(truth, &space.slots, namespace)? else {
            return Ok(None);
        };
        let (lsn, points) = namespace.take_watched();
        changed |= points;
        if lsn == snapshot.state.lsn {
            return Ok(Some((snapshot, changed)));
        }
    }
    Ok(None)
}

impl Snapshot<'_> {
    /// The living points that are not hidden and whose metadata passes the filter.
    pub(super) fn candidates(&self, filter: &Filter, hidden: &RoaringBitmap) -> Result<RoaringBitmap> {
        let compiled = filter.compile(&DateFields::none())?;
        let found = match &self.state.metadata {
            Some(index) => index.candidates(filter)?,
            None => None,
        };
        let Some(found) = found else {
            return self.look_at_all(&compiled, hidden);
        };
        let mut points = found.points - hidden;
        let unsure = found.unsure & &points;
        for point in unsure.iter().map(PointId) {
            let matches = self
                .metadata_of(point)?
                .is_some_and(|metadata| compiled.matches(&metadata));
            if !matches {
                points.remove(point.0);
            }
        }
        Ok(points)
    }

    fn look_at_all(&self, filter: &CompiledFilter, hidden: &RoaringBitmap) -> Result<RoaringBitmap> {
        let mut points = RoaringBitmap::new();
        self.read.records(self.namespace.scope_id)?.visit(|point, record| {
            if !hidden.contains(point.0) && filter.matches(&self.metadata(point, &record)?) {
                points.insert(point.0);
            }
            Ok(())
        })?;
        Ok(points)
    }

    /// How many entries match at `now`, in milliseconds since 1970.
    pub(crate) fn count_matching(&self, filter: &Filter, now: i64) -> Result<u64> {
        Ok(self.candidates(filter, &self.state.hidden(now))?.len())
    }

    /// Entries that match, in the order of their ids.
    pub(crate) fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<Vec<VectorEntry>> {
        let points = self.candidates(filter, &self.state.hidden(now))?;
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

    /// The ids of all entries that match, in the order of their points.
    pub(crate) fn ids_matching(&self, filter: &Filter, now: i64) -> Result<Vec<String>> {
        let points = self.candidates(filter, &self.state.hidden(now))?;
        let records = self.read.records(self.namespace.scope_id)?;
        points.iter().map(|point| Ok(records.get(PointId(point))?.id)).collect()
    }

    /// The values of a field among the entries that match, most frequent first.
    pub(crate) fn facet(&self, field: &FieldPath, filter: &Filter, limit: usize, now: i64) -> Result<Vec<FacetValue>> {
        let hidden = self.state.hidden(now);
        let points = self.candidates(filter, &hidden)?;
        let known = self.state.metadata.as_ref();
        if let Some(counts) = known.and_then(|index| index.facet(field, Some(&points), limit)) {
            return Ok(counts);
        }
        let mut counts: HashMap<Scalar, u64> = HashMap::new();
        for point in points.iter().map(PointId) {
            if let Some(metadata) = self.metadata_of(point)? {
                FacetValue::count(field, &metadata, &mut counts);
            }
        }
        Ok(FacetValue::most_frequent(counts, limit))
    }

    fn is_living(&self, point: PointId) -> bool {
        point.0 < self.state.next_point && !self.state.dead.contains(point.0)
    }

    /// The metadata of a point, if it lives.
    fn metadata_of(&self, point: PointId) -> Result<Option<llmspell_core::Metadata>> {
        if !self.is_living(point) {
            return Ok(None);
        }
        let record = self.read.records(self.namespace.scope_id)?.get(point)?;
        self.metadata(point, &record).map(Some)
    }
}
