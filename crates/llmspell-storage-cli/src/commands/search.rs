//! `search`: finds the nearest entries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use llmspell_storage::limits::K_MAX;
use llmspell_storage::{
    Fusion, Snippet, SparseVector, StateScope, StorageError, TimeRange, Timestamp, VectorEntry, VectorQuery,
    VectorResult,
};
use serde_json::json;

use super::embedder::{Embedder, Expected, Job, QUERY_PROTOCOL, Question};
use super::entry_view::summary;
use crate::filter_arg::FilterArgs;
use crate::session::Session;

const EXAMPLES: &str = r#"Examples:
  llmspell-storage --db memory.db --scope user:ada search --vector question.npy -k 5
  llmspell-storage --db memory.db search --vector '[0.1, 0.2]'
  llmspell-storage --db memory.db search --embed 'What does Ada drink?' --with 'python embed.py'
  llmspell-storage --db memory.db search --text 'HNSWConfig "recall target" -benchmark title:graph'
  llmspell-storage --db memory.db search --text 'E0308 borrow*' --vector question.npy --fusion rrf:60
  llmspell-storage --db memory.db search --text 'borrow' --sparse 'splade={"indices": [7], "values": [1.5]}'
  llmspell-storage --db memory.db search --like note-7 --filter lang=en --filter year=2026
  llmspell-storage --db memory.db search --vector question.npy --scope session:s-17 --scope user:ada --scope global
  llmspell-storage --db memory.db search --vector question.npy --model text-embedding-3-small
  llmspell-storage --db memory.db search --like note-7 --filter lang=en --explain
  llmspell-storage --db memory.db search --like note-7 --recency 7d --event-from 2026-11-01
  llmspell-storage --db memory.db search --like note-7 \
    --filter '{"in": {"field": "lang", "values": ["en", "de"]}}'"#;

const WORDS: &str = r#"Words of --text:
  graph index        entries with one of the words; both count more
  "graph index"      only entries with the words one behind the other
  -graph             only entries without the word; also -"graph index"
  gra*               words that begin so
  title:graph        the same in a field that the space indexes; @text:graph in the text of the entry
What has none of these forms is words, so nothing that is typed is refused."#;

/// Bytes of the snippets of a table, and of those of --json unless --snippet says otherwise.
const SNIPPET_BYTES: usize = 100;

const JOB: Job = Job {
    hint: "mend the command; `search --help` says what it reads and writes",
    doubt: "the first vector may not be that of the text",
};
use llmspell_cli_base::errors::{CliError, Place};
use llmspell_cli_base::input::Source;
use llmspell_cli_base::input::fits::Fits;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::opened::{Opened, Space};
use llmspell_cli_base::output::{Output, line_cell, number_cell, row, table};
use llmspell_cli_base::time_arg::{parse_duration, parse_moment};

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{WORDS}\n\n{QUERY_PROTOCOL}")
}

/// Find the nearest entries of a scope, or of several, by a vector, by words, by sparse vectors, or by several of these
#[derive(Debug, Args)]
#[command(after_help = after_help(), group = ArgGroup::new("vector_side"), group = ArgGroup::new("asked").required(true).multiple(true))]
pub(crate) struct SearchArgs {
    /// Vector to search with: a JSON array such as '[0.1, 0.2]', a file of one, or the first row of an .npy file; - reads
    /// it from stdin
    #[arg(long, value_name = "VECTOR", groups = ["asked", "vector_side"])]
    vector: Option<PathBuf>,

    /// Search with the vector of this entry, of the first scope that has it; it is left out of the answer
    #[arg(long, value_name = "ID", groups = ["asked", "vector_side"])]
    like: Option<String>,

    /// Search with the vector that the command of --with makes of this text
    #[arg(long, value_name = "TEXT", groups = ["asked", "vector_side"], requires = "with")]
    embed: Option<String>,

    /// Search for words, as below, alone or with a vector; a space indexes words from `import --text-field` on
    #[arg(long, value_name = "WORDS", group = "asked")]
    text: Option<String>,

