//! The RAM of this process.

/// Memory of this process, as the kernel counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Pages in RAM, those of memory-mapped files included.
    pub rss_bytes: u64,
    /// Of those, pages that no file stands behind: what the process itself needs.
    pub anonymous_bytes: u64,
}

impl ProcessMemory {
    /// Pages in RAM that a file stands behind: the system can take them back.
    #[must_use]
    pub fn file_bytes(self) -> u64 {
        self.rss_bytes.saturating_sub(self.anonymous_bytes)
    }

    /// What came on top of `before`.
    #[must_use]
    pub fn grown_since(self, before: Self) -> Self {
        Self {
            rss_bytes: self.rss_bytes.saturating_sub(before.rss_bytes),
            anonymous_bytes: self.anonymous_bytes.saturating_sub(before.anonymous_bytes),
        }
    }

    /// None where the system does not say; only Linux does.
    #[must_use]
    pub fn now() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
        Self::from_smaps(&text)
    }

    fn from_smaps(text: &str) -> Option<Self> {
        let kibibytes = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim_end().parse().ok()
        };
        Some(Self {
            rss_bytes: kibibytes("Rss:")? * 1024,
            anonymous_bytes: kibibytes("Anonymous:")? * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        let text = "00400000-7ffc [rollup]\nRss:                2048 kB\nPss:  9 kB\nAnonymous:          1024 kB\n";
        let expected = ProcessMemory {
            rss_bytes: 2 << 20,
            anonymous_bytes: 1 << 20,
        };
        assert_eq!(ProcessMemory::from_smaps(text), Some(expected));
        assert_eq!(expected.file_bytes(), 1 << 20);
        assert_eq!(ProcessMemory::from_smaps("nothing"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_process_touches_is_counted() {
        let before = ProcessMemory::now().unwrap();
        let touched = vec![1_u8; 64 << 20];
        let after = ProcessMemory::now().unwrap();
        assert!(
            std::hint::black_box(&touched)
                .iter()
                .step_by(4096)
                .all(|byte| *byte == 1)
        );
        assert!(after.anonymous_bytes >= before.anonymous_bytes + (60 << 20));
    }
}
