//! What happens to rows on their way: they wait for a vector or for the dimension, are checked, and are written in batches.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use llmspell_storage::limits::DIM_RANGE;
use llmspell_storage::{ErrorKind, OnExisting, StateScope, StorageError, VectorEntry};
use serde_json::{Map, Value};

use super::target::{Opening, Target};
use super::texts::Texts;
use super::{Summary, bad_row};
use crate::commands::embedder::Expected;
use crate::commands::rejected::RejectedFile;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::dims::Dims;
use llmspell_cli_base::input::{BadRow, InputRow, RowSource, Step};
use llmspell_cli_base::output::{counted, grouped};
use llmspell_cli_base::progress::Progress;
use llmspell_cli_base::text_args::RowContents;

/// A row that is an entry, or one that is none and why.
pub(super) type Row = Result<InputRow, BadRow>;

/// Rows that wait to be written together; no id stands twice in it.
#[derive(Debug, Default)]
struct Batch {
    rows: Vec<InputRow>,
    ids: HashSet<(StateScope, String)>,
}

pub(super) struct Import<'a> {
    opening: Opening<'a>,
    /// Opened when the rows that wait have told the dimension.
    target: Option<Target>,
    /// Rows that wait for their vectors, if a command makes these.
    texts: Option<Texts>,
    /// Rows until the target is there, in the order of the file.
    waiting: Vec<Row>,
    batch: Batch,
    rejected: Option<RejectedFile>,
    summary: Summary,
}

/// A database that was not there before this import.
pub(super) struct LeftOver<'a>(Option<&'a Path>);

impl<'a> LeftOver<'a> {
    /// Of a directory that is looked at before the import opens it.
    pub(super) fn of(directory: &'a Path) -> Self {
        Self((!directory.exists()).then_some(directory))
    }
}

impl<'a> Import<'a> {
    pub(super) async fn new(opening: Opening<'a>, rejected: Option<RejectedFile>) -> Result<Self, CliError> {
        let args = opening.args;
        let (mut target, mut texts) = (None, None);
        if let Some(command) = &args.with {
            // What is stored already tells how long vectors are, and which rows need none.
            target = opening.existing().await?;
            let expected = match &target {
                Some(target) => Expected::Of(target.fits.clone()),
                None => opening.expected(),
            };
            texts = Some(Texts::new(command, args.embed_field.clone(), expected, args.batch()));
        }
        Ok(Self {
            opening,
            target,
            texts,
            waiting: Vec::new(),
            batch: Batch::default(),
            rejected,
            summary: Summary::default(),
        })
    }

    /// Takes every row, and writes the remainder in the last batch.
    pub(super) async fn read(&mut self, rows: &mut dyn RowSource, progress: &Progress) -> Result<(), CliError> {
        loop {
            match rows.next_row()? {
                Step::Row(row) => self.receive(Ok(*row)).await?,
                Step::Bad(row) => self.receive(Err(row)).await?,
                Step::End => {
                    self.embed().await?;
                    self.settle().await?;
                    self.write_batch().await?;
                    return self.texts.take().map_or(Ok(()), Texts::finish);
                }
            }
            progress.set(rows.position());
            progress.say(format!("{} stored", grouped(self.summary.stored)));
        }
    }

    /// Closes the database, and removes it if it was made for these rows and none was stored.
    pub(super) async fn give_up(self, left_over: LeftOver<'_>) {
        let is_empty = self.summary.stored == 0;
        drop(self.target);
        let is_closed = self.opening.database.close().await.is_ok();
        if let (Some(directory), true, true) = (left_over.0, is_empty, is_closed) {
            // What cannot be removed is an empty database, which the next import fills.
            let _ = std::fs::remove_dir_all(directory);
        }
    }

    /// Takes a row, or lets it wait for its vector.
    async fn receive(&mut self, row: Row) -> Result<(), CliError> {
        if self.texts.is_none() {
            return self.accept(row).await;
        }
        let row = match row {
            Ok(row) => match self.look_up(row).await? {
                Some(row) => row,
                None => return Ok(()),
            },
            bad => bad,
        };
        let texts = self.texts.as_mut().expect("looked at above");
        let row = texts.checked(row);
        if let (Err(bad), None) = (&row, &self.rejected) {
            // It ends the import: no vectors are made for what cannot be stored any more.
            self.keep_embedded().await?;
            return self.reject(bad);
        }
        if texts.add(row) {
            self.embed().await?;
        }
        Ok(())
    }

