//! The import of what `export` wrote: spaces, entries, keys and quotas, as they were.

use std::collections::HashMap;
use std::mem;
use std::path::{Path, PathBuf};

use llmspell_storage::{
    Database, HNSWVectorStorage, KeyValueWrite, ModelSpace, OnExisting, Quota, ScopedBackend, SpaceInfo, SpaceRole,
    StateScope, StorageError, Timestamp, VectorEntry,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::export::VERSION;
use crate::session::{Session, router};
use llmspell_cli_base::errors::{CliError, Place};
use llmspell_cli_base::input::jsonl::{Lines, RowRules};
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::output::{Output, counted};
use llmspell_cli_base::progress::Progress;

/// Bytes of keys and values that are written together.
const BATCH_BYTES: usize = 8 << 20;
/// Keys that are written together.
const BATCH_KEYS: usize = 1000;

#[derive(Deserialize)]
struct Header {
    version: u32,
}

/// What a line is, and of an entry the space that it is in.
#[derive(Deserialize)]
struct Kind {
    r#type: String,
    #[serde(default)]
    space: String,
}

/// Of a space, the file of its vectors, if they do not stand in its entries.
#[derive(Deserialize)]
struct ArrayOfSpace {
    array: Option<String>,
}

/// Whether an entry beside an array says that it has no vector there.
#[derive(Deserialize)]
struct NoVector {
    #[serde(default, rename = "vector", deserialize_with = "is_empty")]
    has_none: bool,
}

fn is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Vec::<IgnoredAny>::deserialize(deserializer)?.is_empty())
}

#[derive(Deserialize)]
struct KeyLine {
    scope: Option<String>,
    key: String,
    value: Option<String>,
    value_hex: Option<String>,
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct QuotaLine {
    scope: String,
    quota: Quota,
}

#[derive(Deserialize)]
struct EndLine {
    entries: u64,
    keys: u64,
}

/// How entries are written that may be there, and how many together.
pub(super) struct Manner {
    pub(super) replaces: bool,
    pub(super) batch: usize,
    /// Where the arrays are that lines name.
    pub(super) folder: PathBuf,
}

/// Reads an export into a database that holds nothing, or replaces what it names.
pub(super) async fn run(
    mut lines: Lines,
    manner: Manner,
    session: &Session<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    if session.names_space() || session.named_scope().is_some() {
        return Err(CliError::usage(
            "an export says itself which spaces and scopes it holds",
            "leave out --scope, --space and --model; `export` takes them",
        ));
    }
    lines.allow_exported_values();
    let database = session.open_or_create_here("import of an export").await?;
    if !manner.replaces {
        check_empty(&database).await?;
    }
    let progress = Progress::new(lines.len_bytes, "bytes", output.is_json());
    let mut restore = Restore {
        rules: RowRules::of_export(),
        database,
        manner,
        store: None,
        arrays: HashMap::new(),
        batch: Vec::new(),
        writes: Vec::new(),
        write_bytes: 0,
        entries: 0,
        keys: 0,
        has_end: false,
    };
    while let Some((number, line)) = lines.next_line()? {
        let taken = restore.take(number, &line).await;
        taken.map_err(|error| error.at(&lines.name, number))?;
        progress.set(lines.bytes_read);
    }
    drop(progress);
    restore.finish(&lines.name, output).await
}

async fn check_empty(database: &Database) -> Result<(), CliError> {
    if database.stats().await?.keys == 0 && database.spaces().await?.is_empty() {
        return Ok(());
    }
    Err(CliError::usage(
        "the database holds something already",
        "name a directory that is not there with --db, or replace what the export has with --upsert",
    ))
}

/// Why a line was not taken.
enum Refused {
    /// It cannot be understood.
    Line(String),
    Failed(CliError),
}

impl From<CliError> for Refused {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl Refused {
    fn at(self, source_name: &str, line: u64) -> CliError {
        match self {
            Self::Failed(error) => error,
            Self::Line(reason) => CliError::Input {
                source_name: source_name.to_string(),
                place: Some(Place::Line(line)),
                reason,
                hint: "export once more; a line of an export is not to be changed by hand".into(),
            },
        }
    }
}

struct Restore {
    rules: RowRules,
    database: Database,
    manner: Manner,
    /// The space that entries go to.
    store: Option<HNSWVectorStorage>,
    /// The vectors of spaces, by their names.
    arrays: HashMap<String, NpyReader>,
    batch: Vec<VectorEntry>,
    writes: Vec<KeyValueWrite>,
    write_bytes: usize,
    entries: u64,
    keys: u64,
    has_end: bool,
}

impl Restore {
    async fn take(&mut self, number: u64, line: &[u8]) -> Result<(), Refused> {
        if number == 1 {
            let Header { version } = read(line)?;
            let reason = format!("version {version} of the format; this program reads version {VERSION}");
            return (version == VERSION).then_some(()).ok_or(Refused::Line(reason));
        }
        if self.has_end {
            return Err(Refused::Line("something follows the end of the export".into()));
        }
        let Kind { r#type, space } = read(line)?;
        match r#type.as_str() {
            "space" => {
                let space: SpaceInfo = read(line)?;
                let ArrayOfSpace { array } = read(line)?;
                if let Some(name) = array {
                    let array = self.array(&name, space.dim)?;
                    self.arrays.insert(space.name.clone(), array);
                }
                self.space(space).await
            }
            "entry" => self.entry(&space, line).await,
            "key" => self.key(read(line)?).await,
            "quota" => self.quota(read(line)?).await,
            "end" => self.end(&read(line)?).await,
            other => Err(Refused::Line(format!("`{other}` is no type of a line"))),
        }
    }

