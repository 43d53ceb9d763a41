//! `export`: writes a scope, a space or the whole database to a file of JSON lines, which `import` reads back.
//!
//! The first line says what the file is, the last one how much is in it. Between them stand spaces, quotas, entries and
//! keys, each line with its `type`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use llmspell_storage::{
    Database, HNSWVectorStorage, KeyValueEntry, Pages, Quota, ScopedBackend, SpaceInfo, SpaceRole, StateScope,
};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::entry_view::EntryView;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, counted};
use llmspell_cli_base::progress::Progress;

/// What an export begins with.
pub(crate) const HEADER_BEGIN: &str = "{\"llmspell_storage\":\"export\"";
/// The version that is written, and read.
pub(crate) const VERSION: u32 = 1;

/// Entries that are read at once.
const PAGE: usize = 500;
/// Bytes that a page of keys should have.
const PAGE_BYTES: usize = 8 << 20;
/// Keys of the first page, before it is known how large values are, and at most.
const FIRST_KEYS: usize = 16;
const KEYS_MAX: usize = 1000;

const AFTER_HELP: &str = "\
Examples:
  llmspell-storage --db memory.db export backup.jsonl
  llmspell-storage --db copy.db import backup.jsonl
  llmspell-storage --db memory.db --scope user:ada export ada.jsonl
  llmspell-storage --db memory.db --space notes export - | zstd > notes.jsonl.zst

With --scope: the entries of the scope in every space, its keys and its quota. With --space or --model: the entries of the
space. Quotas of scopes that hold nothing are not in it.";

