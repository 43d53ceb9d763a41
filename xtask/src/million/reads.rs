//! How many reads of a vector a second the disk answers, one after the other and 32 at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::limit::drop_caches;

const BYTES: u64 = 8 << 10;
const TIME: Duration = Duration::from_secs(3);
const DEPTH: u64 = 32;

/// Reads of 8 KiB a second at random places of the largest file of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    pub(super) one: f64,
    pub(super) many: f64,
}

pub(super) fn measure(store: &Path) -> Result<Reads> {
    let mut files = Vec::new();
    collect(store, &mut files)?;
    let (length, path) = files.into_iter().max().context("the store has no file")?;
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let rate = |threads: u64| -> Result<f64> {
        drop_caches()?;
        let (start, count) = (Instant::now(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..threads)
                .map(|number| {
                    let (file, count) = (&file, &count);
                    scope.spawn(move || read(file, length, number, start, count))
                })
                .collect();
            readers
                .into_iter()
                .try_for_each(|reader| reader.join().expect("a reader does not panic"))
        })
        .with_context(|| format!("read {}", path.display()))?;
        Ok(count.into_inner() as f64 / start.elapsed().as_secs_f64())
    };
    Ok(Reads {
        one: rate(1)?,
        many: rate(DEPTH)?,
    })
}

fn read(file: &File, length: u64, number: u64, start: Instant, count: &AtomicU64) -> io::Result<()> {
    let mut random = llmspell_testkit::Random::new(&[number]);
    let mut buffer = vec![0; BYTES as usize];
    while start.elapsed() < TIME {
        let place = random.below((length / BYTES).max(2) - 1) * BYTES;
        std::os::unix::fs::FileExt::read_at(file, &mut buffer, place)?;
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<(u64, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push((metadata.len(), entry.path()));
        }
    }
    Ok(())
}
