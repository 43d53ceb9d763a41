//! The room that files take, and the time of a sync.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;
use std::time::Instant;

use super::latency::Latencies;
use llmspell_cli_base::errors::CliError;

const SYNCS: u64 = 200;
const SYNC_BYTES: usize = 4096;

/// Bytes that the files below `directory` occupy on the disk.
///
/// # Errors
///
/// When a file or folder cannot be read.
pub fn disk_bytes(directory: &Path) -> Result<u64, CliError> {
    let failed = |source| CliError::file("read", directory, source);
    let mut bytes = 0;
    for item in fs::read_dir(directory).map_err(failed)? {
        let item = item.map_err(failed)?;
        // Files may vanish while we look: the engine tidies up in the background.
        let Ok(metadata) = item.metadata() else { continue };
        bytes += if metadata.is_dir() {
            disk_bytes(&item.path())?
        } else {
            occupied_bytes(&metadata)
        };
    }
    Ok(bytes)
}

/// Bytes a second that the disk under `directory` makes durable: a new file of `bytes` bytes, in pieces, each synced.
///
/// # Errors
///
/// When the file cannot be written, synced or removed.
pub fn write_bytes_per_second(directory: &Path, bytes: u64, piece: u64) -> Result<f64, CliError> {
    let path = directory.join("write-probe.tmp");
    let result = time_writes(&path, bytes, piece);
    let removed = fs::remove_file(&path);
    let seconds = result
        .and_then(|seconds| removed.map(|()| seconds))
        .map_err(|source| CliError::file("write", &path, source))?;
    Ok(bytes as f64 / seconds)
}

fn time_writes(path: &Path, bytes: u64, piece: u64) -> io::Result<f64> {
    use io::Write;
    let mut file = File::create(path)?;
    let content = vec![0x5a; usize::try_from(piece.min(bytes)).unwrap_or(usize::MAX)];
    let started = Instant::now();
    let mut rest = bytes;
    while rest > 0 {
        let here = usize::try_from(rest).map_or(content.len(), |rest| rest.min(content.len()));
        file.write_all(&content[..here])?;
        file.sync_data()?;
        rest -= here as u64;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Bytes that this process has had read from a disk; none where the system does not say.
#[must_use]
pub fn read_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes:"))?;
    line.trim().parse().ok()
}

#[cfg(unix)]
fn occupied_bytes(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // `st_blocks` counts 512 bytes whatever the block size of the file system is.
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn occupied_bytes(metadata: &Metadata) -> u64 {
    metadata.len()
}

/// Median time that the disk under `directory` takes to make 4 KiB durable, in µs: what no durable write can beat.
///
/// Overwrites places of a file that has its full length already, so that only data has to be synced.
///
/// # Errors
///
/// When the file cannot be written, synced or removed.
pub fn fdatasync_p50_us(directory: &Path) -> Result<f64, CliError> {
    let path = directory.join("fdatasync-probe.tmp");
    let result = time_syncs(&path);
    let removed = fs::remove_file(&path);
    let mut latencies = result
        .and_then(|latencies| removed.map(|()| latencies))
        .map_err(|source| CliError::file("sync", &path, source))?;
    Ok(latencies.p50_us())
}

fn time_syncs(path: &Path) -> io::Result<Latencies> {
    use io::{Seek, SeekFrom, Write};
    let mut file = File::create(path)?;
    let page = [0x5a; SYNC_BYTES];
    for _ in 0..SYNCS {
        file.write_all(&page)?;
    }
    file.sync_all()?;
    let mut latencies = Latencies::default();
    for turn in 0..SYNCS {
        // Places that do not follow each other; 73 and 200 have no common divisor.
        file.seek(SeekFrom::Start(turn * 73 % SYNCS * SYNC_BYTES as u64))?;
        let started = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        latencies.record(started.elapsed());
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_folders_count_and_the_probe_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("inner")).unwrap();
        fs::write(directory.path().join("inner/file"), vec![1; 100_000]).unwrap();
        let before = disk_bytes(directory.path()).unwrap();
        assert!((100_000..200_000).contains(&before), "{before}");

        assert!(fdatasync_p50_us(directory.path()).unwrap() > 0.0);
        assert!(write_bytes_per_second(directory.path(), 100_000, 30_000).unwrap() > 0.0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
