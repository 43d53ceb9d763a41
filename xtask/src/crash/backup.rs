//! Backups that are killed: a process writes, backs up to one directory again and again, and restores; it is killed at a
//! random moment.
//!
//! Each write is one atomic batch, numbered, so that the number that a database holds says everything it must hold. After
//! a kill: the database has every acknowledged write; the directory has a backup that is whole, and not older than the last
//! one that was reported; a directory that was being restored is a whole database, or is not there.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use llmspell_storage::{
    BackupOptions, Database, HNSWConfig, HNSWVectorStorage, KeyValueWrite, StateScope, VectorEntry,
};
use llmspell_testkit::Random;

const DIM: usize = 48;
const SPACE: &str = "s";
const SCOPES: u64 = 3;
const IDS: u64 = 150;
/// Entries of a write.
const ENTRIES: u64 = 6;
/// Longest life of a process after it is ready.
const LIFE_MS: u64 = 400;
const READY_MAX: Duration = Duration::from_secs(60);
/// A new directory begins after this many cycles.
const GENERATION_CYCLES: u64 = 50;

/// The process that is killed.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArguments {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    seed: u64,
}

/// What the cycles came to.
#[derive(Debug, Default)]
struct Tally {
    writes: u64,
    backups: u64,
    restores: u64,
    cut_backups: u64,
    cut_restores: u64,
}

fn scope(number: u64) -> StateScope {
    StateScope::User(format!("u-{number}"))
}

fn vector(number: u64) -> Vec<f32> {
    let mut random = Random::new(&[number]);
    (0..DIM).map(|_| random.component()).collect()
}

/// The entries of a write: scope and id.
fn places(number: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..ENTRIES).map(move |place| (number % SCOPES, (number * 7 + place) % IDS))
}

/// Ids that a write deletes.
fn deleted(number: u64) -> Vec<(u64, u64)> {
    match number % 5 {
        0 => (0..IDS).step_by(2).map(|id| ((number + 1) % SCOPES, id)).collect(),
        _ => Vec::new(),
    }
}

/// Scope and id → the write that made it, after this many writes.
fn expected(count: u64) -> BTreeMap<(u64, u64), u64> {
    let mut entries = BTreeMap::new();
    for number in 1..=count {
        for place in deleted(number) {
            entries.remove(&place);
        }
        for place in places(number) {
            entries.insert(place, number);
        }
    }
    entries
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    Ok(runtime.context("start a runtime")?.block_on(future))
}

async fn space(database: &Database) -> llmspell_storage::Result<HNSWVectorStorage> {
    database.vectors(SPACE, DIM, HNSWConfig::fast()).await
}

async fn count_of(database: &Database) -> Result<u64> {
    let value = database.kv().get("count").await?;
    value.map_or(Ok(0), |value| {
        let bytes = value.as_slice().try_into().context("the count has eight bytes")?;
        Ok(u64::from_le_bytes(bytes))
    })
}

async fn write(database: &Database, number: u64) -> Result<()> {
    let mut batch = database.batch();
    for (of, id) in deleted(number) {
        batch = batch.delete(SPACE, &scope(of), [format!("id-{id}")]);
    }
    let entries = places(number).map(|(of, id)| {
        VectorEntry::new(format!("id-{id}"), vector(number * IDS + id))
            .with_scope(scope(of))
            .with_metadata(serde_json::json!({ "number": number }))
    });
    let batch = batch.upsert(SPACE, entries).write_keys([KeyValueWrite::Set {
        key: "count".to_string(),
        value: number.to_le_bytes().to_vec(),
    }]);
    batch.commit().await?;
    // And a scope that comes and goes, whose slots would be given to others at once.
    let passing = StateScope::Session(format!("passing-{}", number % 2));
    let vectors = space(database).await?;
    if number.is_multiple_of(3) {
        let entries = (0..40).map(|id| VectorEntry::new(format!("{id}"), vector(id)).with_scope(passing.clone()));
        vectors.upsert(entries.collect()).await?;
    } else if number % 3 == 1 {
        vectors.delete_scope(&passing).await?;
    }
    Ok(())
}