    /// The array of a space, which stands beside the lines.
    fn array(&self, name: &str, dim: usize) -> Result<NpyReader, Refused> {
        if Path::new(name).file_name().is_none_or(|plain| plain != name) {
            let reason = format!("`{name}` is no name of a file beside this one");
            return Err(Refused::Line(reason));
        }
        let array = NpyReader::open(&self.manner.folder.join(name))?;
        match array.header().columns {
            columns if columns == dim => Ok(array),
            columns => Err(Refused::Line(format!(
                "vectors of the space have {dim} components, rows of {name} have {columns}"
            ))),
        }
    }

    async fn space(&mut self, space: SpaceInfo) -> Result<(), Refused> {
        let SpaceInfo { name, dim, config, .. } = space;
        let is_named_by_model = space.model.as_ref().is_some_and(|model| model.name == name);
        match (space.role, space.model) {
            (SpaceRole::Routed, Some(model)) if is_named_by_model => {
                let mut routed = ModelSpace::new(model.clone()).with_index(config);
                if dim != model.dim {
                    routed = routed.with_store_dim(dim).forced();
                }
                router(&self.database).await?.register_model(routed).await?;
            }
            (SpaceRole::Routed, model) => {
                self.database.vectors(&name, dim, config).await?;
                router(&self.database).await?.adopt_space(&name, model).await?;
            }
            (_, _) => drop(self.database.vectors(&name, dim, config).await?),
        }
        Ok(())
    }

    async fn entry(&mut self, space: &str, line: &[u8]) -> Result<(), Refused> {
        let text = std::str::from_utf8(line).map_err(|error| Refused::Line(error.to_string()))?;
        let NoVector { has_none } = read(line)?;
        let vector = match self.arrays.get_mut(space) {
            Some(_) if has_none => None,
            Some(array) => {
                let row = array.next_row()?;
                Some(row.ok_or_else(|| {
                    Refused::Line(format!("{} has fewer rows than its space has entries", array.name()))
                })?)
            }
            None => None,
        };
        let entry = self.rules.entry(text, 0, vector).map_err(Refused::Line)?;
        if self.store.as_ref().is_none_or(|store| store.space_name() != space) {
            self.write_entries().await?;
            let store = self.database.existing_vectors(space).await?;
            self.store = Some(store.ok_or_else(|| Refused::Line(format!("no line has described space `{space}`")))?);
        }
        self.batch.push(entry);
        if self.batch.len() >= self.manner.batch {
            self.write_entries().await?;
        }
        Ok(())
    }

