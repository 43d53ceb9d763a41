//! Large batches: written between other requests, in steps that are separate transactions, one batch at a time.
//!
//! ```text
//! begin, for each scope  sets aside dead points and slots, and notes them in the table `staged`
//! stage                  writes entries for a few milliseconds: vectors, records, ids
//! adopt                  makes all of them live in one transaction; then answers the batch
//! ```
//!
//! Staged entries are invisible. If the batch is refused, or a crash ends it, the notes tell what to remove, which is
//! done in steps as well. Until then requests for the same scopes wait.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;

use llmspell_core::{OnExisting, Result, StorageError};

use super::backlog::STEP_ROWS;
use super::batch::{Conflict, Fail, Growing};
use super::held::Reach;
use super::purge::STEP_ROWS_IF_FULL;
use super::request::{LargeBatch, LargeGroup, Reply, Request};
use super::writer::Writer;
use crate::base::ids::ScopeId;
use crate::truth::{Read, Staged};

/// The large batch under way, the leftovers of others, and the requests that wait for them.
#[derive(Default)]
pub(super) struct Large {
    batch: Option<Box<Progress>>,
    /// Entries of batches that failed, and how far they are removed.
    leftovers: VecDeque<(Staged, usize)>,
    reach: Reach,
    held: Vec<Request>,
}

/// The progress of a batch.
struct Progress {
    left: std::vec::IntoIter<LargeGroup>,
    groups: Vec<Growing>,
    conflict: Conflict,
    on_existing: OnExisting,
    now: i64,
    stage: Stage,
    reply: Reply<()>,
}

enum Stage {
    /// Begun. Expired entries are removed from scopes whose quota has no room otherwise.
    Begun,
    Staging,
    Staged,
}

impl Large {
    /// Begins with the leftovers of a crash.
    pub(super) fn new(read: &Read) -> Result<Self> {
        let staged = read.staged()?;
        let mut reach = Reach::new(!staged.is_empty() && read.has_quotas()?);
        for scope in staged.iter().map(|staged| staged.scope) {
            // A scope that the batch was to create has no name yet.
            read.scope_name(scope)?
                .into_iter()
                .for_each(|(_, name)| reach.add_scope(name));
        }
        Ok(Self {
            leftovers: staged.into_iter().map(|staged| (staged, 0)).collect(),
            reach,
            ..Self::default()
        })
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.batch.is_some() || !self.leftovers.is_empty()
    }

    /// Scopes that must not be purged until that is done.
    pub(super) fn scope_ids(&self) -> HashSet<ScopeId> {
        let groups = self.batch.iter().flat_map(|batch| &batch.groups);
        let leftovers = self.leftovers.iter().map(|(staged, _)| staged.scope);
        groups.flat_map(Growing::scope_ids).chain(leftovers).collect()
    }

    /// Whether a request must wait for the batch that is under way.
    pub(super) fn holds(&self, request: &Request) -> bool {
        self.is_under_way() && self.reach.meets(request)
    }

    /// Keeps a request until the batch is done.
    pub(super) fn hold(&mut self, request: Request) {
        self.reach.add(&request);
        self.held.push(request);
    }

    /// Begins a batch; none is under way.
    pub(super) fn begin(&mut self, batch: LargeBatch, has_quotas: bool) {
        self.reach = Reach::new(has_quotas);
        let LargeBatch {
            groups,
            on_existing,
            now,
            reply,
            ..
        } = batch;
        for group in &groups {
            self.reach.add_scope(group.scope.clone());
        }
        self.batch = Some(Box::new(Progress {
            groups: Vec::with_capacity(groups.len()),
            left: groups.into_iter(),
            conflict: None,
            on_existing,
            now,
            stage: Stage::Begun,
            reply,
        }));
    }
}

