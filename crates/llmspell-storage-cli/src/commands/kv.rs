//! `kv`: reads and writes keys.
//!
//! Values are bytes. `get` writes them as they are; tables and JSON show those that are text as text, the others in
//! hexadecimal.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use llmspell_storage::limits::{PAGE_MAX, VALUE_BYTES_MAX};
use llmspell_storage::{Expiry, KeyValueEntry, StorageBackend};
use serde_json::{Value, json};

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, line_cell, number_cell, row, table, text_cell};
use llmspell_cli_base::time_arg::parse_duration;

/// Read and write key-value data. With --scope, that of the scope; without, what belongs to no scope
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  llmspell-storage --db memory.db kv set theme dark
  llmspell-storage --db memory.db kv set config - < config.json
  llmspell-storage --db memory.db kv set token abc --ttl 1h
  llmspell-storage --db memory.db --scope user:ada kv get theme
  llmspell-storage --db memory.db kv scan session/ --limit 20
  llmspell-storage --db memory.db kv cas leader --absent --new node-1 --ttl 30s")]
pub(crate) enum KvCommand {
    /// Write the value of a key to stdout, as it is
    Get {
        /// Key
        key: String,
    },
    /// Store a value, whatever was there
    Set {
        /// Key
        key: String,
        /// Value; - reads it from stdin
        value: String,
        /// Time until the value ends, such as 30s, 1h or 7d [default: never]
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        ttl: Option<Duration>,
    },
    /// Remove a key
    Del {
        /// Key
        key: String,
    },
    /// List keys and values in byte order of the keys
    Scan(ScanArgs),
    /// Change a key only if its value is the expected one; exit code 5 if not
    Cas(CasArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// Keys that start so
    #[arg(default_value = "")]
    prefix: String,

    /// Begin after this key
    #[arg(long, value_name = "KEY")]
    after: Option<String>,

    /// Most keys to list
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct CasArgs {
    /// Key
    key: String,

    /// The value it must have now
    #[arg(
        long,
        value_name = "VALUE",
        required_unless_present = "absent",
        conflicts_with = "absent"
    )]
    expect: Option<String>,

    /// It must not be there now
    #[arg(long)]
    absent: bool,

    /// The value it gets; - reads it from stdin
    #[arg(
        long,
        value_name = "VALUE",
        required_unless_present = "delete",
        conflicts_with = "delete"
    )]
    new: Option<String>,

    /// It is removed
    #[arg(long)]
    delete: bool,

    /// Time until the new value ends, such as 30s, 1h or 7d [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "delete")]
    ttl: Option<Duration>,
}

pub(crate) async fn run(command: KvCommand, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let makes_database = match &command {
        KvCommand::Get { .. } | KvCommand::Del { .. } | KvCommand::Scan(_) => false,
        KvCommand::Set { .. } => true,
        KvCommand::Cas(args) => args.absent && args.new.is_some(),
    };
    let shared: Arc<dyn StorageBackend> = match session.server() {
        Some(url) => server_keys(url).await?,
        None if makes_database => session.open_or_create().await?.kv(),
        None => session.open_existing().await?.kv(),
    };
    let backend = session.key_value(shared)?;

    match command {
        KvCommand::Get { key } => {
            let value = backend.get(&key).await?.ok_or_else(|| no_key(&key, session))?;
            if output.is_json() {
                let expires_at = backend.expires_at(&key).await?;
                output.object(&pair(&KeyValueEntry::new(key, value, expires_at)))?;
            } else {
                output.bytes(&value)?;
            }
        }
        KvCommand::Set { key, value, ttl } => {
            let value = argument_or_stdin(value)?;
            let bytes = value.len();
            match ttl {
                Some(ttl) => backend.set_with_ttl(&key, value, ttl).await?,
                None => backend.set(&key, value).await?,
            }
            output.object(&json!({"key": key, "bytes": bytes}))?;
        }
        KvCommand::Del { key } => {
            if !backend.delete(&key).await? {
                return Err(no_key(&key, session));
            }
            output.object(&json!({"key": key, "deleted": true}))?;
            output.text("deleted")?;
        }
        KvCommand::Scan(args) => scan(args, &*backend, output).await?,
        KvCommand::Cas(args) => {
            let new = args.new.map(argument_or_stdin).transpose()?;
            let expected = args.expect.as_deref().map(str::as_bytes);
            let expiry = args.ttl.map_or(Expiry::Never, Expiry::After);
            let swapped = backend.swap(&args.key, expected, new, expiry).await?;
            output.object(&json!({"key": args.key, "swapped": swapped}))?;
            if !swapped {
                return Err(CliError::CasLost { key: args.key });
            }
            output.text("swapped")?;
        }
    }
    Ok(())
}

