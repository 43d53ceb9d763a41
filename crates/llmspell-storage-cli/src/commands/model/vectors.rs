//! The vectors that a cut is measured on.

use std::path::Path;

use llmspell_storage::{HNSWVectorStorage, Pages, StateScope};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::progress::Progress;
use llmspell_cli_base::random::Random;

/// Entries of a space that are read at once.
const PAGE: usize = 500;
/// Rows of a file that are read at once, in bytes.
const BLOCK_BYTES: usize = 16 << 20;

/// Vectors of one length, wherever they are.
pub(super) enum Vectors<'a> {
    File(&'a Path),
    Space {
        store: HNSWVectorStorage,
        scopes: Vec<StateScope>,
    },
}

/// A vector, and its number among all.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawn {
    pub(super) row: u64,
    pub(super) vector: Vec<f32>,
}

impl Vectors<'_> {
    /// Components of a vector.
    pub(super) fn dim(&self) -> Result<usize, CliError> {
        match self {
            Self::File(path) => Ok(NpyReader::open(path)?.header().columns),
            Self::Space { store, .. } => Ok(store.dim()),
        }
    }

    /// How many there are.
    pub(super) async fn count(&self) -> Result<u64, CliError> {
        match self {
            Self::File(path) => Ok(NpyReader::open(path)?.header().rows),
            Self::Space { store, scopes } => {
                let mut count = 0;
                for scope in scopes {
                    count += store.count(scope).await?;
                }
                Ok(count)
            }
        }
    }

    /// Shows them all, one after the other in a block, each time in the same order; with the number of the first.
    pub(super) async fn each_block(
        &self,
        mut look: impl FnMut(u64, &[f32]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut block = Vec::new();
        match self {
            Self::File(path) => {
                let mut reader = NpyReader::open(path)?;
                loop {
                    let first = reader.rows_read();
                    block.clear();
                    while 4 * block.len() < BLOCK_BYTES {
                        let Some(row) = reader.next_row()? else { break };
                        block.extend(row);
                    }
                    if block.is_empty() {
                        return Ok(());
                    }
                    look(first, &block)?;
                }
            }
            Self::Space { store, scopes } => {
                let mut first = 0;
                for scope in scopes {
                    let mut pages = Pages::new(store, scope.clone()).with_limit(PAGE);
                    while let Some(page) = pages.next().await? {
                        let vectors = page.into_iter().map(|entry| entry.embedding);
                        let vectors: Vec<_> = vectors.filter(|vector| !vector.is_empty()).collect();
                        block.clear();
                        block.extend(vectors.iter().flatten());
                        look(first, &block)?;
                        first += vectors.len() as u64;
                    }
                }
                Ok(())
            }
        }
    }

    /// At most `count` of them, each with the same chance (Vitter 1985, algorithm R).
    pub(super) async fn draw(&self, count: usize, seed: u64, progress: &Progress) -> Result<Vec<Drawn>, CliError> {
        let (mut random, mut sample) = (Random::new(&[seed]), Vec::new());
        let dim = self.dim()?;
        self.each_block(|first, block| {
            for (row, vector) in (first..).zip(block.chunks_exact(dim)) {
                let drawn = || Drawn {
                    row,
                    vector: vector.to_vec(),
                };
                if sample.len() < count {
                    sample.push(drawn());
                    continue;
                }
                let place = random.below(row + 1);
                if let Some(kept) = usize::try_from(place).ok().and_then(|place| sample.get_mut(place)) {
                    *kept = drawn();
                }
            }
            progress.set(first + (block.len() / dim) as u64);
            Ok(())
        })
        .await?;
        Ok(sample)
    }
}

#[cfg(test)]
mod tests {
    use llmspell_storage::{HNSWConfig, VectorEntry};
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn all_scopes_of_a_space_are_shown_and_a_sample_has_the_numbers_that_they_were_shown_with() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let store = HNSWVectorStorage::new(1, HNSWConfig::balanced());
        let scopes = [StateScope::Global, StateScope::User("ada".into())];
        let entries = (0..1200_u16).map(|number| {
            let scope = scopes[usize::from(number % 3 == 0)].clone();
            VectorEntry::new(format!("{number:04}"), vec![f32::from(number) + 1.0]).with_scope(scope)
        });
        runtime.block_on(store.insert(entries.collect())).unwrap();
        let vectors = Vectors::Space {
            store,
            scopes: scopes.to_vec(),
        };
        let mut shown = Vec::new();
        let look = |first, block: &[f32]| {
            assert_eq!(first, shown.len() as u64);
            shown.extend_from_slice(block);
            Ok(())
        };
        runtime.block_on(vectors.each_block(look)).unwrap();
        assert_eq!(shown.len(), 1200);
        assert_eq!(runtime.block_on(vectors.count()).unwrap(), 1200);

        let progress = Progress::new(None, "rows", true);
        let draw = |count, seed| runtime.block_on(vectors.draw(count, seed, &progress)).unwrap();
        let sample = draw(100, 1);
        assert_eq!(sample.len(), 100);
        for drawn in &sample {
            assert_eq!(drawn.vector, [shown[drawn.row as usize]]);
        }
        assert!(sample.iter().any(|drawn| drawn.row >= 600));
        assert_eq!(draw(100, 1), sample);
        assert_ne!(draw(100, 2), sample);
        assert_eq!(draw(5000, 1).len(), 1200);
    }
}
