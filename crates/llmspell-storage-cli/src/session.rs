//! The database, space and scope of a call.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_storage::{
    Database, DatabaseOptions, DimensionRouter, EmbeddingModel, HNSWConfig, HNSWVectorStorage, ScopedBackend,
    SpaceInfo, SpaceRole, StateScope, StorageBackend, StorageError, VectorStorage,
};

use crate::global_args::GlobalArgs;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::opened::{Opened, Space};
use llmspell_cli_base::output::{counted, one_line};

/// How long a wait for another process sleeps between two attempts; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The global options, with their defaults.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    global: &'a GlobalArgs,
}

impl<'a> Session<'a> {
    pub(crate) fn new(global: &'a GlobalArgs) -> Self {
        Self { global }
    }

    /// Every `--scope`, in their order.
    pub(crate) fn named_scopes(&self) -> Vec<StateScope> {
        self.global.scopes.iter().map(|scope| scope.0.clone()).collect()
    }

    /// That a verb that works in one scope was not given several.
    pub(crate) fn check_one_scope(&self) -> Result<(), CliError> {
        if self.global.scopes.len() > 1 {
            return Err(CliError::usage(
                "only `search` works in several scopes at once",
                "give --scope once, and run the verb for each of them",
            ));
        }
        Ok(())
    }

    /// `--scope`, or the global one.
    pub(crate) fn scope(&self) -> StateScope {
        self.named_scope().cloned().unwrap_or_default()
    }

