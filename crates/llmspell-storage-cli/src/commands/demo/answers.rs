//! The answers of the books, and their latency.

use std::time::Instant;

use llmspell_storage::{HNSWVectorStorage, Metadata, StateScope, VectorQuery, VectorResult};
use serde_json::Value;

use super::TEXT_FIELD;
use super::data::Question;
use llmspell_bench::measure::latency::Latencies;
use llmspell_cli_base::errors::CliError;

/// The best passage of all scopes for a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) scope: StateScope,
    pub(crate) id: String,
    pub(crate) score: f32,
    pub(crate) metadata: Metadata,
}

impl Answer {
    pub(crate) fn new(scope: StateScope, result: VectorResult) -> Self {
        Self {
            scope,
            id: result.id,
            score: result.score,
            metadata: result.metadata.unwrap_or_default(),
        }
    }

    /// The passage.
    pub(crate) fn text(&self) -> &str {
        self.field(TEXT_FIELD)
    }

    /// The page it comes from, without what all pages have in common.
    pub(crate) fn page(&self) -> &str {
        self.field("page").trim_end_matches(".html")
    }

    /// Book and page.
    pub(crate) fn source(&self) -> String {
        format!("{} · {}", self.field("book"), self.page())
    }

    fn field(&self, name: &str) -> &str {
        self.metadata.get(name).and_then(Value::as_str).unwrap_or("")
    }
}

/// Single searches, and whole questions, which take one search for each scope.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    pub(crate) searches: Latencies,
    pub(crate) questions: Latencies,
}

/// Asks every scope each question, and keeps the best passage of all.
pub(crate) async fn ask(
    store: &HNSWVectorStorage,
    scopes: &[StateScope],
    questions: &[Question],
    timing: &mut Timing,
) -> Result<Vec<Answer>, CliError> {
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let question_started = Instant::now();
        let mut best: Option<Answer> = None;
        for scope in scopes {
            let query = VectorQuery::new(question.vector.clone(), 1).with_scope(scope.clone());
            let started = Instant::now();
            let results = store.search(&query).await?;
            timing.searches.record(started.elapsed());
            let Some(result) = results.into_iter().next() else {
                continue;
            };
            if best.as_ref().is_none_or(|best| result.score > best.score) {
                best = Some(Answer::new(scope.clone(), result));
            }
        }
        timing.questions.record(question_started.elapsed());
        answers.push(best.ok_or_else(|| CliError::PromiseBroken {
            expected: "an answer to each question".into(),
        })?);
    }
    Ok(answers)
}
