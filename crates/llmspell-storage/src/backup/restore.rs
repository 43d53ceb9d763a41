//! Verifying a backup, and making a database of it.

use std::sync::Arc;

use llmspell_core::Result;

use super::Pace;
use super::manifest::{Block, Manifest, Part, PartKind};
use super::packs::PackReader;
use super::rows::rows;
use crate::base::error::{corrupted, io_error};
use crate::disk::Disk;
use crate::slots::SlotStore;
use crate::truth::{Role, raw};

/// Reads every block of a backup, and checks that it is what was written. `pace` is told of each.
///
/// # Errors
///
/// `Corrupted` with the place of the first damage; `NotABackup` if the backup was cut short or is none;
/// `UnsupportedVersion`; `Io`.
pub(crate) fn verify(backup: &Arc<dyn Disk>, pace: Pace<'_>) -> Result<Manifest> {
    let manifest = Manifest::read(backup)?;
    let mut reader = PackReader::new(backup, manifest.packs.clone());
    reader.check_lengths()?;
    for part in &manifest.parts {
        let mut count = 0;
        for block in part.blocks.iter().filter(|block| block.pack.is_some()) {
            let bytes = reader.read(block)?;
            if part.kind == PartKind::Rows {
                count += rows(bytes).filter(Result::is_ok).count() as u64;
            }
            pace(u64::from(block.len))?;
        }
        check_count(backup, part, count)?;
    }
    Ok(manifest)
}

fn check_count(backup: &Arc<dyn Disk>, part: &Part, count: u64) -> Result<()> {
    if part.kind == PartKind::Rows && count != part.len {
        let detail = format!("table `{}` has {count} rows; {} were written", part.name, part.len);
        return Err(corrupted(backup.full_path(super::manifest::FILE), detail));
    }
    Ok(())
}

/// Makes the files of a database of a backup, but for the one that says that it is complete. `target` is empty. Each block
/// is verified while it is copied; `pace` is told of it.
///
/// # Errors
///
/// As [`verify`]; `NoSpace`.
pub(crate) fn restore(backup: &Arc<dyn Disk>, target: &Arc<dyn Disk>, pace: Pace<'_>) -> Result<Manifest> {
    let manifest = Manifest::read(backup)?;
    let mut reader = PackReader::new(backup, manifest.packs.clone());
    reader.check_lengths()?;
    let builder = raw::Builder::new(target)?;
    for part in manifest.parts.iter().filter(|part| part.kind == PartKind::Rows) {
        let mut blocks = part.blocks.iter().filter(|block| block.pack.is_some());
        let mut count = 0;
        builder.add(&part.name, |insert| {
            let Some(block) = blocks.next() else {
                return Ok(false);
            };
            for row in rows(reader.read(block)?) {
                let (key, value) =
                    row.map_err(|malformed| corrupted(backup.full_path(super::manifest::FILE), malformed.0))?;
                insert(key, value)?;
                count += 1;
            }
            pace(u64::from(block.len))?;
            Ok(true)
        })?;
        check_count(backup, part, count)?;
    }
    create_folders(target, &builder)?;
    for part in manifest.parts.iter().filter(|part| part.kind == PartKind::File) {
        write_file(target, part, &mut reader, pace)?;
    }
    sync_folders(target)?;
    builder.finish()?;
    Ok(manifest)
}

/// The folders of the spaces, also of those without a file.
fn create_folders(target: &Arc<dyn Disk>, builder: &raw::Builder) -> Result<()> {
    let read = builder.truth().read()?;
    read.head()?;
    let create = |path: &str| {
        target
            .create_dir(path)
            .map_err(|source| io_error("create", &target.full_path(path), source))
    };
    let spaces = read.spaces()?;
    if !spaces.is_empty() {
        create("spaces")?;
    }
    for (space, record) in spaces {
        if record.role != Role::Dropped {
            create(&SlotStore::dir(space))?;
        }
    }
    Ok(())
}

fn write_file(target: &Arc<dyn Disk>, part: &Part, reader: &mut PackReader, pace: Pace<'_>) -> Result<()> {
    let path = target.full_path(&part.name);
    for (place, _) in part.name.match_indices('/') {
        target
            .create_dir(&part.name[..place])
            .map_err(|source| io_error("create", &path, source))?;
    }
    let failed = |source| io_error("write", &path, source);
    let file = target.create(&part.name).map_err(failed)?;
    // What is not written are zeros.
    file.set_len(part.len).map_err(failed)?;
    let mut offset = 0;
    for block in &part.blocks {
        let Block { len, pack, .. } = *block;
        if pack.is_some() {
            let bytes = reader.read(block)?;
            file.write_at(offset, bytes).map_err(failed)?;
            pace(u64::from(len))?;
        }
        offset += u64::from(len);
    }
    file.sync().map_err(|source| io_error("sync", &path, source))
}

/// Makes the names of all files durable.
fn sync_folders(target: &Arc<dyn Disk>) -> Result<()> {
    let failed = |source| io_error("sync", &target.full_path("spaces"), source);
    for space in target.list("spaces").map_err(failed)? {
        let folder = format!("spaces/{space}");
        let below = target.list(&folder).map_err(failed)?;
        if below.iter().any(|name| name == "index") {
            target.sync_dir(&format!("{folder}/index")).map_err(failed)?;
        }
        target.sync_dir(&folder).map_err(failed)?;
    }
    if target.exists("spaces").map_err(failed)? {
        target.sync_dir("spaces").map_err(failed)?;
    }
    Ok(())
}
