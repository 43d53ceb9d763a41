//! Errors of the command line: what went wrong, what to try, and the exit code.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use llmspell_storage::{ErrorKind, StorageError};

/// Exit code for a wrong call, as in `sysexits.h`.
const EXIT_USAGE: u8 = 64;

/// How a filter is written.
pub const FILTER_HINT: &str = "write field=value, 'size > 100 and lang == \"en\"', or JSON such as {\"eq\":{\"field\":\"lang\",\"value\":\"en\"}}";

/// Why a verb failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CliError {
    /// The engine said no.
    #[error(transparent)]
    Storage(#[from] StorageError),

    /// The call is wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do instead.
        hint: String,
    },

    /// A file of the user cannot be understood.
    #[error("{source_name}{}: {reason}", place_suffix(place.as_ref()))]
    Input {
        /// File name, or `stdin`.
        source_name: String,
        /// Where in it.
        place: Option<Place>,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        hint: String,
    },

    /// A file of the user cannot be read or written.
    #[error("cannot {op} {}", path.display())]
    File {
        /// What was tried.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// A command of the user that makes vectors failed, ended, or answered something else.
    #[error("`{command}`: line {line}: {reason}")]
    Embedder {
        /// As it was given.
        command: String,
        /// Line of its input, and of its answer, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
        /// What to do once the command is mended.
        hint: &'static str,
    },

    /// The verb needs the directory for itself, and another process serves it.
    #[error("`{verb}` cannot be done while another process has the database open (process {process})")]
    NotLive {
        /// The verb.
        verb: &'static str,
        /// The number of that process.
        process: u32,
    },

    /// What was named is not there.
    #[error("{message}")]
    NotFound {
        /// What is missing.
        message: String,
        /// What to do about it.
        hint: String,
    },

    /// A compare-and-swap found another value.
    #[error("key `{key}` was not changed: its value is not the expected one")]
    CasLost {
        /// The key.
        key: String,
    },

    /// `check` found something.
    #[error("{problems} {} found", if *problems == 1 { "problem" } else { "problems" })]
    CheckFailed {
        /// How many.
        problems: u64,
    },

    /// A demo or bench saw something that the engine promises not to happen.
    #[error("a promise is broken: expected {expected}")]
    PromiseBroken {
        /// What should have been.
        expected: String,
    },

    /// A bench found less of the nearest than it must.
    #[error("{missed} of {figures} recalls are below their floor")]
    BelowFloor {
        /// How many are.
        missed: usize,
        /// How many were measured.
        figures: usize,
    },

    /// The system refused something else.
    #[error("{message}")]
    System {
        /// What was tried.
        message: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// A client and this program could not speak with each other.
    #[error("{reason}")]
    Protocol {
        /// What went wrong.
        reason: String,
    },

    /// A process that did part of the work failed, and has said why.
    #[error("a process that was started for this has failed")]
    Reported {
        /// Its exit code.
        exit_code: u8,
    },

    /// The reader of the output has closed it.
    #[error("the reader of the output has closed it")]
    OutputClosed,
}

/// A place in an input file, counted as people do in each kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file, from 1.
    Line(u64),
    /// Row of an array, from 0.
    Row(u64),
}

fn place_suffix(place: Option<&Place>) -> String {
    match place {
        Some(Place::Line(line)) => format!(":{line}"),
        Some(Place::Row(row)) => format!(": row {row}"),
        None => String::new(),
    }
}

impl CliError {
    /// The call is wrong.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A file of the user cannot be read or written.
    #[must_use]
    pub fn file(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            op,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }

    /// The system refused something.
    #[must_use]
    pub fn system(message: &'static str, source: io::Error) -> Self {
        Self::System {
            message,
            source: Arc::new(source),
        }
    }

    /// A client and this program could not speak with each other.
    #[must_use]
    pub fn protocol(reason: String) -> Self {
        Self::Protocol { reason }
    }

    /// Writing to stdout failed.
    #[must_use]
    pub fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::system("cannot write to stdout", source)
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Storage(error) => exit_code_of(error.kind()),
            Self::Usage { .. } | Self::Input { .. } => EXIT_USAGE,
            Self::NotFound { .. } => exit_code_of(ErrorKind::NotFound),
            Self::NotLive { .. } => exit_code_of(ErrorKind::Busy),
            Self::CasLost { .. } => exit_code_of(ErrorKind::Conflict),
            Self::CheckFailed { .. } | Self::PromiseBroken { .. } | Self::BelowFloor { .. } => {
                exit_code_of(ErrorKind::Data)
            }
            Self::Embedder { .. } => exit_code_of(ErrorKind::Io),
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => exit_code_of(ErrorKind::NotFound),
            Self::File { .. } | Self::System { .. } => exit_code_of(ErrorKind::Io),
            Self::Protocol { .. } => exit_code_of(ErrorKind::Io),
            Self::Reported { exit_code } => *exit_code,
            Self::OutputClosed => 0,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Storage(error) => storage_hint(error),
            Self::Usage { hint, .. } | Self::Input { hint, .. } | Self::NotFound { hint, .. } => hint.clone(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the name; paths are relative to the working directory".into()
            }
            Self::File { .. } => "check the permissions of the file and of its directory, and the free space".into(),
            Self::Embedder { hint, .. } => (*hint).into(),
            Self::NotLive { .. } => "close the database there first; other verbs need not wait for that".into(),
            Self::CasLost { key } => format!("read it with `kv get {key}`, decide, and swap again"),
            Self::CheckFailed { .. } => "restore the directory from a backup; keep a copy of it for a report".into(),
            Self::PromiseBroken { .. } => {
                "report this with the output above; run it with --dir to keep the files".into()
            }
            Self::BelowFloor { .. } => {
                "measure one of them by itself with --only and --dump, and report it with its files".into()
            }
            Self::Protocol { .. } => "start it by a client of the protocol; docs/mcp.md has configurations".into(),
            Self::System { .. } | Self::Reported { .. } | Self::OutputClosed => {
                "look at the cause above and run it again".into()
            }
        }
    }
}

