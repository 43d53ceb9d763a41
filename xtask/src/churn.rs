//! Sessions that start and end for a long time must not make disk, memory or backlog grow.
//!
//! Tasks write sessions as fast as they can, search them, and drop them one by one, several together, or not at all:
//! then their entries expire. Beside them lives a scope whose entries all expire again and again, and a space that is
//! dropped and whose name is used again. After a warm-up, the figures measured every second must not grow.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use llmspell_storage::{
    Database, DatabaseOptions, HNSWConfig, HNSWVectorStorage, ScopeKind, StateScope, VectorEntry, VectorQuery,
};
use serde_json::json;

use llmspell_testkit::Random;

const TASKS: u64 = 8;
const DIM: usize = 64;
/// Entries of a session: from, and below.
const SESSION_ENTRIES: (usize, usize) = (4, 300);
/// Number of sessions that are dropped together.
const TOGETHER: usize = 8;
const LIFETIMES_MS: (u64, u64) = (50, 2_000);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Share of the time for the warm-up, in which caches fill and files grow to the size they need.
const BEGINNING_SHARE: f64 = 0.25;
/// After the warm-up, the peak of the second half may exceed that of the first half by this factor, because the load is
/// not constant.
const GROWTH_MAX: f64 = 1.3;
/// Growth below these amounts is ignored: bytes of the disk and of RAM, and scopes.
const SLACK: [(&str, f64); 4] = [
    ("disk bytes", 8e6),
    ("slot bytes", 4e6),
    ("RAM bytes", 16e6),
    ("scopes to purge", 400.0),
];
const PURGED_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of slots that may remain at the end, without any vector.
const SLOT_BYTES_LEFT_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChurnArguments {
    /// Minutes of session churn; 0 skips it
    #[arg(long, default_value_t = 10.0)]
    churn_minutes: f64,

    /// Only session churn
    #[arg(long)]
    pub(crate) churn_only: bool,

    /// Directory for the database; a new one in the system's temporary directory by default
    #[arg(long)]
    churn_dir: Option<PathBuf>,
}

/// The figures at one moment, in the order of [`SLACK`].
type Sample = [f64; 4];

struct Load {
    database: Database,
    vectors: HNSWVectorStorage,
    is_over: AtomicBool,
    sessions: AtomicU64,
    entries: AtomicU64,
}

/// Runs it, and prints the figures.
pub(crate) fn run(arguments: &ChurnArguments, seed: u64) -> Result<()> {
    if arguments.churn_minutes <= 0.0 {
        return Ok(());
    }
    let own = match &arguments.churn_dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir(),
    };
    let dir = own.join(format!("llmspell-churn-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let done = runtime.block_on(churn(
        &dir,
        Duration::from_secs_f64(60.0 * arguments.churn_minutes),
        seed,
    ));
    // The remains of a failure are kept for inspection.
    if done.is_ok() {
        std::fs::remove_dir_all(&dir).context("remove what was written")?;
    } else {
        eprintln!("the database is kept: {}", dir.display());
    }
    done
}

async fn churn(dir: &std::path::Path, time: Duration, seed: u64) -> Result<()> {
    println!(
        "session churn for {:.1} minutes, seed {seed}",
        time.as_secs_f64() / 60.0
    );
    let database = DatabaseOptions::new().open(dir).await?;
    let vectors = database.vectors("sessions", DIM, HNSWConfig::fast()).await?;
    let load = Arc::new(Load {
        database,
        vectors,
        is_over: AtomicBool::new(false),
        sessions: AtomicU64::new(0),
        entries: AtomicU64::new(0),
    });
    let mut tasks: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(sessions(Arc::clone(&load), task, seed)))
        .collect();
    tasks.push(tokio::spawn(living_scope(Arc::clone(&load), seed)));
    tasks.push(tokio::spawn(dropped_spaces(Arc::clone(&load), seed)));

    let begun = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    println!("  seconds  sessions   entries   disk MB  slots MB    RAM MB  to purge");
    while begun.elapsed() < time && tasks.iter().all(|task| !task.is_finished()) {
        tokio::time::sleep(SAMPLE_EVERY).await;
        samples.push(load.sample().await?);
        if samples.len().is_power_of_two() || samples.len().is_multiple_of(60) {
            load.print(begun.elapsed(), samples.last().expect("one was just taken"));
        }
    }
    load.is_over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.context("a task panicked")??;
    }
    load.print(begun.elapsed(), samples.last().context("the time was too short")?);
    let verdict = flatness(&samples);
    ends_empty(Arc::into_inner(load).context("a task still has it")?, dir).await?;
    verdict
}

