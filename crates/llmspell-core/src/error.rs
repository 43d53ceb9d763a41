//! [`StorageError`]: what can go wrong, and what the caller should do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use llmspell_state_traits::{ScopeError, StateScope};

use crate::filter::FilterError;
use crate::timestamp::{Timestamp, TimestampError};

/// Result of every fallible call of the storage crates.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Why an operation on a store failed.
///
/// Act on [`kind`](Self::kind); show the message, which names the value and the limit; log the
/// [`source`](std::error::Error::source) chain. Unless a variant says otherwise, no part of the call was stored. A
/// missing entry and an entry of another scope give the same error.
///
/// Cloning is cheap: causes are shared, so that each waiter of a commit gets the whole error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    // ---- Invalid: the call cannot succeed as it is ----
    /// A vector does not fit its space.
    #[error("vector `{id}`: dimension mismatch: expected {expected}, got {got}")]
    Dimension {
        /// Id of the entry, or `query`.
        id: String,
        /// Dimension of the space.
        expected: usize,
        /// Number of components given.
        got: usize,
    },

    /// A component is NaN or infinite, or so large that the vector has no finite norm.
    #[error("vector `{id}`: component {index} is {value}; every component must be finite, and the norm too")]
    NonFinite {
        /// Id of the entry, or `query`.
        id: String,
        /// Index of the component.
        index: usize,
        /// The component.
        value: f32,
    },

    /// The vector has no direction, so it has no cosine.
    #[error("vector `{id}`: all components are zero (or vanish): cosine similarity is undefined for it")]
    ZeroVector {
        /// Id of the entry, or `query`.
        id: String,
    },

    /// A number lies outside its range.
    #[error("{what} is {got}; it must be within {min}..={max}")]
    OutOfRange {
        /// Name of the parameter.
        what: &'static str,
        /// The value given.
        got: f64,
        /// Smallest value allowed.
        min: f64,
        /// Largest value allowed.
        max: f64,
    },

    /// Something is longer or deeper than allowed; see [`limits`](crate::limits).
    #[error("{what} `{name}` has {got} {unit}; at most {limit} are allowed")]
    LimitExceeded {
        /// What is too large, for example `metadata of`.
        what: &'static str,
        /// Id, key or field, shortened.
        name: String,
        /// Size given.
        got: u64,
        /// Largest size allowed.
        limit: u64,
        /// Unit of both.
        unit: &'static str,
    },

    /// A key must not be empty.
    #[error("the key is empty")]
    EmptyKey,

    /// A scope is not valid.
    #[error(transparent)]
    Scope(#[from] ScopeError),

    /// A handle for one scope was used with a name of another scope.
    #[error("this handle is for the scope `{scope}` only; `{named}` is another one")]
    OutsideScope {
        /// The scope of the handle.
        scope: StateScope,
        /// The scope that the call named.
        named: StateScope,
    },

    /// An id occurs twice in one batch.
    #[error("id `{id}` occurs twice in one batch (entries {first} and {second})")]
    DuplicateId {
        /// The id.
        id: String,
        /// Index of its first entry.
        first: usize,
        /// Index of its second entry.
        second: usize,
    },

    /// Metadata is not a JSON object.
    #[error("metadata of `{id}` is a JSON {got}; it must be an object such as {{\"lang\": \"en\"}}")]
    MetadataNotObject {
        /// Id of the entry.
        id: String,
        /// What was given instead.
        got: &'static str,
    },

    /// A filter cannot be understood, or is too large.
    #[error("bad filter: {0}")]
    Filter(#[from] FilterError),

    /// A range of times ends before it begins.
    #[error("the {what} begins at {from} and ends earlier, at {to}; swap them")]
    ReversedTimes {
        /// Which range: `event time range` or `ingested range`.
        what: &'static str,
        /// Start of the range.
        from: Timestamp,
        /// End of the range.
        to: Timestamp,
    },

    /// A cursor of a listing cannot be read.
    #[error("the cursor cannot be read: {reason}; pass on what the last page gave, unchanged")]
    BadCursor {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A cursor of a listing belongs to another order.
    #[error("the cursor is of a list in the order {cursor}, not {asked}; begin that list without it")]
    CursorOrder {
        /// The order of the page that gave it.
        cursor: String,
        /// The order that is asked for.
        asked: String,
    },

    /// A name (of a space, for example) is not allowed.
    #[error("{what} `{name}` is not allowed: {reason}")]
    InvalidName {
        /// What the name is for.
        what: &'static str,
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A cut point of a model is out of order, or not shorter than a whole vector.
    #[error("model `{model}`: a cut point is {got}; it must be within {min}..={}", dim - 1)]
    CutPoint {
        /// Name of the model, shortened.
        model: String,
        /// The cut point.
        got: usize,
        /// One more than the cut point before it.
        min: usize,
        /// Components of a whole vector.
        dim: usize,
    },

    /// A vector's length is neither that of its model nor one of its cut lengths.
    #[error(
        "vector `{id}`: model `{model}` makes vectors of {dim} components{}; got {got}",
        or_cut_at(cut_points)
    )]
    ModelDimension {
        /// Id of the entry, or `query`.
        id: String,
        /// Name of the model, shortened.
        model: String,
        /// Components of a whole vector.
        dim: usize,
        /// Lengths to which it may be cut.
        cut_points: Vec<usize>,
        /// Number of components given.
        got: usize,
    },

    /// The model was not trained for vectors cut to this length, so neighbors would be lost. Measure how many, and
    /// force the cut if they are few enough.
    #[error(
        "vectors of model `{model}` cannot be cut to {got} components{}",
        may_be_cut_at(cut_points)
    )]
    NotMatryoshka {
        /// Name of the model, shortened.
        model: String,
        /// The length asked for.
        got: usize,
        /// Lengths to which they may be cut.
        cut_points: Vec<usize>,
    },

    /// No space holds vectors of this length, and the call may not create one.
    #[error("no space holds vectors of {dim} components{}", listed("; there are: ", known))]
    UnknownDimension {
        /// Number of components given.
        dim: usize,
        /// The existing spaces, each with its dimension; empty for a handle for one scope.
        known: Vec<String>,
    },

    /// Vectors of this length, or entries without a vector, belong to several models: name one.
    #[error(
        "{} belong to several models; name one{}",
        with_components(*dim),
        listed(": ", models)
    )]
    AmbiguousDimension {
        /// Number of components given; 0 where there is no vector.
        dim: usize,
        /// The models; empty for a handle for one scope.
        models: Vec<String>,
    },

    /// A value could not be turned into JSON, or JSON into a value.
    #[error("JSON: {0}")]
    Json(#[source] Arc<serde_json::Error>),

    /// The store does not support this.
    #[error("{backend} does not support {feature}")]
    Unsupported {
        /// The store.
        backend: &'static str,
        /// The feature that was used.
        feature: &'static str,
    },

    /// An entry has a text, or a query has words, but the space does not index words.
    #[error(
        "{what} `{name}` has words, and this space does not index words; open it with texts (`HNSWConfig::with_texts`)"
    )]
    NoTexts {
        /// `entry` or `query`.
        what: &'static str,
        /// Id of the entry, or the beginning of the words.
        name: String,
    },

    /// The texts of entries are asked for, but the space only indexes them.
    #[error("{what}: this space indexes texts without keeping them; open it with `TextConfig::with_keep(true)`")]
    TextsNotKept {
        /// What was asked for.
        what: &'static str,
    },

    /// An entry has a sparse vector, or a query asks for one, but the space does not index those of that name.
    #[error(
        "{what} `{name}` has a sparse vector `{sparse}`, and this space indexes none of that name{}; open it with \
         `HNSWConfig::with_sparse`",
        listed("; there are: ", known)
    )]
    NoSparse {
        /// `entry` or `query`.
        what: &'static str,
        /// Id of the entry, or `query`.
        name: String,
        /// The name of the sparse vector.
        sparse: String,
        /// The names that the space indexes.
        known: Vec<String>,
    },

    /// A sparse vector cannot be as it was given.
    #[error("sparse vector `{name}` of `{id}`: {reason}")]
    Sparse {
        /// Id of the entry, or `query`.
        id: String,
        /// The name of the vector.
        name: String,
        /// What is wrong, with the value and the limit.
        reason: String,
    },

    /// Another process has the database open, and lets others read it only.
    #[error("{} takes no writes: the process that has the database open lets others read it only", socket.display())]
    WritesRefused {
        /// The socket of that process.
        socket: PathBuf,
    },

    /// An entry of a space with texts has neither a vector nor a text that is indexed.
    #[error("entry `{id}` has neither a vector nor a text: nothing could find it")]
    NoContent {
        /// Id of the entry.
        id: String,
    },

    /// An entry that is to be an example of a recommendation has no vector.
    #[error("entry `{id}` has no vector")]
    NoVector {
        /// Id of the entry.
        id: String,
    },

    /// The analyzer of texts cannot be as it was chosen.
    #[error("texts: {0}")]
    Analyzer(#[from] llmspell_text::ConfigError),

    // ---- NotFound ----
    /// The store does not know the model.
    #[error("no space for the model `{model}`{}", listed("; there are: ", known))]
    UnknownModel {
        /// The name asked for, shortened.
        model: String,
        /// The existing spaces, each with its dimension; empty for a handle for one scope.
        known: Vec<String>,
    },

    /// There is no such entry in this scope.
    #[error("no entry `{id}` in this scope")]
    NotFound {
        /// The id asked for.
        id: String,
    },

    /// There is no space of this name.
    #[error("no space `{name}`{}", listed("; there are: ", known))]
    UnknownSpace {
        /// The name asked for, shortened.
        name: String,
        /// The existing spaces, each with its dimension; empty for a handle for one scope.
        known: Vec<String>,
    },

    // ---- Conflict: the state is not as the call expects ----
    /// The id exists in its scope; use `upsert` to replace it.
    #[error("id `{id}` exists in its scope; use upsert to replace it")]
    IdExists {
        /// The id.
        id: String,
    },

    /// The scope would hold more than its [`Quota`](crate::Quota) allows. No part of the batch was stored; delete
    /// entries, or raise the quota. If a batch exceeds several quotas, the error names the first scope in the order of
    /// scopes.
    #[error("the scope `{scope}` holds {used} of at most {limit} {what}: no room for {asked} more")]
    QuotaExceeded {
        /// The scope of the quota.
        scope: StateScope,
        /// The limited quantity: `vectors`, `bytes of vectors`, `bytes of metadata` or `bytes of key-value data`.
        what: &'static str,
        /// Most that the scope may hold.
        limit: u64,
        /// What it holds; this exceeds the limit if the limit was lowered.
        used: u64,
        /// How much the call would have added.
        asked: u64,
    },

    /// The space was created with another setting.
    #[error("space `{space}` was created with {what} {stored}, not {requested}")]
    SpaceMismatch {
        /// Name of the space.
        space: String,
        /// The setting: `dimension` or `metric`.
        what: &'static str,
        /// The stored value.
        stored: String,
        /// The requested value.
        requested: String,
    },

    /// The target of a copy is not empty.
    #[error("the target holds the key `{key}` already; copy into an empty one")]
    NotEmpty {
        /// A key in the target.
        key: String,
    },

    /// A directory that must be empty or absent is not. It was not touched.
    #[error("{} is not empty: it holds `{found}`", path.display())]
    DirectoryNotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the names in it.
        found: String,
    },

    // ---- Busy: the same call may succeed later ----
    /// Another process, or another handle in this one, has the directory open.
    #[error("{} is open elsewhere ({holder}); close it there first", path.display())]
    AlreadyOpen {
        /// The directory.
        path: PathBuf,
        /// The holder, as far as known.
        holder: String,
    },

    /// The call waited longer than allowed. Whether a write happened is unknown.
    #[error("{what} took longer than {timeout_ms} ms")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// The bound.
        timeout_ms: u64,
    },

    /// All connections to the server are in use, or it cannot accept work now. No part of the call was done.
    #[error("{server} is busy: {reason}; try again later")]
    ServerBusy {
        /// The server, for example `PostgreSQL`.
        server: &'static str,
        /// What is in the way.
        reason: String,
    },

    // ---- Data: the content of the disk is not as it should be ----
    /// Bytes on disk differ from those written; `detail` names the place. Restore from a backup.
    #[error("{} is damaged: {detail}", path.display())]
    Corrupted {
        /// The file.
        path: PathBuf,
        /// The fault and its place.
        detail: String,
    },

    /// The files were written by a version with another format. They were not touched.
    #[error("{} has format version {found}; this build reads {min} to {max}", path.display())]
    UnsupportedVersion {
        /// The file or directory.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Oldest version that can be read.
        min: u32,
        /// Newest version that can be read.
        max: u32,
    },

    /// The directory holds other files. It was not touched.
    #[error("{} is not a database of this kind: {reason}", path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// The file that was found or missed.
        reason: String,
    },

    /// The directory holds no complete backup, or one of another database. It was not touched.
    #[error("{} is not the backup that is wanted: {reason}", path.display())]
    NotABackup {
        /// The directory.
        path: PathBuf,
        /// What was found or missed.
        reason: String,
    },

    /// A stored value does not have the type asked for.
    #[error("the value of key `{key}` cannot be decoded")]
    Undecodable {
        /// The key.
        key: String,
        /// The reason.
        source: Arc<serde_json::Error>,
    },

    /// The application's embedding function failed, or returned other vectors than asked. No entry of that page was
    /// stored; earlier pages stay.
    #[error("the embedding function failed")]
    Embedding {
        /// The error of that function.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },

    // ---- Io ----
    /// The disk is full, or has less free space than the reserve requires. No part of the call was stored; reads
    /// continue.
    #[error("no space left at {}{}", path.display(), free_and_needed(*available_bytes, *needed_bytes))]
    NoSpace {
        /// The file or directory.
        path: PathBuf,
        /// Bytes free on the file system when the error was made, if the system tells.
        available_bytes: Option<u64>,
        /// Bytes that must be free for the call, if known; none where the system itself refused to write.
        needed_bytes: Option<u64>,
    },

    /// The directory or a file in it cannot be written.
    #[error("{} cannot be written", path.display())]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },

    /// The system refused an operation on a file.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// The operation.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },

    /// The server cannot be reached, or the connection was lost. If a write was under way, whether it happened is unknown: all
    /// of it, or nothing.
    #[error("no connection to {server}: {reason}")]
    ConnectionLost {
        /// The server, for example `PostgreSQL`.
        server: &'static str,
        /// What the system or the server said.
        reason: String,
    },

    /// Another process has the database open, did the call, and failed. Of errors with fields that callers look into, such
    /// as [`NotFound`](Self::NotFound), the error itself arrives instead.
    #[error("{message}")]
    Elsewhere {
        /// What the caller can do about it.
        kind: ErrorKind,
        /// The error there, with its causes.
        message: String,
    },

    /// The server refused the call: a missing permission, for example.
    #[error("{server} refused the call ({code}): {reason}")]
    Server {
        /// The server, for example `PostgreSQL`.
        server: &'static str,
        /// The error code of the server.
        code: String,
        /// What it said, and what to do.
        reason: String,
    },

    // ---- Closed: this handle can no longer be used ----
    /// An earlier write failed, so memory and disk may differ. Whether that write is durable is unknown. Reads
    /// continue; reopen the store to write again.
    #[error("an earlier write failed ({first_error}); reopen the store")]
    Poisoned {
        /// The first failure.
        first_error: String,
    },

    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// What a caller can do about a [`StorageError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call is wrong; change it.
    Invalid,
    /// The named item does not exist.
    NotFound,
    /// The state is not as the call expects; look and decide.
    Conflict,
    /// Another process or handle is in the way; try later.
    Busy,
    /// The content of the disk is damaged, foreign or of another version; restore or upgrade.
    Data,
    /// The system failed; free space, or fix permissions or hardware.
    Io,
    /// The handle can no longer be used; reopen.
    Closed,
}

