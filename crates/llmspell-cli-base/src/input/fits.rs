//! Checks that an entry fits the space that it is for.

use llmspell_storage::{DistanceMetric, EmbeddingModel, StorageError, TextConfig, VectorEntry, cut, validate_vectors};

use crate::opened::{Opened, Space};

/// What a space takes: vectors as long as those that it stores, or such as its model makes, whole or cut.
#[derive(Debug, Clone)]
pub struct Fits {
    /// The model of the space, if it has one.
    pub model: Option<EmbeddingModel>,
    /// Components that are stored.
    pub stored: usize,
    /// How the space compares vectors.
    pub metric: DistanceMetric,
    /// Which texts it indexes, if it does: entries may have a text in place of a vector then.
    pub texts: Option<TextConfig>,
}

impl Fits {
    /// What a space of the database takes: its model, its dimension and its metric.
    ///
    /// # Errors
    ///
    /// `Closed` if the database is closed; `Data` or `Io` when its spaces cannot be read.
    pub async fn of(database: &Opened, store: &Space) -> Result<Self, StorageError> {
        let spaces = database.spaces().await?;
        let space = spaces.into_iter().find(|space| space.name == store.space_name());
        Ok(Self {
            model: space.and_then(|space| space.model),
            stored: store.dim(),
            metric: store.metric(),
            texts: store.config().texts().cloned(),
        })
    }

    /// Why the space would refuse the entry.
    pub fn check(&self, entry: &VectorEntry) -> Result<(), StorageError> {
        let given = entry.embedding.len();
        let check = |dim| validate_vectors::entry(entry, dim, self.metric, self.texts.as_ref());
        let Some(model) = self.model.as_ref().filter(|_| given != self.stored && given > 0) else {
            return check(self.stored);
        };
        model.check_dim(&entry.id, given)?;
        check(given.max(self.stored))?;
        self.kept(entry).map(drop)
    }

    /// What of its vector is stored.
    pub fn kept(&self, entry: &VectorEntry) -> Result<Vec<f32>, StorageError> {
        let mut vector = entry.embedding.clone();
        if vector.is_empty() {
            return Ok(vector);
        }
        cut(&entry.id, &mut vector, self.stored, self.metric)?;
        Ok(vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(fits: &Fits, vector: &[f32]) -> Option<String> {
        let entry = VectorEntry::new("a", vector.to_vec());
        fits.check(&entry).err().map(|error| error.to_string())
    }

    #[test]
    fn a_space_of_a_model_takes_whole_vectors_and_those_that_are_cut_as_it_stores_them() {
        let fits = Fits {
            model: Some(EmbeddingModel::new("m", 4).with_matryoshka([1, 2])),
            stored: 2,
            metric: DistanceMetric::Cosine,
            texts: None,
        };
        assert_eq!(refusal(&fits, &[1.0, 0.0, 0.0, 1.0]), None);
        assert_eq!(refusal(&fits, &[1.0, 0.0]), None);
        assert!(refusal(&fits, &[1.0]).unwrap().contains("expected 2, got 1"));
        assert!(refusal(&fits, &[1.0, 0.0, 0.0]).unwrap().contains("model `m`"));
        // Nothing is left of it that points anywhere.
        assert!(refusal(&fits, &[0.0, 0.0, 0.0, 1.0]).is_some());
    }

    #[test]
    fn a_space_of_no_model_takes_what_is_as_long_as_what_it_stores() {
        let fits = Fits {
            model: None,
            stored: 2,
            metric: DistanceMetric::Cosine,
            texts: None,
        };
        assert_eq!(refusal(&fits, &[1.0, 0.0]), None);
        assert!(refusal(&fits, &[1.0, 0.0, 0.0]).unwrap().contains("expected 2, got 3"));
    }

    #[test]
    fn a_space_of_texts_takes_entries_without_a_vector() {
        let fits = |texts| Fits {
            model: Some(EmbeddingModel::new("m", 4)),
            stored: 4,
            metric: DistanceMetric::Cosine,
            texts,
        };
        let entry = VectorEntry::text_only("a", "word");
        fits(Some(TextConfig::default())).check(&entry).unwrap();
        assert!(fits(Some(TextConfig::default())).kept(&entry).unwrap().is_empty());
        assert!(fits(None).check(&entry).is_err());
        assert!(
            refusal(&fits(Some(TextConfig::default())), &[])
                .unwrap()
                .contains("neither a vector nor a text")
        );
    }
}