    /// A row of text as it is to be taken: none if the same is stored, a bad row if its id is in the way.
    async fn look_up(&mut self, row: InputRow) -> Result<Option<Row>, CliError> {
        let args = self.opening.args;
        let Some(stored) = self.stored_entry(&row.entry).await? else {
            return Ok(Some(Ok(row)));
        };
        if args.resume && fields(&stored.metadata) == fields(&row.entry.metadata) && self.has_text(&stored, &row.entry)
        {
            self.summary.already_there += 1;
            return Ok(None);
        }
        if args.upsert {
            return Ok(Some(Ok(row)));
        }
        if !args.resume && self.rejected.is_none() {
            self.keep_embedded().await?;
            return Err(StorageError::IdExists { id: row.entry.id }.into());
        }
        Ok(Some(Err(id_in_the_way(row))))
    }

    /// Lets the command make the vectors of the rows that wait for them, and takes these rows.
    async fn embed(&mut self) -> Result<(), CliError> {
        let Some(texts) = &mut self.texts else { return Ok(()) };
        let rows = match tokio::task::block_in_place(|| texts.embed()) {
            Ok(rows) => rows,
            Err(error) => {
                self.keep_embedded().await?;
                return Err(error);
            }
        };
        for row in rows {
            self.accept(row).await?;
        }
        Ok(())
    }

    /// Stores the rows that have got their vectors, before an error ends the import.
    async fn keep_embedded(&mut self) -> Result<(), CliError> {
        // Without such rows no space is made for them.
        if !self.waiting.is_empty() {
            self.settle().await?;
        }
        self.write_batch().await
    }

