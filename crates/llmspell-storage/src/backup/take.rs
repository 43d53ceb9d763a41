//! Copying a snapshot into a backup.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use llmspell_core::{ErrorKind, Result, StorageError};

use super::Pace;
use super::manifest::{self, Block, LOCK_FILE, Manifest, PARTIAL_FILE, Pack, Part, PartKind, is_pack_name};
use super::packs::PackWriter;
use super::rows::RowBlock;
use super::slots::LiveSlots;
use crate::base::error::{corrupted, io_error};
use crate::base::ids::SpaceId;
use crate::disk::Disk;
use crate::slots::{SlotView, layout};
use crate::truth::{Read, Role, SpaceRecord, raw, row_damage};

/// Texts of damage that are kept; more are counted.
const DAMAGE_MAX: usize = 1_000;

/// What to copy.
pub(crate) struct Source<'a> {
    /// The snapshot. The floor is held since before it was taken.
    pub(crate) read: &'a Read,
    /// None for a database in RAM.
    pub(crate) disk: Option<&'a Arc<dyn Disk>>,
    /// The slots of the spaces of a database in RAM.
    pub(crate) in_memory: HashMap<SpaceId, Arc<SlotView>>,
}

/// What is asked for, and what is known of the database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) with_indexes: bool,
    /// Whether to go on where the database is damaged.
    pub(crate) keeps_going: bool,
    pub(crate) database: [u8; 16],
    pub(crate) taken_at: i64,
    pub(crate) format: u32,
    pub(crate) origin: String,
    /// Bytes of the truth, to estimate the whole.
    pub(crate) truth_bytes: u64,
}

/// A backup that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) manifest: Manifest,
    pub(crate) written_bytes: u64,
    pub(crate) reused_bytes: u64,
    pub(crate) is_incremental: bool,
}

/// Checks that a directory is empty or holds backups of ours, removes what a backup that was cut short has left there,
/// and returns the manifest of the last complete one.
///
/// # Errors
///
/// `NotABackup` if it holds other files, or a backup of another database; `Corrupted`, `Io`.
pub(crate) fn prepare(disk: &Arc<dyn Disk>, database: &[u8; 16]) -> Result<Option<Manifest>> {
    let path = disk.full_path("");
    let foreign = |reason: String| StorageError::NotABackup {
        path: path.clone(),
        reason,
    };
    let names = disk.list("").map_err(|source| io_error("list", &path, source))?;
    let is_ours = |name: &&String| {
        let name = name.as_str();
        [manifest::FILE, PARTIAL_FILE, LOCK_FILE].contains(&name) || is_pack_name(name)
    };
    if let Some(other) = names.iter().find(|name| !is_ours(name)) {
        return Err(foreign(format!(
            "it holds `{other}`; a backup needs a directory of its own"
        )));
    }
    let old = Manifest::find(disk)?;
    if let Some(old) = &old
        && old.database != *database
        && old.database != [0; 16]
        && *database != [0; 16]
    {
        return Err(foreign(format!(
            "it holds a backup of another database, {}",
            old.origin
        )));
    }
    let packs = old.as_ref().map(|old| old.packs.as_slice()).unwrap_or_default();
    remove_others(disk, packs)?;
    Ok(old)
}

/// Removes the packs that a manifest does not name, and what has not got its name.
fn remove_others(disk: &Arc<dyn Disk>, packs: &[Pack]) -> Result<()> {
    let path = disk.full_path("");
    let kept: BTreeSet<String> = packs.iter().map(Pack::name).collect();
    let mut names = disk.list("").map_err(|source| io_error("list", &path, source))?;
    names.retain(|name| name == PARTIAL_FILE || (is_pack_name(name) && !kept.contains(name)));
    if !names.is_empty() {
        // The name of the manifest may not be durable yet: until it is, the one before may come back, with its packs.
        disk.sync_dir("").map_err(|source| io_error("sync", &path, source))?;
    }
    for name in names {
        disk.remove(&name)
            .map_err(|source| io_error("remove", &disk.full_path(&name), source))?;
    }
    Ok(())
}

