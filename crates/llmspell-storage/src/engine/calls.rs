//! Every write that a handle asks for: what it is about, and what a batch does for it.
//!
//! Batches of entries that are written in steps are requests of their own: see `large.rs`.

use std::sync::Arc;

use llmspell_core::{
    Expiry, Filter, KeyValueWrite, OnExisting, Quota, ScopedBackend, StateScope, Timestamp, WriteSummary,
};

use super::batch::{Batch, Fail};
use super::request::{Copied, NewMetadata, Opening, Part, PreparedEntry, Removed, Scopes, Spaces, Subject, WriteCall};
use crate::base::ids::SpaceId;
use crate::indexes::files::{IndexRow, Kind};
use crate::indexes::named::NewFile;
use crate::namespace::Namespace;
use crate::spaces::registry::Space;
use crate::truth::SpaceRecord;

type Visit<'v> = &'v mut dyn FnMut(Subject<'_>);

// ---- key-value data ----

/// Changes of key-value data. Lifetimes have become moments.
pub(crate) struct WriteValues {
    pub(crate) writes: Vec<KeyValueWrite>,
}

impl WriteCall for WriteValues {
    type Answer = WriteSummary;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<WriteSummary, Fail> {
        let deleted = batch.write_values(&self.writes)?;
        Ok(WriteSummary { deleted })
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        for write in &self.writes {
            visit(match write {
                KeyValueWrite::Set { key, .. }
                | KeyValueWrite::SetExpiring { key, .. }
                | KeyValueWrite::Delete { key } => Subject::Key(key),
                KeyValueWrite::DeletePrefix { prefix } => Subject::Prefix(prefix),
            });
        }
    }

    fn bytes(&self) -> usize {
        self.writes.iter().map(KeyValueWrite::len_bytes).sum()
    }

    fn needs_room(&self) -> bool {
        self.writes.iter().any(KeyValueWrite::stores)
    }
}

/// A value takes the place of another. The answer: whether it did.
pub(crate) struct SwapValue {
    pub(crate) key: String,
    pub(crate) expected: Option<Vec<u8>>,
    pub(crate) new: Option<Vec<u8>>,
    /// A moment, if any.
    pub(crate) expiry: Expiry,
}

impl WriteCall for SwapValue {
    type Answer = bool;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<bool, Fail> {
        batch.swap_value(&self.key, self.expected.as_deref(), self.new.as_deref(), self.expiry)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::Key(&self.key));
    }

    fn bytes(&self) -> usize {
        self.new.as_ref().map_or(0, Vec::len)
    }

    fn needs_room(&self) -> bool {
        self.new.is_some()
    }
}

// ---- entries ----

/// Entries of one or several spaces and scopes.
pub(crate) struct PutEntries {
    pub(crate) parts: Vec<Part>,
    pub(crate) on_existing: OnExisting,
    pub(crate) now: i64,
}

impl PutEntries {
    fn entries(&self) -> impl Iterator<Item = &PreparedEntry> {
        self.parts.iter().flat_map(|part| &part.entries)
    }
}

impl WriteCall for PutEntries {
    type Answer = ();

    fn execute(&self, batch: &mut Batch<'_>) -> Result<(), Fail> {
        batch.write_entries(&self.parts, self.on_existing, self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        self.entries().for_each(|entry| visit(Subject::Scope(&entry.scope)));
    }

    fn bytes(&self) -> usize {
        self.entries().map(PreparedEntry::bytes).sum()
    }

    fn needs_room(&self) -> bool {
        true
    }
}

/// Other metadata for an entry, in the first of the spaces that has it.
pub(crate) struct ChangeMetadata {
    pub(crate) spaces: Spaces,
    pub(crate) scope: StateScope,
    pub(crate) id: String,
    pub(crate) metadata: NewMetadata,
    pub(crate) now: i64,
}

impl WriteCall for ChangeMetadata {
    type Answer = ();

    fn execute(&self, batch: &mut Batch<'_>) -> Result<(), Fail> {
        batch.update_metadata(&self.spaces, &self.scope, &self.id, &self.metadata, self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::Scope(&self.scope));
    }

    fn bytes(&self) -> usize {
        self.metadata.len()
    }

    fn needs_room(&self) -> bool {
        true
    }
}

/// Another end for entries, or none, in the first of the spaces that has each. The answer: the ids that are not there.
pub(crate) struct TouchEntries {
    pub(crate) spaces: Spaces,
    pub(crate) scope: StateScope,
    pub(crate) ids: Vec<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) now: i64,
}

impl WriteCall for TouchEntries {
    type Answer = Vec<String>;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<Vec<String>, Fail> {
        batch.touch(&self.spaces, &self.scope, &self.ids, self.expires_at, self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::Scope(&self.scope));
    }

    fn ids(&self) -> &[String] {
        &self.ids
    }

