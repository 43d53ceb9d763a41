//! What all handles and the committer of one database share.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use llmspell_core::{Result, StorageError};

use super::clock::{Boot, Clock};
use super::routing::Routing;
use crate::base::error::{io_error, with_causes};
use crate::base::failures::{BackgroundFailure, Failures, Place, Task};
use crate::base::floor::Floor;
use crate::base::ids::SpaceId;
use crate::base::memory_budget::{MemoryBudget, last_turn_to_unload};
use crate::base::observe;
use crate::base::options::DatabaseOptions;
use crate::disk::Disk;
use crate::engine::value_cache::ValueCache;
use crate::indexes::files;
use crate::indexes::named::NamedFile;
use crate::indexes::queue::IndexQueue;
use crate::namespace::Publisher;
use crate::slots::SlotStore;
use crate::spaces::handover::Door;
use crate::spaces::registry::Space;
use crate::truth::{Role, SpaceRecord, Truth};

/// A disk with less free space than this is nearly full, whatever the setting.
const NEARLY_FULL_BYTES: u64 = 4 << 20;
/// Removing or touching an entry changes rows of four tables (`ids`, `entries`, `texts`, `expiring`), each at worst in a page
/// of 4 KiB of its own and in one above it.
const BYTES_PER_ENTRY: u64 = 32 << 10;
/// Pages that a transaction frees can be used by the one after the next.
const TRANSACTIONS_PER_PAGE: u64 = 3;
/// Most entries of a transaction on a full disk.
const PART_MAX: u64 = 256;

/// An open database.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) truth: Truth,
    pub(crate) values: ValueCache,
    pub(crate) clock: Clock,
    pub(crate) disk: Option<Arc<dyn Disk>>,
    pub(super) free_bytes_min: u64,
    pub(crate) queue: Arc<IndexQueue>,
    /// The builders' way to the committer.
    pub(crate) door: Arc<Door>,
    /// The budget for loaded namespaces.
    pub(crate) budget: Arc<MemoryBudget>,
    graph_points_min: u64,
    /// Whether any scope has a quota. Only the committer changes it.
    pub(crate) has_quotas: AtomicBool,
    metadata_points_min: u64,
    text_rows_max: usize,
    /// A commit that changes more entries of a scope leaves their metadata to be indexed later, all at once.
    pub(super) metadata_at_once_max: u64,
    /// Batches from this many entries on are written in steps.
    pub(super) large_batch_entries: usize,
    spaces: RwLock<BTreeMap<SpaceId, KnownSpace>>,
    /// Incremented when a space is created or changes.
    spaces_version: AtomicU64,
    poisoned: OnceLock<String>,
    /// Failures in the background.
    pub(super) failures: Failures,
    /// Whether traces may show the ids of scopes.
    pub(crate) shows_ids: bool,
    /// Whether the whole truth was verified since it was opened.
    pub(super) is_verified: AtomicBool,
    /// The damage that the verification of the truth found.
    damaged: OnceLock<StorageError>,
    /// Held while a backup copies slots.
    pub(crate) floor: Floor,
    /// Held until the last handle is dropped.
    _lock: Option<Lock>,
}

/// The locked file of a directory.
#[derive(Debug)]
pub(crate) struct Lock(pub(super) File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A forked process keeps the descriptor, and with it the lock, unless the lock is released.
        let _ = self.0.unlock();
    }
}

/// A space, opened when it is first used: a damaged one must not keep the others from being opened.
#[derive(Debug)]
struct KnownSpace {
    record: SpaceRecord,
    open: Option<Arc<Space>>,
}