/// Copies a snapshot. `pace` is told of every block, and `total` once of the estimated sum.
///
/// # Errors
///
/// `Io`, `NoSpace`; `Corrupted` where the database is damaged, unless asked to go on; what `pace` returns. An earlier
/// backup in the directory is then still valid.
pub(crate) fn take(
    source: &Source<'_>,
    target: &Arc<dyn Disk>,
    old: Option<Manifest>,
    wanted: &Wanted,
    total: &mut dyn FnMut(u64),
    pace: Pace<'_>,
) -> Result<Taken> {
    let is_incremental = old.is_some();
    let sequence = old.as_ref().map_or(0, |old| old.sequence).wrapping_add(1);
    let mut damage = Damage::new(wanted.keeps_going);
    damage.or_go_on(source.read.check_tables_known())?;
    let head = damage.or_go_on(source.read.head())?;
    let spaces = damage.or_go_on(source.read.spaces())?.unwrap_or_default();
    let mut taking = Taking {
        source,
        packs: PackWriter::new(target, sequence, old),
        damage,
        pace,
    };
    let spaces = taking.live_slots(spaces)?;
    let slot_bytes =
        |(_, record, live): &(SpaceId, SpaceRecord, LiveSlots)| live.count() * layout::stride(record.dim) as u64;
    total(wanted.truth_bytes + spaces.iter().map(slot_bytes).sum::<u64>());

    let mut parts = Vec::new();
    for table in raw::table_names() {
        parts.push(taking.rows(table)?);
    }
    for (space, record, live) in &spaces {
        taking.slot_files(*space, record.dim, live, &mut parts)?;
        if wanted.with_indexes {
            taking.index_files(*space, &mut parts)?;
        }
    }
    let Taking { mut packs, damage, .. } = taking;
    let made = Manifest {
        sequence,
        database: wanted.database,
        lsn: head.map_or(0, |head| head.lsn.0),
        taken_at: wanted.taken_at,
        format: wanted.format,
        origin: wanted.origin.clone(),
        has_indexes: wanted.with_indexes,
        packs: packs.finish()?,
        damage: damage.finish(),
        parts,
    };
    made.write(target)?;
    // The backup is complete. What only the one before needed is removed now, or by the next one.
    let _ = remove_others(target, &made.packs);
    Ok(Taken {
        manifest: made,
        written_bytes: packs.written_bytes,
        reused_bytes: packs.reused_bytes,
        is_incremental,
    })
}

/// Damage that was found.
pub(super) struct Damage {
    keeps_going: bool,
    found: Vec<String>,
    more: u64,
}

impl Damage {
    fn new(keeps_going: bool) -> Self {
        Self {
            keeps_going,
            found: Vec::new(),
            more: 0,
        }
    }

    pub(super) fn note(&mut self, error: StorageError) -> Result<()> {
        if !self.keeps_going || error.kind() != ErrorKind::Data {
            return Err(error);
        }
        match self.found.len() < DAMAGE_MAX {
            true => self.found.push(error.to_string()),
            false => self.more += 1,
        }
        Ok(())
    }

    pub(super) fn or_go_on<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.note(error).map(|()| None),
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.found.push(format!("and {} more", self.more));
        }
        self.found
    }
}

/// A copy under way.
pub(super) struct Taking<'a, 'p> {
    pub(super) source: &'a Source<'a>,
    packs: PackWriter,
    pub(super) damage: Damage,
    pace: Pace<'p>,
}

impl Taking<'_, '_> {
    /// The slots of living points, of each space that was not dropped.
    fn live_slots(&mut self, spaces: Vec<(SpaceId, SpaceRecord)>) -> Result<Vec<(SpaceId, SpaceRecord, LiveSlots)>> {
        let mut found = Vec::new();
        for (space, record) in spaces {
            if record.role != Role::Dropped {
                let live = LiveSlots::of(self.source.read, space, &mut |error| self.damage.note(error))?;
                found.push((space, record, live));
            }
        }
        Ok(found)
    }

    /// Adds a block.
    pub(super) fn block(&mut self, bytes: &[u8]) -> Result<Block> {
        let block = self.packs.add(bytes)?;
        (self.pace)(bytes.len() as u64)?;
        Ok(block)
    }

    /// All rows of a table: where it is damaged, those before the damage and those after it.
    fn rows(&mut self, table: &str) -> Result<Part> {
        let mut part = Part {
            kind: PartKind::Rows,
            name: table.to_string(),
            len: 0,
            block_bytes: 0,
            blocks: Vec::new(),
        };
        let mut last: Option<Vec<u8>> = None;
        let forward = self.rows_until(&mut part, false, &mut |key| {
            // Damaged pages may lead in circles.
            if last.as_ref().is_some_and(|last| !raw::follows(table, key, last)) {
                return Err(());
            }
            last = Some(key.to_vec());
            Ok(true)
        });
        let Err(error) = forward else {
            return Ok(part);
        };
        self.damage.note(error)?;
        let mut before: Option<Vec<u8>> = None;
        let backward = self.rows_until(&mut part, true, &mut |key| {
            if before.as_ref().is_some_and(|before| !raw::follows(table, before, key)) {
                return Err(());
            }
            before = Some(key.to_vec());
            Ok(last.as_ref().is_none_or(|last| raw::follows(table, key, last)))
        });
        if let Err(error) = backward {
            self.damage.note(error)?;
        }
        Ok(part)
    }

    /// Copies rows until `is_wanted` says no, or the damage begins; what was read before is copied.
    fn rows_until(
        &mut self,
        part: &mut Part,
        is_backward: bool,
        is_wanted: &mut dyn FnMut(&[u8]) -> Result<bool, ()>,
    ) -> Result<()> {
        let table = part.name.clone();
        let mut block = RowBlock::default();
        let done = self.source.read.visit_rows(&table, is_backward, &mut |key, value| {
            match is_wanted(key) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(()) => {
                    let detail = format!("table `{table}`: the order of its keys is wrong");
                    return Err(corrupted(self.source.read.path(), detail));
                }
            }
            if let Some(damage) = row_damage(&table, key, value) {
                self.damage.note(corrupted(self.source.read.path(), damage))?;
            }
            if block.add(key, value) {
                part.blocks.push(self.block(block.bytes())?);
                block.clear();
            }
            Ok(true)
        });
        if !block.is_empty() {
            part.blocks.push(self.block(block.bytes())?);
        }
        part.len += block.rows;
        done
    }
}