    /// Search for a sparse vector too: its name, =, and JSON such as '{"indices": [1012], "values": [1.5]}' or a file of it; may
    /// be given several times, each with another name
    #[arg(long, value_name = "SPARSE", group = "asked")]
    sparse: Vec<String>,

    /// How the rankings by vector, words and sparse vectors become one: rrf, rrf:K, dbsf, or for two linear:ALPHA with the
    /// share of the first from 0 to 1 [default: rrf:10]
    #[arg(long, value_name = "FUSION")]
    fusion: Option<Fusion>,

    /// Most bytes of the part of its text that each result shows [default: 100]
    #[arg(long, value_name = "BYTES", requires = "text")]
    snippet: Option<usize>,

    /// Command that makes a vector of a text, with its arguments; it is asked as below
    #[arg(long, value_name = "COMMAND", requires = "embed", conflicts_with_all = ["vector", "like"])]
    with: Option<String>,

    #[command(flatten)]
    filters: FilterArgs,

    /// How many entries
    #[arg(short, value_name = "COUNT", default_value_t = 10, value_parser = parse_k)]
    k: usize,

    /// Lowest score; with words and a vector, lowest score of the vectors that are found by theirs
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f32>,

    /// Rank by score and age: half of a score is left after this time, such as 7d, 12h or 30min
    #[arg(long, value_name = "HALF-LIFE", value_parser = parse_duration)]
    recency: Option<Duration>,

    /// Only entries whose event time is this or later: a date, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_negative_numbers = true)]
    event_from: Option<Timestamp>,

    /// Only entries whose event time is earlier than this
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_negative_numbers = true)]
    event_to: Option<Timestamp>,

    /// Only entries that were first stored then or later
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_negative_numbers = true)]
    ingested_from: Option<Timestamp>,

    /// Only entries that were first stored earlier than this
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_negative_numbers = true)]
    ingested_to: Option<Timestamp>,

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

    /// With --json: print the texts too
    #[arg(long)]
    texts: bool,
}

