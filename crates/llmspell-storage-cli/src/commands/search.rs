//! `search`: what is nearest?

use std::path::{Path, PathBuf};

use clap::Args;
use llmspell_storage::limits::K_MAX;
use llmspell_storage::{Filter, HNSWVectorStorage, Scalar, StateScope, StorageError, VectorQuery, VectorStorage};
use serde_json::{Value, json};

use super::entry_view::summary;
use crate::errors::{CliError, FILTER_HINT, Place};
use crate::input::Source;
use crate::input::npy::NpyReader;
use crate::output::{Output, number_cell, one_line, row, table, text_cell};
use crate::session::Session;

const AFTER_HELP: &str = r#"Examples:
  llmspell-storage --db memory.db --scope user:ada search --vector question.npy -k 5
  echo '[0.1, 0.2]' | llmspell-storage --db memory.db search --vector -
  llmspell-storage --db memory.db search --like note-7 --filter lang=en --filter year=2026
  llmspell-storage --db memory.db search --like note-7 --filter lang=en --explain
  llmspell-storage --db memory.db search --like note-7 \
    --filter '{"in": {"field": "lang", "values": ["en", "de"]}}'"#;

/// Find the nearest entries of a scope
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SearchArgs {
    /// Vector to search with: a JSON array, or the first row of an .npy file; - reads it from stdin
    #[arg(long, value_name = "FILE", required_unless_present = "like", conflicts_with = "like")]
    vector: Option<PathBuf>,

    /// Search with the vector of this entry of the scope; it is left out of the answer
    #[arg(long, value_name = "ID")]
    like: Option<String>,

    /// Only entries whose metadata match: FIELD=VALUE, or JSON; all of them, if several are given
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,

    /// How many entries
    #[arg(short, value_name = "COUNT", default_value_t = 10, value_parser = parse_k)]
    k: usize,

    /// Lowest score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f32>,

    /// Width of the beam; wider finds more of the true neighbors
    #[arg(long, value_name = "COUNT")]
    ef: Option<usize>,

    /// Compare with every entry: slow in large scopes, and never misses
    #[arg(long)]
    exact: bool,

    /// Search, and print how it was done instead of what was found: what matches, the paths, counts and times
    #[arg(long)]
    explain: bool,

    /// With --json: print the vectors too
    #[arg(long)]
    vectors: bool,
}

pub(crate) async fn run(args: SearchArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filters = args
        .filters
        .iter()
        .map(|text| parse_filter(text))
        .collect::<Result<Vec<_>, _>>()?;
    let given = args.vector.as_deref().map(read_vector).transpose()?;
    let database = session.open_existing().await?;
    let store = session.vectors(&database).await?;
    let scope = session.scope();
    let (vector, k) = match (given, &args.like) {
        (Some(vector), _) => (vector, args.k),
        // One more, for the entry itself.
        (None, Some(id)) => (stored_vector(&store, &scope, id).await?, (args.k + 1).min(K_MAX)),
        (None, None) => unreachable!("the arguments require one of the two"),
    };

    let mut query = VectorQuery::new(vector, k)
        .with_scope(scope)
        .with_exact(args.exact)
        .with_vectors(args.vectors && output.is_json());
    query.threshold = args.threshold;
    query.ef_search = args.ef.map(|ef| if ef == args.k { k } else { ef });
    query.filter = (!filters.is_empty()).then(|| Filter::all_of(filters));

    if args.explain {
        let plan = store.explain(&query).await?;
        output.object(&plan)?;
        return output.text(plan.to_string());
    }
    let mut results = store.search(&query).await?;
    results.retain(|result| args.like.as_ref() != Some(&result.id));
    results.truncate(args.k);

    let mut lines = table(["", "id", "score", "metadata"]);
    for (place, result) in results.iter().enumerate() {
        let rank = place + 1;
        let mut object = serde_json::to_value(result).map_err(StorageError::from)?;
        object["rank"] = json!(rank);
        output.object(&object)?;
        let fields = result.metadata.as_ref().map(summary).unwrap_or_default();
        lines.add_row(row([
            number_cell(rank),
            text_cell(one_line(&result.id, 40)),
            number_cell(format!("{:.4}", result.score)),
            text_cell(one_line(&fields, 120)),
        ]));
    }
    if results.is_empty() {
        output.text("nothing matches")?;
    } else {
        output.table(lines)?;
    }
    Ok(())
}

