//! What does a handle ask of the committer?

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use llmspell_codec::Malformed;
use llmspell_core::{
    Expiry, Filter, KeyValueWrite, OnExisting, Quota, Result, ScopeKind, StateScope, Timestamp, WriteSummary,
    merge_patch, validate_vectors,
};
use tokio::sync::oneshot;

use crate::base::error::corrupted;
use crate::base::ids::SpaceId;
use crate::base::record::Record;
use crate::indexes::files::Kind;
use crate::indexes::named::NewFile;
use crate::namespace::Namespace;
use crate::spaces::handover::HandOver;
use crate::spaces::registry::Space;
use crate::truth::SpaceRecord;

/// A batch of as many bytes is large, however few its entries are.
const LARGE_BYTES_MIN: usize = 2 << 20;

/// The way back to whoever waits.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// One write. All of it was validated.
pub(crate) enum Request {
    /// Changes of key-value data. Lifetimes have become moments.
    Values {
        writes: Vec<KeyValueWrite>,
        reply: Reply<WriteSummary>,
    },
    /// A value takes the place of another.
    Swap {
        key: String,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        /// A moment, if any.
        expiry: Expiry,
        reply: Reply<bool>,
    },
    /// Entries of one or several spaces and scopes.
    Entries {
        parts: Vec<Part>,
        on_existing: OnExisting,
        now: i64,
        reply: Reply<()>,
    },
    /// Entries that are so many that they are written in steps, between others' requests.
    Large(LargeBatch),
    /// Other metadata for an entry, in the first of the spaces that has it.
    Metadata {
        spaces: Spaces,
        scope: StateScope,
        id: String,
        metadata: NewMetadata,
        now: i64,
        reply: Reply<()>,
    },
    /// Another end for entries, or none, in the first of the spaces that has each. The answer is the ids that are not there.
    Touch {
        spaces: Spaces,
        scope: StateScope,
        ids: Vec<String>,
        expires_at: Option<Timestamp>,
        now: i64,
        reply: Reply<Vec<String>>,
    },
    /// Entries to remove, from all of the spaces.
    Delete {
        spaces: Spaces,
        scope: StateScope,
        ids: Vec<String>,
        /// Those that do not match by then stay.
        only: Option<Filter>,
        now: i64,
        reply: Reply<u64>,
    },
    /// Scopes to remove, from all of the spaces.
    DropScopes {
        spaces: Spaces,
        scopes: Scopes,
        /// Their key-value data too.
        with_keys: bool,
        now: i64,
        reply: Reply<Removed>,
    },
    /// A space to create, or to open with a changed configuration.
    OpenSpace {
        record: SpaceRecord,
        opening: Opening,
        reply: Reply<SpaceId>,
    },
    /// A space to remove, with everything in it.
    DropSpace { name: String, now: i64, reply: Reply<()> },
    /// Copies of entries with other vectors, for a space that will take the place of another. Those whose original is not
    /// what was copied any more are left out.
    Copies {
        from: Arc<Space>,
        to: Arc<Space>,
        copies: Vec<Copied>,
        now: i64,
        reply: Reply<u64>,
    },
    /// A space takes the place of the one whose entries were copied to it, if all of them were.
    Switch {
        from: SpaceId,
        to: SpaceId,
        now: i64,
        reply: Reply<bool>,
    },
    /// The file that an index of a scope has from now on, or none.
    NameFile {
        space: Arc<Space>,
        scope: StateScope,
        namespace: Arc<Namespace>,
        kind: Kind,
        file: Option<NewFile>,
        reply: Reply<bool>,
    },
    /// Scopes of a space that another has replaced, to remove: so many at most.
    Empty {
        space: Arc<Space>,
        limit: usize,
        now: i64,
        reply: Reply<u64>,
    },
    /// Another quota for a scope, or none.
    SetQuota {
        scope: StateScope,
        quota: Option<Quota>,
        reply: Reply<bool>,
    },
    /// An index that was built. Not part of a transaction.
    Built(HandOver),
    /// Nothing; the answer comes when everything before is durable.
    Flush { reply: Reply<()> },
}

/// What becomes of the metadata of an entry: JSON objects.
#[derive(Debug, Clone)]
pub(crate) enum NewMetadata {
    /// It is replaced.
    Whole(Vec<u8>),
    /// It is merged with a patch (RFC 7396).
    Patch(Vec<u8>),
}

