//! `cargo xtask bench-million`: how fast a large store loads, opens, searches and inserts.
//!
//! ```text
//! cargo xtask bench-million --dir /on/a/large/disk [--dim 1536] [--n 1000000] [--memory speed] [--growth] [--limit-mib 300]
//! ```
//!
//! Everything is done by the command-line tool, in separate processes: one that builds, one that only opens the built
//! store, one that is killed while it inserts, one that opens the store after the kill. Sets and stores stay in
//! `--dir`; a later run uses them again.
//!
//! | file         | question                                                         |
//! |--------------|------------------------------------------------------------------|
//! | `program.rs` | how is the command line tool built, run, listened to and killed? |
//! | `limit.rs`   | how much memory may it use, files of the page cache included?    |
//! | `reads.rs`   | how many reads a second does the disk answer?                    |
//! | `report.rs`  | what was measured, and what are the targets?                     |

mod limit;
mod program;
mod reads;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use program::{Args, Phases, Program};
use report::{Limited, Runs, table};

/// How long the process has been inserting when it is killed.
const KILLED_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory for sets and stores; 1,000,000 x 1536 need 14 GB, with --growth another 1.4 GB.
    #[arg(long)]
    dir: PathBuf,
    /// Vectors.
    #[arg(long, default_value_t = 1_000_000)]
    n: u64,
    /// Components of a vector.
    #[arg(long, default_value_t = 1536)]
    dim: usize,
    /// How vectors are compared: cosine, euclidean, dot, manhattan.
    #[arg(long, default_value = "cosine")]
    metric: String,
    /// Memory tier: speed, balanced or lean.
    #[arg(long, default_value = "balanced")]
    memory: String,
    /// Inserts while another thread searches.
    #[arg(long, default_value_t = 2_000)]
    inserts: usize,
    /// Rebuild the store, even if it exists.
    #[arg(long)]
    rebuild: bool,
    /// Search once more by a process that may use this much memory, page cache included (Linux, as root); the system's
    /// cache is emptied before. Measures the reads of the disk as well.
    #[arg(long, value_name = "MIB")]
    limit_mib: Option<u64>,
    /// Width of the beam of that search.
    #[arg(long, default_value_t = 100)]
    limit_ef: usize,
    /// Search a tenth of the vectors as well, and report how much slower the whole set is.
    #[arg(long)]
    growth: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.n >= 1_000, "n is {}; it must be at least 1000", arguments.n);
    let program = Program::build()?;
    let all = Bench::new(&program, arguments, arguments.n);
    let build = all.build(arguments.rebuild)?;
    let search = all.search(arguments.inserts)?;
    let limited = match arguments.limit_mib {
        Some(mib) => Some(all.search_limited(mib)?),
        None => None,
    };
    let after_kill = all.open_after_kill()?;
    let tenth = if arguments.growth {
        let tenth = Bench::new(&program, arguments, arguments.n / 10);
        tenth.build(arguments.rebuild)?;
        Some(tenth.search(1)?)
    } else {
        None
    };
    let runs = Runs {
        build,
        search,
        limited,
        after_kill,
        tenth,
    };
    println!(
        "\n{} vectors of {} components, {}, {}\n{}",
        arguments.n, arguments.dim, arguments.metric, arguments.memory, runs.search.0[0]["machine"]
    );
    print!("\n{}", table(&runs.lines()?));
    let file = all.store.with_extension("json");
    std::fs::write(&file, format!("{:#}\n", runs.json())).with_context(|| format!("write {}", file.display()))?;
    println!("\nall lines of all runs: {}", file.display());
    Ok(())
}

/// One set and one store.
struct Bench<'a> {
    program: &'a Program,
    arguments: &'a Arguments,
    rows: u64,
    set: PathBuf,
    store: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(program: &'a Program, arguments: &'a Arguments, rows: u64) -> Self {
        let Arguments {
            dir,
            dim,
            metric,
            memory,
            ..
        } = arguments;
        Self {
            program,
            arguments,
            rows,
            set: dir.join(format!("set-{rows}x{dim}-{metric}")),
            store: dir.join(format!("store-{rows}x{dim}-{metric}-{memory}")),
        }
    }

    /// Makes the set, if it is missing, and the store. Returns none if the store exists already.
    fn build(&self, rebuild: bool) -> Result<Option<Phases>> {
        self.generate()?;
        // A store whose build did not finish has no mark.
        let mark = self.store.with_extension("built");
        if mark.exists() && !rebuild {
            println!("{} is there already; --rebuild builds it anew", self.store.display());
            return Ok(None);
        }
        if mark.exists() {
            std::fs::remove_file(&mark).with_context(|| format!("remove {}", mark.display()))?;
        }
        remove(&self.store)?;
        println!("building {}", self.store.display());
        let phases = self
            .program
            .run(&self.ann().with_words("--ef 64 --reps 1 --seconds 0"))?;
        std::fs::write(&mark, "").with_context(|| format!("write {}", mark.display()))?;
        Ok(Some(phases))
    }

    fn generate(&self) -> Result<()> {
        // This file is written last.
        if self.set.join("info.json").exists() {
            return Ok(());
        }
        remove(&self.set)?;
        println!("generating {}", self.set.display());
        let args = Args::new("bench generate --json").with_path("--out", &self.set);
        let args = args.with("--n", self.rows).with("--dim", self.arguments.dim);
        self.program
            .run(&args.with("--metric", &self.arguments.metric).with_words("--k 10"))?;
        Ok(())
    }

    fn ann(&self) -> Args {
        let array = |name: &str| self.set.join(name);
        Args::new("bench ann --json")
            .with_path("--base", &array("base.npy"))
            .with_path("--queries", &array("queries.npy"))
            .with_path("--truth", &array("truth.npy"))
            .with("--metric", &self.arguments.metric)
            .with("--memory", &self.arguments.memory)
            .with_path("--dir", &self.store)
    }

    fn search(&self, inserts: usize) -> Result<Phases> {
        println!("searching {}", self.store.display());
        let args = self
            .ann()
            .with_words("--reuse")
            .with("--insert-while-searching", inserts);
        self.program.run(&args)
    }

    /// The same by a process that may use little memory, after the cache of the system was emptied.
    fn search_limited(&self, mib: u64) -> Result<Limited> {
        let reads = reads::measure(&self.store)?;
        println!("searching {} within {mib} MiB", self.store.display());
        let limit = limit::Limit::new(mib)?;
        limit::drop_caches()?;
        let args = self
            .ann()
            .with_words("--reuse --reps 1 --seconds 20 --cache-mib 8")
            .with("--ef", self.arguments.limit_ef);
        let phases = self
            .program
            .within(&limit)
            .run(&args.with("--insert-while-searching", self.arguments.inserts))?;
        Ok(Limited {
            mib,
            phases,
            reads,
            peak: limit.peak()?,
        })
    }

    fn open_after_kill(&self) -> Result<Phases> {
        println!("killing a process that inserts into {}", self.store.display());
        let quick = self.ann().with_words("--reuse --ef 64 --reps 1 --seconds 0");
        let inserting = quick.clone().with("--insert-while-searching", 1_000_000);
        // `insert` is reported at its end; from then on the process inserts until it is killed.
        self.program.kill_after(&inserting, "insert", KILLED_AFTER)?;
        let phases = self.program.run(&quick)?;
        let left = phases.figure("settle", "leftovers_removed")?;
        ensure!(left > 0.0, "the killed process has left nothing, so it did not insert");
        Ok(phases)
    }
}

/// Removes the remains of an earlier run.
fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    Ok(())
}