/// The process: says what it has done, until it is killed.
pub(crate) fn child(arguments: &ChildArguments) -> Result<()> {
    let database = block_on(Database::open(arguments.dir.join("store")))??;
    block_on(space(&database))??;
    let count = Arc::new(AtomicU64::new(block_on(count_of(&database))??));
    say(&format!("ready {}", count.load(Ordering::SeqCst)))?;
    let writer = std::thread::spawn({
        let (database, count) = (database.clone(), Arc::clone(&count));
        move || -> Result<()> {
            loop {
                let number = count.load(Ordering::SeqCst) + 1;
                block_on(write(&database, number))??;
                count.store(number, Ordering::SeqCst);
                say(&format!("written {number}"))?;
            }
        }
    });
    let mut random = Random::new(&[arguments.seed]);
    let backup = arguments.dir.join("backup");
    while !writer.is_finished() {
        let before = count.load(Ordering::SeqCst);
        say("backup")?;
        let options = BackupOptions::new().with_indexes(random.percent(30));
        block_on(database.backup_with(&backup, options))??;
        say(&format!("backed-up {before}"))?;
        if random.percent(60) {
            let target = arguments.dir.join("restored");
            say("restore")?;
            block_on(Database::restore(&backup, &target, BackupOptions::new()))??;
            say("restored")?;
            std::fs::remove_dir_all(&target).context("remove what was restored")?;
            say("removed")?;
        }
    }
    match writer.join() {
        Ok(done) => done,
        Err(_) => bail!("the writer panicked"),
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("write to the pipe")
}

/// Runs the cycles, and prints a line about them.
pub(super) fn run(dir: Option<&Path>, seed: u64, (from, cycles): (u64, u64)) -> Result<()> {
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut cycle = from;
    while cycle < from + cycles {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("llmspell-crash-backup-");
        let home = match dir {
            Some(dir) => builder.tempdir_in(dir),
            None => builder.tempdir(),
        };
        let home = home.context("make a directory")?;
        let end = (from + cycles).min(cycle + GENERATION_CYCLES);
        while cycle < end {
            if let Err(violation) = one_cycle(home.path(), Random::new(&[seed, cycle]).number(), &mut tally) {
                let kept = home.keep();
                bail!(
                    "{violation:#}\nagain: cargo xtask crash --backend backup --seed {seed} --from {cycle} --cycles 1   \
                     (files are in {})",
                    kept.display()
                );
            }
            cycle += 1;
        }
    }
    println!(
        "backup: {cycles} cycles and kills, {} writes, {} backups and {} restores completed, {} and {} cut, {} ms per \
         cycle, 0 violations",
        tally.writes,
        tally.backups,
        tally.restores,
        tally.cut_backups,
        tally.cut_restores,
        started.elapsed().as_millis() / u128::from(cycles.max(1)),
    );
    Ok(())
}

fn one_cycle(home: &Path, seed: u64, tally: &mut Tally) -> Result<()> {
    let had_backup = home.join("backup/MANIFEST").exists();
    let lines = killed(home, seed)?;
    let numbers = |word: &str| {
        let of = lines
            .iter()
            .filter_map(|line| line.strip_prefix(word)?.trim().parse::<u64>().ok());
        of.collect::<Vec<_>>()
    };
    let count = |word: &str| lines.iter().filter(|line| line.as_str() == word).count() as u64;
    let begun = numbers("ready ").first().copied().context("it was ready")?;
    let acknowledged = numbers("written ").last().copied().unwrap_or(begun);
    let backups = numbers("backed-up ");
    let restores = count("restored");
    tally.writes += acknowledged - begun;
    tally.backups += backups.len() as u64;
    tally.restores += restores;
    tally.cut_backups += count("backup") - backups.len() as u64;
    tally.cut_restores += count("restore") - restores;

    block_on(async {
        let store = Database::open(home.join("store")).await.context("open the store")?;
        let found = count_of(&store).await?;
        ensure!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "the store holds {found} writes; {acknowledged} were acknowledged"
        );
        check(&store, found).await.context("the store")?;
        store.close().await?;

        let backup = home.join("backup");
        if !backup.join("MANIFEST").exists() {
            ensure!(!had_backup && backups.is_empty(), "the backup is gone");
            return Ok(());
        }
        Database::verify_backup(&backup, BackupOptions::new())
            .await
            .context("verify the backup")?;
        let target = home.join("checked");
        Database::restore(&backup, &target, BackupOptions::new())
            .await
            .context("restore the backup")?;
        let restored = Database::open(&target).await.context("open what was restored")?;
        let held = count_of(&restored).await?;
        let least = backups.last().copied().unwrap_or(0);
        ensure!(
            (least..=acknowledged + 1).contains(&held),
            "the backup holds {held} writes; {least} were reported, {acknowledged} acknowledged"
        );
        check(&restored, held).await.context("the restored backup")?;
        restored.close().await?;
        std::fs::remove_dir_all(&target)?;

        // A restore that was cut is whole, or not there.
        let cut = home.join("restored");
        if cut.join("FORMAT").exists() && cut.join("truth.redb").exists() && count("restored") == count("restore") {
            // It was being removed.
            std::fs::remove_dir_all(&cut)?;
        } else if cut.exists() && count("restored") < count("restore") {
            let whole = Database::open(&cut).await.context("open a restore that was cut")?;
            check(&whole, count_of(&whole).await?)
                .await
                .context("a restore that was cut")?;
            whole.close().await?;
            std::fs::remove_dir_all(&cut)?;
        } else if cut.exists() {
            std::fs::remove_dir_all(&cut)?;
        }
        Ok(())
    })?
}

