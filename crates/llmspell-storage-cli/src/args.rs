//! The command line: its verbs and their help.

use clap::{Parser, Subcommand};

use crate::commands::{
    backup, check, clock, completions, count, delete, demo, export, facet, get, import, index, kv, list, migrate,
    model, recall, repair, sample, scope, search, serve, space, touch,
};
use crate::global_args::GlobalArgs;

const AFTER_HELP: &str = "\
Examples:
  llmspell-storage demo
  llmspell-storage --db memory.db import notes.jsonl
  llmspell-storage --db memory.db --scope user:ada search --vector question.npy -k 5
  llmspell-storage --db memory.db --scope user:ada search --like note-7 --filter lang=en
  llmspell-storage --db memory.db search --vector question.npy --scope user:ada --scope global
  llmspell-storage --db memory.db import notes.jsonl --model text-embedding-3-small
  llmspell-storage --db memory.db migrate --from all-MiniLM-L6-v2 --to bge-m3 --with 'python embed.py'
  llmspell-storage --db memory.db delete --filter 'year < 2020' --dry-run
  llmspell-storage --db memory.db export backup.jsonl
  llmspell-storage --db memory.db kv set theme dark
  llmspell-storage --db memory.db check
  llmspell-storage --db memory.db backup /backups/memory
  llmspell-storage restore /backups/memory --to memory2.db

Scopes:
  global, or KIND:ID with KIND one of user, session, agent, tool, workflow, hook, custom.
  A word alone means custom:WORD. No call sees what belongs to another scope.

Exit codes:
   0  done
   1  the system failed (disk full, no permission) or the store is closed
   2  the data is damaged, foreign or of another version, or `check` found problems
   3  what was named is not there
   4  the database is open elsewhere; try later, or wait with --wait SECONDS
   5  conflict: an id exists, a space has another dimension, a compare-and-swap lost
  64  the call is wrong

Data goes to stdout, progress and messages to stderr. NO_COLOR is honored.";

/// Embedded storage for AI agents: key-value state and vector memory, for many tenants, in one directory.
#[derive(Debug, Parser)]
#[command(name = "llmspell-storage", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Search the Rust documentation in natural language: the whole engine in a few seconds
    Demo(demo::DemoArgs),
    /// Load vectors from JSON lines, a JSON array, CSV, .npy or .fvecs
    Import(import::ImportArgs),
    /// Write a scope, a space or everything to a file that `import` reads back
    Export(export::ExportArgs),
    /// Find the nearest entries of a scope
    Search(search::SearchArgs),
    /// Show one entry
    Get(get::GetArgs),
    /// List the entries of a scope, ordered by id or by a time
    List(list::ListArgs),
    /// Show a random sample of the entries of a scope
    Sample(sample::SampleArgs),
    /// Count the entries of a scope
    Count(count::CountArgs),
    /// Delete entries by id or by a filter
    Delete(delete::DeleteArgs),
    /// Give entries another end, or none
    Touch(touch::TouchArgs),
    /// Show which values a field has, and how often
    Facet(facet::FacetArgs),
    /// List, limit or remove scopes
    #[command(subcommand)]
    Scope(scope::ScopeCommand),
    /// List embedding spaces
    #[command(subcommand)]
    Space(space::SpaceCommand),
    /// List or add embedding models, or measure what it costs to cut their vectors
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Give every entry of a model a vector of another model, and put that in its place
    Migrate(migrate::MigrateArgs),
    /// Show real sizes and counts
    Stats,
    /// Read and write key-value data
    #[command(subcommand)]
    Kv(kv::KvCommand),
    /// Build the index of a space, or build it anew
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Measure how much an index misses, on the vectors that are stored, and recommend an `ef_search`
    Recall(recall::RecallArgs),
    /// Write a backup of the whole database to a directory, as of one moment
    Backup(backup::BackupArgs),
    /// Check that every byte of a backup is as it was written
    Verify(backup::VerifyArgs),
    /// Make a new database of a backup
    Restore(backup::RestoreArgs),
    /// Verify everything that is stored, and repair nothing; exit code 2 if something is wrong
    Check(check::CheckArgs),
    /// Write the database anew without the gaps that deleted data left; no other process may have it open
    Compact,
    /// Save what can be read of a damaged database; exit code 2 if something cannot
    Repair(repair::RepairArgs),
    /// Hold the database open, and let other commands look at it meanwhile, by a Unix socket
    Serve(serve::ServeArgs),
    /// Be the memory of an agent: a server of the Model Context Protocol on stdin and stdout
    #[cfg(feature = "mcp")]
    Mcp(crate::commands::mcp::McpArgs),
    /// Show the moment that is stored beside that of the system, or set it to that
    Clock(clock::ClockArgs),
    /// Measure speed, recall, memory and disk on this machine
    Bench(llmspell_bench::BenchArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_words_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
