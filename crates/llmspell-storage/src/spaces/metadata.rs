//! Building of a namespace's metadata index, by the first filter or by the indexer.

use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{DateFields, OwnTime, Result, StateScope, StorageError};

use super::handover::{Answer, Built};
use crate::base::ids::PointId;
use crate::indexes::builds::Noted;
use crate::indexes::changes::Changes;
use crate::indexes::files::Kind;
use crate::namespace::{Namespace, State};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::Truth;
use llmspell_metadata::{IndexType, MetadataIndex, MetadataIndexConfig};

/// How often an index is brought up to what was committed while it was built. Filters read the metadata of later
/// changes.
const CATCH_UPS_MAX: usize = 4;
/// From this many living points on the indexer builds the index if it has no file: a filter would wait for it longer
/// than for reading all metadata itself.
const BACKGROUND_POINTS_MIN: u64 = 16_384;
/// How often an index that was too far behind is brought up and handed over again. After that the next filter tries
/// again.
const ROUNDS_MAX: usize = 16;
/// How long a filter waits for the commit under way, after which its index can be adopted: a filter that reads all
/// metadata takes about as long.
const PATIENCE: Duration = Duration::from_millis(250);

/// Builds the metadata index of a namespace for a filter, if it is large enough and has none; or a new one, if the
/// filter is the first to name one of the `times` of the entries, or other fields hold dates now. If that takes long,
/// the indexer does it, and filters read all metadata until then.
///
/// # Errors
///
/// `Data` or `Io` if the metadata cannot be read.
pub(crate) fn index_for_filter(
    truth: &Truth,
    space: &Space,
    scope: &StateScope,
    namespace: &Arc<Namespace>,
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
    let has_file = state.files.get(Kind::Metadata).is_some_and(|file| !file.is_bad);
    let is_saved = state.metadata.is_none() && has_file;
    if !is_saved && state.live_count() >= BACKGROUND_POINTS_MIN {
        space.queue.want_metadata((space.id, scope.clone()));
        return Ok(());
    }
    // A second filter waits: reading all metadata would take as long.
    let _turn = namespace.builds.begin_after_others(Kind::Metadata);
    match build(truth, space, namespace, &|| false, Some(PATIENCE)) {
        // There is no committer any more, and committed data are still found.
        Err(StorageError::Closed) => return Ok(()),
        done => done?,
    }
    // It may need a file.
    space.note(scope, namespace);
    Ok(())
}

