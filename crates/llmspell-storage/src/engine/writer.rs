//! How does a batch of requests become durable, and then visible?
//!
//! ```text
//! one redb transaction:   each request checks, then writes its rows; vectors go into free slots
//! sync the slot files     everything the transaction names is on the disk
//! commit                  durable, not yet visible
//! publish                 visible; cannot fail
//! answer
//! ```
//!
//! What was built of a namespace meanwhile is adopted before: see `spaces/handover.rs`.
//!
//! A request that is refused (an id exists, for example) changes nothing and does not disturb the others. A failure of
//! the disk before the commit fails all of them and changes nothing either. A failed sync or commit closes the
//! database for writing: what is on the disk is then unknown, and trying again would only seem to help.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roaring::RoaringBitmap;

use llmspell_core::{ErrorKind, Result, StorageError};

use super::backlog::{Backlog, Purge, Remains};
use super::batch::{Allocators, Batch, Changes, Fail, Pending, allocator_of};
use super::large::Large;
use super::request::{Call, IdsPart, Request};
use super::shared::Shared;
use super::survey::Survey;
use crate::base::failures::{Place, Task};
use crate::base::ids::Extent;
use crate::engine::committer::CommitEngine;
use crate::indexes::changes::Changes as NamespaceChanges;
use crate::namespace::{Publisher, State};
use crate::spaces::registry::Space;
use crate::truth::{Head, Role, Write};

/// How long a request on a full disk waits for snapshots to be read, in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it sleeps before it looks whether a snapshot is still read.
const READS_POLL: Duration = Duration::from_millis(1);

/// The committer's own state.
pub(crate) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) head: Head,
    pub(super) allocators: Allocators,
    pub(super) backlog: Backlog,
    pub(super) large: Large,
    publisher: Publisher,
}

impl Writer {
    /// Continues where the truth ends.
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self> {
        let read = shared.truth.read()?;
        let head = read.head()?;
        let purges = read.dropped_scopes()?;
        // What has expired by the time that was stored goes at once: a clock that is behind it stands still meanwhile.
        let at_once = |moment| if moment <= head.clock_ms { i64::MIN } else { moment };
        let first_expiry = read.first_expiry(&HashSet::new())?.map(at_once);
        let first_key_expiry = read.first_key_expiry()?.map(at_once);
        let survey = Survey::new(read.survey()?, head.lsn);
        let large = Large::new(&read).or_else(|error| match error.kind() {
            // What must not be written over is not known.
            ErrorKind::Data => {
                shared.poison(&error);
                Ok(Large::default())
            }
            _ => Err(error),
        })?;
        drop(read);
        let spaces = shared.dropped_spaces();
        let purges = purges.into_iter().map(|(scope, space)| Purge::stored(scope, space));
        Ok(Self {
            shared,
            head,
            allocators: Allocators::new(),
            backlog: Backlog::new(purges, spaces, (first_expiry, first_key_expiry), survey),
            large,
            publisher: Publisher::new(),
        })
    }

