//! The database, shared with other servers and commands: one process has it open and serves it, the others ask that one.

use std::path::Path;
use std::time::Duration;

use llmspell_cli_base::opened::Opened;
use llmspell_storage::{DatabaseOptions, StorageError};
use tokio::sync::Mutex;

use crate::refusal::Refusal;

/// How often a process that opens or closes the directory at this moment is waited for.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// The database of a directory, wherever it is open.
#[derive(Debug)]
pub(crate) struct Shared {
    directory: std::path::PathBuf,
    is_read_only: bool,
    current: Mutex<Option<Opened>>,
}

impl Shared {
    pub(crate) fn new(directory: &Path, is_read_only: bool) -> Self {
        Self {
            directory: directory.to_path_buf(),
            is_read_only,
            current: Mutex::new(None),
        }
    }

    /// The database. If the process that had it open has ended, this one opens it and serves it from then on.
    pub(crate) async fn database(&self) -> Result<Opened, Refusal> {
        let mut current = self.current.lock().await;
        if let Some(Opened::Here(database)) = &*current {
            return Ok(Opened::Here(database.clone()));
        }
        let mut attempt = 0;
        let opened = loop {
            // Asked each time: the other process may have ended since the last call.
            if let Some(elsewhere) = Opened::elsewhere(&self.directory).await? {
                break elsewhere;
            }
            match self.open().await {
                Err(StorageError::AlreadyOpen { .. }) if attempt < ATTEMPTS => {
                    // It is being opened, or closed, by another one.
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error @ StorageError::AlreadyOpen { .. }) => {
                    return Err(Refusal::new(format!(
                        "{error}: it does not serve others (`Database::serve_admin`, `llmspell-storage serve --writes`)"
                    )));
                }
                opened => break opened?,
            }
        };
        *current = Some(opened.clone());
        Ok(opened)
    }

    async fn open(&self) -> Result<Opened, StorageError> {
        let options = DatabaseOptions::new().must_exist(self.is_read_only);
        let database = options.open(&self.directory).await?;
        #[cfg(unix)]
        self.serve(&database).await;
        Ok(Opened::Here(database))
    }

    /// Lets other servers and commands share it. Without that, this server works alone.
    #[cfg(unix)]
    async fn serve(&self, database: &llmspell_storage::Database) {
        use llmspell_storage::{ADMIN_SOCKET, AdminOptions};
        let options = match self.is_read_only {
            true => AdminOptions::new(),
            false => AdminOptions::new().allow_writes(),
        };
        let directory = database.path().unwrap_or_else(|| self.directory.clone());
        if let Err(error) = database.serve_admin_with(directory.join(ADMIN_SOCKET), options).await {
            eprintln!("note: other programs cannot use the database while this server runs: {error}");
        }
    }

    /// Closes it, if it is open here.
    pub(crate) async fn close(&self) -> Result<(), StorageError> {
        match self.current.lock().await.take() {
            Some(opened) => opened.close().await,
            None => Ok(()),
        }
    }
}
