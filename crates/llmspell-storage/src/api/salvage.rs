//! What can be read of a damaged database, in a new one.
//!
//! Nothing is taken from an index, a list or an order of rows that damage may have cut: spaces and scopes are asked for by
//! their numbers, entries by their points, each as `get` would read it. So what `get` could read is found, and what it could
//! not is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use llmspell_core::{ErrorKind, KeyValueWrite, Quota, Result, StateScope, StorageError};
use serde::{Deserialize, Serialize};

use crate::api::vectors::HNSWVectorStorage;
use crate::base::error::{corrupted, io_error};
use crate::base::ids::{Generation, PointId, ScopeId, Slot, SpaceId};
use crate::base::options::DatabaseOptions;
use crate::disk::{Disk, DiskFile};
use crate::engine::open::{lock_damaged, refuse_filled};
use crate::engine::workers::{Stop, Workers};
use crate::engine::{Database, Opening, PreparedEntry};
use crate::indexes::texts::Words;
use crate::namespace::State;
use crate::slots::{SlotStore, layout};
use crate::truth::{Read, Role, SpaceRecord, Truth, raw};

/// Entries that are written together.
const BATCH_ENTRIES: usize = 1_000;
/// Bytes of keys and values that are written together, and how many keys.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_KEYS: usize = 1_000;
/// Texts of losses that are kept; more are counted.
const LOST_MAX: usize = 10_000;
/// Numbers of scopes and spaces that are tried if the row with their ends cannot be read.
const NUMBERS_IF_UNKNOWN: u64 = 1 << 20;

/// How far a salvage is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageProgress {
    /// Entries that were written so far.
    pub entries: u64,
    /// Keys that were written so far.
    pub keys: u64,
    /// Losses that were found so far.
    pub lost: u64,
}

/// What was saved of a damaged database, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Spaces that the new database has.
    pub spaces: u64,
    /// Entries that it has.
    pub entries: u64,
    /// Keys that it has.
    pub keys: u64,
    /// Quotas that it has.
    pub quotas: u64,
    /// What could not be read, each with its place and the reason; at most 10,000.
    pub lost: Vec<String>,
    /// Number of these, also of those without a text.
    pub lost_count: u64,
}

impl Database {
    /// Writes what can be read of a damaged database to a new one, in a directory that is empty or does not exist, and says
    /// what cannot be read.
    ///
    /// The damaged directory stays as it is, but for its file `LOCK`. What [`get`](llmspell_core::VectorStorage::get) could
    /// read is in the new database, with its times and its metadata, and so is every key that can be found; indexes are
    /// built anew. Entries and keys that have expired are left out, and so are unfinished migrations.
    ///
    /// # Errors
    ///
    /// [`DirectoryNotEmpty`](StorageError::DirectoryNotEmpty); [`ForeignDirectory`](StorageError::ForeignDirectory) if
    /// `damaged` has no database; [`AlreadyOpen`](StorageError::AlreadyOpen); [`Corrupted`](StorageError::Corrupted) if
    /// nothing at all can be read; [`NoSpace`](StorageError::NoSpace), [`Io`](StorageError::Io). After an error the new
    /// directory has a part: remove it before the next attempt.
    pub async fn salvage(
        damaged: impl AsRef<Path>,
        to: impl AsRef<Path>,
        on_progress: impl Fn(SalvageProgress) + Send + 'static,
    ) -> Result<SalvageReport> {
        let (damaged, to) = (damaged.as_ref().to_path_buf(), to.as_ref().to_path_buf());
        let salvage = move |stop: &Stop| {
            refuse_filled(&to)?;
            let (disk, _lock) = lock_damaged(&damaged)?;
            save(&disk, &to, &on_progress, stop)
        };
        Workers::default().run("llmspell-salvage", salvage).await
    }
}

/// Writes what can be read of the database on a locked disk to a new one.
pub(super) fn save(
    disk: &Arc<dyn Disk>,
    to: &Path,
    on_progress: &dyn Fn(SalvageProgress),
    stop: &Stop,
) -> Result<SalvageReport> {
    let truth = Truth::open_damaged(disk)?;
    let read = truth.guard(|| truth.read())?;
    let target = block_on(DatabaseOptions::new().open(to))?;
    let mut salvage = Salvage {
        source: Source {
            disk,
            truth: &truth,
            read: &read,
        },
        target: &target,
        report: SalvageReport::default(),
        on_progress,
        stop,
    };
    salvage.run()?;
    let report = salvage.report;
    block_on(target.close())?;
    Ok(report)
}