impl NewMetadata {
    fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) | Self::Patch(bytes) => bytes.len(),
        }
    }

    /// The metadata that is stored in the place of `record`'s; the result of a patch is checked for its size.
    pub(super) fn instead_of(&self, record: &Record, path: &Path) -> Result<Vec<u8>> {
        let patch = match self {
            Self::Whole(bytes) => return Ok(bytes.clone()),
            Self::Patch(bytes) => serde_json::from_slice(bytes)?,
        };
        let malformed = |malformed: Malformed| corrupted(path, format!("entry `{}`: {}", record.id, malformed.0));
        let mut metadata = record.metadata().map_err(malformed)?;
        merge_patch(&mut metadata, patch);
        let bytes = serde_json::to_vec(&metadata)?;
        validate_vectors::metadata_bytes(&record.id, bytes.len())?;
        Ok(bytes)
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
            Self::Few(parts) => Request::Entries {
                parts,
                on_existing,
                now,
                reply,
            },
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

/// Whether entries are so many, or have so many bytes, that others should not wait for them.
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
    pub(crate) vector: Vec<f32>,
    /// JSON object.
    pub(crate) metadata: Vec<u8>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Timestamp,
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl PreparedEntry {
    fn bytes(&self) -> usize {
        4 * self.vector.len() + self.metadata.len() + self.id.len()
    }
}

impl Request {
    /// About how many bytes it brings.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Values { writes, .. } => writes.iter().map(KeyValueWrite::len_bytes).sum(),
            Self::Swap { new, .. } => new.as_ref().map_or(0, Vec::len),
            Self::Entries { parts, .. } => {
                let entries = parts.iter().flat_map(|part| &part.entries);
                entries.map(PreparedEntry::bytes).sum()
            }
            Self::Large(large) => large.bytes,
            Self::Copies { copies, .. } => copies.iter().map(|copied| copied.entry.bytes()).sum(),
            Self::Metadata { metadata, .. } => metadata.len(),
            Self::Touch { .. }
            | Self::Delete { .. }
            | Self::DropScopes { .. }
            | Self::DropSpace { .. }
            | Self::OpenSpace { .. }
            | Self::Switch { .. }
            | Self::Empty { .. }
            | Self::NameFile { .. }
            | Self::SetQuota { .. }
            | Self::Built(_)
            | Self::Flush { .. } => 0,
        }
    }

    /// What was built, apart from the requests that change what is stored.
    pub(super) fn without_built(requests: Vec<Self>) -> (Vec<HandOver>, Vec<Self>) {
        let (mut built, mut others) = (Vec::new(), Vec::with_capacity(requests.len()));
        for request in requests {
            match request {
                Self::Built(hand_over) => built.push(hand_over),
                other => others.push(other),
            }
        }
        (built, others)
    }

    /// The ids that it names, if it can be done for some of them at a time.
    pub(super) fn ids(&self) -> Option<&[String]> {
        match self {
            Self::Delete { ids, .. } | Self::Touch { ids, .. } => Some(ids),
            _ => None,
        }
    }

    /// Whether it needs room on the disk. What frees room is allowed on a full disk. Whether opening a space or touching
    /// entries needs some is known only when records are looked at: [`Batch`](super::batch::Batch) asks then.
    pub(crate) fn needs_room(&self) -> bool {
        match self {
            Self::Values { writes, .. } => writes.iter().any(KeyValueWrite::stores),
            Self::Swap { new, .. } => new.is_some(),
            Self::SetQuota { quota, .. } => quota.is_some(),
            Self::Entries { .. } | Self::Large(_) | Self::Metadata { .. } | Self::Copies { .. } => true,
            Self::Delete { .. }
            | Self::Touch { .. }
            | Self::OpenSpace { .. }
            | Self::Switch { .. }
            | Self::Empty { .. }
            | Self::DropScopes { .. }
            | Self::DropSpace { .. }
            | Self::NameFile { .. }
            | Self::Built(_)
            | Self::Flush { .. } => false,
        }
    }

    /// Tells whoever waits what came of it.
    pub(crate) fn answer(self, result: Result<Outcome>) {
        // Whoever dropped the future does not want to know, so a failed send is fine.
        match self {
            Self::Values { reply, .. } => drop(reply.send(result.map(Outcome::into_summary))),
            Self::Swap { reply, .. }
            | Self::Switch { reply, .. }
            | Self::NameFile { reply, .. }
            | Self::SetQuota { reply, .. } => {
                drop(reply.send(result.map(|outcome| outcome.into_count() > 0)));
            }
            Self::Entries { reply, .. }
            | Self::Large(LargeBatch { reply, .. })
            | Self::Metadata { reply, .. }
            | Self::DropSpace { reply, .. }
            | Self::Flush { reply } => {
                drop(reply.send(result.map(drop)));
            }
            Self::Delete { reply, .. } | Self::Copies { reply, .. } | Self::Empty { reply, .. } => {
                drop(reply.send(result.map(Outcome::into_count)));
            }
            Self::DropScopes { reply, .. } => drop(reply.send(result.map(Outcome::into_removed))),
            Self::Touch { reply, .. } => drop(reply.send(result.map(Outcome::into_ids))),
            Self::OpenSpace { reply, .. } => drop(reply.send(result.map(Outcome::into_space))),
            // It is answered when it is adopted.
            Self::Built(_) => {}
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Done,
    Count(u64),
    Removed(Removed),
    Space(SpaceId),
    Ids(Vec<String>),
}

impl Outcome {
    /// What came of two parts of one request.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Count(count), Self::Count(more)) => Self::Count(count + more),
            (Self::Ids(mut ids), Self::Ids(more)) => {
                ids.extend(more);
                Self::Ids(ids)
            }
            _ => unreachable!("only requests that count or name ids are done in parts"),
        }
    }

    fn into_count(self) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Done | Self::Removed(_) | Self::Space(_) | Self::Ids(_) => unreachable!("this request counts"),
        }
    }

    fn into_ids(self) -> Vec<String> {
        match self {
            Self::Ids(ids) => ids,
            Self::Done | Self::Count(_) | Self::Removed(_) | Self::Space(_) => {
                unreachable!("this request names ids")
            }
        }
    }

    fn into_summary(self) -> WriteSummary {
        WriteSummary {
            deleted: self.into_count(),
        }
    }

    fn into_removed(self) -> Removed {
        match self {
            Self::Removed(removed) => removed,
            Self::Done | Self::Count(_) | Self::Space(_) | Self::Ids(_) => {
                unreachable!("this request removes scopes")
            }
        }
    }

    fn into_space(self) -> SpaceId {
        match self {
            Self::Space(space) => space,
            Self::Done | Self::Count(_) | Self::Removed(_) | Self::Ids(_) => {
                unreachable!("this request opens a space")
            }
        }
    }
}
