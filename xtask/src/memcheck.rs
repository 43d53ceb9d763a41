//! Memory checkers: out-of-bounds accesses of `llmspell-vector`, which has the `unsafe` arithmetic, and reads of a slot while
//! the engine writes it.
//!
//! ```text
//! cargo xtask asan        its tests under the address sanitizer; needs a nightly toolchain
//! cargo xtask valgrind    its tests under valgrind, which knows no AVX-512
//! cargo xtask tsan        checks of a database beside its writers, under the thread sanitizer; needs a nightly toolchain
//!                         with the sources of the standard library
//! cargo xtask loom        the lists that threads share, in every interleaving that the memory model allows
//! ```
//!
//! Where the tool is not there, nothing is installed and the exit code is 2.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const PACKAGE: &str = "llmspell-vector";
/// Limits the tables of kernels to this instruction set and those below it.
const ISA_MAX: &str = "LLMSPELL_ISA_MAX";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Widest instruction set that the kernels may use, for example avx2 or scalar.
    #[arg(long)]
    isa_max: Option<String>,
    /// Cases of each property test.
    #[arg(long, default_value_t = 16)]
    cases: u32,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RaceArguments {
    /// Checks of each database beside its writers. Both sides hold the same locks most of the time, so many checks are
    /// needed: a known race was seen once in 1,500.
    #[arg(long, default_value_t = 3_000)]
    checks: u32,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// A tool that a command needs and this machine lacks.
#[derive(Debug)]
pub(crate) struct ToolMissing(pub(crate) String);

impl std::fmt::Display for ToolMissing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ToolMissing {}

/// Runs the tests in a build in which every access to memory is checked.
pub(crate) fn asan(arguments: &Arguments) -> Result<()> {
    let mut cargo = nightly_cargo()?;
    let host = host_of(&cargo)?;
    // With an explicit target, build scripts and macros are built as usual; a separate directory keeps the other
    // builds.
    cargo
        .args(["test", "-p", PACKAGE, "--lib", "--tests", "--target", &host])
        .env("RUSTFLAGS", "-Zsanitizer=address -Cforce-frame-pointers=yes")
        .env("CARGO_TARGET_DIR", target_directory("asan"))
        .env("PROPTEST_CASES", arguments.cases.to_string());
    if let Some(isa) = &arguments.isa_max {
        cargo.env(ISA_MAX, isa);
    }
    cargo.args(arguments.filter.iter());
    println!("{cargo:?}");
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "the tests failed under the address sanitizer");
    println!("no access beside its memory was seen");
    Ok(())
}

/// Runs checks beside writers in a build that detects unsynchronized accesses of two threads to the same memory.
pub(crate) fn tsan(arguments: &RaceArguments) -> Result<()> {
    let mut cargo = nightly_cargo()?;
    let host = host_of(&cargo)?;
    // Builds the standard library too, so that synchronization inside it is seen.
    cargo
        .args(["test", "-Zbuild-std", "-p", "llmspell-storage", "--no-default-features"])
        .args(["--test", "races", "--target", &host])
        .env("RUSTFLAGS", "-Zsanitizer=thread")
        .env("LLMSPELL_CHECKS", arguments.checks.to_string())
        .env("CARGO_TARGET_DIR", target_directory("tsan"))
        .args(arguments.filter.iter());
    println!("{cargo:?}");
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "the tests failed under the thread sanitizer");
    println!("no race was seen");
    Ok(())
}

/// Runs the tests in valgrind's machine, one thread at a time.
pub(crate) fn valgrind(arguments: &Arguments) -> Result<()> {
    let version = Command::new("valgrind").arg("--version").output();
    let version = version.ok().filter(|output| output.status.success());
    let version = version.ok_or_else(|| ToolMissing("valgrind is not installed here".into()))?;
    let isa = arguments.isa_max.as_deref().unwrap_or("avx2");
    println!("{}, {ISA_MAX}={isa}", String::from_utf8_lossy(&version.stdout).trim());
    for program in test_programs()? {
        println!("valgrind {}", program.display());
        let status = Command::new("valgrind")
            .args([
                "--quiet",
                "--error-exitcode=99",
                "--leak-check=full",
                "--errors-for-leak-kinds=definite",
                "--show-leak-kinds=definite",
            ])
            .arg(&program)
            .arg("--test-threads=1")
            .args(arguments.filter.iter())
            .env(ISA_MAX, isa)
            .env("PROPTEST_CASES", arguments.cases.to_string())
            .status()
            .context("start valgrind")?;
        ensure!(
            status.success(),
            "{} failed under valgrind ({status})",
            program.display()
        );
    }
    println!("no access beside its memory and no leak was seen");
    Ok(())
}

/// Runs the tests of the shared lists in every interleaving.
pub(crate) fn loom() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--release", "-p", PACKAGE, "--lib", "interleavings"])
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target_directory("loom"));
    println!("{cargo:?}");
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "an interleaving broke a promise");
    Ok(())
}

/// The cargo of an installed nightly toolchain.
fn nightly_cargo() -> Result<Command> {
    let own = Command::new(env!("CARGO")).arg("--version").output();
    if own.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nightly")) {
        return Ok(Command::new(env!("CARGO")));
    }
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let Some(name) = listed.ok().as_deref().and_then(nightly_of) else {
        let message = "a sanitizer needs a nightly toolchain, and none is installed here \
                       (`rustup toolchain install nightly` would do it)";
        return Err(ToolMissing(message.into()).into());
    };
    let mut cargo = Command::new("rustup");
    // These variables, set by cargo for this program, select the toolchain that it was built with.
    for name in ["RUSTC", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    cargo.args(["run", &name, "cargo"]);
    Ok(cargo)
}

/// The first nightly toolchain of `rustup toolchain list`.
fn nightly_of(list: &str) -> Option<String> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_string)
        .next()
}

/// The target that this machine is, as rustc names it.
fn host_of(cargo: &Command) -> Result<String> {
    let mut asked = Command::new(cargo.get_program());
    asked.args(cargo.get_args()).args(["version", "--verbose"]);
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => asked.env(name, value),
            None => asked.env_remove(name),
        };
    }
    let output = asked.output().context("start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_string)
        .context("cargo does not say which machine this is")
}

fn target_directory(name: &str) -> PathBuf {
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(usual, PathBuf::from)
        .join(name)
}

/// Builds the tests and returns their paths.
fn test_programs() -> Result<Vec<PathBuf>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "-p",
            PACKAGE,
            "--lib",
            "--tests",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start cargo")?;
    ensure!(output.status.success(), "the tests cannot be built");
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Programs that cargo reports to have built.
pub(crate) fn executables(messages: &str) -> Vec<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_toolchain_is_found_under_its_name() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-2026-01-01-x86_64-unknown-linux-gnu\n";
        assert_eq!(
            nightly_of(list).as_deref(),
            Some("nightly-2026-01-01-x86_64-unknown-linux-gnu")
        );
        assert_eq!(nightly_of("stable-x86_64-unknown-linux-gnu (default)\n"), None);
    }

    #[test]
    fn programs_are_found_among_the_messages_of_cargo() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nnoise\n{\"executable\":\"/t/a\"}\n";
        assert_eq!(executables(messages), [PathBuf::from("/t/a")]);
    }
}