    /// Runs `work` in one transaction, and makes its changes durable and visible.
    ///
    /// # Errors
    ///
    /// `Batch` failures. Nothing is changed, or the database is poisoned.
    pub(super) fn transact<T>(&mut self, work: impl FnOnce(&mut Batch<'_>) -> Result<T, Fail>) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let txn = shared.truth.write().inspect_err(|error| self.poison_if_lost(error))?;
        let mut batch = Batch::new(&shared, &txn, self.head, &mut self.allocators);
        // A panic of redb on altered pages fails the batch like any other damage.
        let done = shared
            .truth
            .guard(|| Ok(work(&mut batch)))
            .unwrap_or_else(|error| Err(Fail::Batch(error)));
        let done = done.and_then(|value| {
            let is_changed = shared.truth.guard(|| batch.finish()).map_err(Fail::Batch)?;
            Ok((value, is_changed))
        });
        let mut changes = batch.into_changes();
        let value = match done {
            Ok((value, true)) => value,
            Ok((value, false)) => {
                // Nothing to make durable: every request was refused, or asked for what is so already.
                self.undo(txn, changes);
                return Ok(value);
            }
            Err(fail) => {
                let error = fail.into_error();
                self.poison_if_lost(&error);
                self.undo(txn, changes);
                return Err(error);
            }
        };
        if let Err(error) = self.sync_slots(&changes.written_spaces) {
            self.undo(txn, changes);
            return Err(error);
        }
        shared.values.begin_write(changes.values.keys().map(Vec::as_slice));
        let committed = txn.commit();
        for (key, value) in std::mem::take(&mut changes.values) {
            shared.values.end_write(&key, committed.is_ok().then_some(value));
        }
        if let Err(error) = committed {
            // Whether it is durable is unknown. The allocators keep its slots: those behind the ends that they know are cut
            // off when the database is closed.
            shared.poison(&error);
            return Err(error);
        }
        self.apply(changes);
        Ok(value)
    }

    /// Makes the vectors durable that a transaction names.
    ///
    /// # Errors
    ///
    /// `Io`. If a sync failed the database is poisoned. Otherwise nothing has reached the disk: this transaction did not
    /// happen, and nothing is in doubt.
    fn sync_slots(&self, written: &[Arc<Space>]) -> Result<()> {
        written.iter().try_for_each(|space| space.slots.prepare_sync())?;
        let synced = written.iter().try_for_each(|space| space.slots.sync());
        synced.inspect_err(|error| self.shared.poison(error))
    }

    /// Nothing of a transaction happened: it leaves no trace on the disk or in memory.
    fn undo(&mut self, txn: Write, changes: Changes) {
        changes.written_spaces.iter().for_each(|space| space.slots.let_go());
        // Gives back the points that it took.
        drop(changes);
        // They may have given out slots; the rows know better.
        self.allocators.clear();
        if let Err(error) = txn.abort() {
            self.shared.poison(&error);
        }
    }

    /// Makes what is durable visible, and notes what there is to do later.
    fn apply(&mut self, changes: Changes) {
        self.head = changes.head;
        self.shared.clock.saved(changes.clock_version);
        self.shared.has_quotas.store(changes.has_quotas, Ordering::SeqCst);
        self.backlog.first_expiry = self.backlog.first_expiry.into_iter().chain(changes.first_expiry).min();
        self.backlog.expiring_keys.note(changes.first_key_expiry);
        for (id, record) in changes.spaces {
            if record.role == Role::Dropped {
                self.allocators.remove(&id);
                self.backlog.spaces.push_back(id);
            }
            self.shared.set_space(id, record, &mut self.publisher);
        }
        for pending in changes.scopes {
            match pending.is_dropped {
                true => self.forget_scope(pending),
                false => self.publish(pending),
            }
        }
        self.shared.make_room();
    }

    /// Nobody sees a scope any more that was dropped.
    fn forget_scope(&mut self, dropped: Pending) {
        let Pending {
            space,
            scope,
            namespace,
            taken,
            ..
        } = dropped;
        taken.keep();
        let last = namespace.state();
        let mut all = RoaringBitmap::new();
        all.insert_range(0..last.next_point);
        namespace.show(&mut self.publisher, State::dropped(), all, &NamespaceChanges::default());
        space.remove(&scope);
        self.shared.failures.forget(space.id, Some(&scope));
        let files = last.files.rows().collect();
        self.backlog.purges.push_back(Purge {
            scope: namespace.scope_id,
            space: space.id,
            rows: last.live_count(),
            namespace: Some(namespace),
            remains: Some(Remains { last, files }),
            has_no_slots: false,
        });
    }

    /// Makes the state of a scope visible.
    fn publish(&mut self, pending: Pending) {
        pending.taken.keep();
        if pending.space.is_dropped() {
            return;
        }
        let (space, scope, namespace) = (pending.space, pending.scope, pending.namespace);
        if !pending.freed.is_empty() {
            self.backlog.shrinking.insert((space.id, scope.clone()));
        }
        namespace.reuse.lock().give_back(pending.spare);
        namespace.show(&mut self.publisher, pending.state, pending.freed, &pending.changes);
        if pending.is_new {
            namespace.trust(&namespace.state());
            space.add(&scope, Arc::clone(&namespace));
        } else {
            space.weigh(&namespace);
        }
        space.note(&scope, &namespace);
    }

    /// After a failure of redb's file there is no telling what a further transaction would do.
    fn poison_if_lost(&self, error: &StorageError) {
        if matches!(error.kind(), ErrorKind::Closed) {
            self.shared.poison(error);
        }
    }

    pub(super) fn keep_reserve(&self) {
        if self.shared.free_bytes_min > 0 {
            self.shared.truth.keep_reserve();
        }
    }

    fn refuse_what_needs_room(calls: Vec<Call>, no_room: Option<&StorageError>) -> Vec<Call> {
        let Some(error) = no_room else {
            return calls;
        };
        let (refused, admitted): (Vec<_>, Vec<_>) = calls.into_iter().partition(Call::needs_room);
        for call in refused {
            call.answer(Err(error.clone()));
        }
        admitted
    }

    /// How many ids each transaction of a call is to have, if the disk has no room for all of them in one.
    fn part_of(&self, call: &Call) -> Option<usize> {
        let ids = call.ids().len();
        let part = self.shared.entries_per_transaction(ids);
        (part < ids).then_some(part)
    }

    /// Waits until no snapshot is read, as long as there is patience left: one that is read for long keeps the pages that
    /// the transactions before gave up, so that the next finds none.
    fn wait_for_reads(&self, patience: &mut Duration) {
        while self.shared.truth.is_being_read() && !patience.is_zero() {
            std::thread::sleep(READS_POLL);
            *patience = patience.saturating_sub(READS_POLL);
        }
    }

    /// Deletes or touches a few entries in each transaction, so that the pages of one are free for those after the next.
    fn do_in_parts(&mut self, mut call: Call, part: usize, no_room: Option<&StorageError>) {
        let mut patience = PATIENCE;
        let mut seen = HashSet::new();
        let ids = call.ids().iter();
        // Each id once: one that is missing is told once, as it is without parts.
        let ids: Vec<String> = ids.filter(|id| seen.insert(id.as_str())).cloned().collect();
        let parts = std::iter::once(IdsPart::First).chain(std::iter::repeat(IdsPart::Next));
        let done = ids.chunks(part).zip(parts).try_for_each(|(ids, part)| {
            self.wait_for_reads(&mut patience);
            self.transact(|batch| {
                batch.no_room = no_room.cloned();
                call.execute_for(ids, batch, part)
            })
        });
        call.answer(done);
    }

    /// Does the calls in one transaction. One that fails half-way ends the transaction for all of them.
    fn commit_together(&mut self, calls: &mut [Call], no_room: Option<&StorageError>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.confirmed();
        let keys_are_due = self.backlog.expiring_keys.are_due(now);
        self.transact(|batch| {
            batch.no_room = no_room.cloned();
            calls.iter_mut().try_for_each(|call| call.execute(batch))?;
            if keys_are_due {
                match batch.purge_in_proportion(now) {
                    Ok(()) => {}
                    // What was only looked at may be damaged. It concerns none of the requests.
                    Err(Fail::Request(error)) => {
                        shared.note_background(Task::PurgeKeys, &Place::Database, &Err::<(), _>(error));
                    }
                    Err(fail @ Fail::Batch(_)) => return Err(fail),
                }
            }
            Ok(())
        })
    }

    /// What was seen to expire and is not purged yet has expired after a restart too, whatever the clock says then. A jump
    /// of the clock is stored as well: whoever opens the database later sees how long it has lasted. And so are the scopes
    /// that have something to give back.
    fn keep_what_is_known(&mut self) -> Result<()> {
        let now = self.shared.clock.confirmed();
        let has_expired = self.backlog.first_expiry.is_some_and(|moment| moment <= now);
        let has_expired = has_expired || self.backlog.expiring_keys.are_over(now);
        let survey = self.survey_to_store()?;
        let is_new = has_expired || survey.is_some() || self.shared.clock.has_unsaved_jump();
        if !is_new || self.shared.check_writable().is_err() {
            return Ok(());
        }
        self.transact(|batch| {
            if has_expired {
                batch.set_clock(now);
            }
            if let Some(survey) = &survey {
                batch.rows.set_survey(survey).map_err(Fail::Batch)?;
            }
            batch.set_changed();
            Ok(())
        })
    }
}

impl Writer {
    /// Does requests, but for those that must wait for a large batch.
    pub(super) fn accept(&mut self, requests: Vec<Request>) {
        let mut calls = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Request::Built(built) => built.adopt(&mut self.publisher),
                request if self.large.holds(&request) => self.large.hold(request),
                Request::Large(batch) => {
                    let has_quotas = self.shared.has_quotas.load(Ordering::SeqCst);
                    self.large.begin(batch, has_quotas);
                }
                Request::Call(call) => calls.push(call),
            }
        }
        if !calls.is_empty() {
            self.commit_now(calls);
        }
    }

    fn commit_now(&mut self, calls: Vec<Call>) {
        if let Err(error) = self.shared.check_writable() {
            calls.into_iter().for_each(|call| call.answer(Err(error.clone())));
            return;
        }
        let no_room = self.shared.check_free_space().err();
        if no_room.is_none() {
            self.keep_reserve();
        }
        let mut calls = Self::refuse_what_needs_room(calls, no_room.as_ref());
        if let Some(part) = calls.iter().find_map(|call| self.part_of(call)) {
            match calls.pop() {
                Some(call) if calls.is_empty() => self.do_in_parts(call, part, no_room.as_ref()),
                // Each alone, in the order in which they came.
                last => {
                    for call in calls.into_iter().chain(last) {
                        self.commit_now(vec![call]);
                    }
                }
            }
            return;
        }
        match self.commit_together(&mut calls, no_room.as_ref()) {
            Ok(()) => {
                if no_room.is_none() {
                    // The truth may have grown.
                    self.keep_reserve();
                }
                calls.into_iter().for_each(|call| call.answer(Ok(())));
            }
            // Nothing happened. What one of them met (a file that could not be opened, a disk too full for it) is not for
            // the others to bear: each has a transaction of its own.
            Err(_) if calls.len() > 1 && self.shared.check_writable().is_ok() => {
                for call in calls {
                    self.commit_now(vec![call]);
                }
            }
            Err(error) => calls.into_iter().for_each(|call| call.answer(Err(error.clone()))),
        }
    }
}

