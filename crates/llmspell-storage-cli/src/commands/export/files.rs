//! Files that have their names when they are complete.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::header_bytes;
use llmspell_cli_base::output::Output;
use tempfile::NamedTempFile;

/// Where the lines go.
pub(super) enum Target {
    Stdout,
    File(NewFile),
}

impl Target {
    pub(super) fn create(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        NewFile::create(path).map(Self::File)
    }

    pub(super) fn write(&mut self, bytes: &[u8], output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Stdout => output.bytes(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    /// Puts the file in its place; says whether there is one.
    pub(super) fn finish(self) -> Result<bool, CliError> {
        match self {
            Self::Stdout => Ok(false),
            Self::File(file) => file.finish().map(|()| true),
        }
    }
}

/// The vectors of a space, an array of as many rows as there are entries with one.
pub(super) struct ArrayFile {
    file: NewFile,
    columns: usize,
    rows: u64,
}

impl ArrayFile {
    pub(super) fn create(path: &Path, columns: usize) -> Result<Self, CliError> {
        let mut file = NewFile::create(path)?;
        file.write(&header_bytes("<f4", 0, columns))?;
        Ok(Self { file, columns, rows: 0 })
    }

    pub(super) fn push(&mut self, vector: &[f32]) -> Result<(), CliError> {
        assert_eq!(vector.len(), self.columns, "entries of a space have its dimension");
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.rows += 1;
        self.file.write(&bytes)
    }

    /// Says in the header how many rows there are, and puts the file in its place.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let header = header_bytes("<f4", self.rows, self.columns);
        self.file.write_at_begin(&header)?;
        self.file.finish()
    }
}

/// A file that gets its name when it is complete.
pub(super) struct NewFile {
    writer: BufWriter<NamedTempFile<File>>,
    path: PathBuf,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, CliError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = NamedTempFile::new_in(parent.unwrap_or(Path::new(".")))
            .map_err(|source| CliError::file("create a file beside", path, source))?;
        Ok(Self {
            writer: BufWriter::with_capacity(1 << 18, file),
            path: path.to_path_buf(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.writer.write_all(bytes);
        written.map_err(|source| CliError::file("write", &self.path, source))
    }

    /// Replaces the first bytes; nothing can be written behind the last ones any more.
    fn write_at_begin(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self
            .writer
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.writer.write_all(bytes));
        written.map_err(|source| CliError::file("write", &self.path, source))
    }

    fn finish(self) -> Result<(), CliError> {
        let failed = |source| CliError::file("write", &self.path, source);
        let file = self.writer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
