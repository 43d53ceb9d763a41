//! The machine that a measurement ran on.

use std::fs;

use serde::Serialize;

/// What a figure depends on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) threads: usize,
    /// 0 where the system does not say.
    pub(crate) memory_bytes: u64,
    pub(crate) system: String,
    /// `release`, or `debug`, whose figures mean nothing.
    pub(crate) build: &'static str,
    pub(crate) version: &'static str,
}

impl Machine {
    pub(crate) fn detect() -> Self {
        let line_of = |path: &str, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches([' ', '\t', ':']).trim().to_string())
        };
        let memory = line_of("/proc/meminfo", "MemTotal");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory
                .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok())
                .map_or(0, |kibibytes| kibibytes * 1024),
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim().to_string(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// On one line.
    pub(crate) fn summary(&self) -> String {
        let memory = crate::output::bytes_text(self.memory_bytes);
        format!(
            "{}, {} threads, {memory}, {}, {} build",
            self.cpu, self.threads, self.system, self.build
        )
    }
}