impl CommitEngine for Writer {
    type Request = Request;

    fn request_bytes(request: &Request) -> usize {
        request.bytes()
    }

    fn commit(&mut self, requests: Vec<Request>) {
        self.accept(requests);
    }

    fn is_under_way(&self) -> bool {
        self.large.is_under_way()
    }

    fn advance(&mut self, is_over: &dyn Fn() -> bool) {
        self.advance_large(is_over);
    }

    fn tidy_after(&mut self) -> Option<Duration> {
        self.purge_after()
    }

    fn tidy_share(&self) -> f64 {
        self.backlog.share()
    }

    fn tidy(&mut self) {
        // A failed purge is tried again later or after the next start; no caller waits for it.
        self.purge_step();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A failure shows when it is opened again, if at all.
        let kept = self.keep_what_is_known();
        self.shared
            .note_background(Task::RememberAtTheEnd, &Place::Database, &kept);
        for space in self.shared.open_spaces() {
            if let Ok(allocator) = allocator_of(&self.shared.truth, &mut self.allocators, space.id) {
                space.slots.trim(allocator.end());
            }
        }
    }
}

/// The slots of a scope, for giving them back.
pub(super) fn slot_runs(extents: &[Extent]) -> impl Iterator<Item = (crate::base::ids::Slot, u32)> + '_ {
    extents.iter().map(|extent| (extent.first_slot, extent.len))
}
