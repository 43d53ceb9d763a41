//! The machine that a measurement ran on.

use std::fs;

use serde::Serialize;

/// What a figure depends on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The name of the processor.
    pub cpu: String,
    /// Number of threads that run at once.
    pub threads: usize,
    /// 0 where the system does not say.
    pub memory_bytes: u64,
    /// Kind and version of the operating system.
    pub system: String,
    /// `release`, or `debug`, whose figures mean nothing.
    pub build: &'static str,
    /// The version of the measuring crate.
    pub version: &'static str,
}

impl Machine {
    /// Reads what the system says.
    #[must_use]
    pub fn detect() -> Self {
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
    #[must_use]
    pub fn summary(&self) -> String {
        let memory = llmspell_cli_base::output::bytes_text(self.memory_bytes);
        format!(
            "{}, {} threads, {memory}, {}, {} build",
            self.cpu, self.threads, self.system, self.build
        )
    }
}
