//! The words of the protocol: what a client may ask, and what it may be answered.
//!
//! A connection carries one call:
//!
//! ```text
//! server → client   {"hello": {…}}                    at once
//! client → server   {"protocol": 1, "call": {…}}
//! server → client   {"working": {…}}                  each second while the call takes
//! server → client   {"answer": …} or {"error": {…}}   and the connection ends
//! ```
//!
//! Entries, queries, filters and reports have the JSON forms that they have everywhere else. Values of keys are bytes: text
//! as `{"text": "…"}`, others as `{"hex": "…"}`.
//!
//! Protocol 1 (0.1.0): as here. A client refuses a server of another protocol, and a server a client.

use std::path::PathBuf;

use llmspell_core::{
    EmbeddingModel, Expiry, HNSWConfig, KeyValueEntry, KeyValueWrite, ListQuery, Metadata, OnExisting, SampleQuery,
    StateScope, StorageError, Timestamp, VectorEntry, VectorQuery,
};
use llmspell_core::{ErrorKind, Filter};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The protocol of this version.
pub(super) const PROTOCOL: u32 = 1;

/// The first frame of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    /// Version of the library.
    pub(super) version: String,
    /// Number of the process.
    pub(super) process: u32,
    /// Directory of the database; none in memory.
    pub(super) database: Option<PathBuf>,
    /// Whether calls may write.
    pub(super) writes: bool,
}

/// The frame of a client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request<C> {
    pub(super) protocol: u32,
    pub(super) call: C,
}

/// What can be read of the request of any version.
#[derive(Debug, Deserialize)]
pub(super) struct AnyRequest {
    pub(super) protocol: u32,
}

/// A frame of a server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply<T> {
    Hello(Hello),
    Working(Working),
    Answer(T),
    Error(Fault),
}

/// How far a call is; zeros if that is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Working {
    pub(super) done_bytes: u64,
    pub(super) total_bytes: u64,
}

/// A call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Call {
    Spaces,
    Stats,
    Check {
        deep: bool,
    },
    Backup {
        /// Absolute.
        dir: PathBuf,
        with_indexes: bool,
        keep_going: bool,
        bytes_per_second_max: Option<u64>,
    },
    /// Opens a space, or makes it.
    OpenSpace {
        name: String,
        dim: usize,
        config: Box<HNSWConfig>,
    },
    RegisterModel {
        model: EmbeddingModel,
    },
    Vectors {
        store: Store,
        call: VectorCall,
    },
    Keys(KeyCall),
}

/// Which vectors a call is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Store {
    /// A space by its name.
    Space(String),
    /// The spaces of models together, as the router of the database has them.
    Router,
}

/// A call of `VectorStorage`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum VectorCall {
    Search(Box<VectorQuery>),
    Explain(Box<VectorQuery>),
    Get {
        scope: StateScope,
        id: String,
    },
    GetMany {
        scope: StateScope,
        ids: Vec<String>,
    },
    List {
        scope: StateScope,
        filter: Option<Filter>,
        after: Option<String>,
        limit: usize,
    },
    ListPage(Box<ListQuery>),
    Sample(Box<SampleQuery>),
    Count {
        scope: StateScope,
        filter: Option<Filter>,
    },
    Facet {
        scope: StateScope,
        field: String,
        filter: Filter,
        limit: usize,
    },
    Scopes,
    Stats,
    ScopeStats {
        scope: StateScope,
    },
    Write {
        entries: Vec<VectorEntry>,
        on_existing: Existing,
        /// Whether models and dimensions must be known.
        known: bool,
    },
    UpdateMetadata {
        scope: StateScope,
        id: String,
        metadata: Metadata,
    },
    PatchMetadata {
        scope: StateScope,
        id: String,
        patch: Metadata,
    },
    Touch {
        scope: StateScope,
        ids: Vec<String>,
        expiry: Expiry,
    },
    Delete {
        scope: StateScope,
        ids: Vec<String>,
    },
    DeleteMatching {
        scope: StateScope,
        filter: Filter,
    },
    DeleteScopes {
        scopes: Vec<StateScope>,
    },
    DeleteScopesOfKind {
        kind: String,
    },
    Flush,
    BuildIndex,
    OptimizeIndex,
}

/// What a write does with an id that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Existing {
    Refuse,
    Replace,
}

