//! What each tool does, within the scopes of the server.

use std::sync::Arc;
use std::time::Duration;

use llmspell_cli_base::opened::Space;
use llmspell_storage::limits::QUERY_TEXT_BYTES_MAX;
use llmspell_storage::{
    HNSWConfig, ListCursor, ListOrder, ListPage, ListQuery, ScopedBackend, StateScope, StorageBackend, TextConfig,
    VectorEntry, VectorQuery,
};
use serde_json::{Value, json};

use crate::arguments::{Forget, Get, GetValue, List, Recall, Remember, SetValue};
use crate::config::Config;
use crate::limits::{
    ANSWER_BYTES_MAX, EMBED_SECONDS_MAX, FORGET_MAX, LIST_DEFAULT, LIST_MAX, RECALL_DEFAULT, RECALL_MAX,
    TEXT_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::refusal::Refusal;
use crate::resources;
use crate::shared::Shared;

type Result<T> = std::result::Result<T, Refusal>;

/// The memory of an agent.
#[derive(Debug)]
pub(crate) struct Memory {
    config: Config,
    shared: Shared,
}

impl Memory {
    pub(crate) fn new(config: Config) -> Self {
        let shared = Shared::new(&config.directory, config.is_read_only);
        Self { config, shared }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.config.is_read_only
    }

    /// Opens the database, so that a wrong directory is told at once.
    pub(crate) async fn open(&self) -> Result<()> {
        self.shared.database().await.map(drop)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        Ok(self.shared.close().await?)
    }

    pub(crate) async fn remember(&self, asked: Remember) -> Result<Value> {
        let scope = self.one_scope(asked.scope)?;
        if asked.text.trim().is_empty() {
            return Err(Refusal::new("the text is blank; say what is to be remembered"));
        }
        check_len("the text", asked.text.len(), TEXT_BYTES_MAX)?;
        let vector = self.embedded(&asked.text, &scope, false).await?;
        let store = self.store_for(vector.as_ref().map(Vec::len)).await?;
        let mut entry = match vector {
            Some(vector) => VectorEntry::new("", vector).with_text(asked.text),
            None => VectorEntry::text_only("", asked.text),
        }
        .with_scope(scope.clone());
        entry.id = asked.id.unwrap_or_default();
        entry.metadata = Value::Object(asked.metadata.unwrap_or_default());
        entry.ttl = asked.ttl;
        entry.event_time = asked.event_time;
        let ids = store.insert(vec![entry]).await?;
        Ok(json!({"id": ids.first(), "scope": scope.to_string()}))
    }

    pub(crate) async fn recall(&self, asked: Recall) -> Result<Value> {
        let scopes = self.scopes(asked.scope)?;
        let limit = within("limit", asked.limit.unwrap_or(RECALL_DEFAULT), RECALL_MAX)?;
        if asked.query.trim().is_empty() {
            return Err(Refusal::new("the query is blank; say what is looked for"));
        }
        check_len("the query", asked.query.len(), QUERY_TEXT_BYTES_MAX)?;
        let Some(store) = self.store().await? else {
            return Ok(json!({"results": []}));
        };
        let has_words = store.config().texts().is_some();
        // A space of texts alone has no vectors to compare with.
        let vector = match store.dim() {
            0 => None,
            _ => self.embedded(&asked.query, &scopes[0], true).await?,
        };
        let query = match (vector, has_words) {
            (Some(vector), true) => VectorQuery::new(vector, limit).with_text(asked.query),
            (Some(vector), false) => VectorQuery::new(vector, limit),
            (None, true) => VectorQuery::text(asked.query, limit),
            (None, false) => {
                return Err(Refusal::new(
                    "this space indexes no words, and the server was started without --with COMMAND that makes vectors",
                ));
            }
        };
        let mut query = query.with_scopes(scopes).with_texts(has_words);
        query.filter = asked.filter;
        query.recency = asked.half_life;
        let results = store.search(&query).await?.into_iter().map(|found| {
            let scope = found.scope.unwrap_or_default();
            let mut result = json!({
                "id": found.id, "scope": scope.to_string(), "score": found.recency_score.unwrap_or(found.score),
                "text": found.text, "metadata": found.metadata.unwrap_or_default(),
            });
            if result["text"].is_null()
                && let Some(text) = result["metadata"].get("text").cloned()
            {
                result["text"] = text;
            }
            result
        });
        Ok(fitting("results", results, None))
    }

    pub(crate) async fn forget(&self, asked: Forget) -> Result<Value> {
        let scope = self.one_scope(asked.scope)?;
        match asked.ids.len() {
            0 => return Err(Refusal::new("no id is named")),
            got if got > FORGET_MAX => return Err(Refusal::too_long("the list of ids", got, FORGET_MAX, "ids")),
            _ => {}
        }
        let forgotten = match self.store().await? {
            Some(store) => store.delete(&scope, &asked.ids).await?,
            None => 0,
        };
        Ok(json!({"forgotten": forgotten, "scope": scope.to_string()}))
    }

    pub(crate) async fn list(&self, asked: List) -> Result<Value> {
        let scopes = self.scopes(asked.scope)?;
        let limit = within("limit", asked.limit.unwrap_or(LIST_DEFAULT), LIST_MAX)?;
        let page = self.page(scopes, limit, asked.cursor, asked.filter).await?;
        let Some(page) = page else {
            return Ok(json!({"entries": [], "next": null}));
        };
        let next = page.next.as_ref().map(|next| json!(next));
        Ok(fitting("entries", page.entries.iter().map(entry_view), Some(next)))
    }

    async fn page(
        &self,
        scopes: Vec<StateScope>,
        limit: usize,
        cursor: Option<String>,
        filter: Option<llmspell_storage::Filter>,
    ) -> Result<Option<ListPage>> {
        let cursor = cursor.map(|cursor| serde_json::from_value::<ListCursor>(Value::String(cursor)));
        let cursor = cursor
            .transpose()
            .map_err(|error| Refusal::new(format!("{error}; pass on `next` of the page before, unchanged")))?;
        let Some(store) = self.store().await? else {
            return Ok(None);
        };
        let mut query = ListQuery::new(scopes[0].clone())
            .with_scopes(scopes)
            .with_order(ListOrder::NewestFirst)
            .with_limit(limit);
        query.filter = filter;
        query.after = cursor;
        Ok(Some(store.list_page(&query).await?))
    }

    pub(crate) async fn get(&self, asked: Get) -> Result<Value> {
        let scopes = self.scopes(asked.scope)?;
        if let Some(store) = self.store().await? {
            for scope in &scopes {
                if let Some(entry) = store.get(scope, &asked.id).await? {
                    return Ok(entry_view(&entry));
                }
            }
        }
        Err(Refusal::new(format!("there is no entry `{}`", shortened(&asked.id))))
    }

    pub(crate) async fn set_value(&self, asked: SetValue) -> Result<Value> {
        let scope = self.one_scope(asked.scope)?;
        let value = serde_json::to_vec(&asked.value).map_err(|error| Refusal::new(error.to_string()))?;
        check_len("the value", value.len(), VALUE_BYTES_MAX)?;
        let keys = self.keys(scope.clone()).await?;
        match asked.ttl {
            Some(ttl) => keys.set_with_ttl(&asked.key, value, ttl).await?,
            None => keys.set(&asked.key, value).await?,
        }
        Ok(json!({"key": asked.key, "scope": scope.to_string()}))
    }

    pub(crate) async fn get_value(&self, asked: GetValue) -> Result<Value> {
        for scope in self.scopes(asked.scope)? {
            let Some(bytes) = self.keys(scope.clone()).await?.get(&asked.key).await? else {
                continue;
            };
            check_len("the value", bytes.len(), ANSWER_BYTES_MAX)?;
            let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
                // Not from this server: text as it is.
                Value::String(String::from_utf8_lossy(&bytes).into_owned())
            });
            return Ok(json!({"key": asked.key, "value": value, "scope": scope.to_string()}));
        }
        Ok(json!({"key": asked.key, "value": null}))
    }

    pub(crate) async fn stats(&self) -> Result<Value> {
        let store = self.store().await?;
        let mut scopes = Vec::new();
        for scope in &self.config.scopes {
            let entries = match &store {
                Some(store) => store.count(scope).await?,
                None => 0,
            };
            scopes.push(json!({"scope": scope.to_string(), "entries": entries}));
        }
        Ok(json!({
            "scopes": scopes, "space": self.config.space, "read_only": self.config.is_read_only,
            "found_by": if self.config.embed.is_some() { "words and meaning" } else { "words" },
        }))
    }

    /// A page of entries as resources: URI, id, the beginning of the text; and the cursor of the next page.
    pub(crate) async fn resources(
        &self,
        cursor: Option<String>,
    ) -> Result<(Vec<(String, String, String)>, Option<String>)> {
        let page = self.page(self.config.scopes.clone(), LIST_MAX, cursor, None).await?;
        let Some(page) = page else {
            return Ok((Vec::new(), None));
        };
        let next = page
            .next
            .as_ref()
            .and_then(|next| json!(next).as_str().map(str::to_string));
        let entries = page.entries.into_iter().map(|entry| {
            let text = entry
                .text
                .as_deref()
                .or_else(|| entry.metadata.get("text").and_then(Value::as_str));
            let about = shortened(text.unwrap_or_default());
            (resources::uri(&entry.scope, &entry.id), entry.id, about)
        });
        Ok((entries.collect(), next))
    }

    /// The entry of a URI; none if it is no entry of the scopes of this server.
    pub(crate) async fn resource(&self, uri: &str) -> Result<Option<Value>> {
        let Some((scope, id)) = resources::named(uri) else {
            return Ok(None);
        };
        // Another scope is answered as an entry that is not there.
        if !self.config.scopes.contains(&scope) {
            return Ok(None);
        }
        let Some(store) = self.store().await? else {
            return Ok(None);
        };
        Ok(store.get(&scope, &id).await?.as_ref().map(entry_view))
    }

    /// The scope of a write: the one that is named, or the first.
    fn one_scope(&self, named: Option<StateScope>) -> Result<StateScope> {
        Ok(self.scopes(named)?.swap_remove(0))
    }

    /// The scopes of a read: the one that is named, or all of this server.
    fn scopes(&self, named: Option<StateScope>) -> Result<Vec<StateScope>> {
        let own = &self.config.scopes;
        match named {
            None => Ok(own.clone()),
            Some(scope) if own.contains(&scope) => Ok(vec![scope]),
            Some(_) => {
                let own: Vec<_> = own.iter().map(ToString::to_string).collect();
                Err(Refusal::new(format!(
                    "the scope is not one of this server; it has: {}",
                    own.join(", ")
                )))
            }
        }
    }

    async fn keys(&self, scope: StateScope) -> Result<ScopedBackend> {
        let shared: Arc<dyn StorageBackend> = self.shared.database().await?.kv();
        Ok(ScopedBackend::new(shared, scope)?)
    }

    /// The space, if it is there.
    async fn store(&self) -> Result<Option<Space>> {
        let database = self.shared.database().await?;
        Ok(database.existing_vectors(&self.config.space).await?)
    }

    /// The space, made for texts and for vectors of `dim` components if it is not there, and with an index of words if it has none.
    async fn store_for(&self, dim: Option<usize>) -> Result<Space> {
        let database = self.shared.database().await?;
        let existing = database.existing_vectors(&self.config.space).await?;
        let (dim, config) = match existing {
            Some(space) if space.config().texts().is_some() => return Ok(space),
            Some(space) => (space.dim(), space.config().clone()),
            None => (dim.unwrap_or(0), HNSWConfig::default()),
        };
        let config = config.with_texts(TextConfig::default());
        Ok(database.vectors(&self.config.space, dim, config).await?)
    }

    /// The vector of a text, if vectors are made.
    async fn embedded(&self, text: &str, scope: &StateScope, is_query: bool) -> Result<Option<Vec<f32>>> {
        let Some(embed) = &self.config.embed else {
            return Ok(None);
        };
        let (embed, text, scope) = (Arc::clone(embed), text.to_string(), scope.clone());
        let made = tokio::task::spawn_blocking(move || embed.embed(&text, &scope, is_query));
        match tokio::time::timeout(Duration::from_secs(EMBED_SECONDS_MAX), made).await {
            Ok(Ok(vector)) => vector.map(Some).map_err(Refusal::new),
            Err(_) => Err(Refusal::new(format!(
                "the command that makes vectors has not answered for {EMBED_SECONDS_MAX} s; does it flush its output after each line?"
            ))),
            Ok(Err(error)) => Err(Refusal::new(format!("the command that makes vectors failed: {error}"))),
        }
    }
}