impl Writer {
    /// The next step.
    pub(super) fn advance_large(&mut self, is_over: &dyn Fn() -> bool) {
        if let Err(error) = self.shared.check_writable() {
            return self.give_up_large(&error);
        }
        if let Some((staged, after)) = self.large.leftovers.pop_front() {
            self.remove_leftover(staged, after);
        } else if let Some(mut batch) = self.large.batch.take() {
            match self.advance_batch(&mut batch, is_over) {
                Ok(false) => self.large.batch = Some(batch),
                Ok(true) => drop(batch.reply.send(Ok(()))),
                Err(error) => {
                    let staged = batch.groups.into_iter().map(|group| (group.staged, 0));
                    self.large.leftovers.extend(staged);
                    drop(batch.reply.send(Err(error)));
                }
            }
        }
        if !self.large.is_under_way() {
            self.end_large();
        }
    }

    /// Returns whether the batch is done.
    fn advance_batch(&mut self, batch: &mut Progress, is_over: &dyn Fn() -> bool) -> Result<bool> {
        self.shared.check_free_space()?;
        self.keep_reserve();
        let now = batch.now;
        match batch.stage {
            Stage::Begun => {
                if self.shared.has_quotas.load(Ordering::SeqCst) {
                    let groups = batch.left.as_slice().iter();
                    let entries = groups.flat_map(|group| group.entries.iter().map(|(_, entry)| (&group.space, entry)));
                    self.transact(|transaction| transaction.replace_expired_by(entries, now))?;
                }
                batch.stage = Stage::Staging;
            }
            Stage::Staging => {
                if self.stage(batch, is_over)? {
                    batch.stage = Stage::Staged;
                }
            }
            Stage::Staged => {
                if let Some((_, id)) = batch.conflict.take() {
                    return Err(StorageError::IdExists { id });
                }
                self.transact(|transaction| transaction.adopt(&mut batch.groups, now))?;
                // The truth may have grown.
                self.keep_reserve();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes entries until the time is over. Returns whether all are written.
    fn stage(&mut self, batch: &mut Progress, is_over: &dyn Fn() -> bool) -> Result<bool> {
        let begun = batch.groups.len();
        let staged = self.transact(|transaction| {
            loop {
                if batch.groups.last().is_none_or(Growing::is_staged) {
                    let Some(group) = batch.left.next() else {
                        return Ok(true);
                    };
                    batch.groups.push(transaction.begin_group(group)?);
                }
                let group = batch.groups.last_mut().expect("one was just begun");
                transaction.stage(group, &mut batch.conflict, (batch.on_existing, batch.now))?;
                let is_last = group.is_staged() && batch.left.len() == 0;
                if is_last || is_over() {
                    return Ok(is_last);
                }
            }
        });
        // Groups that were begun in a transaction that failed have left nothing.
        staged.inspect_err(|_| batch.groups.truncate(begun))
    }

    /// Removes some of the leftover entries.
    fn remove_leftover(&mut self, staged: Staged, after: usize) {
        let limit = match self.shared.is_nearly_full() {
            false => STEP_ROWS,
            true => STEP_ROWS_IF_FULL,
        };
        let next = self.transact(|batch| {
            let next = batch.rows.remove_staged(&staged, after, limit).map_err(Fail::Batch)?;
            if next.is_none() {
                batch.forget_staged(&staged)?;
            }
            batch.set_changed();
            Ok(next)
        });
        match next {
            Ok(None) => {}
            Ok(Some(next)) => self.large.leftovers.push_front((staged, next)),
            // The next opening tries again. Data written over them meanwhile would be lost then.
            Err(error) => {
                self.shared.poison(&error);
                self.give_up_large(&error);
            }
        }
    }

    /// Ends the batch; no request waits for it any longer.
    fn end_large(&mut self) {
        self.large.reach = Reach::default();
        // Expired entries in the scopes of the batch were left alone.
        let first_expiry = self
            .shared
            .truth
            .read()
            .and_then(|read| read.first_expiry(&self.backlog.unreadable));
        self.backlog.first_expiry = first_expiry.unwrap_or(Some(i64::MIN));
        let held = std::mem::take(&mut self.large.held);
        if !held.is_empty() {
            self.accept(held);
        }
    }

    /// Gives up after the database was closed for writing.
    fn give_up_large(&mut self, error: &StorageError) {
        let Large { batch, held, .. } = std::mem::take(&mut self.large);
        if let Some(batch) = batch {
            drop(batch.reply.send(Err(error.clone())));
        }
        held.into_iter().for_each(|request| request.refuse(error));
    }
}