impl From<OnExisting> for Existing {
    fn from(on_existing: OnExisting) -> Self {
        match on_existing {
            OnExisting::Refuse => Self::Refuse,
            OnExisting::Replace => Self::Replace,
        }
    }
}

impl From<Existing> for OnExisting {
    fn from(existing: Existing) -> Self {
        match existing {
            Existing::Refuse => Self::Refuse,
            Existing::Replace => Self::Replace,
        }
    }
}

/// A call of `StorageBackend`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum KeyCall {
    Get {
        key: String,
    },
    GetBatch {
        keys: Vec<String>,
    },
    Scan {
        prefix: String,
        after: Option<String>,
        limit: usize,
    },
    ExpiresAt {
        key: String,
    },
    Write {
        batch: Vec<Change>,
    },
    Swap {
        key: String,
        expected: Option<Bytes>,
        new: Option<Bytes>,
        expiry: Expiry,
    },
}

impl Call {
    /// Its name for people, and whether it changes what is stored.
    pub(super) fn about(&self) -> (&'static str, bool) {
        match self {
            Self::Spaces => ("spaces", false),
            Self::Stats => ("stats", false),
            Self::Check { .. } => ("check", false),
            Self::Backup { .. } => ("backup", false),
            Self::OpenSpace { .. } => ("open a space", true),
            Self::RegisterModel { .. } => ("register a model", true),
            Self::Vectors { call, .. } => call.about(),
            Self::Keys(call) => call.about(),
        }
    }
}

impl VectorCall {
    fn about(&self) -> (&'static str, bool) {
        match self {
            Self::Search(_) => ("search", false),
            Self::Explain(_) => ("explain", false),
            Self::Get { .. } => ("get", false),
            Self::GetMany { .. } => ("get several", false),
            Self::List { .. } | Self::ListPage(_) => ("list", false),
            Self::Sample(_) => ("sample", false),
            Self::Count { .. } => ("count", false),
            Self::Facet { .. } => ("facet", false),
            Self::Scopes => ("scopes", false),
            Self::Stats => ("stats of a space", false),
            Self::ScopeStats { .. } => ("stats of a scope", false),
            Self::Write { .. } => ("write", true),
            Self::UpdateMetadata { .. } => ("update metadata", true),
            Self::PatchMetadata { .. } => ("patch metadata", true),
            Self::Touch { .. } => ("touch", true),
            Self::Delete { .. } | Self::DeleteMatching { .. } => ("delete", true),
            Self::DeleteScopes { .. } | Self::DeleteScopesOfKind { .. } => ("delete scopes", true),
            Self::Flush => ("flush", true),
            Self::BuildIndex | Self::OptimizeIndex => ("build an index", true),
        }
    }
}

impl KeyCall {
    fn about(&self) -> (&'static str, bool) {
        match self {
            Self::Get { .. } => ("get a key", false),
            Self::GetBatch { .. } => ("get keys", false),
            Self::Scan { .. } => ("scan keys", false),
            Self::ExpiresAt { .. } => ("expiry of a key", false),
            Self::Write { .. } => ("write keys", true),
            Self::Swap { .. } => ("swap a key", true),
        }
    }
}

/// A change of keys, as [`KeyValueWrite`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    Set { key: String, value: Bytes },
    SetExpiring { key: String, value: Bytes, expiry: Expiry },
    Delete { key: String },
    DeletePrefix { prefix: String },
}

impl From<KeyValueWrite> for Change {
    fn from(write: KeyValueWrite) -> Self {
        match write {
            KeyValueWrite::Set { key, value } => Self::Set {
                key,
                value: Bytes(value),
            },
            KeyValueWrite::SetExpiring { key, value, expiry } => Self::SetExpiring {
                key,
                value: Bytes(value),
                expiry,
            },
            KeyValueWrite::Delete { key } => Self::Delete { key },
            KeyValueWrite::DeletePrefix { prefix } => Self::DeletePrefix { prefix },
        }
    }
}

impl From<Change> for KeyValueWrite {
    fn from(change: Change) -> Self {
        match change {
            Change::Set { key, value } => Self::Set { key, value: value.0 },
            Change::SetExpiring { key, value, expiry } => Self::SetExpiring {
                key,
                value: value.0,
                expiry,
            },
            Change::Delete { key } => Self::Delete { key },
            Change::DeletePrefix { prefix } => Self::DeletePrefix { prefix },
        }
    }
}

/// A key with its value, as [`KeyValueEntry`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pair {
    key: String,
    value: Bytes,
    expires_at: Option<Timestamp>,
}