/// Builds the metadata index of a namespace for the indexer, unless another build is under way.
///
/// # Errors
///
/// `Data` or `Io` if the metadata cannot be read.
pub(crate) fn index_in_background(
    truth: &Truth,
    space: &Space,
    namespace: &Arc<Namespace>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    match namespace.builds.begin(Kind::Metadata) {
        Some(_turn) => build(truth, space, namespace, is_cancelled, None),
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

/// Builds the index and hands it over, while commits continue. The caller has the turn. `patience` is how long it waits
/// for the committer; without it, as long as it takes.
fn build(
    truth: &Truth,
    space: &Space,
    namespace: &Arc<Namespace>,
    is_cancelled: &dyn Fn() -> bool,
    patience: Option<Duration>,
) -> Result<()> {
    if !is_due(&namespace.state(), space, namespace) && !namespace.is_metadata_behind() {
        return Ok(());
    }
    let Some(mut draft) = Draft::begin(truth, space, namespace, is_cancelled)? else {
        return Ok(());
    };
    for _ in 0..CATCH_UPS_MAX {
        if draft.noted.is_any() && !draft.catch_up(truth)? {
            return Ok(());
        }
    }
    for _ in 0..ROUNDS_MAX {
        match space.door.hand_over(namespace, draft.built(), patience)? {
            Some(Answer::Behind(index)) => draft.give_back(*index),
            Some(Answer::Adopted | Answer::Refused) | None => break,
        }
        if is_cancelled() || !draft.catch_up(truth)? {
            break;
        }
    }
    space.weigh(namespace);
    Ok(())
}

/// An index under construction.
pub(crate) struct Draft<'a> {
    space: &'a Space,
    namespace: &'a Namespace,
    /// The snapshot that it is an index of; none once it was handed over: a held snapshot keeps pages from being
    /// reused, which the committer may wait for.
    snapshot: Option<Snapshot<'a>>,
    noted: Arc<Noted>,
    index: MetadataIndex,
    is_file_bad: bool,
}

impl<'a> Draft<'a> {
    /// An index of the committed state: from the known index, the file, or all records; none if the scope was dropped,
    /// or it was cancelled.
    pub(crate) fn begin(
        truth: &Truth,
        space: &'a Space,
        namespace: &'a Namespace,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Self>> {
        let Some((snapshot, noted)) = Snapshot::take_noted(truth, &space.slots, namespace)? else {
            return Ok(None);
        };
        let (dates, times) = (space.dates(), namespace.wanted_times());
        let known = snapshot.state.metadata.as_ref().filter(|index| *index.dates() == dates);
        let mut is_file_bad = false;
        let begun = match known {
            Some(known) => snapshot.read_up((**known).clone(), is_cancelled)?,
            None => match snapshot.saved_index(space, &dates, is_cancelled)? {
                Saved::Index(index) => Some(*index),
                Saved::Nothing => None,
                Saved::OfNoUse => {
                    is_file_bad = true;
                    None
                }
            },
        };
        let index = match begun {
            None if known.is_some() => None,
            Some(index) => snapshot.with_times(index, &times, is_cancelled)?,
            None => snapshot.new_index(&dates, &times, is_cancelled)?,
        };
        Ok(index.map(|index| Self {
            space,
            namespace,
            snapshot: Some(snapshot),
            noted,
            index,
            is_file_bad,
        }))
    }

    /// Brings it up to the committed state. False if the scope was dropped.
    pub(crate) fn catch_up(&mut self, truth: &Truth) -> Result<bool> {
        let Some((newer, noted)) = Snapshot::take_noted(truth, &self.space.slots, self.namespace)? else {
            return Ok(false);
        };
        // It may also note changes that the newer snapshot already has: repeating them changes nothing.
        let changes = self.noted.so_far();
        match &self.snapshot {
            Some(older) => bring_up(&mut self.index, &changes, older, &newer)?,
            None => {
                newer.state.bring_up(&mut self.index, &changes);
                let index = std::mem::replace(&mut self.index, nothing());
                match newer.read_up(index, &|| false)? {
                    Some(index) => self.index = index,
                    None => return Ok(false),
                }
            }
        }
        (self.snapshot, self.noted) = (Some(newer), noted);
        Ok(true)
    }

    /// Takes the index to hand it over; it is missing until it [comes back](Self::give_back).
    pub(crate) fn built(&mut self) -> Built {
        self.snapshot = None;
        Built::Metadata {
            index: Box::new(std::mem::replace(&mut self.index, nothing())),
            noted: Arc::clone(&self.noted),
            is_file_bad: self.is_file_bad,
        }
    }

    /// Takes back an index that was too far behind.
    pub(crate) fn give_back(&mut self, index: MetadataIndex) {
        self.index = index;
    }
}

/// Brings an index of one snapshot up to another.
fn bring_up(index: &mut MetadataIndex, changes: &Changes, older: &Snapshot<'_>, newer: &Snapshot<'_>) -> Result<()> {
    for point in changes.points.iter().map(PointId) {
        if let Some((metadata, times)) = older.described(point)? {
            index.remove_with_times(point.0, &metadata, &times);
        }
        if let Some((metadata, times)) = newer.described(point)? {
            index.insert_with_times(point.0, &metadata, &times);
        }
    }
    Ok(())
}

fn nothing() -> MetadataIndex {
    MetadataIndex::new(MetadataIndexConfig::default())
}

/// What could be read from the file of an index.
enum Saved {
    /// There is no file, or reading it was cancelled.
    Nothing,
    OfNoUse,
    Index(Box<MetadataIndex>),
}

/// An index without points, with these date fields.
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

    /// The same index with the metadata of the unread points; none if that was cancelled.
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

    /// The index from its file, with the current metadata of points that changed since.
    fn saved_index(&self, space: &Space, dates: &DateFields, is_cancelled: &dyn Fn() -> bool) -> Result<Saved> {
        let file = match self.state.files.get(Kind::Metadata) {
            None => return Ok(Saved::Nothing),
            Some(file) if file.is_bad => return Ok(Saved::OfNoUse),
            Some(file) => file,
        };
        let restored = match space.read_metadata(self.namespace.scope_id, file, is_cancelled) {
            Ok(Some(restored)) => restored,
            Ok(None) => return Ok(Saved::Nothing),
            Err(_) => return Ok(Saved::OfNoUse),
        };
        let (mut index, living) = (restored.index, self.state.living());
        let stale = restored.stale & &living;
        let is_whole = index.points() | &stale == living && index.points().is_disjoint(&stale);
        if !is_whole || !index.is_configured_as(&empty_index(dates)?) {
            return Ok(Saved::OfNoUse);
        }
        index.distrust(&stale);
        let index = self.read_up(index, is_cancelled)?;
        Ok(index.map_or(Saved::Nothing, |index| Saved::Index(Box::new(index))))
    }
}
