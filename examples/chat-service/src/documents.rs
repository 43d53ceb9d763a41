//! Documents: cut into passages, which are found by what they say.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use llmspell_storage::{FacetValue, Filter, ScopedVectors, VectorEntry};
use serde::{Deserialize, Serialize};

use crate::embed::embed;
use crate::errors::ApiError;
use crate::memories::{Chunk, Memory};
use crate::{App, name};

/// Words of a passage; a paragraph with more is cut.
const PASSAGE_WORDS: usize = 120;
/// Documents that are listed.
const LIST_MAX: usize = 1000;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/documents", get(list_shared))
        .route("/documents/{document}", put(store_shared).delete(remove_shared))
        .route("/users/{user}/documents", get(list_own))
        .route("/users/{user}/documents/{document}", put(store_own).delete(remove_own))
}

#[derive(Deserialize)]
struct Document {
    title: String,
    lang: Option<String>,
    /// Paragraphs with empty lines between them.
    text: String,
}

#[derive(Serialize)]
struct Stored {
    passages: usize,
}

async fn store_shared(
    State(app): State<App>,
    Path(document): Path<String>,
    Json(content): Json<Document>,
) -> Result<Json<Stored>, ApiError> {
    store(&app.documents(None)?, &document, &content).await
}

async fn store_own(
    State(app): State<App>,
    Path((user, document)): Path<(String, String)>,
    Json(content): Json<Document>,
) -> Result<Json<Stored>, ApiError> {
    store(&app.documents(Some(&user))?, &document, &content).await
}

/// Stores a document in place of the one of that name.
async fn store(documents: &ScopedVectors, document: &str, content: &Document) -> Result<Json<Stored>, ApiError> {
    let document = name(document)?;
    let passages = passages(&content.text);
    if passages.is_empty() {
        return Err(ApiError::bad_request("the document has no text"));
    }
    let entries = passages.iter().enumerate().map(|(part, text)| {
        let chunk = Chunk {
            document: document.to_string(),
            title: content.title.clone(),
            lang: content.lang.clone(),
            part,
            text: text.clone(),
        };
        VectorEntry::new(format!("{document}#{part}"), embed(text)).with_metadata(Memory::Chunk(chunk))
    });
    documents.upsert(entries.collect()).await?;
    // Those of a longer one before it. All passages there are belong to some version, and the new ones are there already.
    let behind = Filter::eq("document", document) & Filter::ge("part", passages.len());
    documents.delete_matching(&behind).await?;
    Ok(Json(Stored {
        passages: passages.len(),
    }))
}

/// Paragraphs; a long one in several parts.
fn passages(text: &str) -> Vec<String> {
    let mut paragraphs: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines() {
        match line.trim() {
            "" => paragraphs.push(Vec::new()),
            line => paragraphs
                .last_mut()
                .expect("begins with one")
                .extend(line.split_whitespace()),
        }
    }
    let parts = paragraphs.iter().flat_map(|words| words.chunks(PASSAGE_WORDS));
    parts.map(|words| words.join(" ")).collect()
}

async fn list_shared(State(app): State<App>) -> Result<Json<Vec<FacetValue>>, ApiError> {
    list(&app.documents(None)?).await
}

async fn list_own(State(app): State<App>, Path(user): Path<String>) -> Result<Json<Vec<FacetValue>>, ApiError> {
    list(&app.documents(Some(&user))?).await
}

/// The documents with the numbers of their passages.
async fn list(documents: &ScopedVectors) -> Result<Json<Vec<FacetValue>>, ApiError> {
    let chunks = Filter::eq("kind", "chunk");
    Ok(Json(documents.facet("document", &chunks, LIST_MAX).await?))
}

async fn remove_shared(State(app): State<App>, Path(document): Path<String>) -> Result<StatusCode, ApiError> {
    remove(&app.documents(None)?, &document).await
}

async fn remove_own(
    State(app): State<App>,
    Path((user, document)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    remove(&app.documents(Some(&user))?, &document).await
}

async fn remove(documents: &ScopedVectors, document: &str) -> Result<StatusCode, ApiError> {
    match documents.delete_matching(&Filter::eq("document", document)).await? {
        0 => Err(ApiError::not_found(format!("there is no document {document}"))),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_paragraphs_and_a_long_one_between_words() {
        assert_eq!(passages("One\ntwo.\n\n \nThree."), ["One two.", "Three."]);
        let long = "word ".repeat(PASSAGE_WORDS + 1);
        assert_eq!(
            passages(&long)
                .iter()
                .map(|part| part.split(' ').count())
                .collect::<Vec<_>>(),
            [PASSAGE_WORDS, 1]
        );
        assert!(passages(" \n\n").is_empty());
    }
}
