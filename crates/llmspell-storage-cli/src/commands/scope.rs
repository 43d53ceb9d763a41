//! `scope`: lists, limits and removes scopes.

use std::cmp::Ordering;
use std::io::{self, BufRead, IsTerminal, Write};

use clap::{Args, Subcommand, ValueEnum};
use llmspell_storage::{Database, QuotaStatus, ScopeKind, ScopedStats, SpaceRole, StateScope};
use serde_json::json;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::opened::Opened;
use llmspell_cli_base::output::{Output, bytes_text, counted, grouped, number_cell, row, table, text_cell};
use llmspell_cli_base::scope_arg::ScopeArg;

/// List, limit or remove scopes
#[derive(Debug, Subcommand)]
pub(crate) enum ScopeCommand {
    /// List the scopes that hold vectors, in every space or in that of --space or --model
    Ls(ListArgs),
    /// Show or change how much a scope may hold, in all spaces together; limits that are not named stay as they are
    Quota(QuotaArgs),
    /// Remove everything of some scopes, or of all of a kind, at once: their vectors in every space, and their key-value data
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What comes first: the name in the order of its letters, or what there is most of
    #[arg(long, value_enum, default_value = "name")]
    sort: Sort,

    /// The limit
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// By scope, then by space
    Name,
    /// Bytes of vectors and metadata, most first
    Size,
    /// Vectors, most first
    Vectors,
}

impl Sort {
    /// Equal ones in the order of their names.
    fn sort(self, scopes: &mut [(String, String, ScopedStats)]) {
        let size = |stats: &ScopedStats| stats.vector_bytes + stats.metadata_bytes;
        scopes.sort_by(|(scope, space, stats), (other_scope, other_space, other_stats)| {
            let by_amount = match self {
                Self::Name => Ordering::Equal,
                Self::Size => size(other_stats).cmp(&size(stats)),
                Self::Vectors => other_stats.vectors.cmp(&stats.vectors),
            };
            by_amount.then_with(|| (scope, space).cmp(&(other_scope, other_space)))
        });
    }
}

#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    /// Scope whose quota it is; it need not exist yet
    name: ScopeArg,

    /// Most entries
    #[arg(long, value_name = "COUNT")]
    vectors: Option<u64>,

    /// Most bytes of vectors, 4 for each component
    #[arg(long, value_name = "COUNT")]
    bytes: Option<u64>,

    /// Most bytes of metadata, as compact JSON
    #[arg(long, value_name = "COUNT")]
    metadata_bytes: Option<u64>,

    /// Most bytes of key-value data, keys and values
    #[arg(long, value_name = "COUNT")]
    kv_bytes: Option<u64>,

    /// Remove the quota
    #[arg(long, conflicts_with_all = ["vectors", "bytes", "metadata_bytes", "kv_bytes"])]
    none: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Scopes to remove; with --space or --model, only their vectors there
    #[arg(value_name = "SCOPE", required_unless_present = "kind", conflicts_with = "kind")]
    names: Vec<ScopeArg>,

    /// Remove all scopes of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// A kind of scopes, as in their text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Global,
    User,
    Session,
    Agent,
    Tool,
    Workflow,
    Hook,
    Custom,
}

impl From<Kind> for ScopeKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Global => Self::Global,
            Kind::User => Self::User,
            Kind::Session => Self::Session,
            Kind::Agent => Self::Agent,
            Kind::Tool => Self::Tool,
            Kind::Workflow => Self::Workflow,
            Kind::Hook => Self::Hook,
            Kind::Custom => Self::Custom,
        }
    }
}

pub(crate) async fn run(command: ScopeCommand, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    match command {
        ScopeCommand::Ls(args) => list(&args, &session.open_existing().await?, session, output).await,
        ScopeCommand::Quota(args) => quota(&args, &session.open_here("scope quota").await?, output).await,
        ScopeCommand::Rm(args) => remove(&args, &session.open_here("scope rm").await?, session, output).await,
    }
}

/// The space that is named, or all spaces except those of copies: copies go with their originals.
async fn spaces(database: &Opened, session: &Session<'_>) -> Result<Vec<String>, CliError> {
    if session.names_space() {
        let store = session.vectors(database).await?;
        return Ok(vec![store.space_name().to_string()]);
    }
    let mut spaces = database.spaces().await?;
    spaces.retain(|space| matches!(space.role, SpaceRole::Plain | SpaceRole::Routed));
    Ok(spaces.into_iter().map(|space| space.name).collect())
}

async fn list(args: &ListArgs, database: &Opened, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let mut scopes = Vec::new();
    for space in spaces(database, session).await? {
        let Some(store) = database.existing_vectors(&space).await? else {
            continue;
        };
        for scope in store.scopes().await? {
            let stats = store.stats_for_scope(&scope).await?;
            scopes.push((scope.to_string(), space.clone(), stats));
        }
    }
    args.sort.sort(&mut scopes);
    scopes.truncate(args.limit.unwrap_or(usize::MAX));
    let mut lines = table([
        "scope",
        "space",
        "vectors",
        "vector bytes",
        "metadata bytes",
        "of quota",
    ]);
    for (scope, space, stats) in scopes {
        output.object(&json!({
            "scope": scope, "space": space, "vectors": stats.vectors,
            "vector_bytes": stats.vector_bytes, "metadata_bytes": stats.metadata_bytes, "quota": stats.quota,
        }))?;
        lines.add_row(row([
            text_cell(scope),
            text_cell(&space),
            number_cell(grouped(stats.vectors)),
            number_cell(bytes_text(stats.vector_bytes)),
            number_cell(bytes_text(stats.metadata_bytes)),
            number_cell(stats.quota.as_ref().map(fullest_text).unwrap_or_default()),
        ]));
    }
    output.table(lines)
}

