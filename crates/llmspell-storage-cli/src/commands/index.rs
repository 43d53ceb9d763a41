//! `index`: brings the index of a space up to date, or builds it anew.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use llmspell_storage::{HNSWConfig, HNSWVectorStorage, StateScope};
use serde_json::json;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::index_view::index_sentence;
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::output::{Output, grouped};
use llmspell_cli_base::progress::Progress;

/// How often the spinner is told how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Build the index of a space, or build it anew
#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Wait until every vector of the space is in the index of its scope, where the scope is large enough to have one
    Build(IndexArgs),
    /// Build the indexes of the space anew: without deleted points, with the settings of now
    Optimize(IndexArgs),
}

#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    /// What of the index is kept in RAM from now on [default: as it is]
    #[arg(long, value_enum)]
    memory: Option<MemoryArg>,

    /// Share of the ten nearest that searches are to find from now on; each scope gets the beam that it needs
    /// [default: as it is]
    #[arg(long, value_name = "RECALL", conflicts_with = "ef")]
    recall_target: Option<f64>,

    /// Width of the beam of searches from now on, whatever their recall [default: as it is]
    #[arg(long, value_name = "COUNT")]
    ef: Option<usize>,
}

impl IndexArgs {
    /// The settings of a space with those that the call names.
    fn config(&self, mut config: HNSWConfig) -> HNSWConfig {
        if let Some(memory) = self.memory {
            config = config.with_memory(memory.into());
        }
        if let Some(target) = self.recall_target {
            config = config.with_recall_target(target).without_ef_search();
        }
        if let Some(ef) = self.ef {
            config = config.with_ef_search(ef);
        }
        config
    }
}

pub(crate) async fn run(command: IndexCommand, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_here("index").await?;
    let mut store = session.vectors_here(&database).await?;
    let (args, verb) = match &command {
        IndexCommand::Build(args) => (args, "build"),
        IndexCommand::Optimize(args) => (args, "optimize"),
    };
    let config = args.config(store.config().clone());
    if config != *store.config() {
        store = database.vectors(store.space_name(), store.dim(), config).await?;
    }

    let started = Instant::now();
    let job = {
        let store = store.clone();
        tokio::spawn(async move {
            match command {
                IndexCommand::Build(_) => store.build_index().await,
                IndexCommand::Optimize(_) => store.optimize_index().await,
            }
        })
    };
    let progress = Progress::spinner(format!("index {verb}"), output.is_json());
    while !job.is_finished() {
        let stats = store.stats().await?;
        progress.say(format!(
            "index {verb}: {} of {} vectors are indexed",
            grouped(stats.indexed_vectors),
            grouped(stats.vectors)
        ));
        wait(&job).await;
    }
    job.await.expect("building an index does not panic")?;
    drop(progress);

    let seconds = started.elapsed().as_secs_f64();
    report(&store, session.named_scope(), verb, seconds, output).await?;
    drop(store);
    database.close().await?;
    Ok(())
}

/// Until the job is done, or it is time to look how far it is.
async fn wait<T>(job: &tokio::task::JoinHandle<T>) {
    let until = Instant::now() + LOOK_AGAIN;
    while !job.is_finished() && Instant::now() < until {
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(5)));
    }
}

async fn report(
    store: &HNSWVectorStorage,
    scope: Option<&StateScope>,
    verb: &str,
    seconds: f64,
    output: &mut Output,
) -> Result<(), CliError> {
    let stats = store.stats().await?;
    let mut line = json!({
        "index": verb, "space": store.space_name(), "seconds": seconds, "vectors": stats.vectors,
        "indexed_vectors": stats.indexed_vectors, "index_bytes": stats.index_bytes,
        "memory": store.config().memory(),
    });
    let mut sentence = format!(
        "{} of {} vectors are in an index, the others are scanned; {seconds:.2} s",
        grouped(stats.indexed_vectors),
        grouped(stats.vectors)
    );
    if let Some(scope) = scope {
        let index = store.stats_for_scope(scope).await?.index;
        sentence.push_str(&format!("\n{scope}: {}", index_sentence(index.as_ref())));
        line["scope"] = json!(scope);
        line["scope_index"] = json!(index);
    }
    output.object(&line)?;
    output.text(sentence)
}