async fn check(database: &Database, count: u64) -> Result<()> {
    let report = database.check_deep().await?;
    ensure!(report.is_ok(), "{report:#?}");
    let vectors = space(database).await?;
    let expected = expected(count);
    for of in 0..SCOPES {
        let found = vectors.list(&scope(of), None, 1000).await?;
        let wanted = expected.keys().filter(|(scope, _)| *scope == of).count();
        ensure!(
            found.len() == wanted,
            "{} entries of scope {of}, not {wanted}",
            found.len()
        );
        for entry in found {
            let id: u64 = entry.id.trim_start_matches("id-").parse()?;
            let number = expected.get(&(of, id)).context("an entry that was deleted")?;
            ensure!(
                entry.embedding == vector(number * IDS + id),
                "another vector of {id} in {of}"
            );
        }
    }
    Ok(())
}

/// Starts the process, kills it at a random moment, and returns what it said.
fn killed(home: &Path, seed: u64) -> Result<Vec<String>> {
    let program = std::env::current_exe().context("find our own program")?;
    let mut child = Command::new(program)
        .args(["crash-backup", "--seed", &seed.to_string(), "--dir"])
        .arg(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start ourselves")?;
    let out = child.stdout.take().expect("its output is piped");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // A last line without its end does not count.
        let mut out = BufReader::new(out);
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|count| count > 0) && line.ends_with('\n') {
            if sender.send(line.trim_end().to_string()).is_err() {
                break;
            }
            line.clear();
        }
    });
    let first = lines.recv_timeout(READY_MAX);
    if let Ok(first) = &first
        && first.starts_with("ready")
    {
        let life = Random::new(&[seed, 1]).below(LIFE_MS);
        std::thread::sleep(Duration::from_millis(life));
    }
    if let Some(status) = child.try_wait()? {
        bail!("the process ended by itself ({status}): {:?}", lines.iter().last());
    }
    child.kill().context("kill")?;
    child.wait().context("wait")?;
    Ok(first.into_iter().chain(lines.iter()).collect())
}