fn exit_code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Data => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::Busy => 4,
        ErrorKind::Conflict => 5,
        ErrorKind::Invalid => EXIT_USAGE,
        // `Io`, `Closed`, and kinds that a later version of the engine may add.
        _ => 1,
    }
}

fn storage_hint(error: &StorageError) -> String {
    let hint = match error {
        StorageError::Dimension { .. } => "use vectors of the model that filled this space, or another --space",
        StorageError::NoTexts { .. } => {
            "index words: `import --text-field FIELD` for the texts of entries, `--words-of FIELD` for metadata"
        }
        StorageError::TextsNotKept { .. } => "the space was made with --drop-texts; leave out what asks for texts",
        StorageError::NonFinite { .. } => {
            "remove or mend the vector; `import --skip-invalid FILE` sets such rows aside"
        }
        StorageError::ZeroVector { .. } => "remove the vector, or use a space with --metric euclidean",
        StorageError::Scope(_) => "write global, KIND:ID such as user:ada, or a word for custom:WORD",
        StorageError::IdExists { .. } => "replace entries with `import --upsert`, or go on with `import --resume`",
        StorageError::QuotaExceeded { .. } => "delete something of the scope, or raise its quota with `scope quota`",
        StorageError::SpaceMismatch {
            what: "model" | "use", ..
        } => "`space ls` shows which space is used for what",
        StorageError::SpaceMismatch { .. } => {
            "leave out --dim and --metric, or choose another --space for other vectors"
        }
        StorageError::UnknownModel { .. } => {
            "`model ls` lists the models, `model ls --presets` those that need no `model add`; `model add NAME --dim N` \
             makes another one known"
        }
        StorageError::UnknownSpace { .. } => "`space ls` lists the spaces, `model ls` the models",
        StorageError::ModelDimension { .. } => "use vectors of this model, or name the --model that made these",
        StorageError::NotMatryoshka { .. } => {
            "measure what the cut costs with `model check-matryoshka`; --force cuts all the same"
        }
        StorageError::AlreadyOpen { .. } => {
            "close the program that has it open, wait for it with --wait SECONDS, or let it serve others: by \
             `Database::serve_admin`, or as `llmspell-storage serve`"
        }
        StorageError::WritesRefused { .. } => {
            "serve it with `AdminOptions::allow_writes`, or as `llmspell-storage serve --writes`"
        }
        StorageError::Filter(_) => FILTER_HINT,
        StorageError::UnsupportedVersion { .. } => "use the version of llmspell-storage that wrote it, or a newer one",
        StorageError::ForeignDirectory { .. } => "check --db; a new database is made by `import` or `kv set`",
        StorageError::NotABackup { .. } => {
            "name the directory of a complete backup, or for a new one a directory that is empty or does not exist"
        }
        StorageError::DirectoryNotEmpty { .. } => "name a directory that is empty or does not exist",
        StorageError::NoSpace { .. } => "free some space on this file system",
        StorageError::ReadOnly { .. } => "check owner and permissions of the directory",
        other => match other.kind() {
            ErrorKind::Invalid => "change the value that the message names; `--help` lists what is allowed",
            ErrorKind::NotFound => "check the id and --scope; `list` shows what is there",
            ErrorKind::Conflict => "look at what is stored, then decide",
            ErrorKind::Busy => "wait a little and run it again",
            ErrorKind::Data => "run `check`, and restore the directory from a backup",
            _ => "look at the cause above and run it again",
        },
    };
    hint.to_string()
}

/// Prints the error with its causes and what to try.
#[must_use]
pub fn report(error: &CliError) -> ExitCode {
    if !matches!(error, CliError::OutputClosed | CliError::Reported { .. }) {
        let mut text = format!("error: {error}\n");
        // Some errors show the text of their cause already.
        let mut cause = error.source();
        while let Some(source) = cause {
            let because = source.to_string();
            if !text.contains(&because) {
                text.push_str(&format!("because: {because}\n"));
            }
            cause = source.source();
        }
        text.push_str(&format!("try: {}\n", error.hint()));
        // If stderr is closed too, the error cannot be told.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    ExitCode::from(error.exit_code())
}

/// Prints what clap has to say: help and version, or what is wrong with the call.
#[must_use]
pub fn report_usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "try: llmspell-storage --help");
    ExitCode::from(EXIT_USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_exit_code() {
        let io_error = || io::Error::from(io::ErrorKind::PermissionDenied);
        let cases: [(CliError, u8); 8] = [
            (StorageError::Closed.into(), 1),
            (
                StorageError::ForeignDirectory {
                    path: "x".into(),
                    reason: "y".into(),
                }
                .into(),
                2,
            ),
            (StorageError::NotFound { id: "a".into() }.into(), 3),
            (
                StorageError::AlreadyOpen {
                    path: "x".into(),
                    holder: "y".into(),
                }
                .into(),
                4,
            ),
            (StorageError::IdExists { id: "a".into() }.into(), 5),
            (StorageError::EmptyKey.into(), 64),
            (CliError::CheckFailed { problems: 1 }, 2),
            (CliError::file("read", Path::new("x"), io_error()), 1),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit_code(), code, "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