impl From<KeyValueEntry> for Pair {
    fn from(entry: KeyValueEntry) -> Self {
        Self {
            key: entry.key,
            value: Bytes(entry.value),
            expires_at: entry.expires_at,
        }
    }
}

impl From<Pair> for KeyValueEntry {
    fn from(pair: Pair) -> Self {
        Self::new(pair.key, pair.value.0, pair.expires_at)
    }
}

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BytesForm<'a> {
    Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
    Hex(#[serde(borrow)] std::borrow::Cow<'a, str>),
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let form = match std::str::from_utf8(&self.0) {
            Ok(text) => BytesForm::Text(text.into()),
            Err(_) => {
                let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                let hex: String = digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect();
                BytesForm::Hex(hex.into())
            }
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = match BytesForm::deserialize(deserializer)? {
            BytesForm::Text(text) => return Ok(Self(text.into_owned().into_bytes())),
            BytesForm::Hex(hex) => hex,
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        match (bytes.collect::<Option<Vec<u8>>>(), rest) {
            (Some(bytes), []) => Ok(Self(bytes)),
            _ => Err(de::Error::custom("hexadecimal digits come in pairs of 0-9 and a-f")),
        }
    }
}

/// An error of a call.
///
/// `detail` has the fields of the errors that callers look into; of the others the client knows kind and message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fault {
    kind: FaultKind,
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
}

/// An [`ErrorKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultKind {
    Invalid,
    NotFound,
    Conflict,
    Busy,
    Data,
    Io,
    Closed,
}

/// Errors that arrive as they were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Detail {
    NotFound { id: String },
    IdExists { id: String },
    DuplicateId { id: String, first: usize, second: usize },
    Dimension { id: String, expected: usize, got: usize },
    ZeroVector { id: String },
    EmptyKey,
    NoContent { id: String },
    NoVector { id: String },
    UnknownModel { model: String, known: Vec<String> },
    UnknownSpace { name: String, known: Vec<String> },
    NotABackup { path: PathBuf, reason: String },
    DirectoryNotEmpty { path: PathBuf, found: String },
    AlreadyOpen { path: PathBuf, holder: String },
    WritesRefused { socket: PathBuf },
    Corrupted { path: PathBuf, detail: String },
    Closed,
    Poisoned { first_error: String },
}

impl From<&StorageError> for Fault {
    fn from(error: &StorageError) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause.filter(|_| causes.len() < 8) {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self {
            kind: match error.kind() {
                ErrorKind::Invalid => FaultKind::Invalid,
                ErrorKind::NotFound => FaultKind::NotFound,
                ErrorKind::Conflict => FaultKind::Conflict,
                ErrorKind::Busy => FaultKind::Busy,
                ErrorKind::Data => FaultKind::Data,
                ErrorKind::Closed => FaultKind::Closed,
                // `Io`, and kinds that this protocol has no word for.
                _ => FaultKind::Io,
            },
            message: error.to_string(),
            causes,
            detail: Detail::of(error.clone()),
        }
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault.detail {
            Some(detail) => detail.into(),
            None => Self::Elsewhere {
                kind: match fault.kind {
                    FaultKind::Invalid => ErrorKind::Invalid,
                    FaultKind::NotFound => ErrorKind::NotFound,
                    FaultKind::Conflict => ErrorKind::Conflict,
                    FaultKind::Busy => ErrorKind::Busy,
                    FaultKind::Data => ErrorKind::Data,
                    FaultKind::Io => ErrorKind::Io,
                    FaultKind::Closed => ErrorKind::Closed,
                },
                message: std::iter::once(fault.message)
                    .chain(fault.causes)
                    .collect::<Vec<_>>()
                    .join(": "),
            },
        }
    }
}