pub(crate) async fn run(args: SearchArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filter = args.filters.filter()?;
    let given = args.vector.as_deref().map(read_vector).transpose()?;
    let sparse = read_sparse(&args.sparse)?;
    let has_vector = given.is_some() || args.like.is_some() || args.embed.is_some();
    if args.fusion.is_some() && usize::from(has_vector) + usize::from(args.text.is_some()) + sparse.len() < 2 {
        return Err(CliError::usage(
            "--fusion makes one ranking of several",
            "give two of --text, --sparse, and --vector, --like or --embed",
        ));
    }
    let database = session.open_existing().await?;
    let store = session.vectors(&database).await?;
    let storage = session.storage(&database, &store).await?;
    args.filters.check(store.config().date_fields())?;
    let scopes = session.named_scopes();
    let has_several = scopes.len() > 1;
    let (vector, like, k) = match (given, &args.like) {
        (Some(vector), _) => (vector, None, args.k),
        (None, None) if args.embed.is_none() => (Vec::new(), None, args.k),
        (None, Some(id)) => {
            let (scope, vector) = stored_vector(&store, session, id).await?;
            // One more, for the entry itself.
            (vector, Some((scope, id)), (args.k + 1).min(K_MAX))
        }
        (None, None) => (embedded(&args, &database, &store, session).await?, None, args.k),
    };

    let mut query = VectorQuery::new(vector, k)
        .with_scope(session.scope())
        .with_exact(args.exact)
        .with_vectors(args.vectors && output.is_json())
        .with_texts(args.texts && output.is_json());
    query.text.clone_from(&args.text);
    query.sparse = sparse;
    query.fusion = args.fusion;
    query.snippets = snippet_bytes(&args, &store);
    query.model = session.model().map(str::to_string);
    if has_several {
        query = query.with_scopes(scopes);
    }
    query.threshold = args.threshold;
    query.ef_search = args.ef.map(|ef| if ef == args.k { k } else { ef });
    query.filter = filter;
    query.recency = args.recency;
    query.event_time = range(args.event_from, args.event_to);
    query.ingested = range(args.ingested_from, args.ingested_to);

    if args.snippet.is_some() && query.snippets.is_none() {
        query.snippets = args.snippet;
    }
    if args.explain {
        let plan = storage.explain(&query).await?;
        output.object(&plan)?;
        output.text(plan.to_string())?;
        return session.note_empty_scopes(&store).await;
    }
    let mut results = storage.search(&query).await?;
    if let Some((scope, id)) = like {
        results.retain(|result| result.id != *id || result.scope.as_ref().is_some_and(|other| *other != scope));
    }
    results.truncate(args.k);

    let mut titles = vec!["", "id", "score"];
    let sides = Side::of(&query);
    titles.extend(sides.iter().map(|side| side.title.as_str()));
    if args.recency.is_some() {
        titles.push("with age");
    }
    titles.push(if query.snippets.is_some() { "text" } else { "metadata" });
    if has_several {
        titles.insert(1, "scope");
    }
    let mut lines = table(titles);
    for (place, result) in results.iter().enumerate() {
        let rank = place + 1;
        let mut object = serde_json::to_value(result).map_err(StorageError::from)?;
        object["rank"] = json!(rank);
        let scope = result.scope.as_ref().map(ToString::to_string);
        if let Some(scope) = &scope {
            object["scope"] = json!(scope);
        }
        output.object(&object)?;
        let fields = result.metadata.as_ref().map(summary).unwrap_or_default();
        let about = result.snippet.as_ref().map_or(fields, marked);
        let scope = scope.map(|scope| line_cell(&scope));
        let score_cell = |score: f32| number_cell(format!("{score:.4}"));
        let found = [line_cell(&result.id), score_cell(result.score)];
        let side_cell = |score: Option<f32>| score.map_or_else(|| number_cell("-"), score_cell);
        let cells = [number_cell(rank)]
            .into_iter()
            .chain(scope)
            .chain(found)
            .chain(sides.iter().map(|side| side_cell((side.score)(result, &side.name))))
            .chain(result.recency_score.map(score_cell))
            .chain([line_cell(&about)]);
        lines.add_row(row(cells));
    }
    if results.is_empty() {
        output.text("nothing matches")?;
        session.note_empty_scopes(&store).await?;
    } else {
        output.table(lines)?;
    }
    Ok(())
}

/// The vector that the command makes of the text of `--embed`.
async fn embedded(
    args: &SearchArgs,
    database: &Opened,
    store: &Space,
    session: &Session<'_>,
) -> Result<Vec<f32>, CliError> {
    let (Some(text), Some(command)) = (&args.embed, &args.with) else {
        unreachable!("--embed requires the command");
    };
    if text.trim().is_empty() {
        return Err(CliError::usage(
            "the text of --embed is blank",
            "say what to search for",
        ));
    }
    let fits = Fits::of(database, store).await?;
    let mut embedder = Embedder::new(command, Expected::Of(fits.clone()), JOB);
    let vector = tokio::task::block_in_place(|| {
        let vectors = embedder.embed(&[Question::query(text, session.scope())])?;
        embedder.finish()?;
        Ok::<_, CliError>(vectors.into_iter().next().expect("one question has one answer"))
    })?;
    match session.model() {
        // The router cuts it.
        Some(_) => Ok(vector),
        None => Ok(fits.kept(&VectorEntry::new("query", vector))?),
    }
}

/// A side of a hybrid search, as a column of the table.
struct Side {
    title: String,
    /// Of a sparse vector.
    name: String,
    score: fn(&VectorResult, &str) -> Option<f32>,
}