/// Write a scope, a space or everything to a file that `import` reads back
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExportArgs {
    /// File to write, replaced if it is there once the new one is complete; - for stdout
    file: PathBuf,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Space(&'a SpaceInfo),
    Quota {
        scope: String,
        quota: Quota,
    },
    Entry {
        space: &'a str,
        #[serde(flatten)]
        entry: EntryView,
    },
    Key {
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        value_hex: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<llmspell_storage::Timestamp>,
    },
    End {
        entries: u64,
        keys: u64,
    },
}

pub(crate) async fn run(args: ExportArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_existing().await?;
    let only_space = match session.names_space() {
        true => Some(session.vectors(&database).await?.space_name().to_string()),
        false => None,
    };
    let mut export = Export {
        file: Target::create(&args.file)?,
        progress: Progress::new(None, "entries", output.is_json()),
        only_scope: session.named_scope().cloned(),
        scopes: BTreeSet::new(),
        entries: 0,
        keys: 0,
    };
    export.raw(&format!("{HEADER_BEGIN},\"version\":{VERSION}}}\n"), output)?;
    let mut spaces = database.spaces().await?;
    spaces.retain(|space| matches!(space.role, SpaceRole::Plain | SpaceRole::Routed));
    spaces.retain(|space| only_space.as_ref().is_none_or(|only| *only == space.name));
    for space in &spaces {
        export.line(&Line::Space(space), output)?;
    }
    for space in &spaces {
        if let Some(store) = database.existing_vectors(&space.name).await? {
            export.entries(&store, output).await?;
        }
    }
    if only_space.is_none() {
        export.keys(&database, output).await?;
        export.quotas(&database, output).await?;
    }
    let (entries, keys) = (export.entries, export.keys);
    export.line(&Line::End { entries, keys }, output)?;
    drop(export.progress);
    if !export.file.finish()? {
        return Ok(());
    }
    output.object(&serde_json::json!({"entries": entries, "keys": keys, "file": args.file.display().to_string()}))?;
    output.text(format!(
        "{} and {} written to {}",
        counted(entries, "entry", "entries"),
        counted(keys, "key", "keys"),
        args.file.display()
    ))
}

struct Export {
    file: Target,
    progress: Progress,
    only_scope: Option<StateScope>,
    /// Whatever holds something.
    scopes: BTreeSet<String>,
    entries: u64,
    keys: u64,
}

impl Export {
    async fn entries(&mut self, store: &HNSWVectorStorage, output: &mut Output) -> Result<(), CliError> {
        let scopes = match &self.only_scope {
            Some(scope) => vec![scope.clone()],
            None => store.scopes().await?,
        };
        for scope in scopes {
            self.scopes.insert(scope.to_string());
            let mut pages = Pages::new(store, scope).with_limit(PAGE);
            while let Some(page) = pages.next().await? {
                for entry in page {
                    let space = store.space_name();
                    let entry = EntryView::new(entry, true);
                    self.line(&Line::Entry { space, entry }, output)?;
                    self.entries += 1;
                }
                self.say();
            }
        }
        Ok(())
    }

    /// The keys as they stand in the database: those of scopes too, which are named then.
    async fn keys(&mut self, database: &Database, output: &mut Output) -> Result<(), CliError> {
        let backend = database.kv();
        let prefix = self.only_scope.as_ref().map(ScopedBackend::prefix).unwrap_or_default();
        let mut after: Option<String> = None;
        let mut limit = FIRST_KEYS;
        loop {
            let page = backend.scan_entries(&prefix, after.as_deref(), limit).await?;
            let is_last = page.len() < limit;
            let bytes: usize = page.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
            limit = (page.len() * PAGE_BYTES / bytes.max(1)).clamp(1, KEYS_MAX.min(4 * limit));
            for entry in page {
                self.key(&entry, output)?;
                after = Some(entry.key);
            }
            self.say();
            if is_last {
                return Ok(());
            }
        }
    }

    fn key(&mut self, entry: &KeyValueEntry, output: &mut Output) -> Result<(), CliError> {
        let (scope, key) = match ScopedBackend::split_key(&entry.key) {
            Some((scope, key)) => (Some(scope.to_string()), key.to_string()),
            None => (None, entry.key.clone()),
        };
        self.scopes.extend(scope.clone());
        let value = text_of(&entry.value);
        let line = Line::Key {
            scope,
            key,
            value,
            value_hex: value.is_none().then(|| hexadecimal(&entry.value)),
            expires_at: entry.expires_at,
        };
        self.line(&line, output)?;
        self.keys += 1;
        Ok(())
    }

    async fn quotas(&mut self, database: &Database, output: &mut Output) -> Result<(), CliError> {
        for scope in std::mem::take(&mut self.scopes) {
            let Ok(named) = scope.parse() else { continue };
            if let Some(status) = database.quota(&named).await? {
                let quota = status.quota;
                self.line(&Line::Quota { scope, quota }, output)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>, output: &mut Output) -> Result<(), CliError> {
        let mut text = serde_json::to_string(line).map_err(llmspell_storage::StorageError::from)?;
        text.push('\n');
        self.raw(&text, output)
    }

    fn raw(&mut self, text: &str, output: &mut Output) -> Result<(), CliError> {
        match &mut self.file {
            Target::Stdout => output.bytes(text.as_bytes()),
            Target::File(file) => file.write(text.as_bytes()),
        }
    }

    fn say(&self) {
        self.progress.set(self.entries + self.keys);
        self.progress.say("written".into());
    }
}

/// The value as text, unless hexadecimal digits are shorter than its escapes.
fn text_of(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let control = text.bytes().filter(u8::is_ascii_control).count();
    (control * 4 <= text.len()).then_some(text)
}

fn hexadecimal(value: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    value
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

enum Target {
    Stdout,
    File(NewFile),
}

impl Target {
    fn create(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        NewFile::create(path).map(Self::File)
    }

    /// Puts the file in its place; says whether there is one.
    fn finish(self) -> Result<bool, CliError> {
        match self {
            Self::Stdout => Ok(false),
            Self::File(file) => file.finish().map(|()| true),
        }
    }
}

/// A file that gets its name when it is complete.
struct NewFile {
    writer: BufWriter<NamedTempFile<File>>,
    path: PathBuf,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, CliError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = NamedTempFile::new_in(parent.unwrap_or(Path::new(".")))
            .map_err(|source| CliError::file("create a file beside", path, source))?;
        Ok(Self {
            writer: BufWriter::with_capacity(1 << 18, file),
            path: path.to_path_buf(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.writer.write_all(bytes);
        written.map_err(|source| CliError::file("write", &self.path, source))
    }

    fn finish(self) -> Result<(), CliError> {
        let failed = |source| CliError::file("write", &self.path, source);
        let file = self.writer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
