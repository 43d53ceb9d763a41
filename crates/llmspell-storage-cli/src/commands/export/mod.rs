//! `export`: writes a scope, a space or the whole database to a file of JSON lines, which `import` reads back.
//!
//! The first line says what the file is, the last one how much is in it. Between them stand spaces, entries, keys and
//! quotas, each line with its `type`. The vectors of a space stand in its entries, or in an array beside the lines: row
//! `n` is that of the `n`-th entry of the space that has one; the others have an empty vector in their lines.

mod files;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use llmspell_storage::{
    Database, HNSWVectorStorage, KeyValueEntry, Pages, Quota, ScopedBackend, SpaceInfo, SpaceRole, StateScope,
    validate_vectors,
};
use serde::Serialize;

use self::files::{ArrayFile, Target};
use super::entry_view::EntryView;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::format::Format;
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
/// Characters of the name of a space in that of its array.
const ARRAY_NAME_CHARS: usize = 100;

const AFTER_HELP: &str = "\
Examples:
  llmspell-storage --db memory.db export backup.jsonl
  llmspell-storage --db copy.db import backup.jsonl
  llmspell-storage --db memory.db --scope user:ada export ada.jsonl
  llmspell-storage --db memory.db --space notes export - | zstd > notes.jsonl.zst
  llmspell-storage --db memory.db export backup.npy
  llmspell-storage --db copy.db import backup.jsonl

With --scope: the entries of the scope in every space, its keys and its quota. With --space or --model: the entries of the
space.

With --format npy, or a FILE that ends with .npy, vectors go to arrays (f32, a row for each entry) and all else to JSON lines:
backup.npy makes backup.jsonl, which `import` reads, and backup.SPACE.npy for each space, which stay beside it.";

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// In the line of each entry
    Jsonl,
    /// In a NumPy array for each space, beside the lines
    Npy,
}

/// Write a scope, a space or everything to a file that `import` reads back
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExportArgs {
    /// File to write, replaced if it is there once the new one is complete; - for stdout
    file: PathBuf,

    /// How vectors are written [default: by the ending of the file, else jsonl]
    #[arg(long, value_enum)]
    format: Option<ExportFormat>,
}