impl Load {
    async fn sample(&self) -> Result<Sample> {
        let (of_database, of_vectors) = (self.database.stats().await?, self.vectors.stats().await?);
        Ok([
            of_database.disk_bytes as f64,
            of_database.slot_bytes as f64,
            anonymous_bytes() as f64,
            of_vectors.scopes_to_purge as f64,
        ])
    }

    fn print(&self, time: Duration, sample: &Sample) {
        let [disk, slots, ram, to_purge] = sample;
        println!(
            "{:9.0} {:9} {:9} {:9.1} {:9.1} {:9.1} {:9.0}",
            time.as_secs_f64(),
            self.sessions.load(Ordering::Relaxed),
            self.entries.load(Ordering::Relaxed),
            disk / 1e6,
            slots / 1e6,
            ram / 1e6,
            to_purge
        );
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

/// Sessions one after the other, as fast as possible.
async fn sessions(load: Arc<Load>, task: u64, seed: u64) -> Result<()> {
    let mut random = Random::new(&[seed, task]);
    let mut to_drop = Vec::new();
    for number in 0.. {
        if load.is_over() {
            return Ok(());
        }
        let scope = StateScope::Session(format!("{task}-{number}"));
        let count = random.between(SESSION_ENTRIES.0, SESSION_ENTRIES.1);
        let expires = random.percent(40);
        let mut entries = made(&scope, count, &mut random);
        if expires {
            let millis = LIFETIMES_MS.0 + random.below(LIFETIMES_MS.1 - LIFETIMES_MS.0);
            entries
                .iter_mut()
                .for_each(|entry| entry.ttl = Some(Duration::from_millis(millis)));
        }
        load.vectors.insert(entries).await?;
        load.sessions.fetch_add(1, Ordering::Relaxed);
        load.entries.fetch_add(count as u64, Ordering::Relaxed);
        let query = VectorQuery::new(vector(&mut random), 3).with_scope(scope.clone());
        let hits = load.vectors.search(&query).await?;
        ensure!(
            expires || hits.len() == 3,
            "{} of {count} entries are found",
            hits.len()
        );
        if expires {
            continue;
        }
        if random.percent(70) {
            let removed = load.vectors.delete_scope(&scope).await?;
            ensure!(removed == count as u64, "{removed} of {count} entries were there");
            continue;
        }
        to_drop.push(scope);
        if to_drop.len() == TOGETHER {
            load.vectors.delete_scopes(&std::mem::take(&mut to_drop)).await?;
        }
    }
    Ok(())
}

/// A lasting scope, nearly all of whose entries expire; their number varies between few and many.
async fn living_scope(load: Arc<Load>, seed: u64) -> Result<()> {
    let mut random = Random::new(&[seed, 1_000]);
    let scope = StateScope::User("ada".to_string());
    load.vectors
        .upsert(vec![
            VectorEntry::new("stays", vec![1.0; DIM]).with_scope(scope.clone()),
        ])
        .await?;
    for round in 0_u64.. {
        if load.is_over() {
            load.vectors.delete_scope(&scope).await?;
            return Ok(());
        }
        let count = if round % 20 < 5 { 1_500 } else { 20 };
        let mut entries = made(&scope, count, &mut random);
        for entry in &mut entries {
            entry.id = format!("{round}-{}", entry.id);
            entry.ttl = Some(Duration::from_millis(500));
        }
        load.vectors.insert(entries).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(
            load.vectors.get(&scope, "stays").await?.is_some(),
            "what never expires is gone"
        );
    }
    Ok(())
}

/// A space that is filled, dropped, and made again.
async fn dropped_spaces(load: Arc<Load>, seed: u64) -> Result<()> {
    let mut random = Random::new(&[seed, 2_000]);
    while !load.is_over() {
        let space = load.database.vectors("passing", DIM, HNSWConfig::fast()).await?;
        for number in 0..20 {
            let scope = StateScope::Agent(number.to_string());
            space.insert(made(&scope, 100, &mut random)).await?;
        }
        drop(space);
        load.database.drop_space("passing").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

fn made(scope: &StateScope, count: usize, random: &mut Random) -> Vec<VectorEntry> {
    let entry = |number: usize| {
        VectorEntry::new(format!("m-{number}"), vector(random))
            .with_scope(scope.clone())
            .with_metadata(json!({ "number": number, "text": "what was said in a session" }))
    };
    (0..count).map(entry).collect()
}

fn vector(random: &mut Random) -> Vec<f32> {
    (0..DIM).map(|_| random.component()).collect()
}

/// Checks growth after the warm-up: the peak of the second half against that of the first.
fn flatness(samples: &[Sample]) -> Result<()> {
    let begin = (samples.len() as f64 * BEGINNING_SHARE) as usize;
    let rest = &samples[begin..];
    ensure!(rest.len() >= 20, "{} samples are too few to tell", samples.len());
    let (first, second) = rest.split_at(rest.len() / 2);
    let mut grown = Vec::new();
    for (place, (name, slack)) in SLACK.into_iter().enumerate() {
        let most = |samples: &[Sample]| samples.iter().map(|sample| sample[place]).fold(0.0, f64::max);
        let (before, after) = (most(first), most(second));
        println!("most {name}: {before:.0}, then {after:.0}");
        if after > before * GROWTH_MAX + slack {
            grown.push(format!("{name} from {before:.0} to {after:.0}"));
        }
    }
    ensure!(grown.is_empty(), "it grew: {}", grown.join(", "));
    Ok(())
}

/// Checks that nothing remains once all has been dropped and has expired, and that the database is sound.
async fn ends_empty(load: Load, dir: &std::path::Path) -> Result<()> {
    let Load { database, vectors, .. } = load;
    let removed = database.delete_scopes_of_kind(ScopeKind::Session).await?;
    println!("{} vectors of sessions were left", removed.vectors);
    let begun = Instant::now();
    loop {
        let (slots, stats) = (database.stats().await?.slot_bytes, vectors.stats().await?);
        if stats.scopes == 0 && stats.scopes_to_purge == 0 && slots <= SLOT_BYTES_LEFT_MAX {
            break;
        }
        ensure!(
            begun.elapsed() < PURGED_WITHIN,
            "{} scopes, {} to purge and {slots} bytes of slots are left",
            stats.scopes,
            stats.scopes_to_purge
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("purged {:.1} s later", begun.elapsed().as_secs_f64());
    let report = database.check().await?;
    ensure!(report.is_ok(), "check: {report:#?}");
    drop(vectors);
    database.close().await?;
    let database = Database::open(dir).await?;
    let stats = database.stats().await?;
    println!("opened again: {:.1} MB on the disk", stats.disk_bytes as f64 / 1e6);
    ensure!(database.check().await?.is_ok(), "the check fails after opening again");
    database.close().await?;
    Ok(())
}

/// Bytes of RAM of this process alone; 0 if the system does not report it.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(disk: impl Fn(usize) -> f64) -> Vec<Sample> {
        (0..100).map(|second| [disk(second), 1e6, 1e6, 10.0]).collect()
    }

    #[test]
    fn what_grows_all_the_time_is_found_and_what_goes_up_and_down_is_not() {
        assert!(flatness(&samples(|_| 50e6)).is_ok());
        assert!(flatness(&samples(|second| if second < 20 { second as f64 * 5e6 } else { 100e6 })).is_ok());
        assert!(flatness(&samples(|second| 50e6 + 5e6 * (second % 7) as f64)).is_ok());
        let error = flatness(&samples(|second| 1e6 * second as f64)).unwrap_err();
        assert!(error.to_string().contains("disk bytes"), "{error}");
        assert!(flatness(&samples(|_| 50e6)[..10]).is_err(), "too few");
    }
}
