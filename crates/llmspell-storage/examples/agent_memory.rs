//! The memory of an agent: shared knowledge, its user's notes, and the current session.
//!
//! ```text
//! cargo run --release -p llmspell-storage --example agent_memory
//! ```
//!
//! Three scopes of one space, searched together: the book of the Rust project (global), what Ada read in the last
//! months (hers), and what this session opened an hour ago (forgotten after two seconds). The passages and their
//! embeddings are those of `data/demo`; when somebody read them is made up. What is printed is checked as well.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use llmspell_storage::{
    Filter, HNSWConfig, HNSWVectorStorage, StateScope, Timestamp, VectorEntry, VectorQuery, VectorResult,
};
use serde_json::{Value, json};

const QUESTION: &str = "What happens when a value goes out of scope?";
const SESSION_LIFETIME: Duration = Duration::from_secs(2);
const HALF_LIFE: Duration = Duration::from_secs(30 * 86_400);
const DAY_MS: i64 = 86_400_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/demo");
    let (passages, question) = (Passages::read(&folder)?, question(&folder)?);
    let scopes = [
        StateScope::Session("s-17".to_string()),
        StateScope::User("ada".to_string()),
        StateScope::Global,
    ];
    let [session, ada, global] = &scopes;

    // Fields that hold dates can be declared; filters compare moments there.
    let config = HNSWConfig::balanced().with_date_fields(["read_on"]);
    let memory = HNSWVectorStorage::new(passages.dim, config);
    let now = Timestamp::from(SystemTime::now());
    memory
        .insert(passages.of_book("book", global, |_| days_before(now, 600)))
        .await?;
    memory
        .insert(passages.of_book("rust-by-example", ada, |number| days_before(now, number * 37 % 120)))
        .await?;
    let opened = Instant::now();
    let looked_at = passages.of_book("nomicon", session, |_| {
        Timestamp::from_millis(now.as_millis() - 3_600_000)
    });
    let looked_at = looked_at.into_iter().map(|entry| entry.with_ttl(SESSION_LIFETIME));
    memory.insert(looked_at.collect()).await?;
    for scope in &scopes {
        println!("{:>4} memories of {scope}", memory.count(scope).await?);
    }

    println!("\n{QUESTION}");
    let query = VectorQuery::new(question, 6).with_scopes(scopes.clone());
    let by_score = memory.search(&query).await?;
    show("by score alone:", &by_score, now);
    ensure!(by_score.is_sorted_by(|a, b| a.score >= b.score), "the best come first");

    let recent = query.clone().with_recency(HALF_LIFE);
    let by_age = memory.search(&recent).await?;
    show("half of a score is left after 30 days:", &by_age, now);
    ensure!(
        by_age.is_sorted_by(|a, b| a.recency_score >= b.recency_score),
        "the best with their age come first"
    );
    ensure!(
        by_age.iter().all(|hit| hit.recency_score <= Some(hit.score)),
        "age only takes away"
    );
    let total = |hits: &[VectorResult]| hits.iter().map(|hit| age_days(hit, now)).sum::<i64>();
    ensure!(total(&by_age) < total(&by_score), "what is found is younger");

    let week_ago = days_before(now, 7);
    let this_week = memory.search(&query.clone().with_event_time_range(week_ago..)).await?;
    show("only what was read this week:", &this_week, now);
    ensure!(
        this_week.len() == 6 && this_week.iter().all(|hit| age_days(hit, now) <= 7),
        "nothing older is found"
    );
    // The same question to the metadata, where the field was declared to hold dates.
    let by_field = Filter::ge("read_on", week_ago.to_string());
    let of_ada = memory.count_matching(ada, &by_field).await?;
    let by_time: Filter = format!("@event_time >= {}", week_ago.as_millis()).parse()?;
    ensure!(
        of_ada == memory.count_matching(ada, &by_time).await? && of_ada > 0,
        "both mean one moment"
    );
    println!("  Ada read {of_ada} passages this week");

    // What a tool is handed when it may see Ada's memories and nothing else.
    let hers = memory.scoped(ada.clone())?;
    let only_hers = hers
        .search(&VectorQuery::new(query.vector.clone(), 3).with_recency(HALF_LIFE))
        .await?;
    show("a tool that may see Ada's memories only:", &only_hers, now);
    ensure!(hers.count().await? == 254, "the scope has what was put into it");

    tokio::time::sleep((SESSION_LIFETIME + Duration::from_millis(50)).saturating_sub(opened.elapsed())).await;
    let after = memory.search(&recent).await?;
    show("two seconds later the session has forgotten:", &after, now);
    ensure!(memory.count(session).await? == 0, "no memory of the session is left");
    ensure!(
        after.iter().all(|hit| hit.scope.as_ref() != Some(session)),
        "nor is one found"
    );
    ensure!(
        by_age.iter().any(|hit| hit.scope.as_ref() == Some(session)),
        "before, one was"
    );
    Ok(())
}