impl From<serde_json::Error> for StorageError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(Arc::new(error))
    }
}

impl StorageError {
    /// The same without names of spaces and models, for a handle for one scope: the names may reveal other scopes. For
    /// implementers.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        if let Self::UnknownDimension { known: names, .. }
        | Self::AmbiguousDimension { models: names, .. }
        | Self::UnknownModel { known: names, .. }
        | Self::UnknownSpace { known: names, .. } = &mut self
        {
            names.clear();
        }
        self
    }

    /// What the caller can do about it. Exit codes, HTTP statuses and exceptions depend on this only.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dimension { .. }
            | Self::NonFinite { .. }
            | Self::ZeroVector { .. }
            | Self::OutOfRange { .. }
            | Self::LimitExceeded { .. }
            | Self::EmptyKey
            | Self::Scope(_)
            | Self::OutsideScope { .. }
            | Self::DuplicateId { .. }
            | Self::MetadataNotObject { .. }
            | Self::Filter(_)
            | Self::ReversedTimes { .. }
            | Self::BadCursor { .. }
            | Self::CursorOrder { .. }
            | Self::InvalidName { .. }
            | Self::CutPoint { .. }
            | Self::ModelDimension { .. }
            | Self::NotMatryoshka { .. }
            | Self::UnknownDimension { .. }
            | Self::AmbiguousDimension { .. }
            | Self::Json(_)
            | Self::NoTexts { .. }
            | Self::TextsNotKept { .. }
            | Self::NoSparse { .. }
            | Self::Sparse { .. }
            | Self::NoContent { .. }
            | Self::NoVector { .. }
            | Self::Analyzer(_)
            | Self::WritesRefused { .. }
            | Self::Unsupported { .. } => ErrorKind::Invalid,
            Self::Elsewhere { kind, .. } => *kind,
            Self::NotFound { .. } | Self::UnknownModel { .. } | Self::UnknownSpace { .. } => ErrorKind::NotFound,
            Self::IdExists { .. }
            | Self::QuotaExceeded { .. }
            | Self::SpaceMismatch { .. }
            | Self::NotEmpty { .. }
            | Self::DirectoryNotEmpty { .. } => ErrorKind::Conflict,
            Self::AlreadyOpen { .. } | Self::Timeout { .. } | Self::ServerBusy { .. } => ErrorKind::Busy,
            Self::Corrupted { .. }
            | Self::UnsupportedVersion { .. }
            | Self::ForeignDirectory { .. }
            | Self::NotABackup { .. }
            | Self::Undecodable { .. }
            | Self::Embedding { .. } => ErrorKind::Data,
            Self::NoSpace { .. }
            | Self::ReadOnly { .. }
            | Self::Io { .. }
            | Self::ConnectionLost { .. }
            | Self::Server { .. } => ErrorKind::Io,
            Self::Poisoned { .. } | Self::Closed => ErrorKind::Closed,
        }
    }
}