impl Side {
    /// Those of a query; none if it has only one.
    fn of(query: &VectorQuery) -> Vec<Self> {
        if !query.is_hybrid() {
            return Vec::new();
        }
        let side = |title: String, name: &str, score| Self {
            title,
            name: name.to_string(),
            score,
        };
        let vector: fn(&VectorResult, &str) -> Option<f32> = |result, _| result.vector_score;
        let words: fn(&VectorResult, &str) -> Option<f32> = |result, _| result.text_score;
        let sparse: fn(&VectorResult, &str) -> Option<f32> = |result, name| result.sparse_scores.get(name).copied();
        let vector = (!query.vector.is_empty()).then(|| side("by vector".into(), "", vector));
        let words = query.text.as_ref().map(|_| side("by words".into(), "", words));
        let by_sparse = query.sparse.keys().map(|name| side(format!("by {name}"), name, sparse));
        vector.into_iter().chain(words).chain(by_sparse).collect()
    }
}

/// The sparse vectors of `--sparse`, by their names.
fn read_sparse(given: &[String]) -> Result<BTreeMap<String, SparseVector>, CliError> {
    const HINT: &str = r#"write NAME={"indices": […], "values": […]}, or NAME=FILE"#;
    let mut vectors = BTreeMap::new();
    for argument in given {
        let (name, value) = argument
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--sparse {argument} has no name"), HINT))?;
        let json = match value.trim_start().starts_with('{') {
            true => value.to_string(),
            false => std::fs::read_to_string(value).map_err(|error| CliError::file("read", Path::new(value), error))?,
        };
        let vector = serde_json::from_str(&json)
            .map_err(|error| CliError::usage(format!("--sparse {name} is no sparse vector: {error}"), HINT))?;
        if vectors.insert(name.to_string(), vector).is_some() {
            return Err(CliError::usage(
                format!("--sparse {name} is given twice"),
                "give each name once",
            ));
        }
    }
    Ok(vectors)
}

/// The bytes of snippets: none without words, or where the space has no texts to show.
fn snippet_bytes(args: &SearchArgs, store: &Space) -> Option<usize> {
    let texts = store.config().texts()?;
    let has_texts = texts.keep() || !texts.fields().is_empty();
    args.text.as_ref().filter(|_| has_texts)?;
    Some(args.snippet.unwrap_or(SNIPPET_BYTES))
}

/// A snippet with its matches between asterisks.
fn marked(snippet: &Snippet) -> String {
    let mut text = snippet.text.clone();
    for word in snippet.matches.iter().rev() {
        text.insert(word.end, '*');
        text.insert(word.start, '*');
    }
    text
}

/// A range that begins or ends, or does both; none if it does neither.
fn range(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<TimeRange> {
    (from.is_some() || to.is_some()).then_some(TimeRange { from, to })
}

/// The vector of an entry, and the scope that it is in: the first one of `--scope` that has the id.
async fn stored_vector(store: &Space, session: &Session<'_>, id: &str) -> Result<(StateScope, Vec<f32>), CliError> {
    for scope in session.scopes() {
        if let Some(entry) = store.get(&scope, id).await? {
            if entry.embedding.is_empty() {
                return Err(StorageError::NoVector { id: id.to_string() }.into());
            }
            return Ok((scope, entry.embedding));
        }
    }
    Err(session.no_entry(store, id).await?)
}

fn parse_k(text: &str) -> Result<usize, String> {
    let k = text.parse().ok().filter(|k| (1..=K_MAX).contains(k));
    k.ok_or_else(|| format!("write a number from 1 to {K_MAX}"))
}

fn read_vector(path: &Path) -> Result<Vec<f32>, CliError> {
    if let Some(text) = path.to_str().filter(|text| text.starts_with('['))
        && !path.exists()
    {
        return json_vector(text.as_bytes(), "--vector".into());
    }
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
    json_vector(&bytes, name)
}

fn json_vector(bytes: &[u8], source_name: String) -> Result<Vec<f32>, CliError> {
    serde_json::from_slice(bytes).map_err(|error| CliError::Input {
        source_name,
        place: None,
        reason: format!("no JSON array of numbers: {error}"),
        hint: "write [0.1, 0.2, …], or name an .npy file".into(),
    })
}