fn days_before(now: Timestamp, days: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis() - days * DAY_MS)
}

/// Days since somebody read it, as its metadata say.
fn age_days(hit: &VectorResult, now: Timestamp) -> i64 {
    let read_on = hit
        .metadata
        .as_ref()
        .and_then(|fields| fields["read_on"].as_str()?.parse::<Timestamp>().ok());
    read_on.map_or(i64::MAX, |moment| (now.as_millis() - moment.as_millis()) / DAY_MS)
}

fn show(title: &str, hits: &[VectorResult], now: Timestamp) {
    println!("\n{title}");
    for hit in hits {
        let with_age = hit
            .recency_score
            .map_or_else(String::new, |score| format!("{score:.3}"));
        let scope = hit
            .scope
            .as_ref()
            .map_or_else(|| "(hers)".to_string(), ToString::to_string);
        let text = hit
            .metadata
            .as_ref()
            .and_then(|fields| fields["text"].as_str())
            .unwrap_or_default();
        let text: String = text.chars().take(50).collect();
        println!(
            "  {:.3} {with_age:>6}  {:>3} days  {scope:<14}  {text}…",
            hit.score,
            age_days(hit, now)
        );
    }
}

/// The passages of the demo, with their embeddings.
struct Passages {
    rows: Vec<Value>,
    vectors: Vec<f32>,
    dim: usize,
}

impl Passages {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let (vectors, dim) = read_npy(&folder.join("passages.npy"))?;
        Ok(Self {
            rows: read_lines(&folder.join("passages.jsonl"))?,
            vectors,
            dim,
        })
    }

    /// The passages of a book as memories of a scope; `read_on` says when each was read.
    fn of_book(&self, book: &str, scope: &StateScope, read_on: impl Fn(i64) -> Timestamp) -> Vec<VectorEntry> {
        let rows = self.rows.iter().zip(self.vectors.chunks_exact(self.dim));
        let of_book = rows.filter(|(row, _)| row["scope"] == book);
        (0..)
            .zip(of_book)
            .map(|(number, (row, vector))| {
                let moment = read_on(number);
                let metadata = json!({"text": row["metadata"]["text"], "read_on": moment});
                VectorEntry::new(row["id"].as_str().unwrap_or_default(), vector.to_vec())
                    .with_scope(scope.clone())
                    .with_event_time(moment)
                    .with_metadata(metadata)
            })
            .collect()
    }
}

fn question(folder: &Path) -> anyhow::Result<Vec<f32>> {
    let (vectors, dim) = read_npy(&folder.join("questions.npy"))?;
    let questions = read_lines(&folder.join("questions.jsonl"))?;
    let place = questions.iter().position(|row| row["question"] == QUESTION);
    let place = place.context("the question is not in questions.jsonl")?;
    Ok(vectors[place * dim..][..dim].to_vec())
}

fn read_lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The rows of an array of floats of two or four bytes, one after the other, and their length.
fn read_npy(path: &Path) -> anyhow::Result<(Vec<f32>, usize)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        bytes.len() > 10 && bytes.starts_with(b"\x93NUMPY\x01"),
        "{} is no array",
        path.display()
    );
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(bytes.get(10..end).context("the header is cut off")?).into_owned();
    let columns = header
        .split_once("'shape': (")
        .and_then(|(_, shape)| shape.split([',', ')']).nth(1));
    let columns = columns
        .and_then(|columns| columns.trim().parse().ok())
        .context("the header has no shape")?;
    let data = &bytes[end..];
    let numbers = if header.contains("'<f2'") {
        data.as_chunks()
            .0
            .iter()
            .map(|half| from_half(u16::from_le_bytes(*half)))
            .collect()
    } else {
        data.as_chunks()
            .0
            .iter()
            .map(|float| f32::from_le_bytes(*float))
            .collect()
    };
    Ok((numbers, columns))
}

/// A float of two bytes: sign, exponent of 5 bits, 10 bits behind the point.
fn from_half(half: u16) -> f32 {
    let (exponent, fraction) = (i32::from((half >> 10) & 31), f32::from(half & 1023) / 1024.0);
    let size = match exponent {
        0 => fraction * 2.0_f32.powi(-14),
        _ => (1.0 + fraction) * 2.0_f32.powi(exponent - 15),
    };
    if half >> 15 == 1 { -size } else { size }
}
