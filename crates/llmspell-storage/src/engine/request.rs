//! What handles ask of the committer, and how they are answered. The writes themselves are in `calls.rs`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use llmspell_codec::Malformed;
use llmspell_core::{
    Metadata, OnExisting, Result, ScopeKind, StateScope, StorageError, Timestamp, merge_patch, validate_vectors,
};
use tokio::sync::oneshot;

use super::batch::{Batch, Fail};
use super::calls::PutEntries;
use crate::base::error::corrupted;
use crate::base::ids::SpaceId;
use crate::base::record::{EntrySize, Record, TextMark};
use crate::base::stored_text::StoredText;
use crate::indexes::texts::Words;
use crate::spaces::handover::HandOver;
use crate::spaces::registry::Space;

/// A batch of as many bytes is large, however few its entries are.
const LARGE_BYTES_MIN: usize = 2 << 20;

/// The way back to whoever waits.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// A write that a handle asks for. All of it was validated.
///
/// A batch may do it several times: where another request fails the transaction that they share, each is tried alone.
pub(crate) trait WriteCall: Send + Sized + 'static {
    /// What its caller is told, once it is durable.
    type Answer: Send + 'static;

    /// Does it as part of a transaction.
    fn execute(&self, batch: &mut Batch<'_>) -> Result<Self::Answer, Fail>;

    /// Names everything that it is about.
    fn visit_subjects(&self, visit: &mut dyn FnMut(Subject<'_>));

    /// About how many bytes it brings.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether it needs room on the disk. What frees room is allowed on a full disk. Whether opening a space or touching
    /// entries needs some is known only when records are looked at: [`Batch`] asks then.
    fn needs_room(&self) -> bool {
        false
    }

    /// The ids that it names, if it can be done for some of them at a time; else none.
    fn ids(&self) -> &[String] {
        &[]
    }

    /// The same for these of its ids alone; none if it cannot be done for some of them at a time.
    fn of_ids(&self, ids: &[String]) -> Option<Self> {
        let _ = ids;
        None
    }

    /// The answer for some ids and for others after them.
    fn join(earlier: Self::Answer, later: Self::Answer) -> Self::Answer {
        let _ = earlier;
        later
    }
}

/// What a request is about. A request that is about the same as a large batch waits for it, and so does what comes after that
/// request and is about the same.
#[derive(Debug)]
pub(crate) enum Subject<'r> {
    /// Spaces as a whole: nothing overtakes such a request, and it overtakes nothing.
    Everything,
    /// What was asked before: such a request overtakes nothing.
    AllBefore,
    /// Entries of a scope, or its quota.
    Scope(&'r StateScope),
    /// All entries of all scopes of a kind, and their keys.
    Kind {
        kind: ScopeKind,
        with_keys: bool,
    },
    Key(&'r str),
    /// All keys that begin so.
    Prefix(&'r str),
}

/// What waits for the committer.
pub(crate) enum Request {
    /// Done in a transaction, together with others.
    Call(Call),
    /// Too many entries for one step: they are written in several, between other requests.
    Large(LargeBatch),
    /// An index that was built. Not part of a transaction.
    Built(HandOver),
}

impl Request {
    /// A call, and the way back to its caller.
    pub(crate) fn new<C: WriteCall>(call: C, reply: Reply<C::Answer>) -> Self {
        let outcome = Err(StorageError::Closed);
        Self::Call(Call(Box::new(Asked { call, reply, outcome })))
    }

    /// About how many bytes it brings.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Call(call) => call.0.bytes(),
            Self::Large(large) => large.bytes,
            Self::Built(_) => 0,
        }
    }

    /// Names everything that it is about.
    pub(super) fn visit_subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        match self {
            Self::Call(call) => call.0.visit_subjects(visit),
            Self::Large(large) => {
                // One large batch at a time.
                visit(Subject::AllBefore);
                large
                    .groups
                    .iter()
                    .for_each(|group| visit(Subject::Scope(&group.scope)));
            }
            // Indexes are named by the number of their scope.
            Self::Built(_) => {}
        }
    }

    /// Tells the caller that it was not done.
    pub(super) fn refuse(self, error: &StorageError) {
        match self {
            Self::Call(call) => call.answer(Err(error.clone())),
            Self::Large(large) => drop(large.reply.send(Err(error.clone()))),
            // Its builder is told when the way back is gone.
            Self::Built(_) => {}
        }
    }
}

/// A [`WriteCall`] with the way back to its caller. What the answer is only the call knows.
pub(crate) struct Call(Box<dyn AnyCall>);

impl Call {
    /// Does it. A refusal is kept as its answer: nothing was changed then.
    ///
    /// # Errors
    ///
    /// `Batch`: the transaction must not go on.
    pub(super) fn execute(&mut self, batch: &mut Batch<'_>) -> Result<(), Fail> {
        self.0.execute(batch)
    }

    /// The ids that it names, if it can be done for some of them at a time; else none.
    pub(super) fn ids(&self) -> &[String] {
        self.0.ids()
    }

    /// Does it for some of its ids, the first ones or the next.
    pub(super) fn execute_for(&mut self, ids: &[String], batch: &mut Batch<'_>, part: IdsPart) -> Result<(), Fail> {
        self.0.execute_for(ids, batch, part)
    }

    pub(super) fn needs_room(&self) -> bool {
        self.0.needs_room()
    }

    /// Tells the caller what came of it, if it is durable.
    pub(super) fn answer(self, committed: Result<()>) {
        self.0.answer(committed);
    }
}

/// Which of its ids a call is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdsPart {
    First,
    Next,
}