fn free_and_needed(available_bytes: Option<u64>, needed_bytes: Option<u64>) -> String {
    match (available_bytes, needed_bytes) {
        (None, None) => String::new(),
        (Some(free), None) => format!(": {free} bytes free"),
        (None, Some(needed)) => format!(": {needed} bytes needed"),
        (Some(free), Some(needed)) => format!(": {free} bytes free, {needed} needed"),
    }
}

fn numbers(values: &[usize]) -> String {
    let texts: Vec<String> = values.iter().map(usize::to_string).collect();
    texts.join(", ")
}

fn or_cut_at(cut_points: &[usize]) -> String {
    match cut_points {
        [] => String::new(),
        cuts => format!(", cut at {}", numbers(cuts)),
    }
}

fn may_be_cut_at(cut_points: &[usize]) -> String {
    match cut_points {
        [] => String::new(),
        cuts => format!("; possible lengths are {}", numbers(cuts)),
    }
}

fn with_components(dim: usize) -> String {
    match dim {
        0 => "entries without a vector may".to_string(),
        dim => format!("vectors of {dim} components"),
    }
}

/// At most sixteen names, for an error text; nothing if there are none.
fn listed(before: &str, names: &[String]) -> String {
    const NAMES_MAX: usize = 16;
    match names {
        [] => String::new(),
        [names @ .., _] if names.len() >= NAMES_MAX => format!("{before}{}, …", names[..NAMES_MAX].join(", ")),
        names => format!("{before}{}", names.join(", ")),
    }
}

impl From<TimestampError> for StorageError {
    fn from(error: TimestampError) -> Self {
        match error {
            TimestampError::Unreadable { text } => Self::InvalidName {
                what: "time",
                name: text,
                reason: "write RFC 3339 such as 2026-11-22T10:00:00Z, or milliseconds since 1970",
            },
            TimestampError::OutOfRange { what, got, min, max } => Self::OutOfRange {
                what,
                got: got as f64,
                min: min as f64,
                max: max as f64,
            },
        }
    }
}
