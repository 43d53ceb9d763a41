//! How does a namespace get its index of metadata? By whoever asks first, or by the indexer.

use llmspell_core::{DateFields, OwnTime, Result, StateScope};
use roaring::RoaringBitmap;

use crate::ids::PointId;
use crate::metadata_index::{IndexType, MetadataIndex, MetadataIndexConfig};
use crate::namespace::{Namespace, State};
use crate::registry::Space;
use crate::snapshot::Snapshot;
use crate::truth::Truth;

/// How often an index is brought up to what was committed while it was built. What is left then, filters look at.
const CATCH_UPS_MAX: usize = 4;
/// Living points from which on the indexer makes an index where there is no file of one: a filter would wait for it longer
/// than for looking at all metadata itself.
const BACKGROUND_POINTS_MIN: u64 = 16_384;
/// How often a snapshot is taken until nothing was committed in between.
const SNAPSHOTS_MAX: usize = 1_000;

/// Makes the metadata index of a namespace that a filter asks about, if it is large enough and has none; or one anew, where
/// a filter is the first to name one of the `times` of the entries, or other fields hold dates now. Where that takes long the indexer
/// does it, and filters look at all metadata until then.
///
/// # Errors
///
/// `Data` or `Io` when the metadata cannot be read.
pub(crate) fn index_for_filter(
    truth: &Truth,
    space: &Space,
    scope: &StateScope,
    namespace: &Namespace,
    times: &[OwnTime],
) -> Result<()> {
    namespace.want_times(times);
    let state = namespace.state();
    if !is_due(&state, space, namespace) {
        if namespace.is_metadata_behind() {
            space.queue.want_metadata((space.id, scope.clone()));
        }
        return Ok(());
    }
    let is_saved = state.metadata.is_none() && state.metadata_file.is_some() && !namespace.is_metadata_file_bad();
    if !is_saved && state.live_count() >= BACKGROUND_POINTS_MIN {
        space.queue.want_metadata((space.id, scope.clone()));
        return Ok(());
    }
    // Whoever comes second waits: looking at everything would take as long.
    let _turn = namespace.building_metadata.lock();
    build_metadata(truth, space, namespace, &|| false)?;
    // It may belong into a file.
    space.note(scope, namespace);
    Ok(())
}

/// Makes the metadata index of a namespace for the indexer, unless somebody is at it.
///
/// # Errors
///
/// `Data` or `Io` when the metadata cannot be read.
pub(crate) fn index_in_background(
    truth: &Truth,
    space: &Space,
    namespace: &Namespace,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    match namespace.building_metadata.try_lock() {
        Some(_turn) => build_metadata(truth, space, namespace, is_cancelled),
        None => Ok(()),
    }
}

fn is_due(state: &State, space: &Space, namespace: &Namespace) -> bool {
    let is_wanted = match &state.metadata {
        None => state.live_count() >= space.metadata_points_min(),
        Some(index) => {
            *index.dates() != space.dates() || namespace.wanted_times().iter().any(|time| !index.has_time(*time))
        }
    };
    is_wanted && !state.is_dropped
}

/// Commits go on meanwhile. The caller has the turn.
fn build_metadata(truth: &Truth, space: &Space, namespace: &Namespace, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
    if !is_due(&namespace.state(), space, namespace) && !namespace.is_metadata_behind() {
        return Ok(());
    }
    namespace.watch_points();
    let built = build(truth, space, namespace, is_cancelled);
    if let Ok(Some(index)) = built {
        namespace.publish_metadata(index);
        space.weigh(namespace);
        return Ok(());
    }
    namespace.unwatch_points();
    built.map(drop)
}

