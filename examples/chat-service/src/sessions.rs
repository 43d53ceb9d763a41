//! Chats: what was said, and what is known to answer the next question.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Json, Router};
use futures_util::TryStreamExt;
use llmspell_storage::{Filter, ListOrder, ListQuery, Pages, StateScope, Timestamp, VectorEntry, VectorQuery};
use serde::{Deserialize, Serialize};

use crate::embed::embed;
use crate::errors::ApiError;
use crate::memories::{Found, Memory, Message};
use crate::{App, user_scope};

/// How much being near counts, where the rest is being unlike the others that are found.
const MMR_LAMBDA: f32 = 0.7;
/// Memories that a question is answered with, unless it says otherwise.
const DEFAULT_K: usize = 5;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/users/{user}/sessions/{session}/messages", post(say).get(transcript))
        .route("/users/{user}/sessions/{session}/context", post(context))
        .route("/users/{user}/sessions/{session}", delete(forget))
}

#[derive(Serialize)]
struct Said {
    id: String,
}

/// Remembers a message, for as long as the session lives.
async fn say(
    State(app): State<App>,
    Path((user, session)): Path<(String, String)>,
    Json(message): Json<Message>,
) -> Result<(StatusCode, Json<Said>), ApiError> {
    let chat = app.session(&user, &session)?;
    // A session lives on while somebody speaks: what was said before ends when this message does.
    let mut said = Pages::new(&chat, chat.scope().clone());
    while let Some(page) = said.next().await? {
        let ids = page.iter().map(|entry| &entry.id);
        chat.touch(ids, app.session_lifetime.into()).await?;
    }
    // Without an id of its own, the entry gets a UUID.
    let entry = VectorEntry::new("", embed(&message.text))
        .with_metadata(Memory::Message(message))
        .with_ttl(app.session_lifetime);
    let mut ids = chat.insert(vec![entry]).await?;
    let id = ids.pop().expect("one entry has one id");
    Ok((StatusCode::CREATED, Json(Said { id })))
}

#[derive(Serialize)]
struct Line {
    at: Option<Timestamp>,
    #[serde(flatten)]
    message: Message,
}

#[derive(Deserialize)]
struct Part {
    /// Most messages to return, the newest ones; all if it is missing.
    last: Option<usize>,
}

/// What was said, the oldest first: all of it, or the last messages.
async fn transcript(
    State(app): State<App>,
    Path((user, session)): Path<(String, String)>,
    Query(part): Query<Part>,
) -> Result<Json<Vec<Line>>, ApiError> {
    let chat = app.session(&user, &session)?;
    let said = match part.last {
        Some(last) => {
            let mut newest = chat
                .list_page(&ListQuery::newest(chat.scope().clone(), last))
                .await?
                .entries;
            newest.reverse();
            newest
        }
        None => {
            let pages = Pages::new(&chat, chat.scope().clone()).with_order(ListOrder::OldestFirst);
            pages.into_entries().into_stream().try_collect().await?
        }
    };
    let mut lines = Vec::with_capacity(said.len());
    for entry in said {
        if let Memory::Message(message) = entry.metadata_as()? {
            let at = entry.created_at;
            lines.push(Line { at, message });
        }
    }
    Ok(Json(lines))
}

#[derive(Deserialize)]
struct Question {
    question: String,
    #[serde(default = "default_k")]
    k: usize,
    filter: Option<FilterForm>,
}

fn default_k() -> usize {
    DEFAULT_K
}

/// As people write it, or as programs do.
#[derive(Deserialize)]
#[serde(untagged)]
enum FilterForm {
    Text(String),
    Json(Filter),
}

/// What is known that a question may be answered with: of this chat, of the user's documents and of the shared ones,
/// searched together. Of passages that say the same, one is enough.
async fn context(
    State(app): State<App>,
    Path((user, session)): Path<(String, String)>,
    Json(question): Json<Question>,
) -> Result<Json<Vec<Found>>, ApiError> {
    let chat = app.session(&user, &session)?.scope().clone();
    let mut query = VectorQuery::new(embed(&question.question), question.k)
        .with_scopes([chat, user_scope(&user)?, StateScope::Global])
        .with_mmr(MMR_LAMBDA);
    match question.filter {
        Some(FilterForm::Text(text)) => {
            query = query.with_filter(text.parse().map_err(llmspell_storage::StorageError::from)?);
        }
        Some(FilterForm::Json(filter)) => query = query.with_filter(filter),
        None => {}
    }
    let hits = app.memory.search(&query).await?;
    let found: Result<Vec<_>, _> = hits.into_iter().map(Found::try_from).collect();
    Ok(Json(found?))
}

/// Forgets a chat before its time.
async fn forget(State(app): State<App>, Path((user, session)): Path<(String, String)>) -> Result<StatusCode, ApiError> {
    match app.session(&user, &session)?.clear().await? {
        0 => Err(ApiError::not_found(format!("nothing was said in session {session}"))),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