    /// Takes a row, or lets it wait until the dimension is known.
    async fn accept(&mut self, row: Row) -> Result<(), CliError> {
        if self.target.is_some() {
            return self.take(row).await;
        }
        let ends_import = row.is_err() && self.rejected.is_none();
        self.waiting.push(row);
        if ends_import || self.waiting.len() >= self.opening.args.batch() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Takes the rows that wait. The dimension is the one that is declared, or that of most of them.
    async fn settle(&mut self) -> Result<(), CliError> {
        let waiting = std::mem::take(&mut self.waiting);
        let rows = || waiting.iter().flatten();
        let dims = Dims::of(rows().map(|row| row.entry.embedding.len()));
        let mut contents = RowContents::default();
        rows().for_each(|row| contents.note(&row.entry));
        // Rows without vectors make a space of texts alone.
        let of_texts = || {
            let is_of_texts = contents.ask() || self.opening.args.texts.ask();
            (is_of_texts && rows().all(|row| row.entry.embedding.is_empty()) && !waiting.is_empty()).then_some(0)
        };
        let dim = self.opening.args.dim.or(dims.most).or_else(of_texts);
        if let (None, Some(dim)) = (&self.target, dim) {
            let target = self.opening.target(dim, &contents).await?;
            if self.opening.args.dim.is_none() && target.fits.model.is_none() && target.fits.stored == dim {
                dims.note_others();
            }
            self.target = Some(target);
        }
        for row in waiting {
            self.take(row).await?;
        }
        Ok(())
    }

    async fn take(&mut self, row: Row) -> Result<(), CliError> {
        let mut row = match row {
            Ok(row) => row,
            Err(bad) => return self.reject(&bad),
        };
        let Some(target) = &self.target else {
            let dim = row.entry.embedding.len();
            let (least, most) = (DIM_RANGE.start(), DIM_RANGE.end());
            let reason = format!("the vector has {dim} components; {least} to {most} are allowed");
            return self.reject(&bad_row(row, reason));
        };
        if let Err(error) = target.fits.check(&row.entry) {
            return self.reject(&bad_row(row, error.to_string()));
        }
        row.entry.model = self.opening.model.as_ref().map(|model| model.name.as_str().into());
        let entry = &row.entry;
        let name = (entry.scope.clone(), entry.id.clone());
        if !entry.id.is_empty() && self.batch.ids.contains(&name) {
            if !self.opening.args.upsert {
                let reason = format!(
                    "id `{}` stands twice in this file; --upsert lets the last one win",
                    entry.id
                );
                return self.reject(&bad_row(row, reason));
            }
            self.write_batch().await?;
        }
        // Without these options, the store itself refuses a batch with an id that exists.
        if self.opening.args.resume || (self.rejected.is_some() && !self.opening.args.upsert) {
            match self.find_stored(&row.entry).await? {
                Stored::Same if self.opening.args.resume => {
                    self.summary.already_there += 1;
                    return Ok(());
                }
                Stored::Same | Stored::Different if !self.opening.args.upsert => {
                    return self.reject(&id_in_the_way(row));
                }
                Stored::Same | Stored::Different | Stored::Missing => {}
            }
        }
        self.batch.ids.insert(name);
        self.batch.rows.push(row);
        if self.batch.rows.len() >= self.opening.args.batch() {
            self.write_batch().await?;
        }
        Ok(())
    }

    /// Whether the entry of a row, which fits, is stored.
    async fn find_stored(&self, entry: &VectorEntry) -> Result<Stored, CliError> {
        let target = self.target.as_ref().expect("take opens the target first");
        let Some(stored) = self.stored_entry(entry).await? else {
            return Ok(Stored::Missing);
        };
        let is_same = stored.embedding == target.fits.kept(entry)?
            && fields(&stored.metadata) == fields(&entry.metadata)
            && self.has_text(&stored, entry);
        Ok(if is_same { Stored::Same } else { Stored::Different })
    }

    /// Whether a stored entry has the text of a row, as far as texts are kept, and its sparse vectors.
    fn has_text(&self, stored: &VectorEntry, entry: &VectorEntry) -> bool {
        let texts = self.target.as_ref().and_then(|target| target.fits.texts.as_ref());
        let is_same_text = stored.text == entry.text || texts.is_some_and(|texts| !texts.keep());
        is_same_text && stored.sparse == entry.sparse
    }

    /// What is stored under the id of an entry.
    async fn stored_entry(&self, entry: &VectorEntry) -> Result<Option<VectorEntry>, CliError> {
        match &self.target {
            Some(target) => Ok(target.storage.get(&entry.scope, &entry.id).await?),
            None => Ok(None),
        }
    }

    async fn write_batch(&mut self) -> Result<(), CliError> {
        let Batch { rows, ids: _ } = std::mem::take(&mut self.batch);
        if rows.is_empty() {
            return Ok(());
        }
        if self.rejected.is_none() {
            let entries = rows.into_iter().map(|row| row.entry).collect();
            return self.write(entries).await;
        }
        let entries = rows.iter().map(|row| row.entry.clone()).collect();
        match self.write(entries).await {
            Err(CliError::Storage(error)) if error.kind() == ErrorKind::Invalid => self.write_singly(rows).await,
            written => written,
        }
    }

    /// Finds the rows that the store refuses, and sets them aside.
    async fn write_singly(&mut self, rows: Vec<InputRow>) -> Result<(), CliError> {
        for row in rows {
            match self.write(vec![row.entry.clone()]).await {
                Err(CliError::Storage(error)) if error.kind() == ErrorKind::Invalid => {
                    self.reject(&bad_row(row, error.to_string()))?;
                }
                written => written?,
            }
        }
        Ok(())
    }

    async fn write(&mut self, entries: Vec<VectorEntry>) -> Result<(), CliError> {
        let target = self.target.as_ref().expect("rows are taken for a target");
        let count = entries.len() as u64;
        let on_existing = if self.opening.args.upsert {
            OnExisting::Replace
        } else {
            OnExisting::Refuse
        };
        target.storage.write(entries, on_existing).await?;
        self.summary.stored += count;
        Ok(())
    }

    fn reject(&mut self, row: &BadRow) -> Result<(), CliError> {
        let Some(rejected) = &mut self.rejected else {
            return Err(CliError::Input {
                source_name: self.opening.args.file.display().to_string(),
                place: Some(row.place),
                reason: format!(
                    "{} ({} stored before)",
                    row.reason,
                    counted(self.summary.stored, "row", "rows")
                ),
                hint: "mend the row and run it again with --resume, or set such rows aside with --skip-invalid FILE; \
                       for unknown fields see --field and --other-fields"
                    .into(),
            });
        };
        self.summary.rejected += 1;
        rejected.write(row)
    }

    pub(super) async fn finish(mut self, started: Instant) -> Result<Summary, CliError> {
        if let Some(rejected) = self.rejected.take() {
            rejected.finish()?;
        }
        let mut summary = self.summary;
        summary.seconds = started.elapsed().as_secs_f64();
        summary.rows_per_second = summary.stored as f64 / summary.seconds.max(1e-9);
        // The store is a handle too, and the lock is free when the last one goes.
        drop(self.target);
        self.opening.database.close().await?;
        Ok(summary)
    }
}

enum Stored {
    Missing,
    Same,
    Different,
}

fn id_in_the_way(row: InputRow) -> BadRow {
    let reason = format!("id `{}` exists in its scope; --upsert replaces it", row.entry.id);
    bad_row(row, reason)
}

/// The metadata of an entry; one that has none and one that has an empty object have the same.
fn fields(metadata: &Value) -> Option<&Map<String, Value>> {
    metadata.as_object().filter(|fields| !fields.is_empty())
}