    /// `--scope`, if it was given; the first of them.
    pub(crate) fn named_scope(&self) -> Option<&'a StateScope> {
        self.global.scopes.first().map(|scope| &scope.0)
    }

    /// That a space is named in one way only; before and after the verb are places that clap does not compare.
    pub(crate) fn check_one_space(&self) -> Result<(), CliError> {
        if self.global.space.is_some() && self.global.model.is_some() {
            return Err(CliError::usage(
                "--space and --model both name a space",
                "leave out one of them",
            ));
        }
        Ok(())
    }

    /// That a verb that is about no single space was not given a model.
    pub(crate) fn check_no_model(&self) -> Result<(), CliError> {
        match self.model() {
            None => Ok(()),
            Some(_) => Err(CliError::usage(
                "--model says nothing to this verb",
                "leave it out; `--help` of the verb lists what it takes",
            )),
        }
    }

    /// `--model`, if it was given.
    pub(crate) fn model(&self) -> Option<&'a str> {
        self.global.model.as_deref()
    }

    /// Whether `--space` or `--model` says which space is meant.
    pub(crate) fn names_space(&self) -> bool {
        self.global.space.is_some() || self.global.model.is_some()
    }

    /// `--space`, or the space of `--model`, or the default one; it need not be there unless it is named by its model.
    pub(crate) async fn space_name(&self, database: &Opened) -> Result<String, CliError> {
        match self.model() {
            Some(model) => Ok(space_of(database, model).await?.name),
            None => Ok(self
                .global
                .space
                .clone()
                .unwrap_or_else(|| llmspell_storage::DEFAULT_SPACE.to_string())),
        }
    }

    /// `--space`, or the default one, for verbs that take no `--model`.
    #[cfg(feature = "mcp")]
    pub(crate) fn space_without_model(&self) -> String {
        let default = || llmspell_storage::DEFAULT_SPACE.to_string();
        self.global.space.clone().unwrap_or_else(default)
    }

    /// `--db`, if it is the URL of a PostgreSQL server.
    pub(crate) fn server(&self) -> Option<&'a str> {
        let url = self.global.db.as_deref()?.to_str()?;
        let is_server = url.starts_with("postgres://") || url.starts_with("postgresql://");
        is_server.then_some(url)
    }

    /// That `--db` is no server, for verbs that work with directories only.
    pub(crate) fn check_directory(&self) -> Result<(), CliError> {
        match self.server() {
            None => Ok(()),
            Some(_) => Err(CliError::usage(
                "only `kv` works with a PostgreSQL server",
                "name a directory by --db, or use the crate llmspell-postgres",
            )),
        }
    }

    /// `--db`.
    pub(crate) fn directory(&self) -> Result<&'a Path, CliError> {
        self.global.db.as_deref().ok_or_else(|| {
            CliError::usage(
                "which database?",
                "--db DIR, or set LLMSPELL_DB; `llmspell-storage demo` needs neither",
            )
        })
    }

    /// Opens the database, which must be there, or finds the process that has it open and serves it.
    pub(crate) async fn open_existing(&self) -> Result<Opened, CliError> {
        self.open_existing_with(DatabaseOptions::new()).await
    }

    /// The same, with options for the case that it is opened here.
    pub(crate) async fn open_existing_with(&self, options: DatabaseOptions) -> Result<Opened, CliError> {
        self.check_exists()?;
        self.open(options.must_exist(true)).await
    }

    /// Opens the database, which must be there, in this process: for what cannot be done over a socket.
    pub(crate) async fn open_here(&self, verb: &'static str) -> Result<Database, CliError> {
        self.open_here_with(verb, DatabaseOptions::new()).await
    }

    /// The same, with options.
    pub(crate) async fn open_here_with(
        &self,
        verb: &'static str,
        options: DatabaseOptions,
    ) -> Result<Database, CliError> {
        self.check_exists()?;
        self.alone(verb, self.open_and_wait(options.must_exist(true), false).await)
            .await
    }

    /// The same for a database that need not be there.
    pub(crate) async fn open_or_create_here(&self, verb: &'static str) -> Result<Database, CliError> {
        self.alone(verb, self.open_and_wait(DatabaseOptions::new(), false).await)
            .await
    }

    /// What opened the directory for this process alone; an error that says why a process that serves it is no help.
    pub(crate) async fn alone<T>(&self, verb: &'static str, opened: Result<T, StorageError>) -> Result<T, CliError> {
        #[cfg(unix)]
        if let Err(StorageError::AlreadyOpen { .. }) = &opened
            && let Ok(Some(Opened::Elsewhere(client))) = Opened::elsewhere(self.directory()?).await
        {
            let process = client.process();
            return Err(CliError::NotLive { verb, process });
        }
        #[cfg(not(unix))]
        let _ = verb;
        Ok(opened?)
    }

    fn check_exists(&self) -> Result<(), CliError> {
        let directory = self.directory()?;
        if !directory.exists() {
            return Err(CliError::NotFound {
                message: format!("there is no database at {}", directory.display()),
                hint: "check --db; a new database is made by `import` or `kv set`".into(),
            });
        }
        Ok(())
    }

    /// Opens the database, or creates it, or finds the process that has it open and serves it.
    pub(crate) async fn open_or_create(&self) -> Result<Opened, CliError> {
        self.open(DatabaseOptions::new()).await
    }

    /// Opens the database here, or finds the process that has it open and serves it.
    async fn open(&self, options: DatabaseOptions) -> Result<Opened, CliError> {
        match self.open_and_wait(options, true).await {
            Err(StorageError::AlreadyOpen { path, holder }) => match Opened::elsewhere(&path).await? {
                Some(opened) => Ok(opened),
                None => Err(StorageError::AlreadyOpen { path, holder }.into()),
            },
            opened => Ok(Opened::Here(opened?)),
        }
    }

    /// Opens the database, after a wait of at most `--wait` for another process that has it; no wait for one that serves
    /// it, if that is as good.
    async fn open_and_wait(&self, options: DatabaseOptions, may_be_served: bool) -> Result<Database, StorageError> {
        let directory = self.global.db.as_deref().unwrap_or(Path::new(""));
        let wait = self.global.wait.unwrap_or_default();
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let opened = options.clone().open(directory).await;
            let left = wait.saturating_sub(started.elapsed());
            match opened {
                Err(StorageError::AlreadyOpen { path, holder }) if !left.is_zero() => {
                    if may_be_served && Opened::elsewhere(&path).await?.is_some() {
                        return Err(StorageError::AlreadyOpen { path, holder });
                    }
                    if pause == FIRST_PAUSE {
                        eprintln!("note: the database is open elsewhere ({holder}); waiting for it, {wait:?} at most");
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                opened => return opened,
            }
        }
    }

    /// The vectors of the space, which must be there.
    pub(crate) async fn vectors(&self, database: &Opened) -> Result<Space, CliError> {
        let space = self.space_name(database).await?;
        let found = database.existing_vectors(&space).await?;
        found.ok_or_else(|| no_space(&space))
    }

    /// The same, for what needs the store of this process.
    pub(crate) async fn vectors_here(&self, database: &Database) -> Result<HNSWVectorStorage, CliError> {
        let space = self.space_name(&database.into()).await?;
        let found = database.existing_vectors(&space).await?;
        found.ok_or_else(|| no_space(&space))
    }

    /// `--scope`, every one of them, or the global one.
    pub(crate) fn scopes(&self) -> Vec<StateScope> {
        match self.named_scopes() {
            named if named.is_empty() => vec![self.scope()],
            named => named,
        }
    }

    /// Says on stderr that the scopes hold nothing where others do: a forgotten `--scope` looks like an empty answer.
    pub(crate) async fn note_empty_scopes(&self, store: &Space) -> Result<(), CliError> {
        let scopes = self.scopes();
        for scope in &scopes {
            if store.count(scope).await? > 0 {
                return Ok(());
            }
        }
        let mut others = store.scopes().await?;
        others.retain(|other| !scopes.contains(other));
        let count = others.len() as u64;
        if count > 0 {
            eprintln!(
                "note: {} {} no entries in space `{}`, where {} {} entries; `scope ls` lists them, --scope names one",
                names_of(&scopes),
                if scopes.len() == 1 { "holds" } else { "hold" },
                store.space_name(),
                counted(count, "other scope", "other scopes"),
                if count == 1 { "has" } else { "have" },
            );
        }
        Ok(())
    }

    /// Says that an entry is not in the scopes, and whether anything is.
    pub(crate) async fn no_entry(&self, store: &Space, id: &str) -> Result<CliError, CliError> {
        let scopes = self.scopes();
        let known = store.scopes().await?;
        let hint = match scopes.iter().any(|scope| known.contains(scope)) {
            true => "check the id; `list` shows those of a scope, and --scope names another scope",
            false => "nothing is stored there: check --scope; `scope ls` lists the scopes",
        };
        Ok(CliError::NotFound {
            message: format!(
                "no entry `{}` in {} of space `{}`",
                one_line(id, 80),
                names_of(&scopes),
                store.space_name()
            ),
            hint: hint.into(),
        })
    }

    /// The store that searches and writes: the router with `--model`, else the space itself.
    pub(crate) async fn storage(&self, database: &Opened, store: &Space) -> Result<Arc<dyn VectorStorage>, CliError> {
        match self.model() {
            Some(_) => Ok(database.router().await?),
            None => Ok(store.storage()),
        }
    }

    /// The key-value data: that of `--scope` if one is named, else what belongs to no scope.
    pub(crate) fn key_value(&self, shared: Arc<dyn StorageBackend>) -> Result<Arc<dyn StorageBackend>, CliError> {
        match self.named_scope() {
            Some(scope) => Ok(Arc::new(ScopedBackend::new(shared, scope.clone())?)),
            None => Ok(shared),
        }
    }
}

