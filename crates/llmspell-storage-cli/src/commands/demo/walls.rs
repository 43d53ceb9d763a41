//! Checks that a scope keeps to itself.

use std::time::Instant;

use llmspell_storage::{ErrorKind, Filter, StateScope, VectorEntry, VectorQuery};
use serde_json::json;

use super::answers::{Answer, Timing, ask};
use super::data::Question;
use super::{Demo, broken};
use llmspell_bench::measure::latency::rounded;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, counted, one_line};

/// A word of the question that is asked again.
const TOPIC: &str = "TCP";
/// A book that knows nothing about it.
const OTHER_BOOK: &str = "nomicon";
/// A book that is removed in the end.
const DROPPED_BOOK: &str = "clippy";

pub(super) async fn show(demo: &Demo<'_>, answers: &[Answer], output: &mut Output) -> Result<(), CliError> {
    let at = demo
        .questions
        .iter()
        .position(|question| question.text.contains(TOPIC))
        .unwrap_or(0);
    let (question, answer) = (&demo.questions[at], &answers[at]);
    one_scope_does_not_see_another(demo, question, answer, output).await?;
    a_filter_decides_before_the_best_are_taken(demo, question, answer, output).await?;
    an_id_is_taken_once(demo, question, answer, output).await?;
    a_dropped_scope_is_gone_and_the_others_are_as_before(demo, output).await
}

async fn one_scope_does_not_see_another(
    demo: &Demo<'_>,
    question: &Question,
    answer: &Answer,
    output: &mut Output,
) -> Result<(), CliError> {
    let other = StateScope::Custom(OTHER_BOOK.into());
    let count = demo.store.count(&other).await?;
    let query = VectorQuery::new(question.vector.clone(), 10_000).with_scope(other.clone());
    let results = demo.store.search(&query).await?;
    let is_own = |id: &str| id.starts_with(OTHER_BOOK);
    if results.len() as u64 != count || !results.iter().all(|result| is_own(&result.id)) {
        return Err(broken("a search to return all entries of its scope, and no others"));
    }
    if demo.store.get(&other, &answer.id).await?.is_some() {
        return Err(broken("an id to mean nothing in another scope"));
    }
    let best = results
        .into_iter()
        .next()
        .ok_or_else(|| broken("some entries in the scope"))?;
    let best = Answer::new(other.clone(), best);
    output.object(&json!({
        "step": "isolation", "question": question.text,
        "scope": answer.scope.to_string(), "id": answer.id, "score": answer.score,
        "other_scope": other.to_string(), "other_best_id": best.id, "other_best_score": best.score,
        "id_in_other_scope": null,
    }))?;
    output.text(format!(
        "{} Asked “{}”,",
        output.bold("Isolated."),
        one_line(&question.text, 70),
    ))?;
    output.text(format!(
        "  {} answers with {:.3}; the best that {OTHER_BOOK} has is {:.3}, and asked for everything it returns",
        answer.scope.id().unwrap_or("global"),
        answer.score,
        best.score
    ))?;
    let id = one_line(&answer.id, 40);
    output.text(format!(
        "  its own {count} passages and nothing else. `get {id}` finds nothing there."
    ))
}

async fn a_filter_decides_before_the_best_are_taken(
    demo: &Demo<'_>,
    question: &Question,
    answer: &Answer,
    output: &mut Output,
) -> Result<(), CliError> {
    let depth = 1;
    let query = VectorQuery::new(question.vector.clone(), 5)
        .with_scope(answer.scope.clone())
        .with_filter(Filter::eq("depth", depth));
    let results = demo.store.search(&query).await?;
    let all_match = results
        .iter()
        .all(|result| result.metadata.as_ref().is_some_and(|fields| fields["depth"] == depth));
    if results.len() != query.k || !all_match {
        return Err(broken("k entries that match the filter"));
    }
    output.object(&json!({
        "step": "filter", "scope": answer.scope.to_string(), "filter": query.filter, "k": query.k,
        "ids": results.iter().map(|result| &result.id).collect::<Vec<_>>(),
    }))?;
    output.text(format!(
        "{} With `depth = {depth}` the same search returns {} passages, and all of them match.",
        output.bold("Filtered."),
        results.len()
    ))
}

async fn an_id_is_taken_once(
    demo: &Demo<'_>,
    question: &Question,
    answer: &Answer,
    output: &mut Output,
) -> Result<(), CliError> {
    let twice = VectorEntry::new(answer.id.clone(), question.vector.clone()).with_scope(answer.scope.clone());
    let fresh = VectorEntry::new("a new one", question.vector.clone()).with_scope(answer.scope.clone());
    let error = match demo.store.insert(vec![fresh, twice]).await {
        Err(error) if error.kind() == ErrorKind::Conflict => error,
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(broken("an id that exists to be refused")),
    };
    if demo.store.get(&answer.scope, "a new one").await?.is_some() {
        return Err(broken("nothing of a refused batch to be stored"));
    }
    output.object(&json!({"step": "duplicate", "refused": true, "error": error.to_string()}))?;
    output.text(format!(
        "{} A batch with a used id is refused as a whole:",
        output.bold("Whole or not at all.")
    ))?;
    output.text(format!("  {error}."))
}

async fn a_dropped_scope_is_gone_and_the_others_are_as_before(
    demo: &Demo<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let dropped = StateScope::Custom(DROPPED_BOOK.into());
    let others: Vec<StateScope> = demo.scopes.iter().filter(|scope| **scope != dropped).cloned().collect();
    let before = ask(&demo.store, &others, &demo.questions, &mut Timing::default()).await?;

    let started = Instant::now();
    let vectors = demo.store.delete_scope(&dropped).await?;
    let seconds = started.elapsed().as_secs_f64();

    let query = VectorQuery::new(demo.questions[0].vector.clone(), 10).with_scope(dropped.clone());
    let is_gone = demo.store.search(&query).await?.is_empty() && demo.store.count(&dropped).await? == 0;
    if vectors == 0 || !is_gone {
        return Err(broken("a dropped scope to be empty"));
    }
    if ask(&demo.store, &others, &demo.questions, &mut Timing::default()).await? != before {
        return Err(broken("the other scopes to answer as before"));
    }
    output.object(&json!({
        "step": "delete_scope", "scope": dropped.to_string(), "vectors": vectors, "seconds": rounded(seconds),
    }))?;
    output.text(format!(
        "{} {DROPPED_BOOK} with {} dropped in {:.1} ms; the other books answer bit for bit as before.",
        output.bold("Gone."),
        counted(vectors, "vector", "vectors"),
        seconds * 1000.0
    ))
}