trait AnyCall: Send {
    fn execute(&mut self, batch: &mut Batch<'_>) -> Result<(), Fail>;
    fn execute_for(&mut self, ids: &[String], batch: &mut Batch<'_>, part: IdsPart) -> Result<(), Fail>;
    fn visit_subjects(&self, visit: &mut dyn FnMut(Subject<'_>));
    fn bytes(&self) -> usize;
    fn needs_room(&self) -> bool;
    fn ids(&self) -> &[String];
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Asked<C: WriteCall> {
    call: C,
    reply: Reply<C::Answer>,
    /// What came of it when it was last done.
    outcome: Result<C::Answer>,
}

impl<C: WriteCall> AnyCall for Asked<C> {
    fn execute(&mut self, batch: &mut Batch<'_>) -> Result<(), Fail> {
        self.outcome = match self.call.execute(batch) {
            Ok(answer) => Ok(answer),
            Err(Fail::Request(error)) => Err(error),
            Err(fail @ Fail::Batch(_)) => return Err(fail),
        };
        Ok(())
    }

    fn execute_for(&mut self, ids: &[String], batch: &mut Batch<'_>, part: IdsPart) -> Result<(), Fail> {
        let of_part = match self.call.of_ids(ids) {
            Some(call) => call.execute(batch)?,
            None => self.call.execute(batch)?,
        };
        let before = std::mem::replace(&mut self.outcome, Err(StorageError::Closed));
        self.outcome = Ok(match before {
            Ok(before) if part == IdsPart::Next => C::join(before, of_part),
            _ => of_part,
        });
        Ok(())
    }

    fn visit_subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        self.call.visit_subjects(visit);
    }

    fn bytes(&self) -> usize {
        self.call.bytes()
    }

    fn needs_room(&self) -> bool {
        self.call.needs_room()
    }

    fn ids(&self) -> &[String] {
        self.call.ids()
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let Self { reply, outcome, .. } = *self;
        // Nobody waits any more if the future was dropped.
        drop(reply.send(committed.and(outcome)));
    }
}

/// What becomes of the metadata of an entry. Each has the fields, and the same as compact JSON.
#[derive(Debug, Clone)]
pub(crate) enum NewMetadata {
    /// It is replaced.
    Whole(Metadata, Vec<u8>),
    /// It is merged with a patch (RFC 7396).
    Patch(Metadata, Vec<u8>),
}

impl NewMetadata {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole(_, bytes) | Self::Patch(_, bytes) => bytes.len(),
        }
    }

    /// The metadata that is stored in the place of `record`'s, as JSON and as fields; the result of a patch is checked for its
    /// size.
    pub(super) fn instead_of(&self, record: &Record, path: &Path) -> Result<(Vec<u8>, Cow<'_, Metadata>)> {
        let patch = match self {
            Self::Whole(fields, bytes) => return Ok((bytes.clone(), Cow::Borrowed(fields))),
            Self::Patch(patch, _) => patch.clone(),
        };
        let malformed = |malformed: Malformed| corrupted(path, format!("entry `{}`: {}", record.id, malformed.0));
        let mut metadata = record.metadata().map_err(malformed)?;
        merge_patch(&mut metadata, patch);
        let bytes = serde_json::to_vec(&metadata)?;
        validate_vectors::metadata_bytes(&record.id, bytes.len())?;
        Ok((bytes, Cow::Owned(metadata)))
    }
}

/// Spaces that a write is about.
#[derive(Debug, Clone)]
pub(crate) enum Spaces {
    One(Arc<Space>),
    /// All that the router knows when it is done.
    Routed,
    /// All that anybody can write to when it is done.
    All,
}

/// Scopes that a write is about.
#[derive(Debug, Clone)]
pub(crate) enum Scopes {
    Named(Vec<StateScope>),
    /// All of a kind that are there when it is done.
    OfKind(ScopeKind),
}

/// How much was removed with scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Vectors that could be seen, in all spaces together.
    pub vectors: u64,
    /// Keys.
    pub keys: u64,
}

/// The entries of a batch that belong to one space.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) space: Arc<Space>,
    pub(crate) entries: Vec<PreparedEntry>,
}