impl Detail {
    fn of(error: StorageError) -> Option<Self> {
        Some(match error {
            StorageError::NotFound { id } => Self::NotFound { id },
            StorageError::IdExists { id } => Self::IdExists { id },
            StorageError::DuplicateId { id, first, second } => Self::DuplicateId { id, first, second },
            StorageError::Dimension { id, expected, got } => Self::Dimension { id, expected, got },
            StorageError::ZeroVector { id } => Self::ZeroVector { id },
            StorageError::EmptyKey => Self::EmptyKey,
            StorageError::NoContent { id } => Self::NoContent { id },
            StorageError::NoVector { id } => Self::NoVector { id },
            StorageError::UnknownModel { model, known } => Self::UnknownModel { model, known },
            StorageError::UnknownSpace { name, known } => Self::UnknownSpace { name, known },
            StorageError::NotABackup { path, reason } => Self::NotABackup { path, reason },
            StorageError::DirectoryNotEmpty { path, found } => Self::DirectoryNotEmpty { path, found },
            StorageError::AlreadyOpen { path, holder } => Self::AlreadyOpen { path, holder },
            StorageError::WritesRefused { socket } => Self::WritesRefused { socket },
            StorageError::Corrupted { path, detail } => Self::Corrupted { path, detail },
            StorageError::Closed => Self::Closed,
            StorageError::Poisoned { first_error } => Self::Poisoned { first_error },
            _ => return None,
        })
    }
}

impl From<Detail> for StorageError {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::NotFound { id } => Self::NotFound { id },
            Detail::IdExists { id } => Self::IdExists { id },
            Detail::DuplicateId { id, first, second } => Self::DuplicateId { id, first, second },
            Detail::Dimension { id, expected, got } => Self::Dimension { id, expected, got },
            Detail::ZeroVector { id } => Self::ZeroVector { id },
            Detail::EmptyKey => Self::EmptyKey,
            Detail::NoContent { id } => Self::NoContent { id },
            Detail::NoVector { id } => Self::NoVector { id },
            Detail::UnknownModel { model, known } => Self::UnknownModel { model, known },
            Detail::UnknownSpace { name, known } => Self::UnknownSpace { name, known },
            Detail::NotABackup { path, reason } => Self::NotABackup { path, reason },
            Detail::DirectoryNotEmpty { path, found } => Self::DirectoryNotEmpty { path, found },
            Detail::AlreadyOpen { path, holder } => Self::AlreadyOpen { path, holder },
            Detail::WritesRefused { socket } => Self::WritesRefused { socket },
            Detail::Corrupted { path, detail } => Self::Corrupted { path, detail },
            Detail::Closed => Self::Closed,
            Detail::Poisoned { first_error } => Self::Poisoned { first_error },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_value_of_a_key_comes_back(value in any::<Vec<u8>>()) {
            let json = serde_json::to_string(&Bytes(value.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().0, value);
        }

        #[test]
        fn any_text_as_a_request_is_a_request_or_an_error(text in r#"[{}\[\]":,a-z0-9 ]{0,60}"#) {
            // It must not panic; almost all of them are errors.
            let _ = serde_json::from_str::<Request<Call>>(&text);
        }
    }

    #[test]
    fn the_forms_of_values_never_change() {
        let form = |bytes: &[u8]| serde_json::to_string(&Bytes(bytes.to_vec())).unwrap();
        assert_eq!(form(b"dark"), r#"{"text":"dark"}"#);
        assert_eq!(form(&[0xff, 0x0a]), r#"{"hex":"ff0a"}"#);
        assert!(serde_json::from_str::<Bytes>(r#"{"hex":"ff0"}"#).is_err());
        assert!(serde_json::from_str::<Bytes>(r#"{"hex":"g0"}"#).is_err());
    }

    #[test]
    fn an_error_arrives_with_its_kind_and_its_message() {
        let errors = [
            StorageError::NotFound { id: "a".into() },
            StorageError::Closed,
            StorageError::OutOfRange {
                what: "k",
                got: 0.0,
                min: 1.0,
                max: 10.0,
            },
            StorageError::Corrupted {
                path: "/x".into(),
                detail: "page 7".into(),
            },
        ];
        for error in errors {
            let json = serde_json::to_string(&Fault::from(&error)).unwrap();
            let arrived = StorageError::from(serde_json::from_str::<Fault>(&json).unwrap());
            assert_eq!((arrived.kind(), arrived.to_string()), (error.kind(), error.to_string()));
        }
    }

    #[test]
    fn a_deeply_nested_request_is_an_error() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(serde_json::from_str::<Request<Call>>(&deep).is_err());
        let filter = format!(
            r#"{{"protocol":1,"call":{{"vectors":{{"store":"router","call":{{"count":{{"scope":"global","filter":{}null{}}}}}}}}}}}"#,
            r#"{"not":"#.repeat(50_000),
            "}".repeat(50_000)
        );
        assert!(serde_json::from_str::<Request<Call>>(&filter).is_err());
    }
}
