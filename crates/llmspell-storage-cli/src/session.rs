//! Which database, space and scope is this call about?

use std::path::Path;
use std::sync::Arc;

use llmspell_storage::{Database, DatabaseOptions, HNSWVectorStorage, ScopedBackend, StateScope, StorageBackend};

use crate::args::{DEFAULT_SPACE, GlobalArgs};
use crate::errors::CliError;

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

    /// `--space`, or the default one.
    pub(crate) fn space(&self) -> &'a str {
        self.named_space().unwrap_or(DEFAULT_SPACE)
    }

    /// `--space`, if it was given.
    pub(crate) fn named_space(&self) -> Option<&'a str> {
        self.global.space.as_deref()
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

    /// Opens the database, which must be there.
    pub(crate) async fn open_existing(&self) -> Result<Database, CliError> {
        let directory = self.directory()?;
        if !directory.exists() {
            return Err(CliError::NotFound {
                message: format!("there is no database at {}", directory.display()),
                hint: "check --db; a new database is made by `import` or `kv set`".into(),
            });
        }
        Ok(DatabaseOptions::new().must_exist(true).open(directory).await?)
    }

    /// Opens the database, or creates it.
    pub(crate) async fn open_or_create(&self) -> Result<Database, CliError> {
        Ok(Database::open(self.directory()?).await?)
    }

    /// The vectors of the space, which must be there.
    pub(crate) async fn vectors(&self, database: &Database) -> Result<HNSWVectorStorage, CliError> {
        let space = self.space();
        database
            .existing_vectors(space)
            .await?
            .ok_or_else(|| CliError::NotFound {
                message: format!("there is no space `{space}` in this database"),
                hint: "`stats` lists the spaces; `import` makes one".into(),
            })
    }

    /// The key-value data: that of `--scope` if one is named, else what belongs to no scope.
    pub(crate) fn key_value(&self, database: &Database) -> Result<Arc<dyn StorageBackend>, CliError> {
        let shared: Arc<dyn StorageBackend> = Arc::new(database.kv());
        match self.named_scope() {
            Some(scope) => Ok(Arc::new(ScopedBackend::new(shared, scope.clone())?)),
            None => Ok(shared),
        }
    }
}