impl Shared {
    pub(super) fn new(
        truth: Truth,
        disk: Option<Arc<dyn Disk>>,
        lock: Option<Lock>,
        options: &DatabaseOptions,
    ) -> Result<Self> {
        let read = truth.read()?;
        let head = read.head()?;
        let clock = read.clock()?;
        let spaces = read.spaces()?;
        let has_quotas = AtomicBool::new(read.has_quotas()?);
        drop(read);
        let known = |(id, record)| (id, KnownSpace { record, open: None });
        Ok(Self {
            is_verified: AtomicBool::new(truth.is_verified),
            damaged: OnceLock::new(),
            truth,
            // Reading a truth in RAM never blocks, so there is nothing to cache.
            values: ValueCache::new(if disk.is_some() { options.value_cache_bytes() } else { 0 }),
            clock: Clock::new(options.time.clone(), Boot::of(options), head.clock_ms, clock),
            disk,
            free_bytes_min: options.free_bytes_min,
            queue: Arc::default(),
            door: Arc::default(),
            budget: Arc::new(MemoryBudget::new(options.scope_cache_bytes)),
            graph_points_min: options.graph_points_min,
            has_quotas,
            metadata_points_min: options.metadata_points_min,
            text_rows_max: options.text_rows_max,
            metadata_at_once_max: options.metadata_at_once_max,
            large_batch_entries: options.large_batch_entries,
            spaces: RwLock::new(spaces.into_iter().map(known).collect()),
            spaces_version: AtomicU64::new(0),
            poisoned: OnceLock::new(),
            failures: Failures::default(),
            shows_ids: options.trace_scope_ids,
            floor: Floor::default(),
            _lock: lock,
        })
    }

