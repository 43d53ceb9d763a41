//! A service with a memory: chat sessions that are forgotten after a while, and documents that answers are looked up in
//! (retrieval-augmented generation), for many users who never see each other's.
//!
//! | file | routes |
//! |---|---|
//! | `sessions.rs` | `POST`, `GET /users/{user}/sessions/{session}/messages` (`?last=20`), `POST …/context`, `DELETE …/{session}` |
//! | `documents.rs` | `PUT`, `DELETE /documents/{document}`, `GET /documents`; the same under `/users/{user}` |
//! | `users.rs` | `PUT`, `GET /users/{user}/settings`, `DELETE /users/{user}` |
//! | `errors.rs` | which status does an error of the store get? |
//! | `memories.rs` | what is stored as metadata, and how is it answered? |
//! | `embed.rs` | vectors of texts, of a toy; put your model there |
//!
//! Everything is in one directory, and durable when a request is answered. Three kinds of scopes hold it: `global` the shared
//! documents, `user:NAME` those of a user and the settings, `session:NAME/SESSION` a chat.

mod documents;
pub mod embed;
mod errors;
mod memories;
mod sessions;
mod users;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use llmspell_storage::{
    Database, HNSWConfig, ScopedBackend, ScopedVectors, StateScope, StorageBackend, StorageError, VectorStorage,
};
use tokio::net::TcpListener;

use errors::ApiError;

/// How long a session is remembered after its last message, unless [`App::with_session_lifetime`] says otherwise.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What every request works with; clones are handles to the same.
#[derive(Clone)]
pub struct App {
    database: Database,
    /// Any store of vectors would do: handlers know the trait only.
    memory: Arc<dyn VectorStorage>,
    /// Any key-value store would do.
    state: Arc<dyn StorageBackend>,
    session_lifetime: Duration,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("session_lifetime", &self.session_lifetime)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Opens the memory in a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// Those of [`Database::open`]: another process has it open, it is damaged, or the system refuses.
    pub async fn open(directory: impl AsRef<Path>) -> Result<Self, StorageError> {
        let database = Database::open(directory).await?;
        let memory = database.vectors("memory", embed::DIM, HNSWConfig::balanced()).await?;
        Ok(Self {
            memory: Arc::new(memory),
            state: Arc::new(database.kv()),
            database,
            session_lifetime: SESSION_LIFETIME,
        })
    }

    /// Lets sessions be remembered for so long after their last message.
    #[must_use]
    pub fn with_session_lifetime(mut self, lifetime: Duration) -> Self {
        self.session_lifetime = lifetime;
        self
    }

    /// Answers requests until `stop` is ready, lets those under way end, and closes the memory.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot listen any more, and [`StorageError`] if closing fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let routes = Router::new()
            .merge(sessions::routes())
            .merge(documents::routes())
            .merge(users::routes())
            .with_state(self.clone());
        axum::serve(listener, routes).with_graceful_shutdown(stop).await?;
        let Self {
            database,
            memory,
            state,
            ..
        } = self;
        drop((memory, state));
        Ok(database.close().await?)
    }

    /// What handlers of a chat may see and change, and nothing else.
    fn session(&self, user: &str, session: &str) -> Result<ScopedVectors, ApiError> {
        let scope = StateScope::session(format!("{}/{}", name(user)?, name(session)?));
        Ok(ScopedVectors::new(Arc::clone(&self.memory), scope)?)
    }

    /// The documents of a user, or those of everybody.
    fn documents(&self, user: Option<&str>) -> Result<ScopedVectors, ApiError> {
        let scope = user.map_or(Ok(StateScope::Global), user_scope)?;
        Ok(ScopedVectors::new(Arc::clone(&self.memory), scope)?)
    }

    /// The keys of a user.
    fn keys(&self, user: &str) -> Result<ScopedBackend, ApiError> {
        Ok(ScopedBackend::new(Arc::clone(&self.state), user_scope(user)?)?)
    }
}

fn user_scope(user: &str) -> Result<StateScope, ApiError> {
    Ok(StateScope::user(name(user)?))
}

/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// A name as it may stand in a path: with a `/` in it, one user's session could be that of another.
fn name(text: &str) -> Result<&str, ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text),
        false => Err(ApiError::bad_request(format!(
            "`{}` is no name: 1 to {NAME_BYTES_MAX} letters, digits, - and _",
            text.escape_debug()
        ))),
    }
}