/// A batch that is written in steps.
pub(crate) struct LargeBatch {
    pub(super) groups: Vec<LargeGroup>,
    pub(super) on_existing: OnExisting,
    pub(super) now: i64,
    bytes: usize,
    pub(super) reply: Reply<()>,
}

/// The entries of a large batch that belong to one scope of one space.
pub(crate) struct LargeGroup {
    pub(super) space: Arc<Space>,
    pub(super) scope: StateScope,
    /// Each with its place in the batch, in that order.
    pub(super) entries: Vec<(usize, PreparedEntry)>,
}

/// The entries of a request.
pub(crate) enum Entries {
    /// Written together with other requests.
    Few(Vec<Part>),
    /// Written in steps.
    Many(Vec<LargeGroup>),
}

impl Entries {
    /// Groups many entries by their scopes, which takes a while.
    pub(crate) fn many(parts: Vec<Part>) -> Self {
        let mut groups: Vec<LargeGroup> = Vec::new();
        let mut places = 0..;
        for Part { space, entries } in parts {
            let mut of_scope: BTreeMap<StateScope, Vec<(usize, PreparedEntry)>> = BTreeMap::new();
            for entry in places.by_ref().zip(entries) {
                match of_scope.get_mut(&entry.1.scope) {
                    Some(group) => group.push(entry),
                    None => drop(of_scope.insert(entry.1.scope.clone(), vec![entry])),
                }
            }
            groups.extend(of_scope.into_iter().map(|(scope, entries)| {
                let space = Arc::clone(&space);
                LargeGroup { space, scope, entries }
            }));
        }
        Self::Many(groups)
    }

    /// The request to write them.
    pub(crate) fn request(self, on_existing: OnExisting, now: i64, reply: Reply<()>) -> Request {
        match self {
            Self::Few(parts) => {
                let call = PutEntries {
                    parts,
                    on_existing,
                    now,
                };
                Request::new(call, reply)
            }
            Self::Many(groups) => Request::Large(LargeBatch {
                bytes: groups
                    .iter()
                    .flat_map(|group| &group.entries)
                    .map(|(_, entry)| entry.bytes())
                    .sum(),
                groups,
                on_existing,
                now,
                reply,
            }),
        }
    }
}

/// Whether entries are too many, or have too many bytes, for other requests to wait for them.
pub(crate) fn is_large(parts: &[Part], entries_min: usize) -> bool {
    let entries = || parts.iter().flat_map(|part| &part.entries);
    if entries_min == usize::MAX {
        return false;
    }
    entries().count() >= entries_min || entries().map(PreparedEntry::bytes).sum::<usize>() >= LARGE_BYTES_MIN
}

/// A copy of an entry, and what was copied.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) entry: PreparedEntry,
    pub(crate) original: Record,
}

/// What a space is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Its name, whatever it is.
    Plain,
    /// To be one of those that the router knows.
    Routed,
    /// As before, also if it was a plain one until now.
    Adopted,
    /// To take the place of another one.
    StagingOf(SpaceId),
}

/// An entry as it will be stored.
#[derive(Debug)]
pub(crate) struct PreparedEntry {
    pub(crate) scope: StateScope,
    pub(crate) id: String,
    /// Empty without one.
    pub(crate) vector: Vec<f32>,
    /// JSON object.
    pub(crate) metadata: Vec<u8>,
    /// What is stored of its text, if it has one.
    pub(crate) text: Option<StoredText>,
    pub(crate) words: Words,
    /// The fields of that object, where the index of metadata may take them in with the commit; so the committer need not
    /// read the JSON. None: the index reads it later.
    pub(crate) fields: Option<Metadata>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Timestamp,
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl PreparedEntry {
    pub(super) fn bytes(&self) -> usize {
        let text = self.text.as_ref().map_or(0, StoredText::len);
        4 * self.vector.len() + self.metadata.len() + self.id.len() + text
    }

    /// How it counts in a quota.
    pub(super) fn size(&self) -> EntrySize {
        EntrySize {
            bytes: self.metadata.len() + TextMark::of(self.text.as_ref()).bytes(),
            has_vector: !self.vector.is_empty(),
        }
    }
}
