//! How good are the answers by words, by vectors, and by both?
//!
//! `cargo run --release -p llmspell-bench --features measure --example words_quality [DIR]`: the passages and judged questions of `data/demo`, unless
//! another directory is named. All passages go to one scope of a store in RAM, with and without an English stemmer. Prints
//! nDCG@10 with the gains 1 and 3 of helpful and answering passages, the mean of the questions with at least one, and how
//! many of the questions that a passage answers have one among the first five.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use llmspell_cli_base::input::arrays::{ArrayRows, Vectors};
use llmspell_cli_base::input::jsonl::RowRules;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::input::{RowSource, Step};
use llmspell_storage::{
    AnalyzerConfig, Fusion, HNSWConfig, HNSWVectorStorage, Language, StateScope, TextConfig, VectorQuery,
};
use serde::Deserialize;

const K: usize = 10;
const BATCH: usize = 1_000;

#[derive(Deserialize)]
struct Judged {
    question: String,
    kind: String,
    /// Its row in `questions.npy`.
    embedded: Option<usize>,
    /// 1 helps, 2 answers.
    grades: HashMap<String, u8>,
}

/// The mean nDCG@10 of some questions, and how many are answered among the first five.
#[derive(Default)]
struct Quality {
    gains: Vec<f64>,
    answered: usize,
    answerable: usize,
}

impl Quality {
    fn add(&mut self, judged: &Judged, found: &[String]) {
        let gain = |grade: u8| f64::from((1_u32 << grade) - 1);
        let discount = |rank: usize| (rank as f64 + 2.0).log2();
        let grade = |id: &String| judged.grades.get(id).copied().unwrap_or(0);
        let mut ideal: Vec<u8> = judged.grades.values().copied().collect();
        ideal.sort_unstable_by(|one, other| other.cmp(one));
        let ideal: f64 = ideal
            .iter()
            .take(K)
            .enumerate()
            .map(|(rank, grade)| gain(*grade) / discount(rank))
            .sum();
        if ideal == 0.0 {
            return;
        }
        let got = found
            .iter()
            .take(K)
            .enumerate()
            .map(|(rank, id)| gain(grade(id)) / discount(rank));
        self.gains.push(got.sum::<f64>() / ideal);
        if judged.grades.values().any(|grade| *grade == 2) {
            self.answerable += 1;
            self.answered += usize::from(found.iter().take(5).any(|id| grade(id) == 2));
        }
    }

    fn mean(&self) -> f64 {
        self.gains.iter().sum::<f64>() / self.gains.len().max(1) as f64
    }
}

async fn stored(directory: &Path, texts: TextConfig) -> Result<HNSWVectorStorage> {
    let vectors = NpyReader::open(&directory.join("passages.npy"))?;
    let dim = vectors.header().columns;
    let passages = directory.join("passages.jsonl");
    let mut rows = ArrayRows::open(Vectors::Npy(vectors), Some(&passages), RowRules::default())?;
    let storage = HNSWVectorStorage::new(dim, HNSWConfig::balanced().with_texts(texts));
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let is_last = match rows.next_row()? {
            Step::Row(row) => {
                let mut entry = row.entry;
                let text = entry.metadata["text"]
                    .as_str()
                    .context("a passage has a text")?
                    .to_string();
                entry.scope = StateScope::Global;
                batch.push(entry.with_text(text));
                false
            }
            Step::Bad(row) => bail!("{}", row.reason),
            Step::End => true,
        };
        if batch.len() == BATCH || is_last && !batch.is_empty() {
            storage.insert(std::mem::take(&mut batch)).await?;
        }
        if is_last {
            return Ok(storage);
        }
    }
}

async fn ids(storage: &HNSWVectorStorage, query: VectorQuery) -> Result<Vec<String>> {
    let hits = storage.search(&query.with_metadata(false)).await?;
    Ok(hits.into_iter().map(|hit| hit.id).collect())
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = std::env::args().nth(1).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/demo"),
        PathBuf::from,
    );
    let lines = std::fs::read_to_string(directory.join("judgments.jsonl"))?;
    let judged = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<serde_json::Result<Vec<Judged>>>()?;
    let mut vectors = Vec::new();
    let mut rows = NpyReader::open(&directory.join("questions.npy"))?;
    while let Some(vector) = rows.next_row()? {
        vectors.push(vector);
    }

    let fusions = [
        Fusion::Rrf { k: 1.0 },
        Fusion::Rrf { k: 5.0 },
        Fusion::Rrf { k: 10.0 },
        Fusion::Rrf { k: 20.0 },
        Fusion::Rrf { k: 60.0 },
        Fusion::Dbsf,
        Fusion::Linear { alpha: 0.3 },
        Fusion::Linear { alpha: 0.5 },
        Fusion::Linear { alpha: 0.7 },
    ];
    let stemmed = AnalyzerConfig::default().with_stemmer(Language::English);
    for (name, analyzer) in [("plain", AnalyzerConfig::default()), ("stemmed", stemmed)] {
        let storage = stored(&directory, TextConfig::default().with_analyzer(analyzer)).await?;
        println!("\n{name:<28} questions  nDCG@10  answered in the first 5");
        let print = |what: &str, quality: &Quality| {
            println!(
                "{what:<28} {:>9}  {:>7.3}  {} of {}",
                quality.gains.len(),
                quality.mean(),
                quality.answered,
                quality.answerable
            );
        };
        for kind in ["natural", "keywords", "identifier"] {
            let mut quality = Quality::default();
            for question in judged
                .iter()
                .filter(|judged| judged.kind == kind && judged.embedded.is_none())
            {
                quality.add(
                    question,
                    &ids(&storage, VectorQuery::text(&question.question, K)).await?,
                );
            }
            print(&format!("words, {kind}"), &quality);
        }
        let embedded: Vec<(&Judged, &Vec<f32>)> = judged
            .iter()
            .filter_map(|judged| Some((judged, vectors.get(judged.embedded?)?)))
            .collect();
        let (mut words, mut nearest) = (Quality::default(), Quality::default());
        for (question, vector) in &embedded {
            words.add(
                question,
                &ids(&storage, VectorQuery::text(&question.question, K)).await?,
            );
            nearest.add(question, &ids(&storage, VectorQuery::new(vector.as_slice(), K)).await?);
        }
        print("words, with embeddings", &words);
        print("vectors", &nearest);
        for fusion in fusions {
            let mut quality = Quality::default();
            for (question, vector) in &embedded {
                let query = VectorQuery::new(vector.as_slice(), K)
                    .with_text(&question.question)
                    .with_fusion(fusion);
                quality.add(question, &ids(&storage, query).await?);
            }
            print(&format!("both, {fusion}"), &quality);
        }
    }
    Ok(())
}
