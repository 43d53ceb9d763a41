//! `.fvecs`: a count and that many floats for each vector.
//!
//! ```text
//! byte 0     4
//!      │ dim │ components …   i32 and dim × f32, little-endian; then the next vector, of the same dim
//! ```

use llmspell_storage::limits::DIM_RANGE;

use super::{Source, read_up_to};
use crate::errors::{CliError, Place};

/// Vectors, read one by one.
#[derive(Debug)]
pub struct FvecsReader {
    source: Source,
    dim: Option<usize>,
    has_next: bool,
    rows_read: u64,
}

impl FvecsReader {
    /// Reads the length of the first vector.
    pub fn new(source: Source) -> Result<Self, CliError> {
        let mut reader = Self {
            source,
            dim: None,
            has_next: false,
            rows_read: 0,
        };
        reader.read_count()?;
        Ok(reader)
    }

    /// The name of the file, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Number of vectors that were read.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Number of vectors, where the length of the input is known.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        let row_bytes = self.dim.map_or(4, |dim| 4 + 4 * dim as u64);
        self.source.len_bytes.map(|bytes| bytes / row_bytes)
    }

    /// The next vector; none at the end.
    pub fn next_row(&mut self) -> Result<Option<Vec<f32>>, CliError> {
        let Some(dim) = self.dim.filter(|_| self.has_next) else {
            return Ok(None);
        };
        let mut bytes = vec![0; 4 * dim];
        if self.read(&mut bytes)? < bytes.len() {
            return Err(self.error("the file ends inside a vector"));
        }
        self.rows_read += 1;
        self.read_count()?;
        Ok(Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| f32::from_le_bytes(*chunk))
                .collect(),
        ))
    }

    /// Reads the count that precedes the next vector, if there is one.
    fn read_count(&mut self) -> Result<(), CliError> {
        let mut count = [0; 4];
        let filled = self.read(&mut count)?;
        self.has_next = filled > 0;
        if filled == 0 {
            return Ok(());
        }
        if filled < count.len() {
            return Err(self.error("the file ends inside a vector"));
        }
        let count = i32::from_le_bytes(count);
        let dim = usize::try_from(count)
            .ok()
            .filter(|dim| DIM_RANGE.contains(dim))
            .ok_or_else(|| self.error(&format!("a vector cannot have {count} components")))?;
        match self.dim.replace(dim) {
            Some(first) if first != dim => {
                Err(self.error(&format!("the vector has {dim} components, those before have {first}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, CliError> {
        read_up_to(&mut *self.source.reader, bytes)
            .map_err(|source| CliError::file("read", self.source.name.as_ref(), source))
    }

    fn error(&self, reason: &str) -> CliError {
        CliError::Input {
            source_name: self.source.name.clone(),
            place: Some(Place::Row(self.rows_read)),
            reason: reason.to_string(),
            hint: "is this a complete .fvecs file? see --format for the other formats".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(bytes: Vec<u8>) -> Result<Vec<Vec<f32>>, CliError> {
        let reader = Box::new(std::io::Cursor::new(bytes));
        let mut reader = FvecsReader::new(Source {
            reader,
            name: "test.fvecs".into(),
            len_bytes: None,
        })?;
        std::iter::from_fn(|| reader.next_row().transpose()).collect()
    }

    fn vector(components: &[f32]) -> Vec<u8> {
        let mut bytes = i32::try_from(components.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(components.iter().flat_map(|x| x.to_le_bytes()));
        bytes
    }

    #[test]
    fn vectors_follow_each_other() {
        let bytes = [vector(&[1.0, 2.0]), vector(&[-3.0, 0.5])].concat();
        assert_eq!(rows(bytes).unwrap(), [[1.0, 2.0], [-3.0, 0.5]]);
        assert!(rows(Vec::new()).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut cut = vector(&[1.0, 2.0]);
        cut.pop();
        for (bytes, part) in [
            (cut, "row 0: the file ends inside a vector"),
            (vec![1, 0], "row 0: the file ends inside a vector"),
            (
                [vector(&[1.0]), vector(&[1.0, 2.0])].concat(),
                "row 1: the vector has 2 components",
            ),
            ((-1_i32).to_le_bytes().to_vec(), "cannot have -1 components"),
            (i32::MAX.to_le_bytes().to_vec(), "cannot have 2147483647 components"),
        ] {
            let reason = rows(bytes).unwrap_err().to_string();
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_vectors_or_an_error(bytes in proptest::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..100)) {
            let _ = rows(bytes);
        }
    }
}