/// The damaged database.
struct Source<'a> {
    disk: &'a Arc<dyn Disk>,
    truth: &'a Truth,
    read: &'a Read,
}

impl Source<'_> {
    /// Reads something; a panic of redb on altered pages is damage like any other.
    fn look<T>(&self, look: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        self.truth.guard(|| look(self.read))
    }

    /// The scopes of a space, and the reasons why some cannot be read.
    fn scopes(&self, numbers: u64) -> (Vec<(SpaceId, StateScope, ScopeId)>, Vec<String>) {
        let (mut scopes, mut lost) = (Vec::new(), Vec::new());
        for id in (1..numbers).map(ScopeId) {
            let found = self.look(|read| {
                let Some((space, scope)) = read.scope_name(id)? else {
                    return Ok(None);
                };
                // A dropped one has a name until it is purged.
                let is_current = read.scope_id(space, &scope)? == Some(id);
                Ok(is_current.then_some((space, scope, id)))
            });
            match found {
                Ok(found) => scopes.extend(found),
                Err(error) => lost.push(error.to_string()),
            }
        }
        (scopes, lost)
    }

    /// The entry of a point, read as `get` reads it: by its id.
    fn entry(
        &self,
        scope: &StateScope,
        id: ScopeId,
        state: &State,
        point: PointId,
        files: &SlotFiles,
    ) -> Result<PreparedEntry> {
        let record = self.look(|read| {
            let records = read.records(id)?;
            let record = records.get(point)?;
            match read.point(id, &record.id)? {
                Some(named) if named == point => records.get_by_id(record.id.as_bytes(), point),
                _ => Err(corrupted(
                    read.path(),
                    format!("entry {}: its id `{}` does not lead to it", point.0, record.id),
                )),
            }
        })?;
        let vector = match record.generation {
            Some(generation) => self.vector((id, point), &record.id, generation, state, files)?,
            None => Vec::new(),
        };
        let text = match record.text.is_nothing() {
            true => None,
            false => Some(self.look(|read| read.text(id, point))?),
        };
        if record.metadata().is_err() {
            return Err(corrupted(
                self.read.path(),
                format!("metadata of `{}` is no JSON object", record.id),
            ));
        }
        Ok(PreparedEntry {
            scope: scope.clone(),
            id: record.id,
            vector,
            metadata: record.metadata,
            text,
            // They are indexed later.
            words: Words::Later,
            fields: None,
            created_at: Some(record.created_at),
            updated_at: record.updated_at,
            event_time: record.event_time,
            expires_at: record.expires_at,
        })
    }

    /// The vector of an entry.
    fn vector(
        &self,
        (scope, point): (ScopeId, PointId),
        id: &str,
        generation: Generation,
        state: &State,
        files: &SlotFiles,
    ) -> Result<Vec<f32>> {
        let slot = state
            .slot(point)
            .ok_or_else(|| corrupted(self.read.path(), format!("entry `{id}` has no slot")))?;
        let bytes = files.slot(slot)?;
        let place = |wrong: &str| corrupted(files.path(slot), format!("slot {} of `{id}`: {wrong}", slot.0));
        if layout::verify(slot, scope, &bytes).map_err(place)? != generation {
            return Err(place("wrong generation"));
        }
        let mut vector = Vec::with_capacity(files.dim);
        layout::components(&bytes, &mut vector);
        Ok(vector)
    }
}

/// The slot files of a space, as far as they are there.
struct SlotFiles {
    space: SpaceId,
    dim: usize,
    disk: Arc<dyn Disk>,
    files: Vec<Option<Arc<dyn DiskFile>>>,
}