async fn quota(args: &QuotaArgs, database: &Database, output: &mut Output) -> Result<(), CliError> {
    let scope = &args.name.0;
    if args.none {
        database.remove_quota(scope).await?;
    } else if [args.vectors, args.bytes, args.metadata_bytes, args.kv_bytes]
        .iter()
        .any(Option::is_some)
    {
        let mut quota = database
            .quota(scope)
            .await?
            .map(|status| status.quota)
            .unwrap_or_default();
        quota.vectors = args.vectors.or(quota.vectors);
        quota.vector_bytes = args.bytes.or(quota.vector_bytes);
        quota.metadata_bytes = args.metadata_bytes.or(quota.metadata_bytes);
        quota.kv_bytes = args.kv_bytes.or(quota.kv_bytes);
        database.set_quota(scope, quota).await?;
    }
    let status = database.quota(scope).await?;
    output.object(&json!({"scope": scope.to_string(), "quota": status}))?;
    let Some(status) = status else {
        return output.text(format!("{scope} has no quota"));
    };
    let mut lines = table(["", "used", "limit"]);
    for (name, used, limit) in quota_rows(&status) {
        lines.add_row(row([text_cell(name), number_cell(used), number_cell(limit)]));
    }
    output.table(lines)
}

/// What is limited, how much of it is used, and how much may be.
pub(crate) fn quota_rows(status: &QuotaStatus) -> [(&'static str, String, String); 4] {
    let QuotaStatus { quota, used, .. } = status;
    let text = |limit: Option<u64>, text: fn(u64) -> String| limit.map_or("none".to_string(), text);
    [
        ("vectors", grouped(used.vectors), text(quota.vectors, grouped)),
        (
            "vector bytes",
            bytes_text(used.vector_bytes),
            text(quota.vector_bytes, bytes_text),
        ),
        (
            "metadata bytes",
            bytes_text(used.metadata_bytes),
            text(quota.metadata_bytes, bytes_text),
        ),
        (
            "key-value bytes",
            bytes_text(used.kv_bytes),
            text(quota.kv_bytes, bytes_text),
        ),
    ]
}

/// The share of the limit that is nearest to its end, as whole percent.
fn fullest_text(status: &QuotaStatus) -> String {
    let QuotaStatus { quota, used, .. } = status;
    let shares = [
        (used.vectors, quota.vectors),
        (used.vector_bytes, quota.vector_bytes),
        (used.metadata_bytes, quota.metadata_bytes),
        (used.kv_bytes, quota.kv_bytes),
    ];
    let percent = |(used, limit): (u64, Option<u64>)| Some(u128::from(used) * 100 / u128::from(limit?.max(1)));
    let fullest = shares.into_iter().filter_map(percent).max();
    fullest.map_or_else(String::new, |percent| format!("{percent} %"))
}

async fn remove(
    args: &RemoveArgs,
    database: &Database,
    session: &Session<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let scopes: Vec<StateScope> = args.names.iter().map(|name| name.0.clone()).collect();
    let kind = args.kind.map(ScopeKind::from);
    let what = match (kind, scopes.as_slice()) {
        (Some(kind), _) => format!("all scopes of kind {}", kind.name()),
        (None, [scope]) => scope.to_string(),
        (None, scopes) => format!("{} scopes", scopes.len()),
    };
    if !args.yes && !confirmed(&what, "a scope")? {
        return Err(CliError::usage(
            format!("nothing was removed of {what}"),
            "answer y, or give --yes",
        ));
    }
    let is_known = kind.is_some() || any_listed(&scopes, database, session).await?;
    let (vectors, keys) = if session.names_space() {
        let store = session.vectors_here(database).await?;
        let vectors = match kind {
            Some(kind) => store.delete_scopes_of_kind(kind).await?,
            None => store.delete_scopes(&scopes).await?,
        };
        (vectors, 0)
    } else {
        let removed = match kind {
            Some(kind) => database.delete_scopes_of_kind(kind).await?,
            None => database.delete_scopes(&scopes).await?,
        };
        (removed.vectors, removed.keys)
    };
    if !is_known && vectors + keys == 0 {
        return Err(CliError::NotFound {
            message: format!("there is nothing of {what}"),
            hint: "`scope ls` lists the scopes that hold vectors".into(),
        });
    }
    let names: Vec<String> = scopes.iter().map(StateScope::to_string).collect();
    let mut line = match (kind, names.as_slice()) {
        (Some(kind), _) => json!({"kind": kind.name()}),
        (None, [scope]) => json!({"scope": scope}),
        (None, scopes) => json!({"scopes": scopes}),
    };
    (line["vectors"], line["keys"]) = (json!(vectors), json!(keys));
    output.object(&line)?;
    let vectors = counted(vectors, "vector", "vectors");
    output.text(format!(
        "{vectors} and {} of {what} removed",
        counted(keys, "key", "keys")
    ))
}

/// Whether any of the scopes is listed in a space that is looked at.
async fn any_listed(scopes: &[StateScope], database: &Database, session: &Session<'_>) -> Result<bool, CliError> {
    let database = Opened::from(database);
    for space in spaces(&database, session).await? {
        if let Some(store) = database.existing_vectors(&space).await?
            && store.scopes().await?.iter().any(|scope| scopes.contains(scope))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the user at the terminal confirms the removal of everything of `what`, which is one `thing`.
pub(super) fn confirmed(what: &str, thing: &str) -> Result<bool, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::usage(
            format!("there is no terminal to confirm the removal of {thing}"),
            "add --yes",
        ));
    }
    let ask = || -> io::Result<String> {
        let mut stderr = io::stderr();
        write!(stderr, "Remove everything of {what}? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|source| CliError::system("cannot ask", source))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