impl ExportArgs {
    /// The file of the lines, and whether arrays stand beside it.
    fn lines_file(&self) -> Result<(PathBuf, bool), CliError> {
        let is_array = Format::of(&self.file) == Format::Npy;
        let has_arrays = self.format.map_or(is_array, |format| format == ExportFormat::Npy);
        if has_arrays && self.file == Path::new("-") {
            return Err(CliError::usage(
                "arrays are files beside the lines, and cannot go to stdout",
                "name a file, or leave out --format npy",
            ));
        }
        let file = match has_arrays && is_array {
            true => self.file.with_extension("jsonl"),
            false => self.file.clone(),
        };
        Ok((file, has_arrays))
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Space {
        #[serde(flatten)]
        space: &'a SpaceInfo,
        /// The file of its vectors, in the folder of the lines.
        #[serde(skip_serializing_if = "Option::is_none")]
        array: Option<&'a str>,
    },
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
    let (file, has_arrays) = args.lines_file()?;
    let database = session.open_here("export").await?;
    let only_space = match session.names_space() {
        true => Some(session.vectors_here(&database).await?.space_name().to_string()),
        false => None,
    };
    let mut export = Export {
        lines: Target::create(&file)?,
        arrays: Vec::new(),
        progress: Progress::new(None, "entries", output.is_json()),
        only_scope: session.named_scope().cloned(),
        entries: 0,
        keys: 0,
        left_out: 0,
    };
    export.raw(&format!("{HEADER_BEGIN},\"version\":{VERSION}}}\n"), output)?;
    let mut spaces = database.spaces().await?;
    spaces.retain(|space| matches!(space.role, SpaceRole::Plain | SpaceRole::Routed));
    spaces.retain(|space| only_space.as_ref().is_none_or(|only| *only == space.name));
    let (mut names, mut array_of) = (Vec::new(), Vec::new());
    for space in &spaces {
        let array = (has_arrays && space.dim > 0).then(|| array_name(&file, &space.name, &names));
        export.line(
            &Line::Space {
                space,
                array: array.as_deref(),
            },
            output,
        )?;
        array_of.push(array.clone());
        names.extend(array);
    }
    for (number, space) in spaces.iter().enumerate() {
        if let Some(store) = database.existing_vectors(&space.name).await? {
            let array = array_of[number]
                .as_ref()
                .map(|name| ArrayFile::create(&file.with_file_name(name), store.dim()));
            export.entries(&store, array.transpose()?, output).await?;
        }
    }
    if only_space.is_none() {
        export.keys(&database, output).await?;
        export.quotas(&database, output).await?;
    }
    export.note_texts(&spaces);
    let (entries, keys) = (export.entries, export.keys);
    export.line(&Line::End { entries, keys }, output)?;
    if !export.finish(&file)? {
        return Ok(());
    }
    let arrays: Vec<_> = names
        .iter()
        .map(|name| file.with_file_name(name).display().to_string())
        .collect();
    let mut object = serde_json::json!({"entries": entries, "keys": keys, "file": file.display().to_string()});
    if has_arrays {
        object["arrays"] = arrays.as_slice().into();
    }
    output.object(&object)?;
    let beside = match &*arrays {
        [] => String::new(),
        arrays => format!(", with the vectors in {}", arrays.join(", ")),
    };
    output.text(format!(
        "{} and {} written to {}{beside}",
        counted(entries, "entry", "entries"),
        counted(keys, "key", "keys"),
        file.display()
    ))
}

/// The name of the array of a space: that of the lines, then that of the space as far as files can have it.
fn array_name(lines: &Path, space: &str, taken: &[String]) -> String {
    let stem = lines.file_stem().unwrap_or_default().to_string_lossy();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let plain = space
        .chars()
        .map(|character| if is_plain(character) { character } else { '-' });
    let plain: String = plain.take(ARRAY_NAME_CHARS).collect();
    let numbered = (2..).map(|number| format!("{stem}.{plain}.{number}.npy"));
    std::iter::once(format!("{stem}.{plain}.npy"))
        .chain(numbered)
        .find(|name| taken.iter().all(|taken| !taken.eq_ignore_ascii_case(name)))
        .expect("numbers do not end")
}

struct Export {
    lines: Target,
    /// Complete but for their header and their name.
    arrays: Vec<ArrayFile>,
    progress: Progress,
    only_scope: Option<StateScope>,
    entries: u64,
    keys: u64,
    /// Entries that could not be imported again.
    left_out: u64,
}

impl Export {
    async fn entries(
        &mut self,
        store: &HNSWVectorStorage,
        mut array: Option<ArrayFile>,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let scopes = match &self.only_scope {
            Some(scope) => vec![scope.clone()],
            None => store.scopes().await?,
        };
        for scope in scopes {
            let mut pages = Pages::new(store, scope).with_limit(PAGE);
            while let Some(page) = pages.next().await? {
                for entry in page {
                    let has_vector = !entry.embedding.is_empty();
                    let texts = store.config().texts();
                    // Without a vector and without the text that the space does not keep, nothing is left to import.
                    if !has_vector && validate_vectors::entry(&entry, 0, store.metric(), texts).is_err() {
                        self.left_out += 1;
                        continue;
                    }
                    if let Some(array) = array.as_mut().filter(|_| has_vector) {
                        array.push(&entry.embedding)?;
                    }
                    let space = store.space_name();
                    // Beside an array, an empty vector says that the entry has no row there.
                    let entry = EntryView::new(entry, array.is_none() || !has_vector);
                    self.line(&Line::Entry { space, entry }, output)?;
                    self.entries += 1;
                }
                self.say();
            }
        }
        self.arrays.extend(array);
        Ok(())
    }

    /// Says on stderr which texts the export does not have.
    fn note_texts(&self, spaces: &[SpaceInfo]) {
        let is_without = |space: &&SpaceInfo| space.config.texts().is_some_and(|texts| !texts.keep());
        for space in spaces.iter().filter(is_without) {
            let name = &space.name;
            eprintln!("note: space `{name}` indexes texts without keeping them; the export does not have them");
        }
        if self.left_out > 0 {
            let entries = counted(self.left_out, "entry has", "entries have");
            eprintln!("note: {entries} nothing but such a text: left out");
        }
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
        for (scope, quota) in database.quotas().await? {
            if self.only_scope.as_ref().is_none_or(|only| *only == scope) {
                let scope = scope.to_string();
                self.line(&Line::Quota { scope, quota }, output)?;
            }
        }
        Ok(())
    }

    /// Puts the files in their places, that of the lines last; says whether there are any. Older lines go first: they
    /// would name arrays that are not theirs.
    fn finish(self, file: &Path) -> Result<bool, CliError> {
        if !self.arrays.is_empty() && file.exists() {
            std::fs::remove_file(file).map_err(|source| CliError::file("replace", file, source))?;
        }
        for array in self.arrays {
            array.finish()?;
        }
        self.lines.finish()
    }

    fn line(&mut self, line: &Line<'_>, output: &mut Output) -> Result<(), CliError> {
        let mut text = serde_json::to_string(line).map_err(llmspell_storage::StorageError::from)?;
        text.push('\n');
        self.raw(&text, output)
    }

    fn raw(&mut self, text: &str, output: &mut Output) -> Result<(), CliError> {
        self.lines.write(text.as_bytes(), output)
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
