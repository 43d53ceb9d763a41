//! A control group that limits the memory of a process, pages of files that it reads included.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const ROOT_V1: &str = "/sys/fs/cgroup/memory";
const ROOT_V2: &str = "/sys/fs/cgroup";

/// A control group of its own; removed when it is dropped, once no process is in it.
#[derive(Debug)]
pub(super) struct Limit {
    dir: PathBuf,
    is_v2: bool,
}

impl Limit {
    pub(super) fn new(mib: u64) -> Result<Self> {
        let is_v2 = Path::new(ROOT_V2).join("cgroup.controllers").exists();
        let root = Path::new(if is_v2 { ROOT_V2 } else { ROOT_V1 });
        if !root.exists() {
            bail!(
                "there are no control groups for memory here: {} is missing",
                root.display()
            );
        }
        if is_v2 {
            // Where it is allowed already, nothing changes.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        }
        let dir = root.join(format!("llmspell-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("create {}; only root may", dir.display()))?;
        let limit = Self { dir, is_v2 };
        let bytes = (mib << 20).to_string();
        if is_v2 {
            limit.write("memory.max", &bytes)?;
            // Not every system has swap to be forbidden.
            let _ = limit.write("memory.swap.max", "0");
        } else {
            limit.write("memory.limit_in_bytes", &bytes)?;
            let _ = limit.write("memory.swappiness", "0");
        }
        Ok(limit)
    }

    /// A process that writes its number there is in the group.
    pub(super) fn processes(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// The most bytes that the group has used; none if the system does not say.
    pub(super) fn peak(&self) -> Result<Option<u64>> {
        let name = if self.is_v2 {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        match fs::read_to_string(self.dir.join(name)) {
            Ok(text) => Ok(Some(text.trim().parse().context("a number of bytes")?)),
            Err(_) => Ok(None),
        }
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        let file = self.dir.join(name);
        fs::write(&file, value).with_context(|| format!("write {value} to {}", file.display()))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // Where a process of the group still ends, an empty directory stays.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Empties the cache of the system: pages that another process has read are not counted in a group.
pub(super) fn drop_caches() -> Result<()> {
    let synced = std::process::Command::new("sync").status().context("run sync")?;
    if !synced.success() {
        bail!("sync failed ({synced})");
    }
    fs::write("/proc/sys/vm/drop_caches", "3").context("write to /proc/sys/vm/drop_caches; only root may")
}
