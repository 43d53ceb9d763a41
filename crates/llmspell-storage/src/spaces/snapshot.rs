//! Snapshots: a state of a namespace, and a read transaction as of the same mutation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{EntryTimes, Metadata, Result, StorageError};
use roaring::RoaringBitmap;

use crate::base::error::corrupted;
use crate::base::ids::PointId;
use crate::base::record::Record;
use crate::indexes::builds::Noted;
use crate::namespace::{Namespace, State};
use crate::slots::{SlotStore, SlotView};
use crate::truth::{Read, Truth};

/// If more than one in this many points is read, all are visited in order, which takes less time than look-ups.
const VISITED_SHARE: u64 = 4;
/// How long a reader tries to find a state and a read transaction that belong together.
///
/// The two differ only between a commit and its publication, so the second attempt nearly always succeeds.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// One committed state of a namespace, with everything to read it.
pub(crate) struct Snapshot<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) slots: &'a SlotStore,
    pub(crate) state: Arc<State>,
    pub(crate) view: Arc<SlotView>,
    pub(crate) read: Arc<Read>,
}

/// Repeated attempts to find a state and a read transaction that belong together.
#[derive(Debug, Default)]
pub(crate) struct LookAgain {
    first_miss: Option<Instant>,
}

impl LookAgain {
    /// Lets other threads run before the next attempt.
    ///
    /// # Errors
    ///
    /// [`Timeout`](StorageError::Timeout) if the first failed attempt was too long ago.
    pub(crate) fn pause(&mut self) -> Result<()> {
        if self.first_miss.get_or_insert_with(Instant::now).elapsed() > LOOK_TIME_MAX {
            return Err(StorageError::Timeout {
                what: "a consistent view of the scope",
                timeout_ms: LOOK_TIME_MAX.as_millis() as u64,
            });
        }
        std::thread::yield_now();
        Ok(())
    }
}

impl<'a> Snapshot<'a> {
    /// A snapshot of the committed state; none if the scope was dropped.
    pub(crate) fn take(truth: &Truth, slots: &'a SlotStore, namespace: &'a Namespace) -> Result<Option<Self>> {
        let taken = Self::take_by(truth, slots, namespace, || (namespace.state(), ()))?;
        Ok(taken.map(|(snapshot, ())| snapshot))
    }

    /// The same, with a note of all later changes.
    pub(crate) fn take_noted(
        truth: &Truth,
        slots: &'a SlotStore,
        namespace: &'a Namespace,
    ) -> Result<Option<(Self, Arc<Noted>)>> {
        Self::take_by(truth, slots, namespace, || namespace.look())
    }

    fn take_by<T>(
        truth: &Truth,
        slots: &'a SlotStore,
        namespace: &'a Namespace,
        look: impl Fn() -> (Arc<State>, T),
    ) -> Result<Option<(Self, T)>> {
        let mut looks = LookAgain::default();
        loop {
            let (state, with) = look();
            if state.is_dropped {
                return Ok(None);
            }
            if let Some(snapshot) = Self::seen_by(&Arc::new(truth.read()?), slots, namespace, state)? {
                return Ok(Some((snapshot, with)));
            }
            looks.pause()?;
        }
    }

    /// The state with the rows of a transaction that began after it was loaded; none if the transaction sees another
    /// state.
    fn seen_by(
        read: &Arc<Read>,
        slots: &'a SlotStore,
        namespace: &'a Namespace,
        state: Arc<State>,
    ) -> Result<Option<Self>> {
        let is_seen = read.scope_lsn(namespace.scope_id)? == Some(state.lsn);
        Ok(is_seen.then(|| Self {
            namespace,
            slots,
            state,
            // After the state: it must reach every slot that the state names.
            view: slots.view(),
            read: Arc::clone(read),
        }))
    }

    /// Several namespaces as of one commit; none if one of the states is not the one that the transaction sees, or if
    /// `is_whole` says that the transaction also sees the scope in another space.
    pub(crate) fn take_together(
        truth: &Truth,
        parts: &[(&'a SlotStore, &'a Namespace)],
        is_whole: impl FnOnce(&Read) -> Result<bool>,
    ) -> Result<Option<Vec<Self>>> {
        let states: Vec<Arc<State>> = parts.iter().map(|(_, namespace)| namespace.state()).collect();
        let read = Arc::new(truth.read()?);
        if !is_whole(&read)? {
            return Ok(None);
        }
        let mut snapshots = Vec::with_capacity(parts.len());
        for ((slots, namespace), state) in parts.iter().zip(states) {
            if state.is_dropped {
                return Ok(None);
            }
            let Some(snapshot) = Self::seen_by(&read, slots, namespace, state)? else {
                return Ok(None);
            };
            snapshots.push(snapshot);
        }
        Ok(Some(snapshots))
    }

    /// The state of the snapshot.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The state, the slots, and the rows of the truth.
    pub(crate) fn into_parts(self) -> (Arc<State>, Arc<SlotView>, Arc<Read>) {
        (self.state, self.view, self.read)
    }

    pub(crate) fn metadata(&self, point: PointId, record: &Record) -> Result<Metadata> {
        record.metadata().map_err(|malformed| {
            let detail = format!(
                "entry {} of scope {}: {}",
                point.0, self.namespace.scope_id.0, malformed.0
            );
            corrupted(self.read.path(), detail)
        })
    }

    pub(crate) fn is_living(&self, point: PointId) -> bool {
        self.state.lives(point)
    }

    /// Metadata and times of a point, if it lives.
    pub(crate) fn described(&self, point: PointId) -> Result<Option<(Metadata, EntryTimes)>> {
        if !self.is_living(point) {
            return Ok(None);
        }
        let record = self.read.records(self.namespace.scope_id)?.get(point)?;
        Ok(Some((self.metadata(point, &record)?, record.times())))
    }

    /// Visits the records of all living points; false if that was cancelled.
    pub(crate) fn visit_living(
        &self,
        is_cancelled: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(PointId, &Record) -> Result<()>,
    ) -> Result<bool> {
        let mut is_done = true;
        self.read
            .records(self.namespace.scope_id)?
            .visit_while(|point, record| {
                if self.is_living(point) {
                    visit(point, &record)?;
                }
                is_done = !is_cancelled();
                Ok(is_done)
            })?;
        Ok(is_done)
    }

    /// Visits the records of some living points; false if that was cancelled.
    pub(crate) fn visit(
        &self,
        points: &RoaringBitmap,
        is_cancelled: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(PointId, &Record) -> Result<()>,
    ) -> Result<bool> {
        if points.len() * VISITED_SHARE > self.state.live_count() {
            return self.visit_living(is_cancelled, &mut |point, record| match points.contains(point.0) {
                true => visit(point, record),
                false => Ok(()),
            });
        }
        let records = self.read.records(self.namespace.scope_id)?;
        for point in points.iter().map(PointId) {
            if is_cancelled() {
                return Ok(false);
            }
            visit(point, &records.get(point)?)?;
        }
        Ok(true)
    }
}