async fn stored_vector(store: &HNSWVectorStorage, scope: &StateScope, id: &str) -> Result<Vec<f32>, CliError> {
    let entry = store.get(scope, id).await?;
    let entry = entry.ok_or_else(|| StorageError::NotFound { id: id.to_string() })?;
    Ok(entry.embedding)
}

fn parse_k(text: &str) -> Result<usize, String> {
    let k = text.parse().ok().filter(|k| (1..=K_MAX).contains(k));
    k.ok_or_else(|| format!("write a number from 1 to {K_MAX}"))
}

/// `FIELD=VALUE` (the value as JSON if it is that, else as text), or the JSON form of a filter.
fn parse_filter(text: &str) -> Result<Filter, CliError> {
    let invalid = |reason: String| CliError::Usage {
        message: format!("bad filter: {reason}"),
        hint: FILTER_HINT.into(),
    };
    if text.trim_start().starts_with('{') {
        let json = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        return Ok(Filter::from_json(&json).map_err(StorageError::from)?);
    }
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => {
            let value = match serde_json::from_str::<Value>(value) {
                Ok(json) => Scalar::try_from(&json).map_err(|error| invalid(error.to_string()))?,
                Err(_) => Scalar::from(value),
            };
            let filter = Filter::eq(field, value);
            filter.validate().map_err(StorageError::from)?;
            Ok(filter)
        }
        Some(_) | None => Err(invalid(format!(
            "`{}` is neither FIELD=VALUE nor JSON",
            one_line(text, 60)
        ))),
    }
}

fn read_vector(path: &Path) -> Result<Vec<f32>, CliError> {
    let mut source = Source::open(path)?;
    let name = source.name.clone();
    let mut bytes = Vec::new();
    let is_array = path.extension().is_some_and(|ending| ending == "npy");
    if !is_array {
        source
            .reader
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::file("read", name.as_ref(), error))?;
    }
    if is_array || bytes.starts_with(b"\x93NUMPY") {
        let source = if is_array {
            source
        } else {
            let len_bytes = Some(bytes.len() as u64);
            let reader = Box::new(std::io::Cursor::new(bytes));
            Source {
                reader,
                name: name.clone(),
                len_bytes,
            }
        };
        return NpyReader::new(source)?.next_row()?.ok_or_else(|| CliError::Input {
            source_name: name,
            place: Some(Place::Row(0)),
            reason: "the array has no rows".into(),
            hint: "write at least one".into(),
        });
    }
    serde_json::from_slice(&bytes).map_err(|error| CliError::Input {
        source_name: name,
        place: None,
        reason: format!("no JSON array of numbers: {error}"),
        hint: "write [0.1, 0.2, …], or name an .npy file".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_short_or_json() {
        assert_eq!(parse_filter("lang=en").unwrap(), Filter::eq("lang", "en"));
        assert_eq!(parse_filter("year=2026").unwrap(), Filter::eq("year", 2026));
        assert_eq!(parse_filter("year=\"2026\"").unwrap(), Filter::eq("year", "2026"));
        assert_eq!(parse_filter("note=a=b").unwrap(), Filter::eq("note", "a=b"));
        assert_eq!(parse_filter("gone=null").unwrap(), Filter::eq("gone", Scalar::Null));
        let json = r#"{"in": {"field": "lang", "values": ["en"]}}"#;
        assert_eq!(parse_filter(json).unwrap(), Filter::is_in("lang", ["en"]));
        for text in ["lang", "=en", "{\"like\": 1}", "{", "tags=[1]", "a..b=1", ""] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
    }
}