impl SlotFiles {
    fn open(disk: &Arc<dyn Disk>, space: SpaceId, dim: usize, end: u64) -> Self {
        let numbers = 0..end.div_ceil(SlotStore::slots_per_file_of(dim));
        Self {
            space,
            dim,
            disk: Arc::clone(disk),
            files: numbers
                .map(|number| disk.open(&SlotStore::file(space, number)).ok())
                .collect(),
        }
    }

    fn path(&self, slot: Slot) -> std::path::PathBuf {
        let number = slot.0 / SlotStore::slots_per_file_of(self.dim);
        self.disk.full_path(&SlotStore::file(self.space, number))
    }

    fn slot(&self, slot: Slot) -> Result<Vec<u8>> {
        let per_file = SlotStore::slots_per_file_of(self.dim);
        let number = usize::try_from(slot.0 / per_file).unwrap_or(usize::MAX);
        let file = self.files.get(number).and_then(Option::as_ref);
        let file =
            file.ok_or_else(|| corrupted(self.path(slot), format!("slot {}: its file cannot be read", slot.0)))?;
        let mut bytes = vec![0; layout::stride(self.dim)];
        let offset = slot.0 % per_file * bytes.len() as u64;
        file.read_at(offset, &mut bytes).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                corrupted(self.path(slot), format!("slot {}: the file ends before it", slot.0))
            }
            _ => io_error("read", &self.path(slot), source),
        })?;
        Ok(bytes)
    }
}

struct Salvage<'a> {
    source: Source<'a>,
    target: &'a Database,
    report: SalvageReport,
    on_progress: &'a dyn Fn(SalvageProgress),
    stop: &'a Stop,
}

