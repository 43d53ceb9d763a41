//! Users: their settings, and how everything of one goes.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use llmspell_storage::{ScopeKind, StateScope};
use serde::{Deserialize, Serialize};

use crate::errors::ApiError;
use crate::{App, user_scope};

const SETTINGS: &str = "settings";

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/users/{user}/settings", get(settings).put(set_settings))
        .route("/users/{user}", delete(forget))
}

/// How a user likes to be answered.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    lang: Option<String>,
    tone: Option<String>,
}

async fn settings(State(app): State<App>, Path(user): Path<String>) -> Result<Json<Settings>, ApiError> {
    let settings = app.keys(&user)?.load(SETTINGS).await?;
    Ok(Json(settings.unwrap_or_default()))
}

async fn set_settings(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(settings): Json<Settings>,
) -> Result<StatusCode, ApiError> {
    app.keys(&user)?.store(SETTINGS, &settings).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes documents, settings and chats of a user, at once.
async fn forget(State(app): State<App>, Path(user): Path<String>) -> Result<StatusCode, ApiError> {
    let own = user_scope(&user)?;
    let chats = format!("{user}/");
    let is_own_chat = |scope: &StateScope| {
        scope.kind() == ScopeKind::Session && scope.id().is_some_and(|session| session.starts_with(&chats))
    };
    let mut scopes = app.memory.scopes().await?;
    scopes.retain(is_own_chat);
    scopes.push(own);
    app.database.delete_scopes(&scopes).await?;
    Ok(StatusCode::NO_CONTENT)
}