    fn of_ids(&self, ids: &[String]) -> Option<Self> {
        Some(Self {
            spaces: self.spaces.clone(),
            scope: self.scope.clone(),
            ids: ids.to_vec(),
            ..*self
        })
    }

    fn join(mut missing: Vec<String>, more: Vec<String>) -> Vec<String> {
        missing.extend(more);
        missing
    }
}

/// Entries to remove, from all of the spaces. The answer: how many could be seen.
pub(crate) struct DeleteEntries {
    pub(crate) spaces: Spaces,
    pub(crate) scope: StateScope,
    pub(crate) ids: Vec<String>,
    /// Entries that do not match when the batch is committed stay.
    pub(crate) only: Option<Filter>,
    pub(crate) now: i64,
}

impl WriteCall for DeleteEntries {
    type Answer = u64;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<u64, Fail> {
        batch.delete(&self.spaces, &self.scope, &self.ids, self.only.as_ref(), self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::Scope(&self.scope));
    }

    fn ids(&self) -> &[String] {
        &self.ids
    }

    fn of_ids(&self, ids: &[String]) -> Option<Self> {
        Some(Self {
            spaces: self.spaces.clone(),
            scope: self.scope.clone(),
            ids: ids.to_vec(),
            only: self.only.clone(),
            now: self.now,
        })
    }

    fn join(count: u64, more: u64) -> u64 {
        count + more
    }
}

// ---- scopes ----

/// Scopes to remove, from all of the spaces.
pub(crate) struct DropScopes {
    pub(crate) spaces: Spaces,
    pub(crate) scopes: Scopes,
    /// Their key-value data too.
    pub(crate) with_keys: bool,
    pub(crate) now: i64,
}

impl WriteCall for DropScopes {
    type Answer = Removed;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<Removed, Fail> {
        batch.drop_scopes(&self.spaces, &self.scopes, self.with_keys, self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        match &self.scopes {
            Scopes::Named(scopes) => {
                for scope in scopes {
                    visit(Subject::Scope(scope));
                    if self.with_keys {
                        visit(Subject::Prefix(&ScopedBackend::prefix(scope)));
                    }
                }
            }
            Scopes::OfKind(kind) => visit(Subject::Kind {
                kind: *kind,
                with_keys: self.with_keys,
            }),
        }
    }
}

/// Another quota for a scope, or none. The answer: whether it had one.
pub(crate) struct SetQuota {
    pub(crate) scope: StateScope,
    pub(crate) quota: Option<Quota>,
}

impl WriteCall for SetQuota {
    type Answer = bool;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<bool, Fail> {
        batch.set_quota(&self.scope, self.quota)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::Scope(&self.scope));
    }

    fn needs_room(&self) -> bool {
        self.quota.is_some()
    }
}

// ---- spaces ----

/// A space to create, or to open with a changed configuration.
pub(crate) struct OpenSpace {
    pub(crate) record: SpaceRecord,
    pub(crate) opening: Opening,
}

impl WriteCall for OpenSpace {
    type Answer = SpaceId;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<SpaceId, Fail> {
        batch.open_space(&self.record, self.opening)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        if self.opening != Opening::Plain {
            visit(Subject::Everything);
        }
    }
}

/// A space to remove, with everything in it.
pub(crate) struct DropSpace {
    pub(crate) name: String,
    pub(crate) now: i64,
}

impl WriteCall for DropSpace {
    type Answer = ();

    fn execute(&self, batch: &mut Batch<'_>) -> Result<(), Fail> {
        batch.drop_space(&self.name, self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::Everything);
    }
}

/// Copies of entries with other vectors, for a space that will take the place of another. A copy is left out if its original
/// is not what was copied any more. The answer: how many were written.
pub(crate) struct CopyEntries {
    pub(crate) from: Arc<Space>,
    pub(crate) to: Arc<Space>,
    pub(crate) copies: Vec<Copied>,
    pub(crate) now: i64,
}

impl WriteCall for CopyEntries {
    type Answer = u64;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<u64, Fail> {
        batch.write_copies(&self.from, &self.to, &self.copies, self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        self.copies
            .iter()
            .for_each(|copied| visit(Subject::Scope(&copied.entry.scope)));
    }

    fn bytes(&self) -> usize {
        self.copies.iter().map(|copied| copied.entry.bytes()).sum()
    }

    fn needs_room(&self) -> bool {
        true
    }
}

/// A space takes the place of the one whose entries were copied to it, if all of them were. The answer: whether it did.
pub(crate) struct SwitchSpaces {
    pub(crate) from: SpaceId,
    pub(crate) to: SpaceId,
    pub(crate) now: i64,
}

impl WriteCall for SwitchSpaces {
    type Answer = bool;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<bool, Fail> {
        batch.switch(self.from, self.to, self.now)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::Everything);
    }
}