impl Salvage<'_> {
    fn run(&mut self) -> Result<()> {
        match Truth::verify_pages(self.source.disk) {
            Err(error) if error.kind() == ErrorKind::Data => {
                self.lose(format!("rows may be missing that are not named here: {error}"));
            }
            verified => verified?,
        }
        let head = self.source.look(Read::head);
        let (space_numbers, scope_numbers) = match head {
            Ok(head) => (u64::from(head.next_space_id), head.next_scope_id),
            Err(error) => {
                self.lose(error.to_string());
                (NUMBERS_IF_UNKNOWN, NUMBERS_IF_UNKNOWN)
            }
        };
        let (scopes, lost) = self.source.scopes(scope_numbers);
        lost.into_iter().for_each(|text| self.lose(format!("a scope: {text}")));
        for number in 1..u32::try_from(space_numbers).unwrap_or(u32::MAX) {
            let space = SpaceId(number);
            match self.source.look(|read| read.space(space)) {
                Ok(None) => {}
                Ok(Some(record)) => {
                    let of_space = scopes.iter().filter(|(of, ..)| *of == space);
                    let of_space: Vec<_> = of_space.map(|(_, scope, id)| (scope, *id)).collect();
                    self.space(space, &record, &of_space)?;
                }
                Err(error) => self.lose(error.to_string()),
            }
        }
        self.keys()?;
        self.quotas()
    }

    fn space(&mut self, id: SpaceId, record: &SpaceRecord, scopes: &[(&StateScope, ScopeId)]) -> Result<()> {
        let opening = match record.role {
            Role::Plain => Opening::Plain,
            Role::Routed => Opening::Routed,
            // Copies, and remains.
            Role::Staging { .. } | Role::Retired | Role::Dropped => return Ok(()),
        };
        let vectors = block_on(self.target.open_space_as(record.clone(), opening))?;
        self.report.spaces += 1;
        let end = self.source.look(|read| read.slot_end(id));
        let end = end.unwrap_or_else(|error| {
            self.lose(error.to_string());
            u64::MAX / 2
        });
        // More files than there can be are not looked for.
        let files = SlotFiles::open(self.source.disk, id, record.dim, end.min(u64::from(u32::MAX) * 2));
        for (scope, scope_id) in scopes {
            match self.source.look(|read| read.state(*scope_id)) {
                Ok(state) => self.scope(&vectors, scope, *scope_id, &state, &files)?,
                Err(error) => self.lose(format!("scope `{scope}` of space `{}`: {error}", record.name)),
            }
        }
        Ok(())
    }

    fn scope(
        &mut self,
        vectors: &HNSWVectorStorage,
        scope: &StateScope,
        id: ScopeId,
        state: &State,
        files: &SlotFiles,
    ) -> Result<()> {
        let mut batch = Vec::new();
        let mut seen = BTreeSet::new();
        for point in &state.living() {
            match self.source.entry(scope, id, state, PointId(point), files) {
                Ok(entry) if seen.insert(entry.id.clone()) => batch.push(entry),
                Ok(_) => {}
                Err(error @ StorageError::Io { .. }) => return Err(error),
                Err(error) => self.lose(format!("an entry of scope `{scope}`: {error}")),
            }
            if batch.len() == BATCH_ENTRIES {
                self.write_entries(vectors, std::mem::take(&mut batch))?;
            }
        }
        self.write_entries(vectors, batch)
    }

    fn write_entries(&mut self, vectors: &HNSWVectorStorage, entries: Vec<PreparedEntry>) -> Result<()> {
        if entries.is_empty() {
            return self.tell();
        }
        self.report.entries += entries.len() as u64;
        block_on(vectors.write_stored(entries))?;
        self.tell()
    }

    /// All keys: where their table is damaged, those before the damage and those after it.
    fn keys(&mut self) -> Result<()> {
        let mut last: Option<Vec<u8>> = None;
        for is_backward in [false, true] {
            let mut batch = Vec::new();
            let mut bytes = 0;
            let forward_end = last.clone();
            let mut previous: Option<Vec<u8>> = None;
            let read = self.source.read;
            let done = read.visit_rows("kv", is_backward, &mut |key, value| {
                let follows = |key: &[u8], before: &[u8]| raw::follows("kv", key, before);
                if is_backward {
                    let is_new = forward_end.as_ref().is_none_or(|end| follows(key, end));
                    let is_ordered = previous.as_ref().is_none_or(|previous| follows(previous, key));
                    if !is_new || !is_ordered {
                        return Ok(false);
                    }
                } else {
                    if previous.as_ref().is_some_and(|previous| !follows(key, previous)) {
                        return Err(corrupted(read.path(), "table `kv`: its keys are out of order"));
                    }
                    last = Some(key.to_vec());
                }
                previous = Some(key.to_vec());
                match raw::value_of_row(key, value) {
                    Ok((key, stored)) => {
                        let write = KeyValueWrite::set_expiring(key, stored.value, stored.expires_at);
                        bytes += write.len_bytes();
                        batch.push(write);
                    }
                    Err(lost) => self.lose(lost),
                }
                if bytes >= BATCH_BYTES || batch.len() >= BATCH_KEYS {
                    bytes = 0;
                    self.write_keys(std::mem::take(&mut batch))?;
                }
                Ok(true)
            });
            self.write_keys(batch)?;
            match done {
                Ok(()) => return Ok(()),
                Err(error @ StorageError::Corrupted { .. }) => self.lose(format!("keys: {error}")),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_keys(&mut self, writes: Vec<KeyValueWrite>) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        self.report.keys += writes.len() as u64;
        block_on(self.target.kv().write(writes))?;
        self.tell()
    }

    fn quotas(&mut self) -> Result<()> {
        let mut found: Vec<(StateScope, Quota)> = Vec::new();
        let mut lost = Vec::new();
        let done = self.source.read.visit_rows("quotas", false, &mut |key, value| {
            match raw::quota_of_row(key, value) {
                Ok(quota) => found.push(quota),
                Err(text) => lost.push(text),
            }
            Ok(true)
        });
        if let Err(error) = done {
            lost.push(format!("quotas: {error}"));
        }
        lost.into_iter().for_each(|text| self.lose(text));
        for (scope, quota) in found {
            block_on(self.target.set_quota(&scope, quota))?;
            self.report.quotas += 1;
        }
        Ok(())
    }

    fn lose(&mut self, text: String) {
        self.report.lost_count += 1;
        if self.report.lost.len() < LOST_MAX {
            self.report.lost.push(text);
        }
    }

    fn tell(&self) -> Result<()> {
        (self.on_progress)(SalvageProgress {
            entries: self.report.entries,
            keys: self.report.keys,
            lost: self.report.lost_count,
        });
        self.stop.check_after(Duration::ZERO)
    }
}

/// Runs a future on this thread, which is not one of an executor.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