/// An index of what is committed, but for the points that are watched when it returns; none if there is no peace, or it
/// was cancelled.
fn build(
    truth: &Truth,
    space: &Space,
    namespace: &Namespace,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Option<MetadataIndex>> {
    let Some((mut snapshot, _)) = snapshot_and_changes(truth, space, namespace)? else {
        return Ok(None);
    };
    let (dates, times) = (space.dates(), namespace.wanted_times());
    let known = snapshot.state.metadata.as_ref().filter(|index| *index.dates() == dates);
    let begun = match known {
        Some(known) => snapshot.read_up((**known).clone(), is_cancelled)?,
        None => snapshot.saved_index(space, &dates, is_cancelled)?,
    };
    let is_known = known.is_some();
    let index = match begun {
        None if is_known => None,
        Some(index) => snapshot.with_times(index, &times, is_cancelled)?,
        None => snapshot.new_index(&dates, &times, is_cancelled)?,
    };
    let Some(mut index) = index else { return Ok(None) };
    for _ in 0..CATCH_UPS_MAX {
        let Some((newer, changed)) = snapshot_and_changes(truth, space, namespace)? else {
            return Ok(None);
        };
        if changed.is_empty() {
            break;
        }
        for point in changed.iter().map(PointId) {
            if let Some((metadata, times)) = snapshot.described(point)? {
                index.remove_with_times(point.0, &metadata, &times);
            }
            if let Some((metadata, times)) = newer.described(point)? {
                index.insert_with_times(point.0, &metadata, &times);
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

/// An index without points in which these fields hold dates.
fn empty_index(dates: &DateFields) -> Result<MetadataIndex> {
    let mut index = MetadataIndex::new(MetadataIndexConfig::default());
    for path in dates.iter() {
        index.configure_field(path.clone(), IndexType::Date)?;
    }
    Ok(index)
}

impl Snapshot<'_> {
    /// An index of all metadata, and of these times; none if that was cancelled.
    fn new_index(
        &self,
        dates: &DateFields,
        times: &[OwnTime],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<MetadataIndex>> {
        let mut index = empty_index(dates)?;
        times.iter().for_each(|time| index.index_time(*time));
        let mut loading = index.loading();
        let is_done = self.visit_living(is_cancelled, &mut |point, record| {
            loading.insert(point.0, &self.metadata(point, record)?, &record.times());
            Ok(())
        })?;
        drop(loading);
        Ok(is_done.then_some(index))
    }

    /// The same index with the metadata of the points that wait for it; none if that was cancelled.
    fn read_up(&self, mut index: MetadataIndex, is_cancelled: &dyn Fn() -> bool) -> Result<Option<MetadataIndex>> {
        let unread = index.begin_reading();
        let mut loading = index.loading();
        let is_done = self.visit(&unread, is_cancelled, &mut |point, record| {
            loading.insert(point.0, &self.metadata(point, record)?, &record.times());
            Ok(())
        })?;
        drop(loading);
        Ok(is_done.then_some(index))
    }

    /// The same index with these times too; none if that was cancelled.
    fn with_times(
        &self,
        mut index: MetadataIndex,
        times: &[OwnTime],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<MetadataIndex>> {
        if times.iter().all(|time| index.has_time(*time)) {
            return Ok(Some(index));
        }
        times.iter().for_each(|time| index.index_time(*time));
        let is_done = self.visit_living(is_cancelled, &mut |point, record| {
            index.fill_times(point.0, &record.times());
            Ok(())
        })?;
        Ok(is_done.then_some(index))
    }

    /// The index that is in a file, with the metadata of the points that have changed since; none if there is none, or
    /// at any doubt.
    fn saved_index(
        &self,
        space: &Space,
        dates: &DateFields,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<MetadataIndex>> {
        let Some(file) = &self.state.metadata_file else {
            return Ok(None);
        };
        let restored = match space.read_metadata(self.namespace.scope_id, file, is_cancelled) {
            Ok(Some(restored)) => restored,
            Ok(None) => return Ok(None),
            Err(_) => {
                self.namespace.set_metadata_file_bad(true);
                return Ok(None);
            }
        };
        let (mut index, living) = (restored.index, self.state.living());
        let stale = restored.stale & &living;
        let is_whole = index.points() | &stale == living && index.points().is_disjoint(&stale);
        if !is_whole || !index.is_configured_as(&empty_index(dates)?) {
            self.namespace.set_metadata_file_bad(true);
            return Ok(None);
        }
        index.distrust(&stale);
        self.read_up(index, is_cancelled)
    }
}