/// The keys of a PostgreSQL server.
#[cfg(feature = "postgres")]
async fn server_keys(url: &str) -> Result<Arc<dyn StorageBackend>, CliError> {
    use llmspell_postgres::{PostgresConfig, PostgresDatabase};
    let database = PostgresDatabase::open(PostgresConfig::new(url)).await?;
    Ok(Arc::new(database.key_value()))
}

#[cfg(not(feature = "postgres"))]
async fn server_keys(_: &str) -> Result<Arc<dyn StorageBackend>, CliError> {
    Err(CliError::usage(
        "this program was built without PostgreSQL",
        "build it with `--features postgres`, or name a directory by --db",
    ))
}

fn no_key(key: &str, session: &Session<'_>) -> CliError {
    let place = match session.named_scope() {
        Some(scope) => format!("in scope {scope}"),
        None => "outside of all scopes".into(),
    };
    CliError::NotFound {
        message: format!("there is no key `{key}` {place}"),
        hint: "`kv scan` lists the keys; with --scope, those of that scope".into(),
    }
}

async fn scan(
    args: ScanArgs,
    backend: &dyn llmspell_storage::StorageBackend,
    output: &mut Output,
) -> Result<(), CliError> {
    let mut lines = table(["key", "bytes", "expires", "value"]);
    let mut after = args.after;
    let mut left = args.limit;
    while left > 0 {
        let limit = left.min(PAGE_MAX);
        let page = backend.scan_entries(&args.prefix, after.as_deref(), limit).await?;
        left -= page.len();
        let is_last = page.len() < limit;
        for entry in &page {
            output.object(&pair(entry))?;
            let expires = entry.expires_at.map(|moment| moment.to_string());
            lines.add_row(row([
                line_cell(&entry.key),
                number_cell(bytes_text(entry.value.len() as u64)),
                text_cell(expires.unwrap_or_default()),
                line_cell(&shown(&entry.value).1),
            ]));
        }
        if is_last {
            break;
        }
        after = page.into_iter().last().map(|entry| entry.key);
    }
    output.table(lines)
}

/// The field that says which form it is, and the value in that form.
fn shown(value: &[u8]) -> (&'static str, String) {
    match std::str::from_utf8(value) {
        Ok(text) => ("value", text.to_string()),
        Err(_) => ("value_hex", value.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn pair(entry: &KeyValueEntry) -> Value {
    let (field, text) = shown(&entry.value);
    let mut pair = json!({"key": entry.key, field: text});
    if let Some(moment) = entry.expires_at {
        pair["expires_at"] = json!(moment);
    }
    pair
}

fn argument_or_stdin(argument: String) -> Result<Vec<u8>, CliError> {
    if argument != "-" {
        return Ok(argument.into_bytes());
    }
    let mut value = Vec::new();
    // One byte more than is allowed tells that there are more, however many.
    io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|source| CliError::file("read", "stdin".as_ref(), source))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(CliError::usage(
            format!("the value on stdin is larger than {VALUE_BYTES_MAX} bytes, the largest that a key can have"),
            "keep it in a file, and its name under the key",
        ));
    }
    Ok(value)
}