    async fn write_entries(&mut self) -> Result<(), CliError> {
        let entries = mem::take(&mut self.batch);
        let Some(store) = self.store.as_ref().filter(|_| !entries.is_empty()) else {
            return Ok(());
        };
        self.entries += entries.len() as u64;
        let on_existing = if self.manner.replaces {
            OnExisting::Replace
        } else {
            OnExisting::Refuse
        };
        store.write(entries, on_existing).await?;
        Ok(())
    }

    async fn key(&mut self, line: KeyLine) -> Result<(), Refused> {
        let value = match (line.value, line.value_hex) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(digits)) => {
                bytes_of(&digits).ok_or_else(|| Refused::Line("value_hex is not hexadecimal".into()))?
            }
            _ => return Err(Refused::Line("a key has either `value` or `value_hex`".into())),
        };
        let key = match line.scope {
            Some(scope) => format!("{}{}", ScopedBackend::prefix(&scope_of(&scope)?), line.key),
            None => line.key,
        };
        let write = KeyValueWrite::set_expiring(key, value, line.expires_at);
        self.write_bytes += write.len_bytes();
        self.writes.push(write);
        if self.write_bytes >= BATCH_BYTES || self.writes.len() >= BATCH_KEYS {
            self.write_keys().await?;
        }
        Ok(())
    }

    async fn write_keys(&mut self) -> Result<(), CliError> {
        let writes = mem::take(&mut self.writes);
        self.write_bytes = 0;
        self.keys += writes.len() as u64;
        if !writes.is_empty() {
            self.database.kv().write(writes).await?;
        }
        Ok(())
    }

    async fn quota(&mut self, line: QuotaLine) -> Result<(), Refused> {
        let scope = scope_of(&line.scope)?;
        self.database.set_quota(&scope, line.quota).await?;
        Ok(())
    }

    async fn end(&mut self, line: &EndLine) -> Result<(), Refused> {
        self.write_entries().await?;
        self.write_keys().await?;
        self.has_end = true;
        if let Some(array) = self
            .arrays
            .values()
            .find(|array| array.rows_read() < array.header().rows)
        {
            let reason = format!("{} has more rows than its space has entries", array.name());
            return Err(Refused::Line(reason));
        }
        if (line.entries, line.keys) == (self.entries, self.keys) {
            return Ok(());
        }
        Err(Refused::Line(format!(
            "{} entries and {} keys were written, and {} and {} are here",
            line.entries, line.keys, self.entries, self.keys
        )))
    }

    async fn finish(mut self, source_name: &str, output: &mut Output) -> Result<(), CliError> {
        self.write_entries().await?;
        self.write_keys().await?;
        let (entries, keys) = (self.entries, self.keys);
        drop(self.store);
        self.database.close().await?;
        if !self.has_end {
            return Err(CliError::Input {
                source_name: source_name.to_string(),
                place: None,
                reason: "the export is cut: its last line, of type `end`, is missing".into(),
                hint: "what is there was stored; export once more, and import that into a new directory".into(),
            });
        }
        output.object(&json!({"entries": entries, "keys": keys}))?;
        output.text(format!(
            "{} and {} stored",
            counted(entries, "entry", "entries"),
            counted(keys, "key", "keys")
        ))
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, Refused> {
    serde_json::from_slice(line).map_err(|error| Refused::Line(error.to_string()))
}

fn scope_of(text: &str) -> Result<StateScope, Refused> {
    text.parse()
        .map_err(|error| Refused::Line(format!("`{text}` is no scope: {error}")))
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(value(pair[0])? << 4 | value(*pair.get(1)?)?))
        .collect()
}