fn check_len(what: &str, got: usize, limit: usize) -> Result<()> {
    match got <= limit {
        true => Ok(()),
        false => Err(Refusal::too_long(what, got, limit, "bytes")),
    }
}

fn within(what: &str, got: usize, most: usize) -> Result<usize> {
    match (1..=most).contains(&got) {
        true => Ok(got),
        false => Err(Refusal::new(format!("{what} is {got}; it must be within 1..={most}"))),
    }
}

fn entry_view(entry: &VectorEntry) -> Value {
    let mut view = json!({
        "id": entry.id, "scope": entry.scope.to_string(), "text": entry.text, "metadata": entry.metadata,
    });
    let times = [
        ("created_at", entry.created_at),
        ("event_time", entry.event_time),
        ("expires_at", entry.expires_at),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            view[name] = json!(time);
        }
    }
    view
}

/// As many items as fit into an answer, and the cursor of what follows, if there is a list of pages.
fn fitting(name: &str, items: impl Iterator<Item = Value>, next: Option<Option<Value>>) -> Value {
    let (mut kept, mut bytes, mut left_out) = (Vec::new(), 0, 0_u64);
    for item in items {
        bytes += item.to_string().len();
        // One always fits: texts and metadata have limits of their own.
        if bytes > ANSWER_BYTES_MAX && !kept.is_empty() {
            left_out += 1;
        } else {
            kept.push(item);
        }
    }
    let mut answer = json!({ name: kept });
    if let Some(next) = next {
        answer["next"] = json!(next);
    }
    if left_out > 0 {
        answer["left_out"] = json!(left_out);
        answer["note"] = json!("these would make the answer too long; ask for fewer");
    }
    answer
}

/// The beginning of a text, in one line.
fn shortened(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(100)
        .collect();
    match text.chars().count() > 100 {
        true => format!("{line}…"),
        false => line,
    }
}