/// Scopes to remove of a space that another has replaced: at most `limit` of them. The answer: how many were removed.
pub(crate) struct EmptySpace {
    pub(crate) space: Arc<Space>,
    pub(crate) limit: usize,
    pub(crate) now: i64,
}

impl WriteCall for EmptySpace {
    type Answer = u64;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<u64, Fail> {
        batch.empty(&self.space, self.limit, self.now)
    }

    /// No reader sees the scopes that are removed.
    fn visit_subjects(&self, _: Visit<'_>) {}
}

// ---- the rest ----

/// The file that an index of a scope has from now on, or none. The answer: whether the scope is still the same.
pub(crate) struct NameFile {
    pub(crate) space: Arc<Space>,
    pub(crate) scope: StateScope,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) kind: Kind,
    pub(crate) file: Option<NewFile>,
}

impl WriteCall for NameFile {
    type Answer = bool;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<bool, Fail> {
        let file = (self.kind, self.file.as_ref());
        batch.name_file(&self.space, &self.scope, &self.namespace, file)
    }

    /// Files are named by the number of a scope, which no other scope gets.
    fn visit_subjects(&self, _: Visit<'_>) {}
}

/// The files of the indexes of words that searches use are to be named in the truth. The answer: which they are; none if the
/// scope was dropped.
pub(crate) struct NameTexts {
    pub(crate) space: Arc<Space>,
    pub(crate) scope: StateScope,
    pub(crate) namespace: Arc<Namespace>,
}

impl WriteCall for NameTexts {
    type Answer = Option<Vec<IndexRow>>;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<Option<Vec<IndexRow>>, Fail> {
        batch.name_texts(&self.space, &self.scope, &self.namespace)
    }

    /// Files are named by the number of a scope, which no other scope gets.
    fn visit_subjects(&self, _: Visit<'_>) {}
}

/// Nothing; the answer comes when everything before is durable.
pub(crate) struct Flush;

impl WriteCall for Flush {
    type Answer = ();

    fn execute(&self, _: &mut Batch<'_>) -> Result<(), Fail> {
        Ok(())
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        visit(Subject::AllBefore);
    }
}

// ---- the database itself ----

/// A number that tells the database from others, if it has none. The answer: its number.
pub(crate) struct Identify {
    pub(crate) id: [u8; 16],
}

impl WriteCall for Identify {
    type Answer = [u8; 16];

    fn execute(&self, batch: &mut Batch<'_>) -> Result<[u8; 16], Fail> {
        batch.identify(self.id)
    }

    fn visit_subjects(&self, _: Visit<'_>) {}
}

// ---- several writes at once ----

/// Writes that are done in this order, all of them or none.
pub(crate) struct WriteTogether {
    pub(crate) writes: Vec<TogetherWrite>,
}

/// One of them.
pub(crate) enum TogetherWrite {
    Put(PutEntries),
    Delete(DeleteEntries),
    Values(WriteValues),
}

/// How much was there and is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RemovedTogether {
    pub(crate) entries: u64,
    pub(crate) keys: u64,
}

impl TogetherWrite {
    fn execute(&self, batch: &mut Batch<'_>, removed: &mut RemovedTogether) -> Result<(), Fail> {
        match self {
            Self::Put(call) => call.execute(batch)?,
            Self::Delete(call) => removed.entries += call.execute(batch)?,
            Self::Values(call) => removed.keys += call.execute(batch)?.deleted,
        }
        Ok(())
    }
}

impl WriteCall for WriteTogether {
    type Answer = RemovedTogether;

    fn execute(&self, batch: &mut Batch<'_>) -> Result<RemovedTogether, Fail> {
        let mut removed = RemovedTogether::default();
        for (number, write) in self.writes.iter().enumerate() {
            write.execute(batch, &mut removed).map_err(|fail| match number {
                0 => fail,
                // The writes before it have changed rows: there is no way back but for the whole transaction.
                _ => fail.of_batch(),
            })?;
        }
        Ok(removed)
    }

    fn visit_subjects(&self, visit: Visit<'_>) {
        for write in &self.writes {
            match write {
                TogetherWrite::Put(call) => call.visit_subjects(visit),
                TogetherWrite::Delete(call) => call.visit_subjects(visit),
                TogetherWrite::Values(call) => call.visit_subjects(visit),
            }
        }
    }

    fn bytes(&self) -> usize {
        let bytes = |write: &TogetherWrite| match write {
            TogetherWrite::Put(call) => call.bytes(),
            TogetherWrite::Delete(call) => call.bytes(),
            TogetherWrite::Values(call) => call.bytes(),
        };
        self.writes.iter().map(bytes).sum()
    }

    fn needs_room(&self) -> bool {
        self.writes.iter().any(|write| match write {
            TogetherWrite::Put(call) => call.needs_room(),
            TogetherWrite::Delete(call) => call.needs_room(),
            TogetherWrite::Values(call) => call.needs_room(),
        })
    }
}
