//! Are sentences found in languages whose words are not cut at spaces, are joined, or are inflected?
//!
//! `data/languages` has real sentences, and queries of which each is answered by one of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::sync::Arc;

use llmspell_text::{Analyzer, AnalyzerConfig, Kind, Positions, Query, QueryFields, Row, Search, Texts};
use serde_json::Value;

/// A sentence counts as found if it is among so many.
const FOUND_AMONG: usize = 5;

struct Sentences {
    texts: Vec<String>,
    /// With the place of the sentence that answers.
    queries: Vec<(usize, String)>,
}

fn read(language: &str) -> Sentences {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../data/languages/{language}.jsonl"));
    let lines = std::fs::read_to_string(&path).unwrap();
    let (mut texts, mut queries) = (Vec::new(), Vec::new());
    for (place, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        texts.push(line["text"].as_str().unwrap().to_string());
        queries.extend(line["query"].as_str().map(|query| (place, query.to_string())));
    }
    Sentences { texts, queries }
}

/// The queries whose sentence is not among the best.
fn missed(sentences: &Sentences, config: AnalyzerConfig) -> Vec<&str> {
    let analyzer = Analyzer::new(config).unwrap();
    let mut texts = Texts::new(Kind::Texts(Positions::Kept));
    for (point, text) in (0..).zip(&sentences.texts) {
        let row = Row::of_texts(&analyzer, Positions::Kept, [(0, text.as_str())]);
        texts.insert(point, Arc::new(row));
    }
    let is_found = |place: usize, typed: &str| {
        let query = Query::parse(typed, &analyzer, &QueryFields::default());
        let hits = texts.search(&query, &texts.statistics(&query), &Search::best(FOUND_AMONG));
        hits.iter().any(|hit| hit.point as usize == place)
    };
    let missed = sentences
        .queries
        .iter()
        .filter(|(place, typed)| !is_found(*place, typed));
    missed.map(|(_, typed)| typed.as_str()).collect()
}

fn check(language: &str, config: AnalyzerConfig, missed_max: usize) {
    let sentences = read(language);
    let count = sentences.queries.len();
    assert!(count >= 50, "{language}: {count} queries");
    let missed = missed(&sentences, config);
    println!("{language}: {} of {count} found, not {missed:?}", count - missed.len());
    assert!(missed.len() <= missed_max, "{language}: {missed:?}");
}

#[test]
fn chinese_is_found() {
    check("chinese", AnalyzerConfig::default(), 0);
}

#[test]
fn japanese_is_found() {
    check("japanese", AnalyzerConfig::default(), 0);
}

#[test]
fn korean_is_found() {
    check("korean", AnalyzerConfig::default(), 0);
}

#[test]
fn thai_is_found() {
    check("thai", AnalyzerConfig::default(), 0);
}

#[test]
fn arabic_is_found() {
    check("arabic", AnalyzerConfig::default(), 0);
}

#[test]
fn german_is_found() {
    // "vollständiger" stands in no sentence, "vollständigen" does.
    check("german", AnalyzerConfig::default(), 1);
}

#[cfg(feature = "stemmers")]
#[test]
fn stems_find_german_that_is_inflected_otherwise() {
    let stems = AnalyzerConfig::default().with_stemmer(llmspell_text::Language::German);
    check("german", stems, 0);
}