    /// Whether the database survives the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.disk.is_some()
    }

    // ---- spaces ----

    /// All spaces, in the order of their creation.
    pub(crate) fn space_records(&self) -> Vec<(SpaceId, SpaceRecord)> {
        let spaces = self.spaces.read();
        let there = spaces.iter().filter(|(_, space)| space.record.role != Role::Dropped);
        there.map(|(id, space)| (*id, space.record.clone())).collect()
    }

    /// The error for a space that does not exist, with the names of those that do.
    pub(crate) fn unknown_space(&self, name: &str) -> StorageError {
        let known = self.space_records();
        StorageError::UnknownSpace {
            name: name.to_string(),
            known: known.iter().map(|(_, record)| record.to_string()).collect(),
        }
    }

    /// The space of a name.
    pub(crate) fn space_record(&self, name: &str) -> Option<(SpaceId, SpaceRecord)> {
        let spaces = self.spaces.read();
        let is_it = |space: &KnownSpace| space.record.role != Role::Dropped && space.record.name == name;
        let found = spaces.iter().find(|(_, space)| is_it(space));
        found.map(|(id, space)| (*id, space.record.clone()))
    }

    /// The spaces that were dropped and are not purged yet.
    pub(super) fn dropped_spaces(&self) -> Vec<SpaceId> {
        let spaces = self.spaces.read();
        let dropped = spaces.iter().filter(|(_, space)| space.record.role == Role::Dropped);
        dropped.map(|(id, _)| *id).collect()
    }

    /// Forgets a space whose remains are all removed.
    pub(super) fn forget_space(&self, id: SpaceId) {
        self.spaces.write().remove(&id);
    }

    /// The roles of all spaces.
    pub(super) fn routing(&self) -> Routing {
        Routing::of(self.spaces.read().iter().map(|(id, space)| (*id, &space.record)))
    }

    /// Whether a space exists and is durable: one that a batch creates is not until it is committed.
    pub(super) fn has_space(&self, id: SpaceId) -> bool {
        let spaces = self.spaces.read();
        spaces.get(&id).is_some_and(|space| space.record.role != Role::Dropped)
    }

    /// A durable space of the truth.
    ///
    /// # Errors
    ///
    /// `Data` or `Io` if its files cannot be opened; `UnknownSpace` if it was dropped.
    pub(crate) fn space(&self, id: SpaceId) -> Result<Arc<Space>> {
        if let Some(KnownSpace { open: Some(space), .. }) = self.spaces.read().get(&id) {
            return Ok(Arc::clone(space));
        }
        let mut spaces = self.spaces.write();
        let known = match spaces.get_mut(&id) {
            Some(known) if known.record.role != Role::Dropped => known,
            other => {
                let name = other.map_or_else(|| format!("number {}", id.0), |dropped| dropped.record.name.clone());
                let there = spaces.values().filter(|space| space.record.role != Role::Dropped);
                let known = there.map(|space| space.record.to_string()).collect();
                return Err(StorageError::UnknownSpace { name, known });
            }
        };
        if let Some(space) = &known.open {
            return Ok(Arc::clone(space));
        }
        let record = known.record.clone();
        let dim = record.dim;
        let slots = match &self.disk {
            Some(disk) => SlotStore::open(disk, id, dim, self.truth.read()?.slot_end(id)?)?,
            None => SlotStore::in_memory(dim),
        };
        if let Some(disk) = &self.disk {
            let read = self.truth.read()?;
            files::remove_unnamed(disk, id, |kind, scope, lsn, number| {
                let named = read.index_file(scope, kind);
                // A file whose row cannot be read is kept: it may be the named one.
                let is_it = |named: NamedFile| {
                    let mut rows = named.rows();
                    named.row.is_none() || rows.any(|row| (row.lsn, row.number) == (lsn, number))
                };
                named.is_ok_and(|named| !named.is_some_and(is_it))
            });
        }
        let (watchers, min) = (
            (
                Arc::clone(&self.queue),
                Arc::clone(&self.budget),
                Arc::clone(&self.door),
            ),
            (self.graph_points_min, self.metadata_points_min, self.text_rows_max),
        );
        let space = Arc::new(Space::new(id, record, slots, self.disk.clone(), watchers, min));
        known.open = Some(Arc::clone(&space));
        Ok(space)
    }

    /// Notes that a space was created, reconfigured or dropped.
    pub(super) fn set_space(&self, id: SpaceId, record: SpaceRecord, publisher: &mut Publisher) {
        let mut spaces = self.spaces.write();
        let known = spaces.entry(id).or_insert_with(|| KnownSpace {
            record: record.clone(),
            open: None,
        });
        if let Some(space) = &known.open {
            space.set_record(&record);
            if record.role == Role::Dropped {
                space.forget_all(publisher);
            }
            // Other settings may need other graphs.
            for (scope, namespace) in space.all_loaded() {
                space.note(&scope, &namespace);
            }
        }
        if record.role == Role::Dropped {
            self.failures.forget(id, None);
            known.open = None;
        }
        known.record = record;
        // With the spaces locked: a space that is found dropped has an older version.
        self.spaces_version.fetch_add(1, Ordering::SeqCst);
    }

    /// Incremented with each change of a space: a caller that read it before should look again.
    pub(crate) fn spaces_version(&self) -> u64 {
        self.spaces_version.load(Ordering::SeqCst)
    }

    /// The spaces that are open.
    pub(crate) fn open_spaces(&self) -> Vec<Arc<Space>> {
        self.spaces
            .read()
            .values()
            .filter_map(|space| space.open.clone())
            .collect()
    }

    /// Unloads the least recently used namespaces, if loaded ones exceed the budget.
    pub(crate) fn make_room(&self) {
        let Some(look) = self.budget.look() else { return };
        let spaces = self.open_spaces();
        let evictable = spaces.iter().flat_map(|space| space.evictable()).collect();
        let Some(last_turn) = last_turn_to_unload(evictable, look.excess) else {
            return;
        };
        let mut excess = look.excess;
        for space in spaces {
            excess = excess.saturating_sub(space.unload(last_turn, excess));
        }
        observe::unloaded(look.excess - excess, look.excess);
    }

    /// Makes the directory of a new space durable.
    pub(super) fn create_space_dir(&self, id: SpaceId) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let dir = SlotStore::dir(id);
        let full_path = disk.full_path(&dir);
        let made = disk.create_dir("spaces").and_then(|()| disk.create_dir(&dir));
        made.map_err(|source| io_error("create", &full_path, source))?;
        // Opened first: later failures are those of the disk.
        let parents = [disk.open_dir("spaces"), disk.open_dir("")];
        for parent in parents {
            let parent = parent.map_err(|source| io_error("open the parent of", &full_path, source))?;
            if let Err(source) = parent.sync() {
                let error = io_error("sync the parent of", &full_path, source);
                self.poison(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    // ---- in the background ----

    /// Notes the result of work in the background: a failure is shown by [`Database::stats`](super::Database::stats)
    /// until the same work succeeds.
    pub(crate) fn note_background<T>(&self, task: Task, place: &Place, done: &Result<T>) {
        self.failures.note(task, place, done, || self.clock.now());
        if let Err(error) = done
            && !matches!(error, StorageError::Closed)
        {
            observe::failed(task.name(), error, self.shows_ids);
        }
    }

    /// Work in the background that failed and has not succeeded since.
    pub(super) fn background_failures(&self) -> Vec<BackgroundFailure> {
        let records = self.space_records();
        let name_of = |id| {
            records
                .iter()
                .find(|(of, _)| *of == id)
                .map(|(_, record)| record.name.clone())
        };
        self.failures.list(name_of)
    }

    // ---- writing ----

    /// Stops writes: the content of the disk is not known any more.
    pub(super) fn poison(&self, error: &StorageError) {
        // The first error counts; others follow from it.
        let _ = self.poisoned.set(with_causes(error));
    }

    /// Stops all calls: the row of a damaged key would seem not to exist.
    pub(super) fn set_damaged(&self, error: StorageError) {
        self.poison(&error);
        let _ = self.damaged.set(error);
    }

    /// Checks that no damage was found that hides rows.
    ///
    /// # Errors
    ///
    /// `Corrupted` with the damage.
    pub(super) fn check_undamaged(&self) -> Result<()> {
        self.damaged.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Checks that writes are allowed.
    ///
    /// # Errors
    ///
    /// `Poisoned` with the first error.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.poisoned.get() {
            Some(first_error) => Err(StorageError::Poisoned {
                first_error: first_error.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Checks that there is enough free space on the disk.
    ///
    /// # Errors
    ///
    /// `NoSpace` with the bytes free and needed.
    pub(crate) fn check_free_space(&self) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        match disk.available_bytes() {
            Some(available_bytes) if available_bytes < self.free_bytes_min => Err(StorageError::NoSpace {
                path: disk.full_path(""),
                available_bytes: Some(available_bytes),
                needed_bytes: Some(self.free_bytes_min),
            }),
            _ => Ok(()),
        }
    }

    /// Whether there is so little free space that calls which free some should themselves need little.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.has_less_than(self.free_bytes_min.max(NEARLY_FULL_BYTES))
    }

    /// Whether there is so little free space that even a write which needs no more than before may fail.
    pub(super) fn is_all_but_full(&self) -> bool {
        self.has_less_than(NEARLY_FULL_BYTES)
    }

    fn has_less_than(&self, bytes: u64) -> bool {
        self.available_bytes().is_some_and(|available| available < bytes)
    }

    /// Free bytes on the disk, if the system reports them; none in RAM.
    fn available_bytes(&self) -> Option<u64> {
        self.disk.as_ref()?.available_bytes()
    }

    /// How many entries may be removed or touched in one transaction. A page that loses or changes one of its rows is
    /// written again for the others, before any page is free: if the disk has no space for all of them at the same
    /// time, as many as fit in the reserve.
    pub(super) fn entries_per_transaction(&self, entries: usize) -> usize {
        let part = self.truth.reserve_bytes() / (BYTES_PER_ENTRY * TRANSACTIONS_PER_PAGE);
        let part = part.clamp(1, PART_MAX) as usize;
        if entries <= part {
            // The system need not be asked.
            return entries;
        }
        let pages = (entries as u64).saturating_mul(BYTES_PER_ENTRY);
        let has_room = |available| available >= pages.min(self.truth.file_bytes().saturating_mul(2));
        if self.available_bytes().is_none_or(has_room) {
            entries
        } else {
            part
        }
    }

    /// The directory of the database.
    pub(crate) fn path(&self) -> PathBuf {
        self.disk
            .as_ref()
            .map_or_else(|| PathBuf::from("memory"), |disk| disk.full_path(""))
    }

    /// Bytes that a part of the database occupies on the disk.
    pub(crate) fn occupied_bytes(&self, part: &str) -> Result<u64> {
        let Some(disk) = &self.disk else { return Ok(0) };
        disk.occupied_bytes(part)
            .map_err(|source| io_error("measure", &disk.full_path(part), source))
    }
}

impl SpaceRecord {
    /// Checks that an existing space is as the caller expects.
    ///
    /// # Errors
    ///
    /// `SpaceMismatch` with both values.
    pub(crate) fn check_matches(&self, requested: &Self) -> Result<()> {
        let mismatch = |what, stored: String, requested: String| {
            Err(StorageError::SpaceMismatch {
                space: self.name.clone(),
                what,
                stored,
                requested,
            })
        };
        if self.dim != requested.dim {
            return mismatch("dimension", self.dim.to_string(), requested.dim.to_string());
        }
        let (stored, wanted) = (self.config.metric(), requested.config.metric());
        if stored != wanted {
            return mismatch("metric", stored.to_string(), wanted.to_string());
        }
        Ok(())
    }
}
