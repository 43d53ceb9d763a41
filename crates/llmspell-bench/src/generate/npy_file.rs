//! Writing an array to a file, row after row.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::header_bytes;

/// A version 1 `.npy` file that has its name only when it is whole.
pub(crate) struct NpyFile {
    path: PathBuf,
    part: PathBuf,
    writer: BufWriter<File>,
}

impl NpyFile {
    /// `descr` as NumPy writes it, little-endian: `<f4`.
    pub(crate) fn create(path: PathBuf, descr: &str, rows: u64, columns: usize) -> Result<Self, CliError> {
        let part = path.with_extension("npy.part");
        let file = File::create(&part).map_err(|source| CliError::file("create", &part, source))?;
        let mut npy = Self {
            path,
            part,
            writer: BufWriter::with_capacity(1 << 20, file),
        };
        npy.write(&header_bytes(descr, rows, columns))?;
        Ok(npy)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer
            .write_all(bytes)
            .map_err(|source| CliError::file("write", &self.part, source))
    }

    pub(crate) fn finish(self) -> Result<(), CliError> {
        let Self { path, part, writer } = self;
        let written = writer.into_inner().map_err(std::io::IntoInnerError::into_error);
        written
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(|source| CliError::file("write", &path, source))
    }
}

/// Whether a file that would be written is there already.
pub(super) fn refuse_existing(path: &Path) -> Result<(), CliError> {
    if path.exists() {
        return Err(CliError::usage(
            format!("{} exists already", path.display()),
            "remove it, or name another --out",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmspell_cli_base::input::npy::NpyReader;

    #[test]
    fn what_is_written_can_be_read_and_has_its_name_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        let mut file = NpyFile::create(path.clone(), "<f4", 2, 1).unwrap();
        file.write(&1.5_f32.to_le_bytes()).unwrap();
        file.write(&(-2.0_f32).to_le_bytes()).unwrap();
        assert!(!path.exists());
        file.finish().unwrap();

        let mut reader = NpyReader::open(&path).unwrap();
        assert_eq!(reader.next_row().unwrap(), Some(vec![1.5]));
        assert_eq!(reader.next_row().unwrap(), Some(vec![-2.0]));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 128 + 8);
        assert!(refuse_existing(&path).is_err());
    }
}