fn no_space(space: &str) -> CliError {
    CliError::NotFound {
        message: format!("there is no space `{space}` in this database"),
        hint: "`space ls` lists the spaces; `import` makes one".into(),
    }
}

/// `scope global`, or `scopes user:ada, global`.
fn names_of(scopes: &[StateScope]) -> String {
    let names: Vec<_> = scopes.iter().map(ToString::to_string).collect();
    let noun = if names.len() == 1 { "scope" } else { "scopes" };
    format!("{noun} {}", names.join(", "))
}

/// The router of a database. What it makes itself has the default index; each space keeps its own.
pub(crate) async fn router(database: &Database) -> Result<DimensionRouter, CliError> {
    Ok(database.router(HNSWConfig::default()).await?)
}

/// The spaces of models, in the order of their creation.
pub(crate) async fn model_spaces(database: &Opened) -> Result<Vec<SpaceInfo>, CliError> {
    let mut spaces = database.spaces().await?;
    spaces.retain(|space| space.role == SpaceRole::Routed && space.model.is_some());
    Ok(spaces)
}

/// The space of a model that is known by this name, or by another name of a preset; none if there is none.
pub(crate) async fn find_space_of(database: &Opened, model: &str) -> Result<Option<SpaceInfo>, CliError> {
    let mut spaces = model_spaces(database).await?;
    let preset = EmbeddingModel::preset(model);
    let place_of = |name: &str| {
        let is_it = |space: &SpaceInfo| space.model.as_ref().is_some_and(|model| model.name == name);
        spaces.iter().position(is_it)
    };
    let place = place_of(model).or_else(|| place_of(&preset?.name));
    Ok(place.map(|place| spaces.swap_remove(place)))
}

/// The space of a model.
///
/// # Errors
///
/// `UnknownModel`, which lists those that are known.
pub(crate) async fn space_of(database: &Opened, model: &str) -> Result<SpaceInfo, CliError> {
    match find_space_of(database, model).await? {
        Some(space) => Ok(space),
        None => Err(unknown_model(database, model).await?),
    }
}

/// Says which models there are.
pub(crate) async fn unknown_model(database: &Opened, model: &str) -> Result<CliError, CliError> {
    let spaces = model_spaces(database).await?;
    let known = spaces.iter().filter_map(|space| space.model.as_ref());
    Ok(CliError::from(StorageError::UnknownModel {
        model: model.chars().take(64).collect(),
        known: known
            .map(|model| format!("`{}` ({} components)", model.name, model.dim))
            .collect(),
    }))
}
